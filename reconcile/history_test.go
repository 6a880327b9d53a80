package reconcile

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/engine"
	"github.com/berthhq/berth/fakeengine"
)

var historyFor = flag.Duration("history.for", 3*time.Second, "how long TestAnyHistoryEndsWell begins new histories")

// Whatever clients ask, in whatever order, while engines fail, time passes and Berth is
// started again: hardware is never oversold nor lost, everything comes to rest at what was
// sold, and what was served, and nothing else, is charged for.
func TestAnyHistoryEndsWell(t *testing.T) {
	t.Parallel()
	over, failed, n := time.Now().Add(*historyFor), false, 0
	t.Cleanup(func() { t.Log(n, "histories") })
	rapid.Check(t, func(try *rapid.T) {
		if time.Now().After(over) && !failed {
			return
		}
		n++
		failed = true // unless the end is reached
		newHistory(t, try).run()
		failed = false
	})
}

// attempt is one try of a property, where a test is asked for.
type attempt struct {
	testing.TB
	try *rapid.T
}

func (a attempt) Helper()                         {}
func (a attempt) Cleanup(fn func())               { a.try.Cleanup(fn) }
func (a attempt) Error(args ...any)               { a.try.Error(args...) }
func (a attempt) Errorf(text string, args ...any) { a.try.Errorf(text, args...) }
func (a attempt) Fatal(args ...any)               { a.try.Fatal(args...) }
func (a attempt) Fatalf(text string, args ...any) { a.try.Fatalf(text, args...) }

// history is a yard in which anything may happen.
type history struct {
	*yard
	try      *rapid.T
	bought   int64
	mood     atomic.Int64 // of engines that start; 0: they come up
	started  atomic.Int64
	snapshot *berth.Snapshot
	charges  *charges
}

func newHistory(t testing.TB, try *rapid.T) *history {
	h := &history{yard: newYard(attempt{t, try}, nil), try: try}
	h.charges = newCharges(h)
	h.engines(func(engine.Launch) fakeengine.Script {
		n := h.started.Add(1)
		switch mood := h.mood.Load(); {
		case mood == 1 || mood == 2 && n%2 == 0:
			return fakeengine.Script{RefuseStart: &fakeengine.RefuseStart{ExitCode: 1, Message: "no"}}
		case mood == 3:
			return fakeengine.Script{Slots: -1} // would fail again
		case mood == 4:
			return fakeengine.Script{StartDelayMS: 20}
		}
		return fakeengine.Script{}
	})
	h.deployments.Specs = append(h.deployments.Specs, berth.Spec{
		Name: "MU1-PD", Type: berth.SpecTypeSeparated, Unit: berth.Resources{Threads: 1, MemoryBytes: 64 << 20}, Slots: 4, ContextLength: 100, UnitsPerReplica: 1,
	})
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		must(h, tx.Accounts().UpdateAccount(ctx, berth.Account{ID: "1", Currency: "CNY", TimeZone: "UTC", Prepaid: true}))
		w, err := tx.Accounts().Workspace(ctx, home)
		must(h, err)
		w.Quota.Threads = h.number("quota", 4, 8)
		must(h, tx.Accounts().UpdateWorkspace(ctx, w))
		return tx.Nodes().Put(ctx, berth.Node{ID: "local", Online: true, Total: berth.Resources{Threads: h.number("threads", 5, 10), MemoryBytes: 64 << 30}})
	})
	h.firstPrices()
	h.pay(berth.Nano(h.number("funds", 20_000, 20_000_000)))
	h.follow()
	return h
}

func (h *history) run() {
	steps := []struct {
		name string
		do   func()
	}{
		{"buy", h.purchase}, {"buy", h.purchase}, {"scale", h.rescale}, {"scale", h.rescale}, {"limit", h.limit},
		{"stop", h.stop}, {"start", h.begin}, {"delete", h.erase}, {"crash", h.crash}, {"mood", h.change},
		{"calls", h.calls}, {"time", h.pass}, {"restart", h.restart}, {"money", h.money}, {"money", h.money}, {"rate", h.rate}, {"work", h.work}, {"vain", h.vain}, {"price", h.price}, {"currency", h.currency}, {"capacity", h.capacity}, {"capacity", h.capacity},
		{"rest", func() { h.rest(h.disorder) }},
	}
	for range h.number("steps", 1, 40) {
		step := steps[h.number("step", 0, int64(len(steps)-1))]
		h.try.Log(step.name)
		step.do()
		h.follow()
		h.check()
	}
	h.rest(h.disorder)
	h.clear()
}

