package protocol

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed412db446/ws/e2e/protocol/raw"
)

var (
	showDeviations = flag.Bool("deviations", false, "print what each end does other than the table says, instead of failing")
	showLenient    = flag.Bool("lenient", false, "print the cases in which an end took another than the strictest outcome")
)

// patience bounds a case. It is no measure of speed: a case that needs it all has failed.
const patience = 60 * time.Second

// An endpoint is an end under test.
type endpoint struct {
	name   string
	client bool // it is a client, and the suite its server
	// open makes a connection on which every message is echoed. The bytes of early leave with the
	// handshake's packet. It returns what was offered and answered as extensions.
	open func(t *testing.T, limit bool, offer string, early func(client bool) []byte) (c *raw.Conn, offered, answered string, err error)
	// What it is known to do other than the table says.
	deviations []deviation
}

// A deviation covers the cases whose name matches the pattern, in which * stands for anything. Each
// of them must deviate, unless maybe is set: for what depends on timing.
type deviation struct {
	pattern string
	why     string // empty: no deviation, where a wider pattern before it says so
	maybe   bool
	hangs   bool // it says nothing and does not hang up
}

func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}

// run runs every case that makes sense against an end.
func run(t *testing.T, ep endpoint) {
	t.Helper()
	used := make([]int, len(ep.deviations))
	all := cases()
	seen := map[string]bool{}
	var mu sync.Mutex
	var lenient []string
	t.Run("cases", func(t *testing.T) {
		for _, k := range all {
			if seen[k.name] {
				t.Fatalf("two cases are named %q", k.name)
			}
			seen[k.name] = true
			if ep.client && k.offer != "" && (k.refuse || strings.HasPrefix(k.name, "deflate/offer/")) {
				continue
			}
			// The last that matches counts.
			dev := -1
			for i, d := range ep.deviations {
				if matches(d.pattern, k.name) {
					dev = i
					used[i]++
				}
			}
			if k.large && testing.Short() {
				continue
			}
			t.Run(k.name, func(t *testing.T) {
				if !k.large {
					t.Parallel()
				}
				wait := patience
				if dev >= 0 && ep.deviations[dev].hangs {
					wait = 2 * time.Second
				}
				got, note := play(t, ep, k, wait)
				match := -1
				for i, w := range k.want {
					if note == "" && slices.EqualFunc(w, got, event.equal) {
						match = i
						break
					}
				}
				if match > 0 {
					mu.Lock()
					lenient = append(lenient, k.name)
					mu.Unlock()
				}
				said := fmt.Sprintf("RFC %s: came back: %s%s", k.rfc, show(got), note)
				switch {
				case match < 0 && *showDeviations:
					fmt.Printf("%s\t%s\t%s\twant %s\n", ep.name, k.name, said, show(k.want[0]))
				case match < 0 && (dev < 0 || ep.deviations[dev].why == ""):
					var want []string
					for _, w := range k.want[:min(len(k.want), 3)] {
						want = append(want, show(w))
					}
					t.Errorf("%s\n\twant: %s", said, strings.Join(want, "\n\tor:   "))
				case match >= 0 && dev >= 0 && ep.deviations[dev].why != "" && !ep.deviations[dev].maybe:
					t.Errorf("no longer deviates (%s); take it off the list", ep.deviations[dev].why)
				}
			})
		}
	})
	if t.Failed() || *showDeviations {
		return
	}
	for i, n := range used {
		if n == 0 {
			t.Errorf("no case is covered by the deviation %q", ep.deviations[i].pattern)
		}
	}
	if *showLenient {
		slices.Sort(lenient)
		for _, name := range lenient {
			fmt.Printf("%s\tlenient\t%s\n", ep.name, name)
		}
	}
}

func show(o outcome) string {
	var s []string
	for i, e := range o {
		if len(o) > 12 && i == 6 {
			s = append(s, fmt.Sprintf("… %d more", len(o)-12))
		}
		if len(o) > 12 && i >= 6 && i < len(o)-6 {
			continue
		}
		s = append(s, e.String())
	}
	return strings.Join(s, ", ")
}

// play runs one case and returns what came back. The note says what was wrong besides.
func play(t *testing.T, ep endpoint, k kase, wait time.Duration) (got outcome, note string) {
	steps := k.steps
	var first func(bool) []byte
	if k.early {
		first = func(client bool) []byte { return k.stream(steps[0], client) }
	}
	c, offered, answered, err := ep.open(t, k.limit, k.offer, first)
	if err != nil {
		return nil, fmt.Sprintf("no connection: %v", err)
	}
	defer c.Net.Close()
	c.Net.SetDeadline(time.Now().Add(wait))

	agreed, err := raw.Agreed(offered, answered)
	if err != nil {
		return nil, "bad negotiation: " + err.Error()
	}
	if agreed != nil && k.refuse {
		return nil, fmt.Sprintf("the offer was accepted with %q", answered)
	}
	var inflate *raw.Inflater
	if agreed != nil {
		fresh := agreed.ClientNoContextTakeover
		if c.Client {
			fresh = agreed.ServerNoContextTakeover
		}
		inflate = raw.NewInflater(fresh)
	}
	if k.deflate != nil {
		if agreed == nil { // nothing to see here but that it was declined
			return k.want[0], ""
		}
		steps = k.deflate(newDeflate(agreed, c.Client))
	}

	r := &reader{c: c, inflate: inflate, changed: make(chan struct{}, 1)}
	var sending sync.WaitGroup
	sending.Go(func() { send(r, k, steps) })
	r.run()
	c.Net.SetDeadline(time.Now()) // ends a write that nobody reads
	sending.Wait()
	if k.squeeze && r.squeezed == 0 && len(r.got) > 2 {
		note = "; no message came back compressed"
	}
	return r.got, note
}

