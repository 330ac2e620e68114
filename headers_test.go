//go:build !js

package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
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

type handlerFunc = func(w http.ResponseWriter, r *http.Request)

// The writers of middlewares.

// unwraps has nothing but Unwrap.
type unwraps struct{ http.ResponseWriter }

func (u unwraps) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// swallower keeps the status until the first Write, as compressing middlewares do.
type swallower struct {
	http.ResponseWriter
	status int
}

func (s *swallower) WriteHeader(status int) { s.status = status }

func (s *swallower) Write(p []byte) (int, error) {
	s.ResponseWriter.WriteHeader(s.status)
	return s.ResponseWriter.Write(p)
}

func (s *swallower) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(s.ResponseWriter).Hijack()
}

// ginWriter writes its status at the first Write, at WriteHeaderNow, or at the end.
type ginWriter struct {
	swallower
	written bool
}

func (g *ginWriter) WriteHeaderNow() {
	if !g.written {
		g.written = true
		g.ResponseWriter.WriteHeader(g.status)
	}
}

func (g *ginWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if g.written {
		return nil, nil, errors.New("written already")
	}
	return g.swallower.Hijack()
}

// ownMap has a header map of its own, which it copies to the one below in WriteHeader.
type ownMap struct {
	http.ResponseWriter
	h http.Header
}

func (o *ownMap) Unwrap() http.ResponseWriter { return o.ResponseWriter }
func (o *ownMap) Header() http.Header         { return o.h }

func (o *ownMap) WriteHeader(status int) {
	for k, v := range o.h {
		o.ResponseWriter.Header()[k] = v
	}
	o.ResponseWriter.WriteHeader(status)
}

// forwards is a writer that only passes on what it is asked.
type forwards struct{ http.ResponseWriter }

func (f *forwards) Header() http.Header         { return f.ResponseWriter.Header() }
func (f *forwards) WriteHeader(status int)      { f.ResponseWriter.WriteHeader(status) }
func (f *forwards) Write(p []byte) (int, error) { return f.ResponseWriter.Write(p) }
func (f *forwards) Flush()                      { f.ResponseWriter.(http.Flusher).Flush() }
func (f *forwards) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return f.ResponseWriter.(http.Hijacker).Hijack()
}

func wrapping(wrap func(w http.ResponseWriter) http.ResponseWriter) func(*site, http.Handler) handlerFunc {
	return func(_ *site, next http.Handler) handlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) }
	}
}

func after(do func(s *site, w http.ResponseWriter)) func(*site, http.Handler) handlerFunc {
	return func(s *site, next http.Handler) handlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			do(s, w)
		}
	}
}

