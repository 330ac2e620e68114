package soak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/protocol/raw"
)

var (
	duration    = flag.Duration("soak", 5*time.Second, "how long")
	seed        = flag.Uint64("seed", 1, "of what happens")
	connections = flag.Int("connections", 2000, "at a time")
)

// patience bounds every wait. It is no measure of speed: what needs it all has failed.
const patience = 60 * time.Second

// A soak is a server, and what it saw of each connection that is alive.
type soak struct {
	addr  string
	group ws.Group
	ids   atomic.Int64
	seen  sync.Map // id of a connection: *record

	messages, opened, broken, refused, closed atomic.Int64
}

type record struct {
	got   atomic.Int64 // messages
	state atomic.Int32 // 1: OnOpen ran
	end   chan ws.CloseEvent
}

func (s *soak) factory(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
	v, ok := s.seen.Load(r.URL.Query().Get("id"))
	if !ok {
		return ws.Events{}, ws.Reject(404, "unknown id")
	}
	rec := v.(*record)
	return ws.Events{
		OnOpen: func(c *ws.Conn) error {
			if rec.state.Add(1) != 1 {
				panic("OnOpen ran twice")
			}
			s.group.Add(c)
			return nil
		},
		OnMessage: func(c *ws.Conn, m ws.Message) error {
			rec.got.Add(1)
			if text, ok := strings.CutPrefix(m.String(), "close me with "); ok {
				code, _ := strconv.Atoi(text)
				return websocket.CloseError{Code: websocket.StatusCode(code), Reason: "as you wish"}
			}
			return c.Send(m)
		},
		OnError: func(*ws.Conn, error) {},
		OnClose: func(_ *ws.Conn, e ws.CloseEvent) { rec.end <- e },
	}, nil
}

// A peer is one connection from the other end, and the model of what it must see.
type peer struct {
	*raw.Conn
	s      *soak
	rec    *record
	r      *rand.Rand
	sent   int64
	ping   int64 // the number in the latest ping; -1: none
	pong   int64 // in the latest pong
	awaits bool  // a pong
	tick   int
	way    int // in which it left
}

func (s *soak) dial(r *rand.Rand) (*peer, error) {
	id := strconv.FormatInt(s.ids.Add(1), 10)
	rec := &record{end: make(chan ws.CloseEvent, 2)}
	s.seen.Store(id, rec)
	c, err := raw.Dial(s.addr, "/?id="+id, "", nil, patience)
	if err != nil {
		return nil, err
	}
	s.opened.Add(1)
	return &peer{Conn: c, s: s, rec: rec, r: r, ping: -1, pong: -1}, nil
}

// next returns the next frame that is no ping, no pong and no broadcast. Broadcasts must come in order, and
// pongs in that of their pings, of which only the latest need be answered.
func (p *peer) next() (raw.Frame, error) {
	for {
		p.Net.SetDeadline(time.Now().Add(patience))
		f, err := p.ReadFrame()
		if err != nil {
			return f, err
		}
		switch {
		case f.Op == raw.Ping:
			if err := p.Write(raw.Frame{Op: raw.Pong, Payload: f.Payload}); err != nil {
				return f, err
			}
		case f.Op == raw.Pong:
			n, err := strconv.ParseInt(strings.TrimPrefix(string(f.Payload), "ping "), 10, 64)
			if err != nil || n <= p.pong || n > p.ping {
				return f, fmt.Errorf("pong %.40q after %d, when the latest ping is %d", f.Payload, p.pong, p.ping)
			}
			if p.pong = n; p.awaits {
				return f, nil
			}
		case f.Op == raw.Text && strings.HasPrefix(string(f.Payload), "tick "):
			n, err := strconv.Atoi(string(f.Payload[5:]))
			if err != nil || p.tick != 0 && n != p.tick+1 {
				return f, fmt.Errorf("broadcast %q after %d", f.Payload, p.tick)
			}
			p.tick = n
		case f.More:
			return f, errors.New("the server fragmented")
		default:
			return f, nil
		}
	}
}

