package h1

import (
	"sync"
	"time"
)

// pool is the idle connections to one address, the one used last at the end.
type pool struct {
	client  *Client
	address string
	mu      sync.Mutex
	idle    []*conn
	gone    bool // dropped from the client; take another
}

func (c *Client) poolOf(address string) *pool {
	if p, ok := c.pool.Load(address); ok {
		return p.(*pool)
	}
	p, _ := c.pool.LoadOrStore(address, &pool{client: c, address: address})
	return p.(*pool)
}

// take returns the connection used last, nil when there is none that is young enough.
func (p *pool) take(keep time.Duration) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 || time.Since(p.idle[last].since) >= keep {
		return nil // the sweep closes the old ones
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

// keep keeps a connection for the next call.
func (c *conn) keep() {
	c.since = time.Now()
	for {
		switch kept, gone := c.pool.put(c); {
		case gone:
			c.pool = c.client.poolOf(c.pool.address)
			continue
		case kept:
			c.client.sweepLater()
		default:
			_ = c.Conn.Close()
		}
		return
	}
}

func (p *pool) put(c *conn) (kept, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || len(p.idle) == p.client.opt.MostIdle || p.client.closed.Load() {
		return false, p.gone
	}
	p.idle = append(p.idle, c)
	return true, false
}

// old takes out the connections that became idle before t and reports whether none is
// left.
func (p *pool) old(t time.Time) (list []*conn, empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle) && p.idle[n].since.Before(t) {
		n++
	}
	list = append(list, p.idle[:n]...)
	kept := copy(p.idle, p.idle[n:])
	clear(p.idle[kept:])
	p.idle = p.idle[:kept]
	return list, kept == 0
}

// sweepLater sees to it that idle connections are looked at again. There is one timer for
// all of them, and none while there is none.
func (c *Client) sweepLater() {
	if c.sweeping.Load() || c.sweeping.Swap(true) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed.Load() {
		c.timer = time.AfterFunc(c.opt.Keep/4, c.sweep)
	}
}

// sweep closes what was idle for too long. Addresses without connections are forgotten:
// engines come and go, each with a port of its own.
func (c *Client) sweep() {
	c.sweeping.Store(false)
	left := false
	for address, p := range c.pools() {
		list, empty := p.old(time.Now().Add(-c.opt.Keep))
		for _, conn := range list {
			_ = conn.Conn.Close()
		}
		if empty && p.retire() {
			c.pool.CompareAndDelete(address, p)
			continue
		}
		left = left || !empty
	}
	if left {
		c.sweepLater()
	}
}

func (c *Client) pools() func(yield func(string, *pool) bool) {
	return func(yield func(string, *pool) bool) {
		c.pool.Range(func(address, p any) bool { return yield(address.(string), p.(*pool)) })
	}
}

// retire marks an empty pool as dropped.
func (p *pool) retire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = len(p.idle) == 0
	return p.gone
}

// Close closes the idle connections, and later each connection when its call ends.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed.Store(true)
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	for _, p := range c.pools() {
		list, _ := p.old(time.Now().Add(time.Hour))
		for _, conn := range list {
			_ = conn.Conn.Close()
		}
	}
}
