//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/berthhq/berth/api"
)

// server is a life of `berth serve` as a process of its own, which ends with the bench.
type server struct {
	*api.Client
	cmd  *exec.Cmd
	dir  string
	http *http.Client // for calls
}

const (
	startPatience = 20 * time.Second
	stopPatience  = 30 * time.Second // engines end meanwhile
	readyPatience = 5 * time.Minute  // vLLM takes about a minute to load
)

// serve starts Berth in a folder of its own and waits until it listens.
func serve(ctx context.Context, program string, m machine) (s *server, err error) {
	s = &server{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}}
	if s.dir, err = os.MkdirTemp("", "berth-promises-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	yaml, err := m.yaml(s.dir)
	if err != nil {
		return s, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "berth.yaml"), []byte(yaml), 0o600); err != nil {
		return s, err
	}
	log, err := os.Create(s.log())
	if err != nil {
		return s, err
	}
	defer log.Close()
	s.cmd = exec.Command(program, "serve", "--config", "berth.yaml", "--data", "data", "--listen", "127.0.0.1:0")
	s.cmd.Dir, s.cmd.Stderr = s.dir, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return s, err
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n') // what it said before it ended is in the log
		said <- line
	}()
	select {
	case line := <-said:
		_, address, ok := strings.Cut(strings.TrimSpace(line), "http://")
		if !ok {
			return s, fmt.Errorf("berth does not come up: %s\n%s", line, s.lastWords())
		}
		key, err := os.ReadFile(filepath.Join(s.dir, "data", "owner.key"))
		s.Client = &api.Client{BaseURL: "http://" + address, Key: strings.TrimSpace(string(key))}
		return s, err
	case <-time.After(startPatience):
		return s, fmt.Errorf("berth does not come up\n%s", s.lastWords())
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

func (s *server) log() string { return filepath.Join(s.dir, "berth.log") }

// lastWords are the end of its log.
func (s *server) lastWords() string {
	text, _ := os.ReadFile(s.log())
	return string(text[max(0, len(text)-2000):])
}

// stop ends the server, which ends its engines, and removes its folder.
func (s *server) stop() error {
	s.http.CloseIdleConnections()
	if s.cmd != nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.cmd.Wait() // how it ends does not matter
		}()
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
		select {
		case <-done:
		case <-time.After(stopPatience):
			_ = s.cmd.Process.Kill()
			<-done
		}
	}
	return os.RemoveAll(s.dir)
}

// calibrated measures the model through the API, as `berth calibrate` does.
func (s *server) calibrated(ctx context.Context, seconds int64) (api.Findings, error) {
	run, err := s.CalibrateModel(ctx, "base", api.CalibrateModel{Seconds: &seconds})
	if err == nil {
		run, err = s.WaitCalibration(ctx, run)
	}
	switch {
	case err != nil:
		return api.Findings{}, fmt.Errorf("calibrate: %w", err)
	case run.Status != api.CalibrationSucceeded:
		return api.Findings{}, fmt.Errorf("calibrate: %s\n%s", run.Reason, s.lastWords())
	}
	return *run.Found, nil
}

// deploy buys a deployment and waits until it serves.
func (s *server) deploy(ctx context.Context, d api.CreateDeployment, overflow string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	made, err := s.CreateDeployment(ctx, d)
	if err == nil && overflow != "" {
		_, err = s.SetOverflow(ctx, made.DeployedModel, overflow)
	}
	if err == nil {
		made, err = s.WaitDeployment(ctx, made.DeployedModel, nil)
	}
	if err == nil && made.Status != api.StatusRunning {
		err = fmt.Errorf("%s: %s\n%s", made.Status, made.FailReason, s.lastWords())
	}
	if err != nil {
		return "", fmt.Errorf("deploy %s: %w", cmpName(d), err)
	}
	return made.DeployedModel, nil
}

func cmpName(d api.CreateDeployment) string { return d.Plan + " " + d.ModelName + " " + d.Suffix }
