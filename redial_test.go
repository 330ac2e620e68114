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
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// redialed is what a server did with each attempt of Redial's, and when.
type redialed struct {
	begin time.Time
	at    []time.Duration // when attempts came
	waits []time.Duration
	ends  []ws.CloseEvent // that Waiting got
	errs  []error
}

func newRedialed() *redialed { return &redialed{begin: time.Now()} }

// retry records the waits, and ends ctx with the wait after the last of n attempts.
func (r *redialed) retry(end func(), n int) *ws.Retry {
	return &ws.Retry{Waiting: func(d time.Duration, e ws.CloseEvent, err error) {
		r.waits, r.ends, r.errs = append(r.waits, d), append(r.ends, e), append(r.errs, err)
		if len(r.waits) == n {
			end()
		}
	}}
}

// server answers attempt n (the first is 0) with what h says.
func (r *redialed) server(h func(n int) http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		n := len(r.at)
		r.at = append(r.at, time.Since(r.begin))
		h(n).ServeHTTP(w, q)
	})
}

// hours ends what comes back for ever.
func hours(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// within reports a wait that is not between half of want and want.
func (r *redialed) within(t *testing.T, want ...time.Duration) {
	t.Helper()
	if len(r.waits) != len(want) {
		t.Fatalf("the waits were %v, want %v", r.waits, want)
	}
	for i, d := range r.waits {
		if d < want[i]/2 || d > want[i] {
			t.Errorf("wait %d was %v, want %v to %v", i, d, want[i]/2, want[i])
		}
	}
}

// accepts is a server's Events after lasting d.
func accepts(d time.Duration, code websocket.StatusCode, reason string) http.Handler {
	return (&ws.Upgrader{}).Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{OnOpen: func(c *ws.Conn) error {
			if d > 0 {
				time.AfterFunc(d, func() { c.Close(code, reason) })
				return nil
			}
			return c.Close(code, reason)
		}}, nil
	})
}

func refuses(status int, header ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		http.Error(w, "no", status)
	})
}

func dials(h http.Handler) func() (ws.Events, *ws.DialOptions, error) {
	return func() (ws.Events, *ws.DialOptions, error) { return ws.Events{}, &ws.DialOptions{Handler: h}, nil }
}

const (
	second = time.Second
	half   = second / 2
)

var doubling = []time.Duration{half, second, 2 * second, 4 * second, 8 * second, 16 * second, 30 * second, 30 * second, 30 * second}

func TestRedialWaits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		r    ws.Retry
		h    func(n int) http.Handler
		want []time.Duration
	}{
		{"refused", ws.Retry{}, func(int) http.Handler { return refuses(503) }, doubling},
		{"closed_at_once", ws.Retry{}, func(int) http.Handler { return accepts(0, 1001, "") }, doubling},
		{"lasted_shorter_than_the_wait", ws.Retry{}, func(n int) http.Handler { return accepts(min(1<<n*half, 30*second)/2-1, 1012, "") }, doubling},
		{"lasted_longer_than_the_wait", ws.Retry{}, func(n int) http.Handler {
			if n == 3 {
				return accepts(3*second, 1012, "")
			}
			return refuses(502)
		}, []time.Duration{half, second, 2 * second, half, second}},
		{"first_and_longest", ws.Retry{First: 3 * second, Max: 10 * second}, func(int) http.Handler { return refuses(503) },
			[]time.Duration{3 * second, 6 * second, 10 * second, 10 * second}},
		{"longest_alone", ws.Retry{Max: 100 * time.Millisecond}, func(int) http.Handler { return refuses(503) },
			[]time.Duration{second / 10, second / 10}},
		{"negative", ws.Retry{First: -1, Max: -1}, func(int) http.Handler { return refuses(503) }, []time.Duration{half, second}},
		{"tiny", ws.Retry{First: 1, Max: 1}, func(int) http.Handler { return refuses(503) }, []time.Duration{1, 1}},
		{"huge", ws.Retry{First: 1 << 61, Max: 1<<63 - 1}, func(int) http.Handler { return refuses(503) }, []time.Duration{1 << 61}},
	} {
		bubble(t, "D3_"+tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := newRedialed()
			retry := r.retry(cancel, len(tt.want))
			retry.First, retry.Max = tt.r.First, tt.r.Max
			if err := ws.Redial(ctx, "ws://test", dials(r.server(tt.h)), retry); err != context.Canceled {
				t.Errorf("it returned %v", err)
			}
			r.within(t, tt.want...)
			for i := 1; i < len(r.at) && tt.name != "closed_at_once"; i++ {
				if since := r.at[i] - r.at[i-1]; since < r.waits[i-1] {
					t.Errorf("attempt %d came %v after the one before, after a wait of %v", i, since, r.waits[i-1])
				}
			}
		})
	}
	bubble(t, "D3_random", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRedialed()
		retry := r.retry(cancel, 100)
		retry.Max = 500 * time.Millisecond
		ws.Redial(ctx, "ws://test", dials(r.server(func(int) http.Handler { return refuses(503) })), retry)
		slices.Sort(r.waits)
		if short, long := r.waits[0], r.waits[99]; short > 300*time.Millisecond || long < 450*time.Millisecond || len(slices.Compact(r.waits)) < 50 {
			t.Errorf("100 waits lie between %v and %v", short, long)
		}
	})
}

