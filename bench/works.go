//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// work is something to measure.
type work struct {
	name  string
	title string
	run   func(p *process, w work, t timing) (figures, error)
	shows []metric // the first is the one that counts

	conns    int
	idle     int // connections that are open besides
	size     int // of a message
	inflight int // messages written at once
	stalled  int // of conns: they stop reading
	warm     int // broadcasts before the measured window, at least
	text     bool
	deflate  bool
	tls      bool
	mux      int // sockets of one HTTP/2 connection; 0: HTTP/1.1
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
	n := numbers{few: 50, large: 8, huge: 4, idle: 5000, dialers: 16, crowd: 1000, stalled: 10, many: 19_000}
	if short {
		n = numbers{few: 8, large: 2, huge: 2, idle: 100, dialers: 4, crowd: 50, stalled: 2, many: 200}
	}
	return slices.Concat(echoWorks(n), connectionWorks(n), broadcastWorks(n))
}

// scaleWorks are the same few for more and more connections.
func scaleWorks(short bool) (works []work) {
	sizes := []int{1000, 4000, 19_000}
	if short {
		sizes = []int{20, 40, 80}
	}
	var idles, echoes, connects, broadcasts []work
	for _, n := range sizes {
		m := numbers{few: n, large: 1, huge: 1, idle: n, dialers: 16, crowd: n, many: n}
		if short {
			m.dialers = 4
		}
		get := func(works []work, name, as string) work {
			w := works[slices.IndexFunc(works, func(w work) bool { return w.name == name })]
			w.name = fmt.Sprintf("scale-%s-%d", as, n)
			return w
		}
		idles = append(idles, get(connectionWorks(m), "idle", "idle"))
		echoes = append(echoes, get(echoWorks(m), "echo-32B-1", "echo"))
		c := get(connectionWorks(m), "connect", "connect")
		c.idle, c.title = n, fmt.Sprintf("%s, beside %d idle connections", c.title, n)
		connects = append(connects, c)
		broadcasts = append(broadcasts, get(broadcastWorks(m), "broadcast-many", "broadcast"))
	}
	return slices.Concat(idles, echoes, connects, broadcasts)
}

// numbers are of connections.
type numbers struct{ few, large, huge, idle, dialers, crowd, stalled, many int }

func echoWorks(n numbers) (works []work) {
	add := func(w work, name, title string) {
		w.run, w.shows = echo, []metric{cpuPer("message"), rateOf("messages"), p50, p99, memoryOf("server")}
		w.name = fmt.Sprintf(name, strings.ReplaceAll(inWords(w.size), " ", ""))
		w.title = fmt.Sprintf("echo of "+title, inWords(w.size), w.conns)
		works = append(works, w)
	}
	for _, w := range []work{
		{size: 32, conns: n.few}, {size: 1 << 10, conns: n.few}, {size: 64 << 10, conns: n.large},
		{size: 256 << 10, conns: n.large}, {size: 1 << 20, conns: n.huge},
	} {
		w.inflight = 1
		add(w, "echo-%s-1", "%s, 1 in flight, %d connections")
		if w.size <= 64<<10 {
			w.inflight = 16
			add(w, "echo-%s-16", "%s, 16 in flight, %d connections")
		}
	}
	for _, size := range []int{32, 1 << 10} {
		w := work{conns: n.few, size: size, inflight: 1}
		text, deflate, tls := w, w, w
		text.text, deflate.deflate, tls.tls = true, true, true
		add(text, "text-%s", "%s of text, %d connections")
		add(deflate, "deflate-%s", "%s, compressed, %d connections")
		add(tls, "tls-%s", "%s over TLS, %d connections")
	}
	w := work{conns: n.few, size: 32, inflight: 1, tls: true, mux: 1}
	add(w, "h2-%s", "%s over HTTP/2, %d connections with one socket each")
	w.conns, w.mux = 2*n.few, 2*n.few
	add(w, "h2-%s-shared", "%s over HTTP/2, %d sockets on one connection")
	return works
}

func connectionWorks(n numbers) []work {
	idle := work{run: idleMemory, shows: []metric{memoryOf("connection")}, conns: n.idle}
	idle.name, idle.title = "idle", fmt.Sprintf("%d idle connections", idle.conns)
	many := idle
	many.conns = n.many
	many.name, many.title = "idle-many", fmt.Sprintf("%d idle connections", many.conns)
	idleTLS := idle
	idleTLS.conns, idleTLS.tls = n.crowd, true
	idleTLS.name, idleTLS.title = "idle-tls", fmt.Sprintf("%d idle connections over TLS", idleTLS.conns)
	idleH2 := idleTLS
	idleH2.mux = 100
	idleH2.name, idleH2.title = "idle-h2", fmt.Sprintf("%d idle sockets over HTTP/2, 100 on a connection", idleH2.conns)
	return []work{idle, many, idleTLS, idleH2, {
		name: "connect", run: connect, shows: []metric{cpuPer("connection"), rateOf("connections"), p50, p99},
		title: fmt.Sprintf("connect, one echo of 32 B, leave; %d at a time", n.dialers),
		conns: n.dialers, size: 32,
	}}
}

func broadcastWorks(n numbers) (works []work) {
	add := func(w work, name, more string) {
		w.run, w.chat = broadcast, true
		w.shows = []metric{timeTo("the last"), cpuPer("broadcast"), rateOf("broadcasts"), p99, memoryOf("server")}
		w.name = name
		w.title = fmt.Sprintf("broadcast of %s to %d connections%s", inWords(w.size), w.conns, more)
		works = append(works, w)
	}
	w := work{conns: n.crowd, size: 1 << 10, warm: 3}
	add(w, "broadcast", "")
	stalled, deflate := w, w
	stalled.stalled, stalled.warm = n.stalled, 400 // fills the sockets of those that don't read, and queues behind them
	add(stalled, "broadcast-stalled", fmt.Sprintf(", of which %d have stopped reading", n.stalled))
	deflate.deflate, deflate.warm = true, variety // the load generator decompresses the first of a kind
	add(deflate, "broadcast-deflate", ", compressed")
	w.conns, w.size = n.many, 256
	add(w, "broadcast-many", "")
	return works
}
