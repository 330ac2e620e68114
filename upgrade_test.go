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
	"slices"
	"strings"
	"testing"

	"github.com/seed412db446/ws"
)

func TestHandshake(t *testing.T) {
	type errs = error
	boom := errors.New("boom, and a secret")
	patterns := func(p ...string) func(*ws.Upgrader) {
		return func(u *ws.Upgrader) { u.Engine.OriginPatterns = p }
	}
	protocols := func(p ...string) func(*ws.Upgrader) { return func(u *ws.Upgrader) { u.Engine.Subprotocols = p } }
	fallback := func(u *ws.Upgrader) {
		u.Fallback = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Page", r.Method)
			io.WriteString(w, "a page")
		})
	}
	for _, tt := range []struct {
		name    string
		with    func(u *ws.Upgrader)
		factory func(w http.ResponseWriter, r *http.Request) errs // nil: it must not be called for what is no 101
		edits   []string
		status  int
		body    string   // that is contained in it; with a newline at the end, the whole of it
		headers []string // see wants; no other of the handshake's may come with a refusal
		report  string   // contained in the only one; "": none
		reports int      // its status, if it is not the answer's
	}{
		{name: "H1_good", status: 101, headers: switches},
		{name: "H1_plain_GET", edits: plainGET, status: 426, body: "has no \"Upgrade: websocket\" header; a reverse proxy", headers: asks426},
		{name: "H1_plain_POST", edits: append([]string{"POST /ws HTTP/1.1"}, plainGET...), status: 426, body: "Upgrade: websocket", headers: asks426},
		{name: "H1_h2c", edits: []string{"Upgrade: h2c", "-Sec-WebSocket-Key"}, status: 426, body: "Upgrade: websocket", headers: asks426},
		{name: "H1_Fallback_GET", with: fallback, edits: plainGET, status: 200, body: "a page", headers: []string{"X-Page: GET"}},
		{name: "H1_Fallback_POST", with: fallback, edits: append([]string{"POST /ws HTTP/1.1"}, plainGET...), status: 200, headers: []string{"X-Page: POST"}},
		{name: "H1_Fallback_not_for_bad_handshakes", with: fallback, edits: []string{"-Sec-WebSocket-Key"}, status: 400, report: "missing Sec-WebSocket-Key", headers: []string{"-X-Page"}},
		{name: "H1_Fallback_not_for_good_handshakes", with: fallback, status: 101, headers: []string{"-X-Page"}},
		{name: "H1_POST", edits: []string{"POST /ws HTTP/1.1"}, status: 405, body: `is not GET but "POST"`, headers: []string{"Allow: GET"}, report: "POST"},
		{name: "H1_HTTP_1.0", edits: []string{"GET /ws HTTP/1.0"}, status: 426, body: "HTTP/1.0", headers: asks426[1:], report: "HTTP/1.0"},
		{name: "H1_no_version", edits: []string{"-Sec-WebSocket-Version"}, status: 400, body: "version", headers: []string{"Sec-WebSocket-Version: 13"}, report: "version"},
		{name: "H1_old_version", edits: []string{"Sec-WebSocket-Version: 8"}, status: 400, body: `"8"`, headers: []string{"Sec-WebSocket-Version: 13"}, report: `"8"`},
		{name: "H1_no_key", edits: []string{"-Sec-WebSocket-Key"}, status: 400, body: "ws: missing Sec-WebSocket-Key\n", report: "400: missing Sec-WebSocket-Key"},
		{name: "H1_two_keys", edits: []string{"+" + shakeKey}, status: 400, body: "multiple", report: "multiple"},
		{name: "H1_short_key", edits: []string{"Sec-WebSocket-Key: c2hvcnQ="}, status: 400, body: `"c2hvcnQ="`, report: "16 byte"},
		{name: "H1_key_not_base64", edits: []string{"Sec-WebSocket-Key: ???"}, status: 400, body: `"???"`, report: "base64"},
		{name: "H1_key_empty", edits: []string{"Sec-WebSocket-Key:"}, status: 400, body: "Sec-WebSocket-Key", report: "Sec-WebSocket-Key"},
		{name: "H1_proxy_dropped_both", edits: []string{"-Upgrade", "-Connection"}, status: 426, body: "Upgrade; a reverse proxy", headers: asks426, report: "proxy"},
		{name: "H1_proxy_dropped_Connection", edits: []string{"-Connection"}, status: 426, body: "Connection", headers: asks426, report: `Connection header ""`},
		{name: "H1_proxy_keeps_alive", edits: []string{"Connection: keep-alive"}, status: 426, body: `"keep-alive"`, headers: asks426, report: "keep-alive"},
		{name: "H1_proxy_dropped_Upgrade", edits: []string{"-Upgrade"}, status: 426, body: "Upgrade header", headers: asks426, report: "Upgrade header"},
		{name: "H1_Connection_list", edits: []string{"Connection: keep-alive, Upgrade"}, status: 101, headers: switches},
		{name: "H1_Connection_twice", edits: []string{"Connection: keep-alive", "+Connection: upgrade"}, status: 101},
		{name: "H1_lower_case", edits: []string{"-Connection", "-Upgrade", "+connection: upgrade", "+upgrade: websocket"}, status: 101},
		{name: "H1_upper_case", edits: []string{"Upgrade: WEBSOCKET", "Connection: UPGRADE"}, status: 101},
		{name: "H1_Upgrade_list", edits: []string{"Upgrade: h2c, websocket"}, status: 101},
		{name: "H1_Upgrade_list_bad_method", edits: []string{"PUT /ws HTTP/1.1", "Upgrade: h2c, WebSocket", "-Sec-WebSocket-Key"}, status: 405, report: "PUT", headers: []string{"Allow: GET"}},
		{name: "H1_Origin_same", edits: []string{"Origin: http://Example.com"}, status: 101},
		{name: "H1_Origin_foreign", edits: []string{"Origin: https://evil.test"}, status: 403, body: `Origin "https://evil.test" may not connect to Host "example.com"`, report: `403: a page of Origin "https://evil.test" may not connect to Host "example.com"; Upgrader.Engine.OriginPatterns`},
		{name: "H1_Origin_other_port", edits: []string{"Origin: http://example.com:81"}, status: 403, body: "example.com:81", report: `Host "example.com"`},
		{name: "H1_Origin_null", edits: []string{"Origin: null"}, status: 403, body: `Origin "null" may not connect to Host "example.com"`, report: `"null"`},
		{name: "H1_Origin_malformed", edits: []string{"Origin: http://[evil"}, status: 403, body: `"http://[evil"`, report: `Host "example.com"`},
		{name: "H1_Origin_pattern_malformed", with: patterns("["), edits: []string{"Origin: https://evil.test"}, status: 403, body: "OriginPatterns is malformed", report: "OriginPatterns is malformed"},
		{name: "H1_Origin_unchecked", with: func(u *ws.Upgrader) { u.Engine.InsecureSkipVerify = true }, edits: []string{"Origin: null"}, status: 101},

		{name: "H2_headers", status: 101, headers: append([]string{"Set-Cookie: a=1", "Set-Cookie: b=2", "X-Request-Id: 7"}, switches...), factory: func(w http.ResponseWriter, r *http.Request) errs {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
			w.Header().Set("X-Request-ID", "7")
			return nil
		}},
		{name: "H2_error", status: 500, body: internal, report: "500: boom, and a secret", factory: func(http.ResponseWriter, *http.Request) errs { return boom }},
		{name: "H2_wrote", status: 200, body: "a page", headers: []string{"X-Page: 1"}, report: "the factory answered the request itself", factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set("X-Page", "1")
			fmt.Fprint(w, "a page")
			return nil
		}},
		{name: "H2_wrote_string", status: 200, body: "a page", report: "itself", factory: func(w http.ResponseWriter, r *http.Request) errs {
			io.WriteString(w, "a page")
			return nil
		}},
		{name: "H2_copied", status: 200, body: "a page", report: "itself", factory: func(w http.ResponseWriter, r *http.Request) errs {
			io.Copy(w, io.LimitReader(strings.NewReader("a page"), 100))
			return nil
		}},
		{name: "H2_flushed", status: 200, report: "itself", factory: func(w http.ResponseWriter, r *http.Request) errs {
			return http.NewResponseController(w).Flush()
		}},
		{name: "H2_wrote_and_failed", status: 418, body: "short\n", report: "418: boom, and a secret", factory: func(w http.ResponseWriter, r *http.Request) errs {
			http.Error(w, "short", http.StatusTeapot)
			return boom
		}},
		{name: "H2_wrote_and_rejected", status: 401, body: "who?\n", report: "401: ws: the handshake was refused with 403", factory: func(w http.ResponseWriter, r *http.Request) errs {
			http.Error(w, "who?", http.StatusUnauthorized)
			return ws.Reject(403, "not you")
		}},
		{name: "H2_wrote_twice", status: 404, report: "404", factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.WriteHeader(404)
			w.WriteHeader(500)
			return nil
		}},
		{name: "H2_redirected", status: 302, headers: []string{"Location: /login"}, report: "302", factory: func(w http.ResponseWriter, r *http.Request) errs {
			http.Redirect(w, r, "/login", http.StatusFound)
			return nil
		}},
		{name: "H2_wrote_101", status: 500, report: "500", factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.WriteHeader(http.StatusSwitchingProtocols)
			return nil
		}},
		{name: "H2_hints", status: 101, headers: append([]string{"Link: </a.css>", subproto + ": chat.v2"}, switches...), with: protocols("chat.v2"), edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
			return nil
		}},
		{name: "H2_hints_after_choice", status: 101, headers: append([]string{subproto + ": chat.v1"}, switches...), with: protocols("chat.v2"), edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set(subproto, "chat.v1")
			w.WriteHeader(http.StatusEarlyHints)
			return nil
		}},
		{name: "H2_hints_and_error", status: 500, body: internal, report: "boom", factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.WriteHeader(http.StatusEarlyHints)
			return boom
		}},
		{name: "H2_hijacked", status: 299, report: "the handshake failed: the factory answered the request itself and returned no error", reports: -1, factory: func(w http.ResponseWriter, r *http.Request) errs {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, "HTTP/1.1 299 Mine\r\nContent-Length: 0\r\n\r\n")
				conn.Close()
			}
			return err
		}},
		{name: "H2_subprotocol_of_the_engine", status: 101, headers: []string{subproto + ": chat.v2"}, with: protocols("chat.v2", "chat.v1"), edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			if p := w.Header().Get(subproto); p != "chat.v2" {
				return errors.New("the factory sees " + p)
			}
			return nil
		}},
		{name: "H2_subprotocol_chosen", status: 101, headers: []string{subproto + ": chat.v1"}, with: protocols("chat.v2"), edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set(subproto, "chat.v1")
			return nil
		}},
		{name: "H2_subprotocol_offered_in_two_headers", status: 101, headers: []string{subproto + ": b"}, edits: []string{subproto + ": a", "+" + subproto + ":  b "}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set(subproto, "b")
			return nil
		}},
		{name: "H2_subprotocol_deleted", status: 101, headers: []string{"-" + subproto}, with: protocols("chat.v2"), edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Del(subproto)
			return nil
		}},
		{name: "H2_subprotocol_not_offered", status: 500, body: internal, report: `"chat", which the client did not offer`, with: protocols("chat.v2"), edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set(subproto, "chat")
			return nil
		}},
		{name: "H2_subprotocol_without_offer", status: 500, body: internal, report: "did not offer", factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set(subproto, "chat.v1")
			return nil
		}},
		{name: "H2_subprotocols_two", status: 500, body: internal, report: "more than one", edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Add(subproto, "chat.v1")
			w.Header().Add(subproto, "chat.v2")
			return nil
		}},
		{name: "H2_subprotocols_as_list", status: 500, body: internal, report: "did not offer", edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set(subproto, "chat.v1, chat.v2")
			return nil
		}},
		{name: "H2_reject", status: 403, body: "members only\n", report: "403: members only", headers: []string{"Set-Cookie: tried=1", "X-Why: 2"}, with: protocols("chat.v1"), edits: []string{twoOffers}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			http.SetCookie(w, &http.Cookie{Name: "tried", Value: "1"})
			w.Header().Set("X-Why", "2")
			return ws.Reject(403, "members only")
		}},
		{name: "H2_reject_wrapped", status: 429, body: "later\n", report: "429: later", headers: []string{"Retry-After: 9"}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set("Retry-After", "9")
			return fmt.Errorf("for us alone: %w", ws.Reject(429, "later"))
		}},
		{name: "H2_reject_with_Location", status: 307, report: "307: moved", headers: []string{"Location: wss://b.test/"}, factory: func(w http.ResponseWriter, r *http.Request) errs {
			w.Header().Set("Location", "wss://b.test/")
			return ws.Reject(307, "moved")
		}},
		{name: "H2_reject_300", status: 300, body: "x\n", report: "300: x", factory: func(http.ResponseWriter, *http.Request) errs { return ws.Reject(300, "x") }},
		{name: "H2_reject_304", status: 304, report: "304: x", factory: func(http.ResponseWriter, *http.Request) errs { return ws.Reject(304, "x") }},
		{name: "H2_reject_599", status: 599, body: "x\n", report: "599: x", factory: func(http.ResponseWriter, *http.Request) errs { return ws.Reject(599, "x") }},
		{name: "H2_reject_299", status: 500, body: internal, report: "status 299, which is not 300 to 599: x", factory: func(http.ResponseWriter, *http.Request) errs { return ws.Reject(299, "x") }},
		{name: "H2_reject_600", status: 500, body: internal, report: "600", factory: func(http.ResponseWriter, *http.Request) errs { return ws.Reject(600, "x") }},
		{name: "H2_reject_101", status: 500, body: internal, report: "101", factory: func(http.ResponseWriter, *http.Request) errs { return ws.Reject(101, "x") }},
		{name: "H2_reject_0", status: 500, body: internal, report: "status 0", factory: func(http.ResponseWriter, *http.Request) errs { return ws.Reject(0, "x") }},
		{name: "H2_reject_with_nothing", status: 500, body: internal, report: "500", factory: func(http.ResponseWriter, *http.Request) errs { return &ws.HandshakeError{Status: 403} }},
		{name: "H2_reject_nil", status: 500, body: internal, report: "500", factory: func(http.ResponseWriter, *http.Request) errs { return (*ws.HandshakeError)(nil) }},
		{name: "H2_reject_nil_wrapped", status: 500, body: internal, report: "500", factory: func(http.ResponseWriter, *http.Request) errs {
			return fmt.Errorf("refused: %w", (*ws.HandshakeError)(nil))
		}},
		{name: "H2_panic", factory: func(http.ResponseWriter, *http.Request) errs { panic("at the factory") }},
		{name: "H2_panic_abort", factory: func(http.ResponseWriter, *http.Request) errs { panic(http.ErrAbortHandler) }},
		{name: "H3_own_headers_restored", status: 101, headers: append([]string{"-Sec-WebSocket-Extensions", "-Sec-WebSocket-Version"}, switches...), factory: func(w http.ResponseWriter, r *http.Request) errs {
			clear(w.Header())
			for _, k := range []string{"Sec-WebSocket-Accept", "Connection", "Upgrade", "Sec-WebSocket-Extensions", "Sec-WebSocket-Version"} {
				w.Header().Set(k, "bogus")
			}
			return nil
		}},
	} {
		withAndWithoutGuard(t, tt.name, func(t *testing.T, guarded bool) {
			u, calls, opened := &ws.Upgrader{}, 0, make(chan string, 10)
			if tt.with != nil {
				tt.with(u)
			}
			s := newSite(t, guarded, u, func(s *site) http.Handler {
				return u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
					ev := echoEvents()
					ev.OnOpen = func(c *ws.Conn) error {
						opened <- "open " + c.Subprotocol()
						return nil
					}
					ev.OnClose = func(*ws.Conn, ws.CloseEvent) { opened <- "close" }
					calls++
					if tt.factory != nil {
						return ev, tt.factory(w, r)
					}
					return ev, nil
				})
			})
			a := shake(t, s.addr, tt.edits...)
			if a.StatusCode != tt.status {
				t.Fatalf("the status is %s, not %d: %q, reports %v", a.Status, tt.status, a.body, s.errors())
			}
			a.wants(t, tt.headers...)
			if tt.status == 101 {
				a.echoes(t)
			}
			<-s.returned
			for _, k := range handshakes {
				listed := slices.ContainsFunc(tt.headers, func(h string) bool { return strings.EqualFold(h, k+": "+a.Header.Get(k)) })
				if tt.status != 101 && !listed && a.Header[k] != nil || strings.Contains(strings.ToLower(a.hints), strings.ToLower(k)) {
					t.Errorf("a refusal has the handshake's header %s: %q%q", k, a.hints, a.head)
				}
			}
			if whole := strings.HasSuffix(tt.body, "\n"); whole && a.body != tt.body || !strings.Contains(a.body, tt.body) {
				t.Errorf("the body is %q", a.body)
			}
			if ran := tt.status == 101 || tt.factory != nil; ran != (calls == 1) {
				t.Errorf("the factory was called %d times", calls)
			}
			if want := map[bool]int{true: 2}[tt.status == 101]; len(opened) != want {
				t.Errorf("%d callbacks were called", len(opened))
			} else if want > 0 {
				if got := <-opened; got != "open "+a.Header.Get(subproto) {
					t.Errorf("the subprotocol is %q, to the client %q", got, a.Header.Get(subproto))
				}
			}
			errs := s.errors()
			switch {
			case tt.report == "" && len(errs) > 0, tt.report != "" && len(errs) != 1:
				t.Errorf("H4: reports: %v", errs)
			case tt.report != "":
				want := max(0, tt.status*(1+tt.reports))
				if e, ok := errs[0].(*ws.HandshakeError); !ok || e.Status != want || !strings.Contains(e.Error(), tt.report) {
					t.Errorf("H4: the report is %#v", errs[0])
				}
			}
			if err := u.Shutdown(t.Context()); err != nil {
				t.Errorf("K2: Shutdown: %v", err)
			}
			if a := shake(t, s.addr, slices.DeleteFunc(slices.Clone(plainGET), func(string) bool { return true })...); a.StatusCode != 503 {
				t.Errorf("K2: after Shutdown the answer is %s", a.Status)
			}

			if tt.factory != nil {
				return
			}
			served := make(chan error, 1)
			u2 := &ws.Upgrader{}
			if tt.with != nil {
				tt.with(u2)
			}
			s = newSite(t, guarded, u2, func(s *site) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { served <- u2.Serve(w, r, echoEvents()) })
			})
			if a = shake(t, s.addr, tt.edits...); a.StatusCode == 101 {
				a.echoes(t)
			}
			err := <-served
			if e, ok := err.(*ws.HandshakeError); a.StatusCode != tt.status || (err == nil) != (tt.status < 300) || err != nil && (!ok || e.Status != tt.status) {
				t.Errorf("H5: Serve answered %s and returned %v", a.Status, err)
			}
		})
	}
}

