//go:build !js

package ws_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
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

func TestSend(t *testing.T) {
	t.Parallel()
	full := ws.Limits{SendBuffer: 10, PingInterval: -1}
	bubble(t, "S1_full_for_WriteTimeout", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: full}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		synctest.Wait()
		c := r.conn
		huge := strings.Repeat("x", 1<<20)
		if err := c.SendText(huge); err != nil {
			t.Errorf("a huge message on an empty queue: %v", err)
		}
		before := time.Now()
		if err := c.TrySend(ws.Text("a")); err != ws.ErrBufferFull || !time.Now().Equal(before) {
			t.Errorf("TrySend: %v", err)
		}
		slow := make(chan struct{})
		go func() { // always progress, never room
			defer close(slow)
			for range 60 {
				io.ReadFull(w.br, make([]byte, 1))
				w.br.Discard(w.br.Buffered())
				pass(time.Second)
			}
		}()
		if err := c.SendText("b"); err != ws.ErrBufferFull {
			t.Errorf("Send: %v", err)
		}
		if d := time.Since(before); d != 10*time.Second {
			t.Errorf("Send waited %v of the bubble's time, not WriteTimeout", d)
		}
		if c.ReadyState() != ws.Open || c.Buffered() < full.SendBuffer {
			t.Errorf("state %d, %d bytes buffered", c.ReadyState(), c.Buffered())
		}
		<-slow
		go io.Copy(io.Discard, w.Conn)
		if err := c.SendText("c"); err != nil {
			t.Errorf("Send once there is room: %v", err)
		}
		synctest.Wait()
		if c.Buffered() != 0 {
			t.Errorf("%d bytes buffered", c.Buffered())
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "S1_waits_for_room_outside_any_lock", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: full}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		synctest.Wait()
		c := r.conn
		c.SendText("0123456789")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := c.SendText("more"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if c.Buffered() != 12 || c.ReadyState() != ws.Open || c.TrySend(ws.Text("a")) != ws.ErrBufferFull {
			t.Errorf("%d bytes buffered, state %d", c.Buffered(), c.ReadyState())
		}
		got := w.collect()
		wg.Wait()
		synctest.Wait()
		if all := drain(got); len(all) != 4 || all[3] != "\x81more" {
			t.Errorf("%q", all)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "S1_a_closing_connection_ends_the_wait", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: full}, newRecord()
		link{pipe: true}.open(t, u, r.of(ws.Events{}))
		synctest.Wait()
		r.conn.SendText("0123456789")
		done := make(chan error, 1)
		go func() { done <- r.conn.SendText("more") }()
		synctest.Wait()
		before := time.Now()
		r.conn.Close(1000, "")
		if err := <-done; !errors.Is(err, net.ErrClosed) || !time.Now().Equal(before) {
			t.Errorf("Send: %v after %v", err, time.Since(before))
		}
		r.wait(t, u)
	})
	t.Run("S1_copies_and_types", func(t *testing.T) {
		t.Parallel()
		r := newRecord()
		w := link{}.open(t, &ws.Upgrader{}, r.of(ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			for _, typ := range []websocket.MessageType{0, 3, 8, -1, 0x101} {
				bad := ws.Message{Type: typ, Data: []byte("x")}
				if err := c.Send(bad); err == nil || errors.Is(err, net.ErrClosed) {
					t.Errorf("Send of type %d: %v", typ, err)
				}
				if err := c.TrySend(bad); err == nil || errors.Is(err, net.ErrClosed) {
					t.Errorf("TrySend of type %d: %v", typ, err)
				}
			}
			b := []byte("copied")
			c.SendBinary(b)
			clear(b)
			c.SendText("")
			c.SendJSON([]int{1})
			c.TrySend(ws.Text("tried"))
			if err := c.SendJSON(func() {}); err == nil {
				t.Error("SendJSON of a func is no error")
			}
			return nil
		}}))
		w.send(fText, "go")
		w.expect(fBinary, "copied")
		w.expect(fText, "")
		w.expect(fText, "[1]")
		w.expect(fText, "tried")
	})
}

