//go:build !js

package ws_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

func TestHandshakeBody(t *testing.T) {
	// With Expect the server reads no body before it answers.
	for name, header := range map[string]string{"H1_Content-Length": "Content-Length: 5", "H1_chunked": "Transfer-Encoding: chunked"} {
		withAndWithoutGuard(t, name, func(t *testing.T, guarded bool) {
			s := newSite(t, guarded, &ws.Upgrader{}, func(s *site) http.Handler {
				return s.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { panic("the factory was called") })
			})
			a := shake(t, s.addr, header, "Expect: 100-continue")
			if a.StatusCode != 400 || a.body != "ws: the handshake has a body\n" {
				t.Errorf("the answer is %s: %q", a.Status, a.body)
			}
			a.wants(t, "-Upgrade", "-Sec-WebSocket-Accept")
			<-s.returned
			if errs := s.errors(); len(errs) != 1 || errs[0].Error() != "ws: the handshake was refused with 400: the handshake has a body" {
				t.Errorf("reports: %v", errs)
			}
		})
	}
}

// HTTP/2 forbids Upgrade and Connection (RFC 9113, section 8.2.2).
func TestHandshakeHTTP2(t *testing.T) {
	u := &ws.Upgrader{OnError: func(*http.Request, error) {}}
	h := u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { panic("the factory was called") })
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"H1_plain", nil, 426},
		{"H1_key", []string{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}, 426},
		{"H1_foreign", []string{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version", "13", "Connection", "Upgrade", "Upgrade", "websocket", "Origin", "https://evil.test"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/ws", nil)
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
			for i := 0; i < len(tt.headers); i += 2 {
				r.Header.Set(tt.headers[i], tt.headers[i+1])
			}
			w := httptest.NewRecorder()
			h(w, r)
			if w.Code != tt.status || w.Header()["Upgrade"] != nil || w.Header()["Connection"] != nil {
				t.Errorf("the answer is %d %v", w.Code, w.Header())
			}
		})
	}
}

func TestHandshakeHTTP10(t *testing.T) {
	for name, edits := range map[string][]string{"H1_plain": plainGET, "H1_handshake": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler { return s.Upgrade(echoFactory) })
			a := shake(t, s.addr, append([]string{"GET /ws HTTP/1.0"}, edits...)...)
			if a.StatusCode != 426 || !strings.Contains(a.body, `nginx needs "proxy_http_version 1.1"`) {
				t.Errorf("the answer is %s: %q", a.Status, a.body)
			}
		})
	}
}

func TestHandshakeSpelling(t *testing.T) {
	withAndWithoutGuard(t, "H3_as_the_RFC", func(t *testing.T, guarded bool) {
		u := &ws.Upgrader{Engine: websocket.AcceptOptions{Subprotocols: []string{"chat.v2"}, CompressionMode: websocket.CompressionNoContextTakeover}}
		s := newSite(t, guarded, u, func(s *site) http.Handler { return u.Upgrade(echoFactory) })
		a := shake(t, s.addr, twoOffers, "Sec-WebSocket-Extensions: permessage-deflate")
		for _, line := range []string{"Connection: Upgrade", "Upgrade: websocket", shakeAccept, "Sec-WebSocket-Protocol: chat.v2", "Sec-WebSocket-Extensions: permessage-deflate"} {
			if !strings.Contains(a.head, "\r\n"+line) {
				t.Errorf("%q is missing in %q", line, a.head)
			}
		}
	})
}

