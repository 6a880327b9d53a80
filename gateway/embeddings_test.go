package gateway

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/fakeengine"
)

const (
	embeddingsPath       = "/compatible-mode/v1/embeddings"
	nativeEmbeddingsPath = "/api/v1/services/embeddings/text-embedding/text-embedding"
)

func embed(input string, more ...string) string {
	return fmt.Sprintf(`{"model":%q,"input":%s%s}`, deployed, input, joined(more))
}

func embedNative(texts string, parameters ...string) string {
	return fmt.Sprintf(`{"model":%q,"input":{"texts":%s},"parameters":{%s}}`, deployed, texts, strings.TrimPrefix(joined(parameters), ","))
}

func numbers(t *testing.T, v any) (list []float32) {
	t.Helper()
	if text, ok := v.(string); ok {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+4 <= len(raw); i += 4 {
			list = append(list, math.Float32frombits(binary.LittleEndian.Uint32(raw[i:])))
		}
		return list
	}
	for _, n := range v.([]any) {
		list = append(list, float32(n.(float64)))
	}
	return list
}

// conformance 104, 156: one vector per text, in their order, the same in both dialects
// and both encodings.
func TestEmbeddings(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	const texts = `["blue cat","green cat and dog","x"]`
	floats := h.post(t, embeddingsPath, embed(texts, `"encoding_format":"float"`)).json(t)
	packed := h.post(t, "/api/v1/embeddings", embed(texts, `"encoding_format":"base64"`)).json(t)
	native := h.post(t, nativeEmbeddingsPath, embedNative(texts, `"text_type":"query"`, `"output_type":"dense"`)).json(t)
	seen := map[string]bool{}
	for i := range 3 {
		want := numbers(t, at(floats, "data", i, "embedding"))
		if len(want) < 2 || at(floats, "data", i, "index") != float64(i) || at(native, "output", "embeddings", i, "text_index") != float64(i) {
			t.Errorf("%d: %v %v", i, at(floats, "data", i), at(native, "output", "embeddings", i))
		}
		if got := numbers(t, at(packed, "data", i, "embedding")); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: packed %v, want %v", i, got, want)
		}
		if got := numbers(t, at(native, "output", "embeddings", i, "embedding")); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: native %v, want %v", i, got, want)
		}
		seen[fmt.Sprint(want)] = true
	}
	if len(seen) != 3 {
		t.Error("texts share a vector")
	}
	if _, ok := at(packed, "data", 0, "embedding").(string); !ok {
		t.Error("base64 is no string")
	}
	if floats["object"] != "list" || floats["model"] != deployed || at(floats, "data", 0, "object") != "embedding" || floats["id"] == "" {
		t.Errorf("%v", floats)
	}
	tokens := at(floats, "usage", "total_tokens")
	if tokens == 0.0 || at(floats, "usage", "prompt_tokens") != tokens || at(native, "usage", "total_tokens") != tokens {
		t.Errorf("usage %v, %v", floats["usage"], native["usage"])
	}
	for _, r := range h.meter.wait(t, 3) {
		if float64(r.InputTokens) != tokens || r.OutputTokens != 0 || !r.Billable || r.Source != berth.SourceEngine || r.End != berth.EndStop {
			t.Errorf("record %+v", r)
		}
	}
}

// An engine may know one spelling of vectors only, and have them in any order.
func TestVectorsAreSpeltAsTheCallWantsThem(t *testing.T) {
	t.Parallel()
	raw := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.1)), math.Float32bits(-2))
	text := `"` + base64.StdEncoding.EncodeToString(raw) + `"`
	for engines, vector := range map[string]string{"packed": text, "numbers": `[ 0.1, -2.0 ]`} {
		h := open(t, plan{engine: saying(`{"data":[{"index":1,"embedding":[1,1]},{"index":0,"embedding":` + vector + `}],"usage":{"prompt_tokens":3,"total_tokens":3}}`)})
		for _, format := range []string{"float", "base64"} {
			got := h.post(t, embeddingsPath, embed(`["a","b"]`, `"encoding_format":"`+format+`"`)).json(t)
			if v := at(got, "data", 0, "embedding"); !reflect.DeepEqual(numbers(t, v), []float32{0.1, -2}) || (format == "float") == isString(v) {
				t.Errorf("%s as %s: %v", engines, format, got)
			}
		}
	}
}

func isString(v any) bool { _, ok := v.(string); return ok }

// saying is an engine that answers every call with one body.
func saying(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}
}

func TestVectorsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		`[]`, `[{"index":0,"embedding":[1]}]`, `[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]`,
		`[{"index":0,"embedding":[1]},{"index":1,"embedding":[]}]`, `[{"index":0,"embedding":[1]},{"index":1,"embedding":["1"]}]`,
		`[{"index":0,"embedding":[1]},{"index":1,"embedding":"AAA="}]`, `[{"index":0},{"index":1}]`, `{}`,
	} {
		h := open(t, plan{engine: saying(`{"data":` + data + `,"usage":{"prompt_tokens":3}}`)})
		if got := h.post(t, embeddingsPath, embed(`["a","b"]`)); got.status != http.StatusInternalServerError || !strings.Contains(got.body, "ModelServiceFailed") {
			t.Errorf("%s: %d %s", data, got.status, got.body)
		}
		if r := h.meter.wait(t, 1)[0]; r.Billable {
			t.Errorf("%s: it was billed", data)
		}
	}
}

func TestEmbeddingsRefuse(t *testing.T) {
	t.Parallel()
	h := open(t, plan{scripts: []fakeengine.Script{{EmbeddingDimensions: 8}}})
	eleven := `["1","2","3","4","5","6","7","8","9","10","11"]`
	for _, c := range []struct{ path, body, sentence string }{
		{embeddingsPath, embed(eleven), "Value error, batch size is invalid, it should not be larger than 10."},
		{nativeEmbeddingsPath, embedNative(eleven), "Value error, batch size is invalid, it should not be larger than 10."},
		{embeddingsPath, embed(`[1,2]`), notTexts},
		{nativeEmbeddingsPath, embedNative(`[["a"]]`), notTexts},
		{nativeEmbeddingsPath, embedNative(`{"a":1}`), notTexts},
		{embeddingsPath, embed(`[]`), "[] is too short"},
		{embeddingsPath, embed(`""`), "Range of input length should be [1, 8192]"},
		{embeddingsPath, `{"model":"` + deployed + `"}`, "Field required: input"},
		{nativeEmbeddingsPath, `{"model":"` + deployed + `"}`, "Required input parameter missing from request."},
		{embeddingsPath, embed(`"a"`, `"dimensions":4`), "The dimensions of this model's embeddings are 8, not 4"},
		{nativeEmbeddingsPath, embedNative(`["a"]`, `"dimension":4`), "The dimensions of this model's embeddings are 8, not 4"},
		{embeddingsPath, embed(`"a"`, `"dimensions":0`), "'dimensions' must be a positive integer"},
		{embeddingsPath, embed(`"a"`, `"encoding_format":"int8"`), "'encoding_format' must be float or base64"},
		{nativeEmbeddingsPath, embedNative(`["a"]`, `"output_type":"sparse"`), "The output_type sparse is not available here"},
		{nativeEmbeddingsPath, embedNative(`["a"]`, `"output_type":"dense&sparse"`), "The output_type dense&sparse is not available here"},
		{nativeEmbeddingsPath, embedNative(`["a"]`, `"instruct":"find"`), `The parameter "parameters.instruct" is not supported`},
		{embeddingsPath, embed(`"a"`, `"lora":[]`), `The parameter "lora" is not supported`},
	} {
		got := h.post(t, c.path, c.body)
		v := got.json(t)
		said := at(v, "message")
		if c.path == embeddingsPath {
			said = at(v, "error", "message")
		}
		if got.status != http.StatusBadRequest || !strings.HasPrefix(fmt.Sprint(said), c.sentence) {
			t.Errorf("%s: %d %s", c.body, got.status, got.body)
		}
	}
	if got := h.post(t, embeddingsPath, embed(`"a"`, `"dimensions":8`)); got.status != http.StatusOK {
		t.Errorf("its own size: %d %s", got.status, got.body)
	}
}

// What an engine cannot do is refused before it is asked.
func TestAnEngineWithoutEmbeddings(t *testing.T) {
	t.Parallel()
	h := open(t, plan{dialect: without{}})
	got := h.post(t, embeddingsPath, embed(`"a"`))
	if got.status != http.StatusBadRequest || !strings.Contains(got.body, "no embeddings here") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if n := h.engines[0].Stats().Calls; n != 0 {
		t.Errorf("the engine was asked %d times", n)
	}
}

type without struct{ llama }

func (without) Refuses(c berth.EngineCall, _ []berth.Field) string {
	if c.Operation == berth.OperationEmbedding {
		return "no embeddings here"
	}
	return ""
}

func TestEmbeddingsReserveTheirInputOnly(t *testing.T) {
	t.Parallel()
	limits := &fixedLimiter{}
	h := open(t, plan{limiter: limits, route: func(r *berth.Route) { r.Limits.Tokens = 1000 }})
	h.post(t, embeddingsPath, embed(`["blue cat","dog"]`))
	h.meter.wait(t, 1)
	if asked, settled := limits.asked[0], limits.settled[0]; asked.Output != 0 || asked.Input < settled.Input || settled.Input == 0 || settled.Output != 0 {
		t.Errorf("asked %+v, settled %+v", asked, settled)
	}
}