func (h *history) number(label string, low, high int64) int64 {
	return rapid.Int64Range(low, high).Draw(h.try, label)
}

// ask fails on errors that no client should see.
func (h *history) ask(err error) {
	if code := berth.CodeOf(err); code == berth.CodeInternal {
		h.Fatalf("%v", err)
	}
	if err != nil {
		h.try.Log("refused: ", err)
	}
}

func (h *history) purchase() {
	h.bought++
	kinds := []berth.Purchase{
		{ModelName: "base", Plan: "mu", Spec: "MU1"}, {ModelName: "words", Plan: "mu", Spec: "MU1"}, {ModelName: "base", Plan: "mu", Spec: "MU1-PD"},
		{ModelName: "base", Plan: "ptu"}, {ModelName: "laned", Plan: "ptu"}, {ModelName: "base", Plan: "ptu", ChargeType: "post_paid"},
		{ModelName: "base", Plan: "ptu", ChargeType: "pre_paid", Prepaid: h.terms()},
		{ModelName: "words", Plan: "lora"}, {ModelName: "shout", Plan: "lora"}, {ModelName: "tuned", Plan: "lora"},
		{ModelName: "warm-words", Plan: "lora"}, {ModelName: "warm-shout", Plan: "lora"}, {ModelName: "warm", Plan: "ptu"},
	}
	p := kinds[h.number("kind", 0, int64(len(kinds)-1))]
	p.Suffix = fmt.Sprint("n", h.bought)
	n, m := h.number("units", 1, 3), h.number("more units", 1, 2)
	p.Capacity, p.PrefillCapacity, p.DecodeCapacity = &n, &m, &n
	if p.Plan == "ptu" {
		p.PTU = h.throughput()
	}
	once := berth.Once{Key: &p.Suffix, Body: []byte(p.Suffix)}
	d, err := h.deployments.CreateOnce(h.admin(), p, once)
	h.ask(err)
	if err != nil {
		return
	}
	if again, err := h.deployments.CreateOnce(h.admin(), p, once); err != nil || again.ID != d.ID {
		h.Fatalf("a repeat made %+v, %v", again, err)
	}
}

func (h *history) terms() *berth.PrepaidTerms {
	t := &berth.PrepaidTerms{Cycle: berth.CycleDay, Duration: h.number("days", 1, 2)}
	if h.number("renews", 0, 1) == 1 {
		t.AutoRenewal, t.RenewalDays = true, 1
	}
	return t
}

func (h *history) throughput() *berth.PTUCapacity {
	n := h.number("throughput", 1, 12)
	return &berth.PTUCapacity{InputTPM: n * 100_000, OutputTPM: n * 10_000}
}

// any returns one of the deployments, false when there is none.
func (h *history) any() (berth.Deployment, bool) {
	list, _, err := h.deployments.List(h.admin(), berth.Page{Number: 1, Size: 1000}, "")
	must(h, err)
	if len(list) == 0 {
		return berth.Deployment{}, false
	}
	slices.SortFunc(list, func(a, b berth.Deployment) int { return strings.Compare(a.ID, b.ID) })
	d := list[h.number("deployment", 0, int64(len(list)-1))]
	h.try.Log(d.DeployedModel, d.Status)
	return d, true
}

func (h *history) rescale() {
	if d, ok := h.any(); ok {
		n, m := h.number("units", 0, 4), h.number("more units", 0, 3)
		_, err := h.deployments.Scale(h.admin(), d.DeployedModel, berth.Change{Capacity: &n, PrefillCapacity: &m, DecodeCapacity: &n, PTU: h.throughput()})
		h.ask(err)
	}
}

func (h *history) limit() {
	if d, ok := h.any(); ok {
		n := h.number("limit", 0, 100)
		_, err := h.deployments.Update(h.admin(), d.DeployedModel, berth.Change{RPMLimit: &n})
		h.ask(err)
	}
}

