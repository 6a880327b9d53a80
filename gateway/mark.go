package gateway

import berth "github.com/berthhq/berth"

// mark writes down that an engine is about to work for the call, with all that its usage
// record needs if the server ends before the call does.
func (g *Gateway) mark(c *call) error {
	c.mark.UsageRecord = c.about()
	c.mark.InputTokens = estimate(&c.request).input
	c.mark.Booked = c.booked(c.charged(c.asked, 0))
	c.mark.Most = c.request.most(ceilingOf(c.route))
	c.beat = g.meter.Beat()
	return g.meter.Open(&c.mark)
}

// about is what a call's record says of it before it has ended.
func (c *call) about() berth.UsageRecord {
	return berth.UsageRecord{
		CallID: c.id, WorkspaceID: c.route.WorkspaceID, KeyID: c.key.Caller.KeyID,
		DeploymentID: c.route.DeploymentID, DeployedModel: c.route.DeployedModel, ModelName: c.route.ModelName,
		Plan: c.route.Plan, Class: c.class, ReplicaID: c.target.ReplicaID, Nonce: c.target.Nonce,
		StartedAt: c.started,
	}
}

// booked is what of t, as charged, stands in the limits: nothing of a call that reserved
// nothing.
func (c *call) booked(t Tokens) berth.Booked {
	if _, free := c.reservation.(unlimited); free {
		return berth.Booked{}
	}
	b := berth.Booked{Requests: t.Requests, Input: t.Input, Output: t.Output, Thinking: t.Thinking}
	if c.route.Limits.PTU.ThinkingTPM > 0 { // each has booked its own most
		b.Output = t.Content + t.Thinking
	}
	return b
}

// marksProgress does so once per beat, when the engine has said something.
func (g *Gateway) marksProgress(c *call) {
	if beat := g.meter.Beat(); beat != c.beat {
		c.beat = beat
		c.lease.replica.speaks(g.now())
		g.progress(c)
	}
}

// progress marks what is known of the call's tokens.
func (g *Gateway) progress(c *call) {
	c.fill(&c.mark.UsageRecord)
	c.mark.FirstTokenAt = c.firstToken
	c.mark.Source, c.mark.Billable = berth.SourceCounted, c.usage.told
	if c.usage.reported {
		c.mark.Source = berth.SourceEngine
	}
	g.meter.Progress(&c.mark)
}

// fill writes the call's figures into a record.
func (c *call) fill(r *berth.UsageRecord) {
	r.InputTokens, r.CachedTokens = c.usage.input, c.usage.cached
	r.OutputTokens, r.ThinkingTokens = c.usage.output, min(c.usage.thinking, c.usage.output)
}
