package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthhq/berth/config"
)

// refusal starts a server on dir, which must fail, and returns the sentence.
func refusal(t *testing.T, dir string) string {
	t.Helper()
	cfg, err := config.Load(config.Source{Flags: map[string]string{"data": dir, "listen": "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		t.Fatal("it starts")
	}
	return err.Error()
}

func TestAStoreThatCannotBeOpenedIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "berth.db"), []byte("garbage, and enough of it to be no database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := refusal(t, dir); !strings.Contains(said, "berth.db") {
		t.Errorf("it says %q", said)
	}
}

// With a new pepper every key would be refused, and nothing would say why.
func TestALostPepperIsNotReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg, err := config.Load(config.Source{Flags: map[string]string{"data": dir, "listen": "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	pepper := filepath.Join(dir, pepperFile)
	if err := os.Remove(pepper); err != nil {
		t.Fatal(err)
	}
	if said := refusal(t, dir); !strings.Contains(said, "pepper.key is missing") {
		t.Errorf("it says %q", said)
	}
	if _, err := os.Stat(pepper); err == nil {
		t.Error("a new pepper was made")
	}
}

func TestTheDemoStaysOnLoopback(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true, "0.0.0.0:0": false, ":0": false, "[::]:0": false, "192.0.2.1:0": false,
	} {
		_, err := freeAddress(t.Context(), address, os.Stderr)
		if refused := err != nil && strings.Contains(err.Error(), "loopback only"); refused == allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
}
