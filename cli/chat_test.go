package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/berthhq/berth/api"
)

const chatCall = "POST /compatible-mode/v1/chat/completions"

func piece(reasoning, content, finish string) string {
	text, _ := json.Marshal(map[string]any{"choices": []any{map[string]any{
		"delta": map[string]string{"reasoning_content": reasoning, "content": content}, "finish_reason": finish,
	}}})
	return fmt.Sprintf("data: %s\n\n", text)
}

// answer is a whole streamed answer.
func answer(reasoning, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, piece(reasoning, "", ""), piece("", content, ""), piece("", "", "stop"), "data: [DONE]\n\n")
	}
}

// conversations returns the messages of each chat call, as role:content.
func (f *fake) conversations(t *testing.T) [][]string {
	t.Helper()
	var all [][]string
	for _, call := range f.calls() {
		body, ok := strings.CutPrefix(call, chatCall+" ")
		if !ok {
			continue
		}
		var r api.ChatRequest
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, m := range r.Messages {
			said = append(said, m.Role+":"+m.Content)
		}
		all = append(all, said)
	}
	return all
}

func TestChatOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on(chatCall, answer("let me see", "42"))
	r := f.run(t, "", "chat", "x", "What", "is it?", "--system", "Be brief.", "--max-tokens", "9", "--temperature", "0", "--thinking")
	if want := (result{exitDone, "42\n", ""}); r != want {
		t.Errorf("got %+v", r)
	}
	want := chatCall + ` {"model":"x","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is it?"}],` +
		`"max_tokens":9,"temperature":0,"enable_thinking":true,"stream":true,"stream_options":{"include_usage":true}}`
	if got := f.calls()[0]; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestChatOnceForPrograms(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on(chatCall, answer("let me see", "42"))
	var got api.Answer
	r := f.run(t, "", "chat", "x", "hi", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Text != "42" || got.Reasoning != "let me see" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestAnAnswerThatIsCutSaysSo(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on(chatCall, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, piece("", "4", "length")) })
	if r := f.run(t, "", "chat", "x", "hi"); r.out != "4\n" || !strings.Contains(r.err, "largest length") {
		t.Errorf("got %+v", r)
	}
}

func TestAConversationRemembersWhatWasSaid(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on(chatCall, answer("", "six\n"), answer("hm", "seven"))
	r := f.run(t, "one\n\n  \ntwo", "chat", "x", "--system", "Count.")
	if want := (result{exitDone, "six\nseven\n", ""}); r != want {
		t.Errorf("got %+v", r)
	}
	want := [][]string{
		{"system:Count.", "user:one"},
		{"system:Count.", "user:one", "assistant:six\n", "user:two"},
	}
	if got := f.conversations(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestAPipedConversationEndsWithTheFirstError(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on(chatCall, refuse(503, "ModelUnavailable", "Model is unavailable."))
	r := f.run(t, "one\ntwo\n", "chat", "x")
	if want := (result{exitUnreachable, "", "berth: Model is unavailable. (ModelUnavailable, request r-9)\n"}); r != want {
		t.Errorf("got %+v", r)
	}
	if n := len(f.calls()); n != 1 {
		t.Errorf("called %d times", n)
	}
}

// The interrupt goes to the whole test binary, so this test is not parallel; the first
// piece is out before it is sent, so the conversation listens already.
func TestAnInterruptEndsTheAnswerAndNotTheConversation(t *testing.T) {
	f := newFake(t)
	f.on(chatCall, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, piece("", "partly", ""))
		w.(http.Flusher).Flush()
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	}, answer("", "whole"))
	r := f.run(t, "one\ntwo\n", "chat", "x")
	if r.code != exitDone || !strings.HasSuffix(r.out, "whole\n") || r.err != "(interrupted)\n" {
		t.Errorf("got %+v", r)
	}
	if n := len(f.conversations(t)); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestTheTerminalShowsReasoningDimmed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		speaker speaker
		want    string
	}{
		"terminal":          {speaker{terminal: true, styled: true}, "\x1b[2mlet me\x1b[0m\n\n42\n"},
		"terminal, no dims": {speaker{terminal: true}, "let me\n\n42\n"},
		"file":              {speaker{}, "4\x1b[31m2\n"},
	} {
		var out bytes.Buffer
		s := c.speaker
		s.out = &out
		for _, p := range [][2]string{{"let ", ""}, {"me", ""}, {"", "4"}, {"", "\x1b[31m2"}} {
			if err := s.say(p[0], p[1]); err != nil {
				t.Fatal(err)
			}
		}
		s.end()
		if out.String() != c.want {
			t.Errorf("%s: got %q", name, out.String())
		}
	}
}

func TestReasoningThatIsInterruptedLeavesThePlainStyle(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := speaker{out: &out, terminal: true, styled: true}
	_ = s.say("let me", "")
	s.end()
	if out.String() != "\x1b[2mlet me\x1b[0m\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestCtrlCClearsTheLine(t *testing.T) {
	t.Parallel()
	b := make([]byte, 8)
	n, err := clearOnCtrlC{strings.NewReader("ab\x03c\r")}.Read(b)
	if string(b[:n]) != "ab\x15c\r" || err != nil {
		t.Errorf("got %q, %v", b[:n], err)
	}
}