func (h *history) stop() {
	if d, ok := h.any(); ok {
		_, err := h.deployments.Stop(h.admin(), d.DeployedModel)
		h.ask(err)
	}
}

func (h *history) begin() {
	if d, ok := h.any(); ok {
		_, err := h.deployments.Start(h.admin(), d.DeployedModel)
		h.ask(err)
	}
}

func (h *history) erase() {
	if d, ok := h.any(); ok {
		_, err := h.deployments.Delete(h.admin(), d.DeployedModel)
		h.ask(err)
	}
}

func (h *history) crash() {
	replicas := h.look().replicas
	if len(replicas) == 0 {
		return
	}
	r := replicas[h.number("replica", 0, int64(len(replicas)-1))]
	if e := h.runner.Engine(r.ID); e != nil {
		e.Kill(1)
	}
}

func (h *history) change() { h.mood.Store(h.number("mood", 0, 4)) }
func (h *history) calls()  { h.traffic.set(int(h.number("calls", 0, 1))) }

// restart stops Berth cleanly or kills it, and starts it again after a while. What ran ends
// with it, or at the last sign of life before it was killed.
func (h *history) restart() {
	h.halt()
	at := h.now()
	if h.number("killed", 0, 1) == 1 {
		most := rapid.SampledFrom([]time.Duration{5 * time.Second, 10 * time.Minute, 26 * time.Hour}).Draw(h.try, "at most")
		at = at.Add(-time.Duration(h.number("since the last sign of life", 0, int64(most))))
	}
	h.charges.down(at)
	if h.number("down for a while", 0, 1) == 1 {
		h.pass()
	}
	must(h, h.deployments.EndRuns(context.Background(), at))
	h.charges.desk = h.newDesk()
	h.start()
}

func (h *history) pass() {
	h.skip(rapid.SampledFrom([]time.Duration{
		time.Second, 31 * time.Second, 61 * time.Second, 11 * time.Minute, time.Hour, 14 * time.Hour, 30 * time.Hour,
	}).Draw(h.try, "time"))
}

func (h *history) capacity() {
	d, ok := h.any()
	if !ok {
		return
	}
	ask := berth.CapacityAsk{RequestID: fmt.Sprint("r", h.ids.Add(1)), ChargeType: "post_paid", PTU: h.throughput()}
	if all, _, err := h.deployments.CapacityInstances(h.admin(), d.DeployedModel, berth.InstanceFilter{Page: berth.Page{Number: 1, Size: 100}}); err == nil && len(all) > 0 {
		ask.InstanceID = all[h.number("instance", 0, int64(len(all)-1))].ID
	}
	var err error
	switch h.number("what", 0, 5) {
	case 0:
		ask.ChargeType, ask.Terms = "pre_paid", h.terms()
		fallthrough
	case 1:
		ask.InstanceID = ""
		_, err = h.deployments.AddCapacity(h.admin(), d.DeployedModel, ask)
	case 2:
		if h.number("nothing", 0, 2) == 0 {
			ask.PTU = &berth.PTUCapacity{}
		}
		_, _, err = h.deployments.ScaleCapacity(h.admin(), d.DeployedModel, ask)
	case 3:
		ask.Terms, ask.IsChange = h.terms(), h.number("other amount", 0, 1) == 1
		if !ask.IsChange {
			ask.PTU = nil
		}
		_, _, err = h.deployments.RenewCapacity(h.admin(), d.DeployedModel, ask)
	default:
		ask.Unsubscribe = h.number("unsubscribe", 0, 1) == 1
		_, err = h.deployments.ReleaseCapacity(h.admin(), d.DeployedModel, ask)
	}
	h.ask(err)
}

// work lets the loop get on with what is under way, whatever engines do.
func (h *history) work() {
	h.skip(GrowPause)
	h.within(50*time.Millisecond, h.disorder)
}

// vain scales when no engine comes up.
func (h *history) vain() {
	h.mood.Store(1)
	h.rescale()
	h.work()
	h.work()
}

