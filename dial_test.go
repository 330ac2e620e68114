//go:build !js

package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
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

func TestDialURL(t *testing.T) {
	t.Parallel()
	h := ws.Upgrade(func(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnOpen: func(c *ws.Conn) error { return c.SendText(r.URL.RequestURI()) }}, nil
	})
	plain, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(func() { plain.Close(); secure.Close() })
	query := url.Values{"b": {"2", "ä&"}, "a": {"1"}}

	for _, scheme := range []string{"http", "ws", "https", "wss"} {
		for _, tt := range []struct {
			path  string
			query url.Values
			want  string
		}{
			{"/ws", nil, "/ws"},
			{"", nil, "/"},
			{"/a%2Fb/ws", nil, "/a%2Fb/ws"},
			{"/ws", query, "/ws?a=1&b=2&b=%C3%A4%26"},
			{"/ws?z=3&a=%20", query, "/ws?z=3&a=%20&a=1&b=2&b=%C3%A4%26"},
			{"/ws?", query, "/ws?a=1&b=2&b=%C3%A4%26"},
		} {
			t.Run("D1_"+scheme+tt.path, func(t *testing.T) {
				srv := plain
				if scheme == "https" || scheme == "wss" {
					srv = secure
				}
				s := newDialSide()
				opts := &ws.DialOptions{Query: tt.query, Engine: websocket.DialOptions{HTTPClient: srv.Client()}}
				c, err := ws.Dial(t.Context(), scheme+"://"+srv.Listener.Addr().String()+tt.path, s.events(), opts)
				if err != nil {
					t.Fatal(err)
				}
				if m := <-s.got; m.String() != tt.want {
					t.Errorf("the server got %q, want %q", m, tt.want)
				}
				if got := c.Request().URL.RequestURI(); got != tt.want {
					t.Errorf("Conn.Request has %q, want %q", got, tt.want)
				}
				c.Close(websocket.StatusNormalClosure, "")
				<-s.closed
			})
		}
	}

	for _, tt := range []struct {
		name, url string
		opts      *ws.DialOptions
		want      string
	}{
		{"scheme", "ftp://example.com/ws", nil, `"ftp"`},
		{"no_scheme", "/ws", nil, "must begin with ws://"},
		{"address", "127.0.0.1:3000/ws", nil, "must begin with ws://"},
		{"host", "localhost:3000/ws", nil, "must begin with ws://"},
		{"no_host", "ws:///ws", nil, "no host"},
		{"opaque", "ws:example.com", nil, "must begin with ws://"},
		{"malformed", "ws://example.com/%zz", nil, "%zz"},
		{"params", "ws://example.com/{room}", &ws.DialOptions{Params: map[string]string{"room": "1"}}, `"room"`},
	} {
		t.Run("D1_error_"+tt.name, func(t *testing.T) {
			c, err := ws.Dial(t.Context(), tt.url, ws.Events{}, tt.opts)
			if c != nil || err == nil || !strings.HasPrefix(err.Error(), "ws: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v; want an error with %s", c, err, tt.want)
			}
		})
	}
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	reject := func(err error) http.Handler {
		return (&ws.Upgrader{OnError: func(*http.Request, error) {}}).Upgrade(
			func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ws.Events{}, err })
	}
	answer := func(status int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		})
	}
	shut := &ws.Upgrader{OnError: func(*http.Request, error) {}}
	if err := shut.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		handler http.Handler
		status  int
		body    string
	}{
		{"reject", reject(ws.Reject(403, "members only")), 403, "members only"},
		{"error", reject(errors.New("secret")), 500, "Internal Server Error"},
		{"shutdown", dialEcho(shut), 503, "shutting down"},
		{"not_found", http.NotFoundHandler(), 404, "404 page not found"},
		{"page", answer(200, "<html>"), 200, "<html>"},
		{"prefix", answer(400, "ws: what?\n"), 400, "what?"}, // which this package's servers write
		{"long", answer(418, strings.Repeat("teapot ", 100_000)), 418, "teapot teapot"},
		{"empty", answer(502, ""), 502, ""},
	} {
		check := func(t *testing.T, err error) {
			t.Helper()
			var e *ws.HandshakeError
			if !errors.As(err, &e) || e.Status != tt.status || e.Err == nil || !strings.Contains(e.Err.Error(), tt.body) {
				t.Errorf("got %#v: %v; want status %d and %q", e, err, tt.status, tt.body)
			}
			if s := err.Error(); len(s) > 4<<10 || strings.Count(s, "ws: ") != 1 || !strings.HasPrefix(s, "ws: the handshake was refused with ") {
				t.Errorf("the error has %d bytes: %.100s", len(s), s)
			}
		}
		t.Run("D1_"+tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.handler)
			defer srv.Close()
			_, err := ws.Dial(t.Context(), srv.URL, ws.Events{}, nil)
			check(t, err)
		})
		t.Run("D1_in_memory_"+tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
				s := newDialSide()
				_, err := ws.Dial(t.Context(), "ws://test", s.events(), &ws.DialOptions{Handler: tt.handler})
				check(t, err)
				synctest.Wait()
				if len(s.opened)+len(s.closed)+len(s.fault) != 0 {
					t.Error("a callback was called")
				}
			})
		})
	}

	const good = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
	deflate := websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover}
	for _, tt := range []struct {
		name, header string // %s is the right Sec-WebSocket-Accept
		engine       websocket.DialOptions
		want         string
	}{
		{"wrong_accept", good + "AAAA", websocket.DialOptions{}, "Sec-WebSocket-Accept"},
		{"no_accept", "Upgrade: websocket\r\nConnection: Upgrade", websocket.DialOptions{}, "Sec-WebSocket-Accept"},
		{"no_upgrade", "Connection: Upgrade\r\nSec-WebSocket-Accept: %s", websocket.DialOptions{}, "Upgrade"},
		{"other_upgrade", "Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s", websocket.DialOptions{}, "Upgrade"},
		{"no_connection", "Upgrade: websocket\r\nSec-WebSocket-Accept: %s", websocket.DialOptions{}, "Connection"},
		{"subprotocol", good + "%s\r\nSec-WebSocket-Protocol: b", websocket.DialOptions{Subprotocols: []string{"a"}}, `"b"`},
		{"extension_not_offered", good + "%s\r\nSec-WebSocket-Extensions: permessage-deflate", websocket.DialOptions{}, "not asked for"},
		{"two_extensions", good + "%s\r\nSec-WebSocket-Extensions: permessage-deflate, x", deflate, "not asked for"},
		{"unknown_extension", good + "%s\r\nSec-WebSocket-Extensions: x", deflate, `"x"`},
		{"malformed_extension", good + "%s\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7", deflate, "server_max_window_bits=7"},
	} {
		t.Run("D1_bad_101_"+tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hungUp := make(chan struct{})
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					conn, brw, _ := http.NewResponseController(w).Hijack()
					defer conn.Close()
					header := strings.Replace(tt.header, "%s", acceptKey(r), 1)
					io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nX-Server: 1\r\n"+header+"\r\n\r\n")
					io.Copy(io.Discard, brw)
					close(hungUp)
				})
				begin := time.Now()
				_, err := ws.Dial(t.Context(), "ws://test", ws.Events{}, &ws.DialOptions{Handler: h, Engine: tt.engine})
				var e *ws.HandshakeError
				if !errors.As(err, &e) || e.Status != 0 || e.Header.Get("X-Server") != "1" || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %#v: %v; want status 0 and %s", e, err, tt.want)
				}
				if !strings.HasPrefix(err.Error(), "ws: the handshake failed: ") || strings.Contains(err.Error(), "to WebSocket dial") {
					t.Errorf("the error says %q", err)
				}
				<-hungUp
				if d := time.Since(begin); d != 0 {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
	t.Run("D1_headers_and_a_body_without_end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, "who are you?")
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			_, err := ws.Dial(ctx, "ws://test", ws.Events{}, &ws.DialOptions{Handler: h})
			var e *ws.HandshakeError
			if !errors.As(err, &e) || e.Status != 401 || e.Err.Error() != "who are you?" || e.Header.Get("WWW-Authenticate") != "Basic" {
				t.Errorf("got %#v: %v", e, err)
			}
			if d := time.Since(begin); d > time.Second {
				t.Errorf("it took %v", d)
			}
		})
	})
}

