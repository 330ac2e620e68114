//go:build js && wasm

// Command page runs checks of the package in the browser, against the server of
// the test, and leaves their outcome in window.results.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"syscall/js"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

const patience = 20 * time.Second

var base = js.Global().Get("location").Get("origin").String()

func main() {
	results := make(map[string]string)
	for _, c := range checks {
		err := c.f()
		results[c.name] = ""
		if err != nil {
			results[c.name] = err.Error()
		}
	}
	b, _ := json.Marshal(results)
	js.Global().Set("results", string(b))
}

// end is our end of a connection.
type end struct {
	*ws.Conn
	calls  []string // the callbacks, but for OnClose
	opened chan bool
	got    chan ws.Message
	closed chan ws.CloseEvent
}

func (e *end) events() ws.Events {
	return ws.Events{
		OnOpen:    func(*ws.Conn) error { e.calls = append(e.calls, "open"); close(e.opened); return nil },
		OnMessage: func(_ *ws.Conn, m ws.Message) error { e.got <- m; return nil },
		OnError:   func(_ *ws.Conn, err error) { e.calls = append(e.calls, "error") },
		OnClose:   func(_ *ws.Conn, ce ws.CloseEvent) { e.closed <- ce },
	}
}

// dial dials path. change may change the callbacks and options.
func dial(path string, change func(ev *ws.Events, opts *ws.DialOptions)) (*end, error) {
	e := &end{opened: make(chan bool), got: make(chan ws.Message, 10_000), closed: make(chan ws.CloseEvent, 1)}
	ev, opts := e.events(), &ws.DialOptions{}
	if change != nil {
		change(&ev, opts)
	}
	var err error
	e.Conn, err = ws.Dial(context.Background(), base+path, ev, opts)
	return e, err
}

func receive[T any](ch <-chan T, what string) (v T, err error) {
	select {
	case v = <-ch:
		return v, nil
	case <-time.After(patience):
		return v, fmt.Errorf("no %s came", what)
	}
}

// ends waits for OnClose and compares its event, but for Err, which is there or not.
func (e *end) ends(want ws.CloseEvent, fails bool, calls ...string) error {
	ce, err := receive(e.closed, "OnClose")
	if err != nil {
		return err
	}
	got := ce
	got.Err = nil
	if got != want || (ce.Err != nil) != fails {
		return fmt.Errorf("OnClose got %+v, want %+v, Err: %t", ce, want, fails)
	}
	if calls := append([]string{"open"}, calls...); !reflect.DeepEqual(e.calls, calls) {
		return fmt.Errorf("the callbacks were %q, want %q", e.calls, calls)
	}
	if e.Context().Err() == nil {
		return errors.New("the context has not ended")
	}
	if cause := context.Cause(e.Context()); ce.Err != nil && cause != ce.Err || ce.Err == nil && cause != error(websocket.CloseError{Code: ce.Code, Reason: ce.Reason}) {
		return fmt.Errorf("its cause is %v, CloseEvent is %+v", cause, ce)
	}
	if e.ReadyState() != ws.Closed {
		return fmt.Errorf("the state is %d", e.ReadyState())
	}
	for _, err := range []error{e.SendText("x"), e.TrySend(ws.Text("x")), e.Close(1000, "")} {
		if !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("after the end: %v", err)
		}
	}
	return nil
}

