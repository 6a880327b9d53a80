package berth

// Ref names something that was written, so that whoever keeps a copy reads it again.
type Ref struct {
	Noun Noun
	ID   string
}

// Noun is what a [Ref] is about. What belongs to an owner is told as a change of the
// owner, so that nobody has to know what a row that is gone belonged to.
type Noun string

// The nouns of the store's feed of changes ([Tx.Changes]).
const (
	NounDeployment Noun = "deployment" // its row, its own replicas, its place in a pool
	NounPool       Noun = "pool"       // its row, its members, its replicas
	NounEngines    Noun = "engines"    // of a pool, by its id: its replicas only
	NounKey        Noun = "key"
	NounModel      Noun = "model" // by name
	NounWorkspace  Noun = "workspace"
)
