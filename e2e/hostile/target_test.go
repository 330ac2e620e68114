package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/internal/h2"
	"github.com/seed412db446/ws/e2e/protocol/raw"
	_ "github.com/seed412db446/ws/http2"
)

// patience bounds every wait. It is no measure of speed: what needs it all has failed.
const patience = 60 * time.Second

// A target is a server that echoes, a bystander whose echoes must not be disturbed, and the counts
// that must be as before once both are gone.
type target struct {
	t    *testing.T
	addr string // for handshakes over HTTP/1.1
	tls  string // for HTTP/2; empty if it is not offered
	up   *ws.Upgrader
	srv  *http.Server

	opened, closed atomic.Int64
	causes         sync.Map // of OnError: its text, to how often it came
	logged         syncBuffer

	goroutines, files int
	stop              chan struct{}
	bystander         chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// attackBoth is attackOver HTTP/1.1 and over HTTP/2.
func attackBoth(t *testing.T, up func() *ws.Upgrader, f func(a *target)) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2 %v", http2), func(t *testing.T) { attackOver(t, up(), http2, f) })
	}
}

// attackOver starts a target, runs f against it, and checks what must hold after any attack.
func attackOver(t *testing.T, up *ws.Upgrader, http2 bool, f func(a *target)) {
	t.Helper()
	a := &target{t: t, up: up, stop: make(chan struct{}), bystander: make(chan error, 1)}
	a.goroutines, a.files = runtime.NumGoroutine(), files(t)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.addr = ln.Addr().String()
	up.OnError = func(_ *http.Request, err error) { a.note(err) }
	a.srv = &http.Server{
		Handler:           ws.Guard(up.Upgrade(a.factory)),
		ReadHeaderTimeout: time.Second,     // the application's to set: nothing else bounds a slow handshake
		IdleTimeout:       3 * time.Second, // the same over HTTP/2
		ErrorLog:          log.New(&a.logged, "", 0),
	}
	front := func() {}
	if http2 {
		a.srv.HTTP2 = &http.HTTP2Config{MaxReadFrameSize: 16 << 10, WriteByteTimeout: 3 * time.Second} // the first bounds what clients here allocate
		a.srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			c.(*tls.Conn).NetConn().(*net.TCPConn).SetWriteBuffer(64 << 10) // or the system takes what nobody reads
			return ctx
		}
		a.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
		go a.srv.ServeTLS(ln, "", "")
		a.tls = a.addr
		a.addr, front = h2.Front(t, "https://"+a.tls)
	} else {
		go a.srv.Serve(ln)
	}
	go a.bystand()

	f(a)

	close(a.stop)
	if err := <-a.bystander; err != nil {
		t.Errorf("the bystander was disturbed: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := up.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	a.srv.Close()
	front()
	if n, m := a.opened.Load(), a.closed.Load(); n != m {
		t.Errorf("OnOpen ran %d times, OnClose %d times", n, m)
	}
	if strings.Contains(a.logged.String(), "panic") {
		t.Errorf("the server panicked: %s", a.logged.String())
	}
	a.settle("goroutines", a.goroutines, runtime.NumGoroutine)
	a.settle("files", a.files, func() int { return files(t) })
}

// certificate is httptest's.
var certificate = func() tls.Certificate {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	return srv.TLS.Certificates[0]
}()

// settle waits for a count to be back at what it was.
func (a *target) settle(what string, want int, count func() int) {
	a.t.Helper()
	if !poll(func() bool { return count() <= want }) {
		buf := make([]byte, 1<<20)
		a.t.Errorf("%d %s, before there were %d\n%.3000s", count(), what, want, buf[:runtime.Stack(buf, true)])
	}
}

// poll waits for a condition.
func poll(f func() bool) bool {
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func files(t *testing.T) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatalf("descriptors are counted in /proc, on Linux: %v", err)
	}
	return len(d)
}

func (a *target) factory(http.ResponseWriter, *http.Request) (ws.Events, error) {
	return ws.Events{
		OnOpen:    func(*ws.Conn) error { a.opened.Add(1); return nil },
		OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		OnError:   func(_ *ws.Conn, err error) { a.note(err) },
		OnClose:   func(*ws.Conn, ws.CloseEvent) { a.closed.Add(1) },
	}, nil
}

func (a *target) note(err error) {
	var p *ws.PanicError
	if errors.As(err, &p) {
		a.t.Errorf("a callback panicked: %v\n%s", p.Value, p.Stack)
	}
	n, _ := a.causes.LoadOrStore(err.Error(), new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

// caused returns how often an error was reported whose text contains s.
func (a *target) caused(s string) (n int64) {
	a.causes.Range(func(k, v any) bool {
		if strings.Contains(k.(string), s) {
			n += v.(*atomic.Int64).Load()
		}
		return true
	})
	return n
}

// bystand echoes until the attack is over.
func (a *target) bystand() {
	a.bystander <- func() error {
		c, err := raw.Dial(a.addr, "/", "", nil, patience)
		if err != nil {
			return err
		}
		defer c.Net.Close()
		for i := 0; ; i++ {
			select {
			case <-a.stop:
				return nil
			case <-time.After(time.Millisecond):
			}
			if err := echo(c, fmt.Sprintf("message %d", i)); err != nil {
				return err
			}
		}
	}()
}

// echo sends a message and reads it back, and nothing else but pings.
func echo(c *raw.Conn, s string) error {
	c.Net.SetDeadline(time.Now().Add(patience))
	if err := c.Write(raw.Frame{Op: raw.Text, Payload: []byte(s)}); err != nil {
		return err
	}
	for {
		f, err := c.ReadFrame()
		switch {
		case err != nil:
			return err
		case f.Op == raw.Ping:
			c.Write(raw.Frame{Op: raw.Pong, Payload: f.Payload})
		case f.Op != raw.Text || string(f.Payload) != s:
			return fmt.Errorf("sent %q, got opcode %d with %q", s, f.Op, f.Payload)
		default:
			return nil
		}
	}
}

// dial shakes hands; the connection is closed when the test ends at the latest.
func (a *target) dial(extensions string) *raw.Conn {
	a.t.Helper()
	c, err := raw.Dial(a.addr, "/", extensions, nil, patience)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// memory is what the process holds: heap that is in use, and stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// cost checks what n attackers hold, their own ends of the connections included.
func (a *target) cost(before int64, n int, bound int64) {
	a.t.Helper()
	if a.tls != "" {
		bound += 128 * kib // for the client's stream, and what makes one of its connection
	}
	each := (memory() - before) / int64(n)
	a.t.Logf("each of %d attackers holds %d bytes; the bound is %d", n, each, bound)
	if each > bound {
		a.t.Errorf("each of %d attackers holds %d bytes, more than %d", n, each, bound)
	}
}

// peak samples the heap until stop is called, which returns its highest value above what it was.
func peak() (stop func() int64) {
	before := memory()
	done, result := make(chan struct{}), make(chan int64)
	go func() {
		var high int64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			high = max(high, int64(m.HeapAlloc+m.StackInuse))
			select {
			case <-done:
				result <- high - before
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(done); return <-result }
}