func TestGuard(t *testing.T) {
	type S = *site
	type W = http.ResponseWriter
	type E = ws.HeaderError
	set := func(k string) E { return E{Op: "set", Key: k} }
	del := func(k string) E { return E{Op: "delete", Key: k} }
	status := func(n int) E { return E{Op: "WriteHeader", Status: n} }
	write, flush := E{Op: "Write"}, E{Op: "Flush"}
	type tc struct {
		name    string
		mw      func(s *site, next http.Handler) handlerFunc
		bare    int      // the status without Guard, if not 101; -1: not to be tried, for net/http panics
		body    string   // that explains it
		guarded []string // headers of the 101 with Guard alone
		headers []string // with and without
		edits   []string
	}
	for _, tt := range []tc{
		{name: "G2_TimeoutHandler", bare: 501, body: "ws: *http.timeoutWriter hides http.Hijacker; install ws.Guard outside it", guarded: []string{"X-Tw: 1"},
			mw: func(_ S, next http.Handler) handlerFunc {
				return http.TimeoutHandler(http.HandlerFunc(func(w W, r *http.Request) {
					w.Header().Set("X-Tw", "1")
					next.ServeHTTP(w, r)
				}), time.Minute, "").ServeHTTP
			}},
		{name: "G2_hidden", bare: 501, body: "ws: ws_test.hider hides http.Hijacker; install ws.Guard outside it\n", mw: wrapping(func(w W) W { return hider{w} })},
		{name: "G2_hidden_chain", bare: 501, body: "ws_test.hider hides http.Hijacker; install ws.Guard outside it (the writers on the way are ws_test.unwraps, ws_test.hooked, ws_test.hider)",
			mw: wrapping(func(w W) W { return unwraps{hooked{hider{w}, func(http.Header, int) {}}} })},
		{name: "G2_hidden_swallower", bare: 501, body: "hider", mw: wrapping(func(w W) W { return hider{&swallower{ResponseWriter: w}} })},
		{name: "G2_swallower", mw: wrapping(func(w W) W { return &swallower{ResponseWriter: w} })},
		{name: "G2_Unwrap_over_gin", mw: wrapping(func(w W) W { return unwraps{&ginWriter{swallower: swallower{ResponseWriter: w}}} })},
		{name: "G2_Hijack_fails", bare: 500, body: internal, mw: wrapping(func(w W) W { return fails{w} })},
		{name: "G2_own_map", headers: []string{"X-Own: 1"}, guarded: []string{"X-Before: 1"}, mw: wrapping(func(w W) W {
			return &ownMap{w, http.Header{"X-Own": {"1"}, "Sec-Websocket-Accept": {"stale"}, "Content-Length": {"5"}}}
		})},
		{name: "G2_own_map_hidden", bare: 501, guarded: []string{"X-Own: 1", "X-Before: 1"}, mw: wrapping(func(w W) W {
			return hider{&ownMap{w, http.Header{"X-Own": {"1"}}}}
		})},

		{name: "G3_cookie_in_WriteHeader", guarded: []string{"Set-Cookie: id=7", "Set-Cookie: before=1", "X-Status: 101"}, mw: func(_ S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				w.Header().Add("Set-Cookie", "before=1")
				next.ServeHTTP(hooked{w, func(h http.Header, n int) {
					h.Add("Set-Cookie", "id=7")
					h.Set("X-Status", fmt.Sprint(n))
				}}, r)
			}
		}},
		{name: "G3_delete_in_WriteHeader", guarded: []string{"-X-Before"}, mw: wrapping(func(w W) W {
			return hooked{w, func(h http.Header, _ int) { h.Del("X-Before") }}
		})},
		{name: "G3_kept_map_in_WriteHeader", guarded: []string{"X-Kept: 1"}, mw: wrapping(func(w W) W {
			kept := w.Header()
			return hooked{w, func(http.Header, int) { kept.Set("X-Kept", "1") }}
		})},
		{name: "G3_kept_map_delete_in_WriteHeader", guarded: []string{"-X-Before"}, mw: wrapping(func(w W) W {
			kept := w.Header()
			return hooked{w, func(http.Header, int) { kept.Del("X-Before") }}
		})},
		{name: "G3_cookies_by_both_maps", guarded: []string{"Set-Cookie: kept=1", "Set-Cookie: view=1"}, mw: wrapping(func(w W) W {
			kept := w.Header()
			w = hooked{w, func(http.Header, int) { kept.Add("Set-Cookie", "kept=1") }}
			return hooked{w, func(h http.Header, _ int) { h.Add("Set-Cookie", "view=1") }}
		})},
		{name: "G3_handshake_deleted_in_WriteHeader", guarded: switches, mw: wrapping(func(w W) W {
			return hooked{w, func(h http.Header, _ int) { clear(h) }}
		})},
		{name: "G3_loggers_see_101", mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				var seen []int
				see := func(_ http.Header, n int) { seen = append(seen, n) }
				next.ServeHTTP(unwraps{&ginWriter{swallower: swallower{ResponseWriter: hooked{w, see}}}}, r)
				if r.Context().Value(expectGuard{}) == true && !slices.Equal(seen, []int{101}) {
					s.OnError(r, fmt.Errorf("the logger saw %d", seen))
				}
			}
		}},

		{name: "G4_set", mw: after(func(s S, w W) {
			s.expect(set("X-Late"))
			w.Header().Set("X-Late", "1")
		})},
		{name: "G4_add", mw: after(func(s S, w W) {
			s.expect(set("X-Before"))
			w.Header().Add("X-Before", "2")
		}), headers: []string{"X-Before: 1"}},
		{name: "G4_delete", mw: after(func(s S, w W) {
			s.expect(del("X-Before"))
			w.Header().Del("X-Before")
		}), headers: []string{"X-Before: 1"}},
		{name: "G4_clear", mw: after(func(s S, w W) {
			s.expect(del("X-Before"), del("Upgrade"), del("Connection"), del("Sec-Websocket-Accept"))
			clear(w.Header())
		})},
		{name: "G4_several", mw: func(s S, next http.Handler) handlerFunc {
			inner := after(func(s S, w W) {
				s.expect(set("X-Inner"))
				w.Header().Set("X-Inner", "1")
			})(s, next)
			return func(w W, r *http.Request) {
				inner(w, r)
				if w.Header().Get("X-Before") != "1" {
					panic("the header can't be read")
				}
				s.expect(set("X-A"), del("X-Before"))
				h := w.Header()
				h.Set("X-A", "1")
				h.Del("X-Before")
			}
		}},
		{name: "G4_restored", mw: after(func(_ S, w W) {
			w.Header().Set("X-Before", "2")
			w.Header().Set("X-Late", "2")
			w.Header().Set("X-Before", "1")
			w.Header().Del("X-Late")
		})},
		{name: "G4_same", mw: after(func(_ S, w W) { w.Header().Set("X-Before", "1"); w.Header().Del("X-None") })},
		{name: "G4_read", mw: after(func(_ S, w W) {
			if w.Header().Get("X-Before") != "1" {
				panic("the header can't be read")
			}
		})},
		{name: "G4_reported_once", mw: after(func(s S, w W) {
			s.expect(set("X-Late"))
			w.Header().Set("X-Late", "1")
			s.expect(write)
			io.WriteString(w, "x")
			s.expect(write)
			w.Write([]byte("x"))
		})},
		{name: "G4_set_again_after_Write", mw: after(func(s S, w W) {
			s.expect(set("X-Late"))
			w.Header().Set("X-Late", "1")
			s.expect(flush)
			http.NewResponseController(w).Flush()
			s.expect(set("X-Late"))
			w.Header().Set("X-Late", "2")
		}), bare: -1},
		{name: "G4_WriteHeader", mw: after(func(s S, w W) {
			s.expect(status(500))
			w.WriteHeader(500)
		})},
		{name: "G4_WriteHeader_200", mw: after(func(s S, w W) {
			s.expect(status(200))
			w.WriteHeader(200)
			s.expect(status(200))
			w.WriteHeader(200)
		})},
		{name: "G4_WriteHeader_101", mw: after(func(_ S, w W) { w.WriteHeader(101) })},
		{name: "G4_Write", mw: after(func(s S, w W) {
			s.expect(write)
			n, err := w.Write([]byte("late"))
			if n != 0 || !errors.Is(err, http.ErrHijacked) {
				panic(fmt.Sprint("Write returned ", n, err))
			}
		})},
		{name: "G4_Write_nothing", mw: after(func(_ S, w W) { w.Write(nil) })},
		{name: "G4_Flush", bare: -1, mw: after(func(s S, w W) {
			s.expect(flush)
			w.(http.Flusher).Flush()
		})},
		{name: "G4_controller", bare: -1, mw: after(func(s S, w W) {
			rc := http.NewResponseController(w)
			s.expect(flush)
			err := rc.Flush()
			if !errors.Is(err, http.ErrHijacked) || rc.SetReadDeadline(time.Now()) == nil || rc.SetWriteDeadline(time.Now()) == nil || rc.EnableFullDuplex() == nil {
				panic("a controller's method works")
			}
			if _, _, err := rc.Hijack(); !errors.Is(err, http.ErrHijacked) {
				panic("Hijack works")
			}
		})},
		{name: "G4_http.Error", mw: after(func(s S, w W) {
			s.expect(set("Content-Type"), set("X-Content-Type-Options"), status(500), write)
			http.Error(w, "late", 500)
		})},
		{name: "G4_http.Redirect", mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				next.ServeHTTP(w, r)
				s.expect(set("Content-Type"), set("Location"), status(302), write)
				http.Redirect(w, r, "/late", 302)
			}
		}},

		{name: "G5_io.Copy", mw: after(func(s S, w W) {
			s.expect(write)
			io.Copy(w, strings.NewReader("late"))
		})},
		{name: "G5_io.Copy_hidden", bare: 501, mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				w = hider{w}
				next.ServeHTTP(w, r)
				if r.Context().Value(expectGuard{}) == true {
					s.expect(write)
					io.Copy(w, strings.NewReader("late"))
				}
			}
		}},
		{name: "G5_Fprintf", mw: after(func(s S, w W) {
			s.expect(write)
			fmt.Fprintf(w, "%d", 1)
		})},
		{name: "G5_json", mw: after(func(s S, w W) {
			s.expect(write)
			json.NewEncoder(w).Encode("late")
		})},
		{name: "G5_bufio", mw: after(func(s S, w W) {
			b := bufio.NewWriter(w)
			b.WriteString("late")
			s.expect(write)
			b.Flush()
		})},
		{name: "G5_bytes", mw: after(func(s S, w W) {
			s.expect(write)
			bytes.NewBufferString("late").WriteTo(w)
		})},
		{name: "G5_http.SetCookie", mw: after(func(s S, w W) {
			s.expect(set("Set-Cookie"))
			http.SetCookie(w, &http.Cookie{Name: "late", Value: "1"})
		})},
		{name: "G5_through_a_writer", bare: -1, mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				f := &forwards{&forwards{w}}
				next.ServeHTTP(f, r)
				s.expect(set("X-Late"))
				f.Header().Set("X-Late", "1")
				s.expect(status(500))
				f.WriteHeader(500)
				s.expect(write)
				f.Write([]byte("late"))
				s.expect(write)
				fmt.Fprint(f, "late")
				s.expect(flush)
				f.Flush()
			}
		}},
		{name: "G5_by_a_method", mw: after(func(s S, w W) { lateMethods{s}.Header(w) })},
		{name: "G5_deferred", mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				defer func() {
					s.expect(set("X-Late"))
					w.Header().Set("X-Late", "1")
				}()
				next.ServeHTTP(w, r)
			}
		}},
		{name: "G5_kept_map", mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				h := w.Header()
				next.ServeHTTP(w, r)
				if r.Context().Value(expectGuard{}) == true {
					s.expectUnknown(set("X-Late"), del("X-Before"))
				}
				h.Set("X-Late", "1")
				h.Del("X-Before")
			}
		}},
		{name: "G5_kept_map_restored", mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				h := w.Header()
				next.ServeHTTP(w, r)
				h.Set("X-Late", "1")
				h.Del("X-Late")
				h.Set("X-Before", "1")
			}
		}},
		{name: "G5_map_of_the_switch", guarded: []string{"-X-Late"}, mw: func(s S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				var h http.Header
				next.ServeHTTP(hooked{w, func(view http.Header, _ int) { h = view }}, r)
				if h != nil {
					s.expectUnknown(set("X-Late"))
					h.Set("X-Late", "1")
				}
			}
		}},

		{name: "H3_kept", headers: []string{"X-Before: 1", "X-Request-Id: 7", "Vary: Origin", "Access-Control-Allow-Origin: *", "Set-Cookie: a=1", "Set-Cookie: b=2"}, mw: func(_ S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				for k, v := range map[string]string{"X-Request-ID": "7", "Vary": "Origin", "Access-Control-Allow-Origin": "*"} {
					w.Header().Set(k, v)
				}
				w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
				next.ServeHTTP(w, r)
			}
		}},
		{name: "H3_out_of_place", headers: append([]string{"-Content-Type", "-Content-Encoding", "-Transfer-Encoding", "-Trailer", "-Keep-Alive", "-Proxy-Connection", "-Te", "-Proxy-Authenticate",
			"-X-Trailer", "-Sec-WebSocket-Protocol", "-Sec-WebSocket-Extensions", "-Sec-WebSocket-Version", "-Sec-WebSocket-Key"}, switches...), edits: []string{twoOffers},
			mw: func(_ S, next http.Handler) handlerFunc {
				return func(w W, r *http.Request) {
					h := w.Header()
					for _, k := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Trailer", "Keep-Alive", "Proxy-Connection", "Te", "Proxy-Authenticate", http.TrailerPrefix + "X-Trailer",
						"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Connection", "Upgrade"} {
						h.Set(k, "5")
						h.Add(k, "stale")
					}
					next.ServeHTTP(w, r)
				}
			}},
		{name: "H3_out_of_place_lower_case", headers: append([]string{"-Content-Type", "-Sec-WebSocket-Protocol"}, switches...), mw: func(_ S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				for _, k := range []string{"content-length", "content-type", "connection", "Sec-WebSocket-Accept", "sec-websocket-protocol"} {
					w.Header()[k] = []string{"5"}
				}
				next.ServeHTTP(w, r)
			}
		}},
		{name: "H3_CRLF", headers: append([]string{"X-Evil: a  Set-Cookie: evil=1", "X-Lf: a b", "-X-Bad"}, switches...), mw: func(_ S, next http.Handler) handlerFunc {
			return func(w W, r *http.Request) {
				w.Header().Set("X-Evil", "a\r\nSet-Cookie: evil=1")
				w.Header().Set("X-LF", "a\nb")
				w.Header()["X-Bad\r\nX-Worse"] = []string{"1"}
				w.Header()["X Bad"] = []string{"1"}
				next.ServeHTTP(w, r)
			}
		}},
	} {
		withAndWithoutGuard(t, tt.name, func(t *testing.T, guarded bool) {
			if !guarded && tt.bare < 0 {
				return
			}
			s := newSite(t, guarded, &ws.Upgrader{}, func(s *site) http.Handler {
				inner := http.HandlerFunc(tt.mw(s, s.Upgrade(echoFactory)))
				return http.HandlerFunc(func(w W, r *http.Request) {
					w.Header().Set("X-Before", "1")
					inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), expectGuard{}, guarded)))
				})
			})
			a := shake(t, s.addr, tt.edits...)
			if !guarded && tt.bare > 0 {
				if a.StatusCode != tt.bare || !strings.Contains(a.body, tt.body) {
					t.Errorf("the answer is %s: %q", a.Status, a.body)
				}
				a.wants(t, "-Sec-WebSocket-Accept", "-Upgrade", "-Connection")
				<-s.returned
				var e *ws.HandshakeError
				if errs := s.errors(); len(errs) != 1 || !errors.As(errs[0], &e) || e.Status != tt.bare {
					t.Errorf("reports: %v", errs)
				}
				return
			}
			a.echoes(t)
			a.wants(t, tt.headers...)
			if guarded {
				a.wants(t, tt.guarded...)
			}
			if strings.Contains(a.head, "Set-Cookie: evil") && strings.Contains(a.head, "\nSet-Cookie: evil") {
				t.Errorf("a header was injected: %q", a.head)
			}
			<-s.returned
			s.compare(t, guarded)
		})
	}
}