func TestDialNoAnswer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	started := make(chan struct{}, 10)
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { started <- struct{}{}; <-r.Context().Done() })
	hangUp := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, tt := range []struct {
		name    string
		handler http.Handler
		cancel  bool
		want    error
	}{
		{"refused", nil, false, nil},
		{"hang_up", hangUp, false, io.EOF},
		{"cancelled", hang, true, context.Canceled},
		{"cancelled_before", nil, true, context.Canceled},
	} {
		t.Run("D1_"+tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			addr := l.Addr().String()
			if tt.handler != nil {
				srv := httptest.NewServer(tt.handler)
				defer srv.Close()
				addr = srv.Listener.Addr().String()
			}
			switch {
			case tt.cancel && tt.handler == nil:
				cancel()
			case tt.cancel:
				go func() { <-started; cancel() }()
			}
			_, err := ws.Dial(ctx, "ws://"+addr, ws.Events{}, nil)
			var e *ws.HandshakeError
			if !errors.As(err, &e) || e.Status != 0 || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %#v: %v; want status 0 and %v", e, err, tt.want)
			}
			if s := err.Error(); !strings.HasPrefix(s, "ws: the handshake failed: ") || strings.Contains(s, "failed to") {
				t.Errorf("the error says %q", s)
			}
		})
	}
	t.Run("D1_transport_without_a_stream", func(t *testing.T) {
		srv := httptest.NewServer(dialEcho(&ws.Upgrader{}))
		defer srv.Close()
		_, err := ws.Dial(t.Context(), srv.URL, ws.Events{}, &ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: &http.Client{Transport: noStream{}}}})
		var e *ws.HandshakeError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "Transport") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("D1_deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			_, err := ws.Dial(ctx, "ws://test", ws.Events{}, &ws.DialOptions{Handler: h})
			var e *ws.HandshakeError
			if !errors.As(err, &e) || e.Status != 0 || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("D1_client_timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			opts := &ws.DialOptions{Handler: dialEcho(&ws.Upgrader{}), Engine: websocket.DialOptions{HTTPClient: &http.Client{Timeout: time.Second}}}
			s := newDialSide()
			c, err := ws.Dial(t.Context(), "ws://test", s.events(), opts)
			if err != nil {
				t.Fatal(err)
			}
			pass(time.Minute) // the timeout is the handshake's
			c.SendText("still here")
			if m := <-s.got; m.String() != "still here" {
				t.Errorf("got %q", m)
			}
			c.Close(websocket.StatusNormalClosure, "")
			<-s.closed

			opts.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			_, err = ws.Dial(t.Context(), "ws://test", ws.Events{}, opts)
			var e *ws.HandshakeError
			if !errors.As(err, &e) || e.Status != 0 {
				t.Errorf("got %v", err)
			}
		})
	})
}

// noStream is a Transport whose bodies can't be written to.
type noStream struct{}

func (noStream) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		resp.Body = struct{ io.ReadCloser }{resp.Body}
	}
	return resp, err
}

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// countedBody is a body that a Transport has wrapped.
type countedBody struct {
	io.ReadWriteCloser
	written atomic.Int64
}

func (b *countedBody) Write(p []byte) (int, error) {
	b.written.Add(int64(len(p)))
	return b.ReadWriteCloser.Write(p)
}

func TestDialTransport(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(dialEcho(&ws.Upgrader{Limits: ws.Limits{PingInterval: 2 * time.Second}})) // which misses its pongs if they go elsewhere
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "token") }))
	t.Cleanup(func() { srv.Close(); other.Close() })
	next := http.DefaultTransport
	token := func(ctx context.Context) { // from the other host
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, other.URL, nil)
		resp, err := next.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	var body countedBody
	for _, tt := range []struct {
		name   string
		f      roundTrip
		direct bool // writes go to the socket itself
	}{
		{"plain", next.RoundTrip, true},
		{"another_request_before", func(r *http.Request) (*http.Response, error) {
			token(r.Context())
			return next.RoundTrip(r)
		}, true},
		{"another_request_after", func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			token(r.Context())
			return resp, err
		}, true},
		{"another_request_alone_is_traced", func(r *http.Request) (*http.Response, error) {
			token(r.Context())
			return next.RoundTrip(r.WithContext(context.Background()))
		}, true},
		{"no_trace", func(r *http.Request) (*http.Response, error) {
			return next.RoundTrip(r.WithContext(context.Background()))
		}, true},
		{"wrapped_body", func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if err == nil {
				body.ReadWriteCloser = resp.Body.(io.ReadWriteCloser)
				resp.Body = &body
			}
			return resp, err
		}, false},
	} {
		t.Run("D1_"+tt.name, func(t *testing.T) {
			s := newDialSide()
			opts := &ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: &http.Client{Transport: tt.f}}}
			c, err := ws.Dial(t.Context(), srv.URL, s.events(), opts)
			if err != nil {
				t.Fatal(err)
			}
			c.SendText("hello")
			if m := s.next(t); m != "hello" {
				t.Errorf("got %q", m)
			}
			conn, ok := c.NetConn().(*net.TCPConn)
			if ok != tt.direct || ok && conn.RemoteAddr().String() != srv.Listener.Addr().String() {
				t.Errorf("it writes to %T %v", c.NetConn(), c.NetConn().RemoteAddr())
			}
			c.Close(1000, "")
			if e := <-s.closed; !e.WasClean {
				t.Errorf("got %+v", e)
			}
		})
	}
	if want := int64(2+4+5) + 2 + 4 + 2; body.written.Load() != want {
		t.Errorf("%d bytes went through the body, want %d", body.written.Load(), want)
	}

	t.Run("S3_no_deadlines", func(t *testing.T) {
		s := newDialSide()
		tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return noDeadlines{conn}, err
		}}
		c, err := ws.Dial(t.Context(), srv.URL, s.events(), &ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}}})
		if err != nil {
			t.Fatal(err)
		}
		if a := c.NetConn().RemoteAddr().String(); a != srv.Listener.Addr().String() {
			t.Errorf("its address is %v", a)
		}
		c.SendText("hello")
		s.next(t)
		if err := c.NetConn().SetReadDeadline(time.Now()); err != nil { // as at the end of a connection
			t.Fatal(err)
		}
		if e := <-s.closed; e.Code != 1006 {
			t.Errorf("got %+v", e)
		}
	})
}