func TestRedialRetryAfter(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"120": 120 * second, "0": 0, "-5": 0, "": 0, "soon": 0, "99999999": time.Hour,
		"99999999999999999999": 0, "date": 90 * second, "Mon, 01 Jan 1990 00:00:00 GMT": 0} {
		bubble(t, "D3_"+header, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r := newRedialed()
			if header == "date" {
				header = time.Now().Add(want).UTC().Format(http.TimeFormat)
			}
			ws.Redial(ctx, "ws://test", dials(r.server(func(int) http.Handler { return refuses(429, "Retry-After", header) })), r.retry(cancel, 1))
			if d := r.waits[0]; d < want+250*time.Millisecond || d > want+500*time.Millisecond {
				t.Errorf("the wait was %v, want %v and 250 to 500 ms", d, want)
			}
		})
	}
}

func TestRedialEnds(t *testing.T) {
	t.Parallel()
	comesBack := func(t *testing.T, h http.Handler) (again bool, err error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := newRedialed()
		err = ws.Redial(ctx, "ws://test", dials(r.server(func(int) http.Handler { return h })), r.retry(cancel, 2))
		return len(r.waits) == 2, err
	}
	for code, want := range map[websocket.StatusCode]bool{1000: false, 1001: true, 1002: false, 1003: false, 1007: false, 1008: false, 1009: false, 1010: false,
		1011: true, 1012: true, 1013: true, 1014: true, 3000: true, 3999: true, 4000: false, 4401: false, 4999: false} {
		bubble(t, fmt.Sprintf("D3_code_%d", code), func(t *testing.T) {
			again, err := comesBack(t, accepts(0, code, "why"))
			switch {
			case again != want:
				t.Errorf("comes back: %t", again)
			case again:
			case code == 1000 && err != nil, code != 1000 && err != websocket.CloseError{Code: code, Reason: "why"}:
				t.Errorf("it returned %v", err)
			}
		})
	}
	for status, want := range map[int]bool{200: false, 302: false, 400: false, 401: false, 403: false, 404: false, 407: false, 408: true, 410: false, 421: false,
		425: true, 426: false, 429: true, 500: true, 501: false, 502: true, 503: true, 504: true, 599: true} {
		bubble(t, fmt.Sprintf("D3_status_%d", status), func(t *testing.T) {
			again, err := comesBack(t, refuses(status))
			var refused *ws.HandshakeError
			if again != want || !again && (!errors.As(err, &refused) || refused.Status != status) {
				t.Errorf("comes back: %t; it returned %v", again, err)
			}
		})
	}
	abort := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, h := range map[string]http.Handler{
		"no_answer": abort,
		"dropped":   dialRaw("", func(net.Conn, *bufio.Reader) {}),
		"no_code":   dialRaw("", func(c net.Conn, r *bufio.Reader) { c.Write(dialFrame(fClose)); readCode(r) }),
	} {
		bubble(t, "D3_"+name, func(t *testing.T) {
			if again, err := comesBack(t, h); !again {
				t.Errorf("it does not come back: %v", err)
			}
		})
	}
	bubble(t, "D3_fault_of_the_peer", func(t *testing.T) { // which does not answer the 1002
		again, err := comesBack(t, dialRaw("", func(c net.Conn, r *bufio.Reader) { c.Write([]byte{0x8f, 0}); readCode(r) }))
		var end websocket.CloseError
		if again || !errors.As(err, &end) || end.Code != 1002 || !strings.HasPrefix(err.Error(), "ws: ") {
			t.Errorf("comes back: %t; %v", again, err)
		}
	})
	for rawURL, opts := range map[string]*ws.DialOptions{
		"ftp://test": nil, "ws://%zz": nil, "ws://": nil, "ws://test/{a}": {Params: map[string]string{"a": "b"}},
	} {
		bubble(t, "D3_"+rawURL, func(t *testing.T) {
			err := ws.Redial(hours(t), rawURL, func() (ws.Events, *ws.DialOptions, error) { return ws.Events{}, opts, nil }, nil)
			if err == nil || !strings.HasPrefix(err.Error(), "ws: ") {
				t.Errorf("it returned %v", err)
			}
		})
	}
}

