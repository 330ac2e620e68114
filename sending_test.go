//go:build !js

package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

func TestSending(t *testing.T) {
	t.Parallel()
	t.Run("Pongs", testPongs)
	t.Run("Compressed", testCompressedSends)
	t.Run("Behind", testBehindAnother)
	t.Run("Slow", testSlowReaders)
	t.Run("Odd", testOddConns)
}

// testPongs: a peer's ping is answered once there is room.
func testPongs(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	for name, l := range map[string]link{
		"tcp": {}, "tls": {tls: true}, "pipe": {pipe: true}, "compressed": {header: offersDeflate},
	} {
		t.Run("K1_pings_during_a_long_download/"+name, func(t *testing.T) {
			t.Parallel()
			u, r := compressing(websocket.CompressionContextTakeover, noPings), newRecord()
			heard := make(chan struct{}, 1)
			w := l.open(t, u, r.of(ws.Events{
				OnOpen:    func(c *ws.Conn) error { return c.SendBinary(noise(size)) },
				OnMessage: func(*ws.Conn, ws.Message) error { heard <- struct{}{}; return nil },
			}))
			w.SetDeadline(time.Now().Add(patience))
			const pings = 9
			for i := range pings { // nothing is read meanwhile
				w.send(fPing, fmt.Sprint(i))
			}
			w.send(fText, "after the pings")
			receive(t, heard)
			last, came := -1, false // a pong may be first, if it finds the message not begun
			for !came || last < pings-1 {
				switch b0, p := w.next(); {
				case b0&0xf == 2 && len(p) >= size && !came:
					came = true
				case b0 == fPong && len(p) == 1 && int(p[0]-'0') > last:
					last = int(p[0] - '0')
				default:
					t.Fatalf("after pong %d came frame %#x with %d bytes: %.20q", last, b0, len(p), p)
				}
			}
			w.send(fClose, "")
			w.expect(fClose, "")
			w.expect(0, "")
			r.wait(t, u)
		})
	}
	bubble(t, "K1_a_ping_for_each_MiB_of_a_download", func(t *testing.T) {
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		w := link{pipe: true}.open(t, u, r.of(ws.Events{
			OnOpen: func(c *ws.Conn) error { return c.SendBinary(noise(size)) },
		}))
		w.SetDeadline(time.Now().Add(patience))
		io.CopyN(io.Discard, w.br, 10) // the header's length
		for i := range size >> 20 {
			io.CopyN(io.Discard, w.br, 1<<20)
			w.send(fPing, fmt.Sprint(i))
		}
		got := w.collect()
		last, want := "", fmt.Sprintf("\x8a%d", size>>20-1)
		for n := 0; last != want && n < size>>20; n++ {
			if last = receive(t, got); !strings.HasPrefix(last, "\x8a") {
				t.Fatalf("after the download came %.20q", last)
			}
		}
		if last != want {
			t.Errorf("the last pong is %q", last)
		}
		w.Close()
		r.wait(t, u)
	})
	bubble(t, "K1_a_flood_of_pings_costs_125_bytes", func(t *testing.T) {
		for _, waiting := range []int{0, 200 << 10} {
			u, r := &ws.Upgrader{Limits: noPings}, newRecord()
			w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			if waiting > 0 {
				r.conn.SendBinary(noise(waiting))
				synctest.Wait()
			}
			pings := bytes.Repeat(frame(fPing, strings.Repeat("x", 125)), 1000)
			for range 3 {
				w.write(pings)
			}
			synctest.Wait()
			before := r.conn.Buffered()
			if before > waiting+(192<<10) {
				t.Errorf("%d bytes wait after 3,000 pings", before)
			}
			for range 30 {
				w.write(pings)
			}
			w.send(fPing, "latest")
			synctest.Wait()
			if after := r.conn.Buffered(); after > before {
				t.Errorf("%d bytes wait after 3,000 pings, and %d after 33,000", before, after)
			}
			got := w.collect()
			synctest.Wait()
			if all := drain(got); len(all) == 0 || all[len(all)-1] != "\x8alatest" {
				t.Errorf("%d frames came, and the latest ping was not answered last", len(all))
			}
			w.Close()
			r.wait(t, u)
		}
	})
}

