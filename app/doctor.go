package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/engine"
)

// check is one line of the doctor's report.
type check struct {
	name  string
	found string
	// advice says what to do; "" when all is well.
	advice string
	// fatal: Berth cannot do its main job before the advice is taken.
	fatal bool
}

func (c check) print(w io.Writer) {
	mark := "ok"
	if c.advice != "" {
		mark = "look"
	}
	if c.fatal {
		mark = "FAIL"
	}
	fmt.Fprintf(w, "%-5s %-12s %s\n", mark, c.name, c.found)
	if c.advice != "" {
		fmt.Fprintf(w, "%-5s %-12s -> %s\n", "", "", c.advice)
	}
}

func doctorCommand(version string) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Check that this machine has what Berth needs",
		Long:    "Looks for engines, memory, threads, accelerators and the port, and says what to do about what is missing.\nExits 1 when deployments could not run.",
		Example: "  berth doctor\n  berth doctor --config berth.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := map[string]string{}
			if data := cmd.Flag("data"); data != nil && data.Changed {
				flags["data"] = data.Value.String()
			}
			cfg, err := config.Load(config.Source{File: file, Env: os.Environ(), Flags: flags})
			if err != nil {
				return err
			}
			return diagnose(cmd.Context(), cmd.OutOrStdout(), cfg, version)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	return cmd
}

// diagnose prints every check and fails when one is fatal.
func diagnose(ctx context.Context, w io.Writer, cfg config.Config, version string) error {
	checks := []check{{name: "berth", found: fmt.Sprintf("%s, %s, %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)}}
	checks = append(checks, engineChecks(ctx, cfg)...)
	checks = append(checks, hardwareChecks(ctx, cfg)...)
	checks = append(checks, portCheck(ctx, cfg.Listen), dirCheck(cfg.Data))
	checks = append(checks, pushChecks(ctx, cfg)...)
	failed := 0
	for _, c := range checks {
		c.print(w)
		if c.fatal {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed; take the advice above and run berth doctor again", failed, len(checks))
	}
	return nil
}

// engineChecks looks for every engine that this installation could run.
func engineChecks(ctx context.Context, cfg config.Config) []check {
	llama := check{name: "llamacpp"}
	found, err := engine.FindLlamaCpp(engine.LlamaCppConfig{Command: cfg.Engines.LlamaCpp.Command, Dir: cfg.Engines.Dir})
	if err != nil {
		llama.found, llama.advice, llama.fatal = "not found", err.Error(), true
	} else {
		llama.found = strings.TrimSpace(fmt.Sprintf("%s %s", found.How, found.Version))
	}
	python := check{name: "python3", found: "not found", advice: "llama.cpp can be installed only with Python 3.10 or newer and pip; llama-server on PATH works without"}
	if out, err := exec.CommandContext(ctx, "python3", "--version").Output(); err == nil {
		python.found, python.advice = strings.TrimSpace(string(out)), ""
	}
	vllm := check{name: "vllm", found: "not configured (engines.vllm.command)"}
	if command := cfg.Engines.VLLM.Command; len(command) > 0 {
		if path, err := exec.LookPath(command[0]); err != nil {
			vllm.found, vllm.advice = "not found", fmt.Sprintf("%v; correct engines.vllm.command", err)
		} else {
			vllm.found = path
		}
	}
	return []check{llama, python, vllm}
}

func hardwareChecks(ctx context.Context, cfg config.Config) []check {
	node, missing, err := detectNode(ctx, cfg.Node)
	if err != nil {
		return []check{{name: "hardware", found: "unknown", advice: err.Error(), fatal: true}}
	}
	threads := check{name: "threads", found: fmt.Sprintf("%d to sell", node.Total.Threads)}
	if have := int64(runtime.NumCPU()); node.Total.Threads > have {
		threads.advice = fmt.Sprintf("node.threads is %d, this machine has %d: replicas will share them", node.Total.Threads, have)
	}
	memory := check{name: "memory", found: units.BytesSize(float64(node.Total.MemoryBytes)) + " to sell"}
	if free, err := memoryTotal("/proc/meminfo", "MemAvailable"); err == nil {
		memory.found += ", " + units.BytesSize(float64(free)) + " free now"
		if free < 512<<20 {
			memory.advice = "less than 512 MiB is free; engines may be killed by the system"
		}
	}
	return []check{threads, memory, acceleratorCheck(node.GPUs, missing)}
}

func acceleratorCheck(found []berth.Accelerator, missing error) check {
	c := check{name: "accelerators", found: "none"}
	var list []string
	for _, a := range found {
		text := a.ID
		if a.Name != "" {
			text += " " + a.Name
		}
		if a.MemoryBytes > 0 {
			text += " " + units.BytesSize(float64(a.MemoryBytes))
		}
		list = append(list, text)
	}
	if len(list) > 0 {
		c.found = strings.Join(list, ", ")
	}
	if missing != nil {
		c.advice = strings.ReplaceAll(missing.Error(), "\n", "; ")
	}
	return c
}

func portCheck(ctx context.Context, address string) check {
	c := check{name: "port", found: address + " is free"}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		c.found, c.advice = address+" is in use", "if that is not a running berth, choose another with --listen"
		if running, ok := askHealth(ctx, address); ok {
			c.found = fmt.Sprintf("%s is in use by berth %s: %s", address, running.Version, running.Status)
			c.advice = strings.Join(running.Warnings, " ")
		}
	case err != nil:
		c.found, c.advice, c.fatal = err.Error(), "choose another address with --listen", true
	default:
		_ = l.Close() // nothing was accepted
	}
	return c
}

// askHealth asks a server for its readiness; false when it is no Berth.
func askHealth(ctx context.Context, address string) (api.Health, bool) {
	var h api.Health
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return h, false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return h, false
	}
	defer response.Body.Close()
	err = json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&h)
	return h, err == nil && h.Status != ""
}

func dirCheck(path string) check {
	c := check{name: "data", found: path}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		c.advice, c.fatal = "this is not a directory; choose another with --data", true
	} else if errors.Is(err, os.ErrNotExist) {
		c.found += " (made at the first start)"
	} else if free, err := diskFree(path); err == nil {
		c.found += ", " + units.BytesSize(float64(free)) + " free on its disk"
		if free < lowDisk {
			c.advice = "less than 256 MiB is free; calls are refused when their usage cannot be written (journal/ and berth.db)"
		}
	}
	return c
}

const lowDisk = 256 << 20

// diskFree returns the bytes that we may still write where path is.
func diskFree(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