// money lets the account owe, pay, and be seen to.
func (h *history) money() {
	switch h.number("money", 0, 4) {
	case 0:
		h.pay(-2000 - max(0, h.ledger().balances[sideIn{berth.CustomerSide("1"), h.charges.currencyAt(h.now())}]))
	case 1, 2:
		h.settle(berth.Nano(h.number("funds", 2000, 20_000_000)))
	}
	must(h, h.deployments.CheckArrears(context.Background()))
}

// pay books money for the account, below 0 a debt.
func (h *history) pay(n berth.Nano) { h.payIn(n, h.charges.currencyAt(h.now())) }

// settle pays what is owed in every currency, and so much more in the present one.
func (h *history) settle(n berth.Nano) {
	for side, has := range h.ledger().balances {
		if side.side == berth.CustomerSide("1") && has < 0 {
			h.payIn(-has, side.currency)
		}
	}
	h.pay(n)
}

func (h *history) payIn(n berth.Nano, currency string) {
	id := h.newID("post_")
	h.tx(func(ctx context.Context, tx berth.Tx) error {
		_, err := tx.Ledger().Post(ctx, berth.Posting{
			ID: id, At: h.now(), AccountID: "1", Cause: berth.CausePayment, Reference: id, Currency: currency,
			Entries: []berth.Entry{{Side: berth.CashSide("1"), Nano: -n}, {Side: berth.CustomerSide("1"), Nano: n}},
		})
		return err
	})
}

// rest lets engines come up and calls end, and waits until wrong finds nothing.
func (h *history) rest(wrong func(ledger) string) {
	h.mood.Store(0)
	h.traffic.set(0)
	const tries = 20
	for i := range tries {
		h.skip(GrowPause) // what a pool could not do a minute ago is tried again
		must(h, h.deployments.CheckArrears(context.Background()))
		if h.within(200*time.Millisecond<<min(i/4, 3), wrong) {
			break
		}
		if i == tries-1 {
			l := h.ledger()
			h.Fatalf("it does not come to rest: %s\n%s", wrong(l), l)
		}
	}
	h.follow()
	h.check()
	h.audit()
}

func (h *history) within(d time.Duration, wrong func(ledger) string) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	for {
		changed := h.signal()
		if wrong(h.ledger()) == "" {
			return true
		}
		select {
		case <-changed:
		case <-over.C:
			return false
		}
	}
}

// clear deletes everything and finds the hardware as it was at first.
func (h *history) clear() {
	h.rest(func(l ledger) string {
		for _, d := range l.deployments {
			for _, i := range l.instances[d.ID] {
				if !i.Released() {
					_, err := h.deployments.ReleaseCapacity(h.admin(), d.DeployedModel, berth.CapacityAsk{
						RequestID: fmt.Sprint("r", h.ids.Add(1)), InstanceID: i.ID, Unsubscribe: i.Prepaid(),
					})
					h.ask(err)
				}
			}
			_, err := h.deployments.Delete(h.admin(), d.DeployedModel)
			h.ask(err)
		}
		if len(l.deployments)+len(l.replicas)+len(l.holds)+len(l.pools)+len(l.members) > 0 {
			return "something is left"
		}
		if n := l.nodes[0]; n.Held != (berth.Resources{}) {
			return fmt.Sprintf("%+v is held by nobody", n.Held)
		}
		return ""
	})
}

// follow brings the snapshot up to date by what changed, and proves that it is the one
// that is read as a whole.
func (h *history) follow() {
	ctx := context.Background()
	var part, whole berth.Routing
	must(h, h.store.View(ctx, func(tx berth.Tx) (err error) {
		if whole, err = berth.ReadRouting(ctx, tx); err != nil || h.snapshot == nil {
			return err
		}
		var known bool
		if part, known, err = berth.ReadRoutingSince(ctx, tx, h.snapshot.Version); !known {
			part = whole
		}
		return err
	}))
	address := func(r *berth.Replica) (string, string, bool) { return "http://" + r.Nonce, "", r.Nonce != "" }
	part.Address, whole.Address = address, address
	want := whole.Snapshot(h.now())
	if h.snapshot == nil {
		h.snapshot = want
		return
	}
	h.snapshot = part.Update(h.snapshot, h.now())
	if !reflect.DeepEqual(h.snapshot, want) {
		h.Fatalf("followed routing differs:\n got %+v\nwant %+v", h.snapshot, want)
	}
}

