package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
	"github.com/berthhq/berth/config"
	"github.com/berthhq/berth/push"
)

// pushTypes are those that are sent when none are configured.
var pushTypes = []string{push.TypeRecord, push.TypeUnbilled, push.TypeStatus, push.TypeClosed, push.TypeWarned, push.TypeStopped}

// pushOptions reads what the configuration says, and the files that it names.
func pushOptions(c config.Push) (push.Options, error) {
	o := push.Options{
		URL: c.URL, Token: c.Token, Types: c.Types, Source: c.Source, Subject: push.Subject(c.Subject),
		Batch: c.Batch, Single: c.Format == "single", Timeout: c.Timeout,
	}
	if o.Types == nil {
		o.Types = pushTypes
	}
	var kept string
	for _, f := range []struct {
		key, file string
		text      *string
	}{{"secret_file", c.SecretFile, &kept}, {"token_file", c.TokenFile, &o.Token}} {
		if f.file == "" {
			continue
		}
		text, err := os.ReadFile(f.file)
		if err != nil {
			return o, fmt.Errorf("push.%s: %w", f.key, err)
		}
		if *f.text = strings.TrimSpace(string(text)); *f.text == "" {
			return o, fmt.Errorf("push.%s: %s is empty", f.key, f.file)
		}
	}
	if c.Secret == "" && kept == "" {
		return o, nil
	}
	var err error
	if o.Secrets, err = push.Secrets(kept + " " + c.Secret); err != nil {
		return o, fmt.Errorf("push.secret: %w", err)
	}
	return o, nil
}

// preparePush makes the push begin where it was, or end.
func (a *App) preparePush(ctx context.Context) error {
	if a.opt.Config.Push.URL == "" {
		return a.store.Tx(ctx, func(tx berth.Tx) error { return tx.Pushes().End(ctx) })
	}
	o, err := pushOptions(a.opt.Config.Push)
	if err != nil {
		return err
	}
	o.Version, o.Store, o.Logger, o.Now = a.opt.Version, a.store, a.opt.Logger, a.opt.Now
	a.pusher = push.New(o)
	return a.pusher.Begin(ctx)
}

// startPush pushes until the function that it returns is called; what is on its way then
// comes again with the next start.
func (a *App) startPush(ctx context.Context) (stop func()) {
	if a.pusher == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.pusher.Run(ctx)
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

func (a *App) pushState() berth.PushState {
	if a.pusher == nil {
		return berth.PushState{}
	}
	return a.pusher.State()
}

// pushPatience is how long the doctor waits for the push URL, and for the server.
const pushPatience = 5 * time.Second

// pushChecks looks whether the push URL can be reached, and what the running server says.
func pushChecks(ctx context.Context, cfg config.Config) []check {
	if cfg.Push.URL == "" {
		return nil
	}
	c := check{name: "push"}
	o, err := pushOptions(cfg.Push)
	if err != nil {
		c.found, c.advice, c.fatal = "not usable", err.Error(), true
		return []check{c}
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		c.found, c.advice, c.fatal = "not usable", "correct push.url", true
		return []check{c}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	dialer := net.Dialer{Timeout: pushPatience, Control: berth.RefuseLinkLocal}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		c.found, c.advice = u.Host+" cannot be reached", err.Error()+"; events wait until it can"
		return []check{c}
	}
	c.found = u.Host + " can be reached"
	if err := conn.Close(); err != nil {
		c.advice = err.Error()
	}
	if said, err := askPush(ctx, cfg.Data); err == nil {
		c.found += fmt.Sprintf(", %s, %d records and %d other events wait", said.State, said.WaitingRecords, said.WaitingEvents)
		if said.State == api.PushFailing {
			c.advice = said.Reason
		}
	}
	return []check{c}
}

// errNoServer says that no server of the data directory can be asked.
var errNoServer = errors.New("no server runs here, or its owner's key is elsewhere")

// askPush asks the server that runs on the data directory.
func askPush(ctx context.Context, data string) (api.Push, error) {
	lock, _ := os.ReadFile(filepath.Join(data, lockFile))
	_, address, _ := strings.Cut(string(lock), "\n")
	key, _ := os.ReadFile(filepath.Join(data, ownerKeyFile))
	if address = strings.TrimSpace(address); address == "" || len(key) == 0 {
		return api.Push{}, errNoServer
	}
	ctx, cancel := context.WithTimeout(ctx, pushPatience)
	defer cancel()
	return (&api.Client{BaseURL: address, Key: strings.TrimSpace(string(key))}).Push(ctx)
}
