package foreign

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gobwas "github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/lesismal/nbio/logging"
	nbio "github.com/lesismal/nbio/nbhttp/websocket"
	"github.com/lxzan/gws"
	"github.com/olahol/melody"
	"golang.org/x/net/http2"
	xnet "golang.org/x/net/websocket"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/internal/h2"
	_ "github.com/seed412db446/ws/http2"
)

var update = flag.Bool("update", false, "write the table into README.md")

// patience bounds every wait. It is no measure of speed: what needs it all has failed.
const patience = 60 * time.Second

const limit = 2 << 20

// A row is a package as its documentation shows it. Its handler echoes every message, but for "close", at which it
// closes with 4002 and "asked", and sends to ended how each connection ended.
type row struct {
	name, version string
	handler       func(t *testing.T, ended chan<- error) http.Handler
	abrupt        string // what it has of Close frames, if not codes both ways
	empty         string // what becomes of a message of 0 bytes, if no echo
}

var rows = []row{
	{"coder/websocket", "v1.8.15", coderHandler, "", ""},
	{"gorilla/websocket", "v1.5.3", gorillaHandler, "", ""},
	{"lxzan/gws", "v1.8.9", gwsHandler, "", ""},
	{"gobwas/ws", "v1.4.0", gobwasHandler, "", ""},
	{"golang.org/x/net/websocket", "v0.57.0", xnetHandler, "it sends and shows no code", ""},
	{"olahol/melody", "v1.4.0", melodyHandler, "", ""},
	{"lesismal/nbio", "v1.6.8", nbioHandler, "", "dropped, as over HTTP/1.1"},
	{"httputil.ReverseProxy in front of gorilla/websocket", "", proxy(gorillaHandler), "", ""},
	{"httputil.ReverseProxy in front of ws", "", proxy(wsHandler), "", ""},
}

func coderHandler(t *testing.T, ended chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, nil)
		if err != nil {
			ended <- err // the client was faster
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(limit)
		for {
			typ, b, err := c.Read(r.Context())
			switch {
			case err != nil:
				ended <- err
				return
			case string(b) == "close":
				c.Close(4002, "asked")
			default:
				c.Write(r.Context(), typ, b)
			}
		}
	})
}

func gorillaHandler(t *testing.T, ended chan<- error) http.Handler {
	var up gorilla.Upgrader
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			ended <- err // the client was faster
			return
		}
		defer c.Close()
		for {
			typ, b, err := c.ReadMessage()
			switch {
			case err != nil:
				ended <- err
				return
			case string(b) == "close":
				c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(4002, "asked"))
			default:
				c.WriteMessage(typ, b)
			}
		}
	})
}

type gwsEvents struct {
	gws.BuiltinEventHandler
	ended chan<- error
}

func (e gwsEvents) OnClose(_ *gws.Conn, err error) { e.ended <- err }
func (gwsEvents) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	if string(m.Bytes()) == "close" {
		c.WriteClose(4002, []byte("asked"))
		return
	}
	c.WriteMessage(m.Opcode, m.Bytes())
}

func gwsHandler(t *testing.T, ended chan<- error) http.Handler {
	up := gws.NewUpgrader(gwsEvents{ended: ended}, nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r)
		if err != nil {
			ended <- err // the client was faster
			return
		}
		go c.ReadLoop()
	})
}

func gobwasHandler(t *testing.T, ended chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, _, err := gobwas.UpgradeHTTP(r, w)
		if err != nil {
			ended <- err // the client was faster
			return
		}
		go func() {
			defer c.Close()
			for {
				b, op, err := wsutil.ReadClientData(c)
				switch {
				case err != nil:
					ended <- err
					return
				case string(b) == "close":
					gobwas.WriteFrame(c, gobwas.NewCloseFrame(gobwas.NewCloseFrameBody(4002, "asked")))
				default:
					wsutil.WriteServerMessage(c, op, b)
				}
			}
		}()
	})
}

func xnetHandler(t *testing.T, ended chan<- error) http.Handler {
	return xnet.Server{Handler: func(c *xnet.Conn) {
		c.MaxPayloadBytes = limit
		for {
			var b []byte
			err := xnet.Message.Receive(c, &b)
			switch {
			case err != nil:
				ended <- err
				return
			case string(b) == "close":
				c.Close()
			default:
				xnet.Message.Send(c, b)
			}
		}
	}}
}

