package app

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"

	"github.com/google/uuid"

	"github.com/berthhq/berth/secret"
)

// newID returns the prefix and a UUIDv7, so that ids sort by time.
func newID(prefix string) string { return prefix + uuid.Must(uuid.NewV7()).String() }

// newUUID returns a lower-case UUIDv4 for request ids (api.md 2.3).
func newUUID() string { return uuid.NewString() }

func newKey() (string, error) { return secret.NewKey(rand.Reader), nil }

func newToken() (string, error) { return secret.NewToken(rand.Reader), nil }

func keyHint(key string) string { return secret.Hint(key) }

// newWorkspaceID returns llm- and 8 characters (api.md 2.1).
func newWorkspaceID() string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	id := make([]byte, 8)
	for i, b := range random(8) {
		id[i] = alphabet[int(b)%len(alphabet)]
	}
	return "llm-" + string(id)
}

// newAccountID returns 16 digits, as account UIDs are (api.md 2.2).
func newAccountID() string {
	const first, span = 1_000_000_000_000_000, 9_000_000_000_000_000
	return strconv.FormatUint(first+binary.BigEndian.Uint64(random(8))%span, 10)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}