// testCompressedSends: only what goes over the wire counts as waiting.
func testCompressedSends(t *testing.T) {
	t.Parallel()
	for name, mode := range takeovers {
		bubble(t, "K3_two_Broadcasts_of_1_MiB_at_once/"+name, func(t *testing.T) {
			u, r := compressing(mode, noPings), newRecord()
			w := link{pipe: true, header: offersDeflate}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			var g ws.Group
			g.Add(r.conn)
			m := ws.Text(strings.Repeat("compresses well ", 1<<16))
			for range 10 {
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() { g.Broadcast(m) })
				}
				wg.Wait()
				if g.Len() != 1 || r.conn.ReadyState() != ws.Open {
					t.Errorf("a member that has read everything was dropped")
					break
				}
				for range 2 {
					if b0, p := w.next(); b0 != 0xc1 || len(p) > 64<<10 {
						t.Fatalf("frame %#x of %d bytes", b0, len(p))
					}
				}
			}
			w.Close()
			r.wait(t, u)
			r.want(t, "open", "close")
		})
		bubble(t, "S1_three_Senders_beside_free_room/"+name, func(t *testing.T) {
			const size = 100 << 10
			u, r := compressing(mode, ws.Limits{SendBuffer: size, PingInterval: -1}), newRecord()
			w := link{pipe: true, header: offersDeflate}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			before := time.Now()
			send3 := func() *sync.WaitGroup {
				wg := new(sync.WaitGroup)
				for range 3 {
					wg.Go(func() {
						if err := r.conn.SendText(strings.Repeat("compresses well ", size/16)); err != nil {
							t.Errorf("Send: %v", err)
						}
					})
				}
				return wg
			}
			for range 5 {
				send3().Wait() // with nothing read: a few KiB go over the wire
			}
			if n := r.conn.Buffered(); n > 20<<10 || !time.Now().Equal(before) {
				t.Errorf("%d bytes wait, after %v of the bubble's time", n, time.Since(before))
			}
			got := w.collect()
			for range 20 {
				send3().Wait()
			}
			synctest.Wait()
			if n := len(drain(got)); n != 75 || !time.Now().Equal(before) {
				t.Errorf("%d messages of 75 came, after %v of the bubble's time", n, time.Since(before))
			}
			w.Close()
			r.wait(t, u)
		})
		bubble(t, "S1_who_waits_for_room_is_woken/"+name, func(t *testing.T) {
			u, r := compressing(mode, ws.Limits{SendBuffer: 1000, PingInterval: -1}), newRecord()
			w := link{pipe: true, header: offersDeflate}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			before := time.Now()
			r.conn.SendBinary(noise(2000))
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					if err := r.conn.SendText(strings.Repeat("compresses well ", 1<<(i*8))); err != nil {
						t.Errorf("Send: %v", err)
					}
				})
			}
			synctest.Wait()
			if err := r.conn.TrySend(ws.Text("full")); err != ws.ErrBufferFull {
				t.Errorf("TrySend: %v", err)
			}
			got := w.collect()
			wg.Wait()
			synctest.Wait()
			if n := len(drain(got)); n != 4 || !time.Now().Equal(before) {
				t.Errorf("%d messages of 4 came, after %v of the bubble's time", n, time.Since(before))
			}
			w.Close()
			r.wait(t, u)
		})
		bubble(t, "S1_two_that_wait_do_so_for_WriteTimeout/"+name, func(t *testing.T) {
			u, r := compressing(mode, ws.Limits{SendBuffer: 1, PingInterval: -1}), newRecord()
			w := link{pipe: true, header: offersDeflate}.open(t, u, r.of(ws.Events{}))
			synctest.Wait()
			r.conn.SendText("fills the buffer")
			before := time.Now()
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					err := r.conn.SendText("has room 1 s before the end, or has none")
					if d := time.Since(before); d > 10*time.Second {
						t.Errorf("Send returned %v after %v of the bubble's time", err, d)
					}
				})
			}
			pass(9 * time.Second)
			w.next()
			wg.Wait()
			w.Close()
			r.wait(t, u)
		})
		t.Run("C5_dialled_and_large/"+name, func(t *testing.T) {
			t.Parallel()
			sizes := []int{16 << 20, 32 << 20}
			if race() {
				sizes = []int{2 << 20, 4 << 20}
			}
			u := compressing(mode, ws.Limits{ReadLimit: -1, PingInterval: -1})
			server := newDialSide()
			client := newDialSide()
			opts := &ws.DialOptions{Handler: server.serve(u), Limits: ws.Limits{PingInterval: -1, SendBuffer: 1 << 30}}
			opts.Engine.CompressionMode = mode
			c, err := ws.Dial(t.Context(), "ws://test/ws", client.events(), opts)
			if err != nil {
				t.Fatal(err)
			}
			peer := receive(t, server.opened)
			data := noise(sizes[1])
			for _, n := range sizes {
				go peer.SendText("innocent")
				if err := c.SendBinary(data[:n]); err != nil {
					t.Fatal(err)
				}
				if m := receive(t, server.got); !bytes.Equal(m.Data, data[:n]) {
					t.Errorf("of %d bytes came %d, or others", n, len(m.Data))
				}
				if m := receive(t, client.got); m.String() != "innocent" {
					t.Errorf("the client got %.20q", m)
				}
			}
			c.Close(1000, "")
			for _, s := range []*dialSide{server, client} {
				if e := receive(t, s.closed); e.Code != 1000 || !e.WasClean || e.Err != nil {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// testBehindAnother: nobody waits for another's large message.
func testBehindAnother(t *testing.T) {
	t.Parallel()
	for _, useTLS := range []bool{false, true} {
		const size = 8 << 20 // sockets hold half of it at most
		t.Run(fmt.Sprintf("S1_TrySend_behind_a_message_that_nobody_reads/tls=%t", useTLS), func(t *testing.T) {
			t.Parallel()
			u, r := &ws.Upgrader{Limits: noPings}, newRecord()
			opened := make(chan struct{})
			w := link{tls: useTLS}.open(t, u, r.of(ws.Events{OnOpen: func(*ws.Conn) error { close(opened); return nil }}))
			receive(t, opened)
			go r.conn.SendBinary(make([]byte, size))
			if _, err := io.ReadFull(w.br, make([]byte, 10)); err != nil { // it is being written
				t.Fatal(err)
			}
			done := make(chan error, 3)
			go func() { done <- r.conn.TrySend(ws.Text("x")) }()
			if err := receive(t, done); err != ws.ErrBufferFull {
				t.Errorf("TrySend: %v", err)
			}
			if n := r.conn.Buffered(); n < size/4 {
				t.Errorf("TrySend waited for the message: %d bytes are left of it", n)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			go func() { done <- u.Shutdown(ctx) }()
			if err := receive(t, done); err != context.Canceled {
				t.Errorf("Shutdown: %v", err)
			}
			r.wait(t, u)
		})
	}
	t.Run("S1_TrySend_while_a_message_is_copied_and_written", func(t *testing.T) {
		t.Parallel()
		const size = 16 << 20
		big := make([]byte, size)
		// All of it counts as buffered only while it is copied and written: nothing of it is counted as written then.
		good := false
		for round := 0; round < 200 && !good; round++ {
			u, r := &ws.Upgrader{Limits: ws.Limits{SendBuffer: 1 << 30, PingInterval: -1}}, newRecord()
			opened := make(chan struct{})
			w := link{}.open(t, u, r.of(ws.Events{OnOpen: func(*ws.Conn) error { close(opened); return nil }}))
			receive(t, opened)
			go io.Copy(io.Discard, w.Conn)
			sent := make(chan error, 1)
			go func() { sent <- r.conn.SendBinary(big) }()
			for len(sent) == 0 && !good {
				if r.conn.Buffered() < size {
					runtime.Gosched()
					continue
				}
				if err := r.conn.TrySend(ws.Text("x")); err != nil {
					t.Fatal(err)
				}
				good = r.conn.Buffered() > size
			}
			if err := receive(t, sent); err != nil {
				t.Fatal(err)
			}
			w.Close()
			r.wait(t, u)
		}
		if !good {
			t.Errorf("in 200 rounds no TrySend returned while a Send of %d bytes was at work", size)
		}
	})
	t.Run("K2_a_Close_that_waits_holds_up_nobody", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{Limits: ws.Limits{SendBuffer: 10, PingInterval: -1}}, newRecord()
		opened, release := make(chan struct{}), make(chan struct{})
		link{pipe: true, server: func(c net.Conn) net.Conn { return slowClose{c, release} }}.open(t, u,
			r.of(ws.Events{OnOpen: func(*ws.Conn) error { close(opened); return nil }}))
		receive(t, opened)
		let := sync.OnceFunc(func() { close(release) })
		defer let()
		do := func(what string, f func()) {
			done := make(chan struct{})
			go func() { defer close(done); f() }()
			select {
			case <-done:
			case <-time.After(patience):
				t.Errorf("%s waits for the net.Conn's Close", what)
				let()
				<-done
			}
		}
		do("Broadcast", func() {
			var g ws.Group
			g.Add(r.conn)
			r.conn.SendText("it takes nothing")
			g.Broadcast(ws.Text("x"))
		})
		do("TrySend", func() {
			if err := r.conn.TrySend(ws.Text("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("TrySend: %v", err)
			}
		})
		do("another's handshake", func() { link{pipe: true}.open(t, u, ws.Events{}).Close() })
		do("Shutdown", func() {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			u.Shutdown(ctx)
		})
		let()
		r.wait(t, u)
		if r.err != ws.ErrBufferFull {
			t.Errorf("OnError got %v", r.err)
		}
	})
}

// slowClose waits in its Close, as a *tls.Conn may for 5 s.
type slowClose struct {
	net.Conn
	release chan struct{}
}

func (c slowClose) Close() error {
	<-c.release
	return c.Conn.Close()
}

// testSlowReaders: progress is what the system shows.
func testSlowReaders(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	const timeout = 500 * time.Millisecond
	// The socket's buffer is so large that it is not writable again within the
	// timeout, and the peer's so small that what it reads is seen at once.
	open := func(t *testing.T) (*ws.Upgrader, *record, *wire) {
		u, r := &ws.Upgrader{Limits: ws.Limits{WriteTimeout: timeout, PingInterval: -1}}, newRecord()
		w := link{server: func(c net.Conn) net.Conn {
			c.(*net.TCPConn).SetWriteBuffer(4 << 20)
			return c
		}}.open(t, u, r.of(ws.Events{OnMessage: func(c *ws.Conn, _ ws.Message) error { return c.SendBinary(noise(size)) }}))
		w.Conn.(*net.TCPConn).SetReadBuffer(16 << 10)
		w.send(fText, "go")
		return u, r, w
	}
	slowly := func(t *testing.T, w *wire, d time.Duration) (n int) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.After(d); ; {
			select {
			case <-tick.C:
			case <-end:
				return n
			}
			m, err := io.ReadFull(w.br, make([]byte, 4<<10))
			if n += m; err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
	}
	t.Run("S3_a_slow_and_steady_reader", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			return // no other system shows what its socket still holds
		}
		t.Parallel()
		u, r, w := open(t)
		n := slowly(t, w, 3*timeout)
		if r.conn.ReadyState() != ws.Open || r.conn.Buffered() == 0 {
			t.Errorf("after %d bytes: state %d, %d bytes buffered", n, r.conn.ReadyState(), r.conn.Buffered())
		}
		if _, err := io.CopyN(io.Discard, w.br, int64(size+10-n)); err != nil {
			t.Fatal(err)
		}
		w.send(fClose, "")
		w.expect(fClose, "")
		r.wait(t, u)
		r.want(t, "open", "message go", "close")
	})
	t.Run("S3_a_reader_that_stops", func(t *testing.T) {
		t.Parallel()
		u, r, w := open(t)
		slowly(t, w, timeout/4)
		r.wait(t, u)
		if r.err != ws.ErrWriteTimeout || r.end != (ws.CloseEvent{Code: 1006, Err: ws.ErrWriteTimeout}) {
			t.Errorf("%v, %+v", r.err, r.end)
		}
	})
	for _, takes := range []bool{false, true} {
		bubble(t, fmt.Sprintf("S3_a_dialled_connection_without_deadlines/takes=%t", takes), func(t *testing.T) {
			client, server := net.Pipe()
			defer server.Close()
			opts := &ws.DialOptions{Limits: noPings}
			opts.Engine.HTTPClient = &http.Client{Transport: &http.Transport{
				DialContext: func(context.Context, string, string) (net.Conn, error) { return noDeadlines{client}, nil },
			}}
			go answer(t, server)
			s := newDialSide()
			c, err := ws.Dial(t.Context(), "ws://test/", s.events(), opts)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			before := time.Now()
			if err := c.SendBinary(make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
			want := 10 * time.Second
			if takes {
				for range 3 {
					pass(9 * time.Second)
					if _, err := io.ReadFull(server, make([]byte, 16<<10)); err != nil {
						t.Errorf("a peer that takes 16 KiB at a time was dropped: %v", err)
					}
				}
				want += 27 * time.Second
			}
			if err := receive(t, s.fault); err != ws.ErrWriteTimeout {
				t.Errorf("OnError got %v", err)
			}
			if d := time.Since(before); d != want {
				t.Errorf("dropped after %v of the bubble's time, not %v", d, want)
			}
			if e := receive(t, s.closed); e != (ws.CloseEvent{Code: 1006, Err: ws.ErrWriteTimeout}) {
				t.Errorf("%+v", e)
			}
		})
	}
}

// answer answers a handshake on c, and reads no further.
func answer(t *testing.T, c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		t.Error(err)
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(r))
}

// uncomparable is a connection whose values can't be compared.
type uncomparable struct {
	net.Conn
	_ []byte
}

// testOddConns: connections that servers are given by listeners of their own.
func testOddConns(t *testing.T) {
	t.Parallel()
	t.Run("S5_a_connection_that_can't_be_compared", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{Detach: true}, newRecord() // a panic ends the process
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
			return r.of(ws.Events{OnMessage: echo}), nil
		})}
		t.Cleanup(func() { srv.Close() })
		go srv.Serve(wrapped{l, func(c net.Conn) net.Conn { return uncomparable{Conn: c} }})
		s := newDialSide()
		c, err := ws.Dial(t.Context(), "ws://"+l.Addr().String(), s.events(), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.SendText("x")
		c.Close(1000, "")
		if e := receive(t, s.closed); e.Code != 1000 || !e.WasClean {
			t.Errorf("%+v", e)
		}
		r.wait(t, u)
		r.want(t, "open", "message x", "close")
	})
	t.Run("S1_a_descriptor_that_blocks", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{Limits: noPings}, newRecord()
		ready := make(chan struct{})
		// Not before the upgrade: net/http itself can't interrupt its read of such a descriptor.
		w := link{}.open(t, u, r.of(ws.Events{OnOpen: func(c *ws.Conn) error {
			defer close(ready)
			f, err := c.NetConn().(*net.TCPConn).File()
			if err != nil {
				return err
			}
			f.Fd() // which makes c's descriptor block as well
			return f.Close()
		}}))
		receive(t, ready)
		full := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				err = r.conn.TrySend(ws.Binary(make([]byte, 100<<10)))
			}
			full <- err
		}()
		if err := receive(t, full); err != ws.ErrBufferFull {
			t.Errorf("TrySend: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		down := make(chan error, 1)
		go func() { down <- u.Shutdown(ctx) }()
		if err := receive(t, down); err != context.Canceled {
			t.Errorf("Shutdown: %v", err)
		}
		r.wait(t, u)
		if r.end != (ws.CloseEvent{Code: 1006, Err: ws.ErrShutdown}) {
			t.Errorf("%+v", r.end)
		}
		if _, err := io.Copy(io.Discard, w.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection has not ended")
		}
	})
	for name, wrap := range map[string]func(t *testing.T, c net.Conn) net.Conn{
		"returns_itself": func(t *testing.T, c net.Conn) net.Conn { return &ownNetConn{Conn: c, t: t, itself: true} },
		"returns_nil":    func(t *testing.T, c net.Conn) net.Conn { return &ownNetConn{Conn: c, t: t} },
	} {
		for how, drop := range map[string]func(u *ws.Upgrader, c *ws.Conn){
			"Shutdown": func(u *ws.Upgrader, c *ws.Conn) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				u.Shutdown(ctx)
			},
			"Broadcast": func(u *ws.Upgrader, c *ws.Conn) {
				var g ws.Group
				g.Add(c)
				c.SendBinary(make([]byte, 8<<20))
				g.Broadcast(ws.Text("x"))
			},
		} {
			t.Run("S5_a_NetConn_that_"+name+"/"+how, func(t *testing.T) {
				t.Parallel()
				u, r := &ws.Upgrader{Limits: noPings}, newRecord()
				opened := make(chan struct{})
				w := link{server: func(c net.Conn) net.Conn { return wrap(t, c) }}.open(t, u,
					r.of(ws.Events{OnOpen: func(*ws.Conn) error { close(opened); return nil }}))
				receive(t, opened)
				done := make(chan any, 1)
				go func() {
					defer func() { done <- recover() }()
					drop(u, r.conn)
				}()
				if v := receive(t, done); v != nil {
					t.Fatalf("dropping the connection panicked: %v", v)
				}
				r.wait(t, u)
				if r.end.Code != 1006 {
					t.Errorf("%+v", r.end)
				}
				if _, err := io.Copy(io.Discard, w.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection has not ended")
				}
			})
		}
	}
}

// ownNetConn is a wrapper whose NetConn is a trap.
type ownNetConn struct {
	net.Conn
	t      *testing.T
	itself bool
	calls  atomic.Int32
}

func (c *ownNetConn) NetConn() net.Conn {
	if c.calls.Add(1) == 100 {
		panic("NetConn is asked for ever")
	}
	if c.itself {
		return c
	}
	return nil
}
