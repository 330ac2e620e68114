//go:build !js

package ws_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

func TestCallbacks(t *testing.T) {
	t.Parallel()
	for _, u := range []func() *ws.Upgrader{
		func() *ws.Upgrader { return &ws.Upgrader{} },
		func() *ws.Upgrader { return &ws.Upgrader{Detach: true, Limits: ws.Limits{ReuseData: true}} },
	} {
		t.Run(fmt.Sprintf("detach=%t", u().Detach), func(t *testing.T) {
			t.Parallel()
			testCallbacks(t, u)
		})
	}
}

func testCallbacks(t *testing.T, newUpgrader func() *ws.Upgrader) {
	t.Run("C1_order", func(t *testing.T) {
		t.Parallel()
		u, r := newUpgrader(), newRecord()
		w := link{}.open(t, u, r.of(ws.Events{OnOpen: func(c *ws.Conn) error { return c.SendText("hi") }, OnMessage: echo}))
		w.expect(fText, "hi")
		w.write(slices.Concat(frame(fText, "a"), frame(fBinary, "b"), frame(fPing, "p"), frame(0x01, "c"), frame(fPing, "q"), frame(0x80, "d")))
		w.expect(fText, "a")
		w.expect(fBinary, "b")
		w.expect(fPong, "p")
		w.expect(fPong, "q")
		w.expect(fText, "cd")
		w.send(fClose, closing(1000, "bye"))
		w.expect(fClose, closing(1000, "bye"))
		w.expect(0, "")
		r.wait(t, u)
		r.want(t, "open", "message a", "message b", "message cd", "close")
	})
	t.Run("C1_nil_callbacks", func(t *testing.T) {
		t.Parallel()
		w := link{}.open(t, newUpgrader(), ws.Events{})
		w.send(fText, "a")
		w.send(fClose, "")
		w.expect(fClose, "")
		w.expect(0, "")
	})
	t.Run("C1_seen_from_before_OnOpen_until_after_OnClose", func(t *testing.T) {
		t.Parallel()
		var u *ws.Upgrader
		var g ws.Group
		live := func(c *ws.Conn) bool { return slices.Contains(slices.Collect(u.Conns()), c) }
		u, r := newUpgrader(), newRecord()
		w := link{}.open(t, u, r.of(ws.Events{
			OnOpen: func(c *ws.Conn) error {
				g.Add(c)
				if !live(c) || c.ReadyState() != ws.Open || c.Context().Err() != nil {
					t.Error("in OnOpen: not live")
				}
				return nil
			},
			OnClose: func(c *ws.Conn, _ ws.CloseEvent) {
				if !live(c) {
					t.Error("in OnClose: not among Conns")
				}
				if g.Len() != 0 || c.Context().Err() == nil || c.ReadyState() != ws.Closed {
					t.Error("in OnClose: still in a group, or its Context has not ended")
				}
			},
		}))
		w.Close()
		r.wait(t, u)
		if live(r.conn) {
			t.Error("after OnClose: still live")
		}
	})
	t.Run("C3_message_in_the_handshakes_packet", func(t *testing.T) {
		t.Parallel()
		u, r := newUpgrader(), newRecord()
		long := strings.Repeat("x", 3000) // more than a reader of 1 KiB holds
		w := link{tail: slices.Concat(frame(fText, "early"), frame(fText, long))}.open(t, u, r.of(ws.Events{OnMessage: echo}))
		w.expect(fText, "early")
		w.expect(fText, long)
		w.send(fClose, "")
		r.wait(t, u)
		r.want(t, "open", "message early", "message "+long[:20], "close")
	})

	sentinel := errors.New("secret")
	for _, tt := range []struct {
		name   string
		do     func(c *ws.Conn) error
		code   uint16 // 0: no Close frame
		reason string
		fault  func(err error) bool // nil: none
	}{
		{"CloseError", func(*ws.Conn) error { return websocket.CloseError{Code: 4001, Reason: "bye"} }, 4001, "bye", nil},
		{"wrapped_CloseError", func(*ws.Conn) error {
			return fmt.Errorf("x: %w", websocket.CloseError{Code: 1008, Reason: "no"})
		}, 1008, "no", nil},
		{"reason_of_123", func(*ws.Conn) error {
			return websocket.CloseError{Code: 3000, Reason: strings.Repeat("é", 61) + "x"}
		}, 3000, strings.Repeat("é", 61) + "x", nil},
		{"reason_of_124", func(*ws.Conn) error {
			return websocket.CloseError{Code: 3000, Reason: strings.Repeat("é", 62)}
		}, 1011, "", notNil},
		{"reason_not_UTF-8", func(*ws.Conn) error { return websocket.CloseError{Code: 3000, Reason: "\xff"} }, 1011, "", notNil},
		{"code_0", func(*ws.Conn) error { return websocket.CloseError{} }, 1011, "", notNil},
		{"code_1004", func(*ws.Conn) error { return websocket.CloseError{Code: 1004} }, 1011, "", notNil},
		{"code_1005", func(*ws.Conn) error { return websocket.CloseError{Code: 1005} }, 1011, "", notNil},
		{"code_1006", func(*ws.Conn) error { return websocket.CloseError{Code: 1006} }, 1011, "", notNil},
		{"code_1015", func(*ws.Conn) error { return websocket.CloseError{Code: 1015} }, 1011, "", notNil},
		{"code_70000", func(*ws.Conn) error { return websocket.CloseError{Code: 65536 + 4000} }, 1011, "", notNil},
		{"error", func(*ws.Conn) error { return sentinel }, 1011, "", func(err error) bool { return err == sentinel }},
		{"net.ErrClosed_while_open", func(*ws.Conn) error { return net.ErrClosed }, 1011, "", func(err error) bool { return err == net.ErrClosed }},
		{"net.ErrClosed_while_closing", func(c *ws.Conn) error { c.Close(4000, "x"); return c.SendText("late") }, 4000, "x", nil},
		{"CloseError_while_closing", func(c *ws.Conn) error {
			c.Close(4000, "x")
			return websocket.CloseError{Code: 4001}
		}, 4000, "x", nil},
		{"error_while_closing", func(c *ws.Conn) error { c.Close(4000, "x"); return sentinel }, 4000, "x", notNil},
		{"panic", func(*ws.Conn) error { panic("boom") }, 1011, "", func(err error) bool {
			var p *ws.PanicError
			return errors.As(err, &p) && p.Value == "boom" && bytes.Contains(p.Stack, []byte("testCallbacks"))
		}},
		{"panic_with_an_error", func(*ws.Conn) error { panic(sentinel) }, 1011, "", func(err error) bool { return errors.Is(err, sentinel) }},
		{"panic_with_what_can't_be_compared", func(*ws.Conn) error { panic([]int{1}) }, 1011, "", notNil},
		{"Goexit", func(*ws.Conn) error { runtime.Goexit(); return nil }, 1011, "", notNil},
		{"ErrAbortHandler", func(*ws.Conn) error { panic(http.ErrAbortHandler) }, 0, "", nil},
	} {
		for _, where := range []string{"OnOpen", "OnMessage"} {
			t.Run("C4_"+tt.name+"_in_"+where, func(t *testing.T) {
				t.Parallel()
				u, r, ev := newUpgrader(), newRecord(), ws.Events{}
				u.OnError = func(_ *http.Request, err error) { t.Errorf("Upgrader.OnError: %v", err) }
				log := []string{"open"}
				if where == "OnOpen" {
					ev.OnOpen = tt.do
				} else {
					ev.OnMessage = func(c *ws.Conn, _ ws.Message) error { return tt.do(c) }
					log = append(log, "message 1")
				}
				w := link{tail: slices.Concat(frame(fText, "1"), frame(fText, "2"))}.open(t, u, r.of(ev))
				if tt.code != 0 {
					w.expect(fClose, closing(tt.code, tt.reason))
					w.send(fText, "3")
					w.send(fClose, closing(1000, "done"))
				}
				w.expect(0, "")
				r.wait(t, u)
				want := ws.CloseEvent{Code: 1006, Err: r.end.Err}
				if tt.code != 0 {
					want = ws.CloseEvent{Code: 1000, Reason: "done", WasClean: true, Err: r.err}
				}
				if r.end != want {
					t.Errorf("CloseEvent %+v, want %+v", r.end, want)
				}
				if tt.fault != nil {
					log = append(log, "error")
					if !tt.fault(r.err) {
						t.Errorf("OnError got %v", r.err)
					}
				}
				r.want(t, append(log, "close")...)
			})
		}
	}

	// Each way out of OnError and OnClose, after faults that are found in different places.
	for name, leave := range map[string]func(){
		"panic": func() { panic("boom") }, "ErrAbortHandler": func() { panic(http.ErrAbortHandler) }, "Goexit": runtime.Goexit,
	} {
		for where, set := range map[string]func(*ws.Events){
			"OnError": func(ev *ws.Events) { ev.OnError = func(*ws.Conn, error) { leave() } },
			"OnClose": func(ev *ws.Events) { ev.OnClose = func(*ws.Conn, ws.CloseEvent) { leave() } },
		} {
			for _, fault := range []string{"returned", "panicked", "protocol"} {
				t.Run("C4_"+name+"_in_"+where+"_after_"+fault, func(t *testing.T) {
					t.Parallel()
					u, r := newUpgrader(), newRecord()
					reports := make(chan error, 9)
					u.OnError = func(_ *http.Request, err error) { reports <- err }
					var g ws.Group
					ev := ws.Events{
						OnOpen: func(c *ws.Conn) error { g.Add(c); return nil },
						OnMessage: func(c *ws.Conn, _ ws.Message) error {
							if fault == "panicked" {
								panic("first")
							}
							return sentinel
						}}
					set(&ev)
					w := link{}.open(t, u, r.of(ev))
					code := closing(1011, "")
					log := []string{"open", "message 1", "error", "close"}
					if fault == "protocol" {
						log = slices.Delete(log, 1, 2)
						code = closing(1002, "protocol error")
						w.write([]byte{fText, 1, '1'}) // not masked
					} else {
						w.send(fText, "1")
					}
					w.expect(fClose, code)
					w.send(fClose, code)
					w.expect(0, "")
					w.Close()
					r.wait(t, u)
					r.want(t, log...)
					if r.end.Code == 0 || r.end.Err == nil || r.end.Err != r.err || g.Len() != 0 || r.conn.Context().Err() == nil {
						t.Errorf("%+v, %d in the group, Context %v", r.end, g.Len(), r.conn.Context().Err())
					}
					if name == "panic" {
						var p *ws.PanicError
						if err := receive(t, reports); !errors.As(err, &p) || p.Value != "boom" {
							t.Errorf("Upgrader.OnError got %v", err)
						}
					} else if len(reports) != 0 {
						t.Errorf("Upgrader.OnError got %v", <-reports)
					}
				})
			}
		}
	}
}

