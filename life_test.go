//go:build !js

package ws_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// Not parallel: one part sets the default log.
func TestLife(t *testing.T) {
	testDefaultLog(t)
	t.Run("Closing", testClosing)
	t.Run("Closing", testClosingInOnError)
	t.Run("Context", testContextUnderACallback)
	t.Run("Pings", testPingsUnderACallback)
	t.Run("Returned", testReturned)
}

// testClosing: time in which a callback runs is not the peer's.
func testClosing(t *testing.T) {
	for _, where := range []string{"OnOpen", "OnMessage"} {
		for _, works := range []time.Duration{4 * time.Second, 5500 * time.Millisecond, time.Minute} {
			for _, answers := range []bool{true, false} {
				bubble(t, fmt.Sprintf("S4_Close_in_%s_that_works_on_for_%v/answered=%t", where, works, answers), func(t *testing.T) {
					u, r := &ws.Upgrader{Limits: noPings}, newRecord()
					var over time.Time
					do := func(c *ws.Conn) error {
						if err := c.Close(4000, "enough"); err != nil {
							t.Error(err)
						}
						pass(works)
						over = time.Now()
						return nil
					}
					ev, log := ws.Events{}, []string{"open"}
					if where == "OnOpen" {
						ev.OnOpen = do
					} else {
						ev.OnMessage = func(c *ws.Conn, _ ws.Message) error { return do(c) }
						log = append(log, "message x")
					}
					w := link{pipe: true}.open(t, u, r.of(ev))
					if where == "OnMessage" {
						w.send(fText, "x")
					}
					w.expect(fClose, closing(4000, "enough"))
					written := time.Now()
					var peer sync.WaitGroup
					defer peer.Wait()
					if answers {
						peer.Go(func() { // it is read when the callback has returned
							w.Conn.Write(frame(fClose, closing(4000, "enough")))
							io.Copy(io.Discard, w.br)
						})
					}
					<-r.done // what can't end is a deadlock of the bubble
					ended := time.Now()
					if answers && (!r.end.WasClean || r.end.Code != 4000 || r.end.Err != nil || !ended.Equal(over)) {
						t.Errorf("%v after the callback's end: %+v", ended.Sub(over), r.end)
					}
					if least, most := written.Add(5*time.Second), over.Add(5*time.Second); !answers &&
						(r.end.Code != 1006 || r.end.WasClean || r.end.Err == nil || ended.Before(least) || ended.After(most)) {
						t.Errorf("%v after the Close frame and %v after the callback's end: %+v", ended.Sub(written), ended.Sub(over), r.end)
					}
					w.Close()
					r.wait(t, u)
					r.want(t, append(log, "close")...)
				})
			}
		}
	}
}

// testClosingInOnError: the peer answers the Close frame of a fault while OnError works.
func testClosingInOnError(t *testing.T) {
	bubble(t, "S4_OnError_that_works_for_a_minute", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnError: func(*ws.Conn, error) { pass(time.Minute) }}))
		w.send(fText, "\xff")
		w.expect(fClose, closing(1007, "invalid data"))
		var peer sync.WaitGroup
		defer peer.Wait()
		peer.Go(func() { // it is read when OnError has returned
			w.Conn.Write(frame(fClose, closing(1007, "invalid data")))
			io.Copy(io.Discard, w.br)
		})
		<-r.done
		if !r.end.WasClean || r.end.Code != 1007 {
			t.Errorf("%+v", r.end)
		}
		w.Close()
		r.wait(t, u)
	})
}

// waits is a callback that waits for its connection's Context, and passes on its cause: nil if it did not end.
func waits(begun chan<- struct{}, ended chan<- error) func(*ws.Conn, ws.Message) error {
	return func(c *ws.Conn, _ ws.Message) error {
		close(begun)
		select {
		case <-c.Context().Done():
		case <-time.After(patience / 2):
		}
		ended <- context.Cause(c.Context())
		return nil
	}
}