func TestRedialAfter(t *testing.T) {
	t.Parallel()
	bubble(t, "D3_a_new_token", func(t *testing.T) {
		var tokens []string
		u := &ws.Upgrader{OnError: func(*http.Request, error) {}}
		h := u.Upgrade(func(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
			token := r.FormValue("token")
			tokens = append(tokens, token)
			if token == "0" {
				return ws.Events{}, ws.Reject(401, "expired")
			}
			return ws.Events{OnOpen: func(c *ws.Conn) error { return c.Close(4000+websocket.StatusCode(len(tokens)), "") }}, nil
		})
		n := 0
		err := ws.Redial(hours(t), "ws://test?a=b", func() (ws.Events, *ws.DialOptions, error) {
			n++
			return ws.Events{}, &ws.DialOptions{Handler: h, Query: url.Values{"token": {fmt.Sprint(n - 1)}}}, nil
		}, &ws.Retry{After: func(e ws.CloseEvent, err *ws.HandshakeError) bool {
			if refused := err != nil; refused != (len(tokens) == 1) || refused && (e.Code != 1006 || e.Err != error(err) || err.Err.Error() != "expired") {
				t.Errorf("After %v got %+v, %v", tokens, e, err)
			}
			return err != nil && err.Status == 401 || e.Code == 4002 || ws.DefaultAfter(e, err)
		}})
		if want := []string{"0", "1", "2"}; !slices.Equal(tokens, want) || err != (websocket.CloseError{Code: 4003}) {
			t.Errorf("the tokens were %q, and it returned %v", tokens, err)
		}
	})
	bubble(t, "D3_resume", func(t *testing.T) {
		h := (&ws.Upgrader{}).Upgrade(func(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
			return ws.Events{OnOpen: func(c *ws.Conn) error {
				next := 0
				fmt.Sscan(r.FormValue("after"), &next)
				for range 3 {
					next++
					c.SendText(fmt.Sprint(next))
				}
				if next >= 9 {
					return c.Close(1000, "")
				}
				return c.Close(1012, "")
			}}, nil
		})
		last := "0"
		n := 0
		err := ws.Redial(hours(t), "ws://test", func() (ws.Events, *ws.DialOptions, error) {
			return ws.Events{OnMessage: func(_ *ws.Conn, m ws.Message) error {
				if n++; m.String() != fmt.Sprint(n) {
					t.Errorf("message %d is %q", n, m)
				}
				last = m.String()
				return nil
			}}, &ws.DialOptions{Handler: h, Query: url.Values{"after": {last}}}, nil
		}, nil)
		if err != nil || n < 9 {
			t.Errorf("%v after %d messages", err, n)
		}
	})
	bubble(t, "D3_closed_by_a_callback", func(t *testing.T) {
		for _, code := range []websocket.StatusCode{1000, 4001} { // the peer answers nothing
			closed, stop := make(chan ws.CloseEvent, 1), make(chan struct{})
			h := dialRaw("", func(c net.Conn, _ *bufio.Reader) {
				c.Write(dialFrame(fText))
				<-stop
			})
			err := ws.Redial(hours(t), "ws://test", func() (ws.Events, *ws.DialOptions, error) {
				return ws.Events{
					OnMessage: func(c *ws.Conn, _ ws.Message) error { return websocket.CloseError{Code: code, Reason: "enough"} },
					OnClose:   func(_ *ws.Conn, e ws.CloseEvent) { closed <- e },
				}, &ws.DialOptions{Handler: h}, nil
			}, &ws.Retry{Waiting: func(_ time.Duration, e ws.CloseEvent, err error) { t.Errorf("it comes back after %+v, %v", e, err) }})
			if e := <-closed; e.Code != 1006 || code == 1000 && err != nil || code != 1000 && websocket.CloseStatus(err) != code {
				t.Errorf("closed with %d: OnClose got %+v, and Redial returned %v", code, e, err)
			}
			close(stop)
		}
	})
}

