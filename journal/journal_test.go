package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berthhq/berth/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const small = 32 << 10 // bytes of a segment

// open opens a journal that is closed at the end of the test, if not before.
func open(t testing.TB, o journal.Options) *journal.Journal {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = small
	}
	o.Instance, o.Logger = "local", slog.New(slog.DiscardHandler)
	j, err := journal.Open(o)
	must(t, err)
	t.Cleanup(func() { must(t, j.Close()) })
	return j
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write writes a mark, waiting for room.
func write(t testing.TB, j *journal.Journal, payload []byte) journal.Position {
	t.Helper()
	until(t, "there is room", func() bool { return j.Reserve(j.Space(len(payload))) })
	m, ok := j.Begin(len(payload))
	if !ok {
		t.Fatal("no room although it was promised")
	}
	copy(m.Bytes, payload)
	m.Commit()
	return m.Position()
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// text is the n-th mark of a test, of a length of its own.
func text(n int) []byte {
	return append(fmt.Appendf(nil, "%d:", n), bytes.Repeat([]byte{byte(n)}, n*37%700)...)
}

// rest reads what there is.
func rest(t testing.TB, r *journal.Reader) (all []journal.Entry) {
	t.Helper()
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		e.Payload = bytes.Clone(e.Payload)
		all = append(all, e)
	}
}

func payloads(entries []journal.Entry) (all [][]byte) {
	for _, e := range entries {
		all = append(all, e.Payload)
	}
	return all
}

func same(t testing.TB, got, want [][]byte) {
	t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("read %d marks, want %d", len(got), len(want))
	}
}

func TestMarksAreReadInOrderAcrossSegments(t *testing.T) {
	t.Parallel()
	j := open(t, journal.Options{})
	r := j.Read(0)
	var want, got [][]byte
	for n := range 500 {
		at := write(t, j, text(n))
		want = append(want, text(n))
		if n%7 == 0 {
			entries := rest(t, r)
			got = append(got, payloads(entries)...)
			if last := entries[len(entries)-1]; last.At != at {
				t.Fatalf("the last mark is at %d, was written at %d", last.At, at)
			}
		}
	}
	got = append(got, payloads(rest(t, r))...)
	same(t, got, want)
	if u := j.Usage(); u.Segments < 4 {
		t.Errorf("%d segments", u.Segments)
	}
	// A reader that begins anywhere reads the rest.
	for _, from := range []int{0, 1, 250, 499} {
		at := rest(t, j.Read(0))[from].At
		same(t, payloads(rest(t, j.Read(at))), want[from:])
	}
}

func TestALaterLifeReadsWhatEarlierOnesWrote(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var want [][]byte
	var last journal.Position
	for life := range 3 {
		j := open(t, journal.Options{Dir: dir, After: last})
		if last != 0 && journal.At(j.Life()) <= last {
			t.Errorf("life %d begins before the end of the last one", j.Life())
		}
		for n := range 100 {
			last = write(t, j, text(life*100+n))
			want = append(want, text(life*100+n))
		}
		r := j.Read(0)
		same(t, payloads(rest(t, r)), want)
		if r.Lost() != 0 {
			t.Errorf("%d bytes lost", r.Lost())
		}
		must(t, j.Close())
	}
}

// Numbers never come again, even if the files are gone: a position means one place, ever.
func TestNumbersRiseAlthoughTheFilesAreGone(t *testing.T) {
	t.Parallel()
	j := open(t, journal.Options{After: journal.At(41)})
	if at := write(t, j, []byte("x")); at.Segment() != 42 {
		t.Errorf("segment %d", at.Segment())
	}
}

// Everything of earlier lives counts as read when the position is in this one, although
// nothing was written in it, and although it has no segment yet.
func TestTheEndOfEarlierLives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, journal.Options{Dir: dir})
	write(t, first, []byte("x"))
	must(t, first.Close())
	full := journal.RealDisk
	full.Allocate = func(string, []byte, int64) error { return syscall.ENOSPC }
	for name, disk := range map[string]journal.Disk{"room": journal.RealDisk, "none": full} {
		j := open(t, journal.Options{Dir: dir, Disk: disk, Retry: time.Hour})
		r := j.Read(0)
		if _, err := r.Next(); err != nil || r.Position() >= journal.At(j.Life()) {
			t.Errorf("%s: %v at %d", name, err, r.Position())
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) || r.Position() < journal.At(j.Life()) {
			t.Errorf("%s: %v at %d, life %d", name, err, r.Position(), j.Life())
		}
		must(t, j.Close())
	}
}