// testContextUnderACallback: X1, what ends the Context of a connection whose callback waits for it.
func testContextUnderACallback(t *testing.T) {
	for _, tt := range []struct {
		name string
		drop func(u *ws.Upgrader, c *ws.Conn)
		want error
		in   time.Duration
	}{
		{"Shutdown_whose_ctx_has_ended", func(u *ws.Upgrader, c *ws.Conn) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			u.Shutdown(ctx)
		}, ws.ErrShutdown, 0},
		{"Shutdown_whose_ctx_ends", func(u *ws.Upgrader, c *ws.Conn) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			u.Shutdown(ctx)
		}, ws.ErrShutdown, time.Second},
		{"a_full_buffer", func(u *ws.Upgrader, c *ws.Conn) {
			var g ws.Group
			g.Add(c)
			c.SendBinary(make([]byte, 1000))
			g.Broadcast(ws.Text("x"))
		}, ws.ErrBufferFull, 0},
		{"WriteTimeout", func(u *ws.Upgrader, c *ws.Conn) { c.SendText("x") }, ws.ErrWriteTimeout, 10 * time.Second},
	} {
		for _, l := range []link{{pipe: true}, {pipe: true, header: offersDeflate}} {
			bubble(t, fmt.Sprintf("X1_dropped_by_%s/compressed=%t", tt.name, l.header != ""), func(t *testing.T) {
				u, r := compressing(websocket.CompressionContextTakeover, ws.Limits{SendBuffer: 10, PingInterval: -1}), newRecord()
				begun, ended := make(chan struct{}), make(chan error, 1)
				w := l.open(t, u, r.of(ws.Events{OnMessage: waits(begun, ended)}))
				w.send(fText, "x")
				receive(t, begun)
				pass(5 * time.Millisecond)
				before := time.Now()
				if tt.name == "WriteTimeout" {
					pass(time.Second)
					before = time.Now()
				}
				tt.drop(u, r.conn)
				if err := <-ended; !errors.Is(err, tt.want) {
					t.Errorf("the Context's cause is %v, not %v", err, tt.want)
				}
				if d := time.Since(before); d < tt.in || d > tt.in+time.Millisecond {
					t.Errorf("the Context ended after %v of the bubble's time, not %v", d, tt.in)
				}
				r.wait(t, u)
				if r.end.Code != 1006 || !errors.Is(r.end.Err, tt.want) {
					t.Errorf("%+v", r.end)
				}
			})
		}
	}
	bubble(t, "X1_5_s_after_the_Close_frame_beside_a_heartbeat", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: ws.Limits{PingInterval: 10 * time.Second}}, newRecord()
		begun, ended := make(chan struct{}), make(chan error, 1)
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnMessage: waits(begun, ended)}))
		pass(8 * time.Second)
		w.send(fText, "x")
		receive(t, begun)
		before := time.Now()
		r.conn.Close(1000, "")
		w.expect(fClose, closing(1000, ""))
		<-ended
		if d := time.Since(before); d != 5*time.Second {
			t.Errorf("the Context ended after %v of the bubble's time", d)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "X1_the_peer_hangs_up_a_pipe", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: ws.Limits{PingInterval: 10 * time.Second}}, newRecord()
		begun, ended := make(chan struct{}), make(chan error, 1)
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnMessage: waits(begun, ended)}))
		w.send(fText, "x")
		receive(t, begun)
		before := time.Now()
		w.Close()
		<-ended
		if d := time.Since(before); d > 10*time.Second {
			t.Errorf("the Context ended after %v of the bubble's time: later than a heartbeat", d)
		}
		r.wait(t, u)
		r.want(t, "open", "message x", "close")
	})
	for name, hangUp := range map[string]func(w *wire, c *ws.Conn){
		"FIN": func(w *wire, _ *ws.Conn) { w.Close() },
		"RST": func(w *wire, _ *ws.Conn) { reset(w.Conn) },
		"FIN_after_a_message": func(w *wire, _ *ws.Conn) {
			w.send(fText, "unread")
			w.Close()
		},
		"RST_after_a_message": func(w *wire, _ *ws.Conn) {
			w.send(fText, "unread")
			reset(w.Conn)
		},
		"FIN_after_a_Close_frame": func(w *wire, _ *ws.Conn) {
			w.send(fClose, closing(1000, ""))
			w.Close()
		},
		"FIN_after_our_Close_was_answered": func(w *wire, c *ws.Conn) {
			c.Close(1000, "")
			for b0 := byte(fPing); b0 != fClose; b0, _ = w.next() {
			}
			w.send(fClose, closing(1000, ""))
			w.Close()
		},
	} {
		for how, l := range map[string]link{"tcp": {}, "tls": {tls: true}} {
			t.Run("X1_the_peer_hangs_up/"+name+"/"+how, func(t *testing.T) {
				t.Parallel()
				u, r := &ws.Upgrader{Limits: ws.Limits{PingInterval: 20 * time.Millisecond}}, newRecord()
				begun, ended := make(chan struct{}), make(chan error, 1)
				w := l.open(t, u, r.of(ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
					if m.String() == "x" {
						return waits(begun, ended)(c, m)
					}
					return nil
				}}))
				w.send(fText, "x")
				receive(t, begun)
				hangUp(w, r.conn)
				if err := receive(t, ended); err == nil {
					t.Error("the Context did not end while a callback waited for it")
				}
				r.wait(t, u)
				if r.err != nil {
					t.Errorf("that a peer went away is no fault: %v", r.err)
				}
			})
		}
	}
}