// connectProxy is an HTTP proxy that knows CONNECT alone, and where example.com is.
type connectProxy struct {
	plain, secure string // example.com:80 and :443
	password      string // of "user"; "": none
	asked         chan *http.Request
	hang          chan struct{} // not nil: it answers nothing, and closes hang when the client has gone
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked <- r
	to := map[string]string{"example.com:80": p.plain, "example.com:443": p.secure}[r.Host]
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+p.password))
	switch {
	case p.hang != nil:
		<-r.Context().Done()
		close(p.hang)
		return
	case r.Method != http.MethodConnect || to == "":
		w.WriteHeader(http.StatusBadGateway)
		return
	case p.password != "" && r.Header.Get("Proxy-Authorization") != basic:
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, brw, _ := http.NewResponseController(w).Hijack()
	defer client.Close()
	io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		io.Copy(server, brw)
		server.Close()
	}()
	io.Copy(client, server)
}

func TestDialProxy(t *testing.T) {
	t.Parallel()
	plain, secure := httptest.NewServer(dialEcho(&ws.Upgrader{})), httptest.NewTLSServer(dialEcho(&ws.Upgrader{}))
	proxy := &connectProxy{plain: plain.Listener.Addr().String(), secure: secure.Listener.Addr().String(), password: "hunter2", asked: make(chan *http.Request, 100)}
	overHTTP, overTLS := httptest.NewServer(proxy), httptest.NewTLSServer(proxy)
	t.Cleanup(func() { overHTTP.Close(); overTLS.Close(); plain.Close(); secure.Close() })
	// through is a client of the proxy. The certificate of httptest is for example.com and 127.0.0.1.
	through := func(rawURL, user string) (*http.Transport, *ws.DialOptions) {
		u, err := url.Parse(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		if name, password, ok := strings.Cut(user, ":"); ok {
			u.User = url.UserPassword(name, password)
		}
		tr := secure.Client().Transport.(*http.Transport).Clone()
		tr.Proxy = http.ProxyURL(u)
		tr.DialContext = nil // that of httptest knows example.com
		return tr, &ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}}}
	}
	echoes := func(t *testing.T, rawURL string, opts *ws.DialOptions) (sock net.Conn) {
		t.Helper()
		s := newDialSide()
		c, err := ws.Dial(t.Context(), rawURL, s.events(), opts)
		if err != nil {
			t.Fatal(err)
		}
		c.SendText("hello")
		if m := s.next(t); m != "hello" {
			t.Errorf("got %q", m)
		}
		c.Close(1000, "")
		if e := <-s.closed; !e.WasClean {
			t.Errorf("got %+v", e)
		}
		return c.NetConn()
	}
	for name, p := range map[string]string{"http": overHTTP.URL, "https": overTLS.URL} {
		for scheme, port := range map[string]string{"ws": ":80", "wss": ":443"} {
			t.Run("D1_"+scheme+"_through_"+name, func(t *testing.T) {
				tr, opts := through(p, "user:hunter2")
				tr.ProxyConnectHeader = http.Header{"X-A": {"1"}}
				sock := echoes(t, scheme+"://example.com/ws", opts)
				r := <-proxy.asked
				if r.Method != http.MethodConnect || r.Host != "example.com"+port || r.Header.Get("X-A") != "1" {
					t.Errorf("the proxy was asked %s %s with %v", r.Method, r.Host, r.Header)
				}
				if _, isTCP := sock.(*net.TCPConn); isTCP != (scheme == "ws" && name == "http") {
					t.Errorf("it writes to %T", sock)
				}
				if tr.Proxy == nil || tr.DialContext != nil || tr.DisableKeepAlives || len(tr.ProxyConnectHeader) != 1 {
					t.Error("Dial changed the caller's Transport")
				}
				if len(proxy.asked) != 0 {
					t.Error("the proxy was asked again")
				}
			})
			t.Run("D1_refused_"+scheme+"_through_"+name, func(t *testing.T) {
				_, opts := through(p, "user:hunter3")
				_, err := ws.Dial(t.Context(), scheme+"://example.com/ws", ws.Events{}, opts)
				var e *ws.HandshakeError
				if !errors.As(err, &e) || e.Status != http.StatusProxyAuthRequired || e.Header.Get("Proxy-Authenticate") != "Basic" ||
					!strings.Contains(err.Error(), p) || !strings.HasPrefix(err.Error(), "ws: the handshake was refused with 407: ") || strings.Contains(err.Error(), "hunter") {
					t.Errorf("got %#v: %v", e, err)
				}
				<-proxy.asked
			})
		}
	}
	t.Run("D1_hooks", func(t *testing.T) {
		tr, opts := through(overHTTP.URL, "user:hunter2")
		tr.GetProxyConnectHeader = func(_ context.Context, u *url.URL, target string) (http.Header, error) {
			return http.Header{"X-Target": {u.Host + " " + target}}, nil
		}
		enough := errors.New("enough")
		var verdict error
		tr.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != 200 {
				t.Errorf("got %v", resp)
			}
			return verdict
		}
		echoes(t, "ws://example.com/ws", opts)
		if r := <-proxy.asked; r.Header.Get("X-Target") != overHTTP.Listener.Addr().String()+" example.com:80" {
			t.Errorf("the proxy got %v", r.Header)
		}
		verdict = enough
		if _, err := ws.Dial(t.Context(), "ws://example.com/ws", ws.Events{}, opts); !errors.Is(err, enough) {
			t.Errorf("got %v", err)
		}
		<-proxy.asked
	})
	t.Run("D1_no_proxy_for_the_host", func(t *testing.T) {
		tr, opts := through(overHTTP.URL, "")
		tr.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // as ProxyFromEnvironment with NO_PROXY
		echoes(t, plain.URL, opts)
		if len(proxy.asked) != 0 {
			t.Error("the proxy was asked")
		}
	})
	t.Run("D1_socks5", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		first := make(chan byte, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			b := make([]byte, 1)
			io.ReadFull(conn, b)
			first <- b[0]
		}()
		_, opts := through("socks5://"+l.Addr().String(), "")
		if _, err := ws.Dial(t.Context(), "ws://example.com/ws", ws.Events{}, opts); err == nil || <-first != 5 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("D1_no_such_proxy", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, opts := through("http://"+l.Addr().String(), "user:hunter2")
		_, err = ws.Dial(t.Context(), "ws://example.com/ws", ws.Events{}, opts)
		var e *ws.HandshakeError
		var op *net.OpError
		if !errors.As(err, &e) || e.Status != 0 || !errors.As(err, &op) || !strings.Contains(err.Error(), "the proxy http://"+l.Addr().String()) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("D1_cancelled", func(t *testing.T) {
		silent := &connectProxy{asked: make(chan *http.Request, 1), hang: make(chan struct{})}
		srv := httptest.NewServer(silent)
		defer srv.Close()
		_, opts := through(srv.URL, "")
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-silent.asked; cancel() }()
		if _, err := ws.Dial(ctx, "ws://example.com/ws", ws.Events{}, opts); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-silent.hang // the connection to the proxy does not leak
	})
}

