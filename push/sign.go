package push

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// secretPrefix begins secrets, as Standard Webhooks has them.
const secretPrefix = "whsec_"

// Bounds of a secret in bytes (Standard Webhooks, Symmetric signatures).
const (
	secretLeast = 24
	secretMost  = 64
)

// secretsMost is how many secrets sign at the same time: the old one and the new.
const secretsMost = 2

// ErrSecret says what a secret looks like.
var ErrSecret = errors.New(`a secret is whsec_ and the base64 of 24 to 64 random bytes; make one with: printf 'whsec_%s\n' "$(openssl rand -base64 32)"`)

// Secrets reads one secret or, while one is replaced by another, two, apart by white space.
func Secrets(text string) ([][]byte, error) {
	var list [][]byte
	for word := range strings.FieldsSeq(text) {
		encoded, ok := strings.CutPrefix(word, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < secretLeast || len(key) > secretMost {
			return nil, ErrSecret
		}
		list = append(list, key)
	}
	if len(list) == 0 || len(list) > secretsMost {
		return nil, ErrSecret
	}
	return list, nil
}

// sign returns the signatures of a message, each "v1," and base64, apart by a space.
func sign(secrets [][]byte, id string, at time.Time, body []byte) string {
	var list []string
	for _, key := range secrets {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		list = append(list, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(list, " ")
}

// messageID names a message by what is in it: the same events again are the same message,
// and a receiver that drops messages it has seen never drops an event that it has not.
func messageID(body []byte) string {
	sum := sha256.Sum256(body)
	return "msg_" + hex.EncodeToString(sum[:16])
}
