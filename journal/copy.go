package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Copier takes the segments of a journal that somebody, also another process, writes to,
// as they would be found after that one's end. It holds them open, so that those which are
// cut meanwhile are not lost.
type Copier struct {
	dir, instance string
	held          []heldSegment // by number
}

type heldSegment struct {
	number int64
	name   string
	file   *os.File
}

// ErrOvertaken says that segments were written and cut between two looks at a journal.
var ErrOvertaken = errors.New("the journal was written faster than it could be looked at")

// Hold opens every segment that there is now; none when there is no journal.
func Hold(dir, instance string) (*Copier, error) {
	c := &Copier{dir: dir, instance: instance}
	if _, err := c.open(0); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Again opens the segments that came since; [ErrOvertaken] when some have come and gone.
func (c *Copier) Again() error {
	last := int64(0)
	if n := len(c.held); n > 0 {
		last = c.held[n-1].number
	}
	first, err := c.open(last)
	if err == nil && last > 0 && first > last+1 {
		return ErrOvertaken
	}
	return err
}

// open opens the segments behind a number and returns the smallest number that it saw of
// all, 0 for none. Segments go from the front, so that a later one which is there proves
// that those between are.
func (c *Copier) open(after int64) (first int64, err error) {
	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		digits, ours := strings.CutPrefix(e.Name(), c.instance+"-")
		number, err := strconv.ParseInt(digits, 10, 64)
		if !ours || err != nil || number <= 0 {
			continue // not ours, on its way, or set aside
		}
		if first == 0 || number < first {
			first = number
		}
		if number <= after {
			continue
		}
		f, err := os.Open(filepath.Join(c.dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			if after > 0 {
				return 0, ErrOvertaken
			}
			continue // it was cut
		}
		if err != nil {
			return 0, err
		}
		c.held = append(c.held, heldSegment{number, e.Name(), f})
	}
	slices.SortFunc(c.held, func(a, b heldSegment) int { return cmp.Compare(a.number, b.number) })
	return first, nil
}

// CopyTo writes the segments into a folder, as they are now, and returns their names.
func (c *Copier) CopyTo(dir string) ([]string, error) {
	var names []string
	for _, s := range c.held {
		if err := copySegment(s.file, filepath.Join(dir, s.name)); err != nil {
			return nil, fmt.Errorf("copy the journal's %s: %w", s.name, err)
		}
		names = append(names, s.name)
	}
	return names, nil
}

func copySegment(from *os.File, path string) (err error) {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	// Front to back: the word that makes a mark valid stands before its bytes and is written
	// after them, so a mark that is seen to be valid is whole.
	_, err = io.Copy(to, io.NewSectionReader(from, 0, maxSegmentBytes))
	return err
}

// Close lets the segments go. It may be called twice.
func (c *Copier) Close() error {
	var errs []error
	for _, s := range c.held {
		errs = append(errs, s.file.Close())
	}
	c.held = nil
	return errors.Join(errs...)
}
