package sse_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/berthhq/berth/internal/sse"
)

// event is an sse.Event with strings, for comparison. Missing and empty values
// are told apart for data only.
type event struct {
	ID, Type, Data, Comment, Raw string
	NoData                       bool
}

func copied(e sse.Event) event {
	return event{
		ID: string(e.ID), Type: string(e.Type), Data: string(e.Data),
		Comment: string(e.Comment), Raw: string(e.Raw), NoData: e.Data == nil,
	}
}

// readAll returns all events of src and the error that ended them, nil at the
// regular end.
func readAll(src io.Reader, maxEventBytes int) ([]event, error) {
	reader := sse.NewReader(src, maxEventBytes)
	var events []event
	for {
		e, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, copied(e))
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	native := "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"a\":1}\n\n"
	for name, test := range map[string]struct {
		stream string
		want   []event
	}{
		"an empty stream has no events":      {"", nil},
		"blank lines alone are no event":     {"\n\r\n\r\r\n", nil},
		"a space after the colon is dropped": {"data: x\n\n", []event{{Data: "x", Raw: "data: x\n\n"}}},
		"the space may be missing":           {"data:x\n\n", []event{{Data: "x", Raw: "data:x\n\n"}}},
		"only one space is dropped":          {"data:  x\n\n", []event{{Data: " x", Raw: "data:  x\n\n"}}},
		"a native DashScope frame": {native, []event{
			{ID: "1", Type: "result", Comment: "HTTP_STATUS/200", Data: `{"a":1}`, Raw: native},
		}},
		"two OpenAI frames": {"data: {}\n\ndata: [DONE]\n\n", []event{
			{Data: "{}", Raw: "data: {}\n\n"}, {Data: "[DONE]", Raw: "data: [DONE]\n\n"},
		}},
		"CRLF line ends": {"event: a\r\ndata: x\r\n\r\ndata: y\r\n\r\n", []event{
			{Type: "a", Data: "x", Raw: "event: a\r\ndata: x\r\n\r\n"}, {Data: "y", Raw: "data: y\r\n\r\n"},
		}},
		"CR line ends": {"data: x\rdata: y\r\rdata: z\r\r", []event{
			{Data: "x\ny", Raw: "data: x\rdata: y\r\r"}, {Data: "z", Raw: "data: z\r\r"},
		}},
		"line ends may be mixed": {"data: x\ndata: y\rdata: z\r\n\ndata: v\n\r\ndata: w\n\n", []event{
			{Data: "x\ny\nz", Raw: "data: x\ndata: y\rdata: z\r\n\n"},
			{Data: "v", Raw: "data: v\n\r"},
			{Data: "w", Raw: "data: w\n\n"},
		}},
		"data lines are joined by line feeds": {"data: a\ndata:\ndata: b\n\n", []event{
			{Data: "a\n\nb", Raw: "data: a\ndata:\ndata: b\n\n"},
		}},
		"empty data is not missing data": {"data\n\nevent: ping\n\n", []event{
			{Raw: "data\n\n"}, {Type: "ping", NoData: true, Raw: "event: ping\n\n"},
		}},
		"a heartbeat is an event without data": {": still here\n\n", []event{
			{Comment: " still here", NoData: true, Raw: ": still here\n\n"},
		}},
		"a final event needs no blank line":  {"data: x\n", []event{{Data: "x", Raw: "data: x\n"}}},
		"a final event needs no line end":    {"data: x", []event{{Data: "x", Raw: "data: x"}}},
		"a colon in the value stays":         {"data: a: b\n\n", []event{{Data: "a: b", Raw: "data: a: b\n\n"}}},
		"unknown fields stay in Raw only":    {"retry: 5\ndata: x\n\n", []event{{Data: "x", Raw: "retry: 5\ndata: x\n\n"}}},
		"blank lines between events go":      {"\n\ndata: x\n\n\n\ndata: y\n\n", []event{{Data: "x", Raw: "data: x\n\n"}, {Data: "y", Raw: "data: y\n\n"}}},
		"a byte order mark goes":             {"\ufeffdata: x\n\n", []event{{Data: "x", Raw: "data: x\n\n"}}},
		"half a byte order mark stays":       {"\xef\xbb", []event{{NoData: true, Raw: "\xef\xbb"}}},
		"the last id and event name count":   {"id: 1\nid: 2\nevent: a\nevent: b\ndata: x\n\n", []event{{ID: "2", Type: "b", Data: "x", Raw: "id: 1\nid: 2\nevent: a\nevent: b\ndata: x\n\n"}}},
		"fields do not carry over":           {"id: 1\nevent: a\ndata: x\n\ndata: y\n\n", []event{{ID: "1", Type: "a", Data: "x", Raw: "id: 1\nevent: a\ndata: x\n\n"}, {Data: "y", Raw: "data: y\n\n"}}},
		"names are compared with their case": {"Data: x\n\n", []event{{NoData: true, Raw: "Data: x\n\n"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, src := range map[string]io.Reader{
				"at once":             strings.NewReader(test.stream),
				"byte by byte":        iotest.OneByteReader(strings.NewReader(test.stream)),
				"with data and error": iotest.DataErrReader(strings.NewReader(test.stream)),
			} {
				got, err := readAll(src, 0)
				if err != nil {
					t.Fatalf("%s: %v", way, err)
				}
				mustEqual(t, way, got, test.want)
			}
		})
	}
}

func mustEqual(t *testing.T, what string, got, want []event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d events %+v, want %d %+v", what, len(got), got, len(want), want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: event %d is\n%+v, want\n%+v", what, i, got[i], want[i])
		}
	}
}

