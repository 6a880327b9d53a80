package fakeengine

import (
	"context"
	"errors"
	"net/http"
)

// errEndedEarly ends a stream in order, but before its last events.
var errEndedEarly = errors.New("the script ends the stream")

// stream sends the answer token by token. The choices take turns.
func (g generation) stream(ctx context.Context, w http.ResponseWriter) error {
	s := openEvents(w, g)
	for _, part := range []func(context.Context, *events) error{g.open, g.speak, g.close} {
		if err := part(ctx, s); err != nil {
			if errors.Is(err, errEndedEarly) {
				return nil
			}
			return err
		}
	}
	return nil
}

// open sends the chunks before the first token.
func (g generation) open(ctx context.Context, s *events) error {
	c, ok := g.dialect.opening()
	if !ok {
		return nil
	}
	return s.sendChoices(ctx, c, 0)
}

// speak sends one chunk per token and choice.
func (g generation) speak(ctx context.Context, s *events) error {
	for i := range g.answer.outputTokens() {
		if err := g.step(ctx); err != nil {
			return err
		}
		if err := s.sendChoices(ctx, g.dialect.piece(g.answer.token(i)), i+1); err != nil {
			return err
		}
	}
	return nil
}

// close sends what follows the last token.
func (g generation) close(ctx context.Context, s *events) error {
	c := g.dialect.closing()
	c.FinishReason = &g.answer.finish
	total := g.answer.outputTokens()
	if err := s.sendChoices(ctx, c, total); err != nil {
		return err
	}
	if g.request.StreamOptions.IncludeUsage {
		last := s.base
		if last.Usage = g.usage(total); last.Usage != nil {
			if err := s.send(ctx, encode(last)); err != nil {
				return err
			}
		}
	}
	return s.send(ctx, []byte("[DONE]"))
}

// events writes the events of one stream and lets the call's fault strike when its
// number of events has been sent.
type events struct {
	generation
	base    completion
	w       http.ResponseWriter
	control *http.ResponseController
	sent    int
}

// openEvents sends the headers.
func openEvents(w http.ResponseWriter, g generation) *events {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	s := &events{generation: g, base: g.envelope(true), w: w, control: http.NewResponseController(w)}
	_ = s.control.Flush() // a client that is gone shows at the first event
	return s
}

// chunk is a chunk without choices, with the usage so far if the call wants it in
// every one.
func (s *events) chunk(outputTokens int) completion {
	c := s.base
	if s.request.StreamOptions.ContinuousUsageStats {
		c.Usage = s.usage(outputTokens)
	}
	return c
}

// sendChoices sends one chunk per choice of the call.
func (s *events) sendChoices(ctx context.Context, c choice, outputTokens int) error {
	for i := range s.request.choices() {
		c.Index = i
		chunk := s.chunk(outputTokens)
		chunk.Choices = []choice{c}
		if err := s.send(ctx, encode(chunk)); err != nil {
			return err
		}
	}
	return nil
}

// send writes one event, after what the fault does in its place.
func (s *events) send(ctx context.Context, data []byte) error {
	if err := s.engine.alive(ctx); err != nil {
		return err
	}
	if s.sent == s.fault.AfterEvents {
		if err := s.strike(ctx); err != nil {
			return err
		}
	}
	s.sent++
	return s.write(data)
}

// strike does what the call's fault does to a stream. It returns nil if the stream
// goes on.
func (s *events) strike(ctx context.Context) error {
	switch s.fault.Kind {
	case FaultHangMidStream:
		return s.engine.hang(ctx)
	case FaultCutStream, FaultCrash:
		return s.engine.cut(s.fault)
	case FaultError500, FaultError503:
		if err := s.write(encode(newFailure(s.fault.status(), "server_error", "scripted error"))); err != nil {
			return err
		}
		return errEndedEarly
	case FaultGarbage:
		return s.write([]byte(`{"choices":[{"index`))
	case FaultHugeLine:
		chunk := s.base
		chunk.Choices = []choice{s.dialect.piece(s.fault.hugeText(), false)}
		return s.write(encode(chunk))
	default:
		return nil
	}
}

// write sends one event at once.
func (s *events) write(data []byte) error {
	frame := make([]byte, 0, len("data: \n\n")+len(data))
	frame = append(frame, "data: "...)
	frame = append(frame, data...)
	frame = append(frame, "\n\n"...)
	if _, err := s.w.Write(frame); err != nil {
		return errClientGone
	}
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errClientGone
	}
	return nil
}
