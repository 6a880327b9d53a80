//go:build linux

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"
)

// proxy is a process between the load and the engines.
type proxy struct {
	name     string
	process  *process
	children bool              // it has processes of its own to count
	through  map[string]string // way to address
	path     string            // of chat completions
	made     *int              // counts the calls
}

// The ways to an engine: nginx treats streams in another manner than plain calls.
var ways = map[string]string{"instant": "instant", "paced": "paced", "stream": "instant", "steady": "steady", "still": "still"}

var wayNames = []string{"instant", "paced", "stream", "steady", "still"}

//go:embed nginx.conf
var nginxConf string

//go:embed haproxy.cfg
var haproxyCfg string

//go:embed litellm.yaml
var litellmYAML string

// configure writes a configuration from its template and returns its path.
func (h *house) configure(name, text string, values any) (string, error) {
	file, err := os.Create(filepath.Join(h.dir, name))
	if err != nil {
		return "", err
	}
	err = template.Must(template.New("").Parse(text)).Execute(file, values)
	return file.Name(), errors.Join(err, file.Close())
}

// engineOf returns the engines' addresses by way.
func (h *house) engineOf() map[string]string {
	all := map[string]string{}
	for way, model := range ways {
		all[way] = h.engines[model]
	}
	return all
}

// freeAddresses are addresses that nobody listens on at the moment, one for each way:
// some proxies cannot choose one.
func freeAddresses(ctx context.Context) (map[string]string, error) {
	through := map[string]string{}
	for _, way := range wayNames {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		through[way] = listener.Addr().String()
		if err := listener.Close(); err != nil {
			return nil, err
		}
	}
	return through, nil
}

func (h *house) startNginx(ctx context.Context, program string) (*proxy, error) {
	program, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w; run .ci/tools bench, or install Debian's nginx-light", err)
	}
	through, err := freeAddresses(ctx)
	if err != nil {
		return nil, err
	}
	conf, err := h.configure("nginx.conf", nginxConf, map[string]any{"Root": os.Geteuid() == 0, "Engine": h.engines, "Listen": through})
	if err != nil {
		return nil, err
	}
	p := &proxy{name: "nginx", children: true, through: through, path: "/compatible-mode/v1/chat/completions", made: new(int)}
	p.process, err = h.start("nginx", program, "-e", "stderr", "-p", h.dir, "-c", conf)
	err = p.up(ctx, err)
	return p, err
}

func (h *house) startHAProxy(ctx context.Context, program string) (*proxy, error) {
	program, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w; run .ci/tools bench, or install Debian's haproxy", err)
	}
	through, err := freeAddresses(ctx)
	if err != nil {
		return nil, err
	}
	conf, err := h.configure("haproxy.cfg", haproxyCfg, map[string]any{"Engine": h.engineOf(), "Listen": through})
	if err != nil {
		return nil, err
	}
	p := &proxy{name: "haproxy", through: through, path: "/v1/chat/completions", made: new(int)}
	p.process, err = h.start("haproxy", program, "-db", "-q", "-f", conf)
	err = p.up(ctx, err)
	return p, err
}

func (h *house) startReverseProxy(ctx context.Context) (*proxy, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	engines := h.engineOf()
	args := []string{reverseProxyWord}
	for _, way := range wayNames {
		args = append(args, engines[way])
	}
	p := &proxy{name: "ReverseProxy", through: map[string]string{}, path: "/v1/chat/completions", made: new(int)}
	if p.process, err = h.start("reverse-proxy", program, args...); err != nil {
		return p, err
	}
	list, err := p.process.addresses(ctx, len(wayNames))
	for i := range list {
		p.through[wayNames[i]] = list[i]
	}
	return p, err
}

// litellmPatience: it reads half of PyPI before it listens.
const litellmPatience = 90 * time.Second

// startLiteLLM starts LiteLLM's proxy, with one worker and a model by the name that the
// calls say.
func (h *house) startLiteLLM(ctx context.Context, program, model string) (*proxy, error) {
	program, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w; run .ci/tools bench, which fetches it from PyPI", err)
	}
	through, err := freeAddresses(ctx)
	if err != nil {
		return nil, err
	}
	conf, err := h.configure("litellm.yaml", litellmYAML, map[string]any{"Model": model, "Engine": h.engines["instant"], "Key": h.client.Key})
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(through["instant"])
	if err != nil {
		return nil, err
	}
	through["stream"] = through["instant"]
	p := &proxy{name: "LiteLLM", children: true, through: through, path: "/v1/chat/completions", made: new(int)}
	// No look-up of prices on the net at its start.
	p.process, err = h.start("litellm", "env", "LITELLM_LOCAL_MODEL_COST_MAP=True", program, "--config", conf, "--host", host, "--port", port, "--num_workers", "1")
	if err != nil {
		return nil, err
	}
	return p, p.process.listening(ctx, through["instant"], litellmPatience)
}

// up waits until the proxy listens everywhere. err is that of its start.
func (p *proxy) up(ctx context.Context, err error) error {
	for _, address := range p.through {
		if err == nil {
			err = p.process.listening(ctx, address, startTimeout)
		}
	}
	return err
}
