package berth

import (
	"context"
	"time"
)

// Store keeps everything that must survive a restart. SQLite and Postgres obey this
// contract, proven by one suite (store/storetest).
//
// Missing rows are reported as an [Error] of [CodeNotFound], broken uniqueness as
// [CodeConflict], anything else as it comes. The store never makes up ids or times.
type Store interface {
	// Tx runs fn in one serialisable transaction, done whole and durable or not at all.
	// fn may be called again when the database asks for a retry, so it must have no
	// effect but through its Tx. A Tx must not be used after fn returned.
	Tx(ctx context.Context, fn func(Tx) error) error
	// View runs fn on one consistent state; writes through its Tx fail. It may call fn
	// again, too.
	View(ctx context.Context, fn func(Tx) error) error
	Close() error
}

// Tx is one transaction: a narrow store for each noun.
type Tx interface {
	Accounts() AccountStore
	Keys() KeyStore
	Models() ModelStore
	Nodes() NodeStore
	Deployments() DeploymentStore
	Capacities() CapacityStore
	Pools() PoolStore
	Calibrations() CalibrationStore
	Replicas() ReplicaStore
	Events() EventStore
	Receipts() ReceiptStore
	Usage() UsageStore
	Reconciliations() ReconciliationStore
	Prices() PriceStore
	Runs() RunStore
	Orders() OrderStore
	Lines() LineStore
	Ledger() LedgerStore
	Pushes() PushStore
	Uploads() UploadStore
	Imports() ImportJobStore
	FineTunes() FineTuneStore
	// Route gives the transaction its routing version, one above that of the transaction
	// before, and returns it; a second call returns the same. A transaction that writes
	// something of a [Noun] gets one in any case.
	Route(ctx context.Context) (int64, error)
	// RoutingVersion returns the present one.
	RoutingVersion(ctx context.Context) (int64, error)
	// Changes returns what transactions of a later routing version than after wrote, each
	// thing once. known is false when the store does not remember as far back (it does for
	// some hundred versions): then anything may have changed.
	Changes(ctx context.Context, after int64) (list []Ref, known bool, err error)
}

// AccountStore keeps accounts and their workspaces.
type AccountStore interface {
	InsertAccount(ctx context.Context, a Account) error
	UpdateAccount(ctx context.Context, a Account) error
	Accounts(ctx context.Context) ([]Account, error)
	Account(ctx context.Context, id string) (Account, error)
	// AccountPage returns one page by id, after the given id ("" = from the first).
	AccountPage(ctx context.Context, after string, limit int64) ([]Account, error)
	InsertWorkspace(ctx context.Context, w Workspace) error
	UpdateWorkspace(ctx context.Context, w Workspace) error
	// Workspace returns one, a deleted one too.
	Workspace(ctx context.Context, id string) (Workspace, error)
	// Workspaces returns those that are not deleted, oldest first.
	Workspaces(ctx context.Context) ([]Workspace, error)
	// WorkspacePage returns one page of those that are not deleted, by id.
	WorkspacePage(ctx context.Context, after string, limit int64) ([]Workspace, error)
	// TellBudget keeps news of a budget, for the push URL too; first is false, and nothing is
	// written, when they were kept before.
	TellBudget(ctx context.Context, b BudgetNews) (first bool, err error)
}

// KeyStore keeps keys. Hashes are unique.
type KeyStore interface {
	Insert(ctx context.Context, k Key) error
	Get(ctx context.Context, id string) (Key, error)
	// List returns the keys of a workspace ("" = all), oldest first, revoked ones and
	// temporary tokens too.
	List(ctx context.Context, workspaceID string) ([]Key, error)
	// Page returns one page of the keys of a workspace ("" = all) by id, after the given
	// id ("" = from the first); revoked ones too, temporary tokens not.
	Page(ctx context.Context, workspaceID, after string, limit int64) ([]Key, error)
	// Tokens returns the temporary tokens of a key that end after now, in that order.
	Tokens(ctx context.Context, parentID string, now time.Time) ([]Key, error)
	// Sweep deletes the temporary tokens that have ended at now, and returns how many.
	Sweep(ctx context.Context, now time.Time) (int64, error)
	Update(ctx context.Context, k Key) error
}