// It is not parallel: it changes http.DefaultClient.
func TestDialDefaultClient(t *testing.T) {
	old := *http.DefaultClient
	defer func() { *http.DefaultClient = old }()
	jar, _ := cookiejar.New(nil)
	trips := 0
	*http.DefaultClient = http.Client{
		Jar:           jar,
		Transport:     roundTrip(func(r *http.Request) (*http.Response, error) { trips++; return http.DefaultTransport.RoundTrip(r) }),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       10 * time.Millisecond,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
		return ws.Events{}, nil
	}))
	mux.Handle("/old", http.RedirectHandler("/ws", http.StatusFound))
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := ws.Dial(ctx, srv.URL+"/slow", ws.Events{}, nil)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("D1: Timeout: got %v", err)
	}
	http.DefaultClient.Timeout = 0
	var e *ws.HandshakeError
	if _, err := ws.Dial(t.Context(), srv.URL+"/old", ws.Events{}, nil); !errors.As(err, &e) || e.Status != http.StatusFound {
		t.Errorf("D1: CheckRedirect: got %v", err)
	}
	s := newDialSide()
	c, err := ws.Dial(t.Context(), srv.URL+"/ws", s.events(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close(1000, "")
	<-s.closed
	u, _ := url.Parse(srv.URL)
	if len(jar.Cookies(u)) != 1 || trips != 3 {
		t.Errorf("D1: the jar has %v, the Transport was used %d times", jar.Cookies(u), trips)
	}
}

// No error holds a URL's password, nor a part of it.
func TestDialSecrets(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	host := srv.Listener.Addr().String()
	redirect := "ws://user:hunter2@" + host + "/?to="
	for i, rawURL := range []string{
		"ws://user:hunter2@h:port/ws",
		"ws://user:%68unter2%zz@h/ws",
		"ws://user:hun%@h/ws",
		"ws://user:hun er2@h/ws",
		"ws://user:hun/er2@h/ws",
		"ws://user:hun?er2@h/ws",
		"ws://user:hun#er2@h/ws",
		"ws://user:hunter2@h/\x00",
		"//user:hunter2@h/ws",
		"ftp://user:hunter2@h/ws",
		"user:hunter2@h/ws",
		"ws:user:hunter2@h/ws",
		"ws:/user:hunter2@h/ws",
		"ws://user:hunter2@",
		"ws://user:hunter2@" + host + "/ws",
		redirect + url.QueryEscape("ws://user:hunter2@h:port/ws"),
		redirect + url.QueryEscape("ws://user:hun%zz@h/ws"),
		redirect + url.QueryEscape("ftp://user:hunter2@h/ws"),
		redirect + url.QueryEscape("ws:user:hunter2@h/ws"),
	} {
		t.Run(fmt.Sprintf("D1_%d", i), func(t *testing.T) {
			check := func(what string, err error) {
				if err == nil || strings.Contains(err.Error(), "hun") || strings.Contains(err.Error(), "zz") || !strings.HasPrefix(err.Error(), "ws: ") {
					t.Errorf("%s: %s: %v", rawURL, what, err)
				}
			}
			_, err := ws.Dial(t.Context(), rawURL, ws.Events{}, nil)
			check("Dial", err)
			_, err = ws.Dial(t.Context(), rawURL, ws.Events{}, &ws.DialOptions{Params: map[string]string{"a": "b"}})
			check("Params", err)
			rt := ws.Route[int, int]{Path: "/ws"}
			if _, err = rt.URL(rawURL, nil); err != nil {
				check("Route.URL", err)
			}
			_, err = rt.Dial(t.Context(), rawURL, ws.RouteEvents[int, int]{}, nil)
			check("Route.Dial", err)
		})
	}
}

func TestDialContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	for _, network := range []string{"tcp", "tls", "memory"} {
		t.Run("X1_"+network, func(t *testing.T) {
			t.Parallel()
			u := &ws.Upgrader{}
			opts, base := &ws.DialOptions{}, "ws://test"
			switch network {
			case "tcp":
				srv := httptest.NewServer(dialEcho(u))
				defer srv.Close()
				base = srv.URL
			case "tls":
				srv := httptest.NewTLSServer(dialEcho(u))
				defer srv.Close()
				base, opts.Engine.HTTPClient = srv.URL, srv.Client()
			default:
				opts.Handler = dialEcho(u)
			}
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
			s := newDialSide()
			c, err := ws.Dial(ctx, base, s.events(), opts)
			if err != nil {
				t.Fatal(err)
			}
			cancel() // ctx bounds the handshake only
			for range 3 {
				if err := c.SendText("on"); err != nil {
					t.Fatal(err)
				}
				<-s.got
			}
			if c.Context().Err() != nil || c.Context().Value(key{}) != "value" || c.Request().Context() != c.Context() {
				t.Errorf("the connection's context is %v, of the request %v", c.Context(), c.Request().Context())
			}
			if _, has := c.Context().Deadline(); has {
				t.Error("it has a deadline")
			}
			c.Close(4000, "enough")
			<-c.Context().Done()
			var ce websocket.CloseError
			if cause := context.Cause(c.Context()); !errors.As(cause, &ce) || ce.Code != 4000 || ce.Reason != "enough" {
				t.Errorf("its cause is %v", cause)
			}
			<-s.closed
		})
	}
}

// tied is a Transport whose bodies end with the request's context.
func tied(then func()) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r.WithContext(context.Background()))
		if err == nil {
			body := resp.Body
			context.AfterFunc(r.Context(), func() { body.Close() })
			then()
		}
		return resp, err
	})
}

func TestDialCancel(t *testing.T) {
	t.Parallel()
	server := newDialSide()
	u := &ws.Upgrader{Limits: ws.Limits{PingInterval: 2 * time.Second}}
	srv := httptest.NewServer(server.serve(u))
	defer srv.Close()
	t.Run("D1_the_body_has_the_context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newDialSide()
		c, err := ws.Dial(ctx, srv.URL, s.events(), &ws.DialOptions{Engine: websocket.DialOptions{
			HTTPClient: &http.Client{Transport: tied(func() {}), Timeout: time.Minute}}})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		(<-server.opened).SendText("still here")
		if m := s.next(t); m != "still here" {
			t.Errorf("got %q", m)
		}
		c.Close(1000, "")
		if e := <-s.closed; !e.WasClean {
			t.Errorf("got %+v", e)
		}
		<-server.closed
	})
	t.Run("D1_cancelled_with_the_101", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, err := ws.Dial(ctx, srv.URL, ws.Events{}, &ws.DialOptions{Engine: websocket.DialOptions{
			HTTPClient: &http.Client{Transport: tied(cancel)}}})
		var e *ws.HandshakeError
		if c != nil || !errors.As(err, &e) || e.Status != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", c, err)
		}
		<-server.opened
		if e := <-server.closed; e.Code != 1006 || e.Err == ws.ErrPingTimeout { // a connection that leaks would not answer
			t.Errorf("the server got %+v", e)
		}
	})
}

