//go:build !js

package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed412db446/ws"
	_ "github.com/seed412db446/ws/http2"
)

// What runs over HTTP/2, and what of it is not to: requests that only HTTP/1.1 can carry, allocations and
// sockets, what HTTP/2 answers otherwise (a 2xx that is no upgrade, no Connection header), tests that await the
// handler's return behind Guard, which waits over HTTP/2, and those for which nothing may be held on the way to
// a client that does not read.
const (
	runOverHTTP2 = "^Test(Callbacks|Close|CloseEvent|Context|Data|FactoryErrors|Faults|GoodFrames|Group|Guard.*|Handshake|Handshake(Origin|Shutdown)|" +
		"HeaderErrorLog|Heartbeat|HijackFailsLate|Hooks|Life|Log|Receiving|RejectWithClose|ReportsHang|RequestKept|Send|Shutdown)$"
	notOverHTTP2 = "TestHandshake/H1_(plain|h2c|Fallback_not|POST|HTTP_1.0|no_key|two_keys|short_key|key_|proxy_|Upgrade_list)|" +
		"TestHandshake/H2_(wrote|copied|flushed|hijacked)|TestLog/H4_first_426|TestGuardRefusals/G7_answered|TestGuardRefusals/H3_stale|" +
		"TestGuardFactory/G4_Detach|TestRequestKept/X1_nothing_else|TestReceiving/C8_alloc|TestLife/Context|TestLife/Pings/K1_a_peer|" +
		"TestSend/S1_(full|waits|a_closing)|TestClose/S4_(queue|at_the_end|dropped)|TestHeartbeat/K1_socket|TestShutdown/K2_(ctx_ends|the_queue)|TestGroup/changes"
)

var ranOverHTTP2 atomic.Bool

// TestHTTP2 is contract tests once more (T2), in a process of its own, and once however often -count repeats the others.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	if overHTTP2 {
		t.Fatal("this would never end")
	}
	if ranOverHTTP2.Swap(true) {
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+runOverHTTP2, "-test.skip="+notOverHTTP2, "-test.v", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), "WS_TEST_HTTP2=1")
	out, err := cmd.CombinedOutput()
	if n := strings.Count(string(out), "--- PASS"); err != nil || n < 900 {
		t.Errorf("%d passed: %v:\n%s", n, err, out)
	}
}

// panics fails the test when net/http logs one.
type panics struct{ t *testing.T }

func (p panics) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("panic")) {
		p.t.Errorf("net/http logged: %s", b)
	}
	return len(b), nil
}

func streamServer(t *testing.T, h http.Handler, change ...func(*http.Server)) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(panics{t}, "", 0)
	for _, f := range change {
		f(srv.Config)
	}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(func() { srv.Config.Close() })
	return srv
}

// stream is a WebSocket on an HTTP/2 connection, from the client's end.
type stream struct {
	t   *testing.T
	res *http.Response
	io.Writer
	*bufio.Reader
	leave func() // resets it
}

func connectHTTP2(t *testing.T, rt http.RoundTripper, url string, header ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	body, w := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodConnect, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = header[i+1 : i+2]
	}
	res, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return &stream{t: t, res: res, Writer: w, Reader: bufio.NewReader(res.Body), leave: func() { w.CloseWithError(errors.New("it leaves")) }}
}