// ModelStore keeps the catalogue. Names are unique in the whole server.
type ModelStore interface {
	Insert(ctx context.Context, m Model) error
	Update(ctx context.Context, m Model) error
	Get(ctx context.Context, name string) (Model, error)
	List(ctx context.Context) ([]Model, error) // by name
	Delete(ctx context.Context, name string) error
}

// NodeStore keeps inventories and what is held of them.
type NodeStore interface {
	// Put inserts or replaces a node's inventory and keeps its version and what is held.
	Put(ctx context.Context, n Node) error
	List(ctx context.Context) ([]Node, error) // by id
	// Hold inserts holds, adds them to what is held of each node and raises its version
	// by one. CodeConflict when a node's version is not the given one any more.
	Hold(ctx context.Context, versions map[string]int64, holds []Hold) error
	// Holds returns every hold, of which there is one for each local replica: for people
	// who look, not for purchases.
	Holds(ctx context.Context) ([]Hold, error)
	// HoldOf returns the hold of a replica, or of a calibration.
	HoldOf(ctx context.Context, id string) (Hold, error)
	// HeldGPUs returns the ids of the accelerators that are taken, by node.
	HeldGPUs(ctx context.Context) (map[string][]string, error)
	// Holders sums the holds by who has them, as a workspace may see it: its own deployments
	// and the pools and calibrations of models that it sees by name, all others as one
	// [Holder] without a name.
	Holders(ctx context.Context, workspaceID string) ([]Holder, error)
	// HeldBy sums what the deployments of a workspace hold; pools do not count.
	HeldBy(ctx context.Context, workspaceID string) (Resources, error)
	// Release removes the hold of a replica, or of a calibration, and takes it from what is
	// held of the node; one without is no error.
	Release(ctx context.Context, id string) error
}

// DeploymentFilter selects and pages deployments, newest first.
type DeploymentFilter struct {
	WorkspaceID string // "" = all
	Plan        Plan   // "" = all
	// UpTo leaves out of the page, not of the number of all, what was created later; zero:
	// nothing.
	UpTo   time.Time
	Offset int64
	Limit  int64 // 0 = all
}

// DeploymentStore keeps deployments. DeployedModel is unique among live rows; a live
// row is one with a zero DeletedAt.
type DeploymentStore interface {
	Insert(ctx context.Context, d Deployment) error
	Update(ctx context.Context, d Deployment) error
	Get(ctx context.Context, id string) (Deployment, error)
	// ByName returns the live deployment of that name.
	ByName(ctx context.Context, deployedModel string) (Deployment, error)
	// Tombstone reports whether the workspace had a deployment of that name that is
	// deleted.
	Tombstone(ctx context.Context, workspaceID, deployedModel string) (bool, error)
	// OfPool returns the live rows that name the pool, those that have left it too.
	OfPool(ctx context.Context, poolID string) ([]Deployment, error)
	// OfModel returns the live rows that were sold as the model or run on it.
	OfModel(ctx context.Context, name string) ([]Deployment, error)
	// List returns one page of live rows, newest CreatedAt first, ties by name, and
	// the number of all that match.
	List(ctx context.Context, f DeploymentFilter) ([]Deployment, int64, error)
	// Bases returns the base models of those of the deployments that are there, deleted ones
	// too.
	Bases(ctx context.Context, ids []string) (map[string]string, error)
	// Expired returns at most limit deployments that were deleted before the instant, in
	// order of id after the given one: those of which no replica or hold is left, and
	// nothing is left to be charged.
	Expired(ctx context.Context, before time.Time, after string, limit int64) ([]string, error)
	// Forget deletes at most limit rows of a deleted deployment: its events, operations and
	// capacity instances, at last itself. It returns how many; 0 when all are gone.
	Forget(ctx context.Context, id string, limit int64) (int64, error)
}