func melodyHandler(t *testing.T, ended chan<- error) http.Handler {
	m := melody.New()
	m.Config.MaxMessageSize = limit
	take := func(write func(*melody.Session, []byte) error) func(*melody.Session, []byte) {
		return func(s *melody.Session, b []byte) {
			if string(b) == "close" {
				s.CloseWithMsg(melody.FormatCloseMessage(4002, "asked"))
				return
			}
			write(s, b)
		}
	}
	m.HandleMessage(take((*melody.Session).Write))
	m.HandleMessageBinary(take((*melody.Session).WriteBinary))
	m.HandleError(func(_ *melody.Session, err error) {
		select {
		case ended <- err:
		default: // it may report two
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := m.HandleRequest(w, r); err != nil {
			ended <- err
		}
	})
}

func nbioHandler(t *testing.T, ended chan<- error) http.Handler {
	logging.SetLevel(logging.LevelNone)
	up := nbio.NewUpgrader()
	up.OnMessage(func(c *nbio.Conn, typ nbio.MessageType, b []byte) {
		if string(b) == "close" {
			c.WriteClose(4002, "asked")
			return
		}
		c.WriteMessage(typ, b)
	})
	up.OnClose(func(c *nbio.Conn, err error) { ended <- err })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := up.Upgrade(w, r, nil); err != nil {
			ended <- err
		}
	})
}

func wsHandler(t *testing.T, ended chan<- error) http.Handler {
	up := &ws.Upgrader{Limits: ws.Limits{ReadLimit: limit}}
	return up.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				if m.String() == "close" {
					return c.Close(4002, "asked")
				}
				return c.Send(m)
			},
			OnClose: func(_ *ws.Conn, e ws.CloseEvent) { ended <- fmt.Errorf("%d %s: %w", e.Code, e.Reason, io.EOF) },
		}, nil
	})
}

// proxy has a ReverseProxy in front of what handler makes, which serves HTTP/1.1.
func proxy(handler func(*testing.T, chan<- error) http.Handler) func(*testing.T, chan<- error) http.Handler {
	return func(t *testing.T, ended chan<- error) http.Handler {
		backend := httptest.NewServer(handler(t, ended))
		t.Cleanup(backend.Close)
		u, err := url.Parse(backend.URL)
		if err != nil {
			t.Fatal(err)
		}
		return &httputil.ReverseProxy{
			Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host },
			ErrorLog: log.New(io.Discard, "", 0), // of peers that go
		}
	}
}

// A server is a row behind Guard, and how often its handlers ended.
type server struct {
	t        *testing.T
	url      string
	tr       *h2.Transport
	ended    chan error
	returned chan struct{}
}

// servers are those of HTTP/2 that there are for Go: net/http's, and the one that it is a copy of.
var servers = map[string]func(*http.Server) error{
	"net/http":               func(*http.Server) error { return nil },
	"golang.org/x/net/http2": func(s *http.Server) error { return http2.ConfigureServer(s, nil) },
}