func TestReaderBound(t *testing.T) {
	t.Parallel()
	const bound = 8 << 10
	exact := "data: " + strings.Repeat("x", bound-len("data: \n\n")) + "\n\n"
	for name, test := range map[string]struct {
		stream string
		events int
		err    error
	}{
		"an event of exactly the bound passes":      {"data: a\n\n" + exact + "data: b\n\n", 3, nil},
		"one byte more does not":                    {"data: a\n\ndata: x" + exact[len("data: "):], 1, sse.ErrEventTooLarge},
		"the bound is per event, not per line":      {strings.Repeat("data: x\n", bound/8) + "\n", 0, sse.ErrEventTooLarge},
		"a line without end is refused":             {"data: a\n\n" + strings.Repeat("x", 3*bound), 1, sse.ErrEventTooLarge},
		"many small events are not one large":       {strings.Repeat(exact, 20), 20, nil},
		"the line feed of the blank line counts":    {"data: " + strings.Repeat("x", bound-len("data: \r\n\r")) + "\r\n\r\n", 0, sse.ErrEventTooLarge},
		"endless blank lines are not a large event": {strings.Repeat("\n", 5*bound) + "data: a\n\n", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, src := range map[string]io.Reader{
				"at once":      strings.NewReader(test.stream),
				"byte by byte": iotest.OneByteReader(strings.NewReader(test.stream)),
			} {
				got, err := readAll(src, bound)
				if len(got) != test.events || !errors.Is(err, test.err) {
					t.Errorf("%s: %d events and error %v, want %d and %v", way, len(got), err, test.events, test.err)
				}
			}
		})
	}
}

func TestReaderErrorsAreFinal(t *testing.T) {
	t.Parallel()
	t.Run("an error of the source drops the event it cut", func(t *testing.T) {
		t.Parallel()
		src := io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
		reader := sse.NewReader(src, 0)
		if e, err := reader.Next(); err != nil || string(e.Data) != "a" {
			t.Fatalf("first event is %q, %v", e.Data, err)
		}
		for range 2 {
			if _, err := reader.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("error is %v", err)
			}
		}
	})
	t.Run("a source that never gives anything is given up", func(t *testing.T) {
		t.Parallel()
		if _, err := readAll(silent{}, 0); !errors.Is(err, io.ErrNoProgress) {
			t.Fatalf("error is %v", err)
		}
	})
	t.Run("too large stays too large until Reset", func(t *testing.T) {
		t.Parallel()
		reader := sse.NewReader(strings.NewReader("data: too large\n\ndata: a\n\n"), 10)
		for range 2 {
			if _, err := reader.Next(); !errors.Is(err, sse.ErrEventTooLarge) {
				t.Fatalf("error is %v", err)
			}
		}
		reader.Reset(strings.NewReader("data: b\n\n"))
		if e, err := reader.Next(); err != nil || string(e.Data) != "b" {
			t.Fatalf("after Reset: %q, %v", e.Data, err)
		}
	})
}

// silent is a source that breaks the rule that a read gives something.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// An event must be handed out as soon as its blank line is there, not when the
// next one begins: every token of a stream would otherwise come one late.
func TestReaderDoesNotHoldBack(t *testing.T) {
	t.Parallel()
	for _, frame := range []string{"data: x\n\n", "data: x\r\r", "data: x\r\n\r\n"} {
		source := &onlyOnce{data: frame}
		e, err := sse.NewReader(source, 0).Next()
		if err != nil || string(e.Raw) != frame {
			t.Errorf("frame %q: got %q, %v", frame, e.Raw, err)
		}
	}
}

func TestBuffered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stream string
		want   []bool // after each event
	}{
		"an event of the same read":                   {"data: a\n\ndata: b\n\n", []bool{true, false}},
		"what is not whole":                           {"data: a\n\ndata: b\n", []bool{false, false}},
		"blank lines before it":                       {"data: a\n\n\r\n\ndata: b\n\n", []bool{true, false}},
		"blank lines alone":                           {"data: a\n\n\n\n", []bool{false}},
		"a heartbeat is an event too":                 {"data: a\n\n: b\n\n", []bool{true, false}},
		"a carriage return that a line feed may join": {"data: a\r\n\r\ndata: b\r\n\r", []bool{false, false}},
		"an event beyond the bound":                   {"data: a\n\ndata: " + strings.Repeat("b", 100) + "\n\n", []bool{false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reader := sse.NewReader(strings.NewReader(test.stream), 50)
			if reader.Buffered() {
				t.Error("nothing was read yet")
			}
			for i, want := range test.want {
				if _, err := reader.Next(); err != nil {
					t.Fatal(err)
				}
				if got := reader.Buffered(); got != want || reader.Buffered() != want {
					t.Errorf("after event %d: %t, want %t", i, got, want)
				}
			}
		})
	}
}

// onlyOnce gives its data in one read and fails the second, where a connection
// would block.
type onlyOnce struct {
	data string
	read bool
}

func (o *onlyOnce) Read(p []byte) (int, error) {
	if o.read {
		return 0, errors.New("the reader asked for more than it needs")
	}
	o.read = true
	return copy(p, o.data), nil
}
