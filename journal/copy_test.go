package journal_test

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berthhq/berth/journal"
)

// A copy that is taken while marks are written has all that were committed before, in
// order, and of the later ones none that is not whole; segments that were cut after they
// were held are in it.
func TestACopyHasWhatWasCommittedBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir})
	var committed atomic.Uint64
	stop := make(chan struct{})
	var writer sync.WaitGroup
	payload := func(n uint64) []byte {
		b := make([]byte, 200)
		for i := 0; i < len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], n)
		}
		return b
	}
	writer.Go(func() {
		for n := uint64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			write(t, j, payload(n))
			committed.Store(n)
		}
	})
	until(t, "some segments are full", func() bool { return committed.Load() > 500 })
	c, err := journal.Hold(dir, "local")
	must(t, err)
	before := committed.Load()
	// Whoever folds goes on: nothing is left of what was held but by the copier.
	r := j.Read(0)
	for range before {
		_, err := r.Next()
		must(t, err)
	}
	must(t, j.Cut(r.Position().Segment()))
	must(t, c.Again())
	to := t.TempDir()
	names, err := c.CopyTo(to)
	must(t, err)
	must(t, c.Close())
	must(t, c.Close())
	close(stop)
	writer.Wait()

	copied := open(t, journal.Options{Dir: to})
	all := copied.Read(0)
	read := uint64(0)
	for {
		e, err := all.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		n := binary.LittleEndian.Uint64(e.Payload)
		if want := payload(n); n != read+1 || string(e.Payload) != string(want) {
			t.Fatalf("mark %d after %d: %v", n, read, e.Payload)
		}
		read = n
	}
	if read < before || len(names) == 0 {
		t.Errorf("%d marks in %v, %d were committed before", read, names, before)
	}
}

func TestACopyOfNothing(t *testing.T) {
	t.Parallel()
	c, err := journal.Hold(filepath.Join(t.TempDir(), "none"), "local")
	must(t, err)
	must(t, c.Again())
	names, err := c.CopyTo(t.TempDir())
	if err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
	must(t, c.Close())
}

// Segments that came and went between two looks are missed, and that is said.
func TestACopyThatWasOvertakenSaysSo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		then []string // there at the second look
		want error
	}{
		"the same":          {[]string{"local-00000001", "local-00000002"}, nil},
		"one more":          {[]string{"local-00000002", "local-00000003"}, nil},
		"all others":        {[]string{"local-00000003", "local-00000004"}, nil},
		"one came and went": {[]string{"local-00000004"}, journal.ErrOvertaken},
		"none any more":     {nil, nil},
		"what is not ours":  {[]string{"other-00000009", "local-00000009.new", "local-00000001.damaged"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put := func(names []string) {
				for _, n := range names {
					must(t, os.WriteFile(filepath.Join(dir, n), nil, 0o600))
				}
			}
			put([]string{"local-00000001", "local-00000002"})
			c, err := journal.Hold(dir, "local")
			must(t, err)
			defer func() { must(t, c.Close()) }()
			must(t, os.Remove(filepath.Join(dir, "local-00000001")))
			must(t, os.Remove(filepath.Join(dir, "local-00000002")))
			put(test.then)
			if err := c.Again(); !errors.Is(err, test.want) {
				t.Errorf("%v instead of %v", err, test.want)
			}
		})
	}
}