func (s *stream) send(b0 byte, p string) {
	s.t.Helper()
	if _, err := s.Write(frame(b0, p)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stream) expect(b0 byte, p string) {
	s.t.Helper()
	b := make([]byte, 2+len(p))
	if _, err := io.ReadFull(s, b); err != nil || b[0] != b0 || string(b[2:]) != p {
		s.t.Fatalf("%q, %v, and not %x %q", b, err, b0, p)
	}
}

func (s *stream) text() string {
	b, err := io.ReadAll(s)
	if err != nil {
		s.t.Error(err)
	}
	return string(b)
}

func TestHTTP2Request(t *testing.T) {
	t.Parallel()
	var u ws.Upgrader
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/{id}", u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		w.Header().Set("X-Factory", r.PathValue("id"))
		if _, ok := r.Header[":protocol"]; ok || r.Method != "GET" || r.Proto != "HTTP/1.1" || r.Body != http.NoBody || r.TLS == nil || r.Host == "" {
			t.Errorf("the Factory's request is %+v", r)
		}
		return echoEvents(), nil
	}))
	h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Origin")
		rc, soon := http.NewResponseController(w), time.Now().Add(patience)
		if err := errors.Join(rc.SetReadDeadline(soon), rc.SetWriteDeadline(soon)); err != nil {
			t.Error(err)
		}
		mux.ServeHTTP(w, r)
	}))
	rt := dialHTTP2(t, streamServer(t, h))
	t.Run("T2_GET", func(t *testing.T) {
		s := connectHTTP2(t, rt, "https://x/ws/7?a=b")
		got := s.res.Header
		got.Del("Date")
		want := http.Header{"X-Factory": {"7"}, "Vary": {"Origin"}}
		if s.res.StatusCode != 200 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s %v", s.res.Status, got)
		}
		s.send(fText, "hello")
		s.expect(fText, "hello")
		s.send(fClose, closing(1000, "bye"))
		s.expect(fClose, closing(1000, "bye"))
		if rest := s.text(); rest != "" {
			t.Errorf("after the Close frame came %q", rest)
		}
	})
	t.Run("T2_origin", func(t *testing.T) {
		if s := connectHTTP2(t, rt, "https://x/ws/7", "Origin", "https://y"); s.res.StatusCode != 403 || !strings.Contains(s.text(), "Origin") {
			t.Error(s.res.Status)
		}
		if s := connectHTTP2(t, rt, "https://x/ws/7", "Origin", "https://x"); s.res.StatusCode != 200 {
			t.Error(s.res.Status)
		}
	})
	t.Run("H1_without_Guard", func(t *testing.T) {
		rt := dialHTTP2(t, streamServer(t, mux))
		s := connectHTTP2(t, rt, "https://x/ws/7")
		if s.res.StatusCode != 405 { // a pattern with GET is not found
			t.Error(s.res.Status)
		}
		rt = dialHTTP2(t, streamServer(t, (&ws.Upgrader{OnError: func(*http.Request, error) {}}).Upgrade(echoFactory)))
		s = connectHTTP2(t, rt, "https://x/ws/7")
		if text := s.text(); s.res.StatusCode != 501 || !strings.Contains(text, "HTTP/2") || !strings.Contains(text, "ws.Guard") {
			t.Errorf("%s: %s", s.res.Status, text)
		}
	})
}

// TestHTTP2Hijack: other packages upgrade in two ways, and proxies by the second.
func TestHTTP2Hijack(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\nX-Mine: 1\r\n\r\n"
	echo := func(t *testing.T, c net.Conn, r io.Reader) {
		defer c.Close()
		io.Copy(c, r)
	}
	backend := httptest.NewServer(ws.Upgrade(echoFactory))
	defer backend.Close()
	at, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]http.HandlerFunc{
		"WriteHeader": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Mine", "1")
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(101)
			c, brw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			echo(t, c, brw)
		},
		"by_hand": func(w http.ResponseWriter, r *http.Request) {
			c, brw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			for _, b := range []byte(head + "early") {
				if n, err := c.Write([]byte{b}); n != 1 || err != nil {
					t.Error(n, err)
				}
			}
			echo(t, c, brw)
		},
		"after_103": func(w http.ResponseWriter, r *http.Request) {
			c, brw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n"+head)
			go echo(t, c, brw)
		},
		"ReverseProxy": (&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at); r.Out.Host = r.In.Host }}).ServeHTTP,
	} {
		t.Run("T3_"+name, func(t *testing.T) {
			s := connectHTTP2(t, dialHTTP2(t, streamServer(t, ws.Guard(h))), "https://x/")
			for _, k := range []string{"Upgrade", "Connection", "Sec-Websocket-Accept"} {
				if v, ok := s.res.Header[k]; ok {
					t.Errorf("%s: %q", k, v)
				}
			}
			if s.res.StatusCode != 200 || name != "ReverseProxy" && s.res.Header.Get("X-Mine") != "1" {
				t.Errorf("%s %v", s.res.Status, s.res.Header)
			}
			if name == "by_hand" {
				if b, err := s.Peek(5); string(b) != "early" {
					t.Errorf("%q, %v", b, err)
				}
				s.Discard(5)
			}
			f := string(frame(fText, "hello"))
			io.WriteString(s, f)
			want := f
			if name == "ReverseProxy" {
				want = "\x81\x05hello"
			}
			b := make([]byte, len(want))
			if _, err := io.ReadFull(s, b); string(b) != want {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// TestHTTP2Hijacked: the writer has no part in a connection that was hijacked, and one that has answered is none.
func TestHTTP2Hijacked(t *testing.T) {
	s := connectHTTP2(t, dialHTTP2(t, streamServer(t, ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		c, _, err := rc.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for i := range 4 {
			switch err = nil; i {
			case 0:
				_, err = w.Write([]byte("x"))
			case 1:
				err = rc.Flush()
			case 2:
				_, _, err = rc.Hijack()
			case 3:
				err = rc.SetReadDeadline(time.Now())
			}
			if !errors.Is(err, http.ErrHijacked) {
				t.Error(i, err)
			}
		}
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno")
	})))), "https://x/")
	if text := s.text(); s.res.StatusCode != 400 || text != "no" {
		t.Errorf("%s %q", s.res.Status, text)
	}
	s = connectHTTP2(t, dialHTTP2(t, streamServer(t, ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(404)
		if c, _, err := w.(http.Hijacker).Hijack(); c != nil || err == nil {
			t.Error(c, err)
		}
	})))), "https://x/")
	if s.res.StatusCode != 404 {
		t.Error(s.res.Status)
	}
}

