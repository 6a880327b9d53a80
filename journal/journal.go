package journal

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a [Journal]; Dir, Instance and Logger are required.
type Options struct {
	Dir      string // made if need be
	Instance string // whose segments these are
	// After is a position that was read some time, even if its segment is gone: new ones
	// have larger numbers.
	After        Position
	SegmentBytes int64 // a multiple of the page size up to 128 MiB; default 4 MiB
	Segments     int64 // at most on disk; default 128
	// Every is the time between two syncs; default 50 ms, so that a mark is on disk within
	// 100 ms although a sync takes its time.
	Every time.Duration
	// Retry is the wait after an allocation failed; default 1 s.
	Retry  time.Duration
	Disk   Disk // default [RealDisk]
	Now    func() time.Time
	Logger *slog.Logger
}

func (o *Options) defaults() {
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 4<<20)
	o.Segments = cmp.Or(o.Segments, 128)
	o.Every = cmp.Or(o.Every, 50*time.Millisecond)
	o.Retry = cmp.Or(o.Retry, time.Second)
	if o.Disk.Allocate == nil {
		o.Disk = RealDisk
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Journal is open for writing and reading. Begin and what is called with it are safe for
// concurrent use.
type Journal struct {
	opt  Options
	life int64
	page int64

	current atomic.Pointer[segment]
	_       [56]byte
	room    atomic.Int64 // allocated and not promised
	_       [56]byte
	wanted  atomic.Bool // an allocation is under way or asked for
	failing atomic.Bool // the last sync failed
	wake    chan struct{}
	stop    chan struct{}
	work    sync.WaitGroup

	syncing sync.Mutex // one sync at a time; taken before mu
	mu      sync.Mutex
	all     []*segment // by number
	ahead   []*segment // those of all that are to be used next
	next    int64      // number of the next one
	trouble error      // why the last allocation failed
	closed  bool
}

const (
	freshSuffix   = ".new"
	damagedSuffix = ".damaged"
)

// full is what is written to before there is a segment: it has no room.
var full = new(segment)

// Open opens the journal of an instance, which must be opened by nobody else. A full disk
// is no error: then there is no room yet.
func Open(opt Options) (*Journal, error) {
	opt.defaults()
	if opt.SegmentBytes%int64(os.Getpagesize()) != 0 || opt.SegmentBytes > maxSegmentBytes || opt.SegmentBytes < 4*MaxMark {
		return nil, fmt.Errorf("journal: segments of %d bytes are not possible", opt.SegmentBytes)
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{opt: opt, page: int64(os.Getpagesize()), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := j.find(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j.life = j.next
	j.current.Store(full)
	if err := j.allocate(); err != nil {
		j.complain(err)
	}
	j.work.Go(j.allocating)
	j.work.Go(j.keeping)
	return j, nil
}

// find lists the segments of earlier lives.
func (j *Journal) find() error {
	j.next = j.opt.After.Segment() + 1
	entries, err := os.ReadDir(j.opt.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), j.opt.Instance+"-")
		path := filepath.Join(j.opt.Dir, e.Name())
		if ours && strings.HasSuffix(name, freshSuffix) {
			if err := os.Remove(path); err != nil { // its allocation was interrupted
				return err
			}
			continue
		}
		number, err := strconv.ParseInt(name, 10, 64)
		if !ours || err != nil || number <= 0 {
			continue
		}
		j.next = max(j.next, number+1)
		if err := j.found(path, number); err != nil {
			return err
		}
	}
	slices.SortFunc(j.all, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return nil
}

// found takes in one segment of an earlier life. One that cannot be understood is set
// aside, for people.
func (j *Journal) found(path string, number int64) error {
	h, err := readHeader(path)
	switch {
	case errors.Is(err, errNewer):
		return fmt.Errorf("%s: %w; start that version or a later one", path, err)
	case errors.Is(err, errDamaged) || err == nil && h.number != number:
		j.opt.Logger.Error("a segment of the journal is damaged and cannot be read; it is kept", "file", path+damagedSuffix)
		return os.Rename(path, path+damagedSuffix)
	case err != nil:
		return err
	}
	j.all = append(j.all, &segment{header: h, path: path})
	return nil
}

func readHeader(path string) (header, error) {
	f, err := os.Open(path)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	b := make([]byte, headerBytes)
	if _, err := f.ReadAt(b, 0); err != nil {
		return header{}, errDamaged
	}
	return decodeHeader(b)
}

// Life names this life: positions before At(Life()) are of earlier ones.
func (j *Journal) Life() int64 { return j.life }

// Space is the room that a mark of n bytes takes.
func (j *Journal) Space(n int) int64 { return space(n) }

// Reserve promises room for marks, in units of [Journal.Space]; false when there is none,
// see [Journal.Trouble]. What was promised and is not used goes back by Release.
func (j *Journal) Reserve(bytes int64) bool {
	left := j.room.Add(-bytes)
	if left < j.usable() && !j.wanted.Swap(true) {
		j.awake()
	}
	if left < 0 || j.failing.Load() {
		j.room.Add(bytes)
		return false
	}
	return true
}

// awake makes the allocating goroutine look, at once or when it has finished.
func (j *Journal) awake() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Release gives back promised room.
func (j *Journal) Release(bytes int64) { j.room.Add(bytes) }

// End is where the journal ends now: marks that were begun before are before it, later ones
// at it or behind.
func (j *Journal) End() Position {
	s := j.current.Load()
	return positionOf(s.number, min(s.tail.Load(), s.size))
}

// Begin takes the place of a mark of n bytes, 1 to [MaxMark]; with promised room it does
// not fail. The mark must be committed soon, since readers wait for it.
func (j *Journal) Begin(n int) (_ Mark, ok bool) {
	if n <= 0 || n > MaxMark {
		return Mark{}, false
	}
	for {
		s := j.current.Load()
		m, spare, ok := s.take(n)
		if ok {
			return m, true
		}
		j.room.Add(spare)
		if !j.advance(s) {
			return Mark{}, false
		}
	}
}

// advance replaces a full segment by the next one; false when there is none.
func (j *Journal) advance(full *segment) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.current.Load() != full {
		return true
	}
	if len(j.ahead) == 0 || j.closed {
		return false
	}
	j.current.Store(j.ahead[0])
	j.ahead = j.ahead[1:]
	return true
}

// usable is the part of a segment that is promised from the beginning.
func (j *Journal) usable() int64 { return j.opt.SegmentBytes - headerBytes - endBytes }

// errBound is the trouble of a journal whose marks are read too slowly.
var errBound = errors.New("too much waits to be read")

// allocate makes one more segment.
func (j *Journal) allocate() error {
	j.mu.Lock()
	number, count := j.next, int64(len(j.all))
	j.mu.Unlock()
	if count >= j.opt.Segments {
		return errBound
	}
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // never fails (crypto/rand)
	s := &segment{
		header: header{number: number, life: j.life, salt: binary.LittleEndian.Uint64(salt[:]), created: j.opt.Now(), size: j.opt.SegmentBytes},
		path:   filepath.Join(j.opt.Dir, fmt.Sprintf("%s-%08d", j.opt.Instance, number)),
		synced: headerBytes,
	}
	if err := j.opt.Disk.Allocate(s.path, s.encode(), s.size); err != nil {
		return err
	}
	data, err := j.opt.Disk.Map(s.path, s.size)
	if err != nil {
		return errors.Join(err, os.Remove(s.path))
	}
	s.marks = marks{data: data, seed: s.beginning()}
	s.tail.Store(headerBytes)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next++
	j.all = append(j.all, s)
	j.ahead = append(j.ahead, s)
	j.room.Add(j.usable())
	return nil
}

// allocating keeps at least the room of one segment.
func (j *Journal) allocating() {
	for {
		err := j.restock()
		if err == nil {
			j.wanted.Store(false)
			if j.room.Load() < j.usable() {
				continue // somebody took it and saw that we were at work
			}
		}
		var again <-chan time.Time
		if err != nil {
			again = time.After(j.opt.Retry)
		}
		select {
		case <-j.stop:
			return
		case <-j.wake:
		case <-again:
		}
	}
}

func (j *Journal) restock() error {
	for j.room.Load() < j.usable() {
		if err := j.allocate(); err != nil {
			j.complain(err)
			return err
		}
	}
	j.complain(nil)
	return nil
}

// complain remembers and logs that there is trouble with new segments, or no longer.
func (j *Journal) complain(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err != nil && j.trouble == nil:
		j.opt.Logger.Error("the journal cannot grow; trying again", "error", err, "segments", len(j.all))
	case err == nil && j.trouble != nil:
		j.opt.Logger.Info("the journal can grow again")
	}
	j.trouble = err
}

// Trouble says why there is no room, for the sentence that a refused caller reads; ""
// when nothing is known.
func (j *Journal) Trouble() string {
	if j.failing.Load() {
		return "the disk of the journal cannot be written"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.trouble == nil:
		return ""
	case errors.Is(j.trouble, errBound):
		return "too many records wait for the database"
	case errors.Is(j.trouble, syscall.ENOSPC), errors.Is(j.trouble, unix.EDQUOT):
		return "the disk is full"
	}
	return "the disk of the journal cannot be written"
}

// keeping brings what was written to the disk again and again.
func (j *Journal) keeping() {
	tick := time.NewTicker(j.opt.Every)
	defer tick.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-tick.C:
			_ = j.Sync() // has said it
		}
	}
}

