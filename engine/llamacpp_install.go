package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// llamaCppVersion is the release of xllamacpp, a Python package with the real llama.cpp
// server inside, that Berth was tested with.
const llamaCppVersion = "2026.10.11549"

// wheel is one file of that release.
type wheel struct{ platform, sha256 string }

// wheels are the files for the platforms (GOOS/GOARCH) that Berth installs on.
var wheels = map[string]wheel{
	"linux/amd64": {
		"manylinux2014_x86_64.manylinux_2_17_x86_64",
		"c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261",
	},
	"linux/arm64": {
		"manylinux2014_aarch64.manylinux_2_17_aarch64",
		"e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e",
	},
	"darwin/arm64": {
		"macosx_13_0_arm64",
		"4ecda27a308b2403aa13c9d04b270befab95edc556c24ed00b2f8a98bd7f6781",
	},
}

func (w wheel) file() string {
	return "xllamacpp-" + llamaCppVersion + "-cp310-abi3-" + w.platform + ".whl"
}

// byHand is the way out of every failed installation.
const byHand = "install llama.cpp yourself and put llama-server on PATH or set engines.llamacpp.command"

var errNoPython = errors.New("python3 was not found on PATH: install Python 3.10 or newer, or " + byHand)

// InstallConfig says where to install an engine.
type InstallConfig struct {
	// Dir is shared by all data directories; made when it is not there.
	Dir string
	// Progress is told what happens, a line at a time; nil is silence.
	Progress func(line string)
}

// install is one installation under way.
type install struct {
	InstallConfig
	wheel  wheel
	python string
}

// InstallLlamaCpp fetches the pinned engine with pip, checks its hash, proves that it
// runs and puts it into place in one step. Where it is already, it returns at once.
// Several may be called at the same time, also in several processes. Every error says
// what to do.
func InstallLlamaCpp(ctx context.Context, c InstallConfig) (Found, error) {
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if found, err := locateInstalled(c.Dir); err == nil {
		c.Progress("llama.cpp is installed: " + found.Version)
		return found, nil
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	w, ok := wheels[platform]
	if !ok {
		return Found{}, fmt.Errorf("there is no prebuilt llama.cpp for %s: %s", platform, byHand)
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return Found{}, errNoPython
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return Found{}, fmt.Errorf("make the engines directory: %w; choose another with engines.dir", err)
	}
	i := install{InstallConfig: c, wheel: w, python: python}
	unlock, err := i.lock(ctx)
	if err != nil {
		return Found{}, err
	}
	defer unlock()
	// Somebody else may have been faster.
	if found, err := locateInstalled(c.Dir); err == nil {
		return found, nil
	}
	if err := i.run(ctx); err != nil {
		return Found{}, err
	}
	c.Progress("Installed in " + llamaCppHome(c.Dir))
	return locateInstalled(c.Dir)
}

const lockPoll = 200 * time.Millisecond

// lock keeps other installations out. It tries again and again instead of waiting in
// the kernel, where ctx could not reach it.
func (i *install) lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(i.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the engines directory: %w; choose another with engines.dir", err)
	}
	retry := time.NewTicker(lockPoll)
	defer retry.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock the engines directory: %w", err), file.Close())
		}
		if !told {
			i.Progress("Another installation is under way; waiting for it")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), file.Close())
		case <-retry.C:
		}
	}
}

const temporaryPrefix = ".install-"

// run installs under the lock: everything happens in a temporary folder beside the
// final one, which is a rename away from it.
func (i *install) run(ctx context.Context) error {
	if left, err := filepath.Glob(filepath.Join(i.Dir, temporaryPrefix+"*")); err == nil {
		for _, dir := range left { // of installations that were killed
			_ = os.RemoveAll(dir)
		}
	}
	work, err := os.MkdirTemp(i.Dir, temporaryPrefix)
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w; choose another place with engines.dir", err)
	}
	defer func() { _ = os.RemoveAll(work) }()

	file, err := i.download(ctx, work)
	if err != nil {
		return err
	}
	i.Progress("Checking it")
	if err := i.check(file); err != nil {
		return err
	}
	i.Progress("Unpacking it")
	home := filepath.Join(work, "home")
	if err := unzip(ctx, file, home); err != nil {
		return fmt.Errorf("unpack %s: %w; is the disk full?", filepath.Base(file), err)
	}
	if err := writeLauncher(home); err != nil {
		return err
	}
	i.Progress("Starting it once")
	if err := i.prove(ctx, home); err != nil {
		return err
	}
	if err := os.Rename(home, llamaCppHome(i.Dir)); err != nil {
		return fmt.Errorf("put the engine into place: %w", err)
	}
	return nil
}

// download has pip fetch the wheel, so that the user's mirrors, proxies and certificates
// are respected.
func (i *install) download(ctx context.Context, dir string) (string, error) {
	i.Progress("Downloading llama.cpp (xllamacpp " + llamaCppVersion + ", about 34 MB)")
	pip := exec.CommandContext(ctx, i.python, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
		"--disable-pip-version-check", "--no-input", "--retries", "2", "-d", dir, "xllamacpp=="+llamaCppVersion)
	out, err := pip.CombinedOutput()
	if err != nil {
		return "", pipFailure(ctx, err, string(out))
	}
	file := filepath.Join(dir, i.wheel.file())
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("pip chose another file than %s for this machine, and Berth knows the hash of that one only: %s", i.wheel.file(), byHand)
	}
	return file, nil
}

// pipFailure turns pip's output into a sentence that says what to do.
func pipFailure(ctx context.Context, err error, out string) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case strings.Contains(out, "No module named pip"):
		return fmt.Errorf("python3 has no pip: install it (Debian: apt install python3-pip), or %s", byHand)
	case containsAny(out, "connection broken", "NewConnectionError", "Temporary failure", "timed out", "SSLError", "ProxyError"):
		return fmt.Errorf("pip cannot reach the package index: check network and proxy, or set PIP_INDEX_URL to a mirror, or %s; pip said: %s", byHand, lastLine(out))
	case strings.Contains(out, "No matching distribution"):
		return fmt.Errorf("pip finds no xllamacpp %s for this machine and Python (it needs Python 3.10 and glibc 2.17 or newer; or the index is out of reach): %s; pip said: %s", llamaCppVersion, byHand, lastLine(out))
	}
	return fmt.Errorf("pip download: %w: %s; %s", err, lastLine(out), byHand)
}

func containsAny(s string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

// check compares the downloaded file with the pinned hash.
func (i *install) check(file string) error {
	got, err := fileSHA256(file)
	if err != nil {
		return fmt.Errorf("check %s: %w", filepath.Base(file), err)
	}
	if got != i.wheel.sha256 {
		return fmt.Errorf("%s has the hash %s instead of %s, so it was changed on its way and was not installed: try another index or network, or %s", i.wheel.file(), got, i.wheel.sha256, byHand)
	}
	return nil
}

// prove starts the engine as far as its version, which loads all of its code.
func (i *install) prove(ctx context.Context, home string) error {
	out, err := exec.CommandContext(ctx, i.python, "-I", filepath.Join(home, launcherName()), "--version").CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || !strings.Contains(string(out), llamaCppVersion) {
		return fmt.Errorf("the downloaded llama.cpp does not run here (it needs Python 3.10 or newer): %s; %s", cmp.Or(lastLine(string(out)), "it said nothing"), byHand)
	}
	return nil
}

func lastLine(out string) string {
	out = strings.TrimSpace(out)
	return out[strings.LastIndexByte(out, '\n')+1:]
}