// expectGuard is the key of whether Guard is outside.
type expectGuard struct{}

// lateMethods has a method whose name is that of a writer's, but that does the deed.
type lateMethods struct{ s *site }

func (l lateMethods) Header(w http.ResponseWriter) {
	l.s.expect(ws.HeaderError{Op: "WriteHeader", Status: 500})
	w.WriteHeader(500)
}

func TestGuardTimeout(t *testing.T) {
	// pipe serves h in memory and returns the client's end.
	pipe := func(t *testing.T, h http.Handler) net.Conn {
		client, server := net.Pipe()
		srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
		t.Cleanup(func() { srv.Close() })
		serveOne(srv, server)
		return client
	}
	for _, detach := range []bool{false, true} {
		t.Run(fmt.Sprintf("G4_outlived/Detach_%v", detach), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reports, returned := make(chan error, 10), make(chan struct{})
				u := &ws.Upgrader{Detach: detach, OnError: func(_ *http.Request, err error) { reports <- err }}
				inner := http.Handler(u.Upgrade(echoFactory))
				h := ws.Guard(http.TimeoutHandler(inner, time.Second, "late"))
				a := shakeOn(t, pipe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					h.ServeHTTP(w, r)
					close(returned)
				})))
				<-returned
				var got []string
				for len(reports) > 0 {
					var e *ws.HeaderError
					if err := <-reports; !errors.As(err, &e) || filepath.Base(e.File) != "server.go" {
						t.Errorf("report: %v", err)
					} else {
						got = append(got, fmt.Sprint(e.Op, " ", e.Status, " ", e.Func))
					}
				}
				want := []string{"WriteHeader 503 net/http.(*timeoutHandler).ServeHTTP", "Write 0 net/http.(*timeoutHandler).ServeHTTP"}
				if detach {
					want = nil // the handler did not outlive it
				}
				if !slices.Equal(got, want) {
					t.Errorf("reports: %q", got)
				}
				a.echoes(t)
			})
		})
	}
	// The timeout comes first: its 503 stands.
	t.Run("H5_timed_out_before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			reports, served := make(chan error, 10), make(chan error, 1)
			u := &ws.Upgrader{OnError: func(_ *http.Request, err error) { reports <- err }}
			answered := make(chan struct{})
			inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-answered
				served <- u.Serve(w, r, ws.Events{OnOpen: func(*ws.Conn) error { panic("opened") }})
			})
			a := shakeOn(t, pipe(t, ws.Guard(http.TimeoutHandler(inner, time.Second, "late"))))
			if a.StatusCode != 503 || a.body != "late" {
				t.Errorf("the answer is %s: %q", a.Status, a.body)
			}
			a.wants(t, "-Upgrade", "-Connection", "-Sec-WebSocket-Accept")
			close(answered)
			err := <-served
			if e, ok := err.(*ws.HandshakeError); !ok || e.Status != 0 || len(reports) != 1 || <-reports != err {
				t.Errorf("Serve returned %v", err)
			}
		})
	})
}

func TestGuardRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mw     func(next http.Handler) handlerFunc
		status int // with Guard; 0: none
		body   string
		bare   int
	}{
		// The panic has a way out to net/http, or to a recovering middleware, whose answer arrives.
		{"G3_panic_in_WriteHeader", func(next http.Handler) handlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(hooked{w, func(http.Header, int) { panic("in WriteHeader") }}, r)
			}
		}, 0, "", 101},
		{"G3_panic_in_WriteHeader_recovered", func(next http.Handler) handlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				defer func() {
					if recover() != nil {
						http.Error(w, "recovered", 500)
					}
				}()
				next.ServeHTTP(hooked{w, func(_ http.Header, status int) {
					if status == 101 {
						panic("in WriteHeader")
					}
				}}, r)
			}
		}, 500, "recovered\n", 101},
		{"H5_wrote_before", func(next http.Handler) handlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(401)
				io.WriteString(w, "no")
				next.ServeHTTP(w, r)
			}
		}, 401, "no", -1},
		{"G7_answered_instead", func(next http.Handler) handlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "a")
				http.NewResponseController(w).Flush()
				io.Copy(w, strings.NewReader("b"))
				w.Write([]byte("c"))
			}
		}, 200, "abc", 200},
	} {
		withAndWithoutGuard(t, tt.name, func(t *testing.T, guarded bool) {
			if !guarded && tt.bare < 0 {
				return
			}
			factory := ws.Factory(echoFactory)
			if strings.HasPrefix(tt.name, "H5") {
				factory = func(http.ResponseWriter, *http.Request) (ws.Events, error) { panic("the factory was called") }
			}
			s := newSite(t, guarded, &ws.Upgrader{}, func(s *site) http.Handler { return http.HandlerFunc(tt.mw(s.Upgrade(factory))) })
			a := shake(t, s.addr)
			if !guarded && tt.bare == 101 {
				a.echoes(t)
				return
			}
			if a.StatusCode != tt.status || a.body != tt.body {
				t.Errorf("the answer is %s: %q", a.Status, a.body)
			}
			a.wants(t, "-Upgrade", "-Sec-WebSocket-Accept")
			<-s.returned
			for _, err := range s.errors() {
				var e *ws.HandshakeError
				if !errors.As(err, &e) || !strings.HasPrefix(tt.name, "H5") || e.Status != 0 {
					t.Errorf("report: %v", err)
				}
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("H1_hidden_outside_of_Guard", func(t *testing.T) {
		s := newSite(t, false, &ws.Upgrader{}, func(s *site) http.Handler {
			h := s.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { panic("the factory was called") })
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ws.Guard(h).ServeHTTP(hider{w}, r) })
		})
		a := shake(t, s.addr)
		if want := "ws: ws_test.hider hides http.Hijacker; install ws.Guard outside it\n"; a.StatusCode != 501 || a.body != want {
			t.Errorf("the answer is %s: %q", a.Status, a.body)
		}
		<-s.returned
		if errs := s.errors(); len(errs) != 1 || !errors.As(errs[0], new(*ws.HandshakeError)) {
			t.Errorf("reports: %v", errs)
		}
	})
	withAndWithoutGuard(t, "H3_stale_headers_of_a_middleware", func(t *testing.T, guarded bool) {
		s := newSite(t, guarded, &ws.Upgrader{}, func(s *site) http.Handler {
			h := s.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ws.Events{}, ws.Reject(403, "no") })
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Sec-WebSocket-Protocol", "stale")
				w.Header().Set("Upgrade", "h2c")
				h(w, r)
			})
		})
		a := shake(t, s.addr)
		a.wants(t, "Upgrade: h2c", "-Sec-WebSocket-Protocol", "-Sec-WebSocket-Accept", "-Connection")
	})
}

