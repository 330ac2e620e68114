//go:build !js

package ws_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// The first bytes of frames.
const (
	fText, fBinary, fClose, fPing, fPong = 0x81, 0x82, 0x88, 0x89, 0x8a

	patience = 30 * time.Second // after which a test gives up
)

// frame is a client's frame that begins with b0.
func frame(b0 byte, p string) []byte {
	b := header(b0, uint64(len(p)))
	key := b[len(b)-4:]
	for i := range len(p) {
		b = append(b, p[i]^key[i&3])
	}
	return b
}

// header is the beginning of a client's frame of n bytes.
func header(b0 byte, n uint64) []byte {
	b := []byte{b0}
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), n)
	}
	return append(b, 0x12, 0x34, 0x56, 0x78)
}

func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// deflated compresses s as RFC 7692 has it.
func deflated(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	io.WriteString(w, s)
	w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// wire is a client that knows frames and no rules.
type wire struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
	in *http.Response // the 101
}

// link is how a wire connects. Its zero value is TCP.
type link struct {
	pipe    bool // net.Pipe, as synctest needs it
	tls     bool
	header  string
	tail    []byte // sent in the handshake's packet
	server  func(net.Conn) net.Conn
	handler func(http.Handler) http.Handler
}

func (l link) open(t testing.TB, u *ws.Upgrader, ev ws.Events) *wire {
	t.Helper()
	return l.openFunc(t, u, func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ev, nil })
}

func (l link) openFunc(t testing.TB, u *ws.Upgrader, f ws.Factory) *wire {
	t.Helper()
	var h http.Handler = u.Upgrade(f)
	if l.handler != nil {
		h = l.handler(h)
	}
	if u.OnError == nil {
		u.OnError = func(*http.Request, error) {}
	}
	w := &wire{t: t}
	switch {
	case l.pipe:
		client, server := net.Pipe()
		if l.server != nil {
			server = l.server(server)
		}
		srv := &http.Server{Handler: h}
		if overHTTP2 && l.server == nil {
			srv.Handler = ws.Guard(h)
			f := &front{scheme: "http", rt: pipeHTTP2(t, srv)}
			go f.serve(server)
		} else {
			serveOne(srv, server)
		}
		w.Conn = client
	default:
		ts := httptest.NewUnstartedServer(h)
		if l.server != nil {
			ts.Listener = wrapped{ts.Listener, l.server}
		}
		var err error
		if overHTTP2 && l.server == nil {
			ts.Config.Handler = ws.Guard(h)
			w.Conn, err = net.Dial("tcp", startHTTP2(t, ts))
		} else if l.tls {
			ts.StartTLS()
			cfg := ts.Client().Transport.(*http.Transport).TLSClientConfig
			w.Conn, err = tls.Dial("tcp", ts.Listener.Addr().String(), cfg)
		} else {
			ts.Start()
			w.Conn, err = net.Dial("tcp", ts.Listener.Addr().String())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ts.Close)
		w.SetDeadline(time.Now().Add(patience))
	}
	t.Cleanup(func() { w.Close() })
	go w.Write(append([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+l.header+"\r\n"), l.tail...))
	w.br = bufio.NewReader(w.Conn)
	var err error
	if w.in, err = http.ReadResponse(w.br, nil); err != nil {
		t.Fatal(err)
	}
	if w.in.StatusCode != 101 {
		body, _ := io.ReadAll(w.in.Body)
		t.Fatalf("status %d: %s", w.in.StatusCode, body)
	}
	return w
}

// serveOne serves c.
func serveOne(srv *http.Server, c net.Conn) {
	one := make(oneConn, 1)
	one <- c
	close(one)
	go srv.Serve(one)
}

// oneConn is a listener of the connections in the channel.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, io.EOF
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.UnixAddr{} }

type wrapped struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c = l.wrap(c)
	}
	return c, err
}

func (w *wire) send(b0 byte, p string) { w.t.Helper(); w.write(frame(b0, p)) }