func TestDialCallbacks(t *testing.T) {
	t.Parallel()
	t.Run("D1_does_not_wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			returned := make(chan struct{})
			done := make(chan struct{})
			mustDial(t, dialEcho(&ws.Upgrader{}), ws.Events{
				OnOpen: func(c *ws.Conn) error {
					<-returned // Dial waits for no callback
					return websocket.CloseError{Code: 4000}
				},
				OnClose: func(*ws.Conn, ws.CloseEvent) { close(done) },
			}, ws.Limits{})
			close(returned)
			<-done
		})
	})

	// fast sends with the handshake: its messages are there before OnOpen ran.
	fast := dialRaw("", func(conn net.Conn, r *bufio.Reader) {
		conn.Write(slices.Concat(dialFrame(0x81, 'a'), dialFrame(0x82, 'b'), dialFrame(0x01, 'c'), dialFrame(0x80, 'd'), dialClose(4001, "bye")))
		readCode(r)
	})
	t.Run("C1_C2_C3_order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var calls []string // no lock: one goroutine
			done := make(chan struct{})
			c := mustDial(t, fast, ws.Events{
				OnOpen:    func(*ws.Conn) error { calls = append(calls, "open"); return nil },
				OnMessage: func(_ *ws.Conn, m ws.Message) error { calls = append(calls, m.Type.String()+m.String()); return nil },
				OnClose: func(c *ws.Conn, e ws.CloseEvent) {
					calls = append(calls, fmt.Sprintf("close %d %s %t %v", e.Code, e.Reason, e.WasClean, e.Err))
					if c.Context().Err() == nil {
						t.Error("C1: the context has not ended before OnClose")
					}
					close(done)
				},
			}, ws.Limits{})
			<-done
			want := []string{"open", "MessageTexta", "MessageBinaryb", "MessageTextcd", "close 4001 bye true <nil>"}
			if !slices.Equal(calls, want) {
				t.Errorf("got %q, want %q", calls, want)
			}
			if s := c.ReadyState(); s != ws.Closed {
				t.Errorf("the state is %v", s)
			}
		})
	})

	oops := errors.New("oops")
	t.Run("D1_no_OnError", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newDialSide()
			ev := s.events()
			ev.OnError, ev.OnOpen = nil, func(*ws.Conn) error { return oops }
			mustDial(t, dialEcho(&ws.Upgrader{}), ev, ws.Limits{})
			if e := <-s.closed; e.Err != oops {
				t.Errorf("got %+v", e)
			}
		})
	})
	t.Run("C4_panics_in_OnError_and_OnClose", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server := newDialSide()
			c := mustDial(t, server.serve(&ws.Upgrader{}), ws.Events{
				OnOpen:  func(*ws.Conn) error { return oops },
				OnError: func(*ws.Conn, error) { panic("in OnError") },
				OnClose: func(*ws.Conn, ws.CloseEvent) { panic("in OnClose") },
			}, ws.Limits{})
			<-c.Context().Done()
			if e := <-server.closed; e.Code != websocket.StatusInternalError {
				t.Errorf("the server got %+v", e)
			}
		})
	})
}

// What a server may do wrong, and how the client takes it.
func TestDialPeer(t *testing.T) {
	t.Parallel()
	const kib = 1 << 10
	for _, tt := range []struct {
		name   string
		frames []byte
		sent   websocket.StatusCode // by the client
		code   websocket.StatusCode // in the CloseEvent
		clean  bool
		fault  bool
		got    int // messages
	}{
		// RFC 6455, section 5.1: a client must fail the connection if it sees a masked frame.
		{"C5_masked_text", []byte{0x81, 0x81, 1, 2, 3, 4, 'a' ^ 1}, 1002, 1006, false, true, 0},
		{"C5_masked_empty_text", []byte{0x81, 0x80, 1, 2, 3, 4}, 1002, 1006, false, true, 0},
		{"C5_masked_close", []byte{0x88, 0x82, 0, 0, 0, 0, 1000 >> 8, 1000 & 0xff}, 1002, 1006, false, true, 0},
		{"C5_reserved_bit", dialFrame(0xc1, 'a'), 1002, 1006, false, true, 0},
		{"C5_reserved_opcode", dialFrame(0x83, 'a'), 1002, 1006, false, true, 0},
		{"C5_continuation_of_nothing", dialFrame(0x80, 'a'), 1002, 1006, false, true, 0},
		{"C5_text_in_a_message", slices.Concat(dialFrame(0x01, 'a'), dialFrame(0x81, 'b')), 1002, 1006, false, true, 0},
		{"C5_fragmented_ping", dialFrame(0x09, 'a'), 1002, 1006, false, true, 0},
		{"C5_after_messages", slices.Concat(dialFrame(0x81, 'a'), dialFrame(0x82), dialFrame(0x83)), 1002, 1006, false, true, 2},
		{"C5_too_big", slices.Concat([]byte{0x82, 126, 4, 1}, make([]byte, kib+1)), 1009, 1009, true, true, 0},
		{"C5_too_big_in_fragments", slices.Concat([]byte{0x02, 126, 4, 0}, make([]byte, kib), dialFrame(0x80, 'a')), 1009, 1009, true, true, 0},
		{"C5_not_too_big", slices.Concat([]byte{0x82, 126, 4, 0}, make([]byte, kib), dialClose(1000, "")), 1000, 1000, true, false, 1},
		{"C7_text", dialFrame(0x81, 'a', 0xff), 1007, 1007, true, true, 0},
		{"C7_first_fragment", dialFrame(0x01, 'a', 0xff), 1007, 1007, true, true, 0},
		{"C7_split_rune", slices.Concat(dialFrame(0x01, 0xc3), dialFrame(0x80, 0xbc), dialClose(1000, "")), 1000, 1000, true, false, 1},
		{"C7_half_a_rune", dialFrame(0x81, 'a', 0xc3), 1007, 1007, true, true, 0},
		{"C6_code_and_reason", dialClose(4001, "ü"), 4001, 4001, true, false, 0},
		{"C6_no_code", dialFrame(0x88), 1005, 1005, true, false, 0},
		{"C6_one_byte", dialFrame(0x88, 3), 1002, 1006, false, true, 0},
		{"C6_code_1006", dialClose(1006, ""), 1002, 1006, false, true, 0},
		{"C6_code_999", dialClose(999, ""), 1002, 1006, false, true, 0},
		{"C6_reason_not_UTF-8", dialClose(4001, "a\xff"), 1007, 4001, false, true, 0},
		{"C6_hang_up", nil, 1006, 1006, false, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent := make(chan websocket.StatusCode, 1)
				s := newDialSide()
				h := dialRaw("", func(conn net.Conn, r *bufio.Reader) {
					if tt.frames == nil {
						sent <- 1006
						return
					}
					go conn.Write(tt.frames)
					code := readCode(r)
					conn.Write(dialClose(code, ""))
					sent <- code
				})
				mustDial(t, h, s.events(), ws.Limits{ReadLimit: kib})
				e := <-s.closed
				if code := <-sent; code != tt.sent {
					t.Errorf("the client sent %d, want %d", code, tt.sent)
				}
				if e.Code != tt.code || e.WasClean != tt.clean {
					t.Errorf("OnClose got %+v, want %d, %t", e, tt.code, tt.clean)
				}
				if (len(s.fault) == 1) != tt.fault {
					t.Errorf("OnError was called %d times, CloseEvent.Err is %v", len(s.fault), e.Err)
				} else if tt.fault && e.Err != <-s.fault {
					t.Errorf("CloseEvent.Err is %v and not what OnError got", e.Err)
				}
				if (e.Err == nil) != (!tt.fault && tt.clean) {
					t.Errorf("CloseEvent.Err is %v", e.Err)
				}
				if len(s.got) != tt.got {
					t.Errorf("OnMessage was called %d times, want %d", len(s.got), tt.got)
				}
			})
		})
	}
}

