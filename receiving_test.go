//go:build !js

package ws_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/bits"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// Not parallel: it measures the whole process.
func TestReceiving(t *testing.T) {
	sizes := []int{256 << 10, 1 << 20}
	if race() { // nothing is asserted of allocations then
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		for _, reuse := range []bool{false, true} {
			for _, form := range []string{"whole", "fragmented", "compressed", "compressed_and_fragmented"} {
				t.Run(fmt.Sprintf("C8_allocations/%d/%s/ReuseData=%t", size, form, reuse), func(t *testing.T) {
					testAllocations(t, size, form, reuse)
				})
			}
		}
	}
	t.Run("C8_small_fragments_of_a_large_message", testSmallFragments)
	testAfterClose(t)
	testFinalBlocks(t)
	testLengths(t)
	testIdle(t)
}

func testAllocations(t *testing.T, size int, form string, reuse bool) {
	l, u := link{}, &ws.Upgrader{Limits: ws.Limits{ReuseData: reuse, PingInterval: -1}}
	payload, b0 := string(noise(size)), byte(fBinary)
	if strings.HasPrefix(form, "compressed") {
		u.Engine.CompressionMode = websocket.CompressionNoContextTakeover
		l.header = offersDeflate
		payload, b0 = deflated(string(bytes.Repeat(noise(size/16), 16))), 0xc2
	}
	in := frame(b0, payload)
	if strings.HasSuffix(form, "fragmented") {
		in = split(b0, payload, len(payload)/64)
	}
	good := true
	w := l.open(t, u, ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
		good = good && len(m.Data) == size
		return c.SendText("x") // shorter than what is compressed
	}})
	out := make([]byte, 3)
	round := func() {
		if _, err := w.Conn.Write(in); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(w.br, out); err != nil {
			t.Fatal(err)
		}
	}
	warm, n := 20, 50
	if race() { // under which pools forget: nothing is asserted of it
		warm, n = 1, 2
	}
	for range warm {
		round()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		round()
	}
	runtime.ReadMemStats(&after)
	w.Close()
	if !good || string(out) != "\x81\x01x" {
		t.Errorf("messages of other sizes came, or %q", out)
	}
	count := float64(after.Mallocs-before.Mallocs) / float64(n)
	size64 := float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	// The message's data, and on the way one for each doubling from 64 KiB. The collector takes
	// some of what is pooled.
	most, bytes := float64(2+bits.Len(uint(size>>16))), 3*float64(size)
	if reuse {
		most, bytes = 2, float64(size)/4
	}
	if (count > most || size64 > bytes) && !race() {
		t.Errorf("a message of %d bytes costs %.1f allocations of %.0f bytes in all, want at most %.0f of %.0f", size, count, size64, most, bytes)
	}
}

// testSmallFragments: each costs its bytes, not a copy of the message.
func testSmallFragments(t *testing.T) {
	const size, fragments = 17 << 20, 100
	u, r := &ws.Upgrader{Limits: ws.Limits{ReadLimit: -1}}, newRecord()
	w := link{}.open(t, u, r.of(ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
		return c.SendText(fmt.Sprint(len(m.Data)))
	}}))
	large, small := frame(0x02, string(make([]byte, size))), split(0x80, string(make([]byte, fragments)), 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w.write(large)
	w.write(small)
	w.expect(fText, fmt.Sprint(size+fragments))
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 10*size {
		t.Errorf("%d MiB were allocated for a message of %d", n>>20, size>>20)
	}
	w.Close()
	r.wait(t, u)
}

