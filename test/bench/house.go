//go:build linux

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/berthhq/berth/api"
)

// house is everything that runs during the bench.
type house struct {
	dir       string
	processes []*process
	engines   map[string]string // model to address, for nginx and for calls without a proxy
	nginx     *process
	through   map[string]string // way through nginx to address
	berth     *process
	address   string // Berth's
	client    *api.Client
	deployed  map[string]string // model to deployed model
	made      int               // calls through Berth
}

// The scripts of the models. A prompt has 108 tokens: 100 words, and 8 for two messages.
var models = map[string]string{
	"instant": `{}`,
	"paced":   `{"prompt_tokens_per_second": 5400}`, // 20 ms before the answer
	"steady":  `{"tokens_per_second": 500}`,
}

const pause = 20 * time.Millisecond

//go:embed nginx.conf
var nginxConf string

const berthYAML = `
node: {threads: 8, memory: 2GiB}
specs: {MU1: {threads: 1, memory: 256MiB, slots: 64}}
models:
  instant: {engine: fake, path: instant.json, plans: [mu], context: 32768}
  paced: {engine: fake, path: paced.json, plans: [mu], context: 32768}
  steady: {engine: fake, path: steady.json, plans: [mu], context: 32768}
`

func (h *house) open(ctx context.Context, o options) error {
	for model, script := range models {
		if err := os.WriteFile(filepath.Join(h.dir, model+".json"), []byte(script), 0o600); err != nil {
			return err
		}
	}
	berth, err := filepath.Abs(o.berth)
	if err != nil {
		return err
	}
	if h.engines, err = h.startEngines(ctx, berth); err != nil {
		return err
	}
	if err := h.startNginx(ctx, o.nginx); err != nil {
		return err
	}
	if err := h.startBerth(ctx, berth); err != nil {
		return err
	}
	return h.deploy(ctx)
}

// close ends all processes, the youngest first.
func (h *house) close() error {
	var errs []error
	for _, p := range slices.Backward(h.processes) {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

func (h *house) start(name, program string, args ...string) (*process, error) {
	p, err := start(h.dir, name, program, args...)
	if err == nil {
		h.processes = append(h.processes, p)
	}
	return p, err
}

func (h *house) startEngines(ctx context.Context, berth string) (map[string]string, error) {
	engines := map[string]string{}
	for model := range models {
		p, err := h.start("engine-"+model, berth, "fake-engine", "--script", model+".json")
		if err != nil {
			return nil, err
		}
		if engines[model], err = p.address(ctx); err != nil {
			return nil, err
		}
	}
	return engines, nil
}

func (h *house) startNginx(ctx context.Context, program string) (err error) {
	if program, err = exec.LookPath(program); err != nil {
		return fmt.Errorf("%w; run .ci/tools bench, or install Debian's nginx-light", err)
	}
	h.through = map[string]string{}
	for _, way := range []string{"instant", "paced", "stream", "steady"} {
		if h.through[way], err = freeAddress(ctx); err != nil {
			return err
		}
	}
	conf, err := os.Create(filepath.Join(h.dir, "nginx.conf"))
	if err != nil {
		return err
	}
	err = template.Must(template.New("").Parse(nginxConf)).Execute(conf, map[string]any{
		"Root": os.Geteuid() == 0, "Engine": h.engines, "Listen": h.through,
	})
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	if h.nginx, err = h.start("nginx", program, "-e", "stderr", "-p", h.dir, "-c", conf.Name()); err != nil {
		return err
	}
	for _, address := range h.through {
		if err := h.nginx.listening(ctx, address); err != nil {
			return err
		}
	}
	return nil
}

// freeAddress is one that nobody listens on at the moment: nginx cannot choose one.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func (h *house) startBerth(ctx context.Context, program string) (err error) {
	if err := os.WriteFile(filepath.Join(h.dir, "berth.yaml"), []byte(berthYAML), 0o600); err != nil {
		return err
	}
	if h.berth, err = h.start("berth", program, "serve", "--config", "berth.yaml", "--data", "data", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	if h.address, err = h.berth.address(ctx); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(h.dir, "data", "owner.key"))
	if err != nil {
		return err
	}
	h.client = &api.Client{BaseURL: "http://" + h.address, Key: strings.TrimSpace(string(key))}
	return nil
}

// deploy buys replicas of its own for each model, with limits that no call reaches and
// every call is counted against.
func (h *house) deploy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	h.deployed = map[string]string{}
	for model := range models {
		limit, one := int64(1_000_000_000_000), int64(1)
		d, err := h.client.CreateDeployment(ctx, api.CreateDeployment{
			ModelName: model, Plan: api.PlanMU, DeploySpec: "MU1", Capacity: &one, RPMLimit: &limit, TPMLimit: &limit,
		})
		if err != nil {
			return fmt.Errorf("deploy %s: %w", model, err)
		}
		if d, err = h.client.WaitDeployment(ctx, d.DeployedModel, nil); err != nil {
			return fmt.Errorf("deploy %s: %w", model, err)
		}
		if d.Status != api.StatusRunning {
			return fmt.Errorf("deploy %s: %s %s", model, d.Status, d.FailReason)
		}
		h.deployed[model] = d.DeployedModel
	}
	return nil
}

