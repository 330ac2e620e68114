//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// work is something to measure.
type work struct {
	name  string
	title string
	run   func(p *process, w work, t timing) (figures, error)
	shows []metric // the first is the one that counts

	conns    int
	size     int // of a message
	inflight int // messages written at once
	stalled  int // of conns: they stop reading
	text     bool
	deflate  bool
	tls      bool
	chat     bool
}

// figures are what one measurement of one server yields. Times are in seconds.
type figures struct {
	Rate   float64 `json:"rate"`   // of messages, or whatever the work counts, per second
	CPU    float64 `json:"cpu"`    // of the server, for one of them
	P50    float64 `json:"p50"`    // time that one takes
	P99    float64 `json:"p99"`    //
	Memory float64 `json:"memory"` // bytes: of the server, or of the connection
}

func allWorks(short bool) []work {
	conns, large, idle, dialers, crowd, stalled := 50, 8, 5000, 16, 1000, 10
	if short {
		conns, large, idle, dialers, crowd, stalled = 8, 2, 100, 4, 50, 2
	}
	echoes := []metric{cpuPer("message"), rateOf("messages"), p50, p99, memoryOf("server")}
	broadcasts := []metric{timeTo("the last"), cpuPer("broadcast"), rateOf("broadcasts"), p99, memoryOf("server")}
	works := []work{}
	for _, size := range []struct {
		name         string
		bytes, conns int
	}{{"32B", 32, conns}, {"1KiB", 1 << 10, conns}, {"64KiB", 64 << 10, large}} {
		for _, inflight := range []int{1, 16} {
			works = append(works, work{
				name: fmt.Sprintf("echo-%s-%d", size.name, inflight), run: echo, shows: echoes,
				title: fmt.Sprintf("echo of %s, %d in flight, %d connections", inWords(size.bytes), inflight, size.conns),
				conns: size.conns, size: size.bytes, inflight: inflight,
			})
		}
	}
	for _, size := range []struct {
		name  string
		bytes int
	}{{"32B", 32}, {"1KiB", 1 << 10}} {
		w := work{run: echo, shows: echoes, conns: conns, size: size.bytes, inflight: 1}
		w.name, w.title, w.deflate = "deflate-"+size.name, fmt.Sprintf("echo of %s, compressed, %d connections", inWords(size.bytes), conns), true
		works = append(works, w)
		w.name, w.title, w.deflate, w.tls = "tls-"+size.name, fmt.Sprintf("echo of %s over TLS, %d connections", inWords(size.bytes), conns), false, true
		works = append(works, w)
	}
	return append(works,
		work{
			name: "idle", run: idleMemory, shows: []metric{memoryOf("connection")},
			title: fmt.Sprintf("%d idle connections", idle),
			conns: idle, size: 32,
		},
		work{
			name: "connect", run: connect, shows: []metric{cpuPer("connection"), rateOf("connections"), p50, p99},
			title: fmt.Sprintf("connect, one echo of 32 B, leave; %d at a time", dialers),
			conns: dialers, size: 32,
		},
		work{
			name: "broadcast", run: broadcast, shows: broadcasts,
			title: fmt.Sprintf("broadcast of 1 KiB to %d connections", crowd),
			conns: crowd, size: 1 << 10, chat: true,
		},
		work{
			name: "broadcast-stalled", run: broadcast, shows: broadcasts,
			title: fmt.Sprintf("broadcast of 1 KiB to %d connections, of which %d have stopped reading", crowd, stalled),
			conns: crowd, size: 1 << 10, chat: true, stalled: stalled,
		},
	)
}

// variety is the number of different messages a connection sends in turn.
const variety = 16

