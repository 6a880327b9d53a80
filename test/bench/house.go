//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berthhq/berth/api"
)

// house is everything that runs during the bench.
type house struct {
	dir       string
	processes []*process
	engines   map[string]string // model to address, for all but Berth
	proxies   []*proxy          // in the order of the tables; Berth is the last
	missing   []string          // why some are not there
	litellm   *proxy            // nil: not there
	client    *api.Client
	deployed  map[string]string // model to deployed model
}

// The scripts of the models. A prompt has 108 tokens: 100 words, and 8 for two messages.
var models = map[string]string{
	"instant": `{}`,
	"paced":   `{"prompt_tokens_per_second": 5400}`, // 20 ms before the answer
	"steady":  `{"tokens_per_second": 500}`,
	"still":   `{"tokens_per_second": 0.001}`, // one event, and nothing more
}

const pause = 20 * time.Millisecond

const berthYAML = `
node: {threads: 8, memory: 2GiB}
specs: {MU1: {threads: 1, memory: 256MiB, slots: 64}}
models:
  instant: {engine: fake, path: instant.json, plans: [mu], context: 32768}
  paced: {engine: fake, path: paced.json, plans: [mu], context: 32768}
  steady: {engine: fake, path: steady.json, plans: [mu], context: 32768}
  still: {engine: fake, path: still.json, plans: [mu], context: 32768}
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
	if err := h.startProxies(ctx, o); err != nil {
		return err
	}
	if err := h.startBerth(ctx, berth); err != nil {
		return err
	}
	if err := h.deploy(ctx); err != nil {
		return err
	}
	if o.has("litellm") {
		if h.litellm, err = h.startLiteLLM(ctx, o.litellm, h.deployed["instant"]); err != nil {
			h.litellm = nil
			h.miss("LiteLLM", err)
		}
	}
	return ctx.Err()
}

// startProxies starts those that Berth is measured beside. nginx must be there, the
// others may be missing.
func (h *house) startProxies(ctx context.Context, o options) error {
	p, err := h.startNginx(ctx, o.nginx)
	if err != nil {
		return err
	}
	h.proxies = append(h.proxies, p)
	if o.has("peers") {
		if p, err := h.startHAProxy(ctx, o.haproxy); err != nil {
			h.miss("haproxy", err)
		} else {
			h.proxies = append(h.proxies, p)
		}
		if p, err = h.startReverseProxy(ctx); err != nil {
			return err
		}
		h.proxies = append(h.proxies, p)
	}
	return nil
}

func (h *house) miss(name string, err error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	h.missing = append(h.missing, fmt.Sprintf("%s is not measured: %s", name, text))
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

func (h *house) startBerth(ctx context.Context, program string) (err error) {
	if err := os.WriteFile(filepath.Join(h.dir, "berth.yaml"), []byte(berthYAML), 0o600); err != nil {
		return err
	}
	p := &proxy{name: "berth", through: map[string]string{}, path: "/compatible-mode/v1/chat/completions", made: new(int)}
	if p.process, err = h.start("berth", program, "serve", "--config", "berth.yaml", "--data", "data", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	address, err := p.process.address(ctx)
	if err != nil {
		return err
	}
	for _, way := range wayNames {
		p.through[way] = address
	}
	h.proxies = append(h.proxies, p)
	key, err := os.ReadFile(filepath.Join(h.dir, "data", "owner.key"))
	if err != nil {
		return err
	}
	h.client = &api.Client{BaseURL: "http://" + address, Key: strings.TrimSpace(string(key))}
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
			title: title, part: "unary", unit: "call", perCall: 1, peers: h.peers(model, model),
			load: load{
				connections: connections, stagger: pause, wanted: fmt.Appendf(nil, `"completion_tokens":%d`, answerTokens),
				request: h.call(model, 100-1-answerTokens, "repeat:"+strings.Repeat(" word", answerTokens), ""),
			},
		}
	}
	streams := func(title, model, way string) scenario {
		return scenario{
			title: title, part: "streams", unit: "event", perCall: streamEvents, peers: h.peers(model, way),
			load: load{
				connections: concurrent, stagger: pause, wanted: fmt.Appendf(nil, `"completion_tokens":%d`, streamTokens), events: streamEvents,
				request: h.streamCall(model, streamTokens),
			},
		}
	}
	list := []scenario{
		unary("unary, 16 at once", "instant", concurrent),
		unary("unary, one at a time", "instant", 1),
		unary("unary, 256 at once", "instant", 256),
		unary("unary, 16 at once, 20 ms in the engine", "paced", concurrent),
		streams("streams, 16 at once", "instant", "stream"),
		streams("streams, 16 at once, 500 events/s each", "steady", "steady"),
	}
	if h.litellm != nil {
		for _, s := range []scenario{list[0], list[4]} {
			s.title, s.part, s.rounds, s.warmUp = "LiteLLM: "+s.title, "litellm", 2, 2*time.Second
			way := "instant"
			if s.load.events > 0 {
				way = "stream"
				s.load.anyEvents = true
			}
			s.peers = append(s.peers[:2:2], h.litellm.peer(way), s.peers[len(s.peers)-1])
			list = append(list, s)
		}
	}
	return list
}

// streamCall asks for a stream of so many tokens.
func (h *house) streamCall(model string, tokens int) func(peer) []byte {
	return h.call(model, 100-3, fmt.Sprintf("count to %d", tokens), `"stream":true,"stream_options":{"include_usage":true},`)
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
	list := []peer{{name: "engine alone", address: h.engines[model], path: "/v1/chat/completions", made: new(int)}}
	for _, p := range h.proxies {
		list = append(list, p.peer(way))
	}
	return list
}

func (p *proxy) peer(way string) peer {
	return peer{name: p.name, address: p.through[way], path: p.path, cpu: p.process.cpu(p.children), made: p.made, log: p.process.lastWords}
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
	if made := *h.proxies[len(h.proxies)-1].made; recorded != int64(made) {
		return fmt.Errorf("berth recorded %d calls of %d", recorded, made)
	}
	fmt.Fprintf(out, "berth recorded the usage of all %d calls that went through it\n", recorded)
	return nil
}
