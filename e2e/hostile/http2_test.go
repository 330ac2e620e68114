package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/protocol/raw"
)

// conn2 is an HTTP/2 connection, frame by frame. It opens the receiving windows of its streams only where told to.
type conn2 struct {
	a    *target
	conn *tls.Conn

	writing sync.Mutex // protects the following
	framer  *http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	next    uint32

	mu      sync.Mutex // protects the following
	changed sync.Cond  // something of it has
	streams map[uint32]*stream2
	limit   uint32 // the server's MAX_CONCURRENT_STREAMS
	initial int64  // its INITIAL_WINDOW_SIZE
	window  int64  // for sending on the connection
	err     error  // the connection's end
}

// stream2 is a stream of it, whose fields the connection's mu protects.
type stream2 struct {
	id     uint32
	status string
	data   []byte // that has come and was not looked at
	window int64  // for sending
	ended  bool
	reset  error // of RST_STREAM
	open   bool  // its receiving window is kept open
}

// dial2 connects. A stream's receiving window has the given size at first.
func (a *target) dial2(window uint32) *conn2 {
	a.t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	c, err := d.DialContext(a.t.Context(), "tcp", a.tls)
	if err != nil {
		a.t.Fatal(err)
	}
	p := &conn2{a: a, conn: c.(*tls.Conn), next: 1, streams: map[uint32]*stream2{}, window: 65535}
	p.changed.L = &p.mu
	p.conn.SetDeadline(time.Now().Add(2 * patience))
	p.framer = http2.NewFramer(c, c)
	p.framer.AllowIllegalWrites = true
	p.encoder = hpack.NewEncoder(&p.headers)
	io.WriteString(c, http2.ClientPreface)
	p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	go p.read()
	p.await("SETTINGS", func() bool { return p.limit > 0 })
	return p
}

func (p *conn2) read() {
	meta := hpack.NewDecoder(4096, nil)
	for {
		f, err := p.framer.ReadFrame()
		p.mu.Lock()
		if err == nil {
			p.take(f, meta)
		} else {
			p.err = err
		}
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take is called with mu held.
func (p *conn2) take(f http2.Frame, meta *hpack.Decoder) {
	s := p.streams[f.Header().StreamID]
	if s == nil {
		s = &stream2{} // of no interest
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
			p.limit = n
		}
		if n, ok := f.Value(http2.SettingInitialWindowSize); ok {
			p.initial = int64(n)
		}
		if !f.IsAck() {
			go p.write((*http2.Framer).WriteSettingsAck)
		}
	case *http2.PingFrame:
		if data := f.Data; !f.IsAck() {
			go p.write(func(fr *http2.Framer) error { return fr.WritePing(true, data) })
		}
	case *http2.HeadersFrame:
		fields, err := meta.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			p.a.t.Error(err)
			return
		}
		for _, h := range fields {
			if h.Name == ":status" {
				s.status = h.Value
			}
		}
		s.ended = f.StreamEnded()
	case *http2.DataFrame:
		s.data = append(s.data, f.Data()...)
		s.ended = f.StreamEnded()
		if n := f.Length; n > 0 {
			id, open := s.id, s.open
			go p.write(func(fr *http2.Framer) error {
				if open {
					fr.WriteWindowUpdate(id, n)
				}
				return fr.WriteWindowUpdate(0, n)
			})
		}
	case *http2.RSTStreamFrame:
		s.reset = http2.StreamError{StreamID: f.StreamID, Code: f.ErrCode}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			p.window += int64(f.Increment)
		} else {
			s.window += int64(f.Increment)
		}
	case *http2.GoAwayFrame:
		p.err = fmt.Errorf("GOAWAY with %v: %s", f.ErrCode, f.DebugData())
	}
}

func (p *conn2) write(f func(*http2.Framer) error) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return f(p.framer)
}