func TestGuardPassesBy(t *testing.T) {
	engine := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Foreign", "1")
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		w.Header().Set("X-Late", "1")
		for {
			typ, p, err := c.Read(context.Background())
			if err != nil {
				return
			}
			c.Write(context.Background(), typ, p)
		}
	})
	withAndWithoutGuard(t, "G7_engine", func(t *testing.T, guarded bool) {
		s := newSite(t, guarded, &ws.Upgrader{}, func(*site) http.Handler { return engine })
		a := shake(t, s.addr)
		a.echoes(t)
		a.wants(t, append([]string{"X-Foreign: 1", "-X-Late"}, switches...)...)
		if a := shake(t, s.addr, "Origin: null"); a.StatusCode != 403 {
			t.Errorf("a foreign origin is answered with %s", a.Status)
		}
	})
	withAndWithoutGuard(t, "G7_ReverseProxy", func(t *testing.T, guarded bool) {
		behind := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler { return s.Upgrade(echoFactory) })
		s := newSite(t, guarded, &ws.Upgrader{}, func(*site) http.Handler {
			return httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind.addr})
		})
		a := shake(t, s.addr)
		a.echoes(t)
		a.wants(t, switches...)
		<-s.returned
		<-behind.returned
		if errs := append(s.errors(), behind.errors()...); errs != nil {
			t.Errorf("reports: %v", errs)
		}
	})
	for _, order := range []string{"outside", "inside", "twice"} {
		t.Run("G7_nested_"+order, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler {
				late := func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						next.ServeHTTP(hooked{w, func(h http.Header, _ int) { h.Add("Set-Cookie", "a=1") }}, r)
						s.expect(ws.HeaderError{Op: "set", Key: "X-Late"})
						w.Header().Set("X-Late", "1")
					})
				}
				switch order {
				case "outside":
					return late(ws.Guard(s.Upgrade(echoFactory)))
				case "inside":
					return ws.Guard(late(s.Upgrade(echoFactory)))
				}
				return ws.Guard(late(ws.Guard(s.Upgrade(echoFactory))))
			})
			a := shake(t, s.addr)
			a.echoes(t)
			a.wants(t, "Set-Cookie: a=1")
			<-s.returned
			s.compare(t, true)
		})
	}
	t.Run("G7_other_handshakes_of_one_site", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, true, &ws.Upgrader{}, func(s *site) http.Handler { return s.Upgrade(echoFactory) })
		for range 3 {
			shake(t, s.addr).echoes(t)
		}
	})
}

