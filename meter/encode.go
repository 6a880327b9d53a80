package meter

import (
	"encoding/binary"
	"errors"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/journal"
)

// The kinds of marks.
const (
	kindOpened   = 1 // a call, before its engine is asked; again when that is another one
	kindCarried  = 2 // the same, from a segment that goes
	kindProgress = 3 // figures so far
	kindClosed   = 4 // the record
	kindVoid     = 5 // a call is not open: it was carried after it had been closed, or dropped
	kindBegan    = 6 // an engine is about to start
	kindRead     = 7 // what its counters showed
	kindEnded    = 8 // it has ended
)

// A mark begins with its kind, its version, flags, the HTTP status, the place at which the
// call was opened (0 in that mark itself, and when it never was; of a reading
// where the journal ended when it was asked for), and figures. Marks other
// than of progress and void ones go on with texts, each after its length. Numbers are little endian,
// times nanoseconds since 1970 in UTC, 0 for none.
const (
	encoding = 1 // the version

	atKind    = 0
	atVersion = 1
	atFlags   = 2
	atStatus  = 4
	atRef     = 8
	atFigures = 16

	figures       = 11 // 3 times, 4 counts, 4 booked
	fixedBytes    = atFigures + 8*figures
	progressBytes = fixedBytes
	texts         = 13
	nonceText     = 10  // of the texts
	maxText       = 255 // bytes; names and ids are shorter, labels are cut

	flagBillable = 1 << 0
	flagEngine   = 1 << 1 // progress: the figures are the engine's, and final

	// mostBytes stand at the end of opening and closing marks: the most that the call can
	// make its engine do. Marks of the first version of Berth lack them.
	mostBytes = 16

	// closeBytes is what a closing mark may have more than the opening one: how it ended,
	// where the figures are from, and its own id.
	closeBytes = 128
)

// textsOf returns the texts of a record in their order.
func textsOf(r *berth.UsageRecord) [texts]string {
	return [texts]string{
		r.DeploymentID, r.ID, r.CallID, r.WorkspaceID, r.KeyID, r.DeployedModel, r.ModelName,
		string(r.Plan), string(r.Class), r.ReplicaID, r.Nonce, string(r.End), string(r.Source),
	}
}

