package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func mustPepper(t testing.TB) Pepper {
	t.Helper()
	p, err := LoadPepper(filepath.Join(t.TempDir(), "pepper.key"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustBox(t testing.TB, p Pepper) *Box {
	t.Helper()
	box, err := p.Box()
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestAPepperIsCreatedOnceAndKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "pepper.key")
	peppers := make([]Pepper, 8)
	var starts sync.WaitGroup
	for i := range peppers {
		starts.Go(func() {
			var err error
			if peppers[i], err = LoadPepper(file); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	for _, p := range peppers {
		if p.bytes != peppers[0].bytes || p.bytes == (Pepper{}).bytes {
			t.Error("two starts got different peppers, or none")
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("the file is %v, %v", info, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files remain, want the pepper alone", len(left))
	}
}

func TestAPepperFileThatCannotBeTrustedIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		size int
		mode os.FileMode
		want string
	}{
		"the group may read it":  {32, 0o640, "has mode 0640, so others may read or change it; run chmod 600 on it"},
		"anybody may change it":  {32, 0o602, "has mode 0602, so others may read or change it; run chmod 600 on it"},
		"it is a byte too short": {31, 0o600, "must be a file of 32 bytes, but has 31; restore it"},
		"it is a byte too long":  {33, 0o600, "must be a file of 32 bytes, but has 33; restore it"},
		"it is empty":            {0, 0o600, "must be a file of 32 bytes, but has 0; restore it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pepper.key")
			if err := os.WriteFile(file, make([]byte, tt.size), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tt.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadPepper(file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want …%s…", err, tt.want)
			}
		})
	}
	if _, err := LoadPepper(filepath.Join(t.TempDir(), "none", "pepper.key")); err == nil {
		t.Error("a pepper was made in a folder that does not exist")
	}
}

func TestAPepperDoesNotShowItself(t *testing.T) {
	t.Parallel()
	p := mustPepper(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, p); got != "(pepper)" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

func TestKeysAreOfTheFormThatClientsExpect(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^sk-[A-Za-z0-9_-]{43}$`)
	a, b := NewKey(rand.Reader), NewKey(rand.Reader)
	if !form.MatchString(a) || a == b {
		t.Errorf("keys %q, %q", a, b)
	}
	if got, want := NewKey(bytes.NewReader(make([]byte, 32))), "sk-"+strings.Repeat("A", 43); got != want {
		t.Errorf("NewKey(zeros) = %q, want %q", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("a key was made of 31 random bytes")
		}
	}()
	NewKey(bytes.NewReader(make([]byte, 31)))
}

func TestAHintShowsLittle(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"sk-abc" + strings.Repeat("x", 36) + "wxyz": "sk-abc…wxyz",
		"sk-short": "sk-…",
		"":         "sk-…",
	} {
		if got := Hint(key); got != want {
			t.Errorf("Hint(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestAHashDependsOnKeyAndPepper(t *testing.T) {
	t.Parallel()
	p, other := mustPepper(t), mustPepper(t)
	h := p.Hasher()
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			for j := range 100 {
				key := fmt.Sprint(i, strings.Repeat("k", j))
				mac := hmac.New(sha256.New, p.bytes[:])
				mac.Write([]byte(key))
				if got := h.Hash(key); !bytes.Equal(got[:], mac.Sum(nil)) {
					t.Errorf("Hash(%q) is not its HMAC-SHA-256", key)
				}
			}
		})
	}
	calls.Wait()
	if !Equal(h.Hash("k"), p.Hasher().Hash("k")) {
		t.Error("two hashers of one pepper disagree")
	}
	if Equal(h.Hash("k"), other.Hasher().Hash("k")) || Equal(h.Hash("k"), h.Hash("l")) {
		t.Error("another pepper or key gives the same hash")
	}
}

func TestABoxOpensOnlyWhatItSealedForTheSameOwner(t *testing.T) {
	t.Parallel()
	p := mustPepper(t)
	box, plain := mustBox(t, p), []byte("sk-somebody-else's")
	sealed := box.Seal(plain, "model-a")
	if bytes.Contains(sealed, plain[3:]) || len(sealed) != len(plain)+29 {
		t.Errorf("sealed = %x", sealed)
	}
	if bytes.Equal(sealed, box.Seal(plain, "model-a")) {
		t.Error("sealing twice gives the same bytes")
	}
	if got, err := mustBox(t, p).Open(sealed, "model-a"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("Open = %q, %v", got, err)
	}
	if _, err := box.Open(sealed, "model-b"); !errors.Is(err, ErrSealed) {
		t.Errorf("another owner: %v", err)
	}
	if _, err := mustBox(t, mustPepper(t)).Open(sealed, "model-a"); !errors.Is(err, ErrSealed) {
		t.Errorf("another pepper: %v", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := box.Open(changed, "model-a"); !errors.Is(err, ErrSealed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := box.Open(sealed[:i], "model-a"); !errors.Is(err, ErrSealed) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	h, key := mustPepper(b).Hasher(), NewKey(rand.Reader)
	b.ReportAllocs()
	for b.Loop() {
		h.Hash(key)
	}
}