// Sync returns when everything that was committed before is on disk. It is never called
// on the way of a call.
func (j *Journal) Sync() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	var err error
	for _, s := range j.mapped() {
		if err = j.sync(s); err != nil {
			break
		}
	}
	if failed := err != nil; j.failing.Swap(failed) != failed {
		if failed {
			j.opt.Logger.Error("the journal cannot be brought to the disk; new calls are refused until it can", "error", err)
		} else {
			j.opt.Logger.Info("the journal is on the disk again")
		}
	}
	return err
}

// mapped returns the segments of this life that have been written to.
func (j *Journal) mapped() []*segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]*segment, 0, 2)
	for _, s := range j.all {
		if s.data != nil && s.tail.Load() > headerBytes {
			list = append(list, s)
		}
	}
	return list
}

// sync writes the pages from the first mark that may not be on disk to the last one that
// was taken; marks that are filled in meanwhile are written again the next time.
func (j *Journal) sync(s *segment) error {
	whole, complete := s.frontier(s.synced)
	if complete && s.synced >= int64(len(s.data)) {
		return nil
	}
	to := min(s.tail.Load(), int64(len(s.data)))
	if to <= s.synced {
		return nil
	}
	from := s.synced / j.page * j.page
	if err := j.opt.Disk.Sync(s.data[from:min((to+j.page-1)/j.page*j.page, int64(len(s.data)))]); err != nil {
		return err
	}
	s.synced = whole
	if complete {
		s.synced = int64(len(s.data))
	}
	return nil
}

