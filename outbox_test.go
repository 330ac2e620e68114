//go:build !js

package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// script is a socket that takes what it is told to.
type script struct {
	net.Conn // nil: nothing else is called
	mu       sync.Mutex
	mode     byte
	got      []byte
	past     chan struct{} // closed when the deadline is in the past; nil while there is none
	closed   bool
}

const (
	takesAll   = iota
	takesSome  // and waits for the deadline
	takesNone  // and waits for the deadline
	takesLate  // after a second
	fails      // with some of it written
	socketEnds // number of modes
)

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	n, mode := len(p), s.mode
	if mode == takesSome || mode == fails {
		n = (n + 1) / 2
	}
	var err error
	switch {
	case mode == fails:
		err = io.ErrClosedPipe
	case mode == takesLate:
		s.mu.Unlock()
		<-time.After(time.Second)
		s.mu.Lock()
	case mode == takesNone:
		n = 0
		fallthrough
	case n < len(p):
		past := s.deadline()
		s.mu.Unlock()
		<-past
		s.mu.Lock()
		err = os.ErrDeadlineExceeded
	}
	if s.closed {
		return 0, net.ErrClosed
	}
	s.got = append(s.got, p[:n]...)
	return n, err
}

func (s *script) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	past := s.deadline()
	if t.IsZero() {
		s.past = nil
	} else if !t.After(time.Now()) {
		close(past)
	}
	return nil
}

func (s *script) deadline() chan struct{} {
	if s.past == nil {
		s.past = make(chan struct{})
	}
	return s.past
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	select {
	case <-s.deadline():
	default:
		close(s.deadline())
	}
	return nil
}

func (s *script) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// parse splits b into frames, unmasked, and what is left of it.
func parse(t *testing.T, b []byte, mask bool) (frames [][]byte, rest []byte) {
	for {
		h, ok := parseHeader(b)
		size := uint64(h.size) + h.length
		if !ok || uint64(len(b)) < size {
			return frames, b
		}
		f := slices.Clone(b[:size])
		b = b[size:]
		if (f[1]&0x80 != 0) != mask {
			t.Fatalf("a frame is masked: %t", !mask)
		}
		if mask {
			head := map[byte]int{126: 4, 127: 10}[f[1]&0x7f]
			head = max(head, 2)
			key := [4]byte(f[head:])
			for i, c := range f[head+4:] {
				f[head+i] = c ^ key[i&3]
			}
			f = f[:len(f)-4]
			f[1] &= 0x7f
		}
		frames = append(frames, f)
	}
}

// plain is a frame that is not masked.
func plain(b0 byte, p []byte) []byte {
	switch n := len(p); {
	case n < 126:
		return append([]byte{b0, byte(n)}, p...)
	case n < 1<<16:
		return append([]byte{b0, 126, byte(n >> 8), byte(n)}, p...)
	default:
		return append(binary.BigEndian.AppendUint64([]byte{b0, 127}, uint64(n)), p...)
	}
}

// FuzzOutbox checks the outbox against a list of the frames that it took: what
// arrives is that list, or a prefix of its bytes where the socket failed.
func FuzzOutbox(f *testing.F) {
	for i := range byte(24) { // each a mixture of everything
		seed := []byte{i, i * 7}
		x := uint32(i) + 1
		for range 60 {
			x = x*1664525 + 1013904223
			b := byte(x >> 24)
			if i < 12 && b%10 == 8 {
				b = 80 // socketMode(takesAll): most seeds have a good socket
			}
			if i < 20 && b%10 >= 7 && x>>20&3 != 0 {
				b -= 5 // closes late
			}
			seed = append(seed, b, byte(x>>16))
		}
		f.Add(seed)
	}
	f.Add([]byte{0, 0, 5, 0, 0, 9, 2, 1, 3, 0, 4, 0, 7, 3})
	f.Add([]byte{1, 0, 5, 0, 10, 255, 10, 255, 10, 255, 4, 0, 7, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 {
			return
		}
		synctest.Test(t, func(t *testing.T) { testOutbox(t, data[0], data[1], data[2:]) })
	})
}