// CapacityStore keeps capacity instances and their operations. Both stay for ever; an
// instance that was released has a DeletedAt.
type CapacityStore interface {
	Insert(ctx context.Context, i CapacityInstance) error
	Update(ctx context.Context, i CapacityInstance) error
	// OfDeployment returns the instances of a deployment, oldest first, released ones too.
	OfDeployment(ctx context.Context, deploymentID string) ([]CapacityInstance, error)
	// Due returns the instances with a DueAt up to at, earliest first, at most limit, and
	// the earliest DueAt after at (zero: none).
	Due(ctx context.Context, at time.Time, limit int64) ([]CapacityInstance, time.Time, error)
	// InsertOperation refuses a request id that the deployment has seen with CodeConflict;
	// an empty one is never seen.
	InsertOperation(ctx context.Context, o CapacityOperation) error
	UpdateOperation(ctx context.Context, o CapacityOperation) error
	Operation(ctx context.Context, id string) (CapacityOperation, error)
	// OperationOf returns the operation that a request of a deployment began.
	OperationOf(ctx context.Context, deploymentID, requestID string) (CapacityOperation, error)
	// Processing returns the operations of a deployment that are under way, oldest first.
	Processing(ctx context.Context, deploymentID string) ([]CapacityOperation, error)
}

// PoolStore keeps pools and their members.
type PoolStore interface {
	Insert(ctx context.Context, p Pool) error
	Update(ctx context.Context, p Pool) error
	Delete(ctx context.Context, id string) error
	Get(ctx context.Context, id string) (Pool, error)
	ByKey(ctx context.Context, key string) (Pool, error)
	List(ctx context.Context) ([]Pool, error)
	Join(ctx context.Context, m Member) error
	// Leave removes a deployment from its pool; one without is no error.
	Leave(ctx context.Context, deploymentID string) error
	Members(ctx context.Context, poolID string) ([]Member, error) // "" = of all pools
	// Member returns the place of a deployment.
	Member(ctx context.Context, deploymentID string) (Member, error)
	// Demand sums the members of a pool up.
	Demand(ctx context.Context, poolID string) (Demand, error)
	// SoldPPM is the load of its sales alone, in millionths of a replica.
	SoldPPM(ctx context.Context, poolID string) (int64, error)
	// Prove inserts or replaces what is known of an adapter. It goes with its pool.
	Prove(ctx context.Context, p Proof) error
	Proofs(ctx context.Context, poolID string) ([]Proof, error) // by adapter
	// Unprove forgets one adapter of a pool; one that is not known is no error.
	Unprove(ctx context.Context, poolID, adapter string) error
}

// ReplicaStore keeps replicas.
type ReplicaStore interface {
	Insert(ctx context.Context, r Replica) error
	Update(ctx context.Context, r Replica) error
	Delete(ctx context.Context, id string) error
	Get(ctx context.Context, id string) (Replica, error)
	List(ctx context.Context) ([]Replica, error) // oldest first
	OfPool(ctx context.Context, poolID string) ([]Replica, error)
	OfDeployment(ctx context.Context, deploymentID string) ([]Replica, error)
	// Owners returns whoever has replicas or may need some, in the order of their ids:
	// deployments that are live and in no pool or still have a replica, and pools, also those
	// that are gone and a live deployment was in.
	Owners(ctx context.Context) ([]Ref, error)
	// LastStart returns the time from start to first answer of the replica of the model
	// that came up last and runs since; CodeNotFound when there is none.
	LastStart(ctx context.Context, modelName string) (time.Duration, error)
}

// EventStore keeps events and the audit log; both are only ever appended to, until they
// are over.
type EventStore interface {
	Append(ctx context.Context, e Event) error
	// List returns events of a deployment in order of time, after the given event id
	// ("" = from the first), at most limit.
	List(ctx context.Context, deploymentID, after string, limit int64) ([]Event, error)
	// Count returns how many events a deployment has.
	Count(ctx context.Context, deploymentID string) (int64, error)
	// After is List by number: at most limit events behind the first number ones.
	After(ctx context.Context, deploymentID string, number, limit int64) ([]Event, error)
	AppendAudit(ctx context.Context, a Audit) error
	// Audits returns at most limit entries that f selects, the newest first, of one instant
	// the greatest id first, behind a place (nil: from the newest).
	Audits(ctx context.Context, f AuditFilter, after *AuditPlace, limit int64) ([]Audit, error)
	// ExpireAudits deletes at most limit audit entries from before the instant, oldest
	// first, and returns how many.
	ExpireAudits(ctx context.Context, before time.Time, limit int64) (int64, error)
}

