package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"

	berth "github.com/berthhq/berth"
)

// settle ends a call: limits learn what was really used, one usage record is written,
// one line logged. err is what run returns.
func (g *Gateway) settle(c *call, out *answer, err error) {
	record := g.record(c, out, err)
	used := Tokens{} // of a call that no engine took; as limits count them
	switch {
	case !c.taken:
	case record.Source == berth.SourceUnknown:
		used = c.charged(c.asked, 0) // nobody knows better
	default:
		used = c.charged(c.usage.used().within(c.asked), c.usage.cached)
		if (c.asked.Requests > 0 || c.route.PoolID != "") && c.request.operation.writes {
			c.live.past.add(c.usage.output / c.request.n)
		}
	}
	c.reservation.Settle(record.EndedAt, used)
	c.mark.UsageRecord, c.mark.Booked = record, c.booked(used)
	g.meter.Close(&c.mark)
	g.log(record, err)
}

// record makes the usage record of a call.
func (g *Gateway) record(c *call, out *answer, err error) berth.UsageRecord {
	r := c.about()
	r.ID, r.Class = g.newID("use_"), cmp.Or(c.class, classOf(c.route.Plan))
	r.FirstTokenAt, r.EndedAt = c.firstToken, g.now()
	r.End, r.HTTPStatus, r.Source = endOf(c, err), statusOf(out, err), berth.SourceUnknown
	if c.taken {
		r.Source = c.usage.source()
	}
	if r.Source != berth.SourceUnknown {
		c.fill(&r)
	}
	r.Billable = billable(r.Source, r.End, c.usage.told)
	return r
}

// billable: tokens that nobody was told of are free (design 8), and so is what an
// engine could not finish.
func billable(source berth.Source, end berth.End, told bool) bool {
	return source != berth.SourceUnknown && told && end != berth.EndEngineFailed && end != berth.EndRefused
}

func endOf(c *call, err error) berth.End {
	if err == nil {
		return c.usage.end()
	}
	return cmp.Or(failureOf(err).end, berth.EndRefused)
}

func statusOf(out *answer, err error) int {
	if err == nil || out.started {
		return http.StatusOK
	}
	return failureOf(err).status
}

// log writes the line of a call: ids, class, tokens, times, never content.
func (g *Gateway) log(r berth.UsageRecord, err error) {
	level := slog.LevelInfo
	if r.End == berth.EndEngineFailed || r.HTTPStatus >= http.StatusInternalServerError && r.HTTPStatus != http.StatusServiceUnavailable {
		level = slog.LevelWarn
	}
	handler := g.logger.Handler()
	if !handler.Enabled(context.Background(), level) {
		return
	}
	attributes := append(make([]slog.Attr, 0, 20), // on the stack
		slog.String("request_id", r.CallID), slog.String("record", r.ID),
		slog.String("workspace", r.WorkspaceID), slog.String("key", r.KeyID),
		slog.String("deployment", r.DeploymentID), slog.String("deployed_model", r.DeployedModel),
		slog.String("replica", r.ReplicaID), slog.String("class", string(r.Class)),
		slog.Int64("input_tokens", r.InputTokens), slog.Int64("cached_tokens", r.CachedTokens),
		slog.Int64("output_tokens", r.OutputTokens), slog.Int64("thinking_tokens", r.ThinkingTokens),
		slog.String("source", string(r.Source)), slog.String("end", string(r.End)),
		slog.Int("status", r.HTTPStatus), slog.Duration("duration", r.EndedAt.Sub(r.StartedAt)),
	)
	if !r.FirstTokenAt.IsZero() {
		attributes = append(attributes, slog.Duration("first_token", r.FirstTokenAt.Sub(r.StartedAt)))
	}
	if err != nil {
		f := failureOf(err)
		attributes = append(attributes, slog.String("code", f.code))
		if f.cause != nil {
			attributes = append(attributes, slog.String("cause", f.cause.Error()))
		}
	}
	// No search for the caller, which is always this one: it took a tenth of the line.
	line := slog.NewRecord(r.EndedAt, level, "call", 0)
	line.AddAttrs(attributes...)
	_ = handler.Handle(context.Background(), line) // as the logger does: a log has nowhere to complain
}
