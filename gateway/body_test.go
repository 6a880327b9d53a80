package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// readerFunc is a body in the making.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A client that announces much and sends nothing takes little of the room for all bodies.
func TestAnAnnouncedLengthMakesNoRoom(t *testing.T) {
	t.Parallel()
	b := &bodies{each: 8 << 20, all: 256 << 20}
	r := httptest.NewRequest(http.MethodPost, chatPath, readerFunc(func([]byte) (int, error) {
		if held := b.held.Load(); held > pooledBodyBytes {
			t.Errorf("%d bytes are held for a body of which nothing has come", held)
		}
		return 0, io.EOF
	}))
	r.ContentLength = 8 << 20
	body, err := b.read(r)
	if err != nil {
		t.Fatal(err)
	}
	body.free()
	if held := b.held.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func TestABodyThatIsLateIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, plan{})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, chatPath, readerFunc(func([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }))
	r.Header.Set("Authorization", "Bearer "+keyText)
	h.serve(openAI{})(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "did not arrive in time") {
		t.Errorf("got %d: %s", w.Code, w.Body)
	}
}
