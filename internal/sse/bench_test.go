package sse_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/berthhq/berth/internal/sse"
)

var chunk = []byte(`{"id":"chatcmpl-6e7c","object":"chat.completion.chunk","created":1790000000,"model":"abacus","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"usage":null}`)

// BenchmarkReader reads one stream of 1,000 events per round.
func BenchmarkReader(b *testing.B) {
	for name, stream := range map[string][]byte{
		"openai": bytes.Repeat(sse.AppendData(nil, chunk), 1000),
		"native": bytes.Repeat(sse.AppendResult(nil, 1, chunk), 1000),
	} {
		b.Run(name, func(b *testing.B) {
			source := bytes.NewReader(stream)
			reader := sse.NewReader(source, 0)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				source.Reset(stream)
				reader.Reset(source)
				for {
					if _, err := reader.Next(); errors.Is(err, io.EOF) {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
		})
	}
}

func BenchmarkAppendResult(b *testing.B) {
	frame := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		frame = sse.AppendResult(frame[:0], 17, chunk)
	}
}