// TestHTTP2OutsideOfGuard: what a middleware outside of Guard does to the request and the writer.
func TestHTTP2OutsideOfGuard(t *testing.T) {
	t.Parallel()
	t.Run("T3_RemoteAddr", func(t *testing.T) { // chi's RealIP leaves no port, and a Unix socket has none
		got := make(chan net.Addr, 1)
		h := ws.Guard(ws.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			return ws.Events{OnOpen: func(c *ws.Conn) error {
				got <- c.NetConn().RemoteAddr()
				return nil
			}}, nil
		}))
		connectHTTP2(t, dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = "192.0.2.7"
			h.ServeHTTP(w, r)
		}))), "https://x/")
		if a := receive(t, got); a == nil || a.String() != "192.0.2.7" {
			t.Error(a)
		}
	})
	t.Run("H1_hidden_Flusher", func(t *testing.T) { // without it no byte would leave until the handler has returned
		failed := make(chan error, 1)
		h := ws.Guard((&ws.Upgrader{OnError: func(_ *http.Request, err error) { failed <- err }}).Upgrade(echoFactory))
		s := connectHTTP2(t, dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(hider{w}, r)
		}))), "https://x/")
		if err := receive(t, failed); s.res.StatusCode != 500 || !strings.Contains(err.Error(), "ws_test.hider hides http.Flusher; install ws.Guard outside it") {
			t.Error(s.res.Status, err)
		}
	})
}