// What f returns instead of callbacks.
func TestRedialAsks(t *testing.T) {
	t.Parallel()
	oops := errors.New("oops")
	down := &net.OpError{Op: "dial", Err: oops}
	for _, tt := range []struct {
		name  string
		err   error
		again bool
	}{
		{"error", oops, false},
		{"network", fmt.Errorf("no token: %w", &url.Error{Op: "Get", URL: "http://test", Err: down}), true},
		{"refused", fmt.Errorf("no token: %w", &ws.HandshakeError{Status: 503, Err: oops}), true},
		{"refused_for_good", &ws.HandshakeError{Status: 401, Err: oops}, false},
	} {
		bubble(t, "D3_"+tt.name, func(t *testing.T) {
			n := 0
			r := newRedialed()
			err := ws.Redial(hours(t), "ws://test", func() (ws.Events, *ws.DialOptions, error) {
				if n++; n < 4 {
					return ws.Events{}, nil, tt.err
				}
				return dials(accepts(0, 1000, ""))()
			}, r.retry(nil, -1))
			if !tt.again {
				if n != 1 || err != tt.err {
					t.Errorf("asked %d times, it returned %v", n, err)
				}
				return
			}
			r.within(t, half, second, 2*second)
			var failed *ws.HandshakeError
			if err != nil || n != 4 || !errors.Is(r.errs[0], oops) || !errors.As(r.errs[0], &failed) || r.ends[0].Code != 1006 || r.ends[0].Err != r.errs[0] {
				t.Errorf("asked %d times, it returned %v; Waiting got %+v, %v", n, err, r.ends, r.errs)
			}
		})
	}
	bubble(t, "D3_handshake_time", func(t *testing.T) {
		frozen := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		for _, timeout := range []time.Duration{0, time.Second, time.Minute} {
			ctx, cancel := context.WithCancel(t.Context())
			r := newRedialed()
			opts := &ws.DialOptions{Handler: frozen}
			opts.Engine.HTTPClient = &http.Client{Timeout: timeout}
			ws.Redial(ctx, "ws://test", func() (ws.Events, *ws.DialOptions, error) { return ws.Events{}, opts, nil }, r.retry(cancel, 1))
			if timeout == 0 {
				timeout = 10 * second
			}
			if took := time.Since(r.begin); took != timeout || !errors.Is(r.errs[0], context.DeadlineExceeded) {
				t.Errorf("an attempt took %v, want %v: %v", took, timeout, r.errs[0])
			}
		}
	})
}

