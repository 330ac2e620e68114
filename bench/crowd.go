//go:build linux

package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

// broadcast has one connection send a message at a time to all of them, and
// waits until the last one that still reads has it.
func broadcast(p *process, w work, t timing) (figures, error) {
	if err := needFiles(w.conns); err != nil {
		return figures{}, err
	}
	o := dialOptions{deflate: w.deflate, hello: hello, readBuffer: max(smallBuffer, w.size)}
	readers, err := dialMany(p.addr, "/chat", w.conns-w.stalled, o)
	defer dropAll(readers)
	if err != nil {
		return figures{}, err
	}
	o.socketBuffer = 4 << 10
	stalled, err := dialMany(p.addr, "/chat", w.stalled, o)
	defer dropAll(stalled)
	if err != nil {
		return figures{}, err
	}

	c := newCrowd(readers, w, t)
	warm := time.Now()
	for c.sent < w.warm || time.Since(warm) < t.warm {
		if err := c.broadcast(); err != nil {
			return figures{}, err
		}
	}
	m, err := begin(p, 0)
	if err != nil {
		return figures{}, err
	}
	var times []time.Duration
	for len(times) < fewest || time.Since(m.begin) < t.window {
		now := time.Now()
		if err := c.broadcast(); err != nil {
			return figures{}, err
		}
		times = append(times, time.Since(now))
	}
	if err := m.end(int64(len(times))); err != nil {
		return figures{}, err
	}
	return m.figures(times)
}

// fewest is the number of broadcasts that are measured however long they take.
const fewest = 5

// crowd is the connections that read what is broadcast.
type crowd struct {
	readers       []*client
	wants, frames [][]byte
	grace         time.Duration
	sent          int
	missing       atomic.Int64  // connections that do not have the broadcast yet
	all           chan struct{} // receives when there are none
	errs          chan error
}

func newCrowd(readers []*client, w work, t timing) *crowd {
	c := &crowd{readers: readers, grace: t.grace, all: make(chan struct{}, 1), errs: make(chan error, len(readers))}
	for i := range variety {
		b := payload(0, i, w.size)
		c.wants, c.frames = append(c.wants, b), append(c.frames, frame(b, w.text, w.deflate))
	}
	for _, r := range readers {
		go func() { c.errs <- c.read(r) }() // also when the connections are dropped at the end
	}
	return c
}

func (c *crowd) read(r *client) error {
	for i := 0; ; i = (i + 1) % variety {
		if err := r.expect(c.wants[i]); err != nil {
			return err
		}
		if c.missing.Add(-1) == 0 {
			c.all <- struct{}{}
		}
	}
}

func (c *crowd) broadcast() error {
	c.missing.Store(int64(len(c.readers)))
	if _, err := c.readers[0].conn.Write(c.frames[c.sent%variety]); err != nil {
		return err
	}
	c.sent++
	timeout := time.NewTimer(c.grace)
	defer timeout.Stop()
	select {
	case <-c.all:
		return nil
	case err := <-c.errs:
		return err
	case <-timeout.C:
		return fmt.Errorf("%d of %d connections do not have the broadcast after %v", c.missing.Load(), len(c.readers), c.grace)
	}
}