func TestDialClosing(t *testing.T) {
	t.Parallel()
	t.Run("S4_both_directions", func(t *testing.T) {
		for _, who := range []string{"client", "server"} {
			synctest.Test(t, func(t *testing.T) {
				client, server := newDialSide(), newDialSide()
				closer := mustDial(t, server.serve(&ws.Upgrader{}), client.events(), ws.Limits{})
				got := server.got
				if sc := <-server.opened; who == "server" {
					closer, got = sc, client.got
				}
				for i := range 50 {
					closer.SendText(fmt.Sprint(i))
				}
				if err := closer.Close(4001, "enough, ü"); err != nil {
					t.Error(err)
				}
				for _, s := range []*dialSide{client, server} {
					if e := <-s.closed; e.Code != 4001 || e.Reason != "enough, ü" || !e.WasClean || e.Err != nil {
						t.Errorf("%s closes: %+v", who, e)
					}
				}
				for i := range 50 {
					if m := <-got; m.String() != fmt.Sprint(i) {
						t.Fatalf("%s closes: message %d is %q", who, i, m)
					}
				}
			})
		}
	})
	t.Run("S5_after_Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newDialSide()
			c := mustDial(t, dialEcho(&ws.Upgrader{}), s.events(), ws.Limits{})
			c.Close(1000, "")
			check := func(when string) {
				for name, err := range map[string]error{
					"Send": c.SendText("x"), "TrySend": c.TrySend(ws.Text("x")), "Close": c.Close(1000, ""), "SendBinary": c.SendBinary(nil),
				} {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("%s %s: %v", name, when, err)
					}
				}
			}
			check("once closing")
			<-s.closed
			check("at the end")
		})
	})
	t.Run("C5_server_drops", func(t *testing.T) {
		srv := httptest.NewServer(dialRaw("", func(conn net.Conn, r *bufio.Reader) {
			conn.Write(dialFrame(0x81, 'a'))
			readMasked(r)
		}))
		defer srv.Close()
		s := newDialSide()
		c, err := ws.Dial(t.Context(), srv.URL, s.events(), nil)
		if err != nil {
			t.Fatal(err)
		}
		<-s.got
		c.SendText("now")
		if e := <-s.closed; e.Code != 1006 || e.WasClean || e.Err == nil || len(s.fault) != 0 {
			t.Errorf("got %+v, faults: %d", e, len(s.fault))
		}
	})
}

func TestDialSending(t *testing.T) {
	t.Parallel()
	t.Run("K1_silent_server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			pings := make(chan byte, 10)
			h := dialRaw("", func(conn net.Conn, r *bufio.Reader) {
				for {
					first, _, err := readMasked(r)
					if err != nil {
						return
					}
					pings <- first
				}
			})
			s := newDialSide()
			begin := time.Now()
			mustDial(t, h, s.events(), ws.Limits{})
			e := <-s.closed
			if d := time.Since(begin); d != 40*time.Second {
				t.Errorf("OnClose came after %v", d)
			}
			if err := <-s.fault; err != ws.ErrPingTimeout || e.Err != err || e.Code != 1006 {
				t.Errorf("OnError got %v, OnClose %+v", err, e)
			}
			synctest.Wait()
			if len(pings) != 1 || <-pings != 0x89 {
				t.Error("it sent something else than one ping")
			}
		})
	})
	t.Run("K1_both_ends_alive", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := newDialSide(), newDialSide()
			c := mustDial(t, server.serve(&ws.Upgrader{}), client.events(), ws.Limits{})
			sc := <-server.opened
			pass(24 * time.Hour)
			if c.ReadyState() != ws.Open || sc.ReadyState() != ws.Open {
				t.Errorf("the states are %v and %v", c.ReadyState(), sc.ReadyState())
			}
			c.Close(1000, "")
			<-client.closed
			<-server.closed
		})
	})
}

func TestDialMessages(t *testing.T) {
	t.Parallel()
	u := &ws.Upgrader{Limits: ws.Limits{ReadLimit: -1}}
	plain, secure := httptest.NewServer(dialEcho(u)), httptest.NewTLSServer(dialEcho(u))
	h2 := httptest.NewUnstartedServer(dialEcho(u))
	h2.EnableHTTP2 = true
	h2.StartTLS()
	unix := httptest.NewUnstartedServer(dialEcho(u))
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	unix.Listener.Close()
	unix.Listener = l
	unix.Start()
	overUnix := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() { plain.Close(); secure.Close(); h2.Close(); unix.Close() })
	squeeze := &ws.Upgrader{Limits: ws.Limits{ReadLimit: -1}, Engine: websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover}}
	for _, tt := range []struct {
		name, url string
		opts      ws.DialOptions
	}{
		{"tcp", plain.URL, ws.DialOptions{}},
		{"tls", secure.URL, ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: secure.Client()}}},
		{"tls_beside_http2", h2.URL, ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: h2.Client()}}},
		{"unix", "ws://test", ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: &http.Client{Transport: overUnix}}}},
		{"memory", "ws://test", ws.DialOptions{Handler: dialEcho(u)}},
		{"compressed", "ws://test", ws.DialOptions{Handler: dialEcho(squeeze), Engine: websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover}}},
		{"reuse", plain.URL, ws.DialOptions{Limits: ws.Limits{ReuseData: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newDialSide()
			ev := s.events()
			want := make(chan ws.Message, 100)
			ev.OnMessage = func(_ *ws.Conn, m ws.Message) error {
				if w := <-want; m.Type != w.Type || !bytes.Equal(m.Data, w.Data) {
					t.Errorf("got a %v of %d bytes for a %v of %d bytes", m.Type, len(m.Data), w.Type, len(w.Data))
				}
				s.got <- ws.Message{Type: m.Type}
				return nil
			}
			opts := tt.opts
			opts.ReadLimit = -1
			c, err := ws.Dial(t.Context(), tt.url, ev, &opts)
			if err != nil {
				t.Fatal(err)
			}
			sizes := []int{0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20, 4 << 20}
			if !slices.Contains([]string{"tcp", "tls", "memory"}, tt.name) {
				sizes = sizes[:len(sizes)-1]
			}
			for i, n := range sizes {
				m := ws.Message{Type: websocket.MessageText, Data: bytes.Repeat([]byte{byte('a' + i)}, n)}
				if i%2 == 1 {
					m.Type, m.Data = websocket.MessageBinary, bytes.Repeat([]byte{0xff, byte(i)}, n)[:n]
				}
				want <- m
				if err := c.Send(m); err != nil {
					t.Fatal(err)
				}
				<-s.got
			}
			c.Close(1000, "")
			<-s.closed
		})
	}
}

