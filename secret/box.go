package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrSealed says that a sealed value cannot be opened: it was changed, is bound to
// something else, or was sealed under another pepper.
var ErrSealed = errors.New("the sealed value cannot be opened: it was changed, or sealed with another pepper file")

// boxVersion is the first byte of a sealed value. A new way of sealing gets a new one.
const boxVersion = 1

// boxInfo separates the box's key from every other use of the pepper.
const boxInfo = "berth sealed value v1"

// Box seals short secrets, such as endpoint keys, for the database: AES-256-GCM with a
// key derived from the pepper by HKDF-SHA-256. It is safe for concurrent use.
type Box struct{ aead cipher.AEAD }

// Box returns the Box of this pepper.
func (p Pepper) Box() (*Box, error) {
	key, err := hkdf.Key(sha256.New, p.bytes[:], nil, boxInfo, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	return &Box{aead}, nil
}

// Seal encrypts plain and binds it to owner, such as the name of the model whose key it
// is: opened for another owner it fails. Sealing the same twice gives different bytes.
// The result is a version byte, then nonce, ciphertext and tag: 29 bytes more than plain.
func (b *Box) Seal(plain []byte, owner string) []byte {
	return b.aead.Seal([]byte{boxVersion}, nil, plain, bound(owner))
}

// Open returns what Seal was given for owner, else ErrSealed.
func (b *Box) Open(sealed []byte, owner string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != boxVersion {
		return nil, ErrSealed
	}
	plain, err := b.aead.Open(nil, nil, sealed[1:], bound(owner))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// bound is authenticated but not stored: the version too, so that it cannot be changed.
func bound(owner string) []byte { return append([]byte{boxVersion}, owner...) }