// UsageStore keeps usage records and their sums, which always agree. A record that is
// there already (its id, workspace and admission) is skipped, so a repeat is a no-op.
type UsageStore interface {
	// Insert leaves out records that are there already, and adds the others to the sums.
	// The days of a workspace are those of its account's time zone when its first record
	// came.
	Insert(ctx context.Context, records []UsageRecord) error
	// Records returns one page in order of admission (of all workspaces: one workspace
	// after the other), after the given cursor ("" = from the first), at most limit, and
	// the cursor of the next page ("" = there is none). It looks at a bounded number of
	// records, so a page can have fewer than limit and be followed by another.
	Records(ctx context.Context, f UsageFilter, after string, limit int64) (list []UsageRecord, next string, err error)
	// KeptFrom returns the moment before which the records of a workspace's calls were
	// deleted; zero when none were.
	KeptFrom(ctx context.Context, workspaceID string) (time.Time, error)
	// Totals sums records. Ordered by the groups.
	Totals(ctx context.Context, f UsageFilter, by []UsageGroup) ([]UsageTotal, error)
	// Fold returns how far the journal of an instance was folded; the zero Fold with its
	// name when it never was.
	Fold(ctx context.Context, instance string) (Fold, error)
	// PutFold inserts or replaces it.
	PutFold(ctx context.Context, f Fold) error

	// Split keeps sums of days apart from now on: calls admitted before the instant (unless
	// it is zero) from later ones, calls with shorter prompts from those with at least
	// fromTokens. The instant must be in the future: what has been summed stays as it is.
	// Inserting a price, or an account with a later currency, does it. A repeat is a no-op.
	Split(ctx context.Context, at time.Time, fromTokens int64) error
	// ChangedDays returns at most limit deployments and days whose sums changed since they
	// were rated, in order of day and deployment, after the given one (zero: from the first).
	ChangedDays(ctx context.Context, after UsageDayKey, limit int64) ([]UsageDayKey, error)
	// Unrated reports whether sums of an account changed, of days before one, that were not
	// rated since.
	Unrated(ctx context.Context, accountID, before string) (bool, error)
	// Days returns the sums of any of the days of any of the deployments, in order of
	// deployment, day and all else that tells them apart.
	Days(ctx context.Context, deploymentIDs, days []string) ([]UsageDay, error)
	// Recount adds up the records of a workspace admitted in [from, to), apart by lengths of
	// prompts and by instants, in no order; several sums may be of the same. Their Day is "".
	Recount(ctx context.Context, workspaceID string, from, to time.Time, lengths []int64, instants []time.Time) ([]UsageDay, error)
	// Rated notes that the days were rated as they were at the given versions.
	Rated(ctx context.Context, days []UsageDayKey) error
	// EngineHours returns what the runs of engines did in the hours that begin in [from,
	// to), in order of hour, replica and nonce. Calls that
	// reached no replica are left out.
	EngineHours(ctx context.Context, from, to time.Time) ([]EngineHour, error)

	// Expired returns the workspaces with records that Expire would delete.
	Expired(ctx context.Context, before time.Time) ([]string, error)
	// Expire deletes at most limit records and sums by hour of a workspace, of the days
	// before that of the instant, and returns how many; 0 when all are gone. It keeps the
	// first day that was not rated, and all after it. Sums of days stay; of deleted days,
	// Totals refuses what is not whole days.
	Expire(ctx context.Context, workspaceID string, before time.Time, limit int64) (int64, error)
}

// ReconciliationStore keeps what engines' counters showed beside what was recorded.
type ReconciliationStore interface {
	// Accounts returns the open accounts.
	Accounts(ctx context.Context) ([]EngineAccount, error)
	// PutAccount inserts or replaces the account of a replica and nonce.
	PutAccount(ctx context.Context, a EngineAccount) error
	// CloseAccount deletes an account; one that is not there is no error.
	CloseAccount(ctx context.Context, replicaID, nonce string) error
	// Row returns the row of a start of an engine and an hour; without figures when there is
	// none.
	Row(ctx context.Context, replicaID, nonce string, hour time.Time) (Reconciliation, error)
	// PutRow inserts or replaces a row.
	PutRow(ctx context.Context, r Reconciliation) error
	// Rows returns one page, the latest hour first, within an hour by replica and nonce,
	// behind a place (nil: from the first); a limit of 0 is no bound.
	Rows(ctx context.Context, f ReconciliationFilter, after *ReconciliationPlace, limit int64) ([]Reconciliation, error)
}

