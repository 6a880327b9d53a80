package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client speaks to one Berth server. Its methods may be called at the same time; what
// the server refuses comes back as an [*Error].
type Client struct {
	BaseURL string       // scheme, host and port
	Key     string       // "" sends none
	HTTP    *http.Client // nil: [http.DefaultClient]
}

// request is a call before it is sent.
type request struct {
	method string // "": GET
	path   string // escaped
	query  url.Values
	body   any // nil: none
	raw    io.Reader
	header http.Header // beyond the usual
}

// An answer longer than this is an error of somebody else's server.
const maxAnswerBytes = 64 << 20

func withCursor(query url.Values, cursor string) url.Values {
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	return query
}

// native makes a call whose answer is an [Envelope].
func native[T any](ctx context.Context, c *Client, r request) (T, error) {
	envelope, err := own[Envelope[T]](ctx, c, r)
	return envelope.Output, err
}

// own makes a call whose answer is a bare T.
func own[T any](ctx context.Context, c *Client, r request) (T, error) {
	var answer T
	response, err := c.send(ctx, r)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the answer of %s: %w", response.Request.URL.Path, err)
	}
	return answer, nil
}

// nothing makes a call whose answer is of no interest.
func nothing(ctx context.Context, c *Client, r request) error {
	response, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// send makes a call and returns its answer, which the caller closes, or an error for
// any status but 2xx.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	body := r.raw
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("write the body of %s: %w", r.path, err)
		}
		body = bytes.NewReader(text)
	}
	target := strings.TrimSuffix(c.BaseURL, "/") + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	call, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	call.Header.Set("Content-Type", "application/json")
	maps.Copy(call.Header, r.header)
	if c.Key != "" {
		call.Header.Set("Authorization", "Bearer "+c.Key)
	}
	response, err := cmp.Or(c.HTTP, http.DefaultClient).Do(call)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		return nil, readError(response)
	}
	return response, nil
}

// wireError is an error in either of the shapes in which it arrives.
type wireError struct {
	Error
	Nested *struct {
		Code    string `json:"code"`
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

// refusal returns the error in w, or nil when there is none.
func (w *wireError) refusal() *Error {
	e := w.Error
	if w.Nested != nil {
		e.Code = cmp.Or(w.Nested.Code, w.Nested.Type)
		e.Message = w.Nested.Message
	}
	if e.Code == "" && e.Message == "" {
		return nil
	}
	return &e
}

// readError makes an [*Error] out of an answer, even out of one that is not Berth's.
func readError(response *http.Response) error {
	const maxErrorBytes = 1 << 20
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes))
	var wire wireError
	var e *Error
	if json.Unmarshal(text, &wire) == nil {
		e = wire.refusal()
	}
	if e == nil {
		e = &Error{Code: "HTTP " + strconv.Itoa(response.StatusCode), Message: "The server answered " + response.Status + "."}
	}
	e.Status = response.StatusCode
	e.RequestID = cmp.Or(e.RequestID, response.Header.Get("X-Request-Id"))
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