func notNil(err error) bool { return err != nil }

// TestFaults: what the peer does wrong (C5, C7), with the bytes that it sends.
func TestFaults(t *testing.T) {
	t.Parallel()
	const kib = 1 << 10
	bad := "\xc3\x28"
	limits := ws.Limits{ReadLimit: 200 * kib}
	tests := []struct {
		name   string
		bytes  []byte
		code   uint16
		header string
	}{
		{"RSV1", frame(0xc1, "x"), 1002, ""},
		{"RSV2", frame(0xa1, "x"), 1002, ""},
		{"RSV3", frame(0x91, "x"), 1002, ""},
		{"RSV1_of_a_ping_with_compression", frame(0xc9, "x"), 1002, offersDeflate},
		{"opcode_3", frame(0x83, "x"), 1002, ""},
		{"opcode_11", frame(0x8b, "x"), 1002, ""},
		{"fragmented_ping", frame(0x09, "x"), 1002, ""},
		{"fragmented_close", frame(0x08, ""), 1002, ""},
		{"ping_of_126", frame(fPing, strings.Repeat("x", 126)), 1002, ""},
		{"continuation_of_nothing", frame(0x80, "x"), 1002, ""},
		{"message_in_a_message", append(frame(0x01, "x"), frame(fText, "y")...), 1002, ""},
		{"close_of_1", frame(fClose, "x"), 1002, ""},
		{"close_0", frame(fClose, closing(0, "")), 1002, ""},
		{"close_999", frame(fClose, closing(999, "")), 1002, ""},
		{"close_1004", frame(fClose, closing(1004, "")), 1002, ""},
		{"close_1005", frame(fClose, closing(1005, "")), 1002, ""},
		{"close_1006", frame(fClose, closing(1006, "")), 1002, ""},
		{"close_1015", frame(fClose, closing(1015, "")), 1002, ""},
		{"close_2999", frame(fClose, closing(2999, "")), 1002, ""},
		{"close_5000", frame(fClose, closing(5000, "")), 1002, ""},
		{"length_with_the_top_bit", header(fText, 1<<63), 1002, ""},
		{"not_masked", []byte{fText, 1, 'x'}, 1002, ""},
		{"ping_not_masked", []byte{fPing, 0}, 1002, ""},
		{"fragment_not_masked", append(frame(0x01, "x"), 0x80, 1, 'y'), 1002, ""},

		{"C7_one_frame", frame(fText, bad), 1007, ""},
		{"C7_surrogate", frame(fText, "\xed\xa0\x80"), 1007, ""},
		{"C7_cut_rune", frame(fText, "x\xe2\x82"), 1007, ""},
		{"C7_first_fragment", frame(0x01, bad+"xxxx"), 1007, ""},
		{"C7_end_of_the_first_fragment", frame(0x01, "xxxxx\xff"), 1007, ""},
		{"C7_second_fragment", append(frame(0x01, "xxxx"), frame(0x00, bad)...), 1007, ""},
		{"C7_rune_broken_across_fragments", append(frame(0x01, "\xe2\x82"), frame(0x00, "x")...), 1007, ""},
		{"C7_rune_cut_by_the_last_fragment", append(frame(0x01, "x"), frame(0x80, "\xe2\x82")...), 1007, ""},
		{"C7_rune_cut_by_an_empty_last_fragment", append(frame(0x01, "x\xe2\x82"), frame(0x80, "")...), 1007, ""},
		{"C7_inside_a_large_frame", append(header(fText, 150*kib), slices.Repeat([]byte{0xff}, 5000)...), 1007, ""},
		{"C7_compressed", frame(0xc1, deflated(strings.Repeat(bad, 100))), 1007, offersDeflate},

		{"ReadLimit_at_the_header", header(fBinary, 200*kib+1), 1009, ""},
		{"ReadLimit_at_the_header_of_a_text", header(fText, 1<<40), 1009, ""},
		{"ReadLimit_in_fragments", append(frame(0x02, strings.Repeat("x", 100*kib)), frame(0x00, strings.Repeat("x", 100*kib+1))...), 1009, ""},
		{"ReadLimit_compressed", frame(0xc2, deflated(strings.Repeat("x", 200*kib+1))), 1009, offersDeflate},
		{"ReadLimit_of_a_frame_with_compression", header(fBinary, 200*kib+1), 1009, offersDeflate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, r := &ws.Upgrader{Limits: limits}, newRecord()
			u.Engine.CompressionMode = websocket.CompressionContextTakeover
			w := link{header: tt.header}.open(t, u, r.of(ws.Events{}))
			w.write(append(frame(fText, "good"), tt.bytes...))
			b0, p := w.next()
			reason := map[uint16]string{1002: "protocol error", 1007: "invalid data", 1009: "message too big"}[tt.code]
			if b0 != fClose || p != closing(tt.code, reason) {
				t.Fatalf("got %#x %q, want a Close frame with %d %q", b0, p, tt.code, reason)
			}
			w.Close()
			r.wait(t, u)
			if r.end.Code != 1006 || r.end.WasClean || r.end.Err != r.err {
				t.Errorf("%+v", r.end)
			}
			r.want(t, "open", "message good", "error", "close")
		})
	}
	t.Run("reason_not_UTF-8", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{}, newRecord()
		w := link{}.open(t, u, r.of(ws.Events{}))
		w.send(fClose, closing(1000, "a\xffb"))
		w.expect(fClose, closing(1007, "invalid data"))
		w.Close()
		r.wait(t, u)
		if r.end.Code != 1000 || r.end.Reason != "a\uFFFDb" || r.end.Err == nil || r.end.Err != r.err {
			t.Errorf("%+v", r.end)
		}
	})
	t.Run("C5_a_clean_close_after_a_fault", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{Limits: ws.Limits{ReadLimit: 100}}, newRecord()
		w := link{}.open(t, u, r.of(ws.Events{}))
		w.send(fBinary, strings.Repeat("x", 101))
		w.expect(fClose, closing(1009, "message too big"))
		w.send(fText, "more")
		w.send(fClose, closing(1009, "yes"))
		w.expect(0, "")
		r.wait(t, u)
		if r.end != (ws.CloseEvent{Code: 1009, Reason: "yes", WasClean: true, Err: r.err}) {
			t.Errorf("%+v", r.end)
		}
		r.want(t, "open", "error", "close")
	})
	t.Run("C5_a_callback_returns_the_fault_of_another_peer", func(t *testing.T) {
		t.Parallel()
		u, other := &ws.Upgrader{}, newRecord()
		w := link{}.open(t, u, other.of(ws.Events{}))
		w.send(0x83, "a reserved opcode")
		w.Close()
		other.wait(t, u)
		u, r := &ws.Upgrader{}, newRecord()
		w = link{}.open(t, u, r.of(ws.Events{OnMessage: func(*ws.Conn, ws.Message) error { return other.err }}))
		w.send(fText, "innocent")
		w.bye(1011, "")
		r.wait(t, u)
		if r.err == nil || r.err != other.err {
			t.Errorf("OnError got %v", r.err)
		}
	})
	t.Run("C5_to_the_Upgrader", func(t *testing.T) {
		t.Parallel()
		reports := make(chan error, 9)
		u := &ws.Upgrader{OnError: func(r *http.Request, err error) {
			if r == nil || r.URL.Path != "/" {
				t.Errorf("request %v", r)
			}
			reports <- err
		}}
		done := make(chan ws.CloseEvent, 1)
		w := link{}.open(t, u, ws.Events{OnClose: func(_ *ws.Conn, e ws.CloseEvent) { done <- e }})
		w.send(fText, "\xff")
		w.Close()
		if e := receive(t, done); e.Err == nil || e.Err != receive(t, reports) || len(reports) > 0 {
			t.Errorf("%+v, and %d more reports", e, len(reports))
		}
	})
}