// The calls: 100 words in, and 32 or 200 tokens out.
const (
	answerTokens = 32
	streamTokens = 200
	streamEvents = streamTokens + 4 // role, finish, usage, [DONE]
)

func (h *house) scenarios() []scenario {
	const concurrent = 16
	unary := func(title, model string, connections int) scenario {
		return scenario{
			title: title, unit: "call", perCall: 1, peers: h.peers(model, model),
			load: load{
				connections: connections, stagger: pause, wanted: fmt.Appendf(nil, `"completion_tokens":%d`, answerTokens),
				request: h.call(model, 100-1-answerTokens, "repeat:"+strings.Repeat(" word", answerTokens), ""),
			},
		}
	}
	streams := func(title, model, way string) scenario {
		return scenario{
			title: title, unit: "event", perCall: streamEvents, peers: h.peers(model, way),
			load: load{
				connections: concurrent, stagger: pause, wanted: fmt.Appendf(nil, `"completion_tokens":%d`, streamTokens), events: streamEvents,
				request: h.call(model, 100-3, fmt.Sprintf("count to %d", streamTokens), `"stream":true,"stream_options":{"include_usage":true},`),
			},
		}
	}
	return []scenario{
		unary("unary, 16 at once", "instant", concurrent),
		unary("unary, one at a time", "instant", 1),
		unary("unary, 16 at once, 20 ms in the engine", "paced", concurrent),
		streams("streams, 16 at once", "instant", "stream"),
		streams("streams, 16 at once, 500 events/s each", "steady", "steady"),
	}
}

// call returns a chat completion as it is sent, the same to every peer.
func (h *house) call(model string, filler int, say, stream string) func(peer) []byte {
	body := fmt.Sprintf(`{"model":%q,%s"messages":[{"role":"system","content":%q},{"role":"user","content":%q}]}`,
		h.deployed[model], stream, strings.TrimSpace(strings.Repeat("word ", filler)), say)
	return func(to peer) []byte {
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			to.path, to.address, h.client.Key, len(body), body)
	}
}

// peers are the ways to a model's engine.
func (h *house) peers(model, way string) []peer {
	const path = "/v1/chat/completions"
	return []peer{
		{name: "engine alone", address: h.engines[model], path: path, made: new(int)},
		{name: "nginx", address: h.through[way], path: "/compatible-mode" + path, cpu: h.nginx.cpu(true), made: new(int)},
		{name: "berth", address: h.address, path: "/compatible-mode" + path, cpu: h.berth.cpu(false), made: &h.made},
	}
}

// checkUsage compares the calls that Berth recorded with those that were made.
func (h *house) checkUsage(ctx context.Context, out io.Writer) error {
	rows, err := h.client.Usage(ctx, api.UsageFilter{})
	if err != nil {
		return err
	}
	var recorded int64
	for _, row := range rows {
		recorded += row.Calls
	}
	if recorded != int64(h.made) {
		return fmt.Errorf("berth recorded %d calls of %d", recorded, h.made)
	}
	fmt.Fprintf(out, "berth recorded the usage of all %d calls that went through it\n", recorded)
	return nil
}
