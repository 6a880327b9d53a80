// Package archtest keeps the arrows between the packages: which room may import which,
// and why. Its test reads the imports of the whole module and fails on any arrow that
// is not listed here. A new arrow is one line below, with its reason; if that reason is
// hard to write, the arrow is wrong.
package archtest

// room is one package of the module.
type room struct {
	path   string   // below the module; "." is the root package; "x/..." all below x
	may    []string // rooms that it may import
	reason string   // why these and no others
}

// rooms lists every package. Nothing else of the module may exist.
var rooms = []room{
	{".", nil, "the domain: nouns and rules, standard library only, so that all others can stand on it"},

	// Leaves: usable, and testable, with nothing else alive.
	{"api", nil, "wire types and client, for strangers too"},
	{"config", nil, "describes the installation in its own words; only the wiring translates"},
	{"console", nil, "static files that talk to the API from the browser"},
	{"journal", nil, "bytes on disk: knows marks, not what they mean or where they go"},
	{"backup", nil, "one file of many, with a proof of each; what they are is somebody else's"},
	{"secret", nil, "hashes and seals bytes, whoever they belong to"},
	{"fakeengine", nil, "stands for a foreign program, so it shares no code with the other side"},
	{"abacus", nil, "model files and nothing else"},
	{"engine/keeper", nil, "runs beside the engine and must outlive every change of the rest"},
	{"internal/sse", nil, "a wire format"},
	{"internal/h1", nil, "a protocol"},
	{"internal/front", nil, "a protocol"},
	{"internal/archtest", nil, "reads import lists, not code"},

	// Adapters: the domain's nouns in one technology each. They do not know each other.
	{"store", []string{"."}, "rows for the domain's nouns"},
	{"engine", []string{"."}, "what each engine is told, for a replica of the domain"},
	{"limit", []string{"."}, "arithmetic on the domain's limits"},
	{"sched", []string{"."}, "turns for the domain's classes and lanes"},
	{"billing", []string{"."}, "the domain's records to charges and postings"},
	{"imports", []string{"."}, "files to the domain's models"},
	{"push", []string{"."}, "the domain's records and events in the words of CloudEvents"},
	{"meter", []string{".", "journal"}, "folds marks into the domain's records"},
	{"reconcile", []string{".", "engine"}, "compares desired with observed and asks a Runner to act"},
	{"engine/process", []string{".", "engine", "engine/keeper"}, "a Runner that speaks to keepers"},
	{"engine/scrape", []string{".", "engine"}, "a Runner around a Runner that reads engines' counters; where they are kept comes through its own small interface"},
	{"engine/calibrate", []string{".", "engine", "engine/keeper"}, "drives an engine as its driver says"},

	// Surfaces: what clients reach.
	{"gateway", []string{".", "api", "internal/h1", "internal/sse"}, "limits, scheduler, journal and dialects of engines come through its own small interfaces"},
	{"server", []string{".", "api"}, "maps wire to domain and back"},
	{"cli", []string{"api"}, "a client like any other; local commands are handed in"},

	// Suites: contracts that implementations prove themselves against.
	{"store/storetest", []string{".", "store"}, "what every store must obey"},
	{"store/pgtest", []string{"store"}, "a real Postgres with the store's schema"},
	{"store/sqlitetest", []string{"store"}, "files with the store's schema"},
	{"engine/enginetest", []string{".", "engine", "fakeengine"}, "what every Runner must obey; its own in-process Runner serves the fake engine"},

	// Wiring: knows the rooms so that they need not know each other.
	{"app", []string{
		".", "abacus", "api", "backup", "billing", "config", "console", "engine", "engine/calibrate",
		"engine/keeper", "engine/process", "engine/scrape", "fakeengine", "gateway", "imports", "internal/front", "internal/sse",
		"journal", "limit", "meter", "push", "reconcile", "sched", "secret", "server", "store",
	}, "builds everything but the command line"},
	{"cmd/berth", []string{"app", "cli", "engine/keeper", "fakeengine"}, "picks the program to be: keeper, fake engine or command"},
	{"test/...", []string{".", "abacus", "api", "app", "billing", "config", "engine", "engine/keeper", "engine/process", "fakeengine", "journal", "meter"}, "end to end: a client, and the program as a value that can be its own keeper and engine; real processes beside engines that a bench makes up, with the demo model; the way of money alone for its bench"},
}

// forTests lists what the tests of any room may import beside what the room may: nothing
// in it depends on the room under test, except what a suite is for.
var forTests = []room{
	{"store", nil, "a real database in a temporary folder, where a mock would only agree with its author"},
	{"store/storetest", nil, "run by each store"},
	{"store/pgtest", nil, "as the store, on a server"},
	{"store/sqlitetest", nil, "as the store, in a file of the test's own"},
	{"engine/enginetest", nil, "run by each Runner, and an in-process one"},
	{"billing", nil, "charges what a room has written, to prove that it is what was served"},
	{"fakeengine", nil, "an engine that does what the test says"},
	{"abacus", nil, "weights for a real engine"},
	{"internal/sse", nil, "reads the streams that a test receives"},
}
