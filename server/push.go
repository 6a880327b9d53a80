package server

import (
	"context"
	"net/http"
	"time"

	"github.com/berthhq/berth/api"
)

func (s *Server) getPush(ctx context.Context, _ *http.Request) (any, error) {
	p, err := s.Push.Get(ctx)
	if err != nil {
		return nil, err
	}
	out := api.Push{
		State: api.PushDelivering, URL: p.URL, Types: p.Types, Since: momentOf(p.Since), Reason: p.Reason, Tries: int64(p.Tries), NextAt: momentOf(p.NextAt),
		DeliveredAt: momentOf(p.DeliveredAt), Delivered: p.Delivered, WaitingRecords: p.Waiting.Records, WaitingEvents: p.Waiting.Notices,
		WaitingSince: momentOf(p.Waiting.Oldest), Lost: p.Waiting.Lost,
	}
	switch {
	case p.URL == "":
		out.State = api.PushOff
	case p.Failing:
		out.State = api.PushFailing
	case p.Since.IsZero():
		out.State = api.PushIdle
	}
	return out, nil
}

// momentOf is nil for the zero time.
func momentOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