// Redial returns when ctx ends, whatever it does then.
func TestRedialContext(t *testing.T) {
	t.Parallel()
	bubble(t, "D3_connected", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), second, "value"))
		server := newDialSide()
		var calls []string
		returned := make(chan error)
		go func() {
			returned <- ws.Redial(ctx, "ws://test", func() (ws.Events, *ws.DialOptions, error) {
				return ws.Events{
					OnOpen: func(c *ws.Conn) error { calls = append(calls, "open", c.Context().Value(second).(string)); return nil },
					OnClose: func(c *ws.Conn, e ws.CloseEvent) {
						pass(time.Second)
						calls = append(calls, fmt.Sprint("close ", int(e.Code), e.WasClean))
					},
				}, &ws.DialOptions{Handler: server.serve(&ws.Upgrader{})}, nil
			}, nil)
		}()
		<-server.opened
		synctest.Wait()
		begin := time.Now()
		cancel()
		if err := <-returned; err != context.Canceled || time.Since(begin) != time.Second {
			t.Errorf("it returned %v after %v", err, time.Since(begin))
		}
		if e := <-server.closed; e.Code != 1000 || !e.WasClean {
			t.Errorf("the server got %+v", e)
		}
		if s := strings.Join(calls, ", "); s != "open, value, close 1000 true" {
			t.Errorf("the callbacks: %s", s)
		}
	})
	bubble(t, "D3_connected_to_a_frozen_server", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stop := make(chan struct{})
		begin := time.Now()
		err := ws.Redial(ctx, "ws://test", func() (ws.Events, *ws.DialOptions, error) {
			return ws.Events{}, &ws.DialOptions{Handler: dialRaw("", func(net.Conn, *bufio.Reader) { <-stop }), Limits: noPings}, nil
		}, nil)
		if took := time.Since(begin); err != context.DeadlineExceeded || took > time.Minute+10*time.Second {
			t.Errorf("it returned %v after %v", err, took)
		}
		close(stop)
	})
	bubble(t, "D3_shaking_hands", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		frozen := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		if err := ws.Redial(ctx, "ws://test", dials(frozen), nil); err != context.DeadlineExceeded || time.Since(begin) != 5*time.Second {
			t.Errorf("it returned %v after %v", err, time.Since(begin))
		}
	})
	bubble(t, "D3_waiting", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRedialed()
		retry := r.retry(func() { time.AfterFunc(time.Minute, cancel) }, 1)
		retry.First, retry.Max = time.Hour, time.Hour
		if err := ws.Redial(ctx, "ws://test", dials(refuses(503)), retry); err != context.Canceled || time.Since(r.begin) != time.Minute {
			t.Errorf("it returned %v after %v", err, time.Since(r.begin))
		}
	})
	bubble(t, "D3_ended_before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := ws.Redial(ctx, "ws://test", nil, nil); err != context.Canceled {
			t.Errorf("it returned %v", err)
		}
	})
	bubble(t, "D3_while_f_asks", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := ws.Redial(ctx, "ws://test", func() (ws.Events, *ws.DialOptions, error) { cancel(); return ws.Events{}, nil, errors.New("no token") }, nil)
		if err != context.Canceled {
			t.Errorf("it returned %v", err)
		}
	})
}