// TestHTTP2Answers: over HTTP/2 a 2xx would open the socket.
func TestHTTP2Answers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		h      http.HandlerFunc
		status int
		text   string
	}{
		"page":    {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<p>welcome") }, 501, ""},
		"nothing": {func(w http.ResponseWriter, r *http.Request) {}, 501, ""},
		"204":     {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, 501, ""},
		"flushed": {func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); io.WriteString(w, "x") }, 501, ""},
		"length": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			io.WriteString(w, "abc")
		}, 501, ""},
		"101_alone": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(101); io.WriteString(w, "x") }, 501, ""},
		"recovered": {func(w http.ResponseWriter, r *http.Request) { defer func() { recover() }(); panic(1) }, 501, ""},
		"closed":    {func(w http.ResponseWriter, r *http.Request) { c, _, _ := w.(http.Hijacker).Hijack(); c.Close() }, 501, ""},
		"hijacked_200": {func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			c.Close()
		}, 501, ""},
		"hijacked_400": {func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			c.Close()
		}, 400, "no"},
		"hijacked_chunked": {func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n")
			c.Close()
		}, 403, ""},
		"403": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "members only", 403) }, 403, "members only\n"},
		"302": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Location", "/x"); w.WriteHeader(302) }, 302, ""},
		"404": {http.NotFound, 404, "404 page not found\n"},
		"426": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Upgrade", "x")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(426)
		}, 426, ""},
	} {
		t.Run("T4_"+name, func(t *testing.T) {
			s := connectHTTP2(t, dialHTTP2(t, streamServer(t, ws.Guard(tt.h))), "https://x/")
			if text := s.text(); s.res.StatusCode != tt.status || text != tt.text {
				t.Errorf("%s %q, want %d %q", s.res.Status, text, tt.status, tt.text)
			}
			if s.res.Header.Get("Upgrade") != "" || s.res.Header.Get("Connection") != "" {
				t.Error(s.res.Header)
			}
		})
	}
	t.Run("T4_no_HTTP", func(t *testing.T) {
		failed := make(chan error, 1)
		h := func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			_, err := io.WriteString(c, "220 smtp.example.com\r\n\r\n")
			failed <- err
			c.Close()
		}
		s := connectHTTP2(t, dialHTTP2(t, streamServer(t, ws.Guard(http.HandlerFunc(h)))), "https://x/")
		if err := <-failed; err == nil || s.res.StatusCode != 501 {
			t.Error(s.res.Status, err)
		}
	})
	t.Run("G1_other_requests", func(t *testing.T) {
		srv := streamServer(t, ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })))
		res, err := srv.Client().Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); string(b) != "HTTP/2.0" {
			t.Errorf("%q", b)
		}
		if s := connectHTTP2(t, dialHTTP2(t, srv), "https://x/", ":protocol", "connect-udp"); s.res.StatusCode != 200 || s.text() != "HTTP/2.0" {
			t.Error("another protocol's CONNECT: ", s.res.Status)
		}
	})
}

