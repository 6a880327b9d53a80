package imports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	gguf "github.com/gpustack/gguf-parser-go"

	berth "github.com/berthhq/berth"
)

// weights is a GGUF that was read as far as its header.
type weights struct {
	path    string
	file    *gguf.GGUFFile
	adapter bool
}

// Inspect hashes a GGUF of weights or of an adapter and reads its header.
func (f Files) Inspect(ctx context.Context, path string) (berth.ModelFile, error) {
	return f.inspect(ctx, path, func(*weights) error { return nil })
}

// InspectBase implements [berth.ModelFiles].
func (f Files) InspectBase(ctx context.Context, path string) (berth.ModelFile, error) {
	return f.inspect(ctx, path, func(w *weights) error {
		if w.adapter {
			return berth.Errorf(berth.CodeInvalid, "%s is an adapter (LoRA), not the weights of a model; add it with a base: berth model add NAME --base BASE --adapter %s.", w.path, w.path)
		}
		return nil
	})
}

// InspectAdapter implements [berth.ModelFiles].
func (f Files) InspectAdapter(ctx context.Context, path string, base berth.ModelFile) (berth.ModelFile, error) {
	if isFolder(path) {
		return f.inspectAdapterFolder(ctx, path, base)
	}
	return f.inspect(ctx, path, func(w *weights) error {
		if !w.adapter {
			return berth.Errorf(berth.CodeInvalid, "%s has the weights of a whole model, not an adapter (LoRA); add it with --path, or convert the adapter with convert_lora_to_gguf.py.", w.path)
		}
		return w.fits(base)
	})
}