// UploadStore keeps uploads that no model was made of yet.
type UploadStore interface {
	Insert(ctx context.Context, u Upload) error
	Update(ctx context.Context, u Upload) error
	Get(ctx context.Context, id string) (Upload, error)
	// List returns the uploads of a workspace ("" = all), oldest first.
	List(ctx context.Context, workspaceID string) ([]Upload, error)
	Delete(ctx context.Context, id string) error
}

// ReceiptStore keeps receipts of creates, each until it has ended.
type ReceiptStore interface {
	// Put inserts or replaces the receipt of that name in its workspace.
	Put(ctx context.Context, r Receipt) error
	Get(ctx context.Context, workspaceID, name string) (Receipt, error)
	Delete(ctx context.Context, workspaceID, name string) error
	// Expire removes what has ended by now.
	Expire(ctx context.Context, now time.Time) error
	Count(ctx context.Context, workspaceID string) (int64, error)
}

// FineTuneStore keeps the records of fine-tune jobs.
type FineTuneStore interface {
	Insert(ctx context.Context, f FineTune) error
	Get(ctx context.Context, id string) (FineTune, error)
	List(ctx context.Context, workspaceID string) ([]FineTune, error) // newest first
	Delete(ctx context.Context, id string) error
}

// PriceStore keeps the book. Prices are only ever appended.
type PriceStore interface {
	// Insert also splits the sums of usage ([UsageStore.Split]) where the price begins and
	// at the prompts that it is for.
	Insert(ctx context.Context, p Price) error
	// List returns every version of every price, in order of From, then of id.
	List(ctx context.Context) ([]Price, error)
	// Count returns how many there are: another number, another book.
	Count(ctx context.Context) (int64, error)
}

// RunStore keeps the runs of deployments. A deployment has one that goes on at most.
type RunStore interface {
	// Insert begins a run with its steps; CodeConflict when one goes on.
	Insert(ctx context.Context, r Run) error
	// Step adds a step to a run that goes on. One of the same moment replaces the other.
	Step(ctx context.Context, id string, s RunStep) error
	// End ends a run that goes on; CodeNotFound when it does not.
	End(ctx context.Context, id string, at time.Time) error
	Get(ctx context.Context, id string) (Run, error)
	// Of returns the run of a deployment that goes on; CodeNotFound without one.
	Of(ctx context.Context, deploymentID string) (Run, error)
	// Live returns the runs that go on, by id.
	Live(ctx context.Context) ([]Run, error)
	// During returns the runs of deployments that had begun before to and had not ended
	// by from, oldest first.
	During(ctx context.Context, deploymentIDs []string, from, to time.Time) ([]Run, error)
	// Unrated returns the runs that rating has not finished: those that go on, and those
	// that ended since. By id, at most limit, after the given id ("" = from the first).
	Unrated(ctx context.Context, after string, limit int64) ([]Run, error)
	// Rated notes that the minutes of a run that began before a moment have become lines,
	// and if it had ended by then that all of them have.
	Rated(ctx context.Context, id string, by time.Time) error
	// Beat notes that an instance of Berth was alive at a moment; an earlier one than noted
	// changes nothing.
	Beat(ctx context.Context, instance string, at time.Time) error
	// LastBeat returns the latest; zero when there is none.
	LastBeat(ctx context.Context, instance string) (time.Time, error)
}

