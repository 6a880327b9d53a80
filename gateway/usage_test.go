package gateway

import (
	"math/rand/v2"
	"testing"

	berth "github.com/berthhq/berth"
)

// What a stream is settled at, whenever its caller leaves: the engine's figures as far as
// they came, what was counted behind them, and never more cached than input or more
// thinking than output.
func TestUsageOfStreams(t *testing.T) {
	t.Parallel()
	const (
		begin = `{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":10,"completion_tokens":0}}`
		text  = `{"choices":[{"index":0,"delta":{"content":"a"}}]}`
		think = `{"choices":[{"index":0,"delta":{"reasoning_content":"a"}}]}`
		stop  = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	)
	final := func(usage string) string { return `{"choices":[],"usage":` + usage + `}` }
	for name, tc := range map[string]struct {
		chunks []string
		want   usage // the figures of it
		source berth.Source
	}{
		"counted":                        {[]string{text, text, text}, usage{input: 5, output: 3}, berth.SourceCounted},
		"figures in the first chunk":     {[]string{begin, text, text, text}, usage{input: 10, output: 3}, berth.SourceCounted},
		"and in the last":                {[]string{begin, text, text, stop, final(`{"prompt_tokens":10,"completion_tokens":4}`)}, usage{input: 10, output: 4}, berth.SourceEngine},
		"thinking behind the first ones": {[]string{begin, think, think, text}, usage{input: 10, output: 3, thinking: 2}, berth.SourceCounted},
		"figures now and then": {
			[]string{text, `{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":9,"completion_tokens":7}}`, text},
			usage{input: 9, output: 8}, berth.SourceCounted,
		},
		"figures twice": {
			[]string{text, stop, final(`{"prompt_tokens":9,"completion_tokens":2}`), final(`{"prompt_tokens":9,"completion_tokens":2}`)},
			usage{input: 9, output: 2}, berth.SourceEngine,
		},
		"more cached than input": {
			[]string{text, stop, final(`{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":90}}`)},
			usage{input: 9, cached: 9, output: 2}, berth.SourceEngine,
		},
		"more cached than the input that came later": {
			[]string{`{"choices":[{"index":0,"delta":{"content":"a"}}],"timings":{"cache_n":50,"prompt_n":1,"predicted_n":1}}`, stop, final(`{"prompt_tokens":9,"completion_tokens":2}`)},
			usage{input: 9, cached: 9, output: 2}, berth.SourceEngine,
		},
		"more thinking than output": {
			[]string{think, think, think, stop, final(`{"prompt_tokens":9,"completion_tokens":2}`)},
			usage{input: 9, output: 2, thinking: 2}, berth.SourceEngine,
		},
		"figures that no call has": {
			[]string{text, stop, final(`{"prompt_tokens":4611686018427387904,"completion_tokens":-1}`)},
			usage{input: 5, output: 1}, berth.SourceCounted,
		},
	} {
		c := &call{usage: usage{input: 5, told: true}}
		var r reply
		for _, chunk := range tc.chunks {
			must(t, r.read([]byte(chunk), chatting))
			c.usage.observe(&r, 1)
		}
		var got berth.UsageRecord
		c.fill(&got)
		want := berth.UsageRecord{InputTokens: tc.want.input, CachedTokens: tc.want.cached, OutputTokens: tc.want.output, ThinkingTokens: tc.want.thinking}
		if got != want || c.usage.source() != tc.source {
			t.Errorf("%s: %+v from %q, want %+v from %q", name, got, c.usage.source(), want, tc.source)
		}
	}
}

// No order of events makes a part larger than its whole.
func TestUsagePartsFitTheirWholes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		n := 1 + random.Int64N(2)
		c := &call{usage: usage{input: random.Int64N(9)}}
		for range 1 + random.IntN(6) {
			figures := func() figures {
				return figures{random.IntN(2) == 0, random.Int64N(9), random.Int64N(10) - 1, random.Int64N(9), random.Int64N(10) - 1}
			}
			r := reply{usage: figures(), running: figures()}
			for range random.IntN(2) {
				r.parts = append(r.parts, part{index: random.Int64N(n), content: value(`"a"`)})
			}
			c.usage.observe(&r, n)
			var u berth.UsageRecord
			if c.fill(&u); u.CachedTokens < 0 || u.CachedTokens > u.InputTokens || u.ThinkingTokens < 0 || u.ThinkingTokens > u.OutputTokens {
				t.Fatalf("%+v", u)
			}
		}
	}
}