func serve(t *testing.T, r row, configure func(*http.Server) error) *server {
	s := &server{t: t, tr: h2.New(), ended: make(chan error, 100), returned: make(chan struct{}, 100)}
	h := ws.Guard(r.handler(t, s.ended))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { s.returned <- struct{}{} }()
		h.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(complaints{t}, "", 0)
	if err := configure(srv.Config); err != nil {
		t.Fatal(err)
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	t.Cleanup(s.tr.CloseIdleConnections)
	s.url = srv.URL
	return s
}

// complaints fails a test for what net/http logs.
type complaints struct{ t *testing.T }

func (c complaints) Write(b []byte) (int, error) {
	c.t.Errorf("net/http logged: %s", b)
	return len(b), nil
}

func (s *server) dial() (*coder.Conn, context.Context) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	c, _, err := coder.Dial(ctx, s.url, &coder.DialOptions{
		HTTPClient: &http.Client{Transport: s.tr}, HTTPHeader: http.Header{"Origin": {s.url}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	c.SetReadLimit(-1)
	s.t.Cleanup(func() { c.CloseNow() })
	return c, ctx
}

func await[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return v
}

func TestForeign(t *testing.T) {
	for _, r := range rows {
		for name, by := range servers {
			t.Run(name+"/"+r.name, func(t *testing.T) { testForeign(t, r, by) })
		}
	}
}

func testForeign(t *testing.T, r row, by func(*http.Server) error) {
	t.Run("T3_echo", func(t *testing.T) {
		s := serve(t, r, by)
		c, ctx := s.dial()
		for i, n := range []int{0, 1, 125, 126, 4095, 4096, 16384, 65535, 65536, 300_001, 1 << 20} {
			if i == 0 && r.empty != "" {
				continue
			}
			for _, typ := range []coder.MessageType{coder.MessageText, coder.MessageBinary} {
				if typ == coder.MessageText && strings.Contains(r.name, "x/net") {
					continue // it answers []byte with binary ones
				}
				want := bytes.Repeat([]byte("0123456789abcdefg"), n/17+1)[:n]
				if err := c.Write(ctx, typ, want); err != nil {
					t.Fatal(err)
				}
				got, b, err := c.Read(ctx)
				if err != nil || got != typ || !bytes.Equal(b, want) {
					t.Fatalf("%d bytes came back as %d, %v, of type %v and not %v", n, len(b), err, got, typ)
				}
			}
		}
	})
	t.Run("T3_closed_by_the_client", func(t *testing.T) {
		s := serve(t, r, by)
		c, _ := s.dial()
		if err := c.Close(4001, "done"); err != nil && r.abrupt == "" {
			t.Error(err)
		}
		if err := await(t, s.ended, "end"); r.abrupt == "" && !strings.Contains(fmt.Sprintf("%v %+v", err, err), "4001") {
			t.Errorf("the server's end saw %v, and not 4001", err)
		}
		await(t, s.returned, "return of the handler")
	})
	t.Run("T3_closed_by_the_server", func(t *testing.T) {
		s := serve(t, r, by)
		c, ctx := s.dial()
		if err := c.Write(ctx, coder.MessageText, []byte("close")); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.Read(ctx)
		var e coder.CloseError
		if errors.As(err, &e); r.abrupt == "" && (e.Code != 4002 || e.Reason != "asked") || err == nil {
			t.Errorf("the client saw %v, and not 4002", err)
		}
		await(t, s.returned, "return of the handler")
	})
	t.Run("T5_peer_goes", func(t *testing.T) {
		s := serve(t, r, by)
		stay, ctx := s.dial()
		for i := range 10 {
			c, ctx := s.dial()
			if i%2 == 0 {
				c.Write(ctx, coder.MessageText, []byte("hello"))
				c.Read(ctx)
			}
			req, _ := http.NewRequest("GET", s.url, nil)
			req.Header = http.Header{"Sec-Websocket-Key": {"x"}, "Sec-Websocket-Version": {"13"}, "Origin": {s.url}}
			res, err := s.tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.(io.Writer).Write([]byte("\x82\xfe")[:i%3]) // nothing, or a part of a frame's header
			res.Body.(*h2.Stream).Reset()
			await(t, s.ended, "end")
			await(t, s.returned, "return of the handler")
			c.CloseNow()
			await(t, s.ended, "end")
			await(t, s.returned, "return of the handler")
		}
		if err := stay.Write(ctx, coder.MessageBinary, []byte("still there")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := stay.Read(ctx); string(b) != "still there" {
			t.Errorf("another stream of the connection: %q, %v", b, err)
		}
	})
}

// TestReadme has the table of ../README.md say what the tests show.
func TestReadme(t *testing.T) {
	const begin, end = "<!-- foreign: made by `go test ./foreign -run TestReadme -update` -->\n", "<!-- end of foreign -->"
	var b strings.Builder
	b.WriteString("\n| behind Guard over HTTP/2 | echo of 0 B to 1 MiB | Close codes both ways | a peer that goes |\n| --- | --- | --- | --- |\n")
	for _, r := range rows {
		echo, closes := "works", "works"
		if r.empty != "" {
			echo = "works; 0 B are " + r.empty
		}
		if r.abrupt != "" {
			closes = "closes; " + r.abrupt
		}
		fmt.Fprintf(&b, "| %s | %s | %s | the handler ends |\n", strings.TrimSpace(r.name+" "+r.version), echo, closes)
	}
	b.WriteString("\n")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), begin)
	old, after, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatal("README.md has no place for the table")
	case *update:
		if err := os.WriteFile("../README.md", []byte(before+begin+b.String()+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
	case old != b.String():
		t.Error("README.md has another table: run it with -update")
	}
}
