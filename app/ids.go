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
func newWorkspaceID() string { return "llm-" + letters(8) }

// newNameSuffix returns the end of an imported model's name (api.md 8.1).
func newNameSuffix() string { return letters(4) }

// letters returns n random lower-case letters and digits.
func letters(n int) string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	text := make([]byte, n)
	for i, b := range random(n) {
		text[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(text)
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
