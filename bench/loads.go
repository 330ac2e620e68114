//go:build linux

package main

import (
	"slices"
	"sync/atomic"
	"time"
)

// variety is the number of different messages a connection sends in turn.
const variety = 16

// echo has w.conns connections send w.inflight messages each in one write, await
// all replies and do it again.
func echo(p *process, w work, t timing) (figures, error) {
	if err := needFiles(w.conns); err != nil {
		return figures{}, err
	}
	clients, err := dialMany(p.addr, "/echo", w.conns, dialOptions{
		tls: w.tls, mux: w.mux, deflate: w.deflate, text: w.text, readBuffer: min(w.inflight*w.size+4096, 128<<10),
	})
	if err != nil {
		return figures{}, err
	}
	defer dropAll(clients)

	var (
		stop  atomic.Bool
		timed atomic.Bool
		loops = make([]echoLoop, len(clients))
		errs  = make(chan error, len(clients))
	)
	for i, c := range clients {
		loops[i].prepare(c, w)
	}
	for i := range loops {
		go func() { errs <- loops[i].run(&stop, &timed) }()
	}
	count := func() (n int64) {
		for i := range loops {
			n += loops[i].done.Load()
		}
		return n
	}
	m, err := measure(p, t, &timed, errs, count)
	if err != nil {
		return figures{}, err
	}
	// All replies that are still due must come, and in time.
	stop.Store(true)
	for _, c := range clients {
		c.dueIn(t.grace)
	}
	for range loops {
		if err := <-errs; err != nil {
			return figures{}, late(err, t.grace)
		}
	}
	var times []time.Duration
	for i := range loops {
		times = append(times, loops[i].times...)
	}
	return m.figures(times)
}

// echoLoop is what one connection of echo does.
type echoLoop struct {
	c       *client
	batches [][]byte   // of frames
	wants   [][][]byte // replies to each
	times   []time.Duration
	done    atomic.Int64
	_       [64]byte // keeps the counters of two connections apart
}

func (l *echoLoop) prepare(c *client, w work) {
	l.c = c
	var batch []byte
	var wants [][]byte
	different := variety
	if w.size > 64<<10 {
		different = 4 // they are kept, and all connections have their own
	}
	for i := range different {
		b := payload(c.id, i, w.size)
		batch = append(batch, frame(b, w.text, w.deflate)...)
		wants = append(wants, b)
		if len(wants) == w.inflight {
			l.batches, l.wants = append(l.batches, batch), append(l.wants, wants)
			batch, wants = nil, nil
		}
	}
}

func (l *echoLoop) run(stop, timed *atomic.Bool) error {
	written := make(chan error, 1)
	for i := 0; !stop.Load(); i = (i + 1) % len(l.batches) {
		begin := time.Now()
		// The sockets may not hold all replies: they are read while messages are being written.
		parallel := len(l.batches[i]) > 32<<10 && len(l.wants[i]) > 1
		if parallel {
			go func(b []byte) { _, err := l.c.conn.Write(b); written <- err }(l.batches[i])
		} else if _, err := l.c.conn.Write(l.batches[i]); err != nil {
			return err
		}
		for _, want := range l.wants[i] {
			if err := l.c.expect(want); err != nil {
				return err
			}
		}
		if parallel {
			if err := <-written; err != nil {
				return err
			}
		}
		if timed.Load() {
			l.times = append(l.times, time.Since(begin))
		}
		l.done.Add(int64(len(l.wants[i])))
	}
	return nil
}

// connect has w.conns workers connect, check one echo and leave, again and again.
func connect(p *process, w work, t timing) (figures, error) {
	if err := needFiles(w.conns + w.idle); err != nil {
		return figures{}, err
	}
	idle, err := dialMany(p.addr, "/echo", w.idle, dialOptions{hello: hello, readBuffer: smallBuffer})
	defer dropAll(idle)
	if err != nil {
		return figures{}, err
	}
	var (
		stop  atomic.Bool
		timed atomic.Bool
		done  atomic.Int64
		times = make([][]time.Duration, w.conns)
		errs  = make(chan error, w.conns)
	)
	for i := range w.conns {
		go func() {
			want := payload(i, 0, w.size)
			f := frame(want, w.text, w.deflate)
			for !stop.Load() {
				begin := time.Now()
				if err := connectOnce(p, i, f, want, t); err != nil {
					errs <- err
					return
				}
				if timed.Load() {
					times[i] = append(times[i], time.Since(begin))
				}
				done.Add(1)
			}
			errs <- nil
		}()
	}
	m, err := measure(p, t, &timed, errs, done.Load)
	stop.Store(true)
	if err != nil {
		return figures{}, err
	}
	for range w.conns {
		if err := <-errs; err != nil {
			return figures{}, err
		}
	}
	return m.figures(slices.Concat(times...))
}

func connectOnce(p *process, id int, frame, want []byte, t timing) error {
	c, err := dial(id, p.addr, "/echo", dialOptions{})
	if err != nil {
		return err
	}
	defer c.drop()
	c.dueIn(t.grace)
	if _, err := c.conn.Write(frame); err != nil {
		return err
	}
	return late(c.expect(want), t.grace)
}

// idleMemory is what a connection costs that has echoed once and then nothing.
func idleMemory(p *process, w work, _ timing) (figures, error) {
	const first = 100 // for what a server allocates once; they stay open, so that their memory is not used again
	if err := needFiles(w.conns + first); err != nil {
		return figures{}, err
	}
	o := dialOptions{tls: w.tls, mux: w.mux, hello: hello, readBuffer: smallBuffer}
	warm, err := dialMany(p.addr, "/echo", first, o)
	defer dropAll(warm)
	if err != nil {
		return figures{}, err
	}
	if err := p.ask("gc"); err != nil {
		return figures{}, err
	}
	before, err := memory(p.pid)
	if err != nil {
		return figures{}, err
	}
	clients, err := dialMany(p.addr, "/echo", w.conns, o)
	defer dropAll(clients)
	if err != nil {
		return figures{}, err
	}
	if err := p.ask("gc"); err != nil {
		return figures{}, err
	}
	after, err := memory(p.pid)
	if err == nil && p.profile != "" {
		err = p.ask("heap " + p.profile)
	}
	return figures{Memory: max(0, after-before) / float64(w.conns)}, err
}