// ledger is everything that the store says at one moment.
type ledger struct {
	workspace   berth.Workspace
	nodes       []berth.Node
	holds       []berth.Hold
	replicas    []berth.Replica
	deployments []berth.Deployment
	pools       []berth.Pool
	members     []berth.Member
	instances   map[string][]berth.CapacityInstance // by deployment
	under       int                                 // operations under way
	runs        map[string]berth.Run                // that go on, by deployment
	balances    map[sideIn]berth.Nano
	homeHolds   berth.Resources
}

func (h *history) ledger() ledger {
	ctx := context.Background()
	l := ledger{instances: map[string][]berth.CapacityInstance{}}
	must(h, h.store.View(ctx, func(tx berth.Tx) (err error) {
		l.workspace, err = tx.Accounts().Workspace(ctx, home)
		must(h, err)
		l.nodes, err = tx.Nodes().List(ctx)
		must(h, err)
		l.holds, err = tx.Nodes().Holds(ctx)
		must(h, err)
		l.replicas, err = tx.Replicas().List(ctx)
		must(h, err)
		l.deployments, _, err = tx.Deployments().List(ctx, berth.DeploymentFilter{})
		must(h, err)
		l.pools, err = tx.Pools().List(ctx)
		must(h, err)
		l.members, err = tx.Pools().Members(ctx, "")
		must(h, err)
		for _, d := range l.deployments {
			l.instances[d.ID], err = tx.Capacities().OfDeployment(ctx, d.ID)
			must(h, err)
			under, err := tx.Capacities().Processing(ctx, d.ID)
			must(h, err)
			l.under += len(under)
		}
		l.runs = map[string]berth.Run{}
		live, err := tx.Runs().Live(ctx)
		must(h, err)
		for _, r := range live {
			l.runs[r.DeploymentID] = r
		}
		l.balances = map[sideIn]berth.Nano{}
		balances, err := tx.Ledger().Balances(ctx, "1")
		must(h, err)
		for _, b := range balances {
			l.balances[sideIn{b.Side, b.Currency}] = b.Nano
		}
		l.homeHolds, err = tx.Nodes().HeldBy(ctx, home)
		return err
	}))
	return l
}

func (l ledger) String() string {
	var text string
	for _, n := range l.nodes {
		text += fmt.Sprintf("node %+v\n", n)
	}
	for _, d := range l.deployments {
		text += fmt.Sprintf("%s %s %s %s %d of %d, before %+v, ptu %+v kept %+v pool %s: %s\n", d.ID, d.DeployedModel, d.Plan, d.Status, d.ReadyCapacity, d.Capacity, d.Before, d.PTU, d.Kept, d.PoolID, d.Reason)
		for _, i := range l.instances[d.ID] {
			text += fmt.Sprintf("  %+v\n", i)
		}
	}
	for _, p := range l.pools {
		text += fmt.Sprintf("%s idle %s grew %s\n", p.ID, p.IdleSince, p.GrewAt)
	}
	for _, m := range l.members {
		text += fmt.Sprintf("%+v\n", m)
	}
	for _, r := range l.replicas {
		text += fmt.Sprintf("%s of %s%s %s %s %v %d failures %q\n", r.ID, r.DeploymentID, r.PoolID, r.Lane, r.State, r.Adapters, len(r.Failures), r.Reason)
	}
	for _, x := range l.holds {
		text += fmt.Sprintf("hold of %s %+v\n", x.ReplicaID, x.Held)
	}
	return text
}

// check proves what holds at every moment: hardware is sold once, and all of it belongs
// to a replica that may run.
func (h *history) check() {
	l := h.ledger()
	if what := cmp.Or(l.oversold(), h.charges.failed()); what != "" {
		h.Fatalf("%s\n%s", what, l)
	}
}

