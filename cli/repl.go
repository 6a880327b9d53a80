package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/berthhq/berth/api"
)

// converse holds one conversation until the input ends. The request's messages grow by
// what is said; a question without an answer is forgotten.
func (p *program) converse(ctx context.Context, client *api.Client, r api.ChatRequest) error {
	// From here an interrupt ends an answer and not the program, see [Execute].
	signal.Reset(os.Interrupt)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)

	in := p.openInput()
	defer in.close()
	if in.interactive {
		p.say("Talking to %s. Ctrl-C ends an answer, Ctrl-D the conversation.", r.Model)
	}
	for {
		line, err := in.next(ctx, interrupts)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		r.Messages = append(r.Messages, api.Message{Role: "user", Content: line})
		answer, err := p.answerTurn(ctx, client, r, interrupts)
		if err != nil {
			if !in.interactive {
				return err
			}
			tell(p.Err, reached(client, err))
		}
		if answer.Text == "" {
			r.Messages = r.Messages[:len(r.Messages)-1]
			continue
		}
		r.Messages = append(r.Messages, api.Message{Role: "assistant", Content: answer.Text})
	}
}

// answerTurn writes one answer, or as much of it as came before an interrupt.
func (p *program) answerTurn(ctx context.Context, client *api.Client, r api.ChatRequest, interrupts <-chan os.Signal) (api.Answer, error) {
	answering, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-interrupts:
			cancel(errInterrupted)
		case <-answering.Done():
		}
	}()
	s := p.speaker()
	answer, err := client.Chat(answering, r, s.say)
	s.end()
	if errors.Is(context.Cause(answering), errInterrupted) {
		p.say("(interrupted)")
		return answer, nil
	}
	p.noteFinish(answer)
	return answer, err
}
