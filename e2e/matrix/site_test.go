package matrix

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws/e2e/internal/h2"
)

// origin is what every client sends, so that CORS middlewares have something
// to answer. Every engine allows it.
const origin = "https://app.example.com"

// A row is one stack of router and middlewares, and what is to be seen of it.
type row struct {
	name  string
	build func(s *site) http.Handler // s.route must answer GET /ws
	front func(s *site, back *url.URL) http.Handler

	path    string      // that the client dials; "" is /ws
	request http.Header // that the client sends besides
	waits   wait        // before the client's first message

	plain   string // what comes of the plain engine; "" is "works"
	bare    string // what comes of ws without Guard; "" is "works"
	refused string // what the HandshakeError says where ws without Guard fails

	headers []string // that reach the client with the 101: "Key" or "Key: value"
	logged  string   // what the stack's own log has to hold
	reports []report // what Guard reports, and nothing else
}

// A report is what a ws.HeaderError must say.
type report struct {
	op  string
	key string
	who string // part of Func; "" where the caller can't be known
}

func (r report) String() string {
	s := r.op
	if r.key != "" {
		s += " " + r.key
	}
	if r.who != "" {
		s += " by " + r.who
	}
	return s
}

// wait says what must have happened before the client's first message.
type wait int

const (
	forNothing wait = iota
	forContext      // the request's context has ended
	forHandler      // the whole stack has returned
)

// A site is a row while it runs: one server, one engine, one connection.
type site struct {
	tb    testing.TB
	row   *row
	route http.HandlerFunc // the engine's echo route
	log   buffer           // where the stack's own loggers write

	accepted chan struct{}             // closed once the engine has a connection
	expired  chan struct{}             // closed once the request's context has ended
	closed   chan websocket.StatusCode // what the server's end saw at the end
	returned chan struct{}             // closed once the whole stack has returned, but for Guard over HTTP/2, which waits
	routed   sync.WaitGroup            // calls of route
	mu       sync.Mutex                // protects the following
	errs     []error                   // what went to Upgrader.OnError
}

// accept is what an engine calls when it has a connection.
func (s *site) accept(r *http.Request) {
	close(s.accepted)
	go func() {
		<-r.Context().Done()
		close(s.expired)
	}()
}

func (s *site) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

func (s *site) faults() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

// An engine makes the echo route. It answers every message with itself, but
// for "close", for which it closes with 4002, and "panic".
type engine struct {
	name  string
	route func(s *site, v variant) http.HandlerFunc
	guard func(http.Handler) http.Handler // nil: none
	http2 bool                            // what the client speaks
}

// A variant is a way to use a stack.
type variant struct {
	name   string
	detach bool                // Upgrader.Detach
	early  bool                // the first message comes with the handshake
	edit   func([]byte) []byte // of the handshake's bytes
	end    string              // the message that makes the server's end close
	code   websocket.StatusCode
}

var base = variant{name: "base"}

// An outcome is what came of it.
type outcome struct {
	answer string // "works", or what the client saw instead
	header http.Header
	server []string // what http.Server.ErrorLog got
	log    string   // what the stack's own loggers got
	errs   []error
}

// String says all of it in one line, as rows have it.
func (o outcome) sentence(r *row) string {
	parts := []string{o.answer}
	if strings.HasPrefix(o.answer, "works") {
		for _, h := range r.headers {
			if !has(o.header, h) {
				k, _, _ := strings.Cut(h, ":")
				parts = append(parts, "without "+k)
			}
		}
		if !strings.Contains(o.log, r.logged) {
			parts = append(parts, "logged with another status")
		}
	}
	for _, line := range o.server {
		parts = append(parts, "server log: "+line)
	}
	return strings.Join(parts, "; ")
}

func has(h http.Header, want string) bool {
	k, v, valued := strings.Cut(want, ": ")
	if !valued {
		return len(h.Values(k)) > 0
	}
	return slices.Contains(h.Values(k), v)
}

// patience is how long the client waits for what should come. It bounds
// hangs and is no measure: only a row that is expected to hang waits in vain.
const (
	patience    = 20 * time.Second
	impatience  = 300 * time.Millisecond
	hangs       = "hangs"
	dropped     = "drops the connection"
	worksAnswer = "works"
)