func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// next reads a frame. At the end of the stream it returns 0.
func (w *wire) next() (b0 byte, payload string) {
	w.t.Helper()
	var h [10]byte
	if _, err := io.ReadFull(w.br, h[:2]); err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			w.t.Fatal("nothing came")
		}
		return 0, ""
	}
	n := uint64(h[1])
	switch n {
	case 126:
		io.ReadFull(w.br, h[2:4])
		n = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		io.ReadFull(w.br, h[2:10])
		n = binary.BigEndian.Uint64(h[2:])
	}
	if n > 1<<30 {
		w.t.Fatalf("a frame of %d bytes (masked?)", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(w.br, b); err != nil {
		w.t.Fatalf("a frame of %d bytes: %v", n, err)
	}
	return h[0], string(b)
}

func (w *wire) expect(b0 byte, p string) {
	w.t.Helper()
	if b, got := w.next(); b != b0 || got != p {
		w.t.Fatalf("got frame %#x %.80q, want %#x %.80q", b, got, b0, p)
	}
}

// bye is the end of a clean close that the server began.
func (w *wire) bye(code uint16, reason string) {
	w.t.Helper()
	w.expect(fClose, closing(code, reason))
	w.send(fClose, closing(code, ""))
	w.expect(0, "")
}

// record keeps a connection's callbacks. It has no lock: a connection's
// callbacks run one at a time (C2), and the race detector watches.
type record struct {
	log  []string
	err  error // of OnError
	end  ws.CloseEvent
	conn *ws.Conn
	done chan struct{} // closed by OnClose
}

func newRecord() *record { return &record{done: make(chan struct{})} }

func (r *record) of(ev ws.Events) ws.Events {
	return ws.Events{
		OnOpen: func(c *ws.Conn) error {
			r.conn = c
			r.log = append(r.log, "open")
			if ev.OnOpen == nil {
				return nil
			}
			return ev.OnOpen(c)
		},
		OnMessage: func(c *ws.Conn, m ws.Message) error {
			r.log = append(r.log, fmt.Sprintf("message %.20s", m))
			if ev.OnMessage == nil {
				return nil
			}
			return ev.OnMessage(c, m)
		},
		OnError: func(c *ws.Conn, err error) {
			r.err = err
			r.log = append(r.log, "error")
			if ev.OnError != nil {
				ev.OnError(c, err)
			}
		},
		OnClose: func(c *ws.Conn, e ws.CloseEvent) {
			defer close(r.done)
			r.end = e
			r.log = append(r.log, "close")
			if ev.OnClose != nil {
				ev.OnClose(c, e)
			}
		},
	}
}

// wait waits until the connection, u's only one, has ended and left.
func (r *record) wait(t testing.TB, u *ws.Upgrader) {
	t.Helper()
	receive(t, r.done)
	if err := u.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (r *record) want(t testing.TB, log ...string) {
	t.Helper()
	if !slices.Equal(r.log, log) {
		t.Errorf("callbacks %q, want %q (%v)", r.log, log, r.err)
	}
}

func receive[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("nothing came on the channel")
	}
	return v
}

func echo(c *ws.Conn, m ws.Message) error { return c.Send(m) }

// bubble runs f in a bubble of synctest. A goroutine that is left at
// the end fails the test (S5).
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, f)
	})
}

// collect reads frames on a goroutine. The channel is closed at the end of the stream.
func (w *wire) collect() <-chan string {
	ch := make(chan string, 1<<16)
	go func() {
		defer close(ch)
		for {
			b0, p := w.next()
			if b0 == 0 {
				return
			}
			ch <- string([]byte{b0}) + p
		}
	}()
	return ch
}

func drain(ch <-chan string) (all []string) {
	for {
		select {
		case s, ok := <-ch:
			if !ok {
				return all
			}
			all = append(all, s)
		default:
			return all
		}
	}
}

// pass lets time pass, in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// noPings is for bubbles, whose time runs fast.
var noPings = ws.Limits{PingInterval: -1}