func ordinary() *http.Request { return httptest.NewRequest("GET", "/page", nil) }

func TestGuardOrdinary(t *testing.T) {
	var got http.ResponseWriter
	var gotReq *http.Request
	h := ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got, gotReq = w, r }))
	h2c := ordinary()
	h2c.Header.Set("Upgrade", "h2c, foo")
	for name, r := range map[string]*http.Request{"G1_page": ordinary(), "G1_h2c": h2c} {
		t.Run(name, func(t *testing.T) { // AllocsPerRun must not be called in parallel
			w := httptest.NewRecorder()
			if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n != 0 {
				t.Errorf("Guard allocates %v times", n)
			}
			if got != w || gotReq != r {
				t.Errorf("the handler got a %T of its own", got)
			}
		})
	}
}

func BenchmarkGuardOrdinary(b *testing.B) {
	h := ws.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w, r := httptest.NewRecorder(), ordinary()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

// What a Factory keeps of its w is frozen as well.
func TestGuardFactory(t *testing.T) {
	for _, detach := range []bool{false, true} {
		withAndWithoutGuard(t, fmt.Sprintf("G8_callbacks_use_w/Detach_%v", detach), func(t *testing.T, guarded bool) {
			reported := make(chan error, 10)
			u := &ws.Upgrader{Detach: detach, OnError: func(r *http.Request, err error) {
				if r.URL.Path != "/ws" {
					err = errors.New("another request")
				}
				reported <- err
			}}
			s := newSite(t, guarded, u, func(s *site) http.Handler {
				return u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
					w.Header().Set("X-In-Time", "1")
					ev := echoEvents()
					ev.OnOpen = func(c *ws.Conn) error {
						if w.Header().Get("X-In-Time") != "1" {
							return errors.New("the header can't be read")
						}
						s.expect(ws.HeaderError{Op: "set", Key: "X-Late"})
						w.Header().Set("X-Late", "1")
						s.expect(ws.HeaderError{Op: "Write"})
						fmt.Fprint(w, "late")
						s.expect(ws.HeaderError{Op: "WriteHeader", Status: 404})
						w.WriteHeader(404)
						s.expect(ws.HeaderError{Op: "Flush"})
						w.(http.Flusher).Flush()
						s.expect(ws.HeaderError{Op: "delete", Key: "X-In-Time"})
						w.Header().Del("X-In-Time")
						return nil
					}
					return ev, nil
				})
			})
			a := shake(t, s.addr)
			a.echoes(t)
			a.wants(t, "X-In-Time: 1", "-X-Late")
			for range 5 {
				err := <-reported
				s.mu.Lock()
				s.errs = append(s.errs, err)
				s.mu.Unlock()
			}
			<-s.returned
			s.compare(t, true)
			if len(reported) > 0 {
				t.Errorf("one more report: %v", <-reported)
			}
		})
	}
	// The map itself, taken in the Factory.
	for _, guarded := range []bool{false, true} {
		t.Run(fmt.Sprintf("G8_kept_map/Guard_%v", guarded), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, guarded, &ws.Upgrader{}, func(s *site) http.Handler {
				return s.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
					h, ev := w.Header(), echoEvents()
					ev.OnClose = func(*ws.Conn, ws.CloseEvent) { h.Set("X-Late", "1") }
					return ev, nil
				})
			})
			s.expectUnknown(ws.HeaderError{Op: "set", Key: "X-Late"})
			shake(t, s.addr).echoes(t)
			<-s.returned
			s.compare(t, true)
		})
	}
	// With Detach a middleware is reported, too, and ends at once.
	t.Run("G4_Detach", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, true, &ws.Upgrader{Detach: true}, func(s *site) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.Upgrade(echoFactory)(w, r)
				s.expect(ws.HeaderError{Op: "set", Key: "X-Late"})
				w.Header().Set("X-Late", "1")
				s.expect(ws.HeaderError{Op: "WriteHeader", Status: 204})
				w.WriteHeader(204)
			})
		})
		a := shake(t, s.addr)
		<-s.returned
		s.compare(t, true)
		a.echoes(t)
	})
}