func (l *ledger) oversold() string {
	var held berth.Resources
	holdOf := map[string]berth.Hold{}
	for _, x := range l.holds {
		held = held.Add(x.Held)
		holdOf[x.ReplicaID] = x
	}
	switch n := l.nodes[0]; {
	case held != n.Held:
		return fmt.Sprintf("the holds are %+v together, the node says %+v", held, n.Held)
	case !held.Within(n.Total):
		return "the node is oversold"
	case l.homeHolds.Threads > l.workspace.Quota.Threads:
		return "the quota is exceeded"
	}
	for _, r := range l.replicas {
		x, held := holdOf[r.ID]
		switch {
		case held == (r.State == berth.ReplicaFailed):
			return fmt.Sprintf("%s %s: held is %v", r.ID, r.State, held)
		case held && x.Held != r.Spec.Replica:
			return fmt.Sprintf("%s holds %+v", r.ID, x.Held)
		}
		delete(holdOf, r.ID)
	}
	if len(holdOf) > 0 {
		return "a hold has no replica"
	}
	for _, what := range []string{l.mischarged(), l.misheld()} {
		if what != "" {
			return what
		}
	}
	for _, d := range l.deployments {
		if d.Reserved {
			if what := summed(d, l.instances[d.ID]); what != "" {
				return what
			}
		}
	}
	for _, m := range l.members {
		i := slices.IndexFunc(l.deployments, func(d berth.Deployment) bool { return d.ID == m.DeploymentID })
		if i < 0 {
			return "a member that is no deployment"
		}
		if d := l.deployments[i]; d.Plan == berth.PlanPTU && m.LoadPPM != (berth.Yield{Declared: berth.Calibration{InputTPM: 600_000, OutputTPM: 60_000}}).LoadPPM(d.PTU.Plus(d.Kept)) {
			return fmt.Sprintf("%s has a load of %d for %+v and %+v", d.ID, m.LoadPPM, d.PTU, d.Kept)
		}
	}
	return ""
}

// sideIn is a side of the ledger in one currency.
type sideIn struct{ side, currency string }

// misheld says which deposit is there for nothing, or missing.
func (l *ledger) misheld() string {
	sum, held := map[string]berth.Nano{}, map[string]berth.Nano{}
	for at, n := range l.balances {
		sum[at.currency] += n
		if id, ok := strings.CutPrefix(at.side, berth.DepositSide("")); ok {
			held[id] += n
			if n < 0 {
				return fmt.Sprintf("the deposit of %s is %d", id, n)
			}
		}
	}
	for currency, n := range sum {
		if n != 0 {
			return fmt.Sprintf("the balances add up to %d %s: %v", n, currency, l.balances)
		}
	}
	for i := range l.deployments {
		d := &l.deployments[i]
		runs := d.Status.Callable() || d.Status.ComingUp()
		paid := d.Plan == berth.PlanLoRA || d.Reserved || d.Waits()
		if runs && d.Deposit.Purchase == "" && !paid || !runs && held[d.ID] != 0 {
			return fmt.Sprintf("%s is %s, bought by %q, and has a deposit of %d", d.ID, d.Status, d.Deposit.Purchase, held[d.ID])
		}
		delete(held, d.ID)
	}
	for id, n := range held {
		if n != 0 {
			return fmt.Sprintf("the deposit of %s, which is gone, is %d", id, n)
		}
	}
	return ""
}

// mischarged says which run is not what its deployment is to be charged for.
func (l *ledger) mischarged() string {
	charged := map[string]bool{}
	for i := range l.deployments {
		d := &l.deployments[i]
		want, got := berth.Charged(d, l.instances[d.ID]), berth.RunStep{}
		if run, ok := l.runs[d.ID]; ok {
			got = run.Steps[len(run.Steps)-1]
			charged[d.ID] = d.Status.Callable()
		}
		if got.At = want.At; got != want {
			return fmt.Sprintf("%s is %s and charged for %+v instead of %+v", d.ID, d.Status, got, want)
		}
	}
	for id := range l.runs {
		if !charged[id] {
			return fmt.Sprintf("%s is charged for and not callable", id)
		}
	}
	return ""
}

func summed(d berth.Deployment, instances []berth.CapacityInstance) string {
	var sum, kept berth.PTUCapacity
	for _, i := range instances {
		if i.Released() {
			continue
		}
		sum = sum.Plus(i.Target)
		if i.Target.IsZero() {
			kept = kept.Plus(i.Configured)
		}
	}
	if sum != d.PTU || kept != d.Kept {
		return fmt.Sprintf("%s has %+v and %+v, its instances %+v and %+v", d.ID, d.PTU, d.Kept, sum, kept)
	}
	return ""
}