// inspect reads the header before it hashes, because that refuses the wrong file at
// once and not after gigabytes.
func (f Files) inspect(ctx context.Context, path string, check func(*weights) error) (berth.ModelFile, error) {
	file, err := open(path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	defer func() { _ = file.Close() }()
	w, err := readHeader(file)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if err := check(w); err != nil {
		return berth.ModelFile{}, err
	}
	m, err := w.modelFile()
	if err != nil {
		return berth.ModelFile{}, err
	}
	return f.hash(ctx, file, m)
}

const magic = "GGUF"

// readHeader returns the header of a GGUF, or one sentence that says why it is none.
func readHeader(file *os.File) (*weights, error) {
	path := file.Name()
	begin := make([]byte, len(magic))
	n, err := io.ReadFull(io.NewSectionReader(file, 0, math.MaxInt64), begin)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, &berth.Error{Code: berth.CodeInvalid, Message: "The file " + path + " cannot be read; check it.", Err: err}
	}
	if string(begin) != magic {
		return nil, berth.Errorf(berth.CodeInvalid, "%s is not a GGUF file (%s); convert the model with llama.cpp's convert_hf_to_gguf.py, or download one whose name ends in .gguf.", path, beginning(begin[:n]))
	}
	if gguf.CompleteShardGGUFFilename(path) != nil {
		return nil, refusal(path, errSplit) // the parser would go and look for the others
	}
	if err := checkBounds(io.NewSectionReader(file, int64(len(magic)), math.MaxInt64-int64(len(magic)))); err != nil {
		return nil, refusal(path, err)
	}
	parsed, err := parse(path)
	if err != nil {
		return nil, refusal(path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	if err := checkData(path, parsed, info.Size()); err != nil {
		return nil, err
	}
	return &weights{path: path, file: parsed, adapter: text(parsed, "general.type") == "adapter"}, nil
}

// beginning shows the first bytes of a file that is something else.
func beginning(b []byte) string {
	if len(b) == 0 {
		return "it is empty"
	}
	return fmt.Sprintf("it begins with %q", b)
}

// refusal says what is wrong with a file that begins like a GGUF.
func refusal(path string, err error) error {
	switch {
	case errors.Is(err, errSplit):
		return berth.Errorf(berth.CodeInvalid, "%s is one part of a split model; join the parts with `llama-gguf-split --merge` and add the result.", path)
	case errors.Is(err, errBigEndian), errors.Is(err, errOldFormat):
		return berth.Errorf(berth.CodeInvalid, "%s is a GGUF that llama.cpp does not load (%v); convert the model again.", path, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return berth.Errorf(berth.CodeInvalid, "%s is cut off in its header; copy or download it again.", path)
	case strings.Contains(err.Error(), "follow the header"): // the parser's words
		return berth.Errorf(berth.CodeInvalid, "%s is cut off: its tensors need more bytes than follow its header; copy or download it again.", path)
	}
	return berth.Errorf(berth.CodeInvalid, "%s is a damaged GGUF (%v); copy or download it again.", path, err)
}

// parse is the library's, which panics over some contents.
func parse(path string) (file *gguf.GGUFFile, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("%v", p)
		}
	}()
	return gguf.ParseGGUFFile(path, gguf.SkipLargeMetadata())
}

// checkData finds out whether the file is long enough for all its tensors.
func checkData(path string, file *gguf.GGUFFile, sizeBytes int64) (err error) {
	defer func() {
		if p := recover(); p != nil { // sizes whose product is no number any more
			err = refusal(path, fmt.Errorf("%v", p))
		}
	}()
	for _, t := range file.TensorInfos {
		begin := uint64(file.TensorDataStartOffset) + t.Offset
		end := begin + t.Bytes()
		if begin < t.Offset || end < begin || end > math.MaxInt64 {
			return refusal(path, fmt.Errorf("its tensor %.40q lies beyond every file", t.Name))
		}
		if end > uint64(sizeBytes) {
			return berth.Errorf(berth.CodeInvalid, "%s is cut off: its header announces %d bytes or more, it has %d; copy or download it again.", path, end, sizeBytes)
		}
	}
	return nil
}

// modelFile says what the header tells, without digest and state.
func (w *weights) modelFile() (berth.ModelFile, error) {
	architecture := text(w.file, "general.architecture")
	if architecture == "" {
		return berth.ModelFile{}, refusal(w.path, errors.New("it names no architecture"))
	}
	m := berth.ModelFile{
		Path:         w.path,
		Architecture: architecture,
		Parameters:   int64(min(uint64(w.file.ModelParameters), math.MaxInt64)),
		Thinking:     strings.Contains(text(w.file, "tokenizer.chat_template"), "enable_thinking"),
	}
	m.ContextLength = number(w.file, architecture+".context_length", contextMax)
	m.KVBytesPerToken = kvBytesPerToken(w.file, architecture)
	m.NoTools = !w.placesTools()
	m.Embeds = number(w.file, architecture+".pooling_type", poolingMax) > 0 // 0: none
	return m, nil
}

// placesTools reports whether one of the chat templates has a place for tools. Without a
// template llama.cpp takes one that has none.
func (w *weights) placesTools() bool {
	for _, kv := range w.file.Header.MetadataKV {
		if strings.HasPrefix(kv.Key, "tokenizer.chat_template") && placesTools(text(w.file, kv.Key)) {
			return true
		}
	}
	return false
}

// placesTools reports whether a chat template may name its variable of tools.
func placesTools(template string) bool { return strings.Contains(template, "tools") }

// fits refuses an adapter for another architecture or with other shapes than its base.
func (w *weights) fits(base berth.ModelFile) error {
	if isFolder(base.Path) {
		return berth.Errorf(berth.CodeInvalid, "The adapter %s is a GGUF, the base %s a Hugging Face folder; give the adapter as PEFT folder.", filepath.Base(w.path), filepath.Base(base.Path))
	}
	own := text(w.file, "general.architecture")
	if own != base.Architecture {
		return berth.Errorf(berth.CodeInvalid, "The adapter %s is for architecture %s, the base %s is %s; train it on this base, or name its own.", filepath.Base(w.path), own, filepath.Base(base.Path), base.Architecture)
	}
	b, err := readWeights(base.Path)
	if err != nil {
		return err
	}
	return w.matches(b)
}

// readWeights reads the header of the GGUF at path.
func readWeights(path string) (*weights, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return readHeader(file)
}