// mute is a writer that hijacks a connection on which nothing can be written.
type mute struct{ http.ResponseWriter }

func (m mute) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := m.ResponseWriter.(http.Hijacker).Hijack()
	return muteConn{conn}, brw, err
}

type muteConn struct{ net.Conn }

func (muteConn) Write([]byte) (int, error) { return 0, errors.New("mute") }

func TestHandshakeHijack(t *testing.T) {
	ev := ws.Events{
		OnOpen:  func(*ws.Conn) error { return errors.New("OnOpen was called") },
		OnClose: func(*ws.Conn, ws.CloseEvent) { panic("OnClose was called") },
	}
	for _, tt := range []struct {
		name   string
		wrap   func(w http.ResponseWriter) http.ResponseWriter
		inside bool // of Guard
		status int
	}{
		{"H1_fails", func(w http.ResponseWriter) http.ResponseWriter { return fails{w} }, false, 500},
		{"H5_can_not_write", func(w http.ResponseWriter) http.ResponseWriter { return mute{w} }, false, 0},
		{"H5_can_not_write_inside", func(w http.ResponseWriter) http.ResponseWriter { return mute{w} }, true, 0},
	} {
		withAndWithoutGuard(t, tt.name, func(t *testing.T, guarded bool) {
			u := &ws.Upgrader{}
			called, served := 0, make(chan error, 1)
			mw := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(tt.wrap(w), r) })
			}
			s := newSite(t, false, u, func(s *site) http.Handler {
				var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Before", "1")
					w.Header().Set("Upgrade", "stale")
					called++
					served <- u.Serve(w, r, ev)
				})
				switch {
				case guarded && tt.inside:
					return ws.Guard(mw(h))
				case guarded:
					return mw(ws.Guard(h))
				}
				return mw(h)
			})
			a := shake(t, s.addr, twoOffers)
			if a.StatusCode != tt.status {
				t.Fatalf("the answer is %s, %q", a.Status, a.body)
			}
			if tt.status == 500 && a.body != internal {
				t.Errorf("the body is %q", a.body)
			}
			if tt.status == 500 {
				a.wants(t, "X-Before: 1", "-Connection", "-Sec-WebSocket-Accept", "-Sec-WebSocket-Protocol")
			}
			<-s.returned
			err := <-served
			e, ok := err.(*ws.HandshakeError)
			if errs := s.errors(); !ok || e.Status != tt.status || len(errs) != 1 || errs[0] != err {
				t.Errorf("Serve returned %v, and %v was reported", err, errs)
			}
			if err := u.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHandshakeShutdown(t *testing.T) {
	withAndWithoutGuard(t, "K2_refused", func(t *testing.T, guarded bool) {
		s := newSite(t, guarded, &ws.Upgrader{}, func(s *site) http.Handler {
			return s.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { panic("the factory was called") })
		})
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		a := shake(t, s.addr)
		if a.StatusCode != 503 || a.body != "the server is shutting down\n" {
			t.Errorf("the answer is %s: %q", a.Status, a.body)
		}
		a.wants(t, "-Sec-WebSocket-Accept", "-Upgrade", "-Connection")
		<-s.returned
		var e *ws.HandshakeError
		if errs := s.errors(); len(errs) != 1 || !errors.As(errs[0], &e) || e.Status != 503 || !errors.Is(e, ws.ErrShutdown) || !strings.Contains(e.Error(), "Upgrader.Shutdown") {
			t.Errorf("reports: %v", errs)
		}
		if a := shake(t, s.addr, plainGET...); a.StatusCode != 426 {
			t.Errorf("a plain request is answered with %s", a.Status)
		}
	})

	// inFlight has a handshake in the factory when Shutdown begins.
	inFlight := func(t *testing.T, guarded bool, outcome error, ctx context.Context) (*site, chan *reply, chan error, chan struct{}, chan string) {
		entered, release, log := make(chan struct{}), make(chan struct{}), make(chan string, 10)
		s := newSite(t, guarded, &ws.Upgrader{}, func(s *site) http.Handler {
			return s.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
				close(entered)
				<-release
				return ws.Events{
					OnOpen:  func(*ws.Conn) error { log <- "open"; return nil },
					OnClose: func(_ *ws.Conn, e ws.CloseEvent) { log <- fmt.Sprint("close ", e.Code) },
				}, outcome
			})
		})
		answers, down := make(chan *reply, 1), make(chan error, 1)
		go func() { answers <- shake(t, s.addr) }()
		<-entered
		go func() { down <- s.Shutdown(ctx) }()
		for shake(t, s.addr).StatusCode != 503 { // until Shutdown has begun
		}
		return s, answers, down, release, log
	}
	for _, tt := range []struct {
		name    string
		outcome error
	}{{"K2_in_flight", nil}, {"K2_in_flight_rejected", ws.Reject(403, "no")}} {
		withAndWithoutGuard(t, tt.name, func(t *testing.T, guarded bool) {
			s, answers, down, release, log := inFlight(t, guarded, tt.outcome, t.Context())
			select {
			case err := <-down:
				t.Fatalf("Shutdown did not wait for a handshake: %v", err)
			default:
			}
			close(release)
			a := <-answers
			if tt.outcome != nil {
				if a.StatusCode != 403 {
					t.Errorf("the answer is %s", a.Status)
				}
			} else {
				frame := make([]byte, 4)
				if io.ReadFull(a.rest, frame); a.StatusCode != 101 || string(frame) != "\x88\x02\x03\xe9" {
					t.Fatalf("the answer is %s, then %q", a.Status, frame)
				}
				select {
				case err := <-down:
					t.Fatalf("Shutdown did not wait for OnClose: %v", err)
				default:
				}
				io.WriteString(a.conn, "\x88\x82\x00\x00\x00\x00\x03\xe9")
			}
			if err := <-down; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			close(log)
			var got []string
			for l := range log {
				got = append(got, l)
			}
			if want := []string{"open", "close StatusGoingAway"}; tt.outcome == nil && !slices.Equal(got, want) || tt.outcome != nil && got != nil {
				t.Errorf("callbacks: %q", got)
			}
			for range s.Conns() {
				t.Error("a connection is left")
			}
		})
	}
	withAndWithoutGuard(t, "K2_in_flight_longer_than_ctx", func(t *testing.T, guarded bool) {
		ctx, cancel := context.WithCancel(t.Context())
		s, answers, down, release, log := inFlight(t, guarded, nil, ctx)
		cancel()
		if err := <-down; err != context.Canceled {
			t.Errorf("Shutdown: %v", err)
		}
		close(release)
		a := <-answers
		got, _ := io.ReadAll(io.LimitReader(a.rest, 4))
		if a.StatusCode != 101 || string(got) != "\x88\x02\x03\xe9" {
			t.Errorf("the answer is %s, then %q", a.Status, got)
		}
		a.conn.Close()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("second Shutdown: %v", err)
		}
		if got := <-log + ", " + <-log; got != "open, close StatusAbnormalClosure" {
			t.Errorf("callbacks: %s", got)
		}
	})
}