// disorder says what is not yet as it should be at rest; "" when everything is.
func (h *history) disorder(l ledger) string {
	if l.under > 0 {
		return "capacity operations are under way"
	}
	for _, r := range l.replicas {
		if r.State != berth.ReplicaReady && r.State != berth.ReplicaFailed {
			return fmt.Sprintf("%s is %s", r.ID, r.State)
		}
	}
	for _, d := range l.deployments {
		for _, i := range l.instances[d.ID] {
			if !slices.Contains([]berth.InstanceStatus{"RUNNING", "SUSPENDED", "STOPPED", "FAILED"}, i.Status) {
				return fmt.Sprintf("instance %s is %s", i.ID, i.Status)
			}
		}
		if what := l.restless(d); what != "" {
			return fmt.Sprintf("%s (%s): %s", d.ID, d.Status, what)
		}
	}
	return l.poolsAtRest(h)
}

func (l ledger) of(owner string) []berth.Replica {
	return slices.DeleteFunc(slices.Clone(l.replicas), func(r berth.Replica) bool { return r.DeploymentID+r.PoolID != owner })
}

func (l ledger) restless(d berth.Deployment) string {
	member := slices.ContainsFunc(l.members, func(m berth.Member) bool { return m.DeploymentID == d.ID })
	serves, own := d.Status.Callable(), l.of(d.ID)
	switch {
	case d.Waits():
		return "" // it waits for room or money
	case !d.Status.Settled():
		return "not settled"
	case d.ReadyCapacity > d.Capacity:
		return fmt.Sprintf("%d of %d ready", d.ReadyCapacity, d.Capacity)
	case !serves && d.ReadyCapacity != 0:
		return "ready"
	case serves && d.Before != (berth.Terms{}):
		return "a change is under way"
	case d.Plan.Pooled() && len(own) > 0, d.Status == berth.StatusStopped && len(own) > 0:
		return "has replicas"
	case d.Plan.Pooled() && member != serves && (d.Kept.IsZero() || d.Status != berth.StatusStopped):
		return fmt.Sprintf("is a member: %v", member)
	}
	ready := int64(0)
	for _, r := range own {
		if r.State == berth.ReplicaReady {
			ready++
		}
	}
	switch {
	case d.Plan == berth.PlanMU && serves && d.ReadyCapacity != ready*d.Spec.UnitsPerReplica:
		return fmt.Sprintf("%d replicas ready for %d", ready, d.ReadyCapacity)
	case !serves && ready > 0:
		return "has running replicas"
	}
	for _, lane := range d.Lanes(nil) {
		n := int64(0)
		for _, r := range own {
			if r.Lane == lane.Lane && r.State == berth.ReplicaReady {
				n++
			}
		}
		if serves && (n > lane.Replicas || n == 0) {
			return fmt.Sprintf("lane %s has %d", lane.Lane, n)
		}
	}
	return ""
}

func (l ledger) poolsAtRest(h *history) string {
	for _, p := range l.pools {
		members := slices.DeleteFunc(slices.Clone(l.members), func(m berth.Member) bool { return m.PoolID != p.ID })
		if len(members) == 0 {
			continue // it lingers
		}
		want, have := p.Lanes(berth.DemandOf(members), h.drivers[p.Engine].Traits()), l.of(p.ID)
		if n := len(berth.Superfluous(want, have)); n > 0 {
			return fmt.Sprintf("%s has %d replicas too many", p.ID, n)
		}
		for i := range have {
			if r := &have[i]; want[0].Loads && r.State == berth.ReplicaReady && len(want[0].Lacking(r))+len(want[0].Spare(r)) > 0 {
				return fmt.Sprintf("%s has %v, wanted are %v", r.ID, r.Adapters, want[0].Adapters)
			}
		}
		if n := len(berth.Missing(want, have)); n > 0 && l.nodes[0].Held.Threads < l.nodes[0].Total.Threads {
			return fmt.Sprintf("%s misses replicas", p.ID)
		}
	}
	return ""
}