// testAfterClose: what comes after our own Close is discarded, whatever it is.
func testAfterClose(t *testing.T) {
	limits := ws.Limits{ReadLimit: 1000, PingInterval: -1}
	oversize := strings.Repeat("x", 5000)
	for name, in := range map[string][]byte{
		"a_message":                  frame(fText, "late"),
		"oversize":                   frame(fText, oversize),
		"oversize_in_fragments":      split(fText, oversize, 700),
		"oversize_and_compressed":    frame(0xc1, deflated(oversize)),
		"not_UTF-8":                  frame(fText, "\xff"),
		"not_UTF-8_in_fragments":     split(fText, "\xff\xff", 1),
		"not_UTF-8_and_compressed":   frame(0xc1, deflated("\xff")),
		"compressed_nonsense":        frame(0xc2, "\xff\xff\xff\xff"),
		"compressed_data_cut":        frame(0xc2, deflated(oversize)[:3]),
		"all_of_it":                  slices.Concat(frame(fText, oversize), frame(fText, "\xff"), frame(0xc2, "\xff\xff"), frame(fPing, "x"), frame(fText, "late")),
		"a_ping_between_fragments":   slices.Concat(frame(0x01, "x"), frame(fPing, ""), frame(0x80, "\xff")),
		"a_message_that_is_not_over": frame(0x01, oversize),
	} {
		for _, early := range []int{0, 1, 3} { // bytes that come before, of a header
			bubble(t, fmt.Sprintf("C5_after_our_own_Close/%s/but_%d", name, early), func(t *testing.T) {
				u, r := compressing(websocket.CompressionNoContextTakeover, limits), newRecord()
				w := link{pipe: true, header: offersDeflate}.open(t, u, r.of(ws.Events{}))
				w.SetDeadline(time.Now().Add(patience))
				synctest.Wait()
				w.write(in[:early])
				synctest.Wait()
				r.conn.Close(4000, "enough")
				w.expect(fClose, closing(4000, "enough"))
				synctest.Wait()
				w.write(in[early:])
				w.send(fClose, closing(4001, "yes"))
				w.expect(0, "")
				r.wait(t, u)
				r.want(t, "open", "close")
				if r.end != (ws.CloseEvent{Code: 4001, Reason: "yes", WasClean: true}) {
					t.Errorf("%+v", r.end)
				}
			})
		}
	}
	for name, in := range map[string][]byte{
		"not_masked":          {fText, 1, 'x'},
		"a_reserved_bit":      frame(0xa1, "x"),
		"a_reserved_opcode":   frame(0x83, "x"),
		"a_ping_of_126":       frame(fPing, strings.Repeat("x", 126)),
		"nothing_to_continue": frame(0x80, "x"),
		"a_Close_of_one_byte": frame(fClose, "x"),
		"a_Close_with_1005":   frame(fClose, closing(1005, "")),
		"after_a_message":     append(frame(fText, "\xff"), frame(0x83, "x")...),
	} {
		bubble(t, "C5_a_violation_after_our_own_Close/"+name, func(t *testing.T) {
			u, r := &ws.Upgrader{Limits: limits}, newRecord()
			w := link{pipe: true}.open(t, u, r.of(ws.Events{}))
			w.SetDeadline(time.Now().Add(patience))
			synctest.Wait()
			r.conn.Close(4000, "enough")
			w.expect(fClose, closing(4000, "enough"))
			synctest.Wait()
			w.write(in)
			w.expect(0, "")
			r.wait(t, u)
			r.want(t, "open", "close")
			if r.end.Code != 1006 || r.end.WasClean || r.end.Err == nil {
				t.Errorf("%+v", r.end)
			}
		})
	}
}