// TestHTTP2End: how a stream ends, and what may come after it.
func TestHTTP2End(t *testing.T) {
	t.Parallel()
	for _, detach := range []bool{false, true} {
		t.Run(fmt.Sprintf("T5_reset/Detach=%t", detach), func(t *testing.T) {
			r := newRecord()
			first := make(chan *ws.Conn)
			ev := r.of(ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
				if m.String() == "first" {
					first <- c
					<-first // until the stream has been reset
				}
				return nil
			}})
			returned := make(chan struct{})
			h := ws.Guard((&ws.Upgrader{Detach: detach}).Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ev, nil }))
			gone := make(chan struct{})
			rt := dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					defer close(returned)
					context.AfterFunc(r.Context(), func() { close(gone) })
					h.ServeHTTP(w, r)
				}
			})))
			s := connectHTTP2(t, rt, "https://x/")
			s.send(fText, "first")
			c := <-first
			s.send(fText, "last")
			connectHTTP2(t, rt, "https://x/other") // its answer says that the message has come
			s.leave()
			<-gone
			if detach {
				<-returned
			}
			close(first)
			<-r.done
			if err := c.SendText("late"); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if r.end.Code != 1006 || r.end.WasClean || !slices.Contains(r.log, "message last") {
				t.Errorf("%+v, %v", r.end, r.log)
			}
			if slices.ContainsFunc(r.log, func(s string) bool { return strings.HasPrefix(s, "error") }) {
				t.Errorf("a fault: %v", r.log)
			}
		})
	}
	t.Run("T5_reset_before_it_is_answered", func(t *testing.T) { // as over HTTP/1.1, where the 101 leaves all the same
		r, entered, gone := newRecord(), make(chan struct{}), make(chan struct{})
		u := &ws.Upgrader{OnError: func(_ *http.Request, err error) { t.Errorf("a fault: %v", err) }}
		h := ws.Guard(u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			close(entered)
			<-gone
			return r.of(ws.Events{}), nil
		}))
		rt := dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			context.AfterFunc(r.Context(), func() { close(gone) })
			h.ServeHTTP(w, r)
		})))
		leave(t, rt, entered)
		r.wait(t, u)
		if r.want(t, "open", "close"); r.end.Code != 1006 || r.end.WasClean {
			t.Errorf("%+v", r.end)
		}
	})
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("T3_reset_before_a_Hijack/101_first=%t", first), func(t *testing.T) {
			entered, gone := make(chan struct{}), make(chan struct{})
			returned := make(chan struct{})
			h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				<-gone
				if first {
					w.WriteHeader(101)
				}
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if !first {
					if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n"); err != nil {
						t.Error(err)
					}
				}
				if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Error(n, err)
				}
				if n, err := c.Write([]byte("x")); n != 0 || err == nil {
					t.Error(n, err)
				}
			}))
			rt := dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(returned)
				context.AfterFunc(r.Context(), func() { close(gone) })
				h.ServeHTTP(w, r)
			})))
			leave(t, rt, entered)
			receive(t, returned)
		})
	}
	t.Run("T5_peer_leaves_a_connection_that_nobody_closes", func(t *testing.T) {
		hijacked, returned := make(chan net.Conn, 1), make(chan struct{})
		h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(101)
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
			}
			hijacked <- c
		}))
		s := connectHTTP2(t, dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(returned)
			r.Body = strictBody{r.Body, t, returned}
			h.ServeHTTP(w, r)
		}))), "https://x/")
		c := <-hijacked
		if _, ok := c.RemoteAddr().(*net.TCPAddr); !ok || c.LocalAddr() == nil {
			t.Errorf("%v, %v", c.RemoteAddr(), c.LocalAddr())
		}
		io.WriteString(s, "last words")
		b := make([]byte, 5)
		io.ReadFull(c, b)
		s.leave()
		<-returned
		if n, err := c.Write([]byte("late")); n != 0 || err == nil {
			t.Errorf("a late Write: %d, %v", n, err)
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Error(err)
		}
		if b, err := io.ReadAll(c); string(b) != "words" || err == nil {
			t.Errorf("%q, %v", b, err)
		}
		if err := c.SetWriteDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(b); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := errors.Join(c.SetDeadline(time.Time{}), c.Close()); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	bubble(t, "T5_the_request's_context_goes_on", func(t *testing.T) { // or the last message would end with it
		gone, returned := make(chan struct{}), make(chan struct{})
		h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(101)
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			<-gone
			synctest.Wait()
			if b, err := io.ReadAll(c); string(b) != "last words" || err == nil || r.Context().Err() != nil {
				t.Errorf("%q, %v, %v", b, err, r.Context().Err())
			}
		}))
		rt := pipeHTTP2(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(returned)
			context.AfterFunc(r.Context(), func() { close(gone) })
			h.ServeHTTP(w, r)
		})})
		s := connectHTTP2(t, rt, "http://x:443/")
		io.WriteString(s, "last words")
		synctest.Wait()
		s.leave()
		<-returned
	})
	t.Run("T5_server_timeouts", func(t *testing.T) {
		const timeout = 50 * time.Millisecond
		s := connectHTTP2(t, dialHTTP2(t, streamServer(t, ws.Guard(ws.Upgrade(echoFactory)), func(srv *http.Server) {
			srv.ReadTimeout, srv.WriteTimeout = timeout, timeout
		})), "https://x/")
		for begin := time.Now(); time.Since(begin) < 4*timeout; {
			s.send(fText, "x")
			s.expect(fText, "x")
		}
	})
	t.Run("T5_the_server's_context_ends", func(t *testing.T) { // and no stream with it
		u := &ws.Upgrader{Detach: true}
		base, cancel := context.WithCancel(t.Context())
		upgraded := make(chan struct{})
		h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(upgraded)
			u.Upgrade(echoFactory)(w, r)
		}))
		s := connectHTTP2(t, dialHTTP2(t, streamServer(t, h, func(srv *http.Server) {
			srv.BaseContext = func(net.Listener) context.Context { return base }
		})), "https://x/")
		<-upgraded
		cancel()
		for range 100 {
			s.send(fText, "x")
			s.expect(fText, "x")
		}
		go func() {
			s.expect(fClose, closing(1001, ""))
			s.send(fClose, closing(1001, ""))
		}()
		if err := u.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("T5_a_body_that_somebody_has_wrapped", func(t *testing.T) { // http.MaxBytesHandler, say
		reads, closed := make(chan struct{}, 2), make(chan error)
		h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(101)
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				<-reads
				c.SetWriteDeadline(time.Now().Add(patience))
				c.Close()
			}()
			_, err = io.ReadAll(c)
			closed <- err
		}))
		connectHTTP2(t, dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = wrappedBody{r.Body, reads}
			h.ServeHTTP(w, r)
		}))), "https://x/")
		if err := receive(t, closed); err == nil {
			t.Error("the Read goes on")
		}
	})
	t.Run("T5_a_Conn_waits_on_its_own_goroutine", func(t *testing.T) {
		h := ws.Guard((&ws.Upgrader{}).Upgrade(echoFactory))
		s := connectHTTP2(t, dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = readBody{r.Body, t}
			h.ServeHTTP(w, r)
		}))), "https://x/")
		for _, m := range []string{"", "x", strings.Repeat("x", 125)} {
			s.send(fText, m)
			s.expect(fText, m)
		}
	})
	bubble(t, "T5_Close_ends_a_Write", func(t *testing.T) { // of the handler's, which waits for it
		wrote := make(chan error, 1)
		rt := pipeHTTP2(t, &http.Server{Handler: ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(101)
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				synctest.Wait()
				c.Close()
			}()
			_, err = c.Write(make([]byte, 6<<20))
			wrote <- err
		}))})
		connectHTTP2(t, rt, "http://x:443/") // and reads nothing
		if err := <-wrote; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	bubble(t, "T5_a_Write_that_is_late_and_nobody_closes", func(t *testing.T) {
		read, returned := make(chan error, 1), make(chan struct{})
		rt := pipeHTTP2(t, &http.Server{Handler: ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(101)
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
			}
			go func() {
				defer close(returned)
				c.SetWriteDeadline(time.Now().Add(time.Minute))
				if _, err := c.Write(make([]byte, 6<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
			}()
			_, err = c.Read(make([]byte, 1))
			read <- err
		}))})
		connectHTTP2(t, rt, "http://x:443/") // and reads nothing
		<-returned
		if err := <-read; err == nil { // and not never
			t.Error("there was nothing to read")
		}
	})
	bubble(t, "X1_a_reset_under_a_callback", func(t *testing.T) {
		r, entered := newRecord(), make(chan struct{})
		u := &ws.Upgrader{Limits: ws.Limits{PingInterval: 3 * time.Second}}
		ev := r.of(ws.Events{OnOpen: func(c *ws.Conn) error {
			close(entered)
			<-c.Context().Done()
			return nil
		}})
		rt := pipeHTTP2(t, &http.Server{Handler: ws.Guard(u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ev, nil }))})
		before := time.Now()
		s := connectHTTP2(t, rt, "http://x:443/")
		<-entered
		s.leave()
		r.wait(t, u)
		if d := time.Since(before); d > 3*time.Second { // the ping's write fails
			t.Errorf("the Context ended after %v", d)
		}
		r.want(t, "open", "close")
	})
	bubble(t, "T5_a_fault_is_the_end", func(t *testing.T) { // without a wait for the peer
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		rt := pipeHTTP2(t, &http.Server{Handler: ws.Guard(u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return r.of(ws.Events{}), nil }))})
		before := time.Now()
		s := connectHTTP2(t, rt, "http://x:443/")
		s.send(0x83, "")
		s.expect(fClose, closing(1002, "protocol error"))
		if rest := s.text(); rest != "" || !time.Now().Equal(before) {
			t.Errorf("%q after %v", rest, time.Since(before))
		}
		r.wait(t, u)
		r.want(t, "open", "error", "close")
	})
	t.Run("T5_WriteTimeout", func(t *testing.T) {
		r, returned := newRecord(), make(chan struct{})
		h := ws.Guard((&ws.Upgrader{Limits: ws.Limits{WriteTimeout: 100 * time.Millisecond}}).Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			return r.of(ws.Events{OnOpen: func(c *ws.Conn) error { return c.SendBinary(make([]byte, 6<<20)) }}), nil
		}))
		rt := dialHTTP2(t, streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				defer close(returned)
				h.ServeHTTP(w, r)
			}
		})))
		connectHTTP2(t, rt, "https://x/") // and reads nothing
		<-r.done
		<-returned
		if r.end.Code != 1006 || !errors.Is(r.err, ws.ErrWriteTimeout) {
			t.Errorf("%+v, %v", r.end, r.err)
		}
		if res := connectHTTP2(t, rt, "https://x/other").res; res.StatusCode != 200 { // a page
			t.Error("the connection's other streams: ", res.Status)
		}
	})
	t.Run("T5_Shutdown", func(t *testing.T) {
		var u ws.Upgrader
		srv := streamServer(t, ws.Guard(u.Upgrade(echoFactory)))
		s := connectHTTP2(t, dialHTTP2(t, srv), "https://x/")
		ended := make(chan error, 1)
		go func() { ended <- srv.Config.Shutdown(t.Context()) }() // waits for the stream
		go func() {
			s.expect(fClose, closing(1001, ""))
			s.send(fClose, closing(1001, ""))
		}()
		if err := errors.Join(u.Shutdown(t.Context()), <-ended); err != nil {
			t.Error(err)
		}
	})
	t.Run("T5_sends_while_it_ends", func(t *testing.T) {
		rt := dialHTTP2(t, streamServer(t, ws.Guard((&ws.Upgrader{Detach: true, Limits: ws.Limits{SendBuffer: 10 << 10}}).Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			return ws.Events{OnOpen: func(c *ws.Conn) error {
				for range 4 {
					go func() {
						for c.SendText("hello") == nil {
						}
					}()
				}
				return nil
			}, OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Close(1000, "") }}, nil
		}))))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				s := connectHTTP2(t, rt, "https://x/")
				s.Discard(100)
				if i%2 == 0 {
					s.leave()
					return
				}
				s.send(fText, "x")
				s.send(fClose, closing(1000, ""))
				io.Copy(io.Discard, s)
			})
		}
		wg.Wait()
	})
}