func TestHandshakeOrigin(t *testing.T) {
	for _, tt := range []struct {
		origin, host string
		patterns     []string
		ok           bool
	}{
		{"https://example.com", "example.com:443", nil, true},
		{"http://example.com", "example.com:80", nil, true},
		{"http://example.com:80", "example.com", nil, true},
		{"https://[::1]", "[::1]:443", nil, true},
		{"https://example.com", "example.com:80", nil, false},
		{"http://example.com", "example.com:443", nil, false},
		{"http://example.com", "example.com:8080", nil, false},
		{"https://example.com:8443", "example.com", nil, false},
		{"null", "example.com", []string{""}, false},
		{"null", "example.com", []string{"*"}, false},
		{"null", "example.com", []string{"other.test", "null"}, true},
		{"null", "", nil, false},
		{"http://null", "example.com", []string{"null"}, false},
		{"https://evil.test", "example.com", []string{"", " "}, false},
		{"https://evil.test", "example.com", []string{"null"}, false},
		{"https://A.other.test", "example.com", []string{"*.OTHER.test"}, true},
		{"https://a.other.test:99", "example.com", []string{"*.other.test"}, false},
		{"https://a.other.test:99", "example.com", []string{"*.other.test:*"}, true},
		{"https://a.other.test", "example.com", []string{"https://*.other.test"}, true},
		{"http://a.other.test", "example.com", []string{"https://*.other.test"}, false},
		{"https://evil.test", "example.com", []string{"["}, false},
		{"", "example.com", nil, true},
	} {
		t.Run(fmt.Sprintf("H6_%s_to_%s_with_%q", tt.origin, tt.host, tt.patterns), func(t *testing.T) {
			t.Parallel()
			u := &ws.Upgrader{Engine: websocket.AcceptOptions{OriginPatterns: tt.patterns}}
			s := newSite(t, true, u, func(s *site) http.Handler { return u.Upgrade(echoFactory) })
			edits := []string{"Host: " + tt.host}
			if tt.origin != "" {
				edits = append(edits, "Origin: "+tt.origin)
			}
			a := shake(t, s.addr, edits...)
			if want := map[bool]int{true: 101, false: 403}[tt.ok]; a.StatusCode != want {
				t.Fatalf("the answer is %s: %q", a.Status, a.body)
			}
			if slices.Contains(tt.patterns, "[") != strings.Contains(a.body, `the pattern "[" in Upgrader.Engine.OriginPatterns is malformed`) {
				t.Errorf("the body is %q", a.body)
			}
		})
	}
	t.Run("H6_CheckOrigin", func(t *testing.T) {
		t.Parallel()
		u := &ws.Upgrader{CheckOrigin: func(r *http.Request) bool { return r.Header.Get("Origin") == "https://other.test" }}
		s := newSite(t, true, u, func(s *site) http.Handler { return u.Upgrade(echoFactory) })
		shake(t, s.addr, "Origin: https://other.test").echoes(t)
		a := shake(t, s.addr, "Origin: http://example.com")
		if a.StatusCode != 403 || !strings.Contains(a.body, `Origin "http://example.com" may not connect to Host "example.com": Upgrader.CheckOrigin`) {
			t.Errorf("the answer is %s: %q", a.Status, a.body)
		}
	})
}

func TestUpgradeNil(t *testing.T) {
	t.Run("H2_panics_at_once", func(t *testing.T) {
		defer func() {
			if v := recover(); v != "ws: Upgrade needs a Factory, and got nil" {
				t.Errorf("the panic is %v", v)
			}
		}()
		ws.Upgrade(nil)
	})
}

func TestFactoryErrors(t *testing.T) {
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "the upstream's secret", 418) })
	known := errors.New("no such member")
	reject := ws.Reject(403, "members only")
	for _, tt := range []struct {
		name    string
		factory func(ctx context.Context) error
		status  int
		body    string
		is      error
	}{
		{"H2_error_of_an_upstream", func(ctx context.Context) error {
			_, err := ws.Dial(ctx, "ws://example.com/", ws.Events{}, &ws.DialOptions{Handler: upstream})
			return err
		}, 500, internal, nil},
		{"H2_made_by_hand", func(context.Context) error { return &ws.HandshakeError{Status: 403, Err: known} }, 500, internal, known},
		{"H2_Reject_beside_an_upstream's", func(ctx context.Context) error {
			_, err := ws.Dial(ctx, "ws://example.com/", ws.Events{}, &ws.DialOptions{Handler: upstream})
			return errors.Join(fmt.Errorf("the upstream: %w", err), fmt.Errorf("so: %w", reject))
		}, 403, "members only\n", reject},
		{"H2_nil_beside_an_upstream's", func(ctx context.Context) error {
			return errors.Join(&ws.HandshakeError{Status: 403}, (*ws.HandshakeError)(nil))
		}, 500, internal, nil},
		{"H4_Reject_is_found", func(context.Context) error { return reject }, 403, "members only\n", reject},
		{"H4_wrapped_errors_are_found", func(context.Context) error { return fmt.Errorf("%w: %w", reject, known) }, 403, "members only\n", known},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler {
				return s.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
					return ws.Events{}, tt.factory(r.Context())
				})
			})
			a := shake(t, s.addr)
			if a.StatusCode != tt.status || a.body != tt.body {
				t.Errorf("the answer is %s: %q", a.Status, a.body)
			}
			<-s.returned
			var e *ws.HandshakeError
			if errs := s.errors(); len(errs) != 1 || !errors.As(errs[0], &e) || e.Status != tt.status || tt.is != nil && !errors.Is(e, tt.is) {
				t.Errorf("reports: %v", errs)
			}
		})
	}
}

