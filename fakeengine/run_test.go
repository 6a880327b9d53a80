package fakeengine_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/berthhq/berth/fakeengine"
)

// process is a call of Run, as a supervisor sees one.
type process struct {
	served
	exit   chan int
	errOut *bytes.Buffer // to be read after exit
}

// mustRun returns once the engine listens. Its connections are closed with the test.
func mustRun(ctx context.Context, t *testing.T, script string) process {
	t.Helper()
	out, outWriter := io.Pipe()
	p := process{exit: make(chan int, 1), errOut: &bytes.Buffer{}}
	args := []string{"--script", mustWrite(t, script)}
	go func() {
		p.exit <- fakeengine.Run(ctx, args, outWriter, p.errOut)
		outWriter.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "fake engine listening on ")
	if err != nil || !ok {
		t.Fatalf("first line %q, %v", line, err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	p.served = served{url: url, client: &http.Client{Transport: transport}}
	return p
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := mustRun(ctx, t, `{"faults": [{"kind": "hang_mid_stream", "match": "hang", "after_events": 1}]}`)
	if status, _, err := p.post(t, chatPath, chat("hello", "")); status != http.StatusOK || err != nil {
		t.Fatalf("status %d, error %v", status, err)
	}
	leave := p.open(t, chat("hang", `,"stream":true`))
	cancel()
	if code := <-p.exit; code != 0 {
		t.Errorf("exit code %d: %s", code, p.errOut)
	}
	leave()
	if _, _, err := p.post(t, chatPath, chat("hello", "")); err == nil {
		t.Error("something still listens")
	}
}

func TestRunThatIgnoresSIGTERMEndsByCrash(t *testing.T) {
	t.Parallel()
	for name, extra := range map[string]string{"plain": "", "streamed": `,"stream":true`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			p := mustRun(ctx, t, `{"ignore_sigterm": true, "crash": {"after_calls": 1, "exit_code": 42}}`)
			if status, answer, err := p.post(t, chatPath, chat("37+85", extra)); status != http.StatusOK || err != nil || !strings.Contains(answer, `"122"`) {
				t.Errorf("the last answer must be whole: status %d %q, error %v", status, answer, err)
			}
			if code := <-p.exit; code != 42 {
				t.Errorf("exit code %d: %s", code, p.errOut)
			}
		})
	}
}

func TestRunAsksForTheKeyOfTheEnvironment(t *testing.T) {
	t.Setenv(fakeengine.KeyVariable, "sesame")
	ctx, cancel := context.WithCancel(t.Context())
	p := mustRun(ctx, t, `{}`)
	if status, _, err := p.post(t, chatPath, chat("hello", "")); status != http.StatusUnauthorized || err != nil {
		t.Errorf("status %d, error %v", status, err)
	}
	cancel()
	<-p.exit
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args    []string
		code    int
		message string
	}{
		"help is no error":            {[]string{"--help"}, 0, "-script file"},
		"an unknown flag":             {[]string{"--speed", "5"}, 2, "-speed"},
		"an argument without meaning": {[]string{"now"}, 2, `"now" is not understood`},
		"a script that is not there":  {[]string{"--script", "/nowhere/script.json"}, 1, "read script"},
		"a script with a mistake":     {[]string{"--script", mustWrite(t, `{"slots": -1}`)}, 1, "slots: -1"},
		"an address of others":        {[]string{"--host", "192.0.2.1"}, 1, "192.0.2.1"},
		"a start that is refused":     {[]string{"--script", mustWrite(t, `{"refuse_start": {"exit_code": 77, "message": "no weights"}}`)}, 77, "no weights\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errOut bytes.Buffer
			if code := fakeengine.Run(t.Context(), test.args, &out, &errOut); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if !strings.Contains(errOut.String(), test.message) || out.Len() > 0 {
				t.Errorf("said %q and %q, want %q", out.String(), errOut.String(), test.message)
			}
		})
	}
}
