package sse_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/berthhq/berth/internal/sse"
)

func ExampleAppendResult() {
	frame := sse.AppendResult(nil, 1, []byte(`{"output":{}}`))
	frame = sse.AppendError(frame, 2, 400, []byte(`{"code":"Throttling"}`))
	fmt.Print(string(frame))
	// Output:
	// id:1
	// event:result
	// :HTTP_STATUS/200
	// data:{"output":{}}
	//
	// id:2
	// event:error
	// :HTTP_STATUS/400
	// data:{"code":"Throttling"}
}

func ExampleAppendData() {
	frame := sse.AppendData(nil, []byte(`{"choices":[]}`))
	frame = sse.AppendDone(frame)
	fmt.Print(string(frame))
	// Output:
	// data: {"choices":[]}
	//
	// data: [DONE]
}

func ExampleAppendNamed() {
	fmt.Print(string(sse.AppendNamed(nil, "message_stop", []byte(`{"type":"message_stop"}`))))
	// Output:
	// event: message_stop
	// data: {"type":"message_stop"}
}

func TestAppendKeepsDataInItsFrame(t *testing.T) {
	t.Parallel()
	const hostile = "{\"a\":1}\n\ndata: [DONE]\r\revent: x\r\n"
	for name, frame := range map[string][]byte{
		"OpenAI": sse.AppendData(nil, []byte(hostile)),
		"named":  sse.AppendNamed(nil, "n", []byte(hostile)),
		"result": sse.AppendResult(nil, 1, []byte(hostile)),
		"error":  sse.AppendError(nil, 1, 500, []byte(hostile)),
	} {
		got, err := readAll(bytes.NewReader(frame), 0)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %d events, %v", name, len(got), err)
		}
		if want := lineFeeds(hostile); got[0].Data != want {
			t.Errorf("%s: data is %q, want %q", name, got[0].Data, want)
		}
	}
}

func lineFeeds(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}