// TestGoodFrames: what looks odd and is right.
func TestGoodFrames(t *testing.T) {
	t.Parallel()
	const euro = "\u20ac"
	big := strings.Repeat("0123456789abcdef", 200<<10/16) // beyond wholeFrame
	for _, tt := range []struct {
		name, header string
		bytes        []byte
		b0           byte
		want         string
	}{
		{"empty_text", "", frame(fText, ""), fText, ""},
		{"empty_binary_fragments", "", append(frame(0x02, ""), frame(0x80, "")...), fBinary, ""},
		{"125", "", frame(fBinary, big[:125]), fBinary, big[:125]},
		{"126", "", frame(fBinary, big[:126]), fBinary, big[:126]},
		{"65535", "", frame(fText, big[:65535]), fText, big[:65535]},
		{"65536", "", frame(fText, big[:65536]), fText, big[:65536]},
		{"65537", "", frame(fText, big[:65537]), fText, big[:65537]},
		{"of_ReadLimit", "", frame(fBinary, big), fBinary, big},
		{"of_ReadLimit_in_fragments", "", slices.Concat(frame(0x02, big[:70000]), frame(0x00, big[70000:70001]), frame(0x80, big[70001:])), fBinary, big},
		{"of_ReadLimit_compressed", offersDeflate, frame(0xc2, deflated(big)), fBinary, big},
		{"fragments_compressed", offersDeflate, append(frame(0x41, deflated(big)[:20]), frame(0x80, deflated(big)[20:])...), fText, big},
		{"C7_rune_across_fragments", "", slices.Concat(frame(0x01, euro[:1]), frame(fPing, ""), frame(0x00, euro[1:2]), frame(0x00, ""), frame(0x80, euro[2:])), fText, euro},
		{"binary_not_UTF-8", "", frame(fBinary, "\xff\xfe"), fBinary, "\xff\xfe"},
		{"pong_unasked", "", append(frame(fPong, "x"), frame(fText, "y")...), fText, "y"},
		{"16-bit_length_of_1", "", append([]byte{fText, 0x80 | 126, 0, 1}, frame(fText, "x")[2:]...), fText, "x"},
	} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/ReuseData=%t", tt.name, reuse), func(t *testing.T) {
				t.Parallel()
				u := &ws.Upgrader{Limits: ws.Limits{ReadLimit: int64(len(big)), ReuseData: reuse}}
				u.Engine.CompressionMode = websocket.CompressionNoContextTakeover
				got := make(chan ws.Message, 2)
				w := link{header: tt.header}.open(t, u, ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
					m.Data = bytes.Clone(m.Data)
					got <- m
					return nil
				}})
				w.write(slices.Concat(tt.bytes, frame(fText, "after")))
				if m := receive(t, got); m.String() != tt.want || m.Type != websocket.MessageType(tt.b0&0xf) || m.Data == nil {
					t.Errorf("type %d, %d bytes, want %d", m.Type, len(m.Data), len(tt.want))
				}
				if m := receive(t, got); m.String() != "after" {
					t.Errorf("then %.20q", m)
				}
			})
		}
	}
}