func testOutbox(t *testing.T, flags, limit byte, ops []byte) {
	sock := &script{}
	o := &outbox{}
	mask := flags&1 != 0
	o.init(sock, mask, &Limits{SendBuffer: 100 + 1000*int(limit), WriteTimeout: 10 * time.Second, PingInterval: -1}, func(error) {})
	var want [][]byte // not masked
	accepted := 0     // bytes
	closed, good, steady, working := false, true, true, false
	took := func(f []byte) {
		want = append(want, f)
		accepted += len(f)
		if mask {
			accepted += 4
		}
	}
	for i := 0; i+1 < len(ops); i += 2 {
		op, arg := ops[i], ops[i+1]
		switch op % 10 {
		case 0, 1: // send
			p := bytes.Repeat([]byte{arg}, int(arg)*int(op/10))
			synctest.Wait()
			full := o.buffered() >= o.limits.SendBuffer && !o.closing()
			err := o.send([]outgoing{{b0: 0x81 + op%10, p: p}}, tryRoom, 0)
			switch {
			case full:
				if err != ErrBufferFull {
					t.Fatalf("a full buffer: %v", err)
				}
			case closed:
				if !errors.Is(err, net.ErrClosed) {
					t.Fatalf("after Close: %v", err)
				}
			case err == nil:
				took(plain(0x81+op%10, p))
			case good || !o.closing():
				t.Fatalf("send: %v", err)
			}
		case 2, 9: // a pong
			p := bytes.Repeat([]byte{arg}, int(arg/2))[:min(125, int(arg/2))]
			synctest.Wait()
			o.mu.Lock()
			held := o.writing
			o.mu.Unlock()
			if held {
				continue
			}
			dead := o.closing()
			if o.pong(p, working); !dead {
				took(plain(0x8a, p))
			}
		case 3: // a ping of ours
			o.mu.Lock()
			if !o.closed.Load() {
				o.frame(fin|opPing, nil)
				o.kick()
				took(plain(0x89, nil))
			}
			o.mu.Unlock()
		case 4:
			o.idle()
			working = false
		case 5:
			o.callback(arg&1 != 0)
			working = true
		case 6:
			synctest.Wait()
			if steady && !working && o.buffered() != 0 {
				t.Fatalf("%d bytes wait while the connection is idle", o.buffered())
			}
			<-time.After(time.Duration(arg) * 100 * time.Microsecond)
			synctest.Wait()
			if steady && arg > 10 && o.buffered() != 0 {
				t.Fatalf("%d bytes wait after more than 1 ms", o.buffered())
			}
		case 7: // a Close of ours or the engine's
			reason := []string{"", "bye", "\xff"}[arg%3]
			p := append([]byte{3, 0xe8}, reason...)
			before := o.closing()
			if arg&4 == 0 {
				o.closeWith(p)
			} else if o.close(1000, reason) == before {
				t.Fatal("close is not the first, or not the second")
			}
			if !before {
				took(plain(0x88, p))
			}
			closed = true
		case 8:
			sock.mu.Lock()
			sock.mode = arg % socketEnds
			if op/10 > 12 {
				sock.mode = takesAll
			}
			good = good && (sock.mode == takesAll || sock.mode == takesLate || sock.mode == takesSome)
			steady = steady && sock.mode == takesAll
			sock.mu.Unlock()
		}
		synctest.Wait()
		if good {
			if n := o.buffered(); n != accepted-sock.taken() && sock.mode != takesSome {
				t.Fatalf("buffered %d, want %d of %d taken", n, accepted-sock.taken(), accepted)
			}
			o.mu.Lock()
			if o.size > batch && !o.writing {
				t.Errorf("%d bytes wait", o.size)
			}
			o.mu.Unlock()
		}
	}
	sock.mu.Lock()
	if good {
		sock.mode = takesAll
	}
	sock.mu.Unlock()
	o.finish()
	o.end()
	<-time.After(time.Minute) // for a write that sleeps
	synctest.Wait()
	got, rest := parse(t, sock.got, mask)
	if o.dropped() != errClosed || !good {
		// A prefix, then an error.
		if len(got) > len(want) {
			t.Fatalf("%d frames, want %d at most", len(got), len(want))
		}
		if len(rest) > 0 && (len(got) == len(want) || want[len(got)][0] != rest[0]) {
			t.Fatalf("%d bytes that belong to no frame", len(rest))
		}
		want = want[:len(got)]
	} else if len(rest) > 0 {
		t.Fatalf("%d bytes too many", len(rest))
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		for i := range min(len(got), len(want)) {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("frame %d of %d is %.20q (%d), want %.20q (%d)", i, len(got), got[i], len(got[i]), want[i], len(want[i]))
			}
		}
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	if o.buffered() != 0 {
		t.Errorf("%d bytes buffered at the end", o.buffered())
	}
}

func TestFrame_lengths(t *testing.T) {
	t.Parallel()
	for _, mask := range []bool{false, true} {
		for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 65537} {
			p := bytes.Repeat([]byte("x"), n)
			got, rest := parse(t, appendFrame(nil, fin|opText, p, mask), mask)
			if len(got) != 1 || len(rest) != 0 || !bytes.Equal(got[0], plain(0x81, p)) {
				t.Errorf("%d bytes, masked=%t: %d frames and %d bytes", n, mask, len(got), len(rest))
			}
		}
	}
}