func TestHandshakeError(t *testing.T) {
	for want, err := range map[string]error{
		"ws: the handshake was refused with 401":     ws.Reject(401, ""),
		"ws: the handshake was refused with 401: no": ws.Reject(401, "no"),
		"ws: the handshake was refused with 403":     &ws.HandshakeError{Status: 403},
		"ws: the handshake failed":                   &ws.HandshakeError{},
	} {
		if err.Error() != want {
			t.Errorf("%q, and not %q", err, want)
		}
	}
}

func TestRejectWithClose(t *testing.T) {
	long := strings.Repeat("é", 100)
	for _, tt := range []struct {
		name   string
		err    error
		edits  []string
		status int
		code   int
		reason string
	}{
		{"H7_page", ws.Reject(401, "sign in"), []string{"Origin: http://example.com"}, 101, 4401, "sign in"},
		{"H7_page_with_subprotocols", ws.Reject(401, "sign in"), []string{"Origin: http://example.com", twoOffers}, 101, 4401, "sign in"},
		{"H7_long_reason", ws.Reject(599, long), []string{"Origin: http://example.com"}, 101, 4599, long[:122]},
		{"H7_no_page", ws.Reject(401, "sign in"), nil, 401, 0, ""},
		{"H7_foreign", ws.Reject(401, "sign in"), []string{"Origin: http://evil.test"}, 403, 0, ""},
		{"H7_other_error", errors.New("boom"), []string{"Origin: http://example.com"}, 500, 0, ""},
		{"H7_bad_status", ws.Reject(200, "fine"), []string{"Origin: http://example.com"}, 500, 0, ""},
	} {
		withAndWithoutGuard(t, tt.name, func(t *testing.T, guarded bool) {
			served := make(chan error, 1)
			u := &ws.Upgrader{RejectWithClose: true}
			s := newSite(t, guarded, u, func(s *site) http.Handler {
				h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
					http.SetCookie(w, &http.Cookie{Name: "tried", Value: "1"})
					return ws.Events{OnOpen: func(*ws.Conn) error { panic("opened") }, OnClose: func(*ws.Conn, ws.CloseEvent) { panic("closed") }}, tt.err
				})
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(w, r); served <- nil })
			})
			a := shake(t, s.addr, tt.edits...)
			if a.StatusCode != tt.status {
				t.Fatalf("the answer is %s: %q", a.Status, a.body)
			}
			if tt.status == 101 {
				a.wants(t, "Set-Cookie: tried=1")
				if slices.Contains(tt.edits, twoOffers) { // or browsers fail the connection
					a.wants(t, subproto+": chat.v1")
				}
				frame := make([]byte, 4+len(tt.reason))
				io.ReadFull(a.rest, frame)
				if want := dialClose(websocket.StatusCode(tt.code), tt.reason); !slices.Equal(frame, want) {
					t.Errorf("after the 101 came %q, not %q", frame, want)
				}
				for range s.Conns() {
					t.Error("Conns yields what stands for a refusal")
				}
				io.WriteString(a.conn, "\x81\x80\x00\x00\x00\x00\x88\x82\x00\x00\x00\x00\x03\xe8")
				io.Copy(io.Discard, a.rest)
			}
			<-served
			want := max(tt.code-4000, 0)
			if want == 0 {
				want = tt.status
			}
			var e *ws.HandshakeError
			if errs := s.errors(); len(errs) != 1 || !errors.As(errs[0], &e) || e.Status != want {
				t.Errorf("reports: %v", errs)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// failsLate is a writer whose Hijack fails after the one below has worked.
type failsLate struct {
	http.ResponseWriter
	gives bool // the connection, all the same
}

func (f failsLate) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := f.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil {
		err = errors.New("too late a failure")
	}
	if !f.gives {
		conn, brw = nil, nil
	}
	return conn, brw, err
}

type neverHijacks struct{ http.ResponseWriter }

func (neverHijacks) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("not today")
}