// LineStore keeps the lines of statements, which rating alone writes, and which months are
// closed.
type LineStore interface {
	// Put inserts lines, or replaces quantity and amount of those of the same account,
	// month, day, deployment, class, dimension and price. Each stands once in the list.
	Put(ctx context.Context, list ...Line) error
	// Posted writes down how much of lines that are there has been posted; CodeNotFound when
	// one is not. Each stands once in the list.
	Posted(ctx context.Context, list ...Line) error
	// Growing returns lines of an account ("" = all, one after the other) whose amount is not
	// what was posted, those last posted before a moment, of each currency longest ago first,
	// at most limit.
	Growing(ctx context.Context, accountID string, before time.Time, limit int64) ([]Line, error)
	// Unposted adds up by how much the lines of an account have grown since they were
	// posted: what its balance is too high by.
	Unposted(ctx context.Context, accountID, currency string) (Nano, error)
	// Days returns the days, from one on, of which a deployment has lines.
	Days(ctx context.Context, deploymentID, from string) ([]string, error)
	// Of returns the lines of any of the days of any of the deployments, of whichever month's
	// statement.
	Of(ctx context.Context, deploymentIDs, days []string) ([]Line, error)
	// Month returns the lines of an account's statement in their order: by day, name,
	// deployment, dimension, class, tier, price; of one workspace unless that is "".
	Month(ctx context.Context, accountID, month, workspaceID string) ([]Line, error)
	// Spent adds up what a workspace used of a month in one currency, late lines of other
	// months left out.
	Spent(ctx context.Context, workspaceID, month, currency string) (Nano, error)
	// Close closes a month of an account, and with it all before; CodeConflict when it is.
	Close(ctx context.Context, m Month) error
	// Closed returns the closed months of an account, oldest first.
	Closed(ctx context.Context, accountID string) ([]Month, error)
}

// LedgerStore keeps postings and what they come to. The database itself refuses to change
// or delete one.
type LedgerStore interface {
	// Post checks and inserts a posting and adds its entries to the balances. One of the
	// same cause and reference that is there already is left as it is and done is false;
	// CodeConflict when that one is about other money. Time never goes back in the ledger of
	// an account: a posting earlier than the last is kept as of that moment. CodeInvalid, and
	// nothing is written, when a balance would be more than a [Nano] can say.
	Post(ctx context.Context, p Posting) (done bool, err error)
	// PostAll posts one after the other, and returns how many were not there before. After
	// [CodeInvalid] nothing was written; after other errors the transaction must be given up.
	PostAll(ctx context.Context, list []Posting) (done int, err error)
	// Find returns the posting of a cause and a reference.
	Find(ctx context.Context, cause PostingCause, reference string) (Posting, error)
	// Postings returns one page by id, after the given id ("" = from the first).
	Postings(ctx context.Context, f PostingFilter, after string, limit int64) ([]Posting, error)
	// Balance returns what a side has, 0 when nothing was posted to it.
	Balance(ctx context.Context, side, currency string) (Nano, error)
	// BalancesOf returns those of the sides to which something was posted.
	BalancesOf(ctx context.Context, sides []string) ([]Balance, error)
	// Balances returns those of every side of an account, by side and currency.
	Balances(ctx context.Context, accountID string) ([]Balance, error)
	// Sum adds all entries of a side up instead: what Balance must say.
	Sum(ctx context.Context, side, currency string) (Nano, error)
}

// PushStore keeps what the push URL has been told. While a push is active, whoever appends
// an event, tells news of a budget or closes a month writes a notice in the same transaction.
type PushStore interface {
	// Begin makes the push active, of records and other events or only of those. The first time
	// it begins with what is written from now on, later where it was.
	Begin(ctx context.Context, records bool) error
	// End makes it inactive: no more notices are written, records wait.
	End(ctx context.Context) error
	// Records returns the records behind the last one that was delivered in the order in which
	// they were written, at most limit, and the number of the last of them.
	Records(ctx context.Context, limit int64) (list []UsageRecord, last int64, err error)
	// Delivered notes that records up to a number were; a smaller one than before is no error.
	Delivered(ctx context.Context, last int64) error
	// Notices returns the oldest ones, at most limit.
	Notices(ctx context.Context, limit int64) ([]Notice, error)
	// Forget deletes notices by their numbers.
	Forget(ctx context.Context, numbers []int64) error
	// Waiting says what was not delivered, and what never will be.
	Waiting(ctx context.Context) (PushWaiting, error)
}
