package config

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // billing.time_zone must not depend on what a machine has installed
)

// validate checks what one value alone cannot show.
func (b *binder) validate(c *Config) {
	b.listen(c)
	b.store(c)
	b.billing(c)
	b.push(&c.Push)
	for i := range c.Specs {
		b.spec(&c.Specs[i])
	}
	for i := range c.Models {
		b.model(&c.Models[i], c)
	}
	for i := range c.Imports.Stores {
		b.importStore(&c.Imports.Stores[i])
	}
}

func (b *binder) importStore(s *ImportStore) {
	key := join("imports.stores", s.Name)
	bucket, remote := strings.CutPrefix(s.Path, "s3://")
	keys := s.AccessKey != "" || s.SecretKey != ""
	switch {
	case s.Path == "" || remote && strings.Trim(bucket, "/") == "":
		b.wrong(key, "%s has no path; give a folder or s3://bucket", key)
	case !remote && strings.Contains(s.Path, "://"):
		b.wrong(key+".path", "%s.path must be a folder or s3://bucket", key)
	case !remote && (s.Endpoint != "" || s.Region != "" || s.CredentialsFile != "" || keys):
		b.wrong(key, "%s is a folder, so endpoint, region and credentials mean nothing; leave them out", key)
	case (s.AccessKey == "") != (s.SecretKey == ""):
		b.wrong(key, "%s needs access_key and secret_key together", key)
	case keys && s.CredentialsFile != "":
		b.wrong(key, "%s has keys and a credentials_file; leave one out", key)
	}
	if u, err := url.Parse(s.Endpoint); s.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" ||
		u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "") {
		b.wrong(key+".endpoint", "%s.endpoint must be an address such as https://s3.example.com, and nothing behind it", key)
	}
}

// wrong reports a problem at the place where key was set, or its nearest parent.
func (b *binder) wrong(key, format string, args ...any) {
	at := key
	for b.origins[at].where == "" && strings.Contains(at, ".") {
		at = at[:strings.LastIndexByte(at, '.')]
	}
	b.problem(b.origins[at], format, args...)
}

func (b *binder) listen(c *Config) {
	host, port, err := net.SplitHostPort(c.Listen)
	if n, portErr := strconv.Atoi(port); err != nil || portErr != nil || n < 0 || n > 65535 {
		b.wrong("listen", "listen is %s, but must be host:port with a port from 0 to 65535", quote(c.Listen))
		return
	}
	if !c.Insecure && !loopback(host) {
		b.wrong("listen", "listen is %s, but plain HTTP is served on loopback addresses only; put a TLS proxy in front, or allow it with insecure: true", c.Listen)
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// store never shows the value: it may hold a password.
func (b *binder) store(c *Config) {
	if c.Store == "sqlite" {
		return
	}
	u, err := url.Parse(c.Store)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" && !u.Query().Has("host") {
		b.wrong("store", "store must be sqlite or postgres://user:password@host/database")
	}
}

// push never shows the address: its query may hold a key.
func (b *binder) push(p *Push) {
	if p.URL == "" {
		if p.Secret != "" || p.SecretFile != "" || p.Token != "" || p.TokenFile != "" || p.Types != nil {
			b.wrong("push", "push has no url; say where to send events, or leave push out")
		}
		return
	}
	u, err := url.Parse(p.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "":
		b.wrong("push.url", "push.url must be an address such as https://host/path, without user and password; a key goes into push.token_file")
	case p.Secret == "" && p.SecretFile == "" && p.Token == "" && p.TokenFile == "":
		b.wrong("push", "push has neither a secret nor a token, so that nobody could tell its messages from others; give push.secret_file, or push.token_file")
	}
	if source, err := url.Parse(p.Source); p.Source == "" || err != nil || source.User != nil {
		b.wrong("push.source", "push.source is %s, but must be a URI or a name without spaces, such as berth/eu", quote(p.Source))
	}
}

var currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)

func (b *binder) billing(c *Config) {
	if !currencyPattern.MatchString(c.Billing.Currency) {
		b.wrong("billing.currency", "billing.currency is %s, but must be three capital letters such as CNY", quote(c.Billing.Currency))
	}
	if zone := c.Billing.TimeZone; zone == "" || zone == "Local" || !knownZone(zone) {
		b.wrong("billing.time_zone", "billing.time_zone is %s, but must be a place such as Asia/Shanghai, or UTC", quote(zone))
	}
}

