package sse

import "bytes"

// Event is one block of a stream. All slices point into the reader's buffers:
// copy what must outlive the next call of Reader.Next.
type Event struct {
	// ID is the value of the last "id" line, nil without one. It is not carried
	// over from earlier events.
	ID []byte
	// Type is the value of the last "event" line, nil without one (which
	// clients take as "message").
	Type []byte
	// Data holds the values of all "data" lines joined by line feeds. It is nil
	// if there was no data line, and empty but not nil if the data is empty.
	Data []byte
	// Comment is what follows the colon of the last comment line, spaces kept;
	// nil without one.
	Comment []byte
	// Raw is the block exactly as it came, with the blank line that closed it
	// (which only the last event of a stream may lack). Blank lines between
	// events and a byte order mark belong to no event.
	Raw []byte
}

// parse reads the lines of a block. Fields it does not know ("retry" among them)
// stand in Raw only.
func (r *Reader) parse(raw []byte) Event {
	event := Event{Raw: raw}
	joined := r.joined[:0]
	for rest := raw; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		name, value, found := bytes.Cut(line, []byte(":"))
		if found && len(name) == 0 {
			event.Comment = value
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if !found {
			value = line[len(line):]
		}
		switch string(name) {
		case "data":
			event.Data, joined = join(event.Data, joined, value)
		case "event":
			event.Type = value
		case "id":
			event.ID = value
		}
	}
	r.joined = joined
	return event
}

// join appends one more line to the data of an event. The first line stays where
// it is, in the reader's buffer; from the second on the lines are copied.
func join(data, joined, line []byte) (newData, newJoined []byte) {
	if data == nil {
		return line, joined
	}
	if len(joined) == 0 {
		joined = append(joined, data...)
	}
	joined = append(joined, '\n')
	joined = append(joined, line...)
	return joined, joined
}

// cutLine splits b after its first line end, which line does not contain. rest is
// nil if b has no line end.
func cutLine(b []byte) (line, rest []byte) {
	end := lineEnd(b)
	if end < 0 {
		return b, nil
	}
	line, rest = b[:end], b[end+1:]
	if b[end] == '\r' && len(rest) > 0 && rest[0] == '\n' {
		rest = rest[1:]
	}
	return line, rest
}
