package engine

import (
	"context"
	"crypto/sha256"
	_ "embed" // the launcher
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// LlamaCppConfig says where llama.cpp's server may be found.
type LlamaCppConfig struct {
	// Command, when there is one, comes before the flags, such as ["llama-server"].
	Command []string
	// Args come after the flags, whose last word counts.
	Args []string
	// Dir is where [InstallLlamaCpp] puts the engine.
	Dir string
}

// Found is an engine on this machine.
type Found struct {
	Command []string // the flags follow
	Version string   // as the engine prints it; "" when it does not say
	How     string   // "configured", "on PATH" or "installed"
}

// ErrNoLlamaCpp says what to do where there is no llama.cpp. Test with [errors.Is].
var ErrNoLlamaCpp = errors.New("llama.cpp was not found: run `berth engine install llamacpp`, " +
	"or put llama-server on PATH, or set engines.llamacpp.command")

// versionTimeout bounds the wait for --version of a program that somebody configured.
const versionTimeout = 5 * time.Second

// FindLlamaCpp returns the engine that the driver would start and asks it for its
// version: the configured command, else llama-server on PATH, else the installed one,
// else [ErrNoLlamaCpp].
func FindLlamaCpp(c LlamaCppConfig) (Found, error) {
	found, err := c.locate()
	if err != nil || found.Version != "" {
		return found, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	version := exec.CommandContext(ctx, found.Command[0], append(found.Command[1:len(found.Command):len(found.Command)], "--version")...)
	version.WaitDelay = time.Second
	if out, err := version.CombinedOutput(); err == nil {
		found.Version = versionIn(string(out))
	}
	return found, nil
}

// versionIn finds llama-server's line "version: 9093 (1a2b3c)", else takes the last.
func versionIn(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		if v, ok := strings.CutPrefix(line, "version: "); ok {
			return strings.TrimSpace(v)
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

// locate is [FindLlamaCpp] without running anything.
func (c LlamaCppConfig) locate() (Found, error) {
	if len(c.Command) > 0 {
		if _, err := exec.LookPath(c.Command[0]); err != nil {
			return Found{}, fmt.Errorf("engines.llamacpp.command: %w", err)
		}
		return Found{Command: c.Command, How: "configured"}, nil
	}
	if path, err := exec.LookPath("llama-server"); err == nil {
		return Found{Command: []string{path}, How: "on PATH"}, nil
	}
	return locateInstalled(c.Dir)
}

//go:embed llamacpp_launcher.py
var launcher []byte

// launcherName has a hash of the launcher in it, so that a newer Berth puts its own
// beside that of an older one which still runs.
func launcherName() string {
	sum := sha256.Sum256(launcher)
	return "launcher-" + hex.EncodeToString(sum[:4]) + ".py"
}

// llamaCppHome is the folder of the pinned engine.
func llamaCppHome(dir string) string { return filepath.Join(dir, "xllamacpp-"+llamaCppVersion) }

// locateInstalled returns the engine that [InstallLlamaCpp] installed. A launcher that
// this Berth needs and an older one did not have is added.
func locateInstalled(dir string) (Found, error) {
	home := llamaCppHome(dir)
	if _, err := os.Stat(filepath.Join(home, "xllamacpp")); err != nil {
		return Found{}, ErrNoLlamaCpp
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return Found{}, errNoPython
	}
	path := filepath.Join(home, launcherName())
	if _, err := os.Stat(path); err != nil {
		if err := writeLauncher(home); err != nil {
			return Found{}, err
		}
	}
	return Found{
		Command: []string{python, "-I", path},
		Version: "xllamacpp " + llamaCppVersion,
		How:     "installed",
	}, nil
}

// writeLauncher puts the launcher into the engine's folder, whole or not at all.
func writeLauncher(home string) error {
	temporary, err := os.CreateTemp(home, ".launcher-*")
	if err != nil {
		return fmt.Errorf("write launcher: %w", err)
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // is gone when it was renamed
	_, err = temporary.Write(launcher)
	if err := errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return fmt.Errorf("write launcher: %w", err)
	}
	if err := os.Rename(temporary.Name(), filepath.Join(home, launcherName())); err != nil {
		return fmt.Errorf("write launcher: %w", err)
	}
	return nil
}
