package imports

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	berth "github.com/berthhq/berth"
)

// Shelf is the folder in which Berth keeps its own copies of model files, one folder
// per model, which keeps the name of its arrival. What arrives is checked, converted for the engine of its base, made
// durable and put in its place in one step.
type Shelf struct {
	Files Files
	// Dir is the folder, such as DATA/models/imported. Arrivals must lie on the same file
	// system.
	Dir string
}

// Arrival is the files of one model, complete, in a folder of their own.
type Arrival struct {
	Dir string // right inside it the files and nothing else; gone after Put succeeded
	// Hashed are the SHA-256 digests, in hex and by name, of files that were hashed on
	// their way; the others are read once more.
	Hashed  map[string]string
	Model   string // the name that it will have in the catalogue
	Weights berth.WeightType
	Base    berth.Model
}

// noUsableFile is the documented code of this failure (api.md 8.2), and what to do.
func noUsableFile(format string, args ...any) error {
	return berth.Errorf(berth.CodeInvalid, "AvailableModelFileNotFound: "+format, args...)
}

// Put checks an arrival against its base and puts it on the shelf. An adapter for
// llama.cpp becomes a GGUF; everything else stays as it is. Errors of
// [berth.CodeInvalid] are sentences about the files, without paths of the server; after
// any error the arrival is as good as lost and the caller removes it.
func (s Shelf) Put(ctx context.Context, a Arrival) (berth.ModelFile, error) {
	s.Files.hashed = map[string]string{}
	maps.Copy(s.Files.hashed, a.Hashed)
	name, err := s.prepare(ctx, a)
	if err != nil {
		return berth.ModelFile{}, a.withoutPaths(err)
	}
	f, err := s.inspect(ctx, a, name)
	if err != nil {
		return berth.ModelFile{}, a.withoutPaths(err)
	}
	return s.place(a, name, f)
}

// prepare returns the name of the file that the engine loads, "" for the folder itself,
// after converting what must be converted.
func (s Shelf) prepare(ctx context.Context, a Arrival) (string, error) {
	d, err := openFolder(a.Dir)
	if err != nil {
		return "", err
	}
	choice, err := Choose(d.names, a.Weights, a.Base.Engine)
	if err != nil {
		return "", err
	}
	if choice.form != formPEFT || a.Base.Engine != berth.EngineLlamaCpp {
		return choice.engineFile(), nil
	}
	return s.convert(ctx, a)
}

// convertedFile is the name of an adapter that was converted.
const convertedFile = "adapter.gguf"

// convert replaces a PEFT adapter by a GGUF.
func (s Shelf) convert(ctx context.Context, a Arrival) (string, error) {
	p, err := s.Files.openPEFT(a.Dir)
	if err != nil {
		return "", err
	}
	base, err := readWeights(a.Base.File.Path)
	if err != nil {
		return "", err
	}
	from, err := open(p.file(adapterWeightsFile))
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	to := filepath.Join(a.Dir, convertedFile)
	if err := os.RemoveAll(to); err != nil {
		return "", err
	}
	sum := sha256.New()
	err = writeDurably(to, func(w io.Writer) error {
		return writeGGUF(io.MultiWriter(cancelled{ctx, w}, sum), base.conversion(), a.Model, &p.config, p.pairs, from)
	})
	if err != nil {
		if ctx.Err() == nil && !errors.As(err, new(*fs.PathError)) {
			err = damaged(adapterWeightsFile, err)
		}
		return "", err
	}
	s.Files.hashed[convertedFile] = hex.EncodeToString(sum.Sum(nil))
	for _, name := range p.names {
		if name == convertedFile {
			continue
		}
		if err := os.Remove(p.file(name)); err != nil {
			return "", err
		}
	}
	return convertedFile, nil
}

// conversion is what a conversion must know of the base.
func (w *weights) conversion() ggufBase {
	architecture := text(w.file, "general.architecture")
	heads := number(w.file, architecture+".attention.head_count", headsMax)
	kvHeads := number(w.file, architecture+".attention.head_count_kv", headsMax)
	if kvHeads == 0 {
		kvHeads = heads
	}
	return ggufBase{architecture: architecture, heads: heads, kvHeads: kvHeads}
}

