//go:build !js

package ws_test

import (
	"errors"
	"fmt"
	"io"
	"net"
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

func TestGroup(t *testing.T) {
	t.Parallel()
	t.Run("zero_value", func(t *testing.T) {
		t.Parallel()
		var g ws.Group
		g.Broadcast(ws.Text("to nobody"))
		g.Remove(new(ws.Conn))
		if g.Len() != 0 || len(slices.Collect(g.All())) != 0 {
			t.Error("not empty")
		}
	})
	t.Run("members", func(t *testing.T) {
		t.Parallel()
		u, conns := &ws.Upgrader{}, make(chan *ws.Conn, 1)
		ends := make(chan [2]int, 3)
		var g, h ws.Group
		open := func() (*wire, *ws.Conn) {
			w := link{}.open(t, u, ws.Events{
				OnOpen: func(c *ws.Conn) error {
					before := slices.Collect(g.All())
					g.Add(c)
					g.Add(c) // no change
					if n := len(slices.Collect(g.All())); n != len(before)+1 {
						t.Errorf("All has %d members after %d", n, len(before))
					}
					conns <- c
					return nil
				},
				OnClose: func(c *ws.Conn, _ ws.CloseEvent) {
					g.Add(c) // too late
					ends <- [2]int{g.Len(), h.Len()}
				},
			})
			return w, receive(t, conns)
		}
		wa, a := open()
		wb, b := open()
		wc, c := open()
		h.Add(a)
		h.Add(b)
		if g.Len() != 3 || h.Len() != 2 {
			t.Errorf("%d and %d members", g.Len(), h.Len())
		}
		g.Broadcast(ws.Text("not a, c"), a, c)
		h.Broadcast(ws.Text("h"))
		g.Remove(b)
		g.Remove(b)
		g.Broadcast(ws.Binary([]byte("not b")))
		g.Broadcast(ws.Message{Type: 7}) // reaches nobody, drops nobody
		wa.expect(fText, "h")
		wa.expect(fBinary, "not b")
		wb.expect(fText, "not a, c")
		wb.expect(fText, "h")
		wc.expect(fBinary, "not b")
		if all := slices.Collect(g.All()); len(all) != 2 || !slices.Contains(all, a) || !slices.Contains(all, c) {
			t.Errorf("All: %v", all)
		}
		for range g.All() {
			break
		}
		for c := range h.All() { // may change meanwhile
			h.Remove(c)
		}
		h.Add(a)
		for i, w := range []*wire{wa, wc} {
			w.Close()
			if got := receive(t, ends); got != [2]int{1 - i, 0} {
				t.Errorf("in OnClose %d there are %v members", i, got)
			}
		}
		g.Add(a) // has ended
		if g.Len() != 0 {
			t.Errorf("%d members at the end", g.Len())
		}
	})
	for _, compress := range []bool{false, true} {
		bubble(t, fmt.Sprintf("K3_a_full_member_is_dropped/compressed=%t", compress), func(t *testing.T) {
			u := &ws.Upgrader{Limits: ws.Limits{SendBuffer: 100, PingInterval: -1}}
			var l = link{pipe: true}
			if compress {
				u.Engine.CompressionMode = websocket.CompressionContextTakeover
				u.Engine.CompressionThreshold = 1
				l.header = offersDeflate
			}
			var g ws.Group
			add := ws.Events{OnOpen: func(c *ws.Conn) error { g.Add(c); return nil }}
			stuck, fine := newRecord(), newRecord()
			l.open(t, u, stuck.of(add))
			w := l.open(t, u, fine.of(add))
			got := w.collect()
			synctest.Wait()
			n := 0
			for ; g.Len() == 2 && n < 1000; n++ {
				g.Broadcast(ws.Text(fmt.Sprintf("%010d", n)))
				synctest.Wait()
			}
			select {
			case <-stuck.done:
			default:
				t.Fatal("the full member is not dropped")
			}
			stuck.want(t, "open", "error", "close")
			if stuck.err != ws.ErrBufferFull || stuck.end != (ws.CloseEvent{Code: 1006, Err: ws.ErrBufferFull}) {
				t.Errorf("%v, %+v", stuck.err, stuck.end)
			}
			g.Broadcast(ws.Text("one more"))
			synctest.Wait()
			if all := drain(got); len(all) != n+1 || fine.conn.ReadyState() != ws.Open {
				t.Errorf("the other member got %d messages of %d", len(all), n+1)
			}
			w.Close()
			receive(t, fine.done)
			fine.want(t, "open", "close")
		})
	}
	bubble(t, "K3_what_can_not_be_sent_is_an_error", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		var g ws.Group
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnOpen: func(c *ws.Conn) error { g.Add(c); return nil }}))
		synctest.Wait()
		for _, err := range []error{
			g.Broadcast(ws.Message{}),
			g.BroadcastAll([]ws.Message{ws.Text("not this"), {Type: 7}}),
			new(ws.Group).Broadcast(ws.Message{Type: 7}),
		} {
			if err == nil || !strings.HasPrefix(err.Error(), "ws: ") || !strings.Contains(err.Error(), "type must be text or binary") {
				t.Errorf("got %v", err)
			}
		}
		if err := errors.Join(g.BroadcastAll(nil), g.Broadcast(ws.Text("nor this"), r.conn), g.Broadcast(ws.Text("this"))); err != nil {
			t.Error(err)
		}
		w.expect(fText, "this")
		r.conn.Close(1000, "")
		if err := g.Broadcast(ws.Text("late")); err != nil || g.Len() != 1 {
			t.Errorf("to a closing member: %v", err)
		}
		w.bye(1000, "")
		r.wait(t, u)
		r.want(t, "open", "close")
	})
	bubble(t, "K3_messages_leave_together_in_one_write_a_member", func(t *testing.T) {
		u := &ws.Upgrader{Limits: ws.Limits{PingInterval: -1, SendBuffer: 10}}
		var g ws.Group
		var writes [2]atomic.Int32
		var got [2]<-chan string
		for i := range got {
			w := link{pipe: true, server: func(c net.Conn) net.Conn { return counted{c, &writes[i]} }}.open(t, u, ws.Events{OnOpen: func(c *ws.Conn) error { g.Add(c); return nil }})
			got[i] = w.collect()
			synctest.Wait()
			writes[i].Store(0)
		}
		// That the buffer is full is asked before the first.
		g.BroadcastAll([]ws.Message{ws.Text("a long first"), ws.Binary([]byte("a long second")), ws.Text("third")})
		synctest.Wait()
		for i := range got {
			if all := drain(got[i]); !slices.Equal(all, []string{"\x81a long first", "\x82a long second", "\x81third"}) || writes[i].Load() != 1 {
				t.Errorf("%q in %d writes", all, writes[i].Load())
			}
		}
		if g.Len() != 2 {
			t.Errorf("%d members", g.Len())
		}
		for c := range g.All() {
			c.Close(1000, "")
		}
		pass(time.Minute)
	})
	bubble(t, "K3_nothing_comes_between", func(t *testing.T) {
		u := &ws.Upgrader{Limits: noPings}
		var g ws.Group
		w := link{pipe: true}.open(t, u, ws.Events{OnOpen: func(c *ws.Conn) error { g.Add(c); return nil }})
		got := w.collect()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					g.BroadcastAll([]ws.Message{ws.Text("1"), ws.Text("2"), ws.Text("3")})
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if all := strings.Join(drain(got), ""); all != strings.Repeat("\x811\x812\x813", 400) {
			t.Errorf("got %.200q", all)
		}
		w.Close()
	})
	t.Run("changes_from_many_goroutines", func(t *testing.T) {
		t.Parallel()
		var g ws.Group
		u := &ws.Upgrader{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 5 {
					opened, done := make(chan struct{}), make(chan struct{})
					w := link{pipe: true}.open(t, u, ws.Events{
						OnOpen:  func(c *ws.Conn) error { g.Add(c); close(opened); return nil },
						OnClose: func(*ws.Conn, ws.CloseEvent) { close(done) },
					})
					go io.Copy(io.Discard, w.br)
					receive(t, opened)
					for c := range g.All() {
						g.Remove(c)
						g.Add(c)
					}
					w.Close()
					receive(t, done)
				}
			})
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					g.Broadcast(ws.Text("x"))
					if g.Len() < 0 {
						t.Error("Len")
					}
				}
			}
		}()
		wg.Wait()
		close(stop)
		<-stopped
		if g.Len() != 0 {
			t.Errorf("%d members at the end", g.Len())
		}
	})
}
