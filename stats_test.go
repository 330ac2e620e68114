//go:build !js

package ws_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

func TestStats(t *testing.T) {
	t.Parallel()
	bubble(t, "plain", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{OnMessage: echo}))
		synctest.Wait()
		if s := r.conn.Stats(); s != (ws.Stats{}) {
			t.Errorf("at first: %+v", s)
		}
		in := 0
		for i, b := range [][]byte{frame(fText, "hello"), split(fBinary, strings.Repeat("x", 300), 100), frame(fText, "")} {
			w.write(b)
			in += len(b)
			w.expect([]byte{fText, fBinary, fText}[i], []string{"hello", strings.Repeat("x", 300), ""}[i])
		}
		synctest.Wait()
		want := ws.Stats{MessagesIn: 3, MessagesOut: 3, BytesIn: 305, BytesOut: 305, WireIn: int64(in), WireOut: 7 + 304 + 2}
		if s := r.conn.Stats(); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
		ping, pong := frame(fPing, "x"), 3
		w.write(ping)
		w.expect(fPong, "x")
		w.send(fClose, "")
		w.expect(fClose, "")
		r.wait(t, u)
		want.WireIn += int64(len(ping) + 6)
		want.WireOut += int64(pong + 2)
		if s := r.conn.Stats(); s != want {
			t.Errorf("after the end: %+v, want %+v", s, want)
		}
	})
	bubble(t, "C3_in_the_handshakes_packet", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		early := frame(fText, "early")
		w := link{pipe: true, tail: early}.open(t, u, r.of(ws.Events{OnMessage: echo}))
		w.expect(fText, "early")
		if n := r.conn.Stats().WireIn; n != int64(len(early)) {
			t.Errorf("WireIn: %d, want %d", n, len(early))
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "compressed", func(t *testing.T) {
		u, r := compressing(websocket.CompressionNoContextTakeover, noPings), newRecord()
		w := link{pipe: true, header: offersDeflate}.open(t, u, r.of(ws.Events{OnMessage: echo}))
		text := strings.Repeat("compresses well ", 1000)
		in := frame(0xc1, deflated(text))
		w.write(in)
		b0, p := w.next()
		synctest.Wait()
		want := ws.Stats{MessagesIn: 1, MessagesOut: 1, BytesIn: 16000, BytesOut: 16000, WireIn: int64(len(in)), WireOut: int64(len(p) + 2)}
		if len(p) > 125 {
			want.WireOut += 2
		}
		if s := r.conn.Stats(); s != want || b0 != 0xc1 {
			t.Errorf("%+v, want %+v", s, want)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "RTT", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		w.SetDeadline(time.Now().Add(patience))
		synctest.Wait()
		go func() {
			b0, p := w.next()
			if b0 != fPing {
				t.Errorf("frame %#x came", b0)
			}
			pass(40 * time.Millisecond)
			w.send(fPong, p)
		}()
		d, err := r.conn.Ping(t.Context())
		if err != nil || d != 40*time.Millisecond || r.conn.Stats().RTT != d {
			t.Errorf("%v, %v, and Stats have %v", d, err, r.conn.Stats().RTT)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "RTT_of_a_heartbeat", func(t *testing.T) {
		u, r := &ws.Upgrader{}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
		b0, p := w.next()
		if b0 != fPing {
			t.Errorf("frame %#x came", b0)
		}
		pass(time.Second)
		w.send(fPong, p)
		synctest.Wait()
		if d := r.conn.Stats().RTT; d != time.Second {
			t.Errorf("RTT is %v", d)
		}
		w.Close()
		r.wait(t, u)
	})
}