// Many writers, one reader, a cutter: each mark is read once, whole, and in the order of
// its writer.
func TestManyWritersAndAReaderThatCuts(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 2000
	j := open(t, journal.Options{Every: time.Millisecond, Segments: 6})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range each {
				write(t, j, binary.LittleEndian.AppendUint64(make([]byte, 8, 200), uint64(w)<<32|uint64(n))[:16+n%180])
			}
		})
	}
	r := j.Read(0)
	next := make([]int, writers)
	for read := 0; read < writers*each; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			must(t, j.Cut(r.Position().Segment()))
			time.Sleep(time.Millisecond)
			continue
		}
		must(t, err)
		v := binary.LittleEndian.Uint64(e.Payload[8:])
		if w := v >> 32; next[w] != int(uint32(v)) {
			t.Fatalf("writer %d: got %d, want %d", w, uint32(v), next[w])
		}
		next[v>>32]++
		read++
	}
	all.Wait()
	must(t, j.Cut(r.Position().Segment()))
	if u := j.Usage(); u.Segments > 3 {
		t.Errorf("%d segments are left", u.Segments)
	}
}

// What a process that was killed leaves: marks without a word, and the end of the file.
func TestATornTailCostsOnlyItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir})
	write(t, j, text(1))
	torn, ok := j.Begin(100) // never committed
	if !ok {
		t.Fatal("no room")
	}
	copy(torn.Bytes, bytes.Repeat([]byte{3, 0, 0, 0, 9, 9, 9, 9}, 20)) // looks like words
	write(t, j, text(2))
	// While it lives, readers wait: the mark may come.
	live := j.Read(0)
	same(t, payloads(rest(t, live)), [][]byte{text(1)})
	_, _ = j.Begin(60)
	must(t, j.Close())

	r := open(t, journal.Options{Dir: dir}).Read(0)
	same(t, payloads(rest(t, r)), [][]byte{text(1), text(2)})
	if r.Lost() != 112 {
		t.Errorf("%d bytes lost", r.Lost())
	}
}

// After a power cut any page may be the old one. What the checksums pass was written.
func TestAnyDamageCostsOnlyWhatItHits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir})
	var at []journal.Position
	for n := range 20 {
		at = append(at, write(t, j, text(n+1)))
	}
	must(t, j.Close())
	path := filepath.Join(dir, "local-00000001")
	whole, err := os.ReadFile(path)
	must(t, err)
	offset := func(p journal.Position) int { return int(p-journal.At(p.Segment())) * 8 }
	for n := range 19 {
		damaged := bytes.Clone(whole)
		damaged[offset(at[n])+8+n%3] ^= 0x40
		must(t, os.WriteFile(path, damaged, 0o600))
		j := open(t, journal.Options{Dir: dir})
		r := j.Read(0)
		got := payloads(rest(t, r))
		if len(got) != 19 || r.Lost() == 0 {
			t.Fatalf("damage in mark %d: read %d of 19, lost %d", n, len(got), r.Lost())
		}
		must(t, j.Cut(j.Life())) // what people may want to look at stays
		kept, err := os.ReadFile(path + ".damaged")
		if must(t, err); !bytes.Equal(kept, damaged) {
			t.Fatalf("damage in mark %d: something else is kept", n)
		}
		must(t, os.Remove(path+".damaged"))
		must(t, j.Close())
	}
}

// A file that has become shorter has lost more than the mark in which it now ends.
func TestAFileThatIsCutOffIsSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir})
	var at []journal.Position
	for n := range 20 {
		at = append(at, write(t, j, text(n+1)))
	}
	must(t, j.Close())
	path := filepath.Join(dir, "local-00000001")
	whole, err := os.Stat(path)
	must(t, err)
	rests := int64(at[10]-journal.At(1)) * 8
	must(t, os.Truncate(path, rests))
	r := open(t, journal.Options{Dir: dir}).Read(0)
	if got := payloads(rest(t, r)); len(got) != 10 || r.Lost() != whole.Size()-rests {
		t.Errorf("read %d marks and lost %d of %d bytes", len(got), r.Lost(), whole.Size()-rests)
	}
}

func TestASegmentThatCannotBeUnderstoodIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir})
	write(t, j, text(1))
	must(t, j.Close())
	path := filepath.Join(dir, "local-00000001")
	whole, err := os.ReadFile(path)
	must(t, err)

	t.Run("a newer version is not touched", func(t *testing.T) {
		newer := bytes.Clone(whole)
		newer[8] = 2
		must(t, os.WriteFile(path, newer, 0o600))
		_, err := journal.Open(journal.Options{Dir: dir, Instance: "local", Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte("start that version or a later one")) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a damaged header is set aside", func(t *testing.T) {
		damaged := bytes.Clone(whole)
		damaged[33] ^= 1
		must(t, os.WriteFile(path, damaged, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "local-00000009.new"), nil, 0o600)) // of an interrupted allocation
		j := open(t, journal.Options{Dir: dir})
		if got := rest(t, j.Read(0)); len(got) != 0 {
			t.Errorf("read %d marks", len(got))
		}
		if _, err := os.Stat(path + ".damaged"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "local-00000009.new")); err == nil {
			t.Error("the interrupted allocation is left")
		}
	})
}

// disk is one that fails when the test says so.
type disk struct {
	full, broken atomic.Bool
	slow         chan struct{} // Sync waits for it, when not nil
	syncs        atomic.Int64
}

func (d *disk) disk() journal.Disk {
	return journal.Disk{
		Allocate: func(path string, begin []byte, size int64) error {
			if d.full.Load() {
				return &os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
			}
			return journal.RealDisk.Allocate(path, begin, size)
		},
		Map: journal.RealDisk.Map,
		Sync: func(b []byte) error {
			if d.slow != nil {
				<-d.slow
			}
			d.syncs.Add(1)
			if d.broken.Load() {
				return syscall.EIO
			}
			return journal.RealDisk.Sync(b)
		},
	}
}

// A full disk: promises end before the room does, what was promised is kept, and it goes
// on by itself.
func TestAFullDiskRefusesBeforeAnythingIsLost(t *testing.T) {
	t.Parallel()
	d := &disk{}
	j := open(t, journal.Options{Disk: d.disk(), Retry: time.Millisecond})
	write(t, j, text(0))
	until(t, "a segment is ahead", func() bool { return j.Usage().Segments == 2 })
	d.full.Store(true)
	mark := make([]byte, 300)
	promised := 0
	for j.Reserve(j.Space(len(mark))) {
		promised++
	}
	until(t, "it says why", func() bool { return j.Trouble() == "the disk is full" })
	if promised < 2*(small-5000)/308 {
		t.Errorf("only %d marks were promised", promised)
	}
	if j.Reserve(j.Space(1)) && j.Reserve(j.Space(len(mark))) {
		t.Error("more is promised")
	}
	for n := range promised {
		m, ok := j.Begin(len(mark))
		if !ok {
			t.Fatalf("mark %d of %d was promised and has no room", n, promised)
		}
		copy(m.Bytes, mark)
		m.Commit()
	}
	d.full.Store(false)
	until(t, "there is room again", func() bool { return j.Reserve(j.Space(len(mark))) })
	until(t, "nothing is wrong", func() bool { return j.Trouble() == "" })
	if got := rest(t, j.Read(0)); len(got) != promised+1 {
		t.Errorf("read %d of %d", len(got), promised+1)
	}
}

func TestAFullDiskAtTheStart(t *testing.T) {
	t.Parallel()
	d := &disk{}
	d.full.Store(true)
	j := open(t, journal.Options{Disk: d.disk(), Retry: time.Millisecond})
	if j.Reserve(j.Space(10)) {
		t.Error("room is promised")
	}
	if _, ok := j.Begin(10); ok {
		t.Error("there is room")
	}
	if got := rest(t, j.Read(0)); len(got) != 0 {
		t.Errorf("read %d", len(got))
	}
	d.full.Store(false)
	r := j.Read(0)
	write(t, j, text(5))
	same(t, payloads(rest(t, r)), [][]byte{text(5)})
}

// The bound holds while nothing is cut, and ends with the cut.
func TestTheJournalIsBounded(t *testing.T) {
	t.Parallel()
	j := open(t, journal.Options{Segments: 3, Retry: time.Hour})
	mark := make([]byte, 1000)
	fill := func() {
		for deadline := time.Now().Add(10 * time.Second); j.Trouble() == "" && time.Now().Before(deadline); {
			if j.Reserve(j.Space(len(mark))) {
				m, _ := j.Begin(len(mark))
				m.Commit()
			}
		}
		for j.Reserve(j.Space(len(mark))) {
			m, _ := j.Begin(len(mark))
			m.Commit()
		}
	}
	fill()
	if u := j.Usage(); u.Segments != 3 || u.Bytes != 3*small || j.Trouble() != "too many records wait for the database" {
		t.Errorf("%+v, %q", u, j.Trouble())
	}
	r := j.Read(0)
	rest(t, r)
	must(t, j.Cut(r.Position().Segment()))
	until(t, "there is room again", func() bool { return j.Reserve(j.Space(len(mark))) })
	if u := j.Usage(); u.Segments > 3 {
		t.Errorf("%+v", u)
	}
}