// TestOutbox_socket writes to a real socket with a small buffer, from many goroutines.
func TestOutbox_socket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sock, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	sock.(*net.TCPConn).SetWriteBuffer(16 << 10)
	o := &outbox{}
	o.init(sock, false, &Limits{SendBuffer: 64 << 10, WriteTimeout: time.Minute, PingInterval: -1}, func(error) {})
	if o.raw == nil {
		t.Fatal("a TCP socket is no plain socket")
	}
	const senders, n = 4, 100
	var wg sync.WaitGroup
	for s := range byte(senders) {
		wg.Go(func() {
			for i := range n {
				p := bytes.Repeat([]byte{byte(i)}, 1+i*i%30000)
				p[0] = s
				if err := o.send([]outgoing{{b0: 0x82, p: p}}, waitRoom, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() { // the connection's goroutine
		for i := range n {
			o.callback(i%2 == 0)
			o.pong([]byte("pong"), true)
			o.idle()
		}
	})
	go func() {
		wg.Wait()
		o.close(1000, "")
		o.finish()
		o.end()
		sock.Close()
	}()
	b, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	got, rest := parse(t, b, false)
	pongs := len(got) - senders*n - 1 // only the latest ping is answered while something is being written
	if pongs < 1 || pongs > n || len(rest) > 0 || got[len(got)-1][0] != 0x88 {
		t.Fatalf("%d frames, and %d bytes", len(got), len(rest))
	}
	var next [senders]int
	for _, f := range got {
		if f[0] != 0x82 {
			continue
		}
		p := f[2:]
		switch f[1] {
		case 126:
			p = f[4:]
		case 127:
			p = f[10:]
		}
		i := next[p[0]]
		next[p[0]]++
		if len(p) != 1+i*i%30000 || bytes.Count(p[1:], []byte{byte(i)}) != len(p)-1 {
			t.Fatalf("message %d of sender %d has %d bytes", i, p[0], len(p))
		}
	}
}

func TestMask(t *testing.T) {
	key := [4]byte{1, 2, 4, 8}
	for n := range 3000 {
		p := bytes.Repeat([]byte{0x55}, n)
		xor(p, key)
		for i, b := range p {
			if b != 0x55^key[i%4] {
				t.Fatalf("byte %d of %d is %#x (RFC 6455, section 5.3)", i, n, b)
			}
		}
	}
}

// rawScript is a plain socket: what is written to it is taken, once during has returned.
type rawScript struct {
	syscall.RawConn
	o      *outbox
	during func()
}

func (r *rawScript) Write(func(uintptr) bool) error {
	if r.during != nil {
		r.during()
	}
	r.o.sent, r.o.sendErr = len(r.o.a)+len(r.o.b), nil
	return nil
}

func (r *rawScript) Read(f func(uintptr) bool) error {
	f(0)
	return nil
}

func (r *rawScript) Control(func(uintptr)) error { return nil } // it doesn't tell

func newRawScript(o *outbox, l Limits) *rawScript {
	l = l.withDefaults()
	o.init(&script{}, false, &l, func(error) {})
	r := &rawScript{o: o}
	o.raw, o.under = r, r
	return r
}

func TestOutbox_S3_a_tick_while_a_message_is_written_directly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outbox
		r := newRawScript(&o, Limits{PingInterval: -1})
		<-time.After(time.Minute) // nothing was sent in it
		r.during = o.tick
		if err := o.send([]outgoing{{fin | opBinary, make([]byte, large), 1, large}}, tryRoom, 0); err != nil {
			t.Error(err)
		}
		if why := o.dropped(); why != nil {
			t.Errorf("dropped: %v", why)
		}
		o.end()
	})
}

func TestOutbox_S2_one_large_reply_after_several(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outbox
		newRawScript(&o, Limits{PingInterval: -1})
		reply := func() {
			if err := o.send([]outgoing{{fin | opBinary, make([]byte, large), 1, large}}, tryRoom, 0); err != nil {
				t.Error(err)
			}
		}
		for turn, replies := range []int{2, 1, 1} {
			o.callback(false)
			for range replies {
				reply()
			}
			if held := o.buffered(); turn == 2 && held > 0 {
				t.Errorf("%d bytes are held, and the turn before had one reply", held)
			}
			o.idle()
		}
		o.end()
	})
}

func TestOutbox_S4_the_close_clock_under_a_flood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{}
		r := newRawScript(&c.out, Limits{PingInterval: -1})
		in := &c.in
		in.raw, in.full = r, true
		in.readFD = func(uintptr) bool { // there is always more at hand
			in.buf = nil
			in.got, in.readErr = len(in.room(readBuffer)), nil
			return true
		}
		c.out.callback(true) // of the last message
		c.out.close(1000, "")
		for range 6 {
			if _, err := c.input(nil); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
		}
		if why := c.out.dropped(); why != errNoClose {
			t.Errorf("6 s after the Close frame: %v", why)
		}
		c.out.end()
	})
}

func TestOutbox_K1_an_interval_that_passes_before_the_connection_begins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outbox
		newRawScript(&o, Limits{PingInterval: time.Second})
		o.watch()
		<-time.After(5*time.Second + time.Millisecond)
		o.idle()
		<-time.After(3 * time.Second)
		o.mu.Lock()
		if o.clock.pinged == 0 {
			t.Error("there is no ping")
		}
		o.mu.Unlock()
		o.end()
	})
}
