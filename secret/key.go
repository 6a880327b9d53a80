package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"sync"
)

// What keys and temporary tokens begin with, as clients of the API expect.
const (
	keyPrefix   = "sk-"
	tokenPrefix = "st-"
)

// NewKey returns a fresh key: "sk-" and 43 characters for 32 bytes of random, which is
// crypto/rand.Reader outside tests. It panics if random fails, since nobody can go on
// without; that reader never does.
func NewKey(random io.Reader) string { return fresh(keyPrefix, random) }

// NewToken is NewKey for a temporary token, which begins with "st-".
func NewToken(random io.Reader) string { return fresh(tokenPrefix, random) }

func fresh(prefix string, random io.Reader) string {
	var raw [32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		panic(fmt.Sprintf("secret: no random bytes for a key: %v", err))
	}
	return prefix + base64.RawURLEncoding.EncodeToString(raw[:])
}

// Hint returns a form of key that may be shown and logged, such as "sk-abc…wxyz": it
// tells keys apart and leaves 36 characters unknown. Of anything shorter than a real
// key it shows nothing.
func Hint(key string) string {
	if len(key) < len(keyPrefix)+43 {
		return keyPrefix + "…"
	}
	return key[:len(keyPrefix)+3] + "…" + key[len(key)-4:]
}

// Equal compares two hashes in constant time.
func Equal(a, b [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// Hasher computes the form in which keys are stored and looked up. It is safe for
// concurrent use; the gateway calls it for every call.
type Hasher struct{ states sync.Pool }

// hashState is reused, so that hashing allocates nothing.
type hashState struct {
	mac hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// Hasher returns a Hasher with this pepper.
func (p Pepper) Hasher() *Hasher {
	return &Hasher{states: sync.Pool{New: func() any {
		return &hashState{mac: hmac.New(sha256.New, p.bytes[:])}
	}}}
}

// Hash returns the HMAC-SHA-256 of key under the pepper. Any text is allowed.
func (h *Hasher) Hash(key string) [sha256.Size]byte {
	s := h.states.Get().(*hashState) //nolint:forcetypeassert // the pool holds nothing else
	s.mac.Reset()
	s.in = append(s.in[:0], key...)
	s.mac.Write(s.in)
	s.mac.Sum(s.out[:0])
	out := s.out
	clear(s.in)
	h.states.Put(s)
	return out
}
