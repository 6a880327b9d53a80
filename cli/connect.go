package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

const defaultURL = "http://127.0.0.1:7700"

// withClient makes a command of a function that needs the server.
func (p *program) withClient(run func(*cobra.Command, *api.Client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		client, err := p.client()
		if err != nil {
			return err
		}
		return reached(client, run(cmd, client, args))
	}
}

func (p *program) client() (*api.Client, error) {
	named := cmp.Or(p.url, p.Env("BERTH_URL"))
	address := cmp.Or(named, p.runningURL())
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("the address %q is no URL; it looks like %s", address, defaultURL)
	}
	key := cmp.Or(p.key, p.Env("BERTH_API_KEY"))
	if key == "" {
		// The owner's key opens everything, so it is shown to no server elsewhere just
		// because the directory of a local one happens to be here.
		if named != "" && !loopback(parsed.Hostname()) {
			return nil, fmt.Errorf("no key for %s; set BERTH_API_KEY or --key", address)
		}
		if key, err = p.ownerKey(); err != nil {
			return nil, err
		}
	}
	return &api.Client{BaseURL: address, Key: key}, nil
}

// runningURL returns where the server of the data directory listens: the second line
// of its lock. Without one it returns the default.
func (p *program) runningURL() string {
	lock, _ := os.ReadFile(filepath.Join(p.data, "lock"))
	_, rest, _ := strings.Cut(string(lock), "\n")
	address, _, _ := strings.Cut(rest, "\n")
	return cmp.Or(strings.TrimSpace(address), defaultURL)
}

func (p *program) ownerKey() (string, error) {
	file := filepath.Join(p.data, "owner.key")
	text, err := os.ReadFile(file)
	switch key := strings.TrimSpace(string(text)); {
	case errors.Is(err, fs.ErrNotExist), err == nil && key == "":
		return "", fmt.Errorf("no key: looked at --key, BERTH_API_KEY and %s; name the server's directory with --data, or a key", file)
	case err != nil:
		return "", fmt.Errorf("no key: %w", err)
	default:
		return key, nil
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
