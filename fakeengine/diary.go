package fakeengine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Entry is what one call has made an engine do so far.
type Entry struct {
	Call   int    `json:"call"`   // its number
	Says   string `json:"says"`   // the beginning of its first message, prompt or input
	Input  int64  `json:"input"`  // tokens, the cached ones among them
	Output int64  `json:"output"` // tokens
}

const (
	entryBytes = 192
	mostSaid   = 64
)

// write puts an entry in its place. It is in the file when write returns, whatever becomes
// of the process.
func (e Entry) write(to io.WriterAt) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if len(line) >= entryBytes {
		return fmt.Errorf("an entry of %d bytes", len(line))
	}
	text := string(line) + strings.Repeat(" ", entryBytes-1-len(line)) + "\n"
	_, err = to.WriteAt([]byte(text), int64(e.Call-1)*entryBytes)
	return err
}

// openDiary makes the file of this process.
func openDiary(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, fmt.Sprintf("%d.jsonl", os.Getpid())), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// Diaries returns the entries of all processes that kept a diary in the folder.
func Diaries(dir string) ([]Entry, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	var all []Entry
	for _, path := range files {
		text, readErr := os.ReadFile(path)
		err = errors.Join(err, readErr)
		for line := range strings.Lines(string(text)) {
			if line = strings.Trim(line, "\x00 \n"); line == "" {
				continue // a call that has not begun to work
			}
			var e Entry
			if badErr := json.Unmarshal([]byte(line), &e); badErr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", path, badErr))
				continue
			}
			all = append(all, e)
		}
	}
	return all, err
}

// said is how a call's entry names it.
func (r request) said() string {
	for _, text := range r.allTexts() {
		return strings.ToValidUTF8(text[:min(len(text), mostSaid)], "")
	}
	return ""
}

// note writes what a call has come to into the diary, before it is counted: the counters
// never show more than the diary has.
func (e *Engine) note(j job, input, output int64) {
	if e.diary == nil {
		return
	}
	if err := (Entry{j.number, j.request.said(), input, output}).write(e.diary); err != nil {
		panic("fakeengine: write the diary: " + err.Error())
	}
}