// reset ends c with a RST.
func reset(c net.Conn) {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = wrapped.NetConn()
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// testPingsUnderACallback: proxies see life while a callback works.
func testPingsUnderACallback(t *testing.T) {
	for _, header := range []string{"", offersDeflate} {
		bubble(t, fmt.Sprintf("K1_pings_go_out_under_a_long_callback/compressed=%t", header != ""), func(t *testing.T) {
			limits := ws.Limits{PingInterval: 30 * time.Second, PingTimeout: 10 * time.Second}
			u, r := compressing(websocket.CompressionContextTakeover, limits), newRecord()
			w := link{pipe: true, header: header}.open(t, u, r.of(ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
				pass(10 * time.Minute)
				return c.Close(1000, "")
			}}))
			got := w.collect()
			w.send(fText, "x")
			begun := time.Now()
			for n := 1; ; n++ {
				var s string
				select {
				case s = <-got:
				case <-time.After(11 * time.Minute):
					t.Fatal("nothing came while the callback worked, nor after it")
				}
				d := time.Since(begun)
				if d >= 10*time.Minute {
					if n < 10 {
						t.Errorf("%d pings came in 10 minutes", n-1)
					}
					break
				}
				if s != "\x89" {
					t.Errorf("while the callback worked came %q", s)
					break
				}
				if silent := time.Duration(n) * (limits.PingInterval + limits.PingTimeout); d > silent {
					t.Errorf("ping %d came after %v of the bubble's time", n, d)
				}
			}
			// The peer could not answer; nothing of this is held against it.
			if r.err != nil {
				t.Error(r.err)
			}
			go func() { w.Conn.Write(frame(fClose, "")); w.Close() }()
			r.wait(t, u)
			r.want(t, "open", "message x", "close")
		})
	}
	bubble(t, "K1_as_often_under_a_callback_as_before_it", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: ws.Limits{PingInterval: 30 * time.Second, PingTimeout: 20 * time.Second}}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnMessage: func(*ws.Conn, ws.Message) error {
			pass(280 * time.Second)
			return nil
		}}))
		w.expect(fPing, "")
		last := time.Now()
		w.send(fText, "x")
		for range 9 {
			w.expect(fPing, "")
			if d := time.Since(last); d > 30*time.Second {
				t.Errorf("pinged after %v of the bubble's time", d)
			}
			last = time.Now()
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "K1_a_peer_that_takes_no_ping_under_a_long_callback", func(t *testing.T) {
		limits := ws.Limits{PingInterval: 5 * time.Second, WriteTimeout: 2 * time.Second}
		u, r := &ws.Upgrader{Limits: limits}, newRecord()
		begun, ended := make(chan struct{}), make(chan error, 1)
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnMessage: waits(begun, ended)}))
		w.send(fText, "x")
		receive(t, begun)
		before := time.Now()
		if err := <-ended; err != ws.ErrWriteTimeout {
			t.Errorf("the Context's cause is %v", err)
		}
		if d := time.Since(before); d != limits.PingInterval+limits.WriteTimeout {
			t.Errorf("the Context ended after %v of the bubble's time", d)
		}
		r.wait(t, u)
		r.want(t, "open", "message x", "error", "close")
	})
}

