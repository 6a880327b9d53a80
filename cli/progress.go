package cli

import (
	"io"
	"time"

	"github.com/berthhq/berth/api"
)

// progress tells how a deployment comes up or changes: in one line that changes on a terminal, in
// one line per event elsewhere.
type progress struct {
	p       *program
	events  func() ([]api.Event, error)
	live    bool
	started time.Time
	told    int // events
	looks   int
	newest  api.Event
}

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// seen takes one look at the deployment.
func (g *progress) seen(d api.Deployment) {
	// Events only explain; what is waited for is the status.
	if events, err := g.events(); err == nil && len(events) > g.told {
		for _, e := range events[g.told:] {
			if g.newest = e; !g.live {
				g.p.say("%s  %-9s  %s", e.At.In(g.p.Now().Location()).Format(time.TimeOnly), e.Status, printable(e.Reason))
			}
		}
		g.told = len(events)
	}
	if g.live {
		g.draw(d)
	}
	g.looks++
}

func (g *progress) draw(d api.Deployment) {
	const clearLine = "\r\x1b[K"
	if d.Status.Settled() {
		_, _ = io.WriteString(g.p.Err, clearLine)
		return
	}
	line := spinner[g.looks%len(spinner)] + " " + d.DeployedModel + "  " + string(d.Status) +
		"  " + brief(g.p.Now().Sub(g.started)) + "  " + g.newest.Reason
	_, _ = io.WriteString(g.p.Err, clearLine+printable(line))
}