// inspect is what a model of the catalogue is asked as well, and more: that it fits the
// base.
func (s Shelf) inspect(ctx context.Context, a Arrival, name string) (berth.ModelFile, error) {
	path, base := filepath.Join(a.Dir, name), a.Base.File
	switch {
	case a.Weights == berth.WeightsLoRA && a.Base.Engine == berth.EngineFake:
		return s.Files.inspectAdapterFolder(ctx, path, berth.ModelFile{})
	case a.Weights == berth.WeightsLoRA:
		return s.Files.InspectAdapter(ctx, path, base)
	case name == "":
		return s.Files.inspectTuned(ctx, path, base)
	}
	f, err := s.Files.InspectBase(ctx, path)
	if err != nil || base.Path == "" {
		return f, err
	}
	return f, sameGGUF(path, base.Path)
}

// inspectTuned checks a folder of whole weights against the folder of its base.
func (f Files) inspectTuned(ctx context.Context, path string, base berth.ModelFile) (berth.ModelFile, error) {
	own, err := openModel(path)
	if err != nil {
		return berth.ModelFile{}, err
	}
	if isFolder(base.Path) {
		b, err := openModel(base.Path)
		if err != nil {
			return berth.ModelFile{}, err
		}
		if err := own.matches(&b); err != nil {
			return berth.ModelFile{}, err
		}
	}
	return f.hashFolder(ctx, own.folder, own.modelFile())
}

// sameGGUF compares whole weights with those of their base; how they are quantised may
// differ.
func sameGGUF(path, base string) error {
	own, err := readWeights(path)
	if err != nil {
		return err
	}
	b, err := readWeights(base)
	if err != nil {
		return err
	}
	if is, want := text(own.file, "general.architecture"), text(b.file, "general.architecture"); is != want {
		return berth.Errorf(berth.CodeInvalid, "The weights are of architecture %s, the base is %s; name the base that they were trained from.", is, want)
	}
	return sameShapes(own.shapes(), b.shapes())
}

func (w *weights) shapes() map[string][]uint64 {
	shapes := make(map[string][]uint64, len(w.file.TensorInfos))
	for _, t := range w.file.TensorInfos {
		shapes[t.Name] = t.Dimensions
	}
	return shapes
}

// place moves a checked arrival onto the shelf, durably.
func (s Shelf) place(a Arrival, name string, f berth.ModelFile) (berth.ModelFile, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return berth.ModelFile{}, err
	}
	if err := syncFolder(a.Dir); err != nil {
		return berth.ModelFile{}, err
	}
	to := filepath.Join(s.Dir, filepath.Base(a.Dir))
	// Only a run that was killed between this and its entry in the catalogue leaves one.
	if err := os.RemoveAll(to); err != nil {
		return berth.ModelFile{}, err
	}
	if err := os.Rename(a.Dir, to); err != nil {
		return berth.ModelFile{}, err
	}
	if err := syncFolder(s.Dir); err != nil {
		return berth.ModelFile{}, err
	}
	f.Path = filepath.Join(to, name)
	return s.Files.restat(f)
}

// restat takes the state of files that have only been moved.
func (f Files) restat(m berth.ModelFile) (berth.ModelFile, error) {
	if isFolder(m.Path) {
		d, err := openFolder(m.Path)
		if err != nil {
			return berth.ModelFile{}, err
		}
		m.Stat, err = d.stat()
		return m, err
	}
	var err error
	m.Stat, err = statFile(m.Path)
	return m, err
}

// Remove takes a model's files off the shelf; those of a model that never was there are
// not touched, and neither is what was removed before.
func (s Shelf) Remove(f berth.ModelFile) error {
	name, ok := s.nameOf(f)
	if !ok {
		return nil
	}
	return os.RemoveAll(filepath.Join(s.Dir, name))
}

// nameOf returns the folder below Dir that a file is in.
func (s Shelf) nameOf(f berth.ModelFile) (string, bool) {
	below, err := filepath.Rel(s.Dir, f.Path)
	if err != nil || f.Path == "" || below == "." || !filepath.IsLocal(below) {
		return "", false
	}
	name, _, _ := strings.Cut(below, string(filepath.Separator))
	return name, true
}