// leave opens a stream, and resets it when the server has entered its handler.
func leave(t *testing.T, rt http.RoundTripper, entered <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	body, _ := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://x/", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	go func() {
		<-entered
		cancel()
	}()
	if res, err := rt.RoundTrip(r); err == nil {
		t.Error("an answer: ", res.Status)
	}
}

// strictBody is net/http's, which is not to be read once the handler has returned.
type strictBody struct {
	io.ReadCloser
	t        *testing.T
	returned <-chan struct{}
}

func (b strictBody) Read(p []byte) (int, error) {
	select {
	case <-b.returned:
		b.t.Error("a Read after the handler has returned")
	default:
	}
	return b.ReadCloser.Read(p)
}

// readBody is not to be waited for without a Read.
type readBody struct {
	io.ReadCloser
	t *testing.T
}

func (b readBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		b.t.Error("a goroutine waits for input")
	}
	return b.ReadCloser.Read(p)
}

// wrappedBody waits for input only to read it.
type wrappedBody struct {
	io.ReadCloser
	reads chan struct{}
}

func (b wrappedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.reads <- struct{}{}
	return b.ReadCloser.Read(p)
}

// TestHTTP2LateWrite: few bytes that the peer takes none of wait in net/http's buffer, and were not written for that.
func TestHTTP2LateWrite(t *testing.T) {
	t.Parallel()
	const window = 4 << 20 // of the client
	type result struct {
		n   int
		err error
	}
	wrote := make(chan result, 1)
	rt := dialHTTP2(t, streamServer(t, ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(101)
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write(make([]byte, window)); err != nil {
			t.Error(err)
		}
		c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := c.Write([]byte("x"))
		wrote <- result{n, err}
	}))))
	connectHTTP2(t, rt, "https://x/") // and reads nothing
	if r := <-wrote; r.n != 0 || !errors.Is(r.err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", r.n, r.err)
	}
}