func TestHijackFailsLate(t *testing.T) {
	for _, gives := range []bool{true, false} {
		t.Run(fmt.Sprint("G2_used/", gives), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler {
				h := s.Upgrade(echoFactory)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(failsLate{w, gives}, r) })
			})
			shake(t, s.addr).echoes(t)
		})
	}
	t.Run("H1_500_behind_Guard", func(t *testing.T) { // and nothing of what a middleware still writes
		t.Parallel()
		s := newSite(t, false, &ws.Upgrader{}, func(s *site) http.Handler {
			h := s.Upgrade(echoFactory)
			guarded := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h(w, r)
				io.WriteString(w, "and more")
			}))
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { guarded.ServeHTTP(neverHijacks{w}, r) })
		})
		if a := shake(t, s.addr); a.StatusCode != 500 || a.body != "Internal Server Error\n" {
			t.Errorf("the answer is %s: %q", a.Status, a.body)
		}
		<-s.returned
	})
	t.Run("H1_500_on_the_connection", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, false, &ws.Upgrader{}, func(s *site) http.Handler {
			h := s.Upgrade(echoFactory)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(failsLate{w, true}, r) })
		})
		if a := shake(t, s.addr); a.StatusCode != 500 {
			t.Errorf("the answer is %s", a.Status)
		}
		<-s.returned
		if errs := s.errors(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "too late a failure") {
			t.Errorf("reports: %v", errs)
		}
	})
}

func TestGuardContextReplaced(t *testing.T) {
	t.Run("G2_found_along_the_chain", func(t *testing.T) {
		s := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler {
			h := s.Upgrade(echoFactory)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w = hooked{w, func(h http.Header, _ int) { h.Set("X-Hooked", "1") }}
				ws.Guard(h).ServeHTTP(w, r.WithContext(context.Background()))
				s.expect(ws.HeaderError{Op: "set", Key: "X-Late"})
				w.Header().Set("X-Late", "1")
				s.expect(ws.HeaderError{Op: "Flush"})
				http.NewResponseController(w).Flush()
			})
		})
		a := shake(t, s.addr)
		a.echoes(t)
		a.wants(t, "X-Hooked: 1")
		<-s.returned
		s.compare(t, true)
	})
}

// bufferedHeader is a writer with a map of its own, as http.TimeoutHandler's.
type bufferedHeader struct {
	hider
	h http.Header
}

func (b bufferedHeader) Header() http.Header { return b.h }
func (b bufferedHeader) WriteHeader(int)     {}

// Run it with -race. A middleware runs the handler on another goroutine, and
// works on the response meanwhile.
func TestGuardTwoGoroutines(t *testing.T) {
	type wrap = func(w http.ResponseWriter) http.ResponseWriter
	for name, tt := range map[string]struct {
		inner   wrap // what the other goroutine gets
		answers bool
	}{
		"G2_own_map":             {inner: func(w http.ResponseWriter) http.ResponseWriter { return bufferedHeader{hider{w}, http.Header{}} }},
		"G2_same_writer":         {inner: func(w http.ResponseWriter) http.ResponseWriter { return w }},
		"G2_own_map_answers":     {inner: func(w http.ResponseWriter) http.ResponseWriter { return bufferedHeader{hider{w}, http.Header{}} }, answers: true},
		"G2_same_writer_answers": {inner: func(w http.ResponseWriter) http.ResponseWriter { return w }, answers: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			called, answered, opened := make(chan bool), make(chan bool), make(chan bool, 1)
			s := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler {
				h := s.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
					http.SetCookie(w, &http.Cookie{Name: "factory", Value: "1"})
					close(called)
					if tt.answers {
						<-answered
					}
					ev := echoEvents()
					ev.OnOpen = func(*ws.Conn) error { opened <- true; return nil }
					return ev, nil
				})
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Before", "1")
					kept := w.Header()
					done := make(chan bool)
					go func() { defer close(done); h(tt.inner(w), r) }()
					<-called
					if tt.answers {
						w.Header().Set("X-Why", "timeout")
						w.WriteHeader(503)
						close(answered)
					} else {
						for i := range 100 {
							kept.Set("X-Kept", fmt.Sprint(i))
							w.Header().Set("X-Meanwhile", fmt.Sprint(i))
						}
						<-opened
						w.WriteHeader(500)
					}
					<-done
				})
			})
			a := shake(t, s.addr)
			if tt.answers {
				if a.StatusCode != 503 {
					t.Errorf("the answer is %s", a.Status)
				}
				a.wants(t, "X-Before: 1", "X-Why: timeout", "-Upgrade", "-Set-Cookie")
				<-s.returned
				var e *ws.HandshakeError
				if errs := s.errors(); len(errs) != 1 || !errors.As(errs[0], &e) || e.Status != 0 {
					t.Errorf("reports: %v", errs)
				}
				return
			}
			a.echoes(t)
			a.wants(t, "X-Before: 1", "Set-Cookie: factory=1")
			<-s.returned
			var got []string
			for _, err := range s.errors() {
				var e *ws.HeaderError
				if errors.As(err, &e) {
					got = append(got, e.Op+" "+e.Key)
				}
			}
			if !slices.Contains(got, "WriteHeader ") || !slices.Contains(got, "set X-Kept") || !slices.Contains(got, "set X-Meanwhile") {
				t.Errorf("reports: %q", got)
			}
		})
	}
}

