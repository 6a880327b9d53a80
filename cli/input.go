package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// input is what is typed or piped in, line by line.
type input struct {
	interactive bool // a person sits at a terminal
	read        func() (string, error)
	close       func()
}

func (p *program) openInput() *input {
	if keyboard := terminal(p.In); keyboard != nil {
		return openKeyboard(keyboard, p.Err)
	}
	buffered := bufio.NewReader(p.In)
	return &input{
		read: func() (string, error) {
			line, err := buffered.ReadString('\n')
			if errors.Is(err, io.EOF) && line != "" {
				err = nil
			}
			return strings.TrimRight(line, "\r\n"), err
		},
		close: func() {},
	}
}

// openKeyboard edits lines with history, on out. Between two reads the terminal is as
// it was before, so that Ctrl-C interrupts.
func openKeyboard(keyboard *os.File, out io.Writer) *input {
	fd := int(keyboard.Fd())
	line := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{clearOnCtrlC{keyboard}, out}, "> ")
	before, _ := term.GetState(fd)
	return &input{
		interactive: true,
		read: func() (string, error) {
			state, err := term.MakeRaw(fd)
			if err != nil {
				return "", err
			}
			defer term.Restore(fd, state) //nolint:errcheck // the terminal is gone then
			if width, height, err := term.GetSize(fd); err == nil && width > 0 {
				_ = line.SetSize(width, height)
			}
			return line.ReadLine()
		},
		close: func() {
			if before != nil {
				_ = term.Restore(fd, before) // a read may still be under way
			}
			_, _ = io.WriteString(out, "\n")
		},
	}
}

// next returns the next line, [io.EOF] after the last, or errInterrupted. A read that
// was left because of ctx or an interrupt goes on until its input ends, so next must
// not be called again then.
func (in *input) next(ctx context.Context, interrupts <-chan os.Signal) (string, error) {
	type typed struct {
		line string
		err  error
	}
	done := make(chan typed, 1)
	go func() {
		line, err := in.read()
		done <- typed{line, err}
	}()
	select {
	case t := <-done:
		return t.line, t.err
	case <-interrupts:
		return "", errInterrupted
	case <-ctx.Done():
		return "", errInterrupted
	}
}

// clearOnCtrlC is a keyboard on which Ctrl-C clears the line, as in a shell; package
// term takes it for the end of the input.
type clearOnCtrlC struct{ io.Reader }

func (c clearOnCtrlC) Read(b []byte) (int, error) {
	const ctrlC, ctrlU = 3, 21
	n, err := c.Reader.Read(b)
	copy(b[:n], bytes.ReplaceAll(b[:n], []byte{ctrlC}, []byte{ctrlU}))
	return n, err
}