func TestDialCompression(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		mode      websocket.CompressionMode
		threshold int // the option
		from      int // length from which messages are compressed
		answer    string
	}{
		{"takeover", websocket.CompressionContextTakeover, 0, 128, ""},
		{"no_takeover", websocket.CompressionNoContextTakeover, 0, 512, "; client_no_context_takeover; server_no_context_takeover"},
		{"threshold", websocket.CompressionContextTakeover, 20, 20, ""},
	} {
		sizes := []int{0, tt.from - 1, tt.from, tt.from + 1, 20_000}
		engine := websocket.DialOptions{CompressionMode: tt.mode, CompressionThreshold: tt.threshold}
		t.Run(tt.name+"_echo", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &ws.Upgrader{Engine: websocket.AcceptOptions{CompressionMode: tt.mode, CompressionThreshold: tt.threshold}}
				s := newDialSide()
				c, err := ws.Dial(t.Context(), "ws://test", s.events(), &ws.DialOptions{Handler: dialEcho(u), Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					for _, n := range sizes {
						text := strings.Repeat("ab", n)[:n]
						c.SendText(text)
						if m := <-s.got; m.String() != text {
							t.Errorf("%d bytes came back as %d", n, len(m.Data))
						}
					}
				}
				c.Close(4001, "bye")
				if e := <-s.closed; e.Code != 4001 || !e.WasClean {
					t.Errorf("got %+v", e)
				}
			})
		})
		t.Run(tt.name+"_frames", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := dialRaw("Sec-WebSocket-Extensions: permessage-deflate"+tt.answer+"\r\n", func(conn net.Conn, r *bufio.Reader) {
					for _, n := range sizes {
						first, payload, err := readMasked(r)
						if err != nil || first&0xf != 1 {
							t.Errorf("%d bytes: frame %x, %v", n, first, err)
						}
						if got := first&0x40 != 0; got != (n >= tt.from) || got != (len(payload) < n) {
							t.Errorf("%d bytes came as %d, compressed: %t", n, len(payload), got)
						}
						for first&0x80 == 0 {
							first, _, _ = readMasked(r)
						}
					}
					readCode(r)
					conn.Write(dialClose(1000, ""))
				})
				s := newDialSide()
				c, err := ws.Dial(t.Context(), "ws://test", s.events(), &ws.DialOptions{Handler: h, Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range sizes {
					c.SendText(strings.Repeat("ab", n)[:n])
				}
				c.Close(1000, "")
				<-s.closed
			})
		})
	}
	t.Run("server_has_none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newDialSide()
			c, err := ws.Dial(t.Context(), "ws://test", s.events(), &ws.DialOptions{Handler: dialEcho(&ws.Upgrader{}),
				Engine: websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover}})
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Repeat("ab", 1000)
			c.SendText(text)
			if m := <-s.got; m.String() != text {
				t.Errorf("%d bytes came back", len(m.Data))
			}
			c.Close(1000, "")
			<-s.closed
		})
	})
}

func TestDialHandshake(t *testing.T) {
	t.Parallel()
	t.Run("subprotocol", func(t *testing.T) {
		for _, tt := range []struct {
			offered, known []string
			want           string
		}{
			{[]string{"b", "a"}, []string{"a", "b"}, "a"}, // the server's order
			{[]string{"x", "a"}, []string{"a"}, "a"},
			{[]string{"x"}, []string{"a"}, ""},
			{nil, []string{"a"}, ""},
		} {
			synctest.Test(t, func(t *testing.T) {
				client, server := newDialSide(), newDialSide()
				u := &ws.Upgrader{Engine: websocket.AcceptOptions{Subprotocols: tt.known}}
				c, err := ws.Dial(t.Context(), "ws://test", client.events(), &ws.DialOptions{Handler: server.serve(u),
					Engine: websocket.DialOptions{Subprotocols: tt.offered}})
				if err != nil {
					t.Fatal(err)
				}
				if sc := <-server.opened; c.Subprotocol() != tt.want || sc.Subprotocol() != tt.want {
					t.Errorf("%q of %q: the ends have %q and %q, want %q", tt.offered, tt.known, c.Subprotocol(), sc.Subprotocol(), tt.want)
				}
				c.Close(1000, "")
				<-client.closed
			})
		}
	})
	t.Run("jar_and_headers", func(t *testing.T) {
		seen := make(chan http.Header, 1)
		u := &ws.Upgrader{Engine: websocket.AcceptOptions{OriginPatterns: []string{"https://page.example"}}}
		h := ws.Guard(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
			seen <- r.Header
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
			return ws.Events{}, nil
		}))
		srv := httptest.NewServer(h)
		defer srv.Close()
		for _, opts := range []ws.DialOptions{{}, {Handler: h}} {
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			cookie := "" // of the request
			opts.Engine.HTTPClient = &http.Client{Jar: jar}
			opts.Engine.HTTPHeader = http.Header{"Origin": {"https://page.example"}, "X-Token": {"t"}}
			for range 2 {
				s := newDialSide()
				c, err := ws.Dial(t.Context(), srv.URL+"/ws", s.events(), &opts)
				if err != nil {
					t.Fatal(err)
				}
				header := <-seen
				if header.Get("X-Token") != "t" || header.Get("Origin") != "https://page.example" || c.Request().Header.Get("X-Token") != "t" {
					t.Errorf("the request has %v", header)
				}
				c.Close(1000, "")
				<-s.closed
				if got := header.Get("Cookie"); got != cookie {
					t.Errorf("the request has the cookies %q, want %q", got, cookie)
				}
				cookie = "session=1"
			}
		}
	})
	t.Run("redirect", func(t *testing.T) {
		mux := http.NewServeMux()
		mux.Handle("/new", dialEcho(&ws.Upgrader{}))
		mux.Handle("/old", http.RedirectHandler("/new?x=1", http.StatusTemporaryRedirect))
		mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "ws://"+r.Host+"/old", http.StatusFound)
		})
		srv := httptest.NewServer(mux)
		defer srv.Close()
		for _, opts := range []ws.DialOptions{{}, {Handler: mux}} {
			s := newDialSide()
			c, err := ws.Dial(t.Context(), srv.URL+"/ws", s.events(), &opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Request().URL.RequestURI(); got != "/new?x=1" {
				t.Errorf("the last request was for %s", got)
			}
			c.SendText("x")
			<-s.got
			c.Close(1000, "")
			<-s.closed

			opts.Engine.HTTPClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			_, err = ws.Dial(t.Context(), srv.URL+"/ws", ws.Events{}, &opts)
			var e *ws.HandshakeError
			if !errors.As(err, &e) || e.Status != http.StatusFound {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("D1_redirect_loop", func(t *testing.T) {
		n := 0
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; n > 100 {
				t.Error("it has no end")
				return
			}
			http.Redirect(w, r, fmt.Sprint("/", n), http.StatusFound)
		})
		synctest.Test(t, func(t *testing.T) {
			_, err := ws.Dial(t.Context(), "ws://test", ws.Events{}, &ws.DialOptions{Handler: h})
			var e *ws.HandshakeError
			if !errors.As(err, &e) || e.Status != http.StatusFound || e.Header.Get("Location") != "/10" || !strings.Contains(err.Error(), "10 redirects") {
				t.Errorf("got %#v: %v", e, err)
			}
		})
		if n != 10 {
			t.Errorf("%d requests came", n)
		}
	})
	// Some peers compare the names of headers with their case.
	t.Run("H3_spelling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			head := make(chan string, 1)
			go func() {
				defer server.Close()
				r := bufio.NewReader(server)
				var text strings.Builder
				req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(r, &text)))
				if err != nil {
					t.Error(err)
					return
				}
				head <- text.String()
				fmt.Fprintf(server, "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nSEC-WEBSOCKET-ACCEPT: %s\r\n"+
					"sec-websocket-protocol: a\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n", acceptKey(req))
				server.Write(dialClose(readCode(r), ""))
			}()
			tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
			s := newDialSide()
			c, err := ws.Dial(t.Context(), "ws://test", s.events(), &ws.DialOptions{Engine: websocket.DialOptions{
				HTTPClient:   &http.Client{Transport: tr},
				HTTPHeader:   http.Header{"Sec-WebSocket-Extensions": {"x"}, "Sec-WebSocket-Key": {"x"}},
				Subprotocols: []string{"a"}, CompressionMode: websocket.CompressionContextTakeover,
			}})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for line := range strings.Lines(<-head) {
				if name, value, _ := strings.Cut(line, ": "); strings.HasPrefix(strings.ToLower(name), "sec-") {
					if names = append(names, name); strings.TrimSpace(value) == "x" {
						t.Errorf("it sent %q", line)
					}
				}
			}
			slices.Sort(names)
			if want := []string{"Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version"}; !slices.Equal(names, want) {
				t.Errorf("it sent %q", names)
			}
			if c.Subprotocol() != "a" || len(c.Request().Header.Get("Sec-WebSocket-Key")) != 24 || c.Response().Header.Get("Sec-WebSocket-Accept") == "" {
				t.Errorf("Conn has %q, %v, %v", c.Subprotocol(), c.Request().Header, c.Response().Header)
			}
			c.Close(1000, "")
			<-s.closed
		})
	})
	t.Run("request_and_response", func(t *testing.T) {
		server := newDialSide()
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "u" || password != "p" {
				t.Errorf("the user is %q, %q", user, password)
			}
			w.Header().Set("X-Node", "7")
			server.serve(&ws.Upgrader{Engine: websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover}}).ServeHTTP(w, r)
		}))
		defer srv.Close()
		s := newDialSide()
		c, err := ws.Dial(t.Context(), "wss://u:p@"+srv.Listener.Addr().String()+"/ws", s.events(), &ws.DialOptions{Engine: websocket.DialOptions{
			HTTPClient: srv.Client(), Host: "example.com", CompressionMode: websocket.CompressionContextTakeover}})
		if err != nil {
			t.Fatal(err)
		}
		r, resp := c.Request(), c.Response()
		if r.Host != "example.com" || r.URL.Path != "/ws" || !strings.HasPrefix(r.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
			t.Errorf("the request is %v", r)
		}
		if resp.StatusCode != 101 || resp.Header.Get("X-Node") != "7" || resp.Header.Get("Sec-WebSocket-Extensions") != "permessage-deflate" || resp.TLS == nil || resp.Request != r {
			t.Errorf("the response is %v", resp)
		}
		if b, err := io.ReadAll(resp.Body); len(b) != 0 || err != nil || resp.Body.Close() != nil {
			t.Errorf("its body has %q, %v", b, err)
		}
		if sc := <-server.opened; sc.Response() != nil {
			t.Errorf("the server has the response %v", sc.Response())
		}
		c.Close(1000, "")
		<-s.closed
	})
	t.Run("options_unchanged", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := &http.Client{}
			opts := &ws.DialOptions{Handler: dialEcho(&ws.Upgrader{}), Query: url.Values{"a": {"1"}},
				Engine: websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"X-A": {"1"}}}}
			for range 2 {
				s := newDialSide()
				c, err := ws.Dial(t.Context(), "ws://test", s.events(), opts)
				if err != nil {
					t.Fatal(err)
				}
				c.Close(1000, "")
				<-s.closed
			}
			if client.Transport != nil || client.CheckRedirect != nil || opts.Engine.HTTPClient != client || opts.Engine.OnPingReceived != nil || len(opts.Engine.HTTPHeader) != 1 {
				t.Error("Dial changed the caller's options")
			}
		})
	})
}

