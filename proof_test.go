package berth_test

import (
	"testing"

	berth "github.com/berthhq/berth"
)

func TestNextProof(t *testing.T) {
	t.Parallel()
	adapters := func(digests ...string) (list []berth.AdapterRef) {
		for _, d := range digests {
			list = append(list, berth.AdapterRef{Digest: d})
		}
		return list
	}
	good := func(key string) berth.Proof { return berth.Proof{Adapter: key, Proved: true} }
	bad := func(key string, n int64) berth.Proof { return berth.Proof{Adapter: key, Failures: n} }
	weights := good(berth.ProofOfWeights)
	for name, c := range map[string]struct {
		adapters []berth.AdapterRef
		proofs   []berth.Proof
		want     string
	}{
		"no adapter":                         {nil, nil, ""},
		"one: its first answer is the proof": {adapters("a"), nil, ""},
		"one that failed beside others":      {adapters("a"), []berth.Proof{weights, bad("a", 2)}, ""},
		"the weights come first":             {adapters("a", "b"), nil, berth.ProofOfWeights},
		"weights that failed":                {adapters("a", "b"), []berth.Proof{bad(berth.ProofOfWeights, 1)}, berth.ProofOfWeights},
		"then the first":                     {adapters("a", "b"), []berth.Proof{weights}, "a"},
		"then the next":                      {adapters("a", "b"), []berth.Proof{weights, good("a")}, "b"},
		"one that failed waits":              {adapters("a", "b"), []berth.Proof{weights, bad("a", 1)}, "b"},
		"and has its turn again":             {adapters("a", "b"), []berth.Proof{weights, bad("a", 1), good("b")}, "a"},
		"all are proved":                     {adapters("a", "b"), []berth.Proof{good("a"), good("b")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := berth.NextProof(c.adapters, c.proofs); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAScratchRunLoadsWhatItProves(t *testing.T) {
	t.Parallel()
	r := berth.Replica{Adapters: []berth.AdapterRef{{Digest: "a"}, {Digest: "b"}}}
	for proving, want := range map[string]int{"": 2, "b": 1, berth.ProofOfWeights: 0} {
		r.Proving = proving
		if got := r.Loads(); len(got) != want || len(got) == 1 && got[0].Digest != "b" {
			t.Errorf("proving %q it loads %v", proving, got)
		}
	}
}