// counted counts the writes to a connection.
type counted struct {
	net.Conn
	writes *atomic.Int32
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// race reports whether the race detector, under which pools forget, is on.
func race() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

const offersDeflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n"

// noise is n bytes that don't compress.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// compressing is an Upgrader that compresses every message.
func compressing(mode websocket.CompressionMode, l ws.Limits) *ws.Upgrader {
	u := &ws.Upgrader{Limits: l}
	u.Engine.CompressionMode, u.Engine.CompressionThreshold = mode, 1
	return u
}

var takeovers = map[string]websocket.CompressionMode{
	"takeover":    websocket.CompressionContextTakeover,
	"no_takeover": websocket.CompressionNoContextTakeover,
}

// noDeadlines is a connection through an SSH tunnel, say.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (noDeadlines) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (noDeadlines) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// split makes frames of at most n bytes of a message.
func split(b0 byte, p string, n int) (b []byte) {
	b0 &^= 0x80
	for ; len(p) > n; p, b0 = p[n:], 0 {
		b = append(b, frame(b0, p[:n])...)
	}
	return append(b, frame(b0|0x80, p)...)
}

// The key and the answer to it are those of RFC 6455, section 1.3.
const (
	shakeKey    = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	shakeAccept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// reply is what a server sent in answer to a raw request. Its StatusCode is 0 if
// that was nothing.
type reply struct {
	*http.Response
	head  string // as it came
	hints string // the heads of 1xx answers before it
	body  string // unless it is a 101
	rest  *bufio.Reader
	conn  net.Conn
}

// shake sends a handshake to addr and reads the answer. An edit that is a
// request line replaces it; "Name: value" replaces the header or adds it,
// "+Name: value" adds another, "-Name" removes it.
func shake(t testing.TB, addr string, edits ...string) *reply {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return shakeOn(t, conn, edits...)
}

func shakeOn(t testing.TB, conn net.Conn, edits ...string) *reply {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second)) // who hangs fails
	lines := []string{"GET /ws HTTP/1.1", "Host: example.com", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", shakeKey}
	for _, e := range edits {
		name, _, header := strings.Cut(e, ":")
		name = strings.TrimPrefix(name, "-")
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+":") })
		switch {
		case strings.Contains(e, " HTTP/1."):
			lines[0] = e
		case e[0] == '+' || at < 0 && header:
			lines = append(lines, strings.TrimPrefix(e, "+"))
		case header:
			lines[at] = e
		case at > 0:
			lines = slices.Delete(lines, at, at+1)
		}
	}
	go io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	a := &reply{conn: conn, rest: bufio.NewReader(conn)}
	for {
		a.head = ""
		for !strings.HasSuffix(a.head, "\r\n\r\n") {
			line, err := a.rest.ReadString('\n')
			if a.head += line; err != nil {
				if errors.Is(err, context.DeadlineExceeded) || err.Error() != "EOF" && !strings.Contains(err.Error(), "reset") {
					t.Errorf("no answer: %v", err)
				}
				a.Response = &http.Response{Status: "no answer"}
				return a
			}
		}
		if !strings.HasPrefix(a.head, "HTTP/1.1 103 ") {
			break
		}
		a.hints += a.head
	}
	var err error
	if a.Response, err = http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(a.head), a.rest)), nil); err != nil {
		t.Fatalf("%v in %q", err, a.head)
	}
	if a.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Errorf("body: %v", err)
		}
		a.body = string(body)
	}
	return a
}

// echoes proves that a 101 led to a WebSocket, and closes it.
func (a *reply) echoes(t testing.TB) {
	t.Helper()
	if a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake was answered with %s: %q", a.Status, a.body)
	}
	const masked = "\x82\x00\x00\x00\x00" // two bytes, with a mask that changes nothing
	go io.WriteString(a.conn, "\x81"+masked+"hi\x88"+masked+"\x03\xe8")
	if got, err := io.ReadAll(a.rest); string(got) != "\x81\x02hi\x88\x02\x03\xe8" {
		t.Errorf("after the 101 came %q, %v", got, err)
	}
	a.conn.Close()
}

// wants checks headers: "Name: value" must be there once, "-Name" not at all.
func (a *reply) wants(t testing.TB, headers ...string) {
	t.Helper()
	for _, h := range headers {
		name, value, set := strings.Cut(h, ": ")
		got := a.Header.Values(strings.TrimPrefix(name, "-"))
		switch {
		case !set && len(got) > 0:
			t.Errorf("header %s has come: %q", name[1:], got)
		case set && (name == "Set-Cookie" && !slices.Contains(got, value) || name != "Set-Cookie" && !slices.Equal(got, []string{value})):
			t.Errorf("header %s is %q, not %q", name, got, value)
		}
	}
}

// site is a server with one endpoint, /ws, of an Upgrader whose reports it keeps.
type site struct {
	*ws.Upgrader
	addr     string
	returned chan struct{} // gets one for each request whose handler has returned

	mu     sync.Mutex // protects the following
	errs   []error
	places []ws.HeaderError
}