// What tests of one's own handlers need.
func TestDialInMemory(t *testing.T) {
	t.Parallel()
	type user struct{}
	stack := func(u *ws.Upgrader, ev ws.Events) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /rooms/{room}/ws", func(w http.ResponseWriter, r *http.Request) {
			u.Serve(w, r, ws.Events{
				OnOpen: func(c *ws.Conn) error {
					return c.SendText(fmt.Sprint(r.PathValue("room"), " ", c.Context().Value(user{}), " ", c.Request().Host))
				},
				OnMessage: ev.OnMessage,
				OnClose:   ev.OnClose,
			})
		})
		auth := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", "7")
			if r.URL.Query().Get("user") == "" {
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
			mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), user{}, r.URL.Query().Get("user"))))
		})
		return ws.Guard(http.TimeoutHandler(auth, 5*time.Second, "too late"))
	}
	for _, detach := range []bool{false, true} {
		t.Run(fmt.Sprintf("stack_detach_%t", detach), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &ws.Upgrader{Detach: detach, OnError: func(_ *http.Request, err error) {
					var h *ws.HeaderError // TimeoutHandler's answer
					if !errors.As(err, &h) {
						t.Error(err)
					}
				}}
				client, server := newDialSide(), newDialSide()
				h := stack(u, ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) }, OnClose: server.events().OnClose})
				opts := &ws.DialOptions{Handler: h, Query: url.Values{"user": {"ada"}}}
				c, err := ws.Dial(t.Context(), "wss://example.com/rooms/a%2Fb/ws", client.events(), opts)
				if err != nil {
					t.Fatal(err)
				}
				if m := <-client.got; m.String() != "a/b ada example.com" {
					t.Errorf("got %q", m)
				}
				pass(time.Hour) // far beyond the middleware's timeout
				c.SendText("still here")
				if m := <-client.got; m.String() != "still here" {
					t.Errorf("got %q", m)
				}
				c.Close(4001, "bye")
				if e := <-server.closed; e.Code != 4001 || e.Reason != "bye" {
					t.Errorf("got %+v", e)
				}
				<-client.closed

				for target, status := range map[string]int{"ws://t/rooms/1/ws": 401, "ws://t/nowhere?user=x": 404} {
					_, err := ws.Dial(t.Context(), target, ws.Events{}, &ws.DialOptions{Handler: h})
					var e *ws.HandshakeError
					if !errors.As(err, &e) || e.Status != status {
						t.Errorf("%s: %v", target, err)
					}
				}
			})
		})
	}
	for scheme, secure := range map[string]bool{"ws": false, "http": false, "wss": true, "https": true} {
		t.Run("D1_like_httptest_"+scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want := httptest.NewRequest(http.MethodGet, strings.Replace(scheme, "ws", "http", 1)+"://example.com/ws", nil)
				s := newDialSide()
				c, err := ws.Dial(t.Context(), scheme+"://example.com/ws", s.events(), &ws.DialOptions{Handler: ws.Upgrade(
					func(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
						if r.RemoteAddr != want.RemoteAddr || r.Host != want.Host || (r.TLS != nil) != secure || secure && !reflect.DeepEqual(r.TLS, want.TLS) {
							t.Errorf("the request has %q, %q, %+v; want %q, %q, %+v", r.RemoteAddr, r.Host, r.TLS, want.RemoteAddr, want.Host, want.TLS)
						}
						return ws.Events{}, nil
					})})
				if err != nil {
					t.Fatal(err)
				}
				c.Close(1000, "")
				<-s.closed
			})
		})
	}
	t.Run("concurrent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var g ws.Group
			u := &ws.Upgrader{}
			h := u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
				return ws.Events{OnOpen: func(c *ws.Conn) error { g.Add(c); return nil }}, nil
			})
			const n = 50
			sides := make([]*dialSide, n)
			var wg sync.WaitGroup
			for i := range sides {
				wg.Go(func() {
					sides[i] = newDialSide()
					mustDial(t, h, sides[i].events(), ws.Limits{})
				})
			}
			wg.Wait()
			synctest.Wait()
			if g.Len() != n {
				t.Errorf("the group has %d members", g.Len())
			}
			g.Broadcast(ws.Text("all"))
			for _, s := range sides {
				if m := <-s.got; m.String() != "all" {
					t.Errorf("got %q", m)
				}
			}
			if err := u.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			for _, s := range sides {
				<-s.closed
			}
			if g.Len() != 0 {
				t.Errorf("the group has %d members at the end", g.Len())
			}
		})
	})
}
