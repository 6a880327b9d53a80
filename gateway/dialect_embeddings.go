package gateway

import (
	"bytes"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
)

// openAIEmbeddings is the OpenAI dialect of embeddings (api.md 9.6).
type openAIEmbeddings struct{ openAI }

var _ dialect = openAIEmbeddings{}

var openAIEmbeddingFields = fields{
	"model":           {use: useOurs},
	"input":           {use: useOurs},
	"dimensions":      {use: useOurs, check: checkDimensions("dimensions")},
	"encoding_format": {use: useOurs, check: checkEncodingFormat},
	"user":            {use: useIgnore},
}

func (openAIEmbeddings) parse(body value, _ http.Header, _ *berth.Route) (request, error) {
	r := request{operation: embedding, n: 1}
	err := openAIEmbeddingFields.read(body, "", &r, func(name string, v value) error {
		switch name {
		case "model":
			r.model = bytes.Clone(v)
		case "input":
			return r.readTexts(v)
		case "dimensions":
			r.dimensions, _ = v.integer()
		case "encoding_format":
			r.packed = v.text() == "base64"
		}
		return nil
	})
	if err == nil && r.prompt.count == 0 {
		err = invalid("Field required: input")
	}
	r.embeds()
	return r, err
}

func (openAIEmbeddings) copies(value) int64 { return 0 }

func (openAIEmbeddings) writer(c *call) writer {
	return &embeddingWriter{c, func(dst []byte, c *call, vectors []part, u *usage) []byte {
		dst = appendVectors(append(dst, `{"object":"list","data":`...), vectors, `"object":"embedding",`, "index", c.request.packed)
		dst = append(append(dst, `,"model":`...), c.request.model...)
		dst = appendFigure(dst, `,"usage":{"prompt_tokens":`, u.input)
		dst = append(appendFigure(dst, `,"total_tokens":`, u.input), `},"id":"`...)
		dst = append(append(dst, c.id...), '"')
		return append(appendTier(dst, c.class), '}')
	}}
}

// nativeEmbeddings is the native dialect of embeddings (api.md 9.6). Its text_type and
// instruct are for models that embed questions and documents in different ways; none
// that runs here does.
type nativeEmbeddings struct{}

var _ dialect = nativeEmbeddings{}

var (
	nativeEmbeddingFields = fields{
		"model":      {use: useOurs},
		"input":      {use: useOurs, check: object("input")},
		"parameters": {use: useOurs, check: object("parameters")},
	}
	nativeEmbeddingInput = fields{
		"texts": {use: useOurs},
	}
	nativeEmbeddingParameters = fields{
		"text_type":   {use: useIgnore, check: oneOf("text_type", "query", "document")},
		"dimension":   {use: useOurs, check: checkDimensions("dimension")},
		"output_type": {use: useIgnore, check: checkOutputType},
	}
)

func (nativeEmbeddings) parse(body value, h http.Header, _ *berth.Route) (request, error) {
	r := request{operation: embedding, n: 1}
	switch {
	case h.Get("X-Dashscope-Async") == "enable":
		return r, fail(problemAsync)
	case !member(body, "input").present():
		return r, fail(problemNoInput)
	}
	err := nativeEmbeddingFields.read(body, "", &r, func(name string, v value) error {
		switch name {
		case "input":
			return nativeEmbeddingInput.read(v, "input.", &r, func(_ string, texts value) error { return r.readTexts(texts) })
		case "parameters":
			return nativeEmbeddingParameters.read(v, "parameters.", &r, func(_ string, dimension value) error {
				r.dimensions, _ = dimension.integer()
				return nil
			})
		}
		return nil
	})
	if err == nil && r.prompt.count == 0 {
		err = invalid(notTexts)
	}
	r.embeds()
	return r, err
}

func (nativeEmbeddings) copies(value) int64 { return 0 }

func (nativeEmbeddings) bound(_ *request, b Bounds) time.Duration { return b.NativeCall }

func (nativeEmbeddings) failure(dst []byte, f *failure, requestID string) []byte {
	return f.appendNative(dst, requestID)
}

func (nativeEmbeddings) writer(c *call) writer {
	return &embeddingWriter{c, func(dst []byte, c *call, vectors []part, u *usage) []byte {
		dst = appendVectors(append(dst, `{"output":{"embeddings":`...), vectors, "", "text_index", false)
		dst = append(appendFigure(dst, `},"usage":{"total_tokens":`, u.input), `},"request_id":"`...)
		dst = append(append(dst, c.id...), '"')
		return append(appendTier(dst, c.class), '}')
	}}
}
