//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test's program be the servers' program too, as bench is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveCommand {
		if err := serve(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// answer starts a server that answers message n of a connection with
// reply(n, message), or not at all where that is nil.
func answer(t *testing.T, reply func(n int, b []byte) []byte) *process {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "+acceptOf(req.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
				for n := 0; ; n++ {
					head := make([]byte, 6)
					if _, err := io.ReadFull(br, head); err != nil {
						return
					}
					b := make([]byte, head[1]&127) // the test's messages are short
					if _, err := io.ReadFull(br, b); err != nil {
						return
					}
					for i := range b {
						b[i] ^= head[2+i&3]
					}
					if b = reply(n, b); b != nil {
						c.Write(append([]byte{0x82, byte(len(b))}, b...))
					}
				}
			}()
		}
	}()
	return &process{addr: l.Addr().String(), pid: os.Getpid()}
}

// TestWrongAnswers shows that an echo that isn't one never becomes a figure.
func TestWrongAnswers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		reply func(n int, b []byte) []byte
		want  string // in the error; "" for none
	}{
		{"right", func(n int, b []byte) []byte { return b }, ""},
		{"wrong byte", func(n int, b []byte) []byte { b[len(b)-1]++; return b }, "a wrong byte"},
		{"wrong byte once, later", func(n int, b []byte) []byte {
			if n == 100 {
				b[0]++
			}
			return b
		}, "a wrong byte"},
		{"the message before", func(n int, b []byte) []byte { return payload(0, max(0, n-1)%variety, len(b)) }, "a wrong byte"},
		{"short", func(n int, b []byte) []byte { return b[:len(b)-1] }, "a reply of 31 bytes to a message of 32"},
		{"empty", func(n int, b []byte) []byte { return []byte{} }, "a reply of 0 bytes to a message of 32"},
		{"long", func(n int, b []byte) []byte { return append(b, 0) }, "a reply of at least 33 bytes to a message of 32"},
		{"stuck", func(n int, b []byte) []byte { return nil }, "a reply is missing"},
		{"stuck later", func(n int, b []byte) []byte {
			if n > 100 {
				return nil
			}
			return b
		}, "a reply is missing"},
	} {
		for _, inflight := range []int{1, 16} {
			p := answer(t, tc.reply)
			w := work{run: echo, conns: 1, size: 32, inflight: inflight}
			_, err := w.run(p, w, timing{window: 50 * time.Millisecond, grace: 100 * time.Millisecond})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("%s, %d in flight: %v", tc.name, inflight, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%s, %d in flight: error %v, want one with %q", tc.name, inflight, err, tc.want)
			}
		}
	}
}