// A server that is shut down and comes back, and callbacks that fail.
func TestRedialServer(t *testing.T) {
	t.Parallel()
	bubble(t, "D3_restart", func(t *testing.T) {
		var u atomic.Pointer[ws.Upgrader]
		opened := make(chan bool)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u.Load().Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ws.Events{}, nil })(w, r)
		})
		quiet := func(*http.Request, error) {}
		u.Store(&ws.Upgrader{OnError: quiet})
		ctx, cancel := context.WithCancel(t.Context())
		returned := make(chan error)
		r := newRedialed()
		go func() {
			returned <- ws.Redial(ctx, "ws://test", func() (ws.Events, *ws.DialOptions, error) {
				return ws.Events{OnOpen: func(*ws.Conn) error { opened <- true; return nil }}, &ws.DialOptions{Handler: h}, nil
			}, r.retry(nil, -1))
		}()
		<-opened
		u.Load().Shutdown(t.Context())
		pass(10 * time.Second)
		u.Store(&ws.Upgrader{OnError: quiet})
		<-opened
		cancel()
		<-returned
		r.within(t, doubling[:min(len(r.waits), len(doubling))]...)
		if len(r.waits) < 4 || r.ends[0].Code != 1001 || r.errs[0] != nil || r.errs[1].(*ws.HandshakeError).Status != 503 {
			t.Errorf("Waiting got %+v, %v", r.ends, r.errs)
		}
	})
	bubble(t, "D3_callbacks_that_fail", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRedialed()
		n := 0
		err := ws.Redial(ctx, "ws://test", func() (ws.Events, *ws.DialOptions, error) {
			n++
			return ws.Events{
				OnOpen: func(*ws.Conn) error {
					if n == 1 {
						return errors.New("oops")
					}
					panic("oops")
				},
				OnClose: func(*ws.Conn, ws.CloseEvent) { panic(http.ErrAbortHandler) },
			}, &ws.DialOptions{Handler: dialEcho(&ws.Upgrader{})}, nil
		}, r.retry(cancel, 3))
		r.within(t, half, second, 2*second)
		if err != context.Canceled || r.ends[2].Code != 1011 {
			t.Errorf("%v; Waiting got %+v", err, r.ends)
		}
	})
	bubble(t, "D3_ping_timeout", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRedialed()
		ws.Redial(ctx, "ws://test", dials(dialRaw("", func(_ net.Conn, r *bufio.Reader) { r.WriteTo(io.Discard) })), r.retry(cancel, 1))
		if r.ends[0].Code != 1006 || r.ends[0].Err != ws.ErrPingTimeout || r.errs[0] != nil {
			t.Errorf("Waiting got %+v, %v", r.ends, r.errs)
		}
	})
}

func TestRouteRedial(t *testing.T) {
	t.Parallel()
	bubble(t, "D3_route", func(t *testing.T) {
		rt := ws.Route[string, string]{Path: "/rooms/{room}"}
		mux := http.NewServeMux()
		mux.Handle(rt.Path, ws.Upgrade(rt.Factory(func(_ http.ResponseWriter, r *http.Request) (ws.RouteEvents[string, string], error) {
			return ws.RouteEvents[string, string]{OnMessage: func(c *ws.RouteConn[string], s string) error {
				c.Send(s + " in " + r.PathValue("room") + r.URL.RawQuery)
				return c.Close(1012, "")
			}}, nil
		})))
		var got []string
		begin := time.Now()
		err := rt.Redial(hours(t), "http://test", func() (ws.RouteEvents[string, string], *ws.DialOptions, error) {
			n := fmt.Sprint(len(got))
			return ws.RouteEvents[string, string]{
				OnOpen: func(c *ws.RouteConn[string]) error { return c.Send("hi") },
				OnMessage: func(c *ws.RouteConn[string], s string) error {
					if got = append(got, s); len(got) == 2 {
						return c.Close(1000, "")
					}
					return nil
				},
			}, &ws.DialOptions{Handler: mux, Params: map[string]string{"room": n}, Query: url.Values{"n": {n}}}, nil
		}, nil)
		if want := []string{"hi in 0n=0", "hi in 1n=1"}; err != nil || !slices.Equal(got, want) || time.Since(begin) > time.Second {
			t.Errorf("%v after %v; got %q", err, time.Since(begin), got)
		}
	})
	bubble(t, "D3_route_without_its_parameter", func(t *testing.T) {
		err := ws.Route[string, string]{Path: "/{room}"}.Redial(hours(t), "http://test", func() (ws.RouteEvents[string, string], *ws.DialOptions, error) {
			return ws.RouteEvents[string, string]{}, nil, nil
		}, nil)
		if err == nil || !strings.Contains(err.Error(), `"room"`) {
			t.Errorf("it returned %v", err)
		}
	})
}