func (p *peer) expect(op byte, payload string) error {
	f, err := p.next()
	if err != nil {
		return fmt.Errorf("waiting for %.40q: %w", payload, err)
	}
	if f.Op != op || string(f.Payload) != payload {
		return fmt.Errorf("opcode %d with %.40q came back, want %d with %.40q", f.Op, f.Payload, op, payload)
	}
	return nil
}

// talk sends some messages, whole or in fragments, with pings between them, and then reads what must come back.
func (p *peer) talk() error {
	type sent struct {
		op      byte
		payload string
	}
	var want []sent
	for range 1 + p.r.IntN(8) {
		size := p.r.IntN(200)
		if p.r.IntN(50) == 0 {
			size = p.r.IntN(100000)
		}
		op := raw.Text + byte(p.r.IntN(2))
		payload := fmt.Sprintf("%d ", p.sent) + strings.Repeat(string(rune('a'+p.r.IntN(26))), size)
		var frames []raw.Frame
		if p.r.IntN(4) == 0 {
			cut := p.r.IntN(len(payload))
			ping := fmt.Sprintf("ping %d", p.sent)
			frames = []raw.Frame{
				{Op: op, More: true, Payload: []byte(payload[:cut])},
				{Op: raw.Ping, Payload: []byte(ping)},
				{Op: raw.Continuation, Payload: []byte(payload[cut:])},
			}
			p.ping = p.sent
		} else {
			frames = []raw.Frame{{Op: op, Payload: []byte(payload)}}
		}
		want = append(want, sent{op, payload})
		p.Net.SetDeadline(time.Now().Add(patience))
		if err := p.Write(frames...); err != nil {
			return err
		}
		p.sent++
	}
	for _, w := range want {
		if err := p.expect(w.op, w.payload); err != nil {
			return err
		}
	}
	p.awaits = true
	defer func() { p.awaits = false }()
	for p.pong < p.ping {
		if f, err := p.next(); err != nil || f.Op != raw.Pong {
			return fmt.Errorf("waiting for pong %d: opcode %d with %.40q, %v", p.ping, f.Op, f.Payload, err)
		}
	}
	p.s.messages.Add(int64(len(want)))
	return nil
}

// ended waits for OnClose and compares what the server saw with what this end did. exact: every message arrived.
func (p *peer) ended(code int, clean, exact bool) error {
	p.Net.Close()
	select {
	case e := <-p.rec.end:
		if int(e.Code) != code || e.WasClean != clean {
			return fmt.Errorf("the server saw %d, clean %v (%v); want %d, clean %v", e.Code, e.WasClean, e.Err, code, clean)
		}
	case <-time.After(patience):
		return errors.New("OnClose did not run")
	}
	if got := p.rec.got.Load(); got > p.sent || exact && got != p.sent {
		return fmt.Errorf("the server saw %d messages of %d (way %d)", got, p.sent, p.way)
	}
	if p.rec.state.Load() != 1 {
		return errors.New("OnOpen did not run")
	}
	if len(p.rec.end) > 0 {
		return errors.New("OnClose ran twice")
	}
	return nil
}

// closed reads the server's Close frame and then the end of the stream.
func (p *peer) closed(code int, reason string) error {
	if err := p.expect(raw.Close, string(raw.ClosePayload(code, reason))); err != nil {
		return err
	}
	return nil
}