// await waits until something is so, and reports whether it was before the connection's end.
func (p *conn2) await(what string, is func() bool) bool {
	p.a.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	late := false
	defer time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		late = true
		p.changed.Broadcast()
	}).Stop()
	for !is() {
		switch {
		case p.err != nil:
			return false
		case late:
			p.a.t.Errorf("%s did not come", what)
			return false
		}
		p.changed.Wait()
	}
	return true
}

func (p *conn2) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// connect sends a WebSocket's CONNECT. It returns nil where the connection has ended.
func (p *conn2) connect(open bool) *stream2 {
	p.writing.Lock()
	defer p.writing.Unlock()
	s := &stream2{id: p.next, open: open}
	p.next += 2
	p.mu.Lock()
	s.window = p.initial
	p.streams[s.id] = s
	p.mu.Unlock()
	if p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: p.handshake(), EndHeaders: true}) != nil {
		return nil
	}
	if open {
		p.framer.WriteWindowUpdate(s.id, 1<<20)
	}
	return s
}

// handshake returns the header of a CONNECT. It is called with writing held.
func (p *conn2) handshake() []byte {
	p.headers.Reset()
	for _, h := range [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":path", "/"}, {":authority", p.a.tls}, {"sec-websocket-version", "13"}} {
		p.encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	return p.headers.Bytes()
}

// opened waits for the answer to a CONNECT.
func (p *conn2) opened(s *stream2) {
	p.a.t.Helper()
	p.await("an answer", func() bool { return s.status != "" || s.reset != nil })
}

func (p *conn2) reset(s *stream2) error {
	return p.write(func(fr *http2.Framer) error { return fr.WriteRSTStream(s.id, http2.ErrCodeCancel) })
}