// testReturned: C4, what callbacks return.
func testReturned(t *testing.T) {
	type do = func(*ws.Conn) error
	rejected := &ws.HandshakeError{Status: 418, Err: errors.New("an upstream's")}
	for _, tt := range []struct {
		name   string
		err    error
		code   uint16
		reason string
		fault  bool
	}{
		{"a_pointer_to_a_CloseError", &websocket.CloseError{Code: 4001, Reason: "bye"}, 4001, "bye", false},
		{"a_wrapped_pointer", fmt.Errorf("x: %w", &websocket.CloseError{Code: 1008, Reason: "no"}), 1008, "no", false},
		{"a_pointer_to_one_that_can't_be_sent", &websocket.CloseError{Code: 1005}, 1011, "", true},
		{"a_nil_pointer", (*websocket.CloseError)(nil), 1011, "", true},
		{"Reject", ws.Reject(403, "members only"), 1011, "", true},
		{"a_wrapped_Reject", fmt.Errorf("x: %w", ws.Reject(403, "members only")), 1011, "", true},
		{"a_HandshakeError", rejected, 1011, "", true},
	} {
		for _, where := range []string{"OnOpen", "OnMessage"} {
			for _, who := range []string{"Events.OnError", "Upgrader.OnError"} {
				t.Run("C4_"+tt.name+"_in_"+where+"/"+who, func(t *testing.T) {
					t.Parallel()
					u, r, reports := &ws.Upgrader{}, newRecord(), make(chan error, 9)
					u.OnError = func(_ *http.Request, err error) { reports <- err }
					f := do(func(*ws.Conn) error { return tt.err })
					ev, log := ws.Events{}, []string{"open"}
					if where == "OnOpen" {
						ev.OnOpen = f
					} else {
						ev.OnMessage = func(c *ws.Conn, _ ws.Message) error { return f(c) }
						log = append(log, "message x")
					}
					ev = r.of(ev)
					if who == "Upgrader.OnError" {
						ev.OnError = nil
					} else if tt.fault {
						log = append(log, "error")
					}
					w := link{tail: slices.Concat(frame(fText, "x"), frame(fText, "y"))}.open(t, u, ev)
					w.bye(tt.code, tt.reason)
					r.wait(t, u)
					r.want(t, append(log, "close")...)
					got := r.err
					if who == "Upgrader.OnError" && tt.fault {
						got = receive(t, reports)
					}
					if (got != nil) != tt.fault || tt.fault && !errors.Is(got, tt.err) || r.end.Err != got {
						t.Errorf("the fault is %v, and %+v", got, r.end)
					}
					if len(reports) > 0 {
						t.Errorf("one report too many: %v", <-reports)
					}
				})
			}
		}
	}
}

// testDefaultLog: a callback's error is logged as one, whatever its type.
func testDefaultLog(t *testing.T) {
	for name, err := range map[string]error{
		"Reject":               ws.Reject(403, "members only"),
		"an_upstreams_refusal": fmt.Errorf("the upstream: %w", &ws.HandshakeError{Status: 404, Err: errors.New("members only")}),
		"a_HandshakeError_502": &ws.HandshakeError{Status: 502, Err: errors.New("members only")},
		"a_HeaderError":        fmt.Errorf("members only: %w", &ws.HeaderError{Op: "set", Key: "X"}),
		"ErrBufferFull":        fmt.Errorf("members only: %w", ws.ErrBufferFull),
	} {
		for _, where := range []string{"OnOpen", "OnMessage"} {
			t.Run("C4_"+name+"_from_"+where+"_is_logged", func(t *testing.T) {
				logged := captureLog(t)
				u, closed := &ws.Upgrader{}, make(chan ws.CloseEvent, 1)
				ev := ws.Events{OnClose: func(_ *ws.Conn, e ws.CloseEvent) { closed <- e }}
				if where == "OnOpen" {
					ev.OnOpen = func(*ws.Conn) error { return err }
				} else {
					ev.OnMessage = func(*ws.Conn, ws.Message) error { return err }
				}
				for range 2 { // each time
					c, derr := ws.Dial(t.Context(), "ws://test/", ws.Events{
						OnOpen: func(c *ws.Conn) error { return c.SendText("x") },
					}, &ws.DialOptions{Handler: u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ev, nil })})
					if derr != nil {
						t.Fatal(derr)
					}
					receive(t, closed)
					<-c.Context().Done()
				}
				if err := u.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
				lines := strings.Split(strings.TrimSpace(logged()), "\n")
				if len(lines) != 2 || !strings.Contains(lines[0], "members only") || !strings.Contains(lines[0], "level="+slog.LevelError.String()) ||
					!strings.Contains(lines[0], "callback") {
					t.Errorf("the log has %q", lines)
				}
			})
		}
	}
}

