package reconcile

import (
	"github.com/berthhq/berth/engine"
)

// probe runs questions of ours to an engine and keeps a record of class
// probe of what they made it do, so that its counters are explained by records
// (design 8). It is marked before, so that no reading of the counters comes in between.
func (l *Loop) probe(replicaID, nonce, modelName string, ask func() (engine.Spent, error)) error {
	if l.opt.Probes == nil {
		_, err := ask()
		return err
	}
	mark := engine.ProbeMark(replicaID, nonce, modelName, l.opt.Now())
	if err := l.opt.Probes.Open(&mark); err != nil { // which keeps no engine from starting
		l.opt.Logger.Warn("what an engine is asked before it serves has no record", "replica", replicaID, "error", err)
		_, err := ask()
		return err
	}
	spent, err := ask()
	if spent == (engine.Spent{}) {
		l.opt.Probes.Drop(&mark)
		return err
	}
	spent.Settle(&mark, l.opt.NewID("use_"), l.opt.Now(), err)
	l.opt.Probes.Close(&mark)
	return err
}