// send sends DATA as the windows allow.
func (p *conn2) send(s *stream2, b []byte, end bool) error {
	for first := true; first || len(b) > 0; first = false {
		n, over := 0, false
		if !p.await("a window", func() bool {
			n = int(min(int64(len(b)), s.window, p.window, 16384))
			over = s.ended || s.reset != nil
			if n <= 0 && len(b) > 0 {
				return over
			}
			s.window -= int64(n)
			p.window -= int64(n)
			return true
		}) {
			return p.alive()
		}
		if over {
			return errors.New("the stream has ended")
		}
		if err := p.write(func(fr *http2.Framer) error { return fr.WriteData(s.id, end && n == len(b), b[:n]) }); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func masked(op byte, n int) []byte {
	return raw.Frame{Op: op, Payload: bytes.Repeat([]byte{'x'}, n)}.Append(nil, true)
}

func unmasked(op byte, n int) []byte {
	return raw.Frame{Op: op, Payload: bytes.Repeat([]byte{'x'}, n)}.Append(nil, false)
}

// echo sends a message of n bytes on a stream whose window is open and wants it back.
func (p *conn2) echo(s *stream2, n int) error {
	want := unmasked(raw.Binary, n)
	if err := p.send(s, masked(raw.Binary, n), false); err != nil {
		return err
	}
	p.await("an echo", func() bool { return len(s.data) >= len(want) || s.ended || s.reset != nil })
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bytes.HasPrefix(s.data, want) {
		return fmt.Errorf("%d bytes came back (ended %v, %v, %v)", len(s.data), s.ended, s.reset, p.err)
	}
	s.data = s.data[len(want):]
	return nil
}

// over waits until the server has ended a stream.
func (p *conn2) over(s *stream2) {
	p.await("the end of a stream", func() bool { return s.ended || s.reset != nil })
}

// beside has f attack while another stream of the same connection echoes, which must go on.
func (p *conn2) beside(f func()) {
	p.a.t.Helper()
	s := p.connect(true)
	ctx, cancel := context.WithCancel(p.a.t.Context())
	failed := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			if err := p.echo(s, i%2000); err != nil {
				failed <- err
				return
			}
			select {
			case <-ctx.Done():
				failed <- nil
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	cancel()
	if err := <-failed; err != nil {
		p.a.t.Errorf("another stream of the connection was disturbed: %v", err)
	}
}

// TestHTTP2 attacks as only HTTP/2 can. net/http answers for frames and windows, Guard for what becomes of a stream.
func TestHTTP2(t *testing.T) {
	impatient := ws.Limits{WriteTimeout: 300 * time.Millisecond}
	for _, k := range []struct {
		name   string
		limits ws.Limits
		window uint32
		attack func(a *target, p *conn2)
	}{
		{"rapid reset", ws.Limits{}, 65535, rapidReset},
		{"rapid reset without measure", ws.Limits{}, 65535, func(a *target, p *conn2) {
			for range 50_000 { // net/http ends the connection
				s := p.connect(false)
				if s == nil || p.reset(s) != nil {
					break
				}
			}
		}},
		{"CONNECTs without end", ws.Limits{}, 65535, endlessConnects},
		{"tiny windows", ws.Limits{}, 10, tinyWindows},
		{"windows of nothing", impatient, 0, func(a *target, p *conn2) { stalled(a, p, 1) }},
		{"stops reading its streams", impatient, 65535, func(a *target, p *conn2) { stalled(a, p, 200<<10) }},
		{"stops reading at all", impatient, 65535, stopped},
		{"DATA after END_STREAM", ws.Limits{}, 65535, func(a *target, p *conn2) {
			for range 100 {
				s := p.connect(true)
				p.send(s, masked(raw.Text, 5), true)
				for range 5 {
					p.write(func(fr *http2.Framer) error { return fr.WriteData(s.id, false, masked(raw.Text, 5)) })
				}
				p.over(s)
			}
		}},
		{"RST_STREAM in the middle of a message", ws.Limits{}, 65535, func(a *target, p *conn2) {
			for i := range 100 {
				s := p.connect(true)
				p.opened(s)
				p.send(s, masked(raw.Binary, 30000)[:1+i*299], false)
				p.reset(s)
			}
			if !poll(func() bool { return a.opened.Load()-a.closed.Load() <= 2 }) { // those that go on
				a.t.Errorf("%d connections were opened, %d closed", a.opened.Load(), a.closed.Load())
			}
			if n := a.caused(""); n != 0 {
				a.t.Errorf("%d faults were reported", n)
			}
		}},
		{"RST_STREAM while it is answered", ws.Limits{}, 65535, func(a *target, p *conn2) {
			for i := range 50 {
				s := p.connect(true)
				p.send(s, masked(raw.Binary, 200<<10), false)
				p.await("a part of the answer", func() bool { return len(s.data) > i*1000 })
				p.reset(s)
			}
		}},
		{"empty DATA frames", ws.Limits{}, 65535, func(a *target, p *conn2) {
			s := p.connect(true)
			for range 100_000 {
				if err := p.write(func(fr *http2.Framer) error { return fr.WriteData(s.id, false, nil) }); err != nil {
					a.t.Error(err)
					return
				}
			}
			if err := p.echo(s, 10); err != nil {
				a.t.Error(err)
			}
			p.reset(s)
		}},
		{"DATA a byte at a time", ws.Limits{}, 65535, func(a *target, p *conn2) {
			s := p.connect(true)
			for _, b := range bytes.Repeat(masked(raw.Text, 5), 500) {
				p.send(s, []byte{b}, false)
			}
			if want := bytes.Repeat(unmasked(raw.Text, 5), 500); !p.await("the echoes", func() bool { return bytes.Equal(s.data, want) }) {
				a.t.Error("not every message came back")
			}
			p.reset(s)
		}},
		{"bytes of HTTP/1.1 in DATA", ws.Limits{}, 65535, func(a *target, p *conn2) {
			s := p.connect(true)
			p.send(s, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), false)
			p.over(s)
		}},
		{"the connection goes with 200 streams", ws.Limits{}, 65535, func(a *target, p *conn2) {
			c := a.dial2(65535)
			for i := range 200 {
				s := c.connect(false)
				if c.opened(s); i%2 == 0 {
					c.send(s, masked(raw.Text, 5)[:4], false)
				}
			}
			c.conn.NetConn().Close()
		}},
	} {
		for _, detach := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/detach %v", k.name, detach), func(t *testing.T) {
				attackOver(t, &ws.Upgrader{Detach: detach, Limits: k.limits}, true, func(a *target) {
					p := a.dial2(k.window)
					defer p.conn.Close()
					if k.name == "rapid reset without measure" {
						k.attack(a, p)
						return
					}
					p.beside(func() { k.attack(a, p) })
				})
			})
		}
	}
}

