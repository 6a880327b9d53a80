package app

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/config"
)

const (
	a100 = "GPU-8f6d7a7c-2f0e-4d53-9c5c-0c4b5c8e1d11"
	h100 = "GPU-1c2d3e4f-0000-4d53-9c5c-0c4b5c8e1d12"
)

func TestTheAnswerOfNvidiaSMI(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		output string
		want   []berth.Accelerator
		fails  string
	}{
		"two": {a100 + ", NVIDIA A100-SXM4-80GB, 81920\n" + h100 + ", NVIDIA H100 80GB HBM3, 81559\n", []berth.Accelerator{
			{ID: a100, Name: "NVIDIA A100-SXM4-80GB", MemoryBytes: 81920 << 20}, {ID: h100, Name: "NVIDIA H100 80GB HBM3", MemoryBytes: 81559 << 20},
		}, ""},
		"memory of the machine": {a100 + ", NVIDIA GB10, [N/A]\r\n\n", []berth.Accelerator{{ID: a100, Name: "NVIDIA GB10"}}, ""},
		"a comma in the name":   {a100 + ", This, and that, 1\n", []berth.Accelerator{{ID: a100, Name: "This, and that", MemoryBytes: 1 << 20}}, ""},
		"none":                  {"No devices were found\n", nil, ""},
		"nothing":               {"", nil, ""},
		"another text":          {"Unable to determine the device handle\n", nil, "cannot read the line"},
		"no id":                 {", NVIDIA A100, 1\n", nil, "is no id"},
		"an id of two":          {"a b, NVIDIA A100, 1\n", nil, "is no id"},
		"one twice":             {strings.Repeat(a100+", A, 1\n", 2), nil, "is listed twice"},
	} {
		got, err := parseNVIDIA([]byte(c.output))
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestTheAnswerOfRocmSMI(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		output string
		want   []berth.Accelerator
		fails  string
	}{
		"a card and a processor's own": {`WARNING: AMD GPU device(s) is/are in a low-power state.
{"card1": {"Unique ID": "N/A", "VRAM Total Memory (B)": "67108864", "Card Series": "Raphael"},
 "card0": {"Unique ID": "0x9246b1c2d3e4f5", "VRAM Total Memory (B)": "17163091968", "Card Series": "Navi 21"},
 "system": {"Driver version": "6.3"}}`, []berth.Accelerator{
			{ID: "GPU-009246b1c2d3e4f5", Name: "Navi 21", MemoryBytes: 17163091968}, {ID: "1", Name: "Raphael", MemoryBytes: 67108864},
		}, ""},
		"in the order of their numbers": {`{"card10": {}, "card2": {"Device Name": "Two"}}`, []berth.Accelerator{{ID: "0", Name: "Two"}, {ID: "1"}}, ""},
		"none":                          {"WARNING: No JSON data to report\n", nil, ""},
		"nothing":                       {"", nil, ""},
		"half an answer":                {`{"card0": {"Unique ID"`, nil, "cannot read the answer"},
		"a card that is none":           {`{"card0": 7}`, nil, "cannot read card 0"},
		"one twice":                     {`{"card0": {"Unique ID": "0x1"}, "card1": {"Unique ID": "0x1"}}`, nil, "is listed twice"},
	} {
		got, err := parseROCm([]byte(c.output))
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// Whatever a tool says, what is taken from it can be put into an environment and told
// apart.
func FuzzAnswersOfTools(f *testing.F) {
	f.Add([]byte(a100 + ", NVIDIA A100-SXM4-80GB, 81920\n"))
	f.Add([]byte(`{"card0": {"Unique ID": "0x9246", "VRAM Total Memory (B)": "17163091968"}, "card1": {"Unique ID": "N/A"}}`))
	f.Add([]byte("No devices were found"))
	f.Add([]byte(`{"card00": {}, "card0": null}`))
	f.Fuzz(func(t *testing.T, output []byte) {
		for _, tool := range smis {
			list, err := tool.parse(output)
			if err != nil {
				continue
			}
			seen := map[string]bool{}
			for _, a := range list {
				if a.ID == "" || strings.ContainsAny(a.ID, ", =\n\x00") || seen[a.ID] || a.MemoryBytes < 0 {
					t.Errorf("%s: %+v", tool.vendor, list)
				}
				seen[a.ID] = true
			}
		}
	})
}

// tools makes PATH a folder with these scripts.
func tools(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700)) //nolint:gosec // to be run
	}
	t.Setenv("PATH", dir)
}

