package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
)

// Bounds of the vendors' tools.
const (
	smiPatience     = 20 * time.Second // a driver that sleeps takes seconds to wake up
	smiOutput       = 1 << 20          // bytes
	maxAccelerators = 1024             // of one node
)

// smi is a vendor's tool and how its answer is read.
type smi struct {
	vendor  berth.Vendor
	command []string
	parse   func(output []byte) ([]berth.Accelerator, error)
}

var smis = []smi{
	{berth.VendorNVIDIA, []string{"nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"}, parseNVIDIA},
	{berth.VendorAMD, []string{"rocm-smi", "--showuniqueid", "--showproductname", "--showmeminfo", "vram", "--json"}, parseROCm},
}

// findAccelerators asks the vendors' tools on PATH. A tool that is not there means none
// of that vendor's; one that fails is an error beside what the others found.
func findAccelerators(ctx context.Context) ([]berth.Accelerator, error) {
	var found []berth.Accelerator
	var errs []error
	for _, tool := range smis {
		path, err := exec.LookPath(tool.command[0])
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		var list []berth.Accelerator
		if err == nil {
			list, err = tool.ask(ctx, path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w; its accelerators are not sold, correct it or name them in node.accelerators", tool.command[0], err))
			continue
		}
		found = append(found, list...)
	}
	return found, errors.Join(errs...)
}

func (s smi) ask(ctx context.Context, path string) ([]berth.Accelerator, error) {
	ctx, cancel := context.WithTimeout(ctx, smiPatience)
	defer cancel()
	said, complained := &bounded{most: smiOutput}, &bounded{most: 1 << 10}
	cmd := exec.CommandContext(ctx, path, s.command[1:]...)
	cmd.Stdout, cmd.Stderr = said, complained
	cmd.WaitDelay = time.Second // a child of it may hold the pipe
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no answer within %s", smiPatience)
	case err != nil:
		why := strings.Join(strings.Fields(cmp.Or(complained.kept.String(), said.kept.String())), " ")
		return nil, fmt.Errorf("%w (%.200s)", err, why)
	case said.cut:
		return nil, fmt.Errorf("more than %d bytes of answer", smiOutput)
	}
	list, err := s.parse(said.kept.Bytes())
	for i := range list {
		list[i].Vendor = s.vendor
	}
	return list, err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	kept bytes.Buffer // not embedded: its ReadFrom would be taken instead of Write
	most int
	cut  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := min(len(p), b.most-b.kept.Len())
	b.cut = b.cut || room < len(p)
	_, _ = b.kept.Write(p[:room]) // cannot fail
	return len(p), nil
}

// acceleratorID is what may stand in a list of visible devices: the id of a device or its
// number.
var acceleratorID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9/_-]{0,79}$`)

// parseNVIDIA reads lines such as "GPU-8f6d…, NVIDIA A100-SXM4-80GB, 81920": id, name and
// MiB of memory, which devices without their own say as "[N/A]".
func parseNVIDIA(output []byte) ([]berth.Accelerator, error) {
	var list []berth.Accelerator
	for line := range strings.Lines(string(output)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "No devices") {
			continue
		}
		id, rest, _ := strings.Cut(line, ",")
		comma := strings.LastIndexByte(rest, ',')
		if comma < 0 {
			return nil, fmt.Errorf("cannot read the line %q", line)
		}
		a := berth.Accelerator{ID: strings.TrimSpace(id), Name: strings.TrimSpace(rest[:comma])}
		if mib, err := strconv.ParseUint(strings.TrimSpace(rest[comma+1:]), 10, 40); err == nil {
			a.MemoryBytes = int64(mib) << 20
		}
		list = append(list, a)
	}
	return list, checkAccelerators(list)
}

var rocmCard = regexp.MustCompile(`^card(\d{1,4})$`)

// parseROCm reads an object with a member for each card, after any warnings. A card
// without an id of its own, such as a consumer's, goes by its place.
func parseROCm(output []byte) ([]berth.Accelerator, error) {
	start := bytes.IndexByte(output, '{')
	if start < 0 {
		return nil, nil // it has only warned that there is none
	}
	var cards map[string]json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(output[start:])).Decode(&cards); err != nil {
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	}
	var numbers []int
	for name := range cards {
		if m := rocmCard.FindStringSubmatch(name); m != nil {
			n, _ := strconv.Atoi(m[1]) // four digits
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var list []berth.Accelerator
	for place, n := range numbers {
		var card map[string]any
		if err := json.Unmarshal(cards["card"+strconv.Itoa(n)], &card); err != nil {
			return nil, fmt.Errorf("cannot read card %d: %w", n, err)
		}
		list = append(list, rocmAccelerator(place, card))
	}
	return list, checkAccelerators(list)
}

func rocmAccelerator(place int, card map[string]any) berth.Accelerator {
	text := func(names ...string) string {
		for _, name := range names {
			if s, ok := card[name].(string); ok && s != "" && s != "N/A" {
				return s
			}
		}
		return ""
	}
	a := berth.Accelerator{ID: strconv.Itoa(place), Name: text("Card Series", "Card series", "Device Name", "Card Model", "Card model")}
	if unique, err := strconv.ParseUint(text("Unique ID"), 0, 64); err == nil && unique != 0 {
		a.ID = fmt.Sprintf("GPU-%016x", unique) // ROCr's form
	}
	if memory, err := strconv.ParseInt(text("VRAM Total Memory (B)"), 10, 64); err == nil && memory > 0 {
		a.MemoryBytes = memory
	}
	return a
}

// checkAccelerators refuses ids that an engine could not be given, and the same one twice.
func checkAccelerators(list []berth.Accelerator) error {
	if len(list) > maxAccelerators {
		return fmt.Errorf("it lists %d accelerators, more than %d", len(list), maxAccelerators)
	}
	seen := map[string]bool{}
	for _, a := range list {
		if !acceleratorID.MatchString(a.ID) {
			return fmt.Errorf("%q is no id of an accelerator", a.ID)
		}
		if seen[a.ID] {
			return fmt.Errorf("the accelerator %s is listed twice", a.ID)
		}
		seen[a.ID] = true
	}
	return nil
}

// namedAccelerators are those that the configuration names, by id or by their number among
// what was found, with what is known of them. One that was not found is taken for one of
// the only vendor that was, else NVIDIA's.
func namedAccelerators(named []string, found []berth.Accelerator) []berth.Accelerator {
	vendor := berth.VendorNVIDIA
	if !slices.ContainsFunc(found, func(a berth.Accelerator) bool { return a.Vendor != berth.VendorAMD }) && len(found) > 0 {
		vendor = berth.VendorAMD
	}
	list := make([]berth.Accelerator, 0, len(named))
	for _, id := range named {
		a := berth.Accelerator{ID: id, Vendor: vendor}
		if i := slices.IndexFunc(found, func(f berth.Accelerator) bool { return f.ID == id }); i >= 0 {
			a = found[i]
		} else if n, err := strconv.Atoi(id); err == nil && n >= 0 && n < len(found) && found[n].Vendor == found[0].Vendor {
			a = found[n]
			a.ID = id
		}
		list = append(list, a)
	}
	return list
}