// Cut removes the segments before the given one that are complete; it leaves the one that
// is written to and those after it. Payloads of removed segments must not be used any
// more. Whoever cuts has what was in them elsewhere, durably.
func (j *Journal) Cut(before int64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	var errs []error
	for _, s := range j.takeOut(before) { // without the lock that a writer may need
		errs = append(errs, os.Remove(s.path))
		if s.data != nil {
			errs = append(errs, unix.Munmap(s.data))
		}
	}
	return errors.Join(errs...)
}

// takeOut removes the complete segments before the given one from the list.
func (j *Journal) takeOut(before int64) []*segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	if current := j.current.Load(); current != full {
		before = min(before, current.number)
	}
	n := 0
	for ; n < len(j.all) && j.all[n].number < before; n++ {
		if s := j.all[n]; s.data != nil {
			if _, complete := s.frontier(headerBytes); !complete {
				break // somebody is about to fill in a mark
			}
		}
	}
	out := slices.Clone(j.all[:n])
	j.all = j.all[n:]
	if n > 0 && j.trouble != nil {
		j.awake()
	}
	return out
}

// Usage is what the journal holds.
type Usage struct {
	Segments int64 // on disk
	Most     int64 // segments that there may be
	Bytes    int64 // of all segments
	Room     int64 // bytes that are not promised
	Oldest   int64 // number of the first segment; 0: none
}

// Usage returns what the journal holds.
func (j *Journal) Usage() Usage {
	j.mu.Lock()
	defer j.mu.Unlock()
	u := Usage{Segments: int64(len(j.all)), Most: j.opt.Segments, Room: j.room.Load()}
	for _, s := range j.all {
		u.Bytes += s.size
	}
	if len(j.all) > 0 {
		u.Oldest = j.all[0].number
	}
	return u
}

// Close brings everything to the disk and removes segments that nothing was written to.
// Nobody may write or read any more.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	close(j.stop)
	j.work.Wait()
	errs := []error{j.Sync()}
	for _, s := range j.all {
		if s.data == nil {
			continue
		}
		errs = append(errs, unix.Munmap(s.data))
		if s.tail.Load() == headerBytes {
			errs = append(errs, os.Remove(s.path))
		}
	}
	j.all = nil
	return errors.Join(errs...)
}