// run builds the row's stack around the engine's route and dials it once.
func (r *row) run(tb testing.TB, e engine, v variant, want string) outcome {
	s := &site{
		tb:       tb,
		row:      r,
		accepted: make(chan struct{}),
		expired:  make(chan struct{}),
		closed:   make(chan websocket.StatusCode, 1),
		returned: make(chan struct{}),
	}
	route := e.route(s, v)
	s.route = func(w http.ResponseWriter, r *http.Request) {
		s.routed.Add(1)
		defer s.routed.Done()
		route(w, r)
	}

	var errorLog buffer
	serve := func(h http.Handler) *httptest.Server {
		if e.guard != nil {
			h = e.guard(h)
		}
		srv := httptest.NewUnstartedServer(h)
		srv.Config.ErrorLog = log.New(&errorLog, "", 0)
		e.start(srv, true)
		return srv
	}
	stack := r.build(s)
	ended := make(chan struct{})
	if e.http2 {
		inner := stack
		stack = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(s.returned)
			inner.ServeHTTP(w, r)
		})
	}
	if e.guard != nil {
		stack = e.guard(stack)
	}
	panicked := false
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			panicked = v != nil && v != http.ErrAbortHandler
			if !e.http2 {
				close(s.returned)
			}
			close(ended)
			if v != nil {
				panic(v)
			}
		}()
		stack.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(&errorLog, "", 0)
	e.start(srv, r.front == nil)
	stuck := false
	defer func() {
		if !stuck { // Close waits for handlers
			srv.Close()
		}
	}()
	address := srv.URL
	if r.front != nil {
		back, err := url.Parse(srv.URL)
		if err != nil {
			tb.Fatal(err)
		}
		front := serve(r.front(s, back))
		defer front.Close()
		address = front.URL
	}

	o := outcome{}
	o.answer, o.header = s.dial(address+cmp.Or(r.path, "/ws"), e, v, want)
	select {
	case <-ended:
	case <-time.After(patience):
		stuck = true
		tb.Errorf("%s: the handler has not returned", e.name)
	}
	routed := make(chan struct{})
	go func() {
		s.routed.Wait()
		close(routed)
	}()
	select {
	case <-routed:
	case <-time.After(patience):
		stuck = true
		tb.Errorf("%s: the route has not returned", e.name)
	}
	for start := time.Now(); !stuck && panicked && !strings.Contains(errorLog.String(), "panic serving"); {
		if time.Since(start) > patience { // net/http logs it when the handler is gone
			tb.Errorf("%s: the server has not logged the panic", e.name)
			break
		}
		time.Sleep(time.Millisecond)
	}
	o.server = serverLog(errorLog.String())
	o.log = s.log.String()
	o.errs = s.faults()
	return o
}

// start starts srv, which the client dials or a proxy.
func (e engine) start(srv *httptest.Server, client bool) {
	if srv.EnableHTTP2 = e.http2 && client; srv.EnableHTTP2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
}