// Run it with -race.
func TestGuardPools(t *testing.T) {
	for _, detach := range []bool{false, true} {
		withAndWithoutGuard(t, fmt.Sprintf("G4_pooled_writers/Detach_%v", detach), func(t *testing.T, guarded bool) {
			pool := sync.Pool{New: func() any { return new(pooledWriter) }}
			s := newSite(t, guarded, &ws.Upgrader{Detach: detach}, func(s *site) http.Handler {
				h := s.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
					ev := echoEvents()
					ev.OnClose = func(*ws.Conn, ws.CloseEvent) { w.Header().Get("X-Id") }
					return ev, nil
				})
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					p := pool.Get().(*pooledWriter)
					*p = pooledWriter{ResponseWriter: w}
					p.Header().Set("X-Id", r.Header.Get("X-Id"))
					h(p, r)
					*p = pooledWriter{}
					pool.Put(p)
				})
			})
			var clients sync.WaitGroup
			var dialled atomic.Int32
			for i := range 40 {
				clients.Go(func() {
					conn, err := net.Dial("tcp", s.addr)
					if err != nil {
						t.Errorf("client %d of 40: %v", i, err)
						return
					}
					dialled.Add(1)
					a := shakeOn(t, conn, fmt.Sprint("X-Id: ", i))
					a.echoes(t)
					a.wants(t, fmt.Sprint("X-Id: ", i))
				})
			}
			clients.Wait()
			for range dialled.Load() {
				<-s.returned
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			s.compare(t, false)
		})
	}
}

