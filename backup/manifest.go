package backup

import "time"

// Format is the version of the archive's own form.
const Format = 1

// Head says what an archive is.
type Head struct {
	Format int    `json:"format"`
	Berth  string `json:"berth"`  // version that wrote it
	Schema int64  `json:"schema"` // of the database
	// TakenAt is the moment whose state the archive has, in UTC.
	TakenAt time.Time `json:"taken_at"`
	// Secrets: pepper.key and owner.key are in it, so that it opens everything.
	Secrets bool `json:"secrets"`
}

// Manifest is the proof of an archive.
type Manifest struct {
	Head
	Data   string  `json:"data"`           // the data directory that it was taken of
	Note   string  `json:"note,omitempty"` // a sentence for whoever restores it
	Files  []File  `json:"files"`
	Tables []Table `json:"tables"`
	Models []Model `json:"models"`
}

// File is one file of the archive. Its name is where it goes in a data directory.
type File struct {
	Name   string `json:"name"` // with slashes
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hex
}

// Table is what one table of the database holds.
type Table struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
	// Checksum is of all rows, in whichever order they come.
	Checksum string `json:"checksum"`
}

// Model is a model with files on the server.
type Model struct {
	Name   string `json:"name"`
	Path   string `json:"path"`   // of its file or folder when the backup was taken
	Digest string `json:"digest"` // as in the catalogue: sha256: and hex
	Bytes  int64  `json:"bytes"`
	// Configured models follow the configuration file, which says where theirs are.
	Configured bool `json:"configured,omitempty"`
	// Unpacked is where Path is in the data directory after a restore; "" when the archive
	// does not have it.
	Unpacked string `json:"unpacked,omitempty"`
}

// Bytes is the length of everything that the archive unpacks to.
func (m *Manifest) Bytes() int64 {
	var sum int64
	for _, f := range m.Files {
		sum += f.Bytes
	}
	return sum
}