// size returns the bytes of a mark with the record's texts.
func size(r *berth.UsageRecord) int {
	n := fixedBytes + texts + mostBytes
	for _, text := range textsOf(r) {
		n += min(len(text), maxText)
	}
	return n
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// encode fills b, which has the size of the mark.
func encode(b []byte, kind byte, m *berth.UsageMark) {
	b[atKind], b[atVersion] = kind, encoding
	var flags uint16
	if m.Billable {
		flags |= flagBillable
	}
	if m.Source == berth.SourceEngine {
		flags |= flagEngine
	}
	binary.LittleEndian.PutUint16(b[atFlags:], flags)
	binary.LittleEndian.PutUint16(b[atStatus:], uint16(m.HTTPStatus))
	binary.LittleEndian.PutUint64(b[atRef:], uint64(m.Ref))
	for i, n := range [figures]int64{
		nanos(m.StartedAt), nanos(m.FirstTokenAt), nanos(m.EndedAt),
		m.InputTokens, m.CachedTokens, m.OutputTokens, m.ThinkingTokens,
		m.Booked.Requests, m.Booked.Input, m.Booked.Output, m.Booked.Thinking,
	} {
		binary.LittleEndian.PutUint64(b[atFigures+8*i:], uint64(n))
	}
	if kind == kindProgress {
		return
	}
	at := fixedBytes
	for _, text := range textsOf(&m.UsageRecord) {
		n := min(len(text), maxText)
		b[at] = byte(n)
		at += 1 + copy(b[at+1:], text[:n])
	}
	binary.LittleEndian.PutUint64(b[at:], uint64(m.Most.Input))
	binary.LittleEndian.PutUint64(b[at+8:], uint64(m.Most.Output))
}

var errMark = errors.New("a mark that is none of this version")

// check returns the kind of a mark and the place at which its call was opened; at is where
// the mark is.
func check(b []byte, at journal.Position) (kind byte, ref journal.Position, err error) {
	if len(b) < fixedBytes || b[atVersion] != encoding {
		return 0, 0, errMark
	}
	ref = journal.Position(binary.LittleEndian.Uint64(b[atRef:]))
	if ref == 0 && b[atKind] == kindOpened {
		ref = at
	}
	return b[atKind], ref, nil
}

func figure(b []byte, i int) int64 { return int64(binary.LittleEndian.Uint64(b[atFigures+8*i:])) }

func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// startedAt and booked are those of a checked mark.
func startedAt(b []byte) time.Time { return instant(figure(b, 0)) }

func booked(b []byte) berth.Booked {
	return berth.Booked{Requests: figure(b, 7), Input: figure(b, 8), Output: figure(b, 9), Thinking: figure(b, 10)}
}

// latest is the last moment that a checked mark speaks of.
func latest(b []byte) int64 { return max(figure(b, 0), figure(b, 1), figure(b, 2)) }

// decoder makes records of marks. Texts that come again and again are kept.
type decoder struct{ known map[string]string }

const maxKnown = 4096

func (d *decoder) intern(b []byte) string {
	if s, ok := d.known[string(b)]; ok {
		return s
	}
	if d.known == nil || len(d.known) >= maxKnown {
		d.known = map[string]string{}
	}
	s := string(b)
	d.known[s] = s
	return s
}

// record decodes an opening or closing mark.
func (d *decoder) record(b []byte) (berth.UsageRecord, error) {
	var text [texts][]byte
	rest := b[fixedBytes:]
	for i := range text {
		var ok bool
		if text[i], rest, ok = cutText(rest); !ok {
			return berth.UsageRecord{}, errMark
		}
	}
	r := berth.UsageRecord{
		DeploymentID: d.intern(text[0]), ID: string(text[1]), CallID: string(text[2]),
		WorkspaceID: d.intern(text[3]), KeyID: d.intern(text[4]), DeployedModel: d.intern(text[5]), ModelName: d.intern(text[6]),
		Plan: berth.Plan(d.intern(text[7])), Class: berth.Class(d.intern(text[8])), ReplicaID: d.intern(text[9]), Nonce: d.intern(text[10]),
		End: berth.End(d.intern(text[11])), Source: berth.Source(d.intern(text[12])),
		Billable: binary.LittleEndian.Uint16(b[atFlags:])&flagBillable != 0, HTTPStatus: int(binary.LittleEndian.Uint16(b[atStatus:])),
	}
	r.StartedAt = startedAt(b)
	r.EndedAt = instant(figure(b, 2))
	readFigures(&r, b)
	return r, nil
}

// readFigures takes what progress tells, too.
func readFigures(r *berth.UsageRecord, b []byte) {
	r.FirstTokenAt = instant(figure(b, 1))
	r.InputTokens, r.CachedTokens, r.OutputTokens, r.ThinkingTokens = figure(b, 3), figure(b, 4), figure(b, 5), figure(b, 6)
}

// deployment returns the text that is first, without decoding the rest.
func (d *decoder) deployment(b []byte) (string, error) {
	text, _, ok := cutText(b[fixedBytes:])
	if !ok {
		return "", errMark
	}
	return d.intern(text), nil
}

// cutText takes the first text off the texts of a mark.
func cutText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || len(b) <= int(b[0]) {
		return nil, nil, false
	}
	end := 1 + int(b[0])
	return b[1:end], b[end:], true
}

// crashed makes the record of a call that an earlier life left open. at is the last moment
// known of that life.
func (d *decoder) crashed(c *openCall, id string, at time.Time) (berth.UsageRecord, error) {
	r, err := d.record(c.mark)
	if err != nil {
		return r, err
	}
	r.ID, r.End, r.Source = id, berth.EndBerthCrashed, berth.SourceCounted
	r.Billable = false // of what nobody was told
	if c.progress != nil {
		readFigures(&r, c.progress)
		flags := binary.LittleEndian.Uint16(c.progress[atFlags:])
		if flags&flagEngine != 0 {
			r.Source = berth.SourceEngine
		}
		r.Billable = flags&flagBillable != 0 && r.OutputTokens > 0
	}
	r.HTTPStatus = 0
	if r.Billable {
		r.HTTPStatus = 200
	}
	r.EndedAt = at
	if at.Before(r.StartedAt) {
		r.EndedAt = r.StartedAt
	}
	return r, nil
}

// void makes the mark which says that a call is not open.
func void(ref journal.Position) []byte {
	b := make([]byte, fixedBytes)
	b[atKind], b[atVersion] = kindVoid, encoding
	binary.LittleEndian.PutUint64(b[atRef:], uint64(ref))
	return b
}

// carried makes a carried mark of an opening one.
func carried(b []byte, ref journal.Position) {
	b[atKind] = kindCarried
	binary.LittleEndian.PutUint64(b[atRef:], uint64(ref))
}