func TestHeaderError(t *testing.T) {
	for name, tt := range map[string]struct {
		err  ws.HeaderError
		want string
	}{
		"G5_set":          {ws.HeaderError{Op: "set", Key: "Vary", Func: "github.com/rs/cors.(*Cors).Handler.func1", File: "/go/cors/cors.go", Line: 42}, `ws: header "Vary" was set after the WebSocket upgrade and never reached the client: cors.(*Cors).Handler at cors.go:42; set it before calling the next handler`},
		"G5_delete":       {ws.HeaderError{Op: "delete", Key: "Vary", Func: "main.strip", File: "/app/main.go", Line: 7}, `ws: header "Vary" was deleted after the WebSocket upgrade, when the client had it already: main.strip at main.go:7; delete it before calling the next handler`},
		"G5_WriteHeader":  {ws.HeaderError{Op: "WriteHeader", Status: 503, Func: "net/http.(*timeoutHandler).ServeHTTP", File: "/go/server.go", Line: 9}, `ws: status 503 was written after the WebSocket upgrade and never reached the client: http.(*timeoutHandler).ServeHTTP at server.go:9; write it before calling the next handler, or skip it if r.Header.Get("Upgrade") != ""`},
		"G5_Write":        {ws.HeaderError{Op: "Write", Func: "main.main.func2.1", File: "/app/main.go", Line: 3}, `ws: the response was written to after the WebSocket upgrade and none of it reached the client: main.main at main.go:3; send messages with Conn.Send, or skip it if r.Header.Get("Upgrade") != ""`},
		"G5_Flush":        {ws.HeaderError{Op: "Flush", Func: "a.b/c%2ed.F", File: "f.go", Line: 1}, `ws: the response was flushed after the WebSocket upgrade, to no effect: c%2ed.F at f.go:1; leave it out, or skip it if r.Header.Get("Upgrade") != ""`},
		"G5_unknown":      {ws.HeaderError{Op: "set", Key: "Vary"}, `ws: header "Vary" was set after the WebSocket upgrade and never reached the client: by unknown code, perhaps through a header map that was taken before the upgrade; set it before calling the next handler`},
		"G5_inlined":      {ws.HeaderError{Op: "WriteHeader", Status: 504, Func: "example.com/app.routes.Timeout.func2.1.1", File: "/go/pkg/mod/github.com/go-chi/chi/v5@v5.5.0/middleware/timeout.go", Line: 42}, `ws: status 504 was written after the WebSocket upgrade and never reached the client: middleware.Timeout at timeout.go:42; write it before calling the next handler, or skip it if r.Header.Get("Upgrade") != ""`},
		"G5_inlined_main": {ws.HeaderError{Op: "set", Key: "A", Func: "main.main.Timeout.func1", File: "/go/pkg/mod/example.com/m@v1.0.0/middleware/timeout.go", Line: 42}, `ws: header "A" was set after the WebSocket upgrade and never reached the client: middleware.Timeout at timeout.go:42; set it before calling the next handler`},
		"G5_inlined_own":  {ws.HeaderError{Op: "set", Key: "A", Func: "main.main.timing.func1", File: "/home/me/server/main.go", Line: 42}, `ws: header "A" was set after the WebSocket upgrade and never reached the client: main.timing at main.go:42; set it before calling the next handler`},
		"G5_method":       {ws.HeaderError{Op: "set", Key: "A", Func: "main.app.serve.func1", File: "/home/me/server/main.go", Line: 42}, `ws: header "A" was set after the WebSocket upgrade and never reached the client: main.app.serve at main.go:42; set it before calling the next handler`},
		"G5_func_name":    {ws.HeaderError{Op: "Flush", Func: "x/app.functional", File: "f.go", Line: 1}, `ws: the response was flushed after the WebSocket upgrade, to no effect: app.functional at f.go:1; leave it out, or skip it if r.Header.Get("Upgrade") != ""`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("the sentence is\n%s\nand not\n%s", got, tt.want)
			}
		})
	}
}

// TestErrorTexts: what a newcomer reads says what to do.
func TestErrorTexts(t *testing.T) {
	contains := func(t *testing.T, got, want, not string) {
		t.Helper()
		if !strings.Contains(got, want) || not != "" && strings.Contains(got, not) {
			t.Errorf("it says %q, and not %q", got, want)
		}
	}
	shake := func() *http.Request {
		r := httptest.NewRequest("GET", "/ws", nil)
		r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		return r
	}
	t.Run("H1_a_recorder", func(t *testing.T) {
		for _, guard := range []func(http.Handler) http.Handler{ws.Guard, func(h http.Handler) http.Handler { return h }} {
			rec := httptest.NewRecorder()
			guard((&ws.Upgrader{OnError: func(*http.Request, error) {}}).Upgrade(echoFactory)).ServeHTTP(rec, shake())
			contains(t, rec.Body.String(), "DialOptions.Handler", "Guard")
		}
	})
	t.Run("G4_the_Factory's_w", func(t *testing.T) {
		said := make(chan string, 2)
		u := &ws.Upgrader{OnError: func(_ *http.Request, err error) { said <- err.Error() }}
		c, err := ws.Dial(t.Context(), "ws://x/", ws.Events{}, &ws.DialOptions{Handler: ws.Guard(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
			return ws.Events{OnOpen: func(*ws.Conn) error {
				w.Header().Set("X-Late", "1")
				w.WriteHeader(401)
				return nil
			}}, nil
		}))})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(1000, "")
		texts := <-said + <-said
		contains(t, texts, "set it in the Factory", "next handler")
		contains(t, texts, "ws.Reject", "")
	})
	t.Run("C4_closed", func(t *testing.T) {
		c, err := ws.Dial(t.Context(), "ws://x/", ws.Events{}, &ws.DialOptions{Handler: ws.Upgrade(echoFactory)})
		if err != nil {
			t.Fatal(err)
		}
		c.Close(1000, "")
		if err := c.SendText("x"); !errors.Is(err, net.ErrClosed) || err.Error() != "ws: the connection is closing or closed" {
			t.Error(err)
		}
	})
}

// It sets slog's default: not parallel.
func TestHeaderErrorLog(t *testing.T) {
	logged := captureLog(t)
	s := newSite(t, true, &ws.Upgrader{OnError: func(*http.Request, error) {}}, func(s *site) http.Handler {
		s.OnError = nil
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.Upgrade(echoFactory)(w, r)
			w.Header().Set("X-Late", "1")
			w.WriteHeader(500)
		})
	})
	t.Run("G6_each_place_once", func(t *testing.T) {
		for range 3 {
			shake(t, s.addr).echoes(t)
			<-s.returned
		}
		got := logged()
		if strings.Count(got, "\n") != 2 || strings.Count(got, "X-Late") != 1 || strings.Count(got, "status 500") != 1 || strings.Count(got, "level=WARN") != 2 || strings.Count(got, "headers_test.go:") != 2 {
			t.Errorf("logged:\n%s", got)
		}
	})
}