func knownZone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil
}

func (b *binder) spec(s *Spec) {
	key := join("specs", s.Name)
	if s.Threads == 0 {
		b.wrong(key, "%s.threads is missing; say how many threads one unit has", key)
	}
	if s.Memory == 0 {
		b.wrong(key, "%s.memory is missing; say how much memory one unit has, such as 256MiB", key)
	}
}

// model checks one entry and fills in its engine.
func (b *binder) model(m *Model, c *Config) {
	key := join("models", m.Name)
	b.modelKind(m, key)
	if m.KeyFile != "" && m.URL == "" {
		b.wrong(key+".key_file", "%s.key_file is for endpoints only; give a url too, or leave it out", key)
	}
	if m.RemoteName != "" && m.URL == "" {
		b.wrong(key+".remote_name", "%s.remote_name is for endpoints only; give a url too, or leave it out", key)
	}
	for _, s := range m.Specs {
		b.knownSpec(join(key+".specs", s.Name), s.Name, c)
	}
	if m.Pool.Spec != "" {
		b.knownSpec(key+".pool.spec", m.Pool.Spec, c)
	}
	if m.Pool.Max > 0 && m.Pool.Max < m.Pool.Min {
		b.wrong(key+".pool.max", "%s.pool.max is %d, but must be at least min, which is %d", key, m.Pool.Max, m.Pool.Min)
	}
	if (m.Calibration.InputTPM == 0) != (m.Calibration.OutputTPM == 0) {
		b.wrong(key+".calibration", "%s.calibration needs both input_tpm and output_tpm, as carried at the same time", key)
	}
	b.longInputs(m.PTU.LongInput, key+".ptu.long_input")
}

// longInputs checks the lengths and puts them in their order. What each token counts must
// not fall with the length: a call reserves for the longest that its input can be.
func (b *binder) longInputs(list []LongInput, key string) {
	for i := range list {
		l := &list[i]
		if l.Above() == 0 {
			b.wrong(join(key, l.Name), "%s must be a number of tokens from 1 to %d, beyond which an input is long", join(key, l.Name), maxContext)
		}
		l.Input, l.Output = cmp.Or(l.Input, 1000), cmp.Or(l.Output, 1000)
	}
	slices.SortFunc(list, func(x, y LongInput) int { return cmp.Compare(x.Above(), y.Above()) })
	for i := 1; i < len(list); i++ {
		if list[i].Input < list[i-1].Input || list[i].Output < list[i-1].Output {
			b.wrong(join(key, list[i].Name), "%s has a smaller factor than %s; longer inputs must not count less", join(key, list[i].Name), join(key, list[i-1].Name))
		}
	}
}

// modelKind checks that the entry is exactly one of base, adapter and endpoint.
func (b *binder) modelKind(m *Model, key string) {
	switch {
	case m.Adapter != "" || m.Base != "":
		if m.Adapter == "" || m.Base == "" || m.Path != "" || m.URL != "" {
			b.wrong(key, "%s must have base and adapter together, and neither path nor url with them", key)
		}
		if m.Engine != "" {
			b.wrong(key+".engine", "%s.engine is %s, but an adapter runs on its base's engine; leave it out", key, m.Engine)
		}
	case m.URL != "" || m.Engine == "endpoint":
		b.endpoint(m, key)
	case m.Engine == "fake":
	case m.Path == "":
		b.wrong(key, "%s must have a path (weights), a base and an adapter, or a url (endpoint)", key)
	}
}

func (b *binder) endpoint(m *Model, key string) {
	if m.Path != "" || m.Engine != "" && m.Engine != "endpoint" {
		b.wrong(key, "%s has a url, so it must have no path and no engine but endpoint", key)
	}
	m.Engine = "endpoint"
	u, err := url.Parse(m.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		b.wrong(key+".url", "%s.url must be an address such as https://host/v1", key)
	case u.User != nil || u.RawQuery != "":
		b.wrong(key+".url", "%s.url must hold neither user, password nor query; put the key into key_file", key)
	}
}

func (b *binder) knownSpec(key, name string, c *Config) {
	if slices.ContainsFunc(c.Specs, func(s Spec) bool { return s.Name == name }) {
		return
	}
	names := make([]string, len(c.Specs))
	for i, s := range c.Specs {
		names[i] = s.Name
	}
	b.wrong(key, "%s names the spec %s, but must name one of %s", key, name, strings.Join(names, ", "))
}