// rapidReset resets as fast as net/http lets it: 100 streams at a time, all of which have begun.
func rapidReset(a *target, p *conn2) {
	for range 50 {
		var streams []*stream2
		for i := range 100 {
			s := p.connect(false)
			if i%2 == 1 {
				p.send(s, masked(raw.Text, 5), false)
			}
			streams = append(streams, s)
		}
		for i, s := range streams {
			if i%3 == 0 {
				p.opened(s)
			}
			p.reset(s)
		}
		p.opened(p.connect(false)) // and stays
		if err := p.alive(); err != nil {
			a.t.Fatal(err)
		}
	}
}

func endlessConnects(a *target, p *conn2) {
	const n = 1000
	before := memory()
	var streams []*stream2
	for range n {
		streams = append(streams, p.connect(false))
	}
	opened := 0
	for _, s := range streams {
		if p.opened(s); s.status == "200" {
			opened++
		}
	}
	if opened != int(p.limit-1) {
		a.t.Errorf("of %d streams %d were opened; the limit is %d", n, opened, p.limit)
	}
	a.cost(before, opened, 64*kib)
}

// tinyWindows has the answer come byte by byte.
func tinyWindows(a *target, p *conn2) {
	s := p.connect(false)
	p.send(s, masked(raw.Binary, 500), false)
	want := unmasked(raw.Binary, 500)
	for n := 10; n < len(want); n++ {
		p.await("what the window allows", func() bool { return len(s.data) == n })
		p.write(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(s.id, 1) })
	}
	p.await("the rest", func() bool { return bytes.Equal(s.data, want) })
	p.reset(s)
}

// stalled opens streams whose windows stay as they are, has the server answer more than that, and wants them dropped.
func stalled(a *target, p *conn2, size int) {
	const n = 20
	var streams []*stream2
	for range n {
		s := p.connect(false)
		streams = append(streams, s)
		p.send(s, masked(raw.Binary, size), false)
	}
	for _, s := range streams {
		p.over(s)
	}
	if !poll(func() bool { return a.caused(ws.ErrWriteTimeout.Error()) == n }) {
		a.t.Errorf("%d streams ended for WriteTimeout, and not %d", a.caused(ws.ErrWriteTimeout.Error()), n)
	}
}

// stopped stops to read its TCP connection. OnClose comes all the same; the connection is WriteByteTimeout's to end.
func stopped(a *target, _ *conn2) {
	p := a.dial2(1 << 30)
	defer p.conn.Close()
	p.write(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, 1<<30) })
	closed := a.closed.Load()
	s := p.connect(false)
	p.await("an answer", func() bool { return s.status != "" && p.window > 65535 })
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock() // its reader stops
	defer p.mu.Unlock()
	for b := masked(raw.Binary, int(min(p.window, s.window))-14); len(b) > 0; b = b[min(len(b), 16384):] {
		if err := p.framer.WriteData(s.id, false, b[:min(len(b), 16384)]); err != nil {
			a.t.Error(err)
		}
	}
	if !poll(func() bool { return a.closed.Load() > closed }) {
		a.t.Error("the stream was not dropped")
	}
	if a.caused(ws.ErrWriteTimeout.Error()) != 1 {
		a.t.Error("not for WriteTimeout")
	}
	if !poll(func() bool { return p.framer.WritePing(false, [8]byte{}) != nil }) {
		a.t.Error("the connection was not dropped")
	}
}
