package fakeengine

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"math"
	"net/http"
)

type embeddings struct {
	Object string      `json:"object"`
	Model  string      `json:"model"`
	Data   []embedding `json:"data"`
	Usage  *usage      `json:"usage,omitempty"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // []float32, or base64 of little-endian float32
}

// embed answers one vector per input. Its prompt tokens are the words of the
// inputs, by the script's rule without messages.
func (e *Engine) embed(ctx context.Context, w http.ResponseWriter, j job) error {
	release, err := e.takeSlot(ctx)
	if err != nil {
		return err
	}
	defer release()
	prompt := e.script.promptRule().count(j.request.Input, 0)
	if err := e.readPrompt(ctx, e.newPace(), j, prompt, 0); err != nil {
		return err
	}
	dimensions := j.request.Dimensions
	if dimensions == 0 {
		dimensions = e.script.dimensions()
	}
	out := embeddings{Object: "list", Model: j.request.Model, Usage: usage{PromptTokens: prompt}.spoilt(j.fault)}
	for i, text := range j.request.Input {
		var value any = vector(text, dimensions)
		if j.request.EncodingFormat == "base64" {
			value = packed(vector(text, dimensions))
		}
		out.Data = append(out.Data, embedding{Object: "embedding", Index: i, Embedding: value})
	}
	return e.writePlain(w, j.fault, out)
}

// vector returns a vector of length 1 that depends on the text alone.
func vector(text string, dimensions int) []float32 {
	hash := fnv.New64a()
	hash.Write([]byte(text))
	state := hash.Sum64()
	values := make([]float64, dimensions)
	var squares float64
	for i := range values {
		state += 0x9e3779b97f4a7c15
		values[i] = float64(int64(mix(state))) / (1 << 63)
		squares += values[i] * values[i]
	}
	length := math.Sqrt(squares)
	out := make([]float32, dimensions)
	for i, v := range values {
		out[i] = float32(v / length)
	}
	return out
}

// mix is the finishing step of the splitmix64 generator.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func packed(values []float32) string {
	bytes := make([]byte, 0, 4*len(values))
	for _, v := range values {
		bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(bytes)
}