// leave ends the connection in one of the ways there are.
func (p *peer) leave() error {
	p.Net.SetDeadline(time.Now().Add(patience))
	p.way = p.r.IntN(7)
	switch p.way {
	case 0: // a reset
		p.s.broken.Add(1)
		p.Net.(*net.TCPConn).SetLinger(0)
		return p.ended(1006, false, true)
	case 1: // a FIN
		p.s.broken.Add(1)
		return p.ended(1006, false, true)
	case 2: // inside a frame
		p.s.broken.Add(1)
		p.Write(raw.Frame{Op: raw.Text, Payload: []byte("half"), Missing: 2})
		return p.ended(1006, false, true)
	case 3: // after messages whose echoes it does not read
		p.s.broken.Add(1)
		for range 20 {
			p.Write(raw.Frame{Op: raw.Binary, Payload: make([]byte, 1000)})
			p.sent++
		}
		return p.ended(1006, false, false)
	case 4: // a violation
		p.s.refused.Add(1)
		p.Write(raw.Frame{Op: raw.Text, Payload: []byte("\xff")})
		f, err := p.next()
		if err != nil || f.Op != raw.Close || string(f.Payload[:2]) != "\x03\xef" {
			return fmt.Errorf("bad text was answered with opcode %d, %q, %v", f.Op, f.Payload, err)
		}
		return p.ended(1006, false, true)
	case 5: // the server closes
		p.s.closed.Add(1)
		code := 4000 + p.r.IntN(1000)
		p.Write(raw.Frame{Op: raw.Text, Payload: fmt.Appendf(nil, "close me with %d", code)})
		p.sent++
		if err := p.closed(code, "as you wish"); err != nil {
			return err
		}
		p.Write(raw.Frame{Op: raw.Close, Payload: raw.ClosePayload(code, "")})
		if f, err := p.next(); err == nil {
			return fmt.Errorf("opcode %d came after Close", f.Op)
		}
		return p.ended(code, true, true)
	default: // this end closes
		p.s.closed.Add(1)
		code := 3000 + p.r.IntN(1000)
		p.Write(raw.Frame{Op: raw.Close, Payload: raw.ClosePayload(code, "enough")})
		f, err := p.next()
		if err != nil || f.Op != raw.Close {
			return fmt.Errorf("Close was answered with opcode %d, %q, %v", f.Op, f.Payload, err)
		}
		if f, err := p.next(); err == nil {
			return fmt.Errorf("opcode %d came after Close", f.Op)
		}
		return p.ended(code, true, true)
	}
}

// live is one connection after another until the time is over.
func (s *soak) live(r *rand.Rand, stop <-chan struct{}) error {
	for {
		p, err := s.dial(r)
		if err != nil {
			return err
		}
		for range r.IntN(20) {
			select {
			case <-stop:
				return p.leave()
			case <-time.After(time.Duration(r.IntN(400)) * time.Millisecond): // a stall, or little of one
			}
			if err := p.talk(); err != nil {
				return err
			}
		}
		if err := p.leave(); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func files() int {
	d, _ := os.ReadDir("/proc/self/fd")
	return len(d)
}

func poll(f func() bool) bool {
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func TestSoak(t *testing.T) {
	goroutines, descriptors, before := runtime.NumGoroutine(), files(), memory()
	s := &soak{}
	up := &ws.Upgrader{
		OnError: func(_ *http.Request, err error) { t.Errorf("the server reported %v", err) },
		Limits:  ws.Limits{PingInterval: 500 * time.Millisecond, PingTimeout: patience},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	srv := &http.Server{Handler: ws.Guard(up.Upgrade(s.factory))}
	go srv.Serve(ln)

	stop := make(chan struct{})
	time.AfterFunc(*duration, func() { close(stop) })
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				s.group.Broadcast(ws.Text(fmt.Sprintf("tick %d", n)))
			}
		}
	})
	for i := range *connections {
		wg.Go(func() {
			if err := s.live(rand.New(rand.NewPCG(*seed, uint64(i))), stop); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	var high int64
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				high = max(high, int64(m.HeapAlloc+m.StackInuse))
			}
		}
	})
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := up.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	srv.Close()

	t.Logf("%d connections, %d messages; %d broke off, %d were refused, %d closed; at most %d KiB in use",
		s.opened.Load(), s.messages.Load(), s.broken.Load(), s.refused.Load(), s.closed.Load(), high>>10)
	if n := s.group.Len(); n != 0 {
		t.Errorf("%d connections are left in the group", n)
	}
	for range up.Conns() {
		t.Error("a connection is left in the Upgrader")
	}
	if !poll(func() bool { return runtime.NumGoroutine() <= goroutines }) {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines are left, before there were %d\n%.3000s", runtime.NumGoroutine(), goroutines, buf[:runtime.Stack(buf, true)])
	}
	if !poll(func() bool { return files() <= descriptors }) {
		t.Errorf("%d descriptors are left, before there were %d", files(), descriptors)
	}
	s.seen.Clear()
	left := memory() - before
	t.Logf("%d KiB are left", left>>10)
	if left > 16<<20 {
		t.Errorf("%d bytes are left", left)
	}
}