// dial connects, exchanges messages and closes. It says what came of it.
func (s *site) dial(address string, e engine, v variant, want string) (string, http.Header) {
	grace := patience
	if strings.Contains(want, hangs) {
		grace = impatience
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	dialed := make(chan struct{})
	go func() { // a hang is an answer that does not come though the server has a connection
		select {
		case <-s.accepted:
		case <-dialed:
			return
		}
		select {
		case <-time.After(grace):
			cancel()
		case <-dialed:
		}
	}()

	edit := v.edit
	if v.early {
		edit = func(b []byte) []byte { return append(b, textFrame("early")...) }
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil && edit != nil {
			c = &editedConn{Conn: c, edit: edit}
		}
		return c, err
	}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	if e.http2 {
		tr := h2.New()
		defer tr.CloseIdleConnections()
		client.Transport = tr
	}
	header := http.Header{
		"Origin":          {origin},
		"Accept-Encoding": {"gzip, deflate, br, zstd"},
	}
	for k, vv := range s.row.request {
		header[k] = vv
	}
	c, resp, err := websocket.Dial(ctx, address, &websocket.DialOptions{
		HTTPClient: client,
		HTTPHeader: header,
	})
	close(dialed)
	switch {
	case err != nil && resp != nil:
		return fmt.Sprintf("fails with %d", resp.StatusCode), resp.Header
	case errors.Is(err, context.Canceled):
		return hangs, nil
	case err != nil:
		return "fails: " + scrub(err.Error()), nil
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)

	switch s.row.waits {
	case forContext:
		<-s.expired
	case forHandler:
		<-s.returned
	}
	ctx, cancel = context.WithTimeout(context.Background(), grace)
	defer cancel()
	if v.early {
		if why := expect(ctx, c, "early"); why != "" {
			return "upgrades, then " + why, resp.Header
		}
	}
	for _, text := range []string{"hello", strings.Repeat("large ", 10_000)} {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); errors.Is(err, context.DeadlineExceeded) {
			return "upgrades, then " + hangs, resp.Header
		} else if err != nil {
			return "upgrades, then does not take a message", resp.Header
		}
		if why := expect(ctx, c, text); why != "" {
			if why == dropped && strings.Contains(want, "then "+hangs) {
				why = hangs // net/http took the frame for a request, and by chance found the end of a line in it
			}
			return "upgrades, then " + why, resp.Header
		}
	}
	code := websocket.StatusCode(4001)
	if v.end != "" {
		code = v.code
		if err := c.Write(ctx, websocket.MessageText, []byte(v.end)); err != nil {
			return "upgrades, then does not take a message", resp.Header
		}
		_, _, err := c.Read(ctx)
		if got := websocket.CloseStatus(err); got != code {
			return fmt.Sprintf("works, but closes with %d: %v", got, err), resp.Header
		}
	} else if err := c.Close(code, "done"); err != nil {
		return "works, but the close is not answered: " + scrub(err.Error()), resp.Header
	}
	select {
	case got := <-s.closed:
		if got != code {
			return fmt.Sprintf("works, but the server sees %d at the end", got), resp.Header
		}
	case <-time.After(patience):
		return "works, but the server never sees the end", resp.Header
	}
	return worksAnswer, resp.Header
}

// expect reads one message, and says what came instead of it.
func expect(ctx context.Context, c *websocket.Conn, text string) string {
	_, data, err := c.Read(ctx)
	switch {
	case websocket.CloseStatus(err) > 0:
		return fmt.Sprintf("closes with %d", websocket.CloseStatus(err))
	case errors.Is(err, context.DeadlineExceeded):
		return hangs
	case err != nil:
		return dropped
	case string(data) != text:
		return fmt.Sprintf("answers %.40q", data)
	}
	return ""
}

// textFrame is a masked text frame with a mask of zeros.
func textFrame(s string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(s)), 0, 0, 0, 0}, s...)
}

// An editedConn changes what is first written to it, which is the handshake.
type editedConn struct {
	net.Conn
	edit func([]byte) []byte
	once sync.Once
}

func (c *editedConn) Write(p []byte) (int, error) {
	n, out := len(p), p
	c.once.Do(func() { out = c.edit(slices.Clone(p)) })
	_, err := c.Conn.Write(out)
	return n, err
}

var (
	panicLine   = regexp.MustCompile(`^http: panic serving [^ ]+: `)
	addressText = regexp.MustCompile(`(127\.0\.0\.1|\[::1\]):\d+`)
	fromText    = regexp.MustCompile(` (call )?from .*$`)
)

func scrub(s string) string { return addressText.ReplaceAllString(s, "ADDR") }

// serverLog makes what net/http logged comparable: no addresses, no line
// numbers, no stacks.
func serverLog(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, "http: ") && !strings.HasPrefix(line, "httputil: ") {
			continue // the stack of a panic
		}
		line = panicLine.ReplaceAllString(line, "panic: ")
		line = fromText.ReplaceAllString(line, "")
		lines = append(lines, strings.TrimPrefix(scrub(line), "http: "))
	}
	return lines
}

// A buffer is a bytes.Buffer for many goroutines.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*buffer)(nil)

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