var checks = []struct {
	name string
	f    func() error
}{
	{"sizes", func() error {
		e, err := dial("/echo", func(_ *ws.Events, opts *ws.DialOptions) { opts.ReadLimit = -1 })
		if err != nil {
			return err
		}
		for i, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20, 4 << 20} {
			for _, m := range []ws.Message{ws.Text(strings.Repeat("aü€𝄞", n)[:n/10*10]), ws.Binary([]byte(strings.Repeat("\x00\xff"+fmt.Sprint(i), n)[:n]))} {
				if err := e.Send(m); err != nil {
					return err
				}
				got, err := receive(e.got, "echo")
				if err != nil {
					return err
				}
				if got.Type != m.Type || got.String() != m.String() {
					return fmt.Errorf("%v of %d bytes came back as %v of %d bytes", m.Type, len(m.Data), got.Type, len(got.Data))
				}
			}
		}
		e.Close(1000, "")
		return e.ends(ws.CloseEvent{Code: 1000, WasClean: true}, false)
	}},
	{"a_reply_that_loses_the_race_against_the_close", func() error { // C4
		var first, late error
		n := 0
		e, err := dial("/burst", func(ev *ws.Events, _ *ws.DialOptions) {
			ev.OnMessage = func(c *ws.Conn, m ws.Message) error {
				if n++; n > 1 {
					return nil
				}
				for deadline := time.Now().Add(patience); c.ReadyState() == ws.Open; <-time.After(time.Millisecond) {
					if time.Now().After(deadline) {
						late = errors.New("the state stays Open although the browser has closed")
						return nil
					}
				}
				first = c.Send(m)
				return first
			}
		})
		if err != nil {
			return err
		}
		if err := e.ends(ws.CloseEvent{Code: 4001, Reason: "done, ü", WasClean: true}, false); err != nil {
			return err
		}
		if late != nil || !errors.Is(first, net.ErrClosed) || n != 1000 {
			return fmt.Errorf("%v; Send returned %v; %d messages came, want 1000", late, first, n)
		}
		return nil
	}},
	{"server_closes_after_messages", func() error {
		for range 5 {
			e, err := dial("/burst", nil)
			if err != nil {
				return err
			}
			if err := e.ends(ws.CloseEvent{Code: 4001, Reason: "done, ü", WasClean: true}, false); err != nil {
				return err
			}
			if len(e.got) != 1000 {
				return fmt.Errorf("%d messages came, want 1000", len(e.got))
			}
			for i := range 1000 {
				if m := <-e.got; m.String() != fmt.Sprint(i) {
					return fmt.Errorf("message %d is %q", i, m)
				}
			}
		}
		return nil
	}},
	{"client_closes_after_messages", func() error {
		e, err := dial("/seen/closes_after_messages", nil)
		if err != nil {
			return err
		}
		for i := range 1000 {
			if err := e.SendText(fmt.Sprint(i)); err != nil {
				return err
			}
		}
		if err := e.Close(4002, "enough, ü"); err != nil {
			return err
		}
		if e.ReadyState() != ws.Closing {
			return fmt.Errorf("the state is %d", e.ReadyState())
		}
		return e.ends(ws.CloseEvent{Code: 4002, Reason: "enough, ü", WasClean: true}, false)
	}},
	{"close_codes", func() error {
		e, err := dial("/seen/going_away", nil)
		if err != nil {
			return err
		}
		for _, code := range []websocket.StatusCode{0, 1005, 1006, 2000, 5000} {
			if err := e.Close(code, ""); err == nil || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("Close(%d) is %v", code, err)
			}
		}
		if err := e.Close(1000, strings.Repeat("x", 124)); err == nil {
			return errors.New("a reason of 124 bytes is no error")
		}
		if err := e.Close(websocket.StatusGoingAway, ""); err != nil {
			return err
		}
		return e.ends(ws.CloseEvent{Code: 1005, WasClean: true}, false)
	}},
	{"server_drops", func() error {
		e, err := dial("/drop", nil)
		if err != nil {
			return err
		}
		if _, err := receive(e.got, "message"); err != nil {
			return err
		}
		e.SendText("now")
		return e.ends(ws.CloseEvent{Code: 1006}, true)
	}},
	{"refused", func() error {
		_, err := dial("/refuse", nil)
		var he *ws.HandshakeError
		if !errors.As(err, &he) || he.Status != 0 || he.Err == nil {
			return fmt.Errorf("got %v", err)
		}
		return nil
	}},
	{"redial", func() error { // D3
		var ends []string
		n := -1
		err := ws.Redial(context.Background(), base+"/restarts", func() (ws.Events, *ws.DialOptions, error) {
			n++
			return ws.Events{}, &ws.DialOptions{Query: url.Values{"after": {fmt.Sprint(n)}}}, nil
		}, &ws.Retry{First: 10 * time.Millisecond, Waiting: func(_ time.Duration, e ws.CloseEvent, err error) {
			ends = append(ends, fmt.Sprint(int(e.Code), err != nil))
		}})
		if got := strings.Join(ends, ", "); got != "1012 false, 1006 true" || err != (websocket.CloseError{Code: 4001, Reason: "enough"}) {
			return fmt.Errorf("%v after %s", err, got)
		}
		return nil
	}},
	{"redial_online", func() error { // D3: the wait ends
		n := 0
		errOnline := errors.New("online")
		err := ws.Redial(context.Background(), base+"/hang", func() (ws.Events, *ws.DialOptions, error) {
			if n++; n == 1 {
				return ws.Events{}, nil, &ws.HandshakeError{Err: errors.New("offline")}
			}
			return ws.Events{}, nil, errOnline
		}, &ws.Retry{First: time.Hour, Max: time.Hour, Waiting: func(time.Duration, ws.CloseEvent, error) {
			js.Global().Call("setTimeout", js.Global().Get("Function").New(`dispatchEvent(new Event("online"))`), 100)
		}})
		if err != errOnline {
			return fmt.Errorf("it returned %v", err)
		}
		return nil
	}},
	{"redial_context", func() error { // D3: the server gets a 1000
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		err := ws.Redial(ctx, base+"/seen/redial_context", func() (ws.Events, *ws.DialOptions, error) {
			return ws.Events{OnOpen: func(*ws.Conn) error { cancel(); return nil }}, nil, nil
		}, nil)
		if err != context.Canceled {
			return fmt.Errorf("it returned %v", err)
		}
		return nil
	}},
	{"redial_impossible", func() error { // D3: the browser does not even try
		err := ws.Redial(context.Background(), base+"/echo", func() (ws.Events, *ws.DialOptions, error) {
			return ws.Events{}, &ws.DialOptions{Engine: websocket.DialOptions{Subprotocols: []string{"not a token"}}}, nil
		}, nil)
		var he *ws.HandshakeError
		if !errors.As(err, &he) {
			return fmt.Errorf("it returned %v", err)
		}
		return nil
	}},
	{"cancelled", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err := ws.Dial(ctx, base+"/hang", ws.Events{}, nil)
		var he *ws.HandshakeError
		if !errors.As(err, &he) || he.Status != 0 || !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	}},
	{"wrong_options", func() error {
		for _, opts := range []*ws.DialOptions{
			{Handler: http.NotFoundHandler()},
			{Params: map[string]string{"a": "b"}},
			{Engine: websocket.DialOptions{Subprotocols: []string{"not a token"}}},
		} {
			if c, err := ws.Dial(context.Background(), base+"/echo", ws.Events{}, opts); err == nil || c != nil {
				return fmt.Errorf("%+v is no error", opts)
			}
		}
		return nil
	}},
	{"no_WebSocket", func() error { // as in Node before 22
		was := js.Global().Get("WebSocket")
		defer js.Global().Set("WebSocket", was)
		js.Global().Set("WebSocket", js.Undefined())
		c, err := ws.Dial(context.Background(), base+"/echo", ws.Events{}, nil)
		var he *ws.HandshakeError
		if !errors.As(err, &he) || c != nil {
			return fmt.Errorf("got %v, %v", c != nil, err)
		}
		return nil
	}},
	{"subprotocol_and_query", func() error {
		e, err := dial("/query?a=1", func(_ *ws.Events, opts *ws.DialOptions) {
			opts.Engine.Subprotocols, opts.Query = []string{"x", "b"}, url.Values{"b": {"ü&"}}
		})
		if err != nil {
			return err
		}
		m, err := receive(e.got, "message")
		if err != nil {
			return err
		}
		if m.String() != "a=1&b=%C3%BC%26" || e.Subprotocol() != "b" || e.Request().URL.RawQuery != m.String() {
			return fmt.Errorf("the server got %q, the request is for %v, the subprotocol is %q", m, e.Request().URL, e.Subprotocol())
		}
		e.Close(1000, "")
		return e.ends(ws.CloseEvent{Code: 1000, WasClean: true}, false)
	}},
	{"read_limit", func() error {
		e, err := dial("/seen/read_limit", func(_ *ws.Events, opts *ws.DialOptions) { opts.ReadLimit = 3 })
		if err != nil {
			return err
		}
		e.SendText("1234") // it comes back
		return e.ends(ws.CloseEvent{Code: 1005, WasClean: true}, true, "error")
	}},
	{"error", func() error {
		e, err := dial("/seen/error", func(ev *ws.Events, _ *ws.DialOptions) {
			ev.OnMessage = func(*ws.Conn, ws.Message) error { return errors.New("oops") }
		})
		if err != nil {
			return err
		}
		e.SendText("x")
		return e.ends(ws.CloseEvent{Code: 1005, WasClean: true}, true, "error")
	}},
	{"close_error", func() error {
		e, err := dial("/seen/close_error", func(ev *ws.Events, _ *ws.DialOptions) {
			ev.OnMessage = func(*ws.Conn, ws.Message) error { return websocket.CloseError{Code: 4003, Reason: "r"} }
		})
		if err != nil {
			return err
		}
		e.SendText("x")
		return e.ends(ws.CloseEvent{Code: 4003, Reason: "r", WasClean: true}, false)
	}},
	{"panic", func() error {
		var fault error
		e, err := dial("/seen/panic", func(ev *ws.Events, _ *ws.DialOptions) {
			ev.OnMessage = func(*ws.Conn, ws.Message) error { panic("boom") }
			onError := ev.OnError
			ev.OnError = func(c *ws.Conn, err error) { fault = err; onError(c, err) }
		})
		if err != nil {
			return err
		}
		e.SendText("x")
		if err := e.ends(ws.CloseEvent{Code: 1005, WasClean: true}, true, "error"); err != nil {
			return err
		}
		var pe *ws.PanicError
		if !errors.As(fault, &pe) || pe.Value != "boom" {
			return fmt.Errorf("OnError got %v", fault)
		}
		return nil
	}},
	{"abort", func() error {
		e, err := dial("/echo", func(ev *ws.Events, _ *ws.DialOptions) {
			ev.OnMessage = func(*ws.Conn, ws.Message) error { panic(http.ErrAbortHandler) }
		})
		if err != nil {
			return err
		}
		e.SendText("x")
		return e.ends(ws.CloseEvent{Code: 1006}, true)
	}},
	{"route_invalid", func() error {
		faults, closed := make(chan error, 1), make(chan ws.CloseEvent, 1)
		c, err := ws.Route[string, int]{Path: "/seen/{name}"}.Dial(context.Background(), base, ws.RouteEvents[int, string]{
			OnError: func(_ *ws.RouteConn[string], err error) { faults <- err },
			OnClose: func(_ *ws.RouteConn[string], e ws.CloseEvent) { closed <- e },
		}, &ws.DialOptions{Params: map[string]string{"name": "route_invalid"}})
		if err != nil {
			return err
		}
		c.Send("x") // it comes back, and is no int
		e, err := receive(closed, "OnClose")
		if err != nil {
			return err
		}
		if len(faults) != 1 || e.Err != <-faults {
			return fmt.Errorf("got %+v", e)
		}
		return nil
	}},
	{"full_buffer", func() error {
		e, err := dial("/stall", func(_ *ws.Events, opts *ws.DialOptions) {
			opts.SendBuffer, opts.WriteTimeout = 1<<20, 100*time.Millisecond
		})
		if err != nil {
			return err
		}
		if _, err := receive(e.opened, "OnOpen"); err != nil {
			return err
		}
		m := ws.Binary(make([]byte, 1<<20))
		for name, send := range map[string]func(ws.Message) error{"TrySend": e.TrySend, "Send": e.Send} {
			var err error
			sent := 0
			for ; err == nil && sent < 200; sent++ { // the browser and the system take some
				err = send(m)
			}
			if err != ws.ErrBufferFull || e.Buffered() < 1<<20 || e.ReadyState() != ws.Open {
				return fmt.Errorf("%s: %v after %d messages, %d bytes are buffered, the state is %d", name, err, sent, e.Buffered(), e.ReadyState())
			}
		}
		r, err := dial("/release", nil)
		if err != nil {
			return err
		}
		e.Close(1000, "")
		r.Close(1000, "")
		return e.ends(ws.CloseEvent{Code: 1000, WasClean: true}, false)
	}},
	{"many", func() error {
		var wg sync.WaitGroup
		errs := make(chan error, 20)
		for range cap(errs) {
			wg.Go(func() {
				e, err := dial("/burst", nil)
				if err == nil {
					err = e.ends(ws.CloseEvent{Code: 4001, Reason: "done, ü", WasClean: true}, false)
				}
				if err == nil && len(e.got) != 1000 {
					err = fmt.Errorf("%d messages came", len(e.got))
				}
				errs <- err
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}},
}