const (
	saysA100 = "echo '" + a100 + ", NVIDIA A100, 81920'\n"
	saysNavi = `echo '{"card0": {"Unique ID": "0x1", "Card Series": "Navi", "VRAM Total Memory (B)": "1024"}}'` + "\n"
)

func TestAcceleratorsAreFoundOnPath(t *testing.T) {
	nvidia := berth.Accelerator{ID: a100, Vendor: berth.VendorNVIDIA, Name: "NVIDIA A100", MemoryBytes: 81920 << 20}
	amd := berth.Accelerator{ID: "GPU-0000000000000001", Vendor: berth.VendorAMD, Name: "Navi", MemoryBytes: 1024}
	for name, c := range map[string]struct {
		scripts map[string]string
		want    []berth.Accelerator
		fails   string
	}{
		"no tool":               {nil, nil, ""},
		"both vendors":          {map[string]string{"nvidia-smi": saysA100, "rocm-smi": saysNavi}, []berth.Accelerator{nvidia, amd}, ""},
		"one tool fails":        {map[string]string{"nvidia-smi": "echo driver mismatch >&2; exit 9\n", "rocm-smi": saysNavi}, []berth.Accelerator{amd}, "nvidia-smi: exit status 9 (driver mismatch); its accelerators are not sold"},
		"a tool talks for ever": {map[string]string{"nvidia-smi": "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done | /usr/bin/head -c 3000000\n"}, nil, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			tools(t, c.scripts)
			got, err := findAccelerators(t.Context())
			if !reflect.DeepEqual(got, c.want) || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestAToolThatHangsIsNotWaitedFor(t *testing.T) {
	tools(t, map[string]string{"nvidia-smi": "/bin/sleep 15 & wait\n"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := findAccelerators(ctx); err == nil || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestTheConfigurationNamesAccelerators(t *testing.T) {
	tools(t, map[string]string{"nvidia-smi": saysA100 + "echo '" + h100 + ", NVIDIA H100, 4'\n"})
	for name, c := range map[string]struct {
		named []string
		want  []berth.Accelerator
	}{
		"none":      {[]string{}, []berth.Accelerator{}},
		"one by id": {[]string{h100}, []berth.Accelerator{{ID: h100, Vendor: berth.VendorNVIDIA, Name: "NVIDIA H100", MemoryBytes: 4 << 20}}},
		"one by its number, one that was not found": {[]string{"1", "MIG-7"}, []berth.Accelerator{
			{ID: "1", Vendor: berth.VendorNVIDIA, Name: "NVIDIA H100", MemoryBytes: 4 << 20}, {ID: "MIG-7", Vendor: berth.VendorNVIDIA},
		}},
	} {
		node, missing, err := detectNode(t.Context(), config.Node{Threads: 1, Memory: 1 << 30, Accelerators: c.named})
		if err != nil || missing != nil || !reflect.DeepEqual(node.GPUs, c.want) || node.Total.Accelerators != int64(len(c.want)) {
			t.Errorf("%s: got %+v, %v, %v", name, node, missing, err)
		}
	}
	tools(t, map[string]string{"rocm-smi": saysNavi})
	node, _, err := detectNode(t.Context(), config.Node{Threads: 1, Memory: 1 << 30, Accelerators: []string{"7"}})
	if err != nil || !reflect.DeepEqual(node.GPUs, []berth.Accelerator{{ID: "7", Vendor: berth.VendorAMD}}) {
		t.Errorf("beside AMD's: %+v, %v", node, err)
	}
	if c := acceleratorCheck([]berth.Accelerator{{ID: "7", Name: "Navi", MemoryBytes: 16 << 30}, {ID: "8"}}, nil); c.found != "7 Navi 16GiB, 8" || c.advice != "" {
		t.Errorf("the doctor says %+v", c)
	}
}
