package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What clients send by mistake or on purpose is refused in the words of their dialect,
// asks no engine and leaves nothing behind.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	const most = 8 << 20 // the default bound
	h := open(t, plan{})
	for mouthName, m := range mouths {
		good := m.body("37+85")
		for name, c := range map[string]struct{ body, code string }{
			"nothing":                   {"", "BadRequest.IllegalInput"},
			"cut short":                 {good[:len(good)/2], "BadRequest.IllegalInput"},
			"two values":                {good + good, "BadRequest.IllegalInput"},
			"no UTF-8":                  {strings.Replace(good, "37", "\xff", 1), "BadRequest.IllegalInput"},
			"half a surrogate":          {strings.Replace(good, "37", `\ud800`, 1), "BadRequest.IllegalInput"},
			"a control character":       {strings.Replace(good, "37", "\x00", 1), "BadRequest.IllegalInput"},
			"no JSON number":            {strings.Replace(good, "{", `{"seed":0x1,`, 1), "BadRequest.IllegalInput"},
			"deep":                      {strings.Replace(good, "{", `{"metadata":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+",", 1), "BadRequest.IllegalInput"},
			"deep and never closed":     {strings.Repeat(`{"a":`, 1_000_000), "BadRequest.IllegalInput"},
			"a key twice":               {strings.Replace(good, "{", `{"model":"other",`, 1), "InvalidParameter"},
			"a key twice, escaped":      {strings.Replace(good, "{", `{"mode\u006c":"other",`, 1), "InvalidParameter"},
			"one byte more than may be": {good + strings.Repeat(" ", most+1-len(good)), "BadRequest.TooLarge"},
		} {
			t.Run(name+", "+mouthName, func(t *testing.T) {
				got := h.post(t, m.path, c.body, m.headers...)
				if got.status != http.StatusBadRequest {
					t.Fatalf("%d %.300s", got.status, got.body)
				}
				plain := m
				plain.streams = false
				want := c.code
				if strings.HasPrefix(mouthName, "OpenAI") {
					want = map[string]string{"InvalidParameter": "invalid_parameter_error"}[c.code]
					if want == "" {
						want = kindInvalid
					}
				}
				plain.checkFailure(t, got, want)
			})
		}
		t.Run("as much as may be, "+mouthName, func(t *testing.T) {
			if got := h.post(t, m.path, good+strings.Repeat(" ", most-len(good)), m.headers...); got.status != http.StatusOK {
				t.Errorf("%d %.300s", got.status, got.body)
			}
		})
	}
	h.Close()
	if calls := h.engines[0].Stats().Calls; calls != len(mouths) {
		t.Errorf("the engine was asked %d times, want %d", calls, len(mouths))
	}
	if held := h.bodies.held.Load(); held != 0 {
		t.Errorf("%d bytes of bodies are still held", held)
	}
}

// Clients that stop in the middle of a body hold their share of the bodies until they are
// gone, and no longer.
func TestClientsThatLeaveInTheMiddleOfABody(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	for _, framing := range []string{"Content-Length: 1000000\r\n\r\n" + `{"model":"`, "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"mod\r\n", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"} {
		for _, m := range mouths {
			c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s", m.path, keyText, framing); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(framing, "zz") {
				_ = c.(*net.TCPConn).CloseWrite()
			}
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil { // it may also be cut: nobody is there to read
				body, _ := io.ReadAll(response.Body)
				if response.StatusCode < 400 || !json.Valid(body) {
					t.Errorf("%s: %d %s", m.path, response.StatusCode, body)
				}
				_ = response.Body.Close()
			}
			_ = c.Close()
		}
	}
	h.Close()
	if held := h.bodies.held.Load(); held != 0 {
		t.Errorf("%d bytes of bodies are still held", held)
	}
	if h.engines[0].Stats().Calls != 0 {
		t.Error("an engine was asked")
	}
}
