package sse

import "strconv"

// The Append functions add one whole frame, closing blank line included, to dst
// and return the grown slice. data is one JSON document; line breaks in it (CR,
// LF or CRLF) begin further data lines, so that no data can break out of its
// frame. A space at the head of a line may be lost in native frames, which have none
// after the colon; JSON does not mind. Names must not contain line breaks.

// AppendData adds an OpenAI-style frame: "data: {json}".
func AppendData(dst, data []byte) []byte {
	return appendData(dst, "data: ", data)
}

// AppendDone adds the frame that ends an OpenAI-style stream: "data: [DONE]".
func AppendDone(dst []byte) []byte {
	return append(dst, "data: [DONE]\n\n"...)
}

// AppendNamed adds a frame with an event name, as Anthropic-style streams and
// the Responses API have it: "event: name", "data: {json}".
func AppendNamed(dst []byte, name string, data []byte) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, name...)
	dst = append(dst, '\n')
	return appendData(dst, "data: ", data)
}

// AppendResult adds a result frame of the native DashScope style. id counts the
// frames of a stream from 1. There is no space after the colons: official
// clients compare the event name with what follows its colon.
func AppendResult(dst []byte, id int, data []byte) []byte {
	return appendNative(dst, id, "result", 200, data)
}

// AppendError adds an error frame of the native DashScope style, after which the
// stream ends. status is the HTTP status that the error would have had as a
// plain answer, 400 to 599.
func AppendError(dst []byte, id, status int, data []byte) []byte {
	return appendNative(dst, id, "error", status, data)
}

func appendNative(dst []byte, id int, name string, status int, data []byte) []byte {
	dst = append(dst, "id:"...)
	dst = strconv.AppendInt(dst, int64(id), 10)
	dst = append(dst, "\nevent:"...)
	dst = append(dst, name...)
	dst = append(dst, "\n:HTTP_STATUS/"...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, '\n')
	return appendData(dst, "data:", data)
}

// appendData adds one line per line of data, at least one, and the blank line.
func appendData(dst []byte, field string, data []byte) []byte {
	for rest := data; ; {
		var line []byte
		line, rest = cutLine(rest)
		dst = append(dst, field...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		if rest == nil {
			return append(dst, '\n')
		}
	}
}