// OnError may do what it likes: nothing hangs.
func TestReportsHang(t *testing.T) {
	for name, do := range map[string]func(w http.ResponseWriter){
		"G4a_panics": func(http.ResponseWriter) { panic("in OnError") },
		"G4a_Goexit": func(http.ResponseWriter) { runtime.Goexit() },
		"G4a_uses_the_response": func(w http.ResponseWriter) {
			w.Header().Set("X-From-OnError", "1")
			w.Write([]byte("late"))
			w.WriteHeader(500)
			http.NewResponseController(w).Flush()
		},
	} {
		for _, late := range []string{"middleware", "kept map", "factory", "refused"} {
			t.Run(name+"/"+late, func(t *testing.T) {
				t.Parallel()
				var outer, inner http.ResponseWriter
				calls := make(chan error, 1000)
				u := &ws.Upgrader{OnError: func(_ *http.Request, err error) {
					calls <- err
					do(outer)
					if inner != nil {
						do(inner)
					}
				}}
				s := newSite(t, true, u, func(s *site) http.Handler {
					h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
						if late == "refused" {
							return ws.Events{}, ws.Reject(403, "no")
						}
						inner = w
						return ws.Events{OnOpen: func(c *ws.Conn) error {
							if late == "factory" {
								w.WriteHeader(500)
							}
							return websocket.CloseError{Code: 4000}
						}}, nil
					})
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						outer = w
						kept := w.Header()
						h(w, r)
						switch late {
						case "middleware":
							w.Header().Set("X-Late", "1")
							w.Write([]byte("late"))
						case "kept map":
							kept.Set("X-Late", "1")
						}
					})
				})
				a := shake(t, s.addr)
				if a.StatusCode == 101 {
					frame := make([]byte, 4)
					io.ReadFull(a.rest, frame)
					io.WriteString(a.conn, "\x88\x82\x00\x00\x00\x00\x0f\xa0")
				}
				<-s.returned
				a.conn.Close()
				if err := u.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if n := len(calls); n == 0 || n > 20 {
					t.Errorf("OnError was called %d times", n)
				}
			})
		}
	}
}

func TestRequestKept(t *testing.T) {
	withAndWithoutGuard(t, "X1_request", func(t *testing.T, guarded bool) {
		got := make(chan *http.Request, 1)
		s := newSite(t, guarded, &ws.Upgrader{Detach: true}, func(s *site) http.Handler {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /{name}", s.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
				return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error { got <- c.Request(); return c.Send(m) }}, nil
			}))
			return mux
		})
		shake(t, s.addr, "X-Mine: 1").echoes(t)
		r := <-got
		server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
		if r.Body != http.NoBody || r.Header.Get("X-Mine") != "1" || r.PathValue("name") != "ws" || r.URL.Path != "/ws" || r.Pattern != "GET /{name}" || r.Host != "example.com" || server == nil {
			t.Errorf("the request is %+v", r)
		}
	})
	// What belongs to the response is freed while the connection lives.
	t.Run("X1_nothing_else", func(t *testing.T) {
		freed := make(chan bool, 1)
		s := newSite(t, true, &ws.Upgrader{Detach: true}, func(s *site) http.Handler {
			h := s.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
				w.Header().Set("X-Factory", "1")
				return echoEvents(), nil
			})
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				own := &pooledWriter{ResponseWriter: w}
				runtime.AddCleanup(own, func(chan bool) { freed <- true }, freed)
				h(own, r)
			})
		})
		a := shake(t, s.addr)
		<-s.returned
		deadline := time.After(10 * time.Second)
		for free := false; !free; {
			runtime.GC()
			select {
			case free = <-freed:
			case <-deadline:
				t.Fatal("the middleware's writer is held by the connection")
			default:
			}
		}
		a.echoes(t)
	})
}

// deaf is a writer whose connection has ended, and takes whatever is written.
type deaf struct{ httptest.ResponseRecorder }