// TestBroadcastMissing has a server that answers the sender alone, so that the
// broadcast never reaches the other connection.
func TestBroadcastMissing(t *testing.T) {
	p := answer(t, func(n int, b []byte) []byte { return b })
	w := work{run: broadcast, conns: 2, size: 32, chat: true}
	_, err := w.run(p, w, timing{window: time.Second, grace: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "1 of 2 connections do not have the broadcast") {
		t.Errorf("error %v, want one that counts the connections without the broadcast", err)
	}
}

func TestMissingHandshake(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.NotFoundHandler())
	if _, err := dial(0, l.Addr().String(), "/echo", dialOptions{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error %v, want one with the status", err)
	}
}

// TestFrames checks the frames of the load generator, and with them those of the
// bare server, for every form of the length.
func TestFrames(t *testing.T) {
	for _, size := range []int{1, 4, 125, 126, 1000, 1<<16 - 1, 1 << 16, 200_000} {
		near, far := net.Pipe()
		go bareEcho(far)
		c := &client{conn: near, text: true, br: bufio.NewReader(near)}
		c.dueIn(10 * time.Second)
		for i := range 3 {
			want := payload(1, i, size)
			if _, err := near.Write(frame(want, true, false)); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if err := c.expect(want); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
		near.Close()
	}
}

// TestDeflate feeds compressed replies: right ones, twice, and a wrong one.
func TestDeflate(t *testing.T) {
	reply := func(b []byte) []byte {
		b = deflated(b)
		return append([]byte{0xc2, byte(len(b))}, b...)
	}
	right, wrong := payload(0, 0, 100), payload(0, 1, 100)
	stream := slices.Concat(reply(right), reply(right), reply(wrong))
	c := &client{deflate: true, br: bufio.NewReader(strings.NewReader(string(stream)))}
	for range 2 {
		if err := c.expect(right); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.expect(right); err == nil || !strings.Contains(err.Error(), "a wrong reply") {
		t.Errorf("error %v, want one that says the reply is wrong", err)
	}
	plain := &client{deflate: true, br: bufio.NewReader(strings.NewReader("\x82\x01x"))}
	if err := plain.expect([]byte("x")); err == nil || !strings.Contains(err.Error(), "compressed is false") {
		t.Errorf("error %v, want one that says the reply is not compressed", err)
	}
}

// TestText feeds a binary reply to a text message, and the other way round.
func TestText(t *testing.T) {
	for _, tc := range []struct {
		text  bool
		reply string
		want  string // in the error; "" for none
	}{
		{true, "\x81\x01x", ""},
		{true, "\x82\x01x", "text is false, wanted true"},
		{false, "\x82\x01x", ""},
		{false, "\x81\x01x", "text is true, wanted false"},
	} {
		c := &client{text: tc.text, br: bufio.NewReader(strings.NewReader(tc.reply))}
		if err := c.expect([]byte("x")); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q to a message with text %t: error %v, want %q", tc.reply, tc.text, err, tc.want)
		}
	}
}

// TestExhausted has the descriptors run out, at either end: the work must end
// soon, and say why.
func TestExhausted(t *testing.T) {
	const limit = 40
	for _, tc := range []struct {
		name string
		pid  func(p *process) int // whose limit
	}{
		{"server", func(p *process) int { return p.pid }},
		{"load generator", func(p *process) int { return os.Getpid() }},
	} {
		for _, name := range []string{reference, "bare"} {
			s := servers()[slices.IndexFunc(servers(), func(s server) bool { return s.name == name })]
			p, err := start(s, work{})
			if err != nil {
				t.Fatal(err)
			}
			var before unix.Rlimit
			if err := unix.Prlimit(tc.pid(p), unix.RLIMIT_NOFILE, nil, &before); err != nil {
				t.Fatal(err)
			}
			low := unix.Rlimit{Cur: limit, Max: before.Max}
			if err := unix.Prlimit(tc.pid(p), unix.RLIMIT_NOFILE, &low, nil); err != nil {
				t.Fatal(err)
			}
			clients, err := dialMany(p.addr, "/echo", 10*limit, dialOptions{hello: hello})
			if err := unix.Prlimit(tc.pid(p), unix.RLIMIT_NOFILE, &before, nil); err != nil && tc.pid(p) == os.Getpid() {
				t.Fatal(err)
			}
			dropAll(clients)
			stopErr := p.stop()
			if all := fmt.Sprint(err, stopErr, p.complaint()); err == nil || !strings.Contains(all, "no file descriptor is left") {
				t.Errorf("%s of %s: errors %s, want that no descriptor is left", tc.name, name, all)
			}
		}
	}
	if err := exhausted(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)); !strings.Contains(err.Error(), "no local port is left") {
		t.Errorf("error %v, want that no port is left", err)
	}
}

func TestSummary(t *testing.T) {
	for _, tc := range []struct {
		xs             []float64
		median, spread float64
		shown          string
	}{
		{nil, math.NaN(), 0, "–"},
		{[]float64{2}, 2, 0, "2.00"},
		{[]float64{3, 1, 2}, 2, 0.5, "~2.00"},
		{[]float64{4, 2, 1, 3}, 2.5, 0.6, "~2.50"},
		{[]float64{1, 1.1, 1.25}, 1.1, 0.125 / 1.1, "1.10"},
		{[]float64{1, 9, 1, 1, 1.1}, 1, 0.1, "1.00"}, // an odd round
		{[]float64{1, math.Inf(1), math.Inf(1)}, math.Inf(1), math.NaN(), "–"},
	} {
		got := summary(tc.xs)
		same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-9 }
		if !same(got.median, tc.median) || !same(got.spread, tc.spread) || got.String(asRatio) != tc.shown {
			t.Errorf("summary(%v) = %v, shown as %q; want %v and %v, shown as %q",
				tc.xs, got, got.String(asRatio), tc.median, tc.spread, tc.shown)
		}
	}
}

// TestRatio compares within a round: a machine that is twice as slow in one of
// them changes nothing.
func TestRatio(t *testing.T) {
	rep := &report{Rounds: 3}
	for _, slow := range []float64{1, 2, 1} {
		rep.add("echo-32B-1", reference, figures{CPU: 10 * slow})
		rep.add("echo-32B-1", "ws", figures{CPU: 9 * slow})
	}
	rep.fail("echo-32B-1", "melody", errors.New("lost a message"))
	if got := rep.ratio("echo-32B-1", "ws", cpuPer("message")); math.Abs(got.median-0.9) > 1e-9 || got.spread > 1e-9 {
		t.Errorf("the ratio is %v, want 0.9 without a spread", got)
	}
	if md := rep.markdown(); !strings.Contains(md, "| 1.00 | 0.90 | failed |") {
		t.Errorf("the table lacks a row of 1.00, 0.90 and failed:\n%s", md)
	}
	if rep.failures() != 1 {
		t.Errorf("%d failures, want 1", rep.failures())
	}
}

func TestMemoryAndCPU(t *testing.T) {
	if m, err := memory(os.Getpid()); err != nil || m < 1<<16 {
		t.Errorf("memory of this process: %v, %v", m, err)
	}
	for begin, now := time.Duration(-1), time.Duration(0); now <= begin || begin < 0; {
		var err error
		if now, err = cpuTime(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		if begin < 0 {
			begin = now
		}
	}
}