// A disk that does not answer keeps no writer waiting.
func TestASlowSyncBlocksNoWriter(t *testing.T) {
	t.Parallel()
	d := &disk{slow: make(chan struct{})}
	j := open(t, journal.Options{Disk: d.disk(), Every: time.Millisecond})
	for n := range 200 { // several segments
		write(t, j, text(n))
	}
	if got := len(rest(t, j.Read(0))); got != 200 || d.syncs.Load() != 0 {
		t.Errorf("%d marks, %d syncs", got, d.syncs.Load())
	}
	close(d.slow)
	must(t, j.Sync())
}

func TestADiskThatCannotBeWrittenIsSaid(t *testing.T) {
	t.Parallel()
	d := &disk{}
	j := open(t, journal.Options{Disk: d.disk(), Every: time.Millisecond})
	d.broken.Store(true)
	write(t, j, text(1))
	until(t, "it is noticed", func() bool { return j.Trouble() == "the disk of the journal cannot be written" })
	if j.Reserve(1) {
		t.Error("room is promised")
	}
	if m, ok := j.Begin(10); !ok { // what was promised before
		t.Error("a promise is broken")
	} else {
		m.Commit()
	}
	d.broken.Store(false)
	until(t, "it goes on", func() bool { return j.Reserve(1) && j.Trouble() == "" })
}

// Everything is synced soon, and nothing while nothing happens.
func TestWhatIsWrittenIsSyncedAndNoMore(t *testing.T) {
	t.Parallel()
	d := &disk{}
	j := open(t, journal.Options{Disk: d.disk(), Every: time.Millisecond})
	for n := range 200 {
		write(t, j, text(n))
	}
	until(t, "it is synced", func() bool { return d.syncs.Load() > 0 })
	must(t, j.Sync())
	before := d.syncs.Load()
	must(t, j.Sync())
	must(t, j.Sync())
	if after := d.syncs.Load(); after != before {
		t.Errorf("%d syncs of nothing", after-before)
	}
	write(t, j, text(1))
	must(t, j.Sync())
	if d.syncs.Load() == before {
		t.Error("no sync of something")
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	j := open(t, journal.Options{})
	for _, n := range []int{-1, 0, journal.MaxMark + 1} {
		if _, ok := j.Begin(n); ok {
			t.Errorf("a mark of %d bytes", n)
		}
	}
	largest := bytes.Repeat([]byte{7}, journal.MaxMark)
	for range 20 {
		write(t, j, largest)
	}
	if got := rest(t, j.Read(0)); len(got) != 20 || !bytes.Equal(got[19].Payload, largest) {
		t.Errorf("read %d", len(got))
	}
	for _, size := range []int64{1000, 4096, 256 << 20} {
		if _, err := journal.Open(journal.Options{Dir: t.TempDir(), SegmentBytes: size}); err == nil {
			t.Errorf("segments of %d bytes", size)
		}
	}
}

func TestAMarkAllocatesNothing(t *testing.T) {
	j := open(t, journal.Options{SegmentBytes: 4 << 20})
	payload := text(18)
	if n := testing.AllocsPerRun(1000, func() {
		j.Reserve(j.Space(len(payload)))
		m, _ := j.Begin(len(payload))
		copy(m.Bytes, payload)
		m.Commit()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkMark is a mark of 350 bytes, as one that opens a call, with a reader that cuts
// beside it as in life.
func BenchmarkMark(b *testing.B) {
	j := open(b, journal.Options{SegmentBytes: 4 << 20, Segments: 64})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		r := j.Read(0)
		for {
			if _, err := r.Next(); err == nil {
				continue
			}
			_ = j.Cut(r.Position().Segment())
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	payload := bytes.Repeat([]byte("x"), 350)
	var refused atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			for !j.Reserve(j.Space(len(payload))) {
				refused.Add(1)
				time.Sleep(100 * time.Microsecond)
			}
			m, _ := j.Begin(len(payload))
			copy(m.Bytes, payload)
			m.Commit()
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(refused.Load())/float64(b.N), "refused/op")
	close(stop)
	<-done
}

// BenchmarkMarkInPlace is the writer's part alone: no new pages, no reader.
func BenchmarkMarkInPlace(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 350)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		j := open(b, journal.Options{SegmentBytes: 4 << 20, Every: time.Hour})
		b.StartTimer()
		for range 10_000 {
			m, _ := j.Begin(len(payload))
			copy(m.Bytes, payload)
			m.Commit()
		}
		b.StopTimer()
		must(b, j.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/mark")
}
