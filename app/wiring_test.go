package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/gateway"
	"github.com/berthhq/berth/store/sqlitetest"
)

func TestTheNodeIsDetectedUnlessItIsSaid(t *testing.T) {
	t.Parallel()
	said, _, err := detectNode(t.Context(), config.Node{Threads: 3, Memory: 5 << 30, Accelerators: []string{"a", "b"}})
	want := berth.Node{ID: localNode, Online: true, GPUs: []berth.Accelerator{{ID: "a", Vendor: berth.VendorNVIDIA}, {ID: "b", Vendor: berth.VendorNVIDIA}}, Total: berth.Resources{Threads: 3, MemoryBytes: 5 << 30, Accelerators: 2}}
	if err != nil || !reflect.DeepEqual(said, want) {
		t.Errorf("got %+v, %v", said, err)
	}
	if runtime.GOOS == "linux" {
		found, _, err := detectNode(t.Context(), config.Node{})
		if err != nil || found.Total.Threads != int64(runtime.NumCPU()) || found.Total.MemoryBytes < 16<<20 || found.Total.Accelerators != int64(len(found.GPUs)) {
			t.Errorf("got %+v, %v", found, err)
		}
	}
}

func TestMemoryIsReadInKiB(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meminfo")
	must(t, os.WriteFile(path, []byte("MemTotal:       16384 kB\nMemFree: 1 kB\nOdd: many kB\n"), 0o600))
	if got, err := memoryTotal(path, "MemTotal"); err != nil || got != 16<<20 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, field := range []string{"MemAvailable", "Odd"} {
		if _, err := memoryTotal(path, field); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestTheLimiterSpeaksTheGatewaysWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
	call := gateway.Tokens{Requests: 1, Input: 100, Output: 50, Thinking: 20, Content: 30}
	ptu := func(in, out, thinking int64) berth.Limits {
		return berth.Limits{IsMetered: true, PTU: berth.PTUCapacity{InputTPM: in, OutputTPM: out, ThinkingTPM: thinking}}
	}
	for name, c := range map[string]struct {
		limits  berth.Limits
		refused gateway.Refusal // of the second call at once; zero: it passes
	}{
		"no limit":          {berth.Limits{}, gateway.Refusal{}},
		"requests":          {berth.Limits{Requests: 1}, gateway.Refusal{Dimension: "requests", Limit: 1, Used: 1, Asked: 1}},
		"tokens":            {berth.Limits{Tokens: 299}, gateway.Refusal{Dimension: "tokens", Limit: 299, Used: 150, Asked: 150}},
		"input":             {ptu(150, 1000, 0), gateway.Refusal{Dimension: "input tokens", Limit: 150, Used: 100, Asked: 100}},
		"output":            {ptu(1000, 99, 0), gateway.Refusal{Dimension: "output tokens", Limit: 99, Used: 50, Asked: 50}},
		"thinking apart":    {ptu(1000, 1000, 39), gateway.Refusal{Dimension: "thinking tokens", Limit: 39, Used: 20, Asked: 20}},
		"output, no longer": {ptu(1000, 59, 1000), gateway.Refusal{Dimension: "output tokens", Limit: 59, Used: 30, Asked: 30}},
		"what fits":         {ptu(200, 60, 40), gateway.Refusal{}},
	} {
		l := (&lastMinute{now: time.Now}).newLimiter("dep")
		if _, refusal := l.Reserve(now, c.limits, call, new(gateway.Standing)); refusal != nil {
			t.Errorf("%s: the first call: %+v", name, refusal)
			continue
		}
		_, refusal := l.Reserve(now, c.limits, call, new(gateway.Standing))
		if c.refused == (gateway.Refusal{}) {
			if refusal != nil {
				t.Errorf("%s: %+v", name, refusal)
			}
			continue
		}
		if refusal == nil {
			t.Errorf("%s: not refused", name)
			continue
		}
		wait := refusal.RetryAfter
		refusal.RetryAfter = 0
		if *refusal != c.refused || wait <= 0 || wait > time.Minute+time.Second {
			t.Errorf("%s: %+v after %s", name, refusal, wait)
		}
		// conformance 144: after that wait it passes.
		if _, again := l.Reserve(now.Add(wait), c.limits, call, new(gateway.Standing)); again != nil {
			t.Errorf("%s: after %s: %+v", name, wait, again)
		}
	}
}

func TestTheLimiterFollowsSettlementsAndChanges(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
	l := (&lastMinute{now: time.Now}).newLimiter("dep")
	limits := berth.Limits{Tokens: 100}
	if _, refusal := l.Reserve(now, limits, gateway.Tokens{Requests: 1, Output: 101}, new(gateway.Standing)); refusal == nil || refusal.RetryAfter != 0 {
		t.Errorf("a call that never fits: %+v", refusal)
	}
	held, refusal := l.Reserve(now, limits, gateway.Tokens{Requests: 1, Output: 90}, new(gateway.Standing))
	if refusal != nil {
		t.Fatalf("got %+v", refusal)
	}
	held.Settle(now, gateway.Tokens{Requests: 1, Output: 10})
	erased, refusal := l.Reserve(now, limits, gateway.Tokens{Requests: 1, Output: 90}, new(gateway.Standing))
	if refusal != nil {
		t.Fatalf("after the settlement: %+v", refusal)
	}
	erased.Settle(now, gateway.Tokens{})
	limits.Tokens = 20
	if _, refusal = l.Reserve(now, limits, gateway.Tokens{Requests: 1, Output: 11}, new(gateway.Standing)); refusal == nil || refusal.Used != 10 || refusal.Limit != 20 {
		t.Errorf("a lower limit holds from the next call: %+v", refusal)
	}
	if _, refusal = l.Reserve(now, berth.Limits{}, gateway.Tokens{Requests: 1, Output: 1000}, new(gateway.Standing)); refusal != nil {
		t.Errorf("no limit any more: %+v", refusal)
	}
}

func TestTheNextFreePort(t *testing.T) {
	t.Parallel()
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, busy.Close()) })
	address := busy.Addr().String()
	var out bytes.Buffer
	free, err := freeAddress(t.Context(), address, &out)
	must(t, err)
	port := func(a string) int {
		_, text, err := net.SplitHostPort(a)
		must(t, err)
		n, err := strconv.Atoi(text)
		must(t, err)
		return n
	}
	if got, first := port(free), port(address); got <= first || got >= first+100 || out.String() != fmt.Sprintf("Port %d is busy; using %d.\n", first, got) {
		t.Errorf("got %s beside %s: %q", free, address, out.String())
	}
	for _, wrong := range []string{"127.0.0.1", "127.0.0.1:none", "256.0.0.1:7700"} {
		if _, err := freeAddress(t.Context(), wrong, &out); err == nil {
			t.Errorf("%s is an address", wrong)
		}
	}
}