// TestHooks: the engine's hooks for pings and pongs are called, on either end.
func TestHooks(t *testing.T) {
	t.Parallel()
	bubble(t, "OnPingReceived_decides_about_the_pong", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		u.Engine.OnPingReceived = func(ctx context.Context, p []byte) bool { return ctx.Err() == nil && string(p) != "no" }
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnMessage: echo}))
		w.send(fPing, "no")
		w.send(fPing, "yes")
		w.expect(fPong, "yes")
		w.send(fText, "x")
		w.expect(fText, "x")
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "OnPongReceived_gets_the_payload", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		got := make(chan string, 1)
		u.Engine.OnPongReceived = func(_ context.Context, p []byte) { got <- string(p) }
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		w.send(fPong, "unasked")
		if p := receive(t, got); p != "unasked" {
			t.Errorf("OnPongReceived got %q", p)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "K1_a_hook_that_takes_a_minute_is_not_held_against_the_peer", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		u.Engine.OnPingReceived = func(context.Context, []byte) bool { pass(time.Minute); return true }
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		got := w.collect()
		w.send(fPing, "slow")
		pass(time.Minute)
		synctest.Wait()
		if all := drain(got); len(all) == 0 || all[len(all)-1] != "\x8aslow" {
			t.Errorf("%q", all)
		}
		if r.conn.ReadyState() != ws.Open {
			t.Errorf("the peer was dropped: %v", r.err)
		}
		w.Close()
		r.wait(t, u)
	})
	for name, b0 := range map[string]byte{"pings": fPing, "pongs": fPong} {
		bubble(t, "S4_dropped_5_s_after_the_Close_frame_whatever_hooks_get/"+name, func(t *testing.T) {
			u, r := &ws.Upgrader{Limits: noPings}, newRecord()
			u.Engine.OnPingReceived = func(context.Context, []byte) bool { return true }
			u.Engine.OnPongReceived = func(context.Context, []byte) {}
			w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			r.conn.Close(1000, "")
			w.expect(fClose, closing(1000, ""))
			synctest.Wait()
			closed := time.Now()
			for range 8 {
				if _, err := w.Write(frame(b0, "x")); err != nil {
					break
				}
				pass(time.Second)
			}
			if d := time.Since(closed); d > 6*time.Second {
				t.Errorf("dropped after %v of the bubble's time", d)
			}
			w.Close()
			r.wait(t, u)
		})
	}
	t.Run("when_dialling", func(t *testing.T) {
		t.Parallel()
		u := &ws.Upgrader{}
		pinged := make(chan string, 1)
		opts := &ws.DialOptions{Handler: u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			return ws.Events{OnOpen: func(c *ws.Conn) error {
				go c.Ping(c.Context())
				return nil
			}}, nil
		})}
		opts.Engine.OnPingReceived = func(_ context.Context, p []byte) bool { pinged <- string(p); return true }
		c, err := ws.Dial(t.Context(), "ws://test/", ws.Events{}, opts)
		if err != nil {
			t.Fatal(err)
		}
		if p := receive(t, pinged); p == "" {
			t.Error("a Ping without a payload of its own")
		}
		c.Close(1000, "")
		<-c.Context().Done()
	})
}