// testFinalBlocks: the examples of RFC 7692, section 7.2.3.
func testFinalBlocks(t *testing.T) {
	const (
		plain  = "\xf2\x48\xcd\xc9\xc9\x07\x00"
		shared = "\xf2\x00\x11\x00\x00" // which needs the message before
		stored = "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"
		final  = "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
		two    = "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"
	)
	first := map[string][]byte{
		"one_block":          frame(0xc1, plain),
		"in_two_frames":      split(0xc1, plain, 3),
		"stored":             frame(0xc1, stored),
		"BFINAL":             frame(0xc1, final),
		"BFINAL_in_frames":   split(0xc1, final, 1),
		"two_blocks":         frame(0xc1, two),
		"BFINAL_without_end": frame(0xc1, final[:7]), // nothing follows the last block
	}
	for how, mode := range takeovers {
		for name, in := range first {
			next := map[string][]byte{"the_same": in, "one_block": frame(0xc1, plain), "BFINAL": frame(0xc1, final), "not_compressed": frame(fText, "Hello")}
			if mode == websocket.CompressionContextTakeover {
				next["shared_window"] = frame(0xc1, shared)
			}
			for then, more := range next {
				for _, chop := range []int{0, 1} {
					t.Run(fmt.Sprintf("C8_RFC_7692/%s/%s/then_%s/chop=%d", how, name, then, chop), func(t *testing.T) {
						t.Parallel()
						u, r := compressing(mode, noPings), newRecord()
						w := link{header: offersDeflate}.open(t, u, r.of(ws.Events{}))
						all := slices.Concat(in, in, in, more, in, more, frame(fClose, ""))
						step := len(all)
						if chop > 0 {
							step = chop
						}
						for b := range slices.Chunk(all, step) {
							w.write(b)
						}
						w.expect(fClose, "")
						w.expect(0, "")
						r.wait(t, u)
						hello := "message Hello"
						r.want(t, "open", hello, hello, hello, hello, hello, hello, "close")
					})
				}
			}
		}
	}
	// Data that ends early is not a shorter message.
	text := strings.Repeat("Some words that compress, and ", 30) + string(noise(50))
	for name, whole := range map[string]string{"plain": plain, "stored": stored, "BFINAL": final, "two": two, "long": deflated(text)} {
		cuts := []int{1, 2, 3, 4, 5}
		if name == "long" {
			cuts = []int{1, 2, 3, 4, 5, 6, 7, 8, 20, len(whole) / 2, len(whole) - 1}
		}
		for _, cut := range cuts {
			part := whole[:len(whole)-cut]
			z := flate.NewReader(strings.NewReader(part + "\x00\x00\xff\xff\x01\x00\x00\xff\xff"))
			if _, err := io.ReadAll(z); err == nil {
				continue // it is whole all the same
			}
			for how, in := range map[string][]byte{"at_once": frame(0xc2, part), "byte_by_byte": split(0xc2, part, 1)} {
				t.Run(fmt.Sprintf("C5_data_that_ends_early/%s_by_%d/%s", name, cut, how), func(t *testing.T) {
					t.Parallel()
					u, r := compressing(websocket.CompressionContextTakeover, noPings), newRecord()
					w := link{header: offersDeflate}.open(t, u, r.of(ws.Events{}))
					w.write(append(frame(0xc1, plain), in...))
					if b0, p := w.next(); b0 != fClose || !strings.HasPrefix(p, closing(1007, "")) {
						t.Fatalf("frame %#x %q", b0, p)
					}
					w.send(fClose, closing(1007, ""))
					w.Close()
					r.wait(t, u)
					r.want(t, "open", "message Hello", "error", "close")
				})
			}
		}
	}
}

// testLengths: the beginning of a frame and the rest of it may be read into different buffers.
func testLengths(t *testing.T) {
	for name, l := range map[string]link{"tcp": {}, "tls": {tls: true}, "pipe": {pipe: true}} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("C8_messages_of_any_length/%s/ReuseData=%t", name, reuse), func(t *testing.T) {
				u := &ws.Upgrader{Limits: ws.Limits{ReuseData: reuse}}
				w := l.open(t, u, ws.Events{OnMessage: echo})
				w.SetDeadline(time.Now().Add(patience))
				var messages []string
				for n := range 1200 {
					messages = append(messages, string(noise(n)))
				}
				for n := 4000; n < 4200; n++ {
					messages = append(messages, string(noise(n)))
				}
				go func() {
					for _, m := range messages {
						w.Write(frame(fBinary, m))
					}
				}()
				for _, m := range messages {
					w.expect(fBinary, m)
				}
			})
		}
	}
}

// testIdle: a connection whose input can't be waited for without a buffer waits with a small one.
func testIdle(t *testing.T) {
	bubble(t, "idle_with_a_small_buffer", func(t *testing.T) {
		var size atomic.Int64
		w := link{pipe: true, server: func(c net.Conn) net.Conn { return sized{c, &size} }}.open(t, &ws.Upgrader{}, ws.Events{OnMessage: echo})
		want := func(bytes int64) {
			t.Helper()
			synctest.Wait()
			if got := size.Load(); got != bytes {
				t.Errorf("it reads into %d bytes, want %d", got, bytes)
			}
		}
		want(512)
		for _, n := range []int{10, 3000, 100_000} {
			message := string(noise(n))
			f := frame(fBinary, message)
			w.write(f[:3])
			want(4096 - 3)
			w.write(f[3:])
			w.expect(fBinary, message)
			want(512)
		}
		for _, n := range []int{20, 1} { // messages at once
			for range 2 {
				w.write(bytes.Repeat(frame(fText, strings.Repeat("x", 50)), n))
				for range n {
					w.expect(fText, strings.Repeat("x", 50))
				}
			}
			want(map[int]int64{20: 4096, 1: 512}[n]) // S2: all of the next 20 are to be at hand
		}
		w.send(fClose, closing(1000, ""))
		w.expect(fClose, closing(1000, ""))
	})
}

// sized notes how large a buffer was read into.
type sized struct {
	net.Conn
	bytes *atomic.Int64
}

func (s sized) Read(p []byte) (int, error) {
	s.bytes.Store(int64(len(p)))
	return s.Conn.Read(p)
}
