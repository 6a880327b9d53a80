package fakeengine_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

type vectors struct {
	Model string
	Data  []struct {
		Index     int
		Embedding json.RawMessage
	}
	Usage json.RawMessage
}

func mustEmbed(t *testing.T, script fakeengine.Script, body string) vectors {
	t.Helper()
	engine := mustNew(t, script, fakeengine.Options{})
	var got vectors
	if err := json.Unmarshal(mustAsk(t, engine, http.MethodPost, "/v1/embeddings", body, http.StatusOK), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func (v vectors) mustFloats(t *testing.T, i int) []float32 {
	t.Helper()
	var out []float32
	if err := json.Unmarshal(v.Data[i].Embedding, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	got := mustEmbed(t, fakeengine.Script{}, `{"model":"m","input":["blue cat","red dog","blue cat"],"dimensions":16}`)
	if len(got.Data) != 3 || got.Data[2].Index != 2 || got.Model != "m" || mustFigures(t, string(got.Usage)) != "6 0 6" {
		t.Fatalf("answer %+v", got)
	}
	first, second, third := got.mustFloats(t, 0), got.mustFloats(t, 1), got.mustFloats(t, 2)
	if !slices.Equal(first, third) || slices.Equal(first, second) {
		t.Errorf("vectors %v, %v, %v", first, second, third)
	}
	var squares float64
	for _, v := range first {
		squares += float64(v) * float64(v)
	}
	if len(first) != 16 || math.Abs(squares-1) > 1e-6 {
		t.Errorf("%d dimensions, length squared %v", len(first), squares)
	}
}

func TestEmbeddingsOfTheScriptsLength(t *testing.T) {
	t.Parallel()
	got := mustEmbed(t, fakeengine.Script{EmbeddingDimensions: 3}, `{"input":"blue cat"}`)
	if n := len(got.mustFloats(t, 0)); n != 3 {
		t.Errorf("%d dimensions, want 3", n)
	}
}

func TestEmbeddingsInBase64(t *testing.T) {
	t.Parallel()
	want := mustEmbed(t, fakeengine.Script{}, `{"input":"blue cat"}`).mustFloats(t, 0)
	var text string
	if err := json.Unmarshal(mustEmbed(t, fakeengine.Script{}, `{"input":"blue cat","encoding_format":"base64"}`).Data[0].Embedding, &text); err != nil {
		t.Fatal(err)
	}
	bytes, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(bytes) != 4*64 {
		t.Fatalf("%d bytes, %v", len(bytes), err)
	}
	for i, v := range want {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(bytes[4*i:])); got != v {
			t.Errorf("dimension %d: %v, want %v", i, got, v)
		}
	}
}
