package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

const (
	// longestSilence is below the 15 s of silence that a stream may keep (api.md 4.14).
	longestSilence = 10 * time.Second
	// frameTimeout is how long a client may take to read a frame.
	frameTimeout = 30 * time.Second

	streamsMost         = 1000 // at once
	streamsPerWorkspace = 100
	streamsWait         = 10 * time.Second // until one more may fit
)

// streams counts the open ones.
type streams struct {
	mu          sync.Mutex
	all         int
	byWorkspace map[string]int
}

// enter makes room for one stream, or refuses it with [berth.CodeThrottled]. leave is
// called once.
func (s *streams) enter(workspaceID string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= streamsMost || s.byWorkspace[workspaceID] >= streamsPerWorkspace {
		refusal := berth.Errorf(berth.CodeThrottled,
			"Too many event streams are open; a workspace may have %d, the server %d. Close one, or ask GET %s/deployments/{deployed_model} instead.",
			streamsPerWorkspace, streamsMost, nativeBase)
		refusal.RetryAfter = streamsWait
		return nil, refusal
	}
	if s.byWorkspace == nil {
		s.byWorkspace = map[string]int{}
	}
	s.all++
	s.byWorkspace[workspaceID]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.byWorkspace[workspaceID]--; s.byWorkspace[workspaceID] == 0 {
			delete(s.byWorkspace, workspaceID)
		}
	}, nil
}

// streamEvents is api.md 4.14: server-sent events whatever the client accepts.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request) {
	opened, err := guarded(r.Context(), r, s.authenticated(synchronous(s.openFeed)))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	f := opened.(*feed)
	defer f.close()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	f.w, f.control = w, http.NewResponseController(w)
	defer func() { _ = f.control.SetWriteDeadline(time.Time{}) }() // for the connection's next request
	f.run(r)
}

// feed is one open stream.
type feed struct {
	*Server
	ctx     context.Context //nolint:containedctx // of the one request that the feed is for
	watch   *berth.Watch
	changes []berth.NumberedEvent // not written yet
	changed <-chan struct{}
	close   func()
	w       http.ResponseWriter
	control *http.ResponseController
}

// openFeed does what can be refused with a plain answer.
func (s *Server) openFeed(ctx context.Context, r *http.Request) (any, error) {
	leave, err := s.streams.enter(berth.CallerFrom(ctx).WorkspaceID)
	if err != nil {
		return nil, err
	}
	after, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err != nil {
		after = 0 // of another server, or of none
	}
	watch, changes, err := s.Deployments.Watch(ctx, r.PathValue("id"), after)
	if err != nil {
		leave()
		return nil, err
	}
	changed, stop := s.Follow(watch.DeploymentID)
	return &feed{
		Server: s, ctx: ctx, watch: watch, changes: changes, changed: changed,
		close: func() { stop(); leave() },
	}, nil
}

// run writes changes until nothing is under way, the client has gone, or something
// fails.
func (f *feed) run(r *http.Request) {
	beat := time.NewTicker(f.heartbeat())
	defer beat.Stop()
	// What changed between the reading of the present state and the watch has woken
	// nobody.
	for settled := false; ; {
		changes, err := f.watch.Next(f.ctx)
		f.changes = append(f.changes, changes...)
		if n := len(f.changes); n > 0 {
			settled = f.changes[n-1].Status.Settled()
			if f.write(f.frames()) != nil {
				return
			}
			f.changes = nil
		}
		if err != nil {
			f.fail(r, err)
			return
		}
		if settled {
			return
		}
		select {
		case <-f.changed:
		case <-beat.C:
			if f.write([]byte(":alive\n\n")) != nil {
				return
			}
			if _, err := f.authenticate(r); err != nil { // the key was revoked, or has expired
				f.fail(r, err)
				return
			}
		case <-f.ctx.Done():
			return
		case <-f.Stopping:
			f.fail(r, &berth.Error{Code: berth.CodeUnavailable, Message: "Berth is stopping; ask again when it is back."})
			return
		}
	}
}

func (f *feed) heartbeat() time.Duration {
	if f.Heartbeat > 0 {
		return f.Heartbeat
	}
	return longestSilence
}

// frames makes one of each change that was not written yet.
func (f *feed) frames() []byte {
	var frames []byte
	for _, c := range f.changes {
		data, _ := json.Marshal(api.DeploymentEvent{ // cannot fail
			DeployedModel: f.watch.DeployedModel, Status: api.Status(c.Status), Capacity: c.Capacity,
			ReadyCapacity: c.ReadyCapacity, GMTModified: api.FormatTime(c.At, f.Zone), Message: c.Reason,
		})
		frames = fmt.Appendf(frames, "id:%d\nevent:result\ndata:%s\n\n", c.Number, data)
	}
	return frames
}

// fail tells the client that the stream ends before its time.
func (f *feed) fail(r *http.Request, err error) {
	e, _ := f.describe(f.w, r, err)
	data, _ := json.Marshal(e) // cannot fail
	_ = f.write(fmt.Appendf(nil, "event:error\nstatus:%d\ndata:%s\n\n", e.Status, data))
}

// write sends frames at once; an error means that the client has gone or does not read.
func (f *feed) write(frames []byte) error {
	_ = f.control.SetWriteDeadline(time.Now().Add(frameTimeout)) // without deadlines the server's bounds remain
	if _, err := f.w.Write(frames); err != nil {
		return err
	}
	return f.control.Flush()
}