func (d *deaf) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return deafConn{}, bufio.NewReadWriter(bufio.NewReaderSize(nil, 16), nil), nil
}

type deafConn struct{ net.Conn }

func (deafConn) Read([]byte) (int, error)         { return 0, io.EOF }
func (deafConn) Write(p []byte) (int, error)      { return len(p), nil }
func (deafConn) SetReadDeadline(time.Time) error  { return nil }
func (deafConn) SetWriteDeadline(time.Time) error { return nil }
func (deafConn) Close() error                     { return nil }

// BenchmarkHandshake is a handshake and the end of its connection, without a network.
func BenchmarkHandshake(b *testing.B) {
	for _, guarded := range []bool{true, false} {
		b.Run(map[bool]string{true: "Guard", false: "bare"}[guarded], func(b *testing.B) {
			u := &ws.Upgrader{}
			var h http.Handler = u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ws.Events{}, nil })
			if guarded {
				h = ws.Guard(h)
			}
			r := httptest.NewRequest("GET", "/ws", nil)
			for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
				r.Header.Set(k, v)
			}
			b.ReportAllocs()
			for b.Loop() {
				w := &deaf{}
				w.HeaderMap = http.Header{"Vary": {"Origin"}, "X-Request-Id": {"7"}, "Access-Control-Allow-Origin": {"*"}}
				h.ServeHTTP(w, r)
			}
		})
	}
}

func TestSubprotocols(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["Sec-Websocket-Protocol"] = []string{"b, a,, ", " c"}
	if got := ws.Subprotocols(r); !slices.Equal(got, []string{"b", "a", "c"}) {
		t.Errorf("%q", got)
	}
}

// It sets slog's default: not parallel.
func TestLog(t *testing.T) {
	logged := captureLog(t)
	for _, tt := range []struct {
		name    string
		factory func(w http.ResponseWriter, r *http.Request) (ws.Events, error)
		edits   []string
		want    []string // what the only line contains; nil: none is written
	}{
		{name: "H4_first_403", edits: []string{"Origin: https://a.test"}, want: []string{"level=WARN", "host=example.com", "origin=https://a.test", "proxy_set_header Host"}},
		{name: "H4_first_426", edits: []string{"-Connection"}, want: []string{"level=WARN", "proxy_set_header Upgrade"}},
		{name: "H4_first_answer_without_an_error", factory: func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
			http.Error(w, "no", 401)
			return ws.Events{}, nil
		}, want: []string{"level=WARN", "the factory answered the request itself", "ws.Reject"}},
		{name: "H4_rejected_403", factory: func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ws.Events{}, ws.Reject(403, "no") }},
		{name: "C5_callback_returns_Reject", factory: func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			return ws.Events{OnOpen: func(*ws.Conn) error { return ws.Reject(403, "too late") }}, nil
		}, want: []string{"level=ERROR", "a callback returned an error", "too late"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &ws.Upgrader{OnError: func(*http.Request, error) {}}
			s := newSite(t, true, u, func(s *site) http.Handler {
				u.OnError = nil
				factory := tt.factory
				if factory == nil {
					factory = echoFactory
				}
				mux := http.NewServeMux()
				mux.HandleFunc("/", u.Upgrade(factory))
				return mux
			})
			for i := range 3 { // the first of each route
				a := shake(t, s.addr, append([]string{fmt.Sprintf("GET /ws/%d HTTP/1.1", i)}, tt.edits...)...)
				a.conn.Close()
				<-s.returned
				if strings.Contains(strings.Join(tt.want, ""), "ERROR") {
					break
				}
			}
			got := logged()
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("%q is missing", w)
				}
			}
			if n := strings.Count(got, "\n"); n != min(1, len(tt.want)) || strings.Contains(got, "secret") {
				t.Errorf("logged: %q", got)
			}
		})
	}
	t.Run("G6_a_place_whatever_the_name", func(t *testing.T) {
		u := &ws.Upgrader{OnError: func(*http.Request, error) {}}
		s := newSite(t, true, u, func(s *site) http.Handler {
			u.OnError = nil
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				u.Upgrade(echoFactory)(w, r)
				w.Header().Set("X-"+r.Header.Get("X-Name"), "1")
			})
		})
		for i := range 3 {
			shake(t, s.addr, fmt.Sprint("X-Name: ", i)).echoes(t)
			<-s.returned
		}
		if got := logged(); strings.Count(got, "\n") != 1 {
			t.Errorf("logged: %q", got)
		}
	})
}