// newSite serves what build makes of the site. With guarded Guard is the
// outermost handler.
func newSite(t testing.TB, guarded bool, u *ws.Upgrader, build func(s *site) http.Handler) *site {
	s := &site{Upgrader: u, returned: make(chan struct{}, 1000)}
	if u.OnError == nil {
		u.OnError = func(r *http.Request, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if r.URL.Path != "/ws" {
				err = fmt.Errorf("for %s: %w", r.URL, err)
			}
			s.errs = append(s.errs, err)
		}
	}
	h := build(s)
	if guarded {
		h = ws.Guard(h)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { s.returned <- struct{}{} }()
		h.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(func() { srv.Config.Close() }) // which waits for nobody
	if guarded && overHTTP2 {
		s.addr = startHTTP2(t, srv)
		return s
	}
	srv.Start()
	s.addr = srv.Listener.Addr().String()
	return s
}

func (s *site) errors() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

func echoFactory(http.ResponseWriter, *http.Request) (ws.Events, error) { return echoEvents(), nil }

func echoEvents() ws.Events {
	return ws.Events{OnMessage: echo}
}

func withAndWithoutGuard(t *testing.T, name string, f func(t *testing.T, guarded bool)) {
	t.Run(name, func(t *testing.T) {
		for _, guarded := range []bool{true, false} {
			t.Run(map[bool]string{true: "Guard", false: "bare"}[guarded], func(t *testing.T) {
				t.Parallel()
				f(t, guarded)
			})
		}
	})
}

var (
	plainGET   = []string{"-Upgrade", "-Connection", "-Sec-WebSocket-Version", "-Sec-WebSocket-Key"}
	asks426    = []string{"Connection: Upgrade", "Upgrade: websocket"}
	switches   = []string{"Connection: Upgrade", "Upgrade: websocket", shakeAccept, "-Content-Length"}
	handshakes = []string{"Connection", "Upgrade", "Sec-Websocket-Accept", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions", "Sec-Websocket-Version"}
)

const (
	internal  = "Internal Server Error\n"
	subproto  = "Sec-WebSocket-Protocol"
	twoOffers = "Sec-WebSocket-Protocol: chat.v1, chat.v2"
)

// fails is a writer whose Hijack does.
type fails struct{ http.ResponseWriter }

func (f fails) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("the hijack is a secret failure")
}

// captureLog makes slog.Default write to a buffer for the rest of the test,
// which must not run in parallel.
func captureLog(t *testing.T) func() string {
	var mu sync.Mutex
	var b bytes.Buffer
	logger, out, flags := slog.Default(), log.Writer(), log.Flags()
	t.Cleanup(func() {
		slog.SetDefault(logger)
		log.SetOutput(out)
		log.SetFlags(flags)
	})
	slog.SetDefault(slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	}), nil)))
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		defer b.Reset()
		return b.String()
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// expect says that the line below the call does what is to be reported.
func (s *site) expect(errs ...ws.HeaderError) {
	pcs := make([]uintptr, 1)
	runtime.Callers(2, pcs)
	f, _ := runtime.CallersFrames(pcs).Next()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range errs {
		e.Func, e.File, e.Line = f.Function, f.File, f.Line+1
		s.places = append(s.places, e)
	}
}

// expectUnknown is expect for what nobody can be blamed for.
func (s *site) expectUnknown(errs ...ws.HeaderError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places = append(s.places, errs...)
}

// inWords is all that is exported of e.
func inWords(e *ws.HeaderError) string {
	return fmt.Sprint(e.Op, " ", e.Key, " ", e.Status, " ", e.Func, " ", e.File, ":", e.Line)
}