// heldBody is a request body whose Read is held until it may go on, and fails.
type heldBody struct{ entered, goOn chan struct{} }

func (b heldBody) Close() error { return nil }
func (b heldBody) Read(p []byte) (int, error) {
	if len(p) > 0 {
		close(b.entered)
		<-b.goOn
		return 0, io.ErrUnexpectedEOF
	}
	return 0, nil
}

// TestHTTP2CloseUnderRead: a Close, or a deadline, that comes while Read is in the body of a stream whose Write was late.
func TestHTTP2CloseUnderRead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(c net.Conn) error
		want error
	}{
		"Close":    {net.Conn.Close, net.ErrClosed},
		"deadline": {func(c net.Conn) error { return c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	} {
		t.Run("T5_"+name, func(t *testing.T) {
			body := heldBody{make(chan struct{}), make(chan struct{})}
			read, begun, done := make(chan error, 1), make(chan struct{}), make(chan struct{})
			h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				w.WriteHeader(101)
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				go func() {
					_, err := c.Read(make([]byte, 1))
					read <- err
				}()
				<-body.entered
				go func() {
					<-begun
					c.SetWriteDeadline(time.Now())
				}()
				if _, err := c.Write(make([]byte, 6<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
				if err := tt.end(c); err != nil {
					t.Error(err)
				}
				close(body.goOn)
				select {
				case err := <-read:
					if !errors.Is(err, tt.want) {
						t.Error(err)
					}
				case <-time.After(patience):
					t.Error("Read goes on")
				}
				c.Close()
			}))
			srv := streamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Body = body
				h.ServeHTTP(w, r)
			}))
			s := connectHTTP2(t, dialHTTP2(t, srv), "https://x/")
			if _, err := s.ReadByte(); err != nil { // and reads no more
				t.Error(err)
			}
			close(begun)
			<-done
		})
	}
}