func TestCloseEvent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ payload, reply, reason string }{
		{"", "", ""},
		{closing(1000, ""), closing(1000, ""), ""},
		{closing(1014, "x"), closing(1014, "x"), "x"},
		{closing(3000, ""), closing(3000, ""), ""},
		{closing(4999, strings.Repeat("x", 123)), closing(4999, strings.Repeat("x", 123)), strings.Repeat("x", 123)},
	} {
		t.Run(fmt.Sprintf("C6_%.5q", tt.payload), func(t *testing.T) {
			t.Parallel()
			u, r := &ws.Upgrader{}, newRecord()
			w := link{}.open(t, u, r.of(ws.Events{}))
			w.send(fClose, tt.payload)
			w.expect(fClose, tt.reply)
			w.expect(0, "")
			r.wait(t, u)
			r.want(t, "open", "close")
			want := ws.CloseEvent{Code: 1005, WasClean: true, Reason: tt.reason}
			if tt.payload != "" {
				want.Code = websocket.StatusCode(binary.BigEndian.Uint16([]byte(tt.payload)))
			}
			if r.end != want {
				t.Errorf("%+v, want %+v", r.end, want)
			}
			if cause := context.Cause(r.conn.Context()); cause != (websocket.CloseError{Code: want.Code, Reason: want.Reason}) {
				t.Errorf("X1: cause %v", cause)
			}
		})
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "header": {fText}, "length": {fText, 0xfe, 0}, "mask": {fText, 0x81, 1, 2},
		"payload": frame(fText, "1234")[:8], "large_payload": append(header(fBinary, 100<<10), 1, 2, 3),
		"fragments": frame(0x01, "x"), "fragment": frame(0x01, "1234")[:8], "ping": frame(fPing, "1234")[:8], "close": frame(fClose, closing(1000, "x"))[:8],
		"compressed": frame(0xc1, deflated("some text to compress"))[:20],
	} {
		t.Run("C6_cut_after_"+name, func(t *testing.T) {
			t.Parallel()
			u, r := &ws.Upgrader{}, newRecord()
			u.Engine.CompressionMode = websocket.CompressionContextTakeover
			w := link{header: offersDeflate}.open(t, u, r.of(ws.Events{}))
			w.write(b)
			w.Close()
			r.wait(t, u)
			r.want(t, "open", "close")
			if e := r.end; e.Code != 1006 || e.WasClean || e.Err == nil || e.Reason != "" {
				t.Errorf("%+v", e)
			}
			if context.Cause(r.conn.Context()) != r.end.Err {
				t.Errorf("X1: cause %v", context.Cause(r.conn.Context()))
			}
		})
	}
}

