//go:build !js

package ws_test

import (
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
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// openStream connects a wire in memory, and returns the server's stream. Its serve
// returns when the stream has ended, or at finish.
func openStream(t *testing.T, u *ws.Upgrader) (w *wire, c net.Conn, finish func()) {
	conns, done := make(chan net.Conn, 1), make(chan struct{})
	w = link{pipe: true}.open(t, u, ws.Stream(func(c net.Conn) { conns <- c; <-done }))
	finish = sync.OnceFunc(func() { close(done) })
	t.Cleanup(finish)
	return w, <-conns, finish
}

// later runs f on a goroutine and returns a channel for its results.
func later(f func([]byte) (int, error), b []byte) <-chan error {
	ch := make(chan error, 1)
	go func() { _, err := f(b); ch <- err }()
	return ch
}

func pending(t *testing.T, ch <-chan error) {
	t.Helper()
	synctest.Wait()
	if len(ch) != 0 {
		t.Fatalf("it did not wait: %v", <-ch)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	one := func() *ws.Upgrader { return &ws.Upgrader{Limits: noPings} }

	bubble(t, "both_ends_and_half_a_close", func(t *testing.T) {
		u := one()
		u.Limits.ReuseData = true
		echo := ws.Stream(func(c net.Conn) { io.Copy(c, c) }) // of all connections
		h := u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return echo, nil })
		var wg sync.WaitGroup
		for i := range 3 {
			want := bytes.Repeat([]byte{byte(i), 1, 2, 3, 4, 5, 6}, 200_000)
			wg.Add(1)
			mustDial(t, h, ws.Stream(func(c net.Conn) {
				defer wg.Done()
				go func() {
					if n, err := c.Write(want); n != len(want) || err != nil {
						t.Errorf("Write: %d, %v", n, err)
					}
					if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
						t.Error(err)
					}
					if n, err := c.Write([]byte("more")); n != 0 || !errors.Is(err, net.ErrClosed) {
						t.Errorf("Write after CloseWrite: %d, %v", n, err)
					}
				}()
				if got, err := io.ReadAll(c); !bytes.Equal(got, want) || err != nil {
					t.Errorf("got %d bytes of %d, %v", len(got), len(want), err)
				}
			}), noPings)
		}
		wg.Wait()
		if err := u.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	bubble(t, "messages", func(t *testing.T) {
		w, c, _ := openStream(t, one())
		b := bytes.Repeat([]byte("0123456789"), 10_000)
		done := later(c.Write, b)
		for rest := string(b); rest != ""; {
			n := min(32<<10, len(rest))
			w.expect(fBinary, rest[:n])
			rest = rest[n:]
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n, err := c.Write(nil); n != 0 || err != nil {
			t.Errorf("Write of no bytes: %d, %v", n, err)
		}
		go func() {
			w.send(fText, "")
			w.send(fText, "ab")
			w.send(fText, "")
			w.send(fBinary, "cd")
			w.send(fBinary, "")
			w.send(fText, "")
		}()
		three := make([]byte, 3)
		for _, want := range []string{"ab", "cd"} {
			if n, err := c.Read(three); string(three[:n]) != want || err != nil {
				t.Errorf("Read: %q, %v, want %q", three[:n], err, want)
			}
		}
		for range 2 {
			if n, err := c.Read(three); n != 0 || err != io.EOF {
				t.Errorf("Read at the end: %d, %v", n, err)
			}
		}
		c.Write([]byte("still"))
		w.expect(fBinary, "still")
		c.(interface{ CloseWrite() error }).CloseWrite()
		w.expect(fBinary, "")
		go w.send(fText, "!")
		w.bye(1003, "data came after the end of the stream")
	})
	bubble(t, "what_is_not_read_holds_the_peer_back", func(t *testing.T) {
		w, c, finish := openStream(t, one())
		big := strings.Repeat("x", 1<<20) // more than a buffer of any size reads ahead
		sent := later(w.Write, []byte(string(frame(fBinary, big))+string(frame(fBinary, big))))
		pending(t, sent)
		if _, err := io.ReadFull(c, make([]byte, len(big)-1)); err != nil {
			t.Error(err)
		}
		pending(t, sent) // a byte of the first is left
		c.Read(make([]byte, 1))
		if err := <-sent; err != nil {
			t.Error(err)
		}
		finish() // with the second unread
		w.bye(1000, "")
	})
	for _, tt := range []struct {
		name string
		end  func(w *wire)
		is   func(err error) bool
	}{
		{"1000", func(w *wire) { w.send(fClose, closing(1000, "bye")) }, func(err error) bool { return err == io.EOF }},
		{"1001", func(w *wire) { w.send(fClose, closing(1001, "")) }, func(err error) bool { return err == io.EOF }},
		{"1005", func(w *wire) { w.send(fClose, "") }, func(err error) bool { return err == io.EOF }},
		{"4001", func(w *wire) { w.send(fClose, closing(4001, "no more")) }, func(err error) bool {
			var ce websocket.CloseError
			return errors.As(err, &ce) && ce == websocket.CloseError{Code: 4001, Reason: "no more"}
		}},
		{"1006", func(w *wire) { w.Close() }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) && err != io.ErrUnexpectedEOF }},
		{"1009", func(w *wire) {
			w.send(fBinary, strings.Repeat("x", 101))
			w.send(fClose, closing(1009, ""))
		}, func(err error) bool { return websocket.CloseStatus(err) == 1009 }},
	} {
		bubble(t, "C6_the_end_of_reading/"+tt.name, func(t *testing.T) {
			u := one()
			u.Limits.ReadLimit = 100
			w, c, _ := openStream(t, u)
			go io.Copy(io.Discard, w.br)
			go func() {
				w.send(fBinary, "last")
				tt.end(w)
			}()
			b := make([]byte, 10)
			if n, err := c.Read(b); string(b[:n]) != "last" || err != nil {
				t.Errorf("Read: %q, %v", b[:n], err)
			}
			for range 2 {
				if n, err := c.Read(b); n != 0 || !tt.is(err) {
					t.Errorf("Read: %d, %v", n, err)
				}
			}
			if _, err := c.Write(b); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write: %v", err)
			}
		})
	}
	bubble(t, "C4_the_end_of_serve", func(t *testing.T) {
		for _, tt := range []struct {
			serve func()
			code  uint16
		}{
			{func() {}, 1000},
			{func() { panic("oops") }, 1011},
			{func() { runtime.Goexit() }, 1011},
		} {
			u, faults := one(), make(chan error, 1)
			u.OnError = func(_ *http.Request, err error) { faults <- err }
			link{pipe: true}.open(t, u, ws.Stream(func(net.Conn) { tt.serve() })).bye(tt.code, "")
			u.Shutdown(context.Background())
			var pe *ws.PanicError
			switch {
			case len(faults) == 0:
			case !errors.As(<-faults, &pe) || pe.Value != "oops" || !strings.Contains(string(pe.Stack), "stream_test.go"):
				t.Errorf("%d: reported %+v", tt.code, pe)
			}
		}
	})
	bubble(t, "K2_the_connection_waits_for_serve", func(t *testing.T) {
		u := one()
		w, c, finish := openStream(t, u)
		go w.bye(1001, "")
		down := later(func([]byte) (int, error) { return 0, u.Shutdown(context.Background()) }, nil)
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read: %v", err)
		}
		pending(t, down)
		finish()
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
	bubble(t, "S5_Close", func(t *testing.T) {
		u := one()
		u.Limits.SendBuffer = 10
		w, c, finish := openStream(t, u)
		reading, writing := later(c.Read, make([]byte, 1)), later(c.Write, make([]byte, 100<<10))
		pending(t, reading)
		pending(t, writing)
		second := later(c.Write, make([]byte, 1))
		pending(t, second)
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		for _, ch := range []<-chan error{reading, writing, second, later(c.Read, nil), later(c.Write, nil)} {
			if err := <-ch; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		w.expect(fBinary, strings.Repeat("\x00", 32<<10)) // what was written goes first
		w.bye(1000, "")
		finish()
	})
	bubble(t, "S5_Close_with_a_message_unread", func(t *testing.T) {
		w, c, finish := openStream(t, one())
		w.write(append(frame(fBinary, "unread"), frame(fBinary, "unread")...))
		synctest.Wait()
		before := time.Now()
		c.Close()
		w.bye(1000, "")
		finish()
		if !time.Now().Equal(before) {
			t.Error("it took time")
		}
	})
	bubble(t, "writes_are_whole", func(t *testing.T) {
		u := one()
		u.Limits.SendBuffer = 1
		w, c, finish := openStream(t, u)
		const size = 100 << 10
		for i := range 5 {
			go c.Write(bytes.Repeat([]byte{byte('a' + i)}, size))
		}
		var all string
		for len(all) < 5*size {
			synctest.Wait() // all of them wait
			_, p := w.next()
			all += p
		}
		for ; all != ""; all = all[size:] {
			if strings.Count(all[:size], all[:1]) != size {
				t.Error("the pieces of two are mixed")
			}
		}
		finish()
		w.bye(1000, "")
	})
	t.Run("addresses", func(t *testing.T) {
		t.Parallel()
		addrs := make(chan [2]net.Addr, 1)
		w := link{}.open(t, one(), ws.Stream(func(c net.Conn) { addrs <- [2]net.Addr{c.LocalAddr(), c.RemoteAddr()} }))
		if got := receive(t, addrs); got[0].String() != w.RemoteAddr().String() || got[1].String() != w.LocalAddr().String() {
			t.Errorf("%v, want %v and %v", got, w.RemoteAddr(), w.LocalAddr())
		}
		w.bye(1000, "")
	})
}

func TestStreamDeadline(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Read", "Write"} {
		bubble(t, name, func(t *testing.T) {
			w, c, _ := openStream(t, &ws.Upgrader{Limits: ws.Limits{PingInterval: -1, SendBuffer: 10, WriteTimeout: 1000 * time.Hour}})
			do, set, other := c.Read, c.SetReadDeadline, c.SetWriteDeadline
			if name == "Write" {
				do, set, other = c.Write, c.SetWriteDeadline, c.SetReadDeadline
				c.Write(make([]byte, 20)) // nobody reads
			}
			timeout := func(ch <-chan error, after time.Duration) {
				t.Helper()
				before := time.Now()
				err := <-ch
				var ne net.Error
				if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() || time.Since(before) != after {
					t.Fatalf("%v after %v, want a timeout after %v", err, time.Since(before), after)
				}
			}
			b := make([]byte, 1)
			other(time.Now().Add(-time.Hour))
			set(time.Now().Add(-time.Second))
			timeout(later(do, b), 0)
			set(time.Now().Add(time.Hour).Round(0)) // from the wall clock
			timeout(later(do, b), time.Hour)
			timeout(later(do, b), 0)
			set(time.Now())
			timeout(later(do, b), 0)

			set(time.Time{})
			ch, ch2 := later(do, b), later(do, b)
			pass(100 * time.Hour)
			pending(t, ch)
			set(time.Now().Add(time.Hour)) // each while they wait
			pass(time.Minute)
			pending(t, ch)
			set(time.Now().Add(2 * time.Hour))
			pass(time.Hour)
			pending(t, ch)
			set(time.Time{})
			pass(2 * time.Hour)
			pending(t, ch)
			set(time.Now().Add(-time.Hour))
			timeout(ch, 0)
			timeout(ch2, 0)

			c.SetDeadline(time.Now().Add(time.Second))
			timeout(later(c.Read, b), time.Second)
			timeout(later(c.Write, b), 0)

			c.SetDeadline(time.Time{}) // nothing is lost
			ch = later(do, b)
			if name == "Read" {
				w.send(fBinary, "x")
			} else {
				w.next()
				w.expect(fBinary, "\x00")
			}
			if err := <-ch; err != nil || name == "Read" && b[0] != 'x' {
				t.Errorf("%q, %v", b, err)
			}
			w.Close()
		})
	}
	bubble(t, "in_the_middle_of_a_Write", func(t *testing.T) {
		w, c, _ := openStream(t, &ws.Upgrader{Limits: ws.Limits{PingInterval: -1, SendBuffer: 40 << 10}})
		c.SetDeadline(time.Now().Add(time.Second))
		if n, err := c.Write(make([]byte, 1<<20)); n != 64<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
		w.Close()
	})
	bubble(t, "S3_a_peer_that_takes_nothing", func(t *testing.T) {
		_, c, _ := openStream(t, &ws.Upgrader{Limits: ws.Limits{PingInterval: -1, SendBuffer: 10, WriteTimeout: time.Minute}})
		before := time.Now()
		_, err := c.Write(make([]byte, 1<<20))
		if !errors.Is(err, net.ErrClosed) || time.Since(before) != time.Minute {
			t.Errorf("Write: %v after %v", err, time.Since(before))
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, ws.ErrWriteTimeout) {
			t.Errorf("Read: %v", err)
		}
	})
}

// Not parallel: it measures the whole process.
func TestStreamAllocations(t *testing.T) {
	for _, size := range []int{1, 4000, 32 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := link{}.open(t, &ws.Upgrader{Limits: ws.Limits{ReuseData: true}}, ws.Stream(func(c net.Conn) {
				b := make([]byte, 32<<10)
				for {
					c.SetDeadline(time.Now().Add(patience))
					n, err := c.Read(b)
					if err != nil {
						return
					}
					c.Write(b[:n])
				}
			}))
			in := frame(fBinary, strings.Repeat("x", size))
			out := make([]byte, len(in)-4)
			round := func() {
				w.Conn.Write(in)
				if _, err := io.ReadFull(w.br, out); err != nil {
					t.Fatal(err)
				}
			}
			for range 100 {
				round()
			}
			if n := testing.AllocsPerRun(500, round); n > 0 && !race() {
				t.Errorf("%v allocations for a message", n)
			}
		})
	}
}