func TestFlush(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, u *ws.Upgrader, ev ws.Events) (*wire, *atomic.Int32) {
		writes := new(atomic.Int32)
		u.Limits.PingInterval = -1
		w := link{pipe: true, server: func(c net.Conn) net.Conn { return counted{c, writes} }}.open(t, u, ev)
		synctest.Wait()
		writes.Store(0)
		return w, writes
	}
	bubble(t, "S2_replies_to_pipelined_messages_leave_in_one_write", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		var group ws.Group
		wait := make(chan struct{})
		w, writes := open(t, u, r.of(ws.Events{
			OnOpen: func(c *ws.Conn) error { group.Add(c); return nil },
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				if m.String() == "25" {
					<-wait
				}
				group.Broadcast(ws.Text("others'"))
				return c.Send(m)
			}}))
		got := w.collect()
		var in []byte
		for i := range 50 {
			in = append(in, frame(fText, fmt.Sprint(i))...)
		}
		before := time.Now()
		w.write(in)
		synctest.Wait()
		if writes.Load() != 0 {
			t.Error("something left while there was input")
		}
		close(wait)
		synctest.Wait()
		all := drain(got)
		if len(all) != 100 || all[1] != "\x810" || all[99] != "\x8149" || writes.Load() != 1 || !time.Now().Equal(before) {
			t.Errorf("%d messages in %d writes: %.100q", len(all), writes.Load(), all)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "S2_before_a_long_pause", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		wait := make(chan struct{})
		w, writes := open(t, u, r.of(ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			for i := range 2 { // the timer works more than once
				c.SendText(fmt.Sprint(i))
				<-wait
			}
			return c.SendText("end")
		}}))
		go w.send(fText, "go")
		for i := range 2 {
			w.expect(fText, fmt.Sprint(i))
			wait <- struct{}{}
		}
		w.expect(fText, "end")
		if writes.Load() != 3 {
			t.Errorf("%d writes", writes.Load())
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "S2_more_than_64_KiB_leave", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		wait := make(chan struct{})
		w, _ := open(t, u, r.of(ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			c.SendText("the first leaves in any case")
			c.SendText(strings.Repeat("x", 60<<10))
			c.SendText(strings.Repeat("x", 10<<10))
			<-wait
			return nil
		}}))
		got := w.collect()
		before := time.Now()
		w.send(fText, "go")
		synctest.Wait()
		if n := len(drain(got)); n != 3 || !time.Now().Equal(before) {
			t.Errorf("%d messages", n)
		}
		close(wait)
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "S2_while_waiting_for_input_at_once", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		w, _ := open(t, u, r.of(ws.Events{}))
		got := w.collect()
		before := time.Now()
		for i := range 3 {
			r.conn.SendText(fmt.Sprint(i))
			synctest.Wait()
			if all := drain(got); len(all) != 1 || !time.Now().Equal(before) {
				t.Errorf("message %d: %q", i, all)
			}
		}
		w.Close()
		r.wait(t, u)
	})
	t.Run("S2_in_order_of_Send", func(t *testing.T) {
		t.Parallel()
		for _, header := range []string{"", offersDeflate} {
			u, r := &ws.Upgrader{}, newRecord()
			u.Engine.CompressionMode = websocket.CompressionNoContextTakeover
			w := link{header: header}.open(t, u, r.of(ws.Events{OnMessage: echo}))
			w.send(fText, "open")
			w.expect(fText, "open")
			const n = 300
			go func() {
				for i := range n { // some are compressed, some not
					r.conn.SendText(strings.Repeat(string(rune('a'+i%26)), []int{3, 1000}[i/3%2]))
				}
			}()
			for i := range n {
				b0, p := w.next()
				if b0 == 0xc1 {
					z, _ := io.ReadAll(flate.NewReader(strings.NewReader(p + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
					p = string(z)
				}
				if p != strings.Repeat(string(rune('a'+i%26)), []int{3, 1000}[i/3%2]) || (b0 == 0xc1) != (header != "" && len(p) == 1000) {
					t.Fatalf("message %d is %#x %.10q", i, b0, p)
				}
			}
		}
	})
	bubble(t, "S3_nothing_taken", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		open(t, u, r.of(ws.Events{}))
		before := time.Now()
		r.conn.SendText("x")
		r.wait(t, u)
		r.want(t, "open", "error", "close")
		if r.err != ws.ErrWriteTimeout || r.end != (ws.CloseEvent{Code: 1006, Err: ws.ErrWriteTimeout}) {
			t.Errorf("%v, %+v", r.err, r.end)
		}
		if d := time.Since(before); d != 10*time.Second {
			t.Errorf("dropped after %v of the bubble's time, not WriteTimeout", d)
		}
	})
	bubble(t, "S3_a_byte_at_a_time", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		w, _ := open(t, u, r.of(ws.Events{}))
		r.conn.SendText("slow")
		var got []byte
		for range 6 {
			pass(9 * time.Second) // WriteTimeout is 10
			b := []byte{0}
			if _, err := w.Conn.Read(b); err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
		}
		if string(got) != "\x81\x04slow" || r.conn.ReadyState() != ws.Open {
			t.Errorf("%q, %v", got, r.err)
		}
		w.Close()
		r.wait(t, u)
	})
	for _, useTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("S3_on_a_socket/tls=%t", useTLS), func(t *testing.T) {
			t.Parallel()
			u, r := &ws.Upgrader{Limits: ws.Limits{WriteTimeout: 50 * time.Millisecond}}, newRecord()
			link{tls: useTLS}.open(t, u, r.of(ws.Events{OnOpen: func(c *ws.Conn) error {
				return c.SendBinary(make([]byte, 8<<20)) // more than sockets hold
			}}))
			r.wait(t, u)
			r.want(t, "open", "error", "close")
			if r.err != ws.ErrWriteTimeout || r.end.Code != 1006 {
				t.Errorf("%v, %+v", r.err, r.end)
			}
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	t.Run("S4_checks", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{}, newRecord()
		w := link{}.open(t, u, r.of(ws.Events{OnMessage: echo}))
		w.send(fText, "x")
		w.expect(fText, "x")
		for _, tt := range []struct {
			code   int
			reason string
		}{{0, ""}, {-1, ""}, {999, ""}, {1004, ""}, {1005, ""}, {1006, ""}, {1015, ""}, {2999, ""}, {5000, ""}, {65536 + 1000, ""},
			{1000, strings.Repeat("x", 124)}, {1000, "\xff"}, {1000, strings.Repeat("é", 62)}} {
			if err := r.conn.Close(websocket.StatusCode(tt.code), tt.reason); err == nil || errors.Is(err, net.ErrClosed) || r.conn.ReadyState() != ws.Open {
				t.Errorf("Close(%d, %q): %v, state %d", tt.code, tt.reason, err, r.conn.ReadyState())
			}
		}
		w.send(fText, "y")
		w.expect(fText, "y")
	})
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		t.Run(fmt.Sprintf("S4_code_%d", code), func(t *testing.T) {
			t.Parallel()
			u, r := &ws.Upgrader{}, newRecord()
			w := link{}.open(t, u, r.of(ws.Events{OnOpen: func(c *ws.Conn) error {
				for i := range 100 {
					c.SendText(fmt.Sprint(i))
				}
				err := c.Close(websocket.StatusCode(code), "r")
				if c.ReadyState() != ws.Closing {
					t.Errorf("state %d", c.ReadyState())
				}
				return err
			}}))
			w.send(fText, "discarded")
			for i := range 100 {
				w.expect(fText, fmt.Sprint(i))
			}
			w.send(0x01, "discarded")
			w.bye(code, "r")
			r.wait(t, u)
			r.want(t, "open", "close")
			if !r.end.WasClean || r.end.Err != nil || r.end.Code != websocket.StatusCode(code) {
				t.Errorf("%+v", r.end)
			}
			for name, err := range map[string]error{
				"Send": r.conn.Send(ws.Text("x")), "SendText": r.conn.SendText("x"), "SendBinary": r.conn.SendBinary(nil),
				"SendJSON": r.conn.SendJSON(1), "TrySend": r.conn.TrySend(ws.Text("x")), "Close": r.conn.Close(1000, ""),
			} {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("S5: %s after the end: %v", name, err)
				}
			}
		})
	}
	for _, meanwhile := range []string{"nothing", "messages", "pings", "half_a_frame"} {
		bubble(t, "S4_dropped_5_s_after_the_Close_frame/"+meanwhile, func(t *testing.T) {
			u, r := &ws.Upgrader{Limits: noPings}, newRecord()
			w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			r.conn.SendText("x")
			r.conn.Close(1000, "")
			if err := r.conn.SendText("late"); !errors.Is(err, net.ErrClosed) {
				t.Errorf("S5: Send after Close: %v", err)
			}
			pass(9 * time.Second) // it is not written yet
			got := w.collect()
			synctest.Wait()
			written := time.Now()
			if all := drain(got); !slices.Equal(all, []string{"\x81x", string([]byte{fClose}) + closing(1000, "")}) {
				t.Errorf("%q", all)
			}
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				if meanwhile == "half_a_frame" {
					w.Conn.Write(header(fBinary, 1<<20))
				}
				for meanwhile != "nothing" {
					b := map[string][]byte{"messages": frame(fText, "x"), "pings": frame(fPing, ""), "half_a_frame": {0}}[meanwhile]
					if _, err := w.Conn.Write(b); err != nil {
						return
					}
					pass(100 * time.Millisecond)
				}
			}()
			r.wait(t, u)
			if d := time.Since(written); d != 5*time.Second {
				t.Errorf("dropped after %v of the bubble's time", d)
			}
			r.want(t, "open", "close")
			if r.end.Code != 1006 || r.end.WasClean || r.end.Err == nil {
				t.Errorf("%+v", r.end)
			}
			<-stop
		})
	}
	bubble(t, "S4_at_the_end_what_is_queued_leaves_before_OnClose", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		synctest.Wait()
		r.conn.SendText("queued")
		w.send(fClose, "")
		pass(4 * time.Second)
		if slices.Contains(r.log, "close") {
			t.Error("OnClose ran before the queue had left")
		}
		w.expect(fText, "queued")
		w.expect(fClose, "")
		r.wait(t, u)
		if !r.end.WasClean {
			t.Errorf("%+v", r.end)
		}
	})
	for _, timeout := range []time.Duration{2 * time.Second, time.Minute} {
		bubble(t, fmt.Sprintf("S4_at_the_end_no_longer_than_5_s_and_WriteTimeout/%v", timeout), func(t *testing.T) {
			u, r := &ws.Upgrader{Limits: ws.Limits{WriteTimeout: timeout, PingInterval: -1}}, newRecord()
			w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			before := time.Now()
			r.conn.SendText("queued, and taken slowly")
			var slow sync.WaitGroup
			slow.Go(func() {
				for err := error(nil); err == nil; _, err = w.Conn.Read([]byte{0}) {
					pass(time.Second)
				}
			})
			defer slow.Wait()
			w.send(fClose, "")
			r.wait(t, u)
			if d := time.Since(before); d != min(timeout, 5*time.Second) || r.end.WasClean {
				t.Errorf("after %v of the bubble's time: %+v", d, r.end)
			}
		})
	}
	t.Run("S5_100_senders_while_the_peer_closes", func(t *testing.T) {
		t.Parallel()
		for range 10 {
			u, r := &ws.Upgrader{Limits: ws.Limits{SendBuffer: 100}}, newRecord()
			w := link{}.open(t, u, r.of(ws.Events{OnMessage: echo}))
			w.send(fText, "x")
			w.expect(fText, "x")
			got := w.collect()
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					for {
						var err error
						if i%2 == 0 {
							err = r.conn.SendText("x")
						} else if err = r.conn.TrySend(ws.Text("y")); err == ws.ErrBufferFull {
							continue
						}
						if err != nil {
							if !errors.Is(err, net.ErrClosed) {
								t.Error(err)
							}
							return
						}
					}
				})
			}
			for range 200 {
				receive(t, got)
			}
			w.send(fClose, closing(1000, ""))
			for range got {
			}
			r.wait(t, u)
			wg.Wait()
			r.want(t, "open", "message x", "close")
		}
	})
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	limits := ws.Limits{PingInterval: 30 * time.Second, PingTimeout: 10 * time.Second}
	open := func(t *testing.T, ev ws.Events) (*ws.Upgrader, *record, *wire, <-chan string) {
		u, r := &ws.Upgrader{Limits: limits}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ev))
		got := w.collect()
		synctest.Wait()
		return u, r, w, got
	}
	const ping = "\x89"
	bubble(t, "K1_silent_peer", func(t *testing.T) {
		u, r, _, got := open(t, ws.Events{})
		start := time.Now()
		<-got
		if d := time.Since(start); d != limits.PingInterval {
			t.Errorf("pinged after %v of the bubble's time", d)
		}
		r.wait(t, u)
		if d := time.Since(start); d != limits.PingInterval+limits.PingTimeout || r.err != ws.ErrPingTimeout ||
			r.end != (ws.CloseEvent{Code: 1006, Err: ws.ErrPingTimeout}) {
			t.Errorf("after %v: %v, %+v", d, r.err, r.end)
		}
		r.want(t, "open", "error", "close")
		for range got { // the socket is closed
		}
	})
	for name, answer := range map[string][]byte{"pong": frame(fPong, ""), "message": frame(fText, "x"), "ping": frame(fPing, "")} {
		bubble(t, "K1_late_"+name, func(t *testing.T) {
			u, r, w, got := open(t, ws.Events{})
			for range 5 {
				start := time.Now()
				for <-got != ping { // or a pong
				}
				if d := time.Since(start); d != limits.PingInterval {
					t.Errorf("pinged after %v of the bubble's time", d)
				}
				pass(limits.PingTimeout - time.Millisecond)
				w.write(answer)
			}
			if r.conn.ReadyState() != ws.Open {
				t.Error(r.err)
			}
			w.Close()
			r.wait(t, u)
		})
	}
	bubble(t, "K1_interval_shorter_than_the_timeout", func(t *testing.T) {
		limits := ws.Limits{PingInterval: time.Second, PingTimeout: 10 * time.Second}
		u, r := &ws.Upgrader{Limits: limits}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		got := w.collect()
		synctest.Wait()
		start := time.Now()
		for range 20 {
			pinged := time.Now()
			<-got
			if d := time.Since(pinged); d != limits.PingInterval {
				t.Errorf("pinged after %v of the bubble's time", d)
			}
			w.write(frame(fPong, ""))
		}
		if d := time.Since(start); d != 20*limits.PingInterval {
			t.Errorf("20 pings in %v of the bubble's time", d)
		}
		r.wait(t, u) // no more pongs
		if d := time.Since(start); d != 21*limits.PingInterval+limits.PingTimeout || r.err != ws.ErrPingTimeout {
			t.Errorf("after %v of the bubble's time: %v", d, r.err)
		}
	})
	bubble(t, "K1_input_before_the_interval_no_ping", func(t *testing.T) {
		u, r, w, got := open(t, ws.Events{})
		for range 10 {
			pass(limits.PingInterval - time.Millisecond)
			w.send(fText, "x")
		}
		if all := drain(got); len(all) != 0 {
			t.Errorf("%q", all)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "K1_slow_upload", func(t *testing.T) {
		u, r, w, _ := open(t, ws.Events{})
		b := frame(fBinary, strings.Repeat("x", 100))
		for i := range b {
			w.write(b[i : i+1])
			pass(9 * time.Second)
		}
		r.conn.Close(1000, "")
		w.send(fClose, "")
		r.wait(t, u)
		r.want(t, "open", "message "+strings.Repeat("x", 20), "close")
	})
	bubble(t, "K1_long_callback", func(t *testing.T) {
		u, r, w, got := open(t, ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			pass(time.Hour)
			return c.Send(m)
		}})
		<-got // a ping, answered by a message alone
		w.send(fText, "x")
		for s := range got {
			if s != ping {
				break
			}
		}
		if r.conn.ReadyState() != ws.Open {
			t.Error(r.err)
		}
		w.Close()
		r.wait(t, u)
		r.want(t, "open", "message x", "close")
	})
	bubble(t, "K1_a_ping_that_was_written_late", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: limits}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		synctest.Wait()
		const pieces, size = 10, 16 << 10
		r.conn.SendBinary(make([]byte, pieces*size-10))
		for range pieces { // the ping waits behind them
			pass(7 * time.Second)
			if _, err := io.ReadFull(w.br, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		w.expect(fPing, "")
		pass(limits.PingTimeout - time.Second)
		w.send(fPong, "")
		synctest.Wait()
		if r.conn.ReadyState() != ws.Open {
			t.Error(r.err)
		}
		w.Close()
		r.wait(t, u)
	})
	for name, interval := range map[string]time.Duration{"and_PingInterval": math.MaxInt64, "but_PingInterval": time.Second} {
		bubble(t, "K1_S3_S4_the_longest_timeouts/"+name, func(t *testing.T) {
			u, r := &ws.Upgrader{Limits: ws.Limits{WriteTimeout: math.MaxInt64, PingInterval: interval, PingTimeout: math.MaxInt64}}, newRecord()
			w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			pass(time.Second)
			r.conn.SendText("x") // nobody reads
			pass(24 * time.Hour)
			got := w.collect()
			pass(24 * time.Hour)
			if r.conn.ReadyState() != ws.Open {
				t.Errorf("dropped: %v", r.err)
			}
			r.conn.Close(1000, "")
			synctest.Wait()
			closed := time.Now()
			for range got {
			}
			if d := time.Since(closed); d != 5*time.Second {
				t.Errorf("dropped %v after the Close frame, in the bubble's time", d)
			}
			r.wait(t, u)
		})
	}
	bubble(t, "K1_never", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		pass(24 * time.Hour)
		synctest.Wait()
		if r.conn.ReadyState() != ws.Open {
			t.Error(r.err)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "K1_socket_that_takes_nothing", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: limits}, newRecord()
		link{pipe: true}.open(t, u, r.of(ws.Events{}))
		pass(time.Minute)
		r.wait(t, u) // the ping itself can't be written
		r.want(t, "open", "error", "close")
		if r.err != ws.ErrWriteTimeout || r.end.Code != 1006 {
			t.Errorf("%v, %+v", r.err, r.end)
		}
	})
	t.Run("K1_on_a_socket", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{Limits: ws.Limits{PingInterval: 1, PingTimeout: time.Millisecond}}, newRecord()
		w := link{}.open(t, u, r.of(ws.Events{}))
		w.expect(fPing, "")
		r.wait(t, u)
		if r.err != ws.ErrPingTimeout {
			t.Error(r.err)
		}
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	t.Run("K2_under_load", func(t *testing.T) {
		t.Parallel()
		var closed, refused atomic.Int32
		u := &ws.Upgrader{OnError: func(_ *http.Request, err error) {
			var h *ws.HandshakeError
			if !errors.As(err, &h) || h.Status != 503 || !errors.Is(err, ws.ErrShutdown) {
				t.Error(err)
			}
			refused.Add(1)
		}}
		const n = 60
		some := make(chan struct{}, n)
		h := u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			return ws.Events{
				OnMessage: echo,
				OnClose:   func(*ws.Conn, ws.CloseEvent) { closed.Add(1) },
			}, nil
		})
		var wg sync.WaitGroup
		var opened, ended atomic.Int32
		for range n {
			wg.Go(func() {
				peer := make(chan ws.CloseEvent, 1)
				c, err := ws.Dial(t.Context(), "ws://x/", ws.Events{
					OnOpen:    func(c *ws.Conn) error { return c.SendText("x") },
					OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
					OnClose:   func(_ *ws.Conn, e ws.CloseEvent) { peer <- e },
				}, &ws.DialOptions{Handler: h})
				some <- struct{}{}
				if err != nil {
					return
				}
				defer c.Close(1000, "")
				opened.Add(1)
				if e := receive(t, peer); e.Code == 1001 && e.WasClean {
					ended.Add(1)
				} else {
					t.Errorf("the peer: %+v", e)
				}
			})
		}
		for range n / 2 {
			receive(t, some)
		}
		if err := u.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if atOnce, live := closed.Load(), slices.Collect(u.Conns()); len(live) != 0 {
			t.Errorf("%d OnClose at the end of Shutdown, %d connections live", atOnce, len(live))
		}
		at := closed.Load()
		wg.Wait()
		if opened.Load() != ended.Load() || closed.Load() != opened.Load() || at != closed.Load() || refused.Load()+opened.Load() != n {
			t.Errorf("%d opened, %d closed (%d at the end of Shutdown), %d ended with 1001, %d refused", opened.Load(), closed.Load(), at, ended.Load(), refused.Load())
		}
		if err := u.Shutdown(context.Background()); err != nil {
			t.Errorf("again: %v", err)
		}
		_, err := ws.Dial(t.Context(), "ws://x/", ws.Events{}, &ws.DialOptions{Handler: h})
		var he *ws.HandshakeError
		if !errors.As(err, &he) || he.Status != 503 {
			t.Errorf("a handshake after Shutdown: %v", err)
		}
	})
	bubble(t, "K2_peers_that_never_answer", func(t *testing.T) {
		u := &ws.Upgrader{Limits: noPings}
		ends := make(chan ws.CloseEvent, 9)
		for range 5 {
			w := link{pipe: true}.open(t, u, ws.Events{OnClose: func(_ *ws.Conn, e ws.CloseEvent) { ends <- e }})
			w.collect()
		}
		synctest.Wait()
		start := time.Now()
		if err := u.Shutdown(context.Background()); err != nil || len(ends) != 5 {
			t.Errorf("%v, %d OnClose", err, len(ends))
		}
		if d := time.Since(start); d != 5*time.Second { // in parallel
			t.Errorf("after %v of the bubble's time", d)
		}
	})
	bubble(t, "K2_the_queue_goes_first", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		synctest.Wait()
		r.conn.SendText("queued")
		done := make(chan error, 1)
		go func() { done <- u.Shutdown(context.Background()) }()
		pass(8 * time.Second) // slow
		w.expect(fText, "queued")
		w.bye(1001, "")
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.want(t, "open", "close")
	})
	bubble(t, "K2_ctx_ends", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		stuck := make(chan struct{})
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnMessage: func(*ws.Conn, ws.Message) error { <-stuck; return nil }}))
		silent := newRecord()
		other := link{pipe: true}.open(t, u, silent.of(ws.Events{}))
		other.collect()
		w.send(fText, "x")
		synctest.Wait() // until OnMessage has it: once Shutdown closes, what comes is discarded
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := u.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		receive(t, silent.done)
		if silent.end != (ws.CloseEvent{Code: 1006, Err: ws.ErrShutdown}) {
			t.Errorf("%+v", silent.end)
		}
		close(stuck)
		r.wait(t, u) // twice
		r.want(t, "open", "message x", "close")
		silent.want(t, "open", "close")
	})
	bubble(t, "K2_a_handshake_in_flight", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		begun, done := make(chan struct{}), make(chan error, 1)
		go func() {
			<-begun
			done <- u.Shutdown(context.Background())
		}()
		w := link{pipe: true}.openFunc(t, u, func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			close(begun)
			pass(time.Second)
			if len(done) > 0 {
				t.Error("Shutdown did not wait")
			}
			return r.of(ws.Events{}), nil
		})
		w.bye(1001, "")
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.want(t, "open", "close")
	})
}