func TestEveryFieldOfAModelEntryArrives(t *testing.T) {
	t.Parallel()
	keyFile := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(keyFile, []byte(" sk-far \n"), 0o600))
	got, err := newModel(config.Model{
		Name: "n", Path: "p", Base: "b", Adapter: "a", URL: "u", KeyFile: keyFile, RemoteName: "r", Engine: "fake",
		Plans: []string{"ptu", "mu"}, Specs: []config.SpecOverride{{Name: "MU1", Threads: 1, Memory: 2, Slots: 3, Context: 4, Units: 5}},
		Pool: config.Pool{Spec: "MU1", Min: 1, Max: 2}, Calibration: config.Calibration{InputTPM: 6, OutputTPM: 7},
		PTU:      config.PTU{CacheFactor: 200, MaxInput: 9, LongInput: []config.LongInput{{Name: "5", Input: 1330, Output: 1170}}},
		Thinking: "always", Context: 8, StandIn: true, Description: "d",
	})
	want := berth.NewModel{
		Name: "n", Path: "p", Base: "b", Adapter: "a", URL: "u", Key: "sk-far", RemoteName: "r", Engine: "fake",
		Plans:       []berth.Plan{berth.PlanPTU, berth.PlanMU},
		Specs:       []berth.SpecOverride{{Spec: "MU1", Threads: 1, MemoryBytes: 2, Slots: 3, ContextLength: 4, UnitsPerReplica: 5}},
		Pool:        berth.PoolPolicy{Spec: "MU1", Min: 1, Max: 2},
		Calibration: berth.Calibration{InputTPM: 6, OutputTPM: 7, Declared: true},
		PTU:         berth.PTUTerms{CacheFactor: 200, MaxInput: 9, LongInput: []berth.LongInput{{Above: 5, Input: 1330, Output: 1170}}},
		Thinking:    berth.ThinkingAlways, ContextLength: 8, StandIn: true, Description: "d", Configured: true,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	bare, err := newModel(config.Model{Name: "n"})
	if err != nil || bare.Plans != nil || bare.Specs != nil || bare.Calibration.Declared {
		t.Errorf("what is not given: %+v, %v", bare, err)
	}
	spec := specs([]config.Spec{{Name: "S", Threads: 1, Memory: 2, Accelerators: 3, Slots: 4, Context: 5, Units: 6, Type: "SEPERATED"}})
	if !reflect.DeepEqual(spec, []berth.Spec{{
		Name: "S", Type: berth.SpecTypeSeparated, Unit: berth.Resources{Threads: 1, MemoryBytes: 2, Accelerators: 3}, Slots: 4, ContextLength: 5, UnitsPerReplica: 6,
	}}) {
		t.Errorf("got %+v", spec)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func() string
		form string
	}{
		"request":   {newUUID, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`}, // conformance 8
		"inner":     {func() string { return newID("dep_") }, `^dep_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`},
		"workspace": {newWorkspaceID, `^llm-[0-9a-z]{8}$`},
		"account":   {newAccountID, `^[1-9][0-9]{15}$`},
	} {
		form, seen := regexp.MustCompile(c.form), map[string]bool{}
		last := ""
		for range 1000 {
			id := c.make()
			if !form.MatchString(id) || seen[id] {
				t.Fatalf("%s: %q", name, id)
			}
			if name == "inner" && id <= last {
				t.Fatalf("%q does not sort after %q", id, last)
			}
			seen[id], last = true, id
		}
	}
}

func TestRoutingCarriesEachVersionOnce(t *testing.T) {
	t.Parallel()
	s := sqlitetest.Open(t)
	var swapped []int64
	r := &routing{store: s, now: time.Now, swap: func(n *berth.Snapshot) { swapped = append(swapped, n.Version) }}
	r.address = func(*berth.Replica) (string, string, bool) { return "", "", false }
	raise := func() (version int64) {
		must(t, s.Tx(t.Context(), func(tx berth.Tx) (err error) {
			version, err = tx.Route(t.Context())
			return err
		}))
		return version
	}
	first := raise()
	second := raise()
	must(t, r.Publish(t.Context(), first))
	must(t, r.Publish(t.Context(), second)) // served by the refresh before
	if !reflect.DeepEqual(swapped, []int64{second}) {
		t.Errorf("swapped %v, want only %d", swapped, second)
	}
	must(t, r.Refresh(t.Context())) // nothing new
	// A client that has gone does not keep the gateway from taking what was committed.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, r.Publish(gone, raise()))
	if len(swapped) != 2 {
		t.Errorf("swapped %v", swapped)
	}
	if err := r.Refresh(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a refresh for the loop that ends: %v", err)
	}
}