func TestData(t *testing.T) {
	t.Parallel()
	t.Run("C8_is_the_callbacks_to_keep", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{}, newRecord()
		u.Engine.CompressionMode = websocket.CompressionContextTakeover
		var kept [][]byte
		w := link{header: "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"}.open(t, u,
			r.of(ws.Events{OnMessage: func(_ *ws.Conn, m ws.Message) error {
				kept = append(kept, m.Data)
				return nil
			}}))
		var want []string
		for i := range 40 {
			s := strings.Repeat(string(rune('a'+i%26)), []int{1, 300, 70000, 5000}[i%4])
			want = append(want, s)
			switch {
			case i%3 == 0:
				w.write(append(frame(0x02, s[:len(s)/2]), frame(0x80, s[len(s)/2:])...))
			case i%5 == 0:
				w.send(0xc2, deflated(s))
			default:
				w.send(fBinary, s)
			}
		}
		w.send(fClose, "")
		r.wait(t, u)
		if len(kept) != len(want) {
			t.Fatalf("%d messages, want %d", len(kept), len(want))
		}
		for i, b := range kept {
			if string(b) != want[i] {
				t.Errorf("message %d of %d bytes has changed", i, len(b))
			}
		}
	})
}

// Not parallel: it measures the whole process.
func TestData_C8_a_claim_allocates_nothing(t *testing.T) {
	const conns = 100
	for name, tt := range map[string]struct {
		reuse bool
		bytes []byte
	}{
		"frame":     {false, append(header(fBinary, 1<<30), 1, 2, 3)},
		"ReuseData": {true, append(header(fBinary, 1<<30), 1, 2, 3)},
		"text":      {false, append(header(fText, 1<<30), header(fText, 0)[2:]...)},
		"fragment":  {false, append(frame(0x02, "x"), append(header(0x80, 1<<30), 1)...)},
	} {
		t.Run(name, func(t *testing.T) {
			var wires []*wire
			ends := make(chan ws.CloseEvent, conns)
			u := &ws.Upgrader{Limits: ws.Limits{ReadLimit: -1, ReuseData: tt.reuse}}
			ev := ws.Events{OnClose: func(_ *ws.Conn, e ws.CloseEvent) { ends <- e }}
			for range conns {
				wires = append(wires, link{}.open(t, u, ev))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for _, w := range wires {
				w.write(tt.bytes)
				w.Conn.(*net.TCPConn).CloseWrite()
			}
			for range wires {
				if e := receive(t, ends); e.Code != 1006 {
					t.Errorf("%+v", e)
				}
			}
			runtime.ReadMemStats(&after)
			if n := (after.TotalAlloc - before.TotalAlloc) / conns; n > 256<<10 {
				t.Errorf("%d KiB allocated per connection", n>>10)
			}
		})
	}
}

type ctxKey struct{}

func TestContext(t *testing.T) {
	t.Parallel()
	withValue := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(context.WithValue(r.Context(), ctxKey{}, "value"))
			defer cancel()
			h.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	for name, tt := range map[string]struct {
		detach  bool
		handler func(http.Handler) http.Handler
	}{
		"X1_values":                           {false, withValue},
		"X1_outlives_the_handler_with_Detach": {true, withValue},
		"X1_outlives_http.TimeoutHandler": {false, func(h http.Handler) http.Handler {
			return ws.Guard(withValue(http.TimeoutHandler(h, time.Second, "too late")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				u, r := &ws.Upgrader{Detach: tt.detach}, newRecord()
				w := link{pipe: true, handler: tt.handler}.open(t, u, r.of(ws.Events{OnMessage: echo}))
				pass(5 * time.Second) // the timeout
				go w.send(fText, "x")
				w.expect(fText, "x")
				c := r.conn
				if c.Context().Err() != nil || c.Request().Context() != c.Context() || c.Context().Value(ctxKey{}) != "value" {
					t.Errorf("Context %v: %v", c.Context(), c.Context().Err())
				}
				go w.send(fClose, closing(4000, "why"))
				w.expect(fClose, closing(4000, "why"))
				r.wait(t, u)
				if cause := context.Cause(c.Context()); cause != (websocket.CloseError{Code: 4000, Reason: "why"}) {
					t.Errorf("cause %v", cause)
				}
			})
		})
	}
	t.Run("X1_cause_of_a_fault", func(t *testing.T) {
		t.Parallel()
		u, r := &ws.Upgrader{}, newRecord()
		w := link{}.open(t, u, r.of(ws.Events{OnMessage: func(*ws.Conn, ws.Message) error { return io.ErrNoProgress }}))
		w.send(fText, "x")
		w.bye(1011, "")
		r.wait(t, u)
		if cause := context.Cause(r.conn.Context()); cause != io.ErrNoProgress {
			t.Errorf("cause %v", cause)
		}
	})
}

func TestMessage(t *testing.T) {
	t.Parallel()
	m, err := ws.JSON(map[string]int{"a": 1})
	if err != nil || m.Type != websocket.MessageText || m.String() != `{"a":1}` {
		t.Errorf("JSON: %v %q %v", m.Type, m, err)
	}
	var v struct{ A int }
	if err := m.Decode(&v); err != nil || v.A != 1 {
		t.Errorf("Decode: %+v %v", v, err)
	}
	if _, err := ws.JSON(func() {}); err == nil {
		t.Error("JSON of a func is no error")
	}
	if err := ws.Text("{").Decode(&v); err == nil {
		t.Error("Decode of what is no JSON is no error")
	}
	if m := ws.Binary([]byte{1}); m.Type != websocket.MessageBinary || !bytes.Equal(m.Data, []byte{1}) {
		t.Errorf("Binary: %+v", m)
	}
}
