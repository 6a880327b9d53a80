// Package engine is the machine hall: what Berth knows of engines. Berth never links
// an engine; it runs one and speaks HTTP to it.
//
// A [Driver] is the knowledge of one engine, one file each. A [Runner] runs replicas
// somewhere: as local processes (engine/process), in this process for scale tests
// (engine/enginetest), on Kubernetes later. The reconciler owns both and is the only
// caller of a Runner.
package engine

import (
	"context"
	"errors"
	"net/http"
	"time"

	berth "github.com/berthhq/berth"
)

// ErrPermanent marks failures that another start would meet again, such as a missing
// model file: the replica is given up at once. Test with [errors.Is].
var ErrPermanent = errors.New("permanent")

// Launch is one start of a replica: what to run, without where.
type Launch struct {
	ReplicaID string
	Nonce     string
	NodeID    string
	Engine    string // driver name
	Model     berth.Model
	Spec      berth.ResolvedSpec
	Adapters  []berth.AdapterRef // in the order of their numbers
	Loads     bool               // adapters come and go while it runs
	GPUs      []berth.Accelerator
	Held      berth.Resources
	// BestEffort says that nothing reserved runs here: where processors are short, engines
	// without it go first.
	BestEffort bool
}

// Listen is where the engine has to listen and the only key it may accept.
type Listen struct {
	Host string
	Port int
	Key  string // bearer key, never in arguments or logs
}

// Command is a process to start. Env is the whole environment ("K=V"); secrets stand
// there and nowhere else.
type Command struct {
	Args []string
	Env  []string
}

// Endpoint is how a running engine is reached.
type Endpoint struct {
	// URL is scheme, host and port. With a path it is the base URL of a remote engine,
	// which ends before /chat/completions.
	URL string
	Key string
}

// Driver is the knowledge of one engine. Methods are pure but for Ready; all may be
// called by several goroutines at once.
type Driver interface {
	// Traits says what the domain must know of the engine to sell it.
	Traits() berth.EngineTraits
	// Command returns the command line and environment for a launch. An error that is
	// [ErrPermanent] gives the replica up.
	Command(l Launch, at Listen) (Command, error)
	// Ready asks the engine for one token and returns nil when it got it (not only
	// /health). It gives up with ctx. What that made the engine do is told with an error,
	// too.
	Ready(ctx context.Context, client *http.Client, e Endpoint, l Launch) (Spent, error)
	// Fields says a call in the engine's words: the members that the gateway writes into
	// the JSON body, besides those the client may set.
	Fields(c berth.EngineCall) []berth.Field
	// Count says how the engine is asked for the exact number of tokens of a call's
	// prompt, as it stands in the usage of the answer; false where it cannot be asked.
	Count(c berth.EngineCall) (berth.EngineCount, bool)
	// Refuses returns the sentence with which a call is refused that the engine cannot
	// do, or a member of which it would drop in silence; "" for none. members are what
	// the client may say as it was written.
	Refuses(c berth.EngineCall, members []berth.Field) string
	// Blames returns the sentence for the caller when an answer other than 200, with the
	// engine's own sentence, is about the request; "" when it is about the engine.
	Blames(status int, said string) string
}

// Remote is the extra ability of drivers that start nothing: the engine is somebody
// else's.
type Remote interface {
	Endpoint(l Launch) (Endpoint, error)
}

// AdapterLoader is the extra ability of drivers whose engines take adapters while they
// run ([berth.EngineTraits].LoadsAdapters). Both may be repeated.
type AdapterLoader interface {
	// LoadAdapter makes the engine answer calls with a, and asks it for a token with it.
	// [Refused] tells whether a failure is the adapter's.
	LoadAdapter(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) (Spent, error)
	// UnloadAdapter makes the engine forget a; calls that run with it go on.
	UnloadAdapter(ctx context.Context, client *http.Client, e Endpoint, a berth.AdapterRef) error
}

// Instance is an engine that a Runner started and that is not yet measured gone.
type Instance struct {
	ReplicaID string
	Nonce     string
	PID       int64 // 0 where there is no process
	StartTime int64 // clock ticks since boot; see berth.Replica
	Endpoint  Endpoint
	StartedAt time.Time
	LogPath   string // "" where there is no file
}

// Exit reports that an instance is measured gone.
type Exit struct {
	ReplicaID string
	Nonce     string
	// Reason says how it ended in words a person understands, with the last lines of the
	// engine's log.
	Reason string
	// Asked is true when Stop or Close ended it.
	Asked bool
	At    time.Time
}

// Runner runs replicas. Implementations pass the suite in engine/enginetest.
type Runner interface {
	// Start starts the launch and returns once the engine's process exists; it need not
	// answer yet. A launch of a replica that already has an instance fails. Errors that
	// are [ErrPermanent] will be met again.
	Start(ctx context.Context, l Launch) (Instance, error)
	// Stop ends the instance of that nonce, politely for grace and then by force, and
	// returns when it is measured gone. Unknown or ended instances are no error; two
	// Stops at once are both told when it is over.
	Stop(ctx context.Context, replicaID, nonce string, grace time.Duration) error
	// Instances returns what runs now.
	Instances() []Instance
	// Runs reports whether the instance of that nonce runs now.
	Runs(replicaID, nonce string) bool
	// Exits delivers one Exit per instance, never blocking the Runner: the caller must
	// receive until Close has returned. The channel is closed by Close.
	Exits() <-chan Exit
	// Close stops every instance, all at once, and returns when they are gone. It is
	// idempotent.
	Close(ctx context.Context) error
}