func TestLarge(t *testing.T) {
	t.Parallel()
	big := make([]byte, 8<<20)
	for i := range big {
		big[i] = byte(i * i >> 8)
	}
	for name, l := range map[string]link{
		"tcp": {}, "tls": {tls: true}, "pipe": {pipe: true},
		"compressed":     {header: offersDeflate},
		"compressed_tls": {tls: true, header: offersDeflate},
	} {
		t.Run("S1_of_any_size/"+name, func(t *testing.T) {
			t.Parallel()
			big := big
			if l.header != "" { // the race detector makes it slow
				big = big[:2<<20]
			}
			u, r := &ws.Upgrader{}, newRecord()
			u.Engine.CompressionMode = websocket.CompressionContextTakeover
			w := l.open(t, u, r.of(ws.Events{OnOpen: func(c *ws.Conn) error {
				return errors.Join(c.SendBinary(big), c.SendText("after"))
			}}))
			b0, p := w.next()
			if b0 == 0xc2 {
				z := flate.NewReader(io.MultiReader(strings.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
				b, _ := io.ReadAll(z)
				p = string(b)
			}
			if p != string(big) || (b0 == 0xc2) != (l.header != "") {
				t.Fatalf("%#x with %d bytes", b0, len(p))
			}
			w.expect(fText, "after")
			if l.header != "" && !strings.Contains(w.in.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
				t.Error("no compression was agreed on")
			}
			w.send(fClose, "")
			w.expect(fClose, "")
			w.expect(0, "")
			r.wait(t, u)
			if !r.end.WasClean || r.conn.Buffered() != 0 {
				t.Errorf("%+v", r.end)
			}
		})
	}
	t.Run("a_peer_that_reads_a_byte_at_a_time", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnOpen: func(c *ws.Conn) error {
			return errors.Join(c.SendBinary(big[:40<<10]), c.Close(1000, ""))
		}}))
		w.br = bufio.NewReader(oneByte{w.Conn})
		b0, p := w.next()
		if b0 != fBinary || p != string(big[:40<<10]) {
			t.Fatalf("%#x with %d bytes", b0, len(p))
		}
		w.bye(1000, "")
		r.wait(t, u)
	})
}