// Sweep removes what no model of the catalogue has any more, because the server was
// killed in between. Nothing may be put meanwhile.
func (s Shelf) Sweep(kept []berth.Model) error {
	names := map[string]bool{}
	for _, m := range kept {
		if name, ok := s.nameOf(m.File); ok {
			names[name] = true
		}
	}
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if !names[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(s.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// withoutPaths makes a sentence about the server's files one about the caller's.
func (a Arrival) withoutPaths(err error) error {
	var known *berth.Error
	if !errors.As(err, &known) {
		return err
	}
	clean := *known
	for _, path := range []string{a.Dir, a.Base.File.Path} {
		if path == "" {
			continue
		}
		if abs, absErr := filepath.Abs(path); absErr == nil {
			path = abs
		}
		clean.Message = strings.ReplaceAll(clean.Message, filepath.Dir(path)+string(filepath.Separator), "")
	}
	clean.Message = strings.ReplaceAll(clean.Message, filepath.Base(a.Dir)+string(filepath.Separator), "")
	clean.Message = strings.ReplaceAll(clean.Message, filepath.Base(a.Dir), a.Model)
	return &clean
}

// form is how weights arrive.
type form int

const (
	formGGUF form = iota // one file, of an adapter or of whole weights
	formPEFT             // a folder with an adapter
	formHF               // a folder with whole weights
)

// Choice is the files that make one model.
type Choice struct {
	Names []string // sorted, small ones first
	form  form
}

func (c *Choice) engineFile() string {
	if c.form == formGGUF {
		return c.Names[0]
	}
	return ""
}

// besides are the endings of what lies beside weights in a folder of Hugging Face.
// Programs (.py) and pickles are left where they are: loading them runs them.
var besides = []string{".json", ".txt", ".model", ".jinja", ".tiktoken"}

// Choose says which files of a folder make a model for an engine, by their names alone.
// An error is the documented code and a sentence (api.md 8.2).
func Choose(names []string, w berth.WeightType, engine string) (Choice, error) {
	var ggufs, weights, small []string
	for _, n := range names {
		switch {
		case strings.HasSuffix(n, ggufEnd):
			ggufs = append(ggufs, n)
		case strings.HasSuffix(n, safetensorsEnd):
			weights = append(weights, n)
		case slices.ContainsFunc(besides, func(end string) bool { return strings.HasSuffix(n, end) }):
			small = append(small, n)
		}
	}
	slices.Sort(weights)
	slices.Sort(small)
	isPEFT := slices.Contains(weights, adapterWeightsFile) && slices.Contains(small, adapterConfigFile)
	isHF := slices.Contains(small, modelConfigFile) && len(weights) > 0 && !slices.Contains(weights, adapterWeightsFile)
	switch {
	case w == berth.WeightsLoRA && isPEFT:
		chosen := []string{adapterConfigFile}
		if slices.Contains(small, modelConfigFile) && engine != berth.EngineLlamaCpp {
			chosen = append(chosen, modelConfigFile)
		}
		return Choice{append(chosen, adapterWeightsFile), formPEFT}, nil
	case len(ggufs) > 1:
		return Choice{}, noUsableFile("The folder has %d GGUF files; leave the one that is meant, or join the parts of a split one.", len(ggufs))
	case len(ggufs) == 1 && engine == berth.EngineLlamaCpp:
		return Choice{ggufs, formGGUF}, nil
	case w == berth.WeightsLoRA:
		return Choice{}, noUsableFile("The folder has no adapter for the base's engine; it needs %s and %s.", adapterConfigFile, adapterWeightsFile)
	case isHF && engine == berth.EngineLlamaCpp:
		return Choice{}, noUsableFile("The folder has safetensors, but the base runs on llama.cpp, which needs whole weights as GGUF; convert them with llama.cpp's convert_hf_to_gguf.py and import the GGUF.")
	case isHF:
		return Choice{append(small, weights...), formHF}, nil
	case engine == berth.EngineLlamaCpp:
		return Choice{}, noUsableFile("The folder has no GGUF file; convert the weights with llama.cpp's convert_hf_to_gguf.py and put the GGUF there.")
	}
	return Choice{}, noUsableFile("The folder has no weights for the base's engine; it needs %s, a tokenizer and *%s.", modelConfigFile, safetensorsEnd)
}

// writeDurably writes a new file and waits until it is on disk.
func writeDurably(path string, write func(io.Writer) error) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := write(file); err != nil {
		return err
	}
	return file.Sync()
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// cancelled is a writer that ends with its context.
type cancelled struct {
	ctx context.Context //nolint:containedctx // lives for one writing
	w   io.Writer
}

func (c cancelled) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.w.Write(p)
}