// compare compares the reports with what was expected.
func (s *site) compare(t testing.TB, expected bool) {
	t.Helper()
	var got, want []string
	for _, err := range s.errors() {
		if e, ok := err.(*ws.HeaderError); ok {
			got = append(got, inWords(e))
		} else {
			got = append(got, err.Error())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.places {
		if expected {
			want = append(want, inWords(&e))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("reports:\n%s\nand not:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// hider hides all but a ResponseWriter's own methods.
type hider struct{ http.ResponseWriter }

// hooked calls before in WriteHeader, as session middlewares do.
type hooked struct {
	http.ResponseWriter
	before func(h http.Header, status int)
}

func (h hooked) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h hooked) WriteHeader(status int) {
	h.before(h.Header(), status)
	h.ResponseWriter.WriteHeader(status)
}

// pooled is a writer that its middleware uses again.
type pooledWriter struct {
	http.ResponseWriter
	status int
}

func (p *pooledWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *pooledWriter) WriteHeader(n int) { p.status = n; p.ResponseWriter.WriteHeader(n) }

// dialSide is one end of a connection. It passes on what its callbacks get.
type dialSide struct {
	opened chan *ws.Conn
	got    chan ws.Message
	fault  chan error
	closed chan ws.CloseEvent
}

func newDialSide() *dialSide {
	return &dialSide{make(chan *ws.Conn, 1), make(chan ws.Message, 100), make(chan error, 2), make(chan ws.CloseEvent, 2)}
}

func (s *dialSide) events() ws.Events {
	return ws.Events{
		OnOpen:    func(c *ws.Conn) error { s.opened <- c; return nil },
		OnMessage: func(_ *ws.Conn, m ws.Message) error { s.got <- m; return nil },
		OnClose:   func(_ *ws.Conn, e ws.CloseEvent) { s.closed <- e },
		OnError:   func(_ *ws.Conn, err error) { s.fault <- err },
	}
}

// next returns the next message. It fails if the connection ends before.
func (s *dialSide) next(t *testing.T) string {
	t.Helper()
	select {
	case m := <-s.got:
		return m.String()
	case e := <-s.closed:
		t.Fatalf("the connection ended: %+v", e)
		return ""
	}
}

// serve is a server of which s is the other end.
func (s *dialSide) serve(u *ws.Upgrader) http.Handler {
	return u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return s.events(), nil })
}

// dialEcho is a server that sends back what comes.
func dialEcho(u *ws.Upgrader) http.Handler {
	return u.Upgrade(echoFactory)
}

// mustDial dials h in memory.
func mustDial(t *testing.T, h http.Handler, ev ws.Events, l ws.Limits) *ws.Conn {
	t.Helper()
	c, err := ws.Dial(t.Context(), "ws://test/ws", ev, &ws.DialOptions{Handler: h, Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dialRaw is a server that answers the handshake and leaves the connection to f.
func dialRaw(header string, f func(c net.Conn, r *bufio.Reader)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
			acceptKey(r), header)
		f(conn, brw.Reader)
	})
}

// acceptKey is the answer to the request's key (RFC 6455, section 4.2.2).
func acceptKey(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// readMasked reads a frame of the client's (RFC 6455, section 5.2). One that is not masked is an error.
func readMasked(r io.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[1]&0x80 == 0 {
		return 0, nil, errors.New("the client's frame is not masked")
	}
	n := uint64(head[1] & 0x7f)
	var long [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(r, long[6:])
		n = binary.BigEndian.Uint64(long[:])
	case 127:
		_, err = io.ReadFull(r, long[:])
		n = binary.BigEndian.Uint64(long[:])
	}
	key := make([]byte, 4)
	if _, kerr := io.ReadFull(r, key); err != nil || kerr != nil {
		return 0, nil, errors.Join(err, kerr)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	return head[0], payload, err
}

// readCode reads up to the client's Close frame, and returns its code: 1006 if none came.
func readCode(r io.Reader) websocket.StatusCode {
	for {
		first, payload, err := readMasked(r)
		switch {
		case err != nil:
			return websocket.StatusAbnormalClosure
		case first&0xf != 8:
		case len(payload) < 2:
			return websocket.StatusNoStatusRcvd
		default:
			return websocket.StatusCode(binary.BigEndian.Uint16(payload))
		}
	}
}

func dialFrame(first byte, payload ...byte) []byte {
	return append([]byte{first, byte(len(payload))}, payload...)
}

func dialClose(code websocket.StatusCode, reason string) []byte {
	return dialFrame(0x88, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)...)
}

// routeSide is one end of a route's connection, which receives In.
type routeSide[In, Out any] struct {
	*dialSide
	opened chan *ws.RouteConn[Out]
	got    chan In
}

func newRouteSide[In, Out any]() routeSide[In, Out] {
	return routeSide[In, Out]{newDialSide(), make(chan *ws.RouteConn[Out], 1), make(chan In, 100)}
}

func (s routeSide[In, Out]) events() ws.RouteEvents[In, Out] {
	return ws.RouteEvents[In, Out]{
		OnOpen:    func(c *ws.RouteConn[Out]) error { s.opened <- c; return nil },
		OnMessage: func(_ *ws.RouteConn[Out], v In) error { s.got <- v; return nil },
		OnClose:   func(_ *ws.RouteConn[Out], e ws.CloseEvent) { s.closed <- e },
		OnError:   func(_ *ws.RouteConn[Out], err error) { s.fault <- err },
	}
}

// routePair connects two ends of rt in memory.
func routePair[In, Out any](t *testing.T, rt ws.Route[In, Out], server ws.RouteEvents[In, Out], client ws.RouteEvents[Out, In]) *ws.RouteConn[In] {
	t.Helper()
	h := (&ws.Upgrader{OnError: func(_ *http.Request, err error) { t.Error(err) }}).Upgrade(
		rt.Factory(func(http.ResponseWriter, *http.Request) (ws.RouteEvents[In, Out], error) { return server, nil }))
	c, err := rt.Dial(t.Context(), "ws://test", client, &ws.DialOptions{Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// overHTTP2 makes the servers of the contract tests speak HTTP/2 alone. What stands in front of them makes
// streams of handshakes, so that the tests are the same.
var overHTTP2 = os.Getenv("WS_TEST_HTTP2") != ""

// front listens for handshakes over HTTP/1.1, makes them streams of one HTTP/2 connection to srv, and back.
type front struct {
	net.Listener
	scheme string
	rt     http.RoundTripper
}

// startHTTP2 starts srv with HTTP/2 and returns the address of what stands in front of it.
func startHTTP2(t testing.TB, srv *httptest.Server) string {
	t.Helper()
	srv.EnableHTTP2 = true
	srv.StartTLS()
	f := &front{scheme: "https", rt: dialHTTP2(t, srv)}
	var err error
	if f.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	go func() {
		for {
			c, err := f.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	}()
	return f.Addr().String()
}

// dialHTTP2 returns one connection to srv, for URLs of the host x. net/http's Transport sends no ":protocol"; what it makes of a
// connection does.
func dialHTTP2(t testing.TB, srv *httptest.Server) http.RoundTripper {
	t.Helper()
	tr := srv.Client().Transport.(*http.Transport).Clone()
	tr.ForceAttemptHTTP2 = true
	tr.CloseIdleConnections() // sets TLSNextProto
	cfg := tr.TLSClientConfig.Clone()
	cfg.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", srv.Listener.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return tr.TLSNextProto["h2"]("x:443", c)
}

// pipeHTTP2 is dialHTTP2 in memory, as synctest needs it, and without TLS.
func pipeHTTP2(t testing.TB, srv *http.Server) http.RoundTripper {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client, server := net.Pipe()
	srv.Protocols = &protocols
	serveOne(srv, server)
	t.Cleanup(func() { client.Close() })
	tr := &http.Transport{Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 4 << 10}}
	tr.CloseIdleConnections() // sets TLSNextProto
	return tr.TLSNextProto["unencrypted_http2"]("x:443", tls.Client(unencrypted{client}, &tls.Config{ServerName: "x"}))
}

// unencrypted is how net/http is told that a connection is not to have TLS.
type unencrypted struct{ net.Conn }

func (u unencrypted) UnencryptedNetConn() net.Conn { return u.Conn }

func (f *front) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		r.URL.Scheme, r.URL.Host, r.RequestURI = f.scheme, "x:443", ""
		accept, handshake := acceptKey(r), r.Header.Get("Sec-Websocket-Key") != ""
		if handshake {
			r.Method, r.ContentLength = http.MethodConnect, -1
			r.Header[":protocol"] = []string{"websocket"}
			for _, k := range []string{"Upgrade", "Connection", "Sec-Websocket-Key"} {
				delete(r.Header, k)
			}
			body, w := io.Pipe()
			r.Body = body
			go func() {
				_, err := br.WriteTo(w)
				w.CloseWithError(err)
			}()
		}
		res, err := f.rt.RoundTrip(r)
		if err != nil {
			return
		}
		if handshake && res.StatusCode == 200 {
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n", accept)
			res.Header.Write(c)
			io.WriteString(c, "\r\n")
			io.Copy(c, res.Body)
			return
		}
		res.ProtoMajor, res.ProtoMinor = 1, 1
		if res.Write(c); handshake {
			return
		}
	}
}