// It sets slog's default: not parallel.
func TestHandshakeLog(t *testing.T) {
	logged := captureLog(t)
	for _, tt := range []struct {
		name  string
		err   error // of the factory
		edits []string
		want  string // what one line contains; "": none is written
	}{
		{name: "H4_plain", edits: plainGET},
		{name: "H4_400", edits: []string{"-Sec-WebSocket-Key"}},
		{name: "H4_rejected_499", err: ws.Reject(499, "no")},
		{name: "H4_rejected_500", err: ws.Reject(500, "out of order"), want: "refused with 500: out of order"},
		{name: "H4_failed", err: errors.New("no database"), want: "refused with 500: no database"},
		{name: "H4_nil_error", err: (*ws.HandshakeError)(nil), want: "refused with 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, true, &ws.Upgrader{OnError: func(*http.Request, error) {}}, func(s *site) http.Handler {
				s.OnError = nil
				return s.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return echoEvents(), tt.err })
			})
			shake(t, s.addr, tt.edits...)
			<-s.returned
			got := logged()
			if tt.want == "" && got != "" || tt.want != "" && (strings.Count(got, "\n") != 1 || !strings.Contains(got, tt.want) || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "path=/ws")) {
				t.Errorf("logged: %q", got)
			}
		})
	}
}
