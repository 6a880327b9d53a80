package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

// priced sets 54 CNY an hour for a unit of MU1 and waits until that holds.
func priced(t testing.TB, c *api.Client) {
	t.Helper()
	from := time.Now().Add(12 * time.Second).Truncate(time.Second)
	_, err := c.SetPrices(t.Context(), []api.SetPrice{{
		Plan: "mu", Spec: "MU1", Dimension: "unit_minute", PriceNano: ptr(int64(54_000_000_000)), Per: 60, From: from.UTC().Format(time.RFC3339),
	}})
	must(t, err)
	until(t, "the price holds", func() bool { return time.Now().After(from) })
}

// sides adds up what was posted to each side of the ledger, which together is nothing, and
// counts the causes.
func sides(t testing.TB, c *api.Client) (sums map[string]int64, causes map[string]int) {
	t.Helper()
	sums, causes = map[string]int64{}, map[string]int{}
	var all int64
	for cursor := ""; ; {
		page, err := c.Ledger(t.Context(), api.PostingFilter{}, cursor)
		must(t, err)
		for _, p := range page.Postings {
			causes[p.Cause]++
			for _, e := range p.Entries {
				kind, _, _ := strings.Cut(e.Account, "/")
				sums[kind] += e.AmountNano
				all += e.AmountNano
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if all != 0 {
		t.Errorf("the ledger adds up to %d: %v", all, sums)
	}
	return sums, causes
}

// A deployment holds an hour, is charged for the minutes that began from RUNNING to the
// moment its stop is accepted, and gets the rest back. After kill -9 a run ends at the last
// sign of life, and the next begins when the engine serves again.
// conformance 116, 117, 118
func TestWhatServesIsCharged(t *testing.T) {
	t.Parallel()
	const minute = 2 * 900_000_000 // of two units
	p := newProgram(t)
	yaml := fakeYAML(t, map[string]string{"plain": "{}"})
	s := p.serve(t, yaml)
	priced(t, s.Client)
	d, err := s.CreateDeployment(t.Context(), api.CreateDeployment{ModelName: "plain", Plan: "mu", DeploySpec: "MU1", Capacity: ptr(int64(2))})
	must(t, err)
	s.settled(t, d.DeployedModel)
	until(t, "the first minute is charged", func() bool { sums, _ := sides(t, s.Client); return sums["revenue"] == minute })
	if sums, causes := sides(t, s.Client); causes["deposit"] != 1 || sums["deposit"] != 60*minute-sums["revenue"] || sums["customer"] != -60*minute {
		t.Errorf("while it serves: %v %v", sums, causes)
	}
	s.signal(t, syscall.SIGKILL)
	s = p.serve(t, yaml)
	until(t, "it serves again", func() bool {
		got, err := s.GetDeployment(t.Context(), d.DeployedModel)
		return err == nil && got.ReadyCapacity == 2
	})
	_, err = s.StopDeployment(t.Context(), d.DeployedModel)
	must(t, err)
	sums, causes := sides(t, s.Client)
	// Each run is charged the minutes that began in it; of the first that may be none, when no
	// sign of life was written after it began.
	if n := sums["revenue"] / minute; sums["revenue"]%minute != 0 || n < 1 || n > 10 || sums["deposit"] != 0 || sums["customer"] != -sums["revenue"] || causes["refund"] == 0 {
		t.Errorf("stopped: %v %v", sums, causes)
	}
	s.signal(t, syscall.SIGTERM)
	s = p.serve(t, yaml)
	if later, _ := sides(t, s.Client); later["revenue"] != sums["revenue"] || later["deposit"] != 0 {
		t.Errorf("a stopped one is charged: %v, it was %v", later, sums)
	}
}