// echo has w.conns connections send w.inflight messages each in one write, await
// all replies and do it again.
func echo(p *process, w work, t timing) (figures, error) {
	clients, err := dialMany(p.addr, "/echo", w.conns, dialOptions{
		tls: w.tls, deflate: w.deflate, readBuffer: min(w.inflight*w.size+4096, 128<<10),
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
	for i := range variety {
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
		// What sockets may not hold has to be read while it is being written.
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
		l.done.Add(int64(len(l.wants[i])))
		if timed.Load() {
			l.times = append(l.times, time.Since(begin))
		}
	}
	return nil
}

// connect has w.conns workers connect, check one echo and leave, again and again.
func connect(p *process, w work, t timing) (figures, error) {
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
				done.Add(1)
				if timed.Load() {
					times[i] = append(times[i], time.Since(begin))
				}
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
func idleMemory(p *process, w work, t timing) (figures, error) {
	if err := needFiles(w.conns); err != nil {
		return figures{}, err
	}
	open := func(n int) ([]*client, error) {
		clients, err := dialMany(p.addr, "/echo", n, dialOptions{})
		if err != nil {
			return nil, err
		}
		for _, c := range clients {
			want := payload(c.id, 0, w.size)
			c.dueIn(t.grace)
			_, err := c.conn.Write(frame(want, w.text, w.deflate))
			if err == nil {
				err = c.expect(want)
			}
			if err != nil {
				dropAll(clients)
				return nil, late(err, t.grace)
			}
		}
		return clients, p.ask("gc")
	}
	warm, err := open(min(w.conns, 100)) // for what a server allocates once
	dropAll(warm)
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
	clients, err := open(w.conns)
	defer dropAll(clients)
	if err != nil {
		return figures{}, err
	}
	after, err := memory(p.pid)
	if err == nil && p.profile != "" {
		err = p.ask("heap " + p.profile)
	}
	return figures{Memory: max(0, after-before) / float64(w.conns)}, err
}

// broadcast has one connection send a message at a time to all of them, and
// waits until the last one that still reads has it.
func broadcast(p *process, w work, t timing) (figures, error) {
	if err := needFiles(w.conns); err != nil {
		return figures{}, err
	}
	readers, err := dialMany(p.addr, "/chat", w.conns-w.stalled, dialOptions{readBuffer: w.size})
	defer dropAll(readers)
	if err != nil {
		return figures{}, err
	}
	stalled, err := dialMany(p.addr, "/chat", w.stalled, dialOptions{socketBuffer: 4 << 10})
	defer dropAll(stalled)
	if err != nil {
		return figures{}, err
	}
	join := []byte("J: is everybody here?")
	for _, c := range slices.Concat(readers, stalled) {
		c.dueIn(t.grace)
		_, err := c.conn.Write(frame(join, true, false))
		if err == nil {
			err = c.expect(join)
		}
		if err != nil {
			return figures{}, late(err, t.grace)
		}
		c.conn.SetDeadline(time.Time{})
	}

	var (
		wants, frames [][]byte
		missing       atomic.Int64
		all           = make(chan struct{})
		errs          = make(chan error, len(readers))
	)
	for i := range variety {
		wants = append(wants, payload(0, i, w.size))
		frames = append(frames, frame(wants[i], w.text, false))
	}
	for _, c := range readers {
		go func() {
			for i := 0; ; i++ {
				if err := c.expect(wants[i%variety]); err != nil {
					errs <- err // also when the connections are dropped at the end
					return
				}
				if missing.Add(-1) == 0 {
					all <- struct{}{}
				}
			}
		}()
	}
	sent := 0
	one := func() error {
		missing.Store(int64(len(readers)))
		if _, err := readers[0].conn.Write(frames[sent%variety]); err != nil {
			return err
		}
		sent++
		timeout := time.NewTimer(t.grace)
		defer timeout.Stop()
		select {
		case <-all:
			return nil
		case err := <-errs:
			return err
		case <-timeout.C:
			return fmt.Errorf("%d of %d connections do not have the broadcast after %v", missing.Load(), len(readers), t.grace)
		}
	}
	// Enough to fill the sockets of those that don't read, and queues behind them.
	warm := time.Now()
	for w.stalled > 0 && sent < 400 || time.Since(warm) < t.warm {
		if err := one(); err != nil {
			return figures{}, err
		}
	}
	m, err := begin(p, 0)
	if err != nil {
		return figures{}, err
	}
	var times []time.Duration
	for time.Since(m.begin) < t.window {
		now := time.Now()
		if err := one(); err != nil {
			return figures{}, err
		}
		times = append(times, time.Since(now))
	}
	if err := m.end(int64(len(times))); err != nil {
		return figures{}, err
	}
	return m.figures(times)
}

// window is a measured stretch of time.
type window struct {
	p      *process
	begin  time.Time
	cpu    time.Duration // at first until the beginning, then what was used
	took   time.Duration
	count  int64 // the same
	memory float64
}

func begin(p *process, count int64) (*window, error) {
	if p.profile != "" {
		if err := p.ask("profile " + p.profile); err != nil {
			return nil, err
		}
	}
	cpu, err := cpuTime(p.pid)
	return &window{p: p, begin: time.Now(), cpu: cpu, count: count}, err
}

func (m *window) end(count int64) error {
	cpu, err := cpuTime(m.p.pid)
	m.took, m.cpu, m.count = time.Since(m.begin), cpu-m.cpu, count-m.count
	if err != nil {
		return err
	}
	if m.memory, err = memory(m.p.pid); err != nil || m.p.profile == "" {
		return err
	}
	return m.p.ask("stop")
}

func (m *window) figures(times []time.Duration) (figures, error) {
	if m.count == 0 || len(times) == 0 {
		return figures{}, errors.New("nothing was done in the measured window")
	}
	slices.Sort(times)
	return figures{
		Rate:   float64(m.count) / m.took.Seconds(),
		CPU:    m.cpu.Seconds() / float64(m.count),
		P50:    times[len(times)/2].Seconds(),
		P99:    times[len(times)*99/100].Seconds(),
		Memory: m.memory,
	}, nil
}

// measure lets a load run for the warm-up and then for the measured window. A
// load that ends meanwhile has failed.
func measure(p *process, t timing, timed *atomic.Bool, errs <-chan error, count func() int64) (*window, error) {
	wait := func(d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case err := <-errs:
			return err
		case <-timer.C:
			return nil
		}
	}
	if err := wait(t.warm); err != nil {
		return nil, err
	}
	timed.Store(true)
	m, err := begin(p, count())
	if err != nil {
		return nil, err
	}
	if err := wait(t.window); err != nil {
		return nil, err
	}
	err = m.end(count())
	timed.Store(false)
	return m, err
}

// dialMany opens n connections, some at a time.
func dialMany(addr, path string, n int, o dialOptions) ([]*client, error) {
	var (
		clients = make([]*client, n)
		errs    = make([]error, n)
		wg      sync.WaitGroup
		slots   = make(chan struct{}, 16)
	)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			clients[i], errs[i] = dial(i, addr, path, o)
			<-slots
		})
	}
	wg.Wait()
	if err := cmp.Or(errs...); err != nil {
		dropAll(clients)
		return nil, err
	}
	return clients, nil
}

func dropAll(clients []*client) {
	for _, c := range clients {
		if c != nil {
			c.drop()
		}
	}
}