// stream is the bytes of a step.
func (k kase) stream(s step, client bool) []byte {
	var b []byte
	for _, f := range s.frames {
		b = f.Append(b, client)
	}
	return b
}

// send sends the steps of a case and what comes after them.
func send(r *reader, k kase, steps []step) {
	write := func(b []byte) bool {
		n := k.chop
		if n == 0 {
			n = len(b)
		}
		for len(b) > 0 {
			n = min(n, len(b))
			if _, err := r.c.Net.Write(b[:n]); err != nil {
				return false
			}
			b = b[n:]
		}
		return true
	}
	closed := false
	for i, s := range steps {
		for _, f := range s.frames {
			closed = closed || f.Op == raw.Close
		}
		if !(k.early && i == 0) && !write(k.stream(s, r.c.Client)) {
			return
		}
		if s.await > 0 && !r.await(s.await) {
			return
		}
	}
	switch {
	case k.open:
		r.c.Net.(interface{ CloseWrite() error }).CloseWrite()
	case !closed:
		write(closing(1000, "").Append(nil, r.c.Client))
	}
	// A client waits for its server to end the stream; RFC 6455 section 7.1.1.
	if !r.c.Client && r.awaitClose() {
		r.c.Net.(interface{ CloseWrite() error }).CloseWrite()
	}
}

// A reader makes events of what comes back.
type reader struct {
	c        *raw.Conn
	inflate  *raw.Inflater
	squeezed int

	changed chan struct{}
	mu      sync.Mutex // protects the following
	got     outcome
	closed  bool
	done    bool
}

func (r *reader) add(e event) {
	r.mu.Lock()
	r.got = append(r.got, e)
	r.closed = r.closed || e.kind == "close"
	r.done = r.done || e.kind == "end" || e.kind == "nothing for too long"
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// await reports whether n events came before a Close frame or the end did.
func (r *reader) await(n int) bool {
	for {
		r.mu.Lock()
		enough, over := len(r.got) >= n, r.closed || r.done
		r.mu.Unlock()
		if enough || over {
			return enough && !over
		}
		<-r.changed
	}
}

func (r *reader) awaitClose() bool {
	for {
		r.mu.Lock()
		closed, done := r.closed, r.done
		r.mu.Unlock()
		if closed || done {
			return closed
		}
		<-r.changed
	}
}

func (r *reader) run() {
	var op byte // of the unfinished message; 0: none
	var packed bool
	var message []byte
	for {
		f, err := r.c.ReadFrame()
		var invalid *raw.Invalid
		switch {
		case errors.As(err, &invalid):
			r.add(event{kind: "a frame that is invalid: " + invalid.Why})
			r.add(end)
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.add(event{kind: "nothing for too long"})
			return
		case err != nil:
			var ne *net.OpError
			if !errors.Is(err, io.EOF) && !errors.As(err, &ne) {
				r.add(event{kind: "error: " + err.Error()})
			}
			r.add(end)
			return
		}
		if r.closed {
			r.add(event{kind: fmt.Sprintf("opcode %d after Close", f.Op)})
			continue
		}
		switch f.Op {
		case raw.Ping:
			r.add(event{kind: "ping", data: f.Payload})
			continue
		case raw.Pong:
			r.add(event{kind: "pong", data: f.Payload})
			continue
		case raw.Close:
			e := event{kind: "close", code: 1005}
			if len(f.Payload) > 0 {
				e.code = int(f.Payload[0])<<8 | int(f.Payload[1])
				if !utf8.Valid(f.Payload[2:]) {
					r.add(event{kind: "a Close reason that is not UTF-8"})
				}
			}
			r.add(e)
			continue
		}
		if f.Op == raw.Continuation == (op == 0) {
			r.add(event{kind: "a fragment out of place"})
			continue
		}
		if f.Op == raw.Continuation && f.RSV != 0 || f.RSV != 0 && r.inflate == nil {
			r.add(event{kind: "a frame with RSV1"})
			continue
		}
		if f.Op != raw.Continuation {
			op, packed, message = f.Op, f.RSV != 0, nil
		}
		message = append(message, f.Payload...)
		if f.More {
			continue
		}
		if packed {
			r.squeezed++
			if message, err = r.inflate.Message(message); err != nil {
				r.add(event{kind: "a message that does not decompress: " + err.Error()})
				op = 0
				continue
			}
		}
		switch {
		case op == raw.Binary:
			r.add(event{kind: "binary", data: message})
		case !utf8.Valid(message):
			r.add(event{kind: "text that is not UTF-8"})
		default:
			r.add(event{kind: "text", data: message})
		}
		op = 0
	}
}