type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

// Not parallel: it measures the whole process.
func TestAllocations(t *testing.T) {
	for _, size := range []int{0, 32, 4000, 60000} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/ReuseData=%t", size, reuse), func(t *testing.T) {
				w := link{}.open(t, &ws.Upgrader{Limits: ws.Limits{ReuseData: reuse}}, ws.Events{OnMessage: echo})
				in := frame(fBinary, strings.Repeat("x", size))
				out := make([]byte, size+len(in)-size-4)
				round := func() {
					w.Conn.Write(in)
					if _, err := io.ReadFull(w.br, out); err != nil {
						t.Fatal(err)
					}
				}
				for range 100 {
					round()
				}
				n := testing.AllocsPerRun(500, round)
				limit := 1.0 // the message's data; sending it costs none
				if reuse || size == 0 {
					limit = 0
				}
				if n > limit && !race() {
					t.Errorf("%v allocations for a message, want at most %v", n, limit)
				}
				if !bytes.HasSuffix(out, bytes.Repeat([]byte("x"), size)) {
					t.Error("not echoed")
				}
			})
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{32, 4096, 65536} {
		for _, reuse := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/ReuseData=%t", size, reuse), func(b *testing.B) {
				w := link{}.open(b, &ws.Upgrader{Limits: ws.Limits{ReuseData: reuse}}, ws.Events{OnMessage: echo})
				w.SetDeadline(time.Time{})
				in := frame(fBinary, strings.Repeat("x", size))
				out := make([]byte, len(in)-4)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					w.Conn.Write(in)
					if _, err := io.ReadFull(w.br, out); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkPipelined has 16 messages in flight.
func BenchmarkPipelined(b *testing.B) {
	w := link{}.open(b, &ws.Upgrader{}, ws.Events{OnMessage: echo})
	w.SetDeadline(time.Time{})
	in := bytes.Repeat(frame(fBinary, strings.Repeat("x", 32)), 16)
	out := make([]byte, len(in)-16*4)
	b.ReportAllocs()
	for b.Loop() {
		w.Conn.Write(in)
		if _, err := io.ReadFull(w.br, out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	conn := make(chan *ws.Conn, 1)
	w := link{}.open(b, &ws.Upgrader{}, ws.Events{OnOpen: func(c *ws.Conn) error { conn <- c; return nil }})
	w.SetDeadline(time.Time{})
	go io.Copy(io.Discard, w.br)
	c := <-conn
	m := ws.Text(strings.Repeat("x", 32))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Send(m); err != nil {
			b.Fatal(err)
		}
	}
}