// TestHTTP2Deadlines: those of a hijacked stream are a connection's.
func TestHTTP2Deadlines(t *testing.T) {
	t.Parallel()
	hijacked := make(chan net.Conn, 1)
	rt := dialHTTP2(t, streamServer(t, ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(101)
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
		}
		hijacked <- c
	}))))
	s := connectHTTP2(t, rt, "https://x/")
	c := <-hijacked
	b := make([]byte, 1)
	late := func(when string) { // as long as net/http's body waits for input also where it is to read nothing
		t.Helper()
		read := make(chan error, 1)
		go func() {
			n, err := c.Read(make([]byte, 1))
			if n != 0 {
				t.Errorf("%s: %d", when, n)
			}
			read <- err
		}()
		if err := receive(t, read); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", when, err)
		}
	}
	reads := func(when string) {
		t.Helper()
		go io.WriteString(s, "x")
		if n, err := c.Read(b); n != 1 || err != nil {
			t.Errorf("%s: %d, %v", when, n, err)
		}
	}
	c.SetReadDeadline(time.Unix(1, 0))
	late("past")
	c.SetReadDeadline(time.Time{})
	reads("none")
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	late("soon")
	late("again")
	c.SetReadDeadline(time.Now().Add(patience))
	reads("far")
	waits := make(chan error)
	go func() {
		_, err := c.Read(b)
		waits <- err
	}()
	c.SetReadDeadline(time.Now().Add(time.Hour))
	c.SetDeadline(time.Now())
	if err := <-waits; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("moved while it waits: ", err)
	}
	if n, err := c.Write(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: %d, %v", n, err)
	}
	c.SetDeadline(time.Time{})
	reads("after all")
	if n, err := c.Write([]byte("y")); n != 1 || err != nil {
		t.Errorf("Write: %d, %v", n, err)
	}
	if b, err := s.ReadByte(); b != 'y' || err != nil {
		t.Error(b, err)
	}
	// A deadline that passes while nobody writes is forgotten by the next; one that passes under a Write ends the stream.
	c.SetWriteDeadline(time.Now().Add(time.Millisecond))
	passed := make(chan struct{})
	time.AfterFunc(5*time.Millisecond, func() { close(passed) })
	<-passed
	c.SetWriteDeadline(time.Time{})
	go func() {
		_, err := c.Write(make([]byte, 6<<20)) // more than the client takes unread
		waits <- err
	}()
	if _, err := s.ReadByte(); err != nil {
		t.Error(err)
	}
	c.SetWriteDeadline(time.Now())
	if err := <-waits; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a Write that nobody reads: ", err)
	}
	c.SetWriteDeadline(time.Time{})
	if _, err := c.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("after it: ", err)
	}
	go func() {
		_, err := c.Read(b)
		waits <- err
	}()
	c.Close()
	if err := <-waits; err == nil {
		t.Error("a Read goes on after Close")
	}
}
