package protocol

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/seed412db446/ws/e2e/protocol/raw"
)

// A kase is what one end sends to an end under test that echoes every message, and what must come
// back. The runner adds a Close frame with 1000 to the end of every case that has none.
type kase struct {
	name  string
	rfc   string
	steps []step
	chop  int  // octets per write; 0: everything at once
	early bool // what is sent leaves in the handshake's packet
	limit bool // against an end that takes messages of 1024 bytes
	open  bool // ends inside a frame: no Close, only the end of the stream
	large bool // not run in parallel

	// What may come back. The first is what the RFC wants in the strictest reading; the others are
	// what it leaves room for.
	want []outcome

	// For permessage-deflate: the client's offer, and what to send once it was accepted. Where it
	// was declined, the case ends there.
	offer   string
	deflate func(d *deflate) []step
	squeeze bool // some message must come back compressed
	refuse  bool // the offer has nothing that may be accepted
}

// A step is sent together; then the runner waits until so many events have come in all.
type step struct {
	frames []raw.Frame
	await  int
}

type outcome []event

// An event is a message, a pong or a Close frame that came back, the end of the stream, or
// something that should not be: the name of what was wrong.
type event struct {
	kind string
	data []byte
	code int
}

func (e event) String() string {
	switch e.kind {
	case "close":
		return fmt.Sprintf("close %d", e.code)
	case "text", "binary", "pong", "ping":
		if len(e.data) > 40 {
			return fmt.Sprintf("%s of %d %x…", e.kind, len(e.data), e.data[:8])
		}
		return fmt.Sprintf("%s %q", e.kind, e.data)
	}
	return e.kind
}

func (e event) equal(o event) bool {
	return e.kind == o.kind && e.code == o.code && bytes.Equal(e.data, o.data)
}

var end = event{kind: "end"}

func text(s string) event   { return event{kind: "text", data: []byte(s)} }
func binary(b []byte) event { return event{kind: "binary", data: b} }
func pong(s string) event   { return event{kind: "pong", data: []byte(s)} }

// The rest of an outcome is the regular end, a failure, or an end without a Close frame.
func ok(ev ...event) outcome { return fail(1000, ev...) }
func fail(code int, ev ...event) outcome {
	return append(ev[:len(ev):len(ev)], event{kind: "close", code: code}, end)
}
func drop(ev ...event) outcome { return append(ev[:len(ev):len(ev)], end) }

func one(o outcome) []outcome           { return []outcome{o} }
func frames(f ...raw.Frame) []step      { return []step{{frames: f}} }
func data(op byte, p string) raw.Frame  { return raw.Frame{Op: op, Payload: []byte(p)} }
func begin(op byte, p string) raw.Frame { return raw.Frame{Op: op, Payload: []byte(p), More: true} }
func closing(code int, reason string) raw.Frame {
	return data(raw.Close, string(raw.ClosePayload(code, reason)))
}

// fill is n bytes of text that compresses, but not to nothing.
func fill(n int) string { return filling()[:n] }

var filling = sync.OnceValue(func() string {
	var b strings.Builder
	for i := uint32(1); b.Len() < 16<<20; i++ {
		fmt.Fprintf(&b, "%d is not %x; ", i, i*2654435761)
	}
	return b.String()
})

// noise is n bytes that do not compress.
func noise(n int) []byte { return noises()[:n:n] }

var noises = sync.OnceValue(func() []byte {
	b := make([]byte, 16<<20)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
})

// split cuts a message into frames of at most n bytes.
func split(op byte, p []byte, n int) []raw.Frame {
	var out []raw.Frame
	for len(p) > n {
		out = append(out, raw.Frame{Op: op, Payload: p[:n], More: true})
		p, op = p[n:], raw.Continuation
	}
	return append(out, raw.Frame{Op: op, Payload: p})
}

// cases is the table. It is the same for every end, and nothing writes to it.
var cases = sync.OnceValue(func() []kase {
	var out []kase
	for _, group := range []func() []kase{
		framing, pings, reserved, fragments, utf8Sequences, utf8Early, closes, lengths, masks, limits, sizes, early, deflates,
	} {
		out = append(out, group()...)
	}
	return out
})

// framing: every form of the length, at once and octet by octet.
func framing() []kase {
	var out []kase
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 65537} {
		for _, chop := range []int{0, 1, 997} {
			if chop == 997 && n < 1000 || chop == 1 && n > 1000 {
				continue
			}
			way := "whole"
			if chop > 0 {
				way = fmt.Sprintf("by %d", chop)
			}
			out = append(out, kase{
				name: fmt.Sprintf("framing/text/%d/%s", n, way), rfc: "6455 5.2", chop: chop,
				steps: frames(data(raw.Text, fill(n))), want: one(ok(text(fill(n)))),
			}, kase{
				name: fmt.Sprintf("framing/binary/%d/%s", n, way), rfc: "6455 5.2", chop: chop,
				steps: frames(data(raw.Binary, string(noise(n)))), want: one(ok(binary(noise(n)))),
			})
		}
	}
	// All of them in one stream: each ends where the next begins.
	var all []raw.Frame
	var back []event
	for _, n := range []int{0, 1, 125, 126, 127, 128, 1000, 65535, 65536, 0} {
		all = append(all, data(raw.Binary, string(noise(n))))
		back = append(back, binary(noise(n)))
	}
	out = append(out, kase{name: "framing/every length in a row", rfc: "6455 5.2", steps: frames(all...), want: one(ok(back...))})
	for _, n := range []int{0, 16, 64, 256, 1024, 4096} {
		c := kase{name: fmt.Sprintf("framing/200 messages of %d", n), rfc: "6455 5.2"}
		var back []event
		for range 200 {
			c.steps = append(c.steps, step{frames: []raw.Frame{data(raw.Text, fill(n))}})
			back = append(back, text(fill(n)))
		}
		c.want = one(ok(back...))
		out = append(out, c)
		c.name = fmt.Sprintf("framing/200 messages of %d one by one", n)
		c.steps = append([]step(nil), c.steps...)
		for i := range c.steps {
			c.steps[i].await = i + 1
		}
		out = append(out, c)
	}
	return out
}

// pings: RFC 6455 sections 5.5.2 and 5.5.3.
func pings() []kase {
	ping := func(p string) raw.Frame { return data(raw.Ping, p) }
	var out []kase
	add := func(name string, steps []step, want ...outcome) {
		out = append(out, kase{name: "ping/" + name, rfc: "6455 5.5.2", steps: steps, want: want})
		if len(steps) == 1 {
			out = append(out, kase{name: "ping/" + name + "/by 1", rfc: "6455 5.5.2", steps: steps, want: want, chop: 1})
		}
	}
	for n := 0; n <= 125; n++ {
		p := string(noise(n))
		out = append(out, kase{name: fmt.Sprintf("ping/payload of %d", n), rfc: "6455 5.5.2", steps: frames(ping(p)), want: one(ok(pong(p)))})
	}
	add("text", frames(ping("Hello, world!")), ok(pong("Hello, world!")))
	add("binary", frames(ping("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")), ok(pong("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")))
	add("125", frames(ping(strings.Repeat("\xfe", 125))), ok(pong(strings.Repeat("\xfe", 125))))
	add("126", frames(ping(strings.Repeat("\xfe", 126))), fail(1002))
	add("65536", frames(ping(fill(65536))), fail(1002))
	add("unsolicited pong", frames(raw.Frame{Op: raw.Pong}), ok())
	add("unsolicited pong with payload", frames(data(raw.Pong, "unsolicited")), ok())
	add("pong of 126", frames(data(raw.Pong, fill(126))), fail(1002))
	add("unsolicited pong, then ping", frames(data(raw.Pong, "unsolicited"), ping("x")), ok(pong("x")))
	var ten []raw.Frame
	var back []event
	for i := range 10 {
		p := fmt.Sprintf("payload %d", i)
		ten = append(ten, ping(p))
		back = append(back, pong(p))
	}
	// An end that has not yet answered may answer the last alone (5.5.3), as ws does while a write is under way.
	var some []outcome
	for missing := range 1 << 9 {
		var pongs []event
		for i, e := range back {
			if missing>>i&1 == 0 {
				pongs = append(pongs, e)
			}
		}
		some = append(some, ok(pongs...))
	}
	add("ten in a row", frames(ten...), some...)
	var steps []step
	for i := range ten {
		steps = append(steps, step{frames: ten[i : i+1], await: i + 1})
	}
	add("ten one by one", steps, ok(back...))
	add("between messages", frames(data(raw.Text, "a"), ping("p"), data(raw.Text, "b")), ok(text("a"), pong("p"), text("b")), ok(pong("p"), text("a"), text("b")))
	add("ping with length in 2 bytes", frames(raw.Frame{Op: raw.Ping, Payload: []byte("x"), Form: 2}), fail(1002), ok(pong("x")))
	return out
}

// reserved: bits and opcodes that nobody agreed on.
func reserved() []kase {
	var out []kase
	hello := data(raw.Text, "Hello")
	kinds := []struct {
		name string
		f    raw.Frame
	}{
		{"text", hello}, {"binary", data(raw.Binary, "Hello")}, {"ping", data(raw.Ping, "Hello")},
		{"pong", data(raw.Pong, "Hello")}, {"close", closing(1000, "")}, {"empty text", raw.Frame{Op: raw.Text}},
		{"fragment", begin(raw.Text, "Hello")},
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, k := range kinds {
			f := k.f
			f.RSV = rsv
			name := fmt.Sprintf("reserved/bits %03b/%s", rsv, k.name)
			out = append(out,
				kase{name: name + " alone", rfc: "6455 5.2", steps: frames(f), want: one(fail(1002))},
				kase{name: name + " after a message", rfc: "6455 5.2", steps: frames(hello, f, data(raw.Ping, "x")), want: []outcome{fail(1002, text("Hello")), fail(1002)}},
				kase{name: name + " by 1", rfc: "6455 5.2", steps: frames(hello, f, data(raw.Ping, "x")), chop: 1, want: []outcome{fail(1002, text("Hello")), fail(1002)}})
		}
		f := data(raw.Continuation, "lo")
		f.RSV = rsv
		out = append(out, kase{name: fmt.Sprintf("reserved/bits %03b/continuation", rsv), rfc: "6455 5.2", steps: frames(begin(raw.Text, "Hel"), f), want: one(fail(1002))})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		name := fmt.Sprintf("reserved/opcode %d", op)
		out = append(out,
			kase{name: name + "/empty", rfc: "6455 5.2", steps: frames(raw.Frame{Op: op}), want: one(fail(1002))},
			kase{name: name + "/with payload", rfc: "6455 5.2", steps: frames(data(op, "reserved")), want: one(fail(1002))},
			kase{name: name + "/long", rfc: "6455 5.2", steps: frames(data(op, fill(70000))), want: one(fail(1002))},
			kase{name: name + "/after a message", rfc: "6455 5.2", steps: frames(hello, data(op, "x"), data(raw.Ping, "x")), want: []outcome{fail(1002, text("Hello")), fail(1002)}},
			kase{name: name + "/after a message by 1", rfc: "6455 5.2", chop: 1, steps: frames(hello, data(op, "x"), data(raw.Ping, "x")), want: []outcome{fail(1002, text("Hello")), fail(1002)}},
			kase{name: name + "/inside a message", rfc: "6455 5.2", steps: frames(begin(raw.Text, "Hel"), data(op, "x")), want: one(fail(1002))})
	}
	return out
}

// fragments: RFC 6455 section 5.4.
func fragments() []kase {
	var out []kase
	const cont = raw.Continuation
	ping := data(raw.Ping, "ping payload")
	add := func(name string, f []raw.Frame, want ...outcome) {
		for _, chop := range []int{0, 1} {
			way := ""
			if chop > 0 {
				way = "/by 1"
			}
			out = append(out, kase{name: "fragments/" + name + way, rfc: "6455 5.4", chop: chop, steps: frames(f...), want: want})
		}
		c := kase{name: "fragments/" + name + "/frame by frame", rfc: "6455 5.4", want: want}
		for _, fr := range f {
			c.steps = append(c.steps, step{frames: []raw.Frame{fr}})
		}
		out = append(out, c)
	}
	two := []raw.Frame{begin(raw.Text, "fragment1"), data(cont, "fragment2")}
	whole := text("fragment1fragment2")
	p := pong("ping payload")

	add("ping in two", []raw.Frame{begin(raw.Ping, "fragment1"), data(cont, "fragment2")}, fail(1002))
	add("pong in two", []raw.Frame{begin(raw.Pong, "fragment1"), data(cont, "fragment2")}, fail(1002))
	add("close in two", []raw.Frame{begin(raw.Close, "\x03"), data(cont, "\xe8")}, fail(1002))
	add("ping in two inside a message", []raw.Frame{two[0], begin(raw.Ping, "a"), two[1]}, fail(1002))
	add("empty ping without FIN", []raw.Frame{begin(raw.Ping, ""), data(raw.Text, "x")}, fail(1002))
	add("text in two", two, ok(whole))
	add("binary in two", []raw.Frame{begin(raw.Binary, "\xff\x00"), data(cont, "\xfe")}, ok(binary([]byte("\xff\x00\xfe"))))
	add("ping between", []raw.Frame{two[0], ping, two[1]}, ok(p, whole))
	add("pong between", []raw.Frame{two[0], data(raw.Pong, "x"), two[1]}, ok(whole))
	add("five with pings between", []raw.Frame{
		begin(raw.Text, "a"), begin(cont, "b"), data(raw.Ping, "1"), begin(cont, "c"), begin(cont, "d"), data(raw.Ping, "2"), data(cont, "e"),
	}, ok(pong("1"), pong("2"), text("abcde")))
	add("empty fragments", []raw.Frame{begin(raw.Text, ""), begin(cont, ""), data(cont, "")}, ok(text("")))
	add("empty first and last", []raw.Frame{begin(raw.Text, ""), begin(cont, "middle"), data(cont, "")}, ok(text("middle")))
	add("empty binary in two", []raw.Frame{begin(raw.Binary, ""), data(cont, "")}, ok(binary(nil)))
	add("two messages", append(append([]raw.Frame(nil), two...), begin(raw.Binary, "x"), data(cont, "y")), ok(whole, binary([]byte("xy"))))
	add("continuation of nothing", []raw.Frame{data(cont, "x"), data(raw.Text, "y")}, fail(1002))
	add("continuation of nothing without FIN", []raw.Frame{begin(cont, "x"), data(raw.Text, "y")}, fail(1002))
	add("empty continuation of nothing", []raw.Frame{data(cont, "")}, fail(1002))
	add("continuation after a whole message", []raw.Frame{data(raw.Text, "x"), data(cont, "y")}, fail(1002, text("x")), fail(1002))
	add("continuation after the last fragment", []raw.Frame{two[0], two[1], data(cont, "y"), data(raw.Text, "z")}, fail(1002, whole), fail(1002))
	add("continuation of nothing, then a message in two, twice", []raw.Frame{
		begin(cont, "x"), two[0], two[1], begin(cont, "x"), two[0], two[1],
	}, fail(1002))
	add("new text inside a message", []raw.Frame{two[0], data(raw.Text, "fragment2")}, fail(1002))
	add("new binary inside a message", []raw.Frame{two[0], data(raw.Binary, "fragment2")}, fail(1002))
	add("new fragmented text inside a message", []raw.Frame{two[0], begin(raw.Text, "fragment2"), data(cont, "3")}, fail(1002))
	add("new text after a ping inside a message", []raw.Frame{two[0], ping, data(raw.Text, "fragment2")}, fail(1002, p), fail(1002))
	add("close between", []raw.Frame{two[0], closing(1000, ""), two[1]}, ok())

	out = append(out, kase{
		name: "fragments/pings are answered while a message is unfinished", rfc: "6455 5.4", steps: []step{
			{frames: []raw.Frame{two[0], data(raw.Ping, "1")}, await: 1},
			{frames: []raw.Frame{begin(cont, ""), data(raw.Ping, "2")}, await: 2},
			{frames: two[1:]},
		}, want: one(ok(pong("1"), pong("2"), whole)),
	})
	for _, n := range []int{1, 7, 1300, 4096} {
		p := []byte(fill(65536))
		if n == 1 {
			p = p[:2000]
		}
		out = append(out, kase{name: fmt.Sprintf("fragments/%d bytes by %d", len(p), n), rfc: "6455 5.4", steps: frames(split(raw.Text, p, n)...), want: one(ok(text(string(p))))})
	}
	return out
}

// Text that is UTF-8, RFC 3629 section 4, at its boundaries.
var valid = []struct{ name, s string }{
	{"words", "Hello-µ@ßöäüàá-UTF-8!!"},
	{"greek", "κόσμε"},
	{"nul", "\x00"},
	{"first of 1", "\x00\x01"},
	{"last of 1", "\x7f"},
	{"first of 2", "\u0080"},
	{"last of 2", "\u07ff"},
	{"first of 3", "\u0800"},
	{"last of 3", "\uffff"},
	{"before the surrogates", "\ud7ff"},
	{"after the surrogates", "\ue000"},
	{"replacement character", "\ufffd"},
	{"noncharacters", "\ufffe\uffff\U0001fffe\U0010fffe"},
	{"first of 4", "\U00010000"},
	{"emoji", "👩‍👩‍👧‍👦"},
	{"last of 4", "\U0010ffff"},
	{"byte order mark", "\ufeffx"},
	{"after all of 1", "~\u0080\u07ff\u0800\uffff\U00010000\U0010ffff"},
}

// Bytes that are not.
var invalid = []struct{ name, s string }{
	{"continuation byte 80", "\x80"},
	{"continuation byte bf", "\xbf"},
	{"two continuation bytes", "\x80\xbf"},
	{"all continuation bytes", "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\xa0\xaf\xb0\xbf"},
	{"lead c3 alone", "\xc3 "},
	{"lead e0 alone", "\xe0 "},
	{"lead f0 alone", "\xf0 "},
	{"fe", "\xfe"},
	{"ff", "\xff"},
	{"overlong slash in 2", "\xc0\xaf"},
	{"overlong slash in 3", "\xe0\x80\xaf"},
	{"overlong slash in 4", "\xf0\x80\x80\xaf"},
	{"overlong slash in 5", "\xf8\x80\x80\x80\xaf"},
	{"overlong slash in 6", "\xfc\x80\x80\x80\x80\xaf"},
	{"overlong 7f in 2", "\xc1\xbf"},
	{"overlong 7ff in 3", "\xe0\x9f\xbf"},
	{"overlong ffff in 4", "\xf0\x8f\xbf\xbf"},
	{"overlong nul in 2", "\xc0\x80"},
	{"overlong nul in 3", "\xe0\x80\x80"},
	{"overlong nul in 4", "\xf0\x80\x80\x80"},
	{"surrogate d800", "\xed\xa0\x80"},
	{"surrogate db7f", "\xed\xad\xbf"},
	{"surrogate db80", "\xed\xae\x80"},
	{"surrogate dbff", "\xed\xaf\xbf"},
	{"surrogate dc00", "\xed\xb0\x80"},
	{"surrogate dfff", "\xed\xbf\xbf"},
	{"surrogate pair", "\xed\xa0\xbd\xed\xb8\x80"},
	{"110000", "\xf4\x90\x80\x80"},
	{"1fffff", "\xf7\xbf\xbf\xbf"},
	{"five bytes", "\xf8\x88\x80\x80\x80"},
	{"six bytes", "\xfc\x84\x80\x80\x80\x80"},
	{"lead f5", "\xf5\x80\x80\x80"},
	{"invalid after valid", "κόσμε\xed\xa0\x80edited"},
	{"truncated 2", "κ\xce"},
	{"truncated 3 after 1", "\xe2"},
	{"truncated 3 after 2", "\xe2\x82"},
	{"truncated 4 after 1", "\xf0"},
	{"truncated 4 after 2", "\xf0\x9f"},
	{"truncated 4 after 3", "\xf0\x9f\x98"},
	{"truncated then ascii", "\xf0\x9f\x98x"},
	{"truncated then whole", "\xe2\x82\xe2\x82\xac"},
}

// broken says whether no text can begin with b.
func broken(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return utf8.FullRune(b)
		}
		b = b[n:]
	}
	return false
}

func utf8Sequences() []kase {
	var out []kase
	add := func(name, s string, want outcome) {
		add := func(how string, chop int, f ...raw.Frame) {
			out = append(out, kase{name: "utf8/" + name + "/" + how, rfc: "6455 8.1, 3629 4", chop: chop, steps: frames(f...), want: one(want)})
		}
		add("whole", 0, data(raw.Text, s))
		add("by 1", 1, data(raw.Text, s))
		add("in frames of 1", 0, split(raw.Text, []byte(s), 1)...)
		for i := 1; i < len(s) && i < 8; i++ {
			add(fmt.Sprintf("cut at %d", i), 0, begin(raw.Text, s[:i]), data(raw.Continuation, s[i:]))
		}
		add("after ascii", 0, data(raw.Text, fill(200)+s))
		add("across 64 KiB", 0, data(raw.Text, fill(65535)+s+fill(1000)))
		add("with a ping between frames", 0, begin(raw.Text, s[:1]), data(raw.Ping, "\xff"), data(raw.Continuation, s[1:]))
		switch c := &out[len(out)-1]; {
		case want[0].kind == "text":
			out[len(out)-3].want = one(ok(text(fill(200) + s)))
			out[len(out)-2].want = one(ok(text(fill(65535) + s + fill(1000))))
			c.want = one(ok(pong("\xff"), text(s)))
		case !broken([]byte(s[:1])):
			c.want = []outcome{fail(1007, pong("\xff")), fail(1007)}
		}
	}
	for _, v := range valid {
		add("valid/"+v.name, v.s, ok(text(v.s)))
	}
	for _, v := range invalid {
		add("invalid/"+v.name, v.s, fail(1007))
	}
	for _, v := range invalid {
		out = append(out,
			kase{name: "utf8/binary/" + v.name, rfc: "6455 5.6", steps: frames(data(raw.Binary, v.s)), want: one(ok(binary([]byte(v.s))))},
			kase{name: "utf8/ping/" + v.name, rfc: "6455 5.5.2", steps: frames(data(raw.Ping, v.s)), want: one(ok(pong(v.s)))})
	}
	out = append(out,
		kase{name: "utf8/invalid after a valid message", rfc: "6455 8.1", steps: frames(data(raw.Text, "ä"), data(raw.Text, "\xe4")), want: []outcome{fail(1007, text("ä")), fail(1007)}},
		kase{name: "utf8/a message does not go on in the next", rfc: "6455 8.1", steps: frames(data(raw.Text, "\xc3"), data(raw.Text, "\xa4")), want: one(fail(1007))})
	return out
}

// utf8Early: bad text is refused with the frame that holds it. A ping follows that frame; were the
// frame taken, its pong would come back.
func utf8Early() []kase {
	var out []kase
	barrier := data(raw.Ping, "the frame before was taken")
	for _, v := range invalid {
		for i := 1; i <= len(v.s); i++ {
			if !broken([]byte(v.s[:i])) {
				continue
			}
			out = append(out,
				kase{name: "utf8 early/" + v.name + "/first frame", rfc: "6455 8.1", steps: frames(begin(raw.Text, "x"+v.s[:i]), barrier), want: one(fail(1007))},
				kase{name: "utf8 early/" + v.name + "/second frame", rfc: "6455 8.1", steps: frames(begin(raw.Text, "xyz"), begin(raw.Continuation, "x"+v.s[:i]), barrier), want: one(fail(1007))},
				kase{name: "utf8 early/" + v.name + "/large frame", rfc: "6455 8.1", steps: frames(begin(raw.Text, fill(100000)+v.s[:i]+fill(100000)), barrier), want: one(fail(1007))})
			if i > 1 {
				out = append(out, kase{name: "utf8 early/" + v.name + "/cut", rfc: "6455 8.1", steps: frames(begin(raw.Text, "x"+v.s[:i-1]), begin(raw.Continuation, v.s[i-1:i]), barrier), want: one(fail(1007))})
			}
			break
		}
	}
	// What may still become text must not be refused.
	for _, v := range valid {
		for i := 1; i < len(v.s) && i < 12; i++ {
			out = append(out, kase{
				name: fmt.Sprintf("utf8 early/unfinished/%s at %d", v.name, i), rfc: "6455 8.1",
				steps: []step{
					{frames: []raw.Frame{begin(raw.Text, v.s[:i]), data(raw.Ping, "?")}, await: 1},
					{frames: []raw.Frame{data(raw.Continuation, v.s[i:])}},
				},
				want: one(ok(pong("?"), text(v.s))),
			})
		}
	}
	return out
}

// closes: RFC 6455 sections 5.5.1 and 7.
func closes() []kase {
	var out []kase
	add := func(name string, f []raw.Frame, want ...outcome) {
		out = append(out, kase{name: "close/" + name, rfc: "6455 5.5.1", steps: frames(f...), want: want},
			kase{name: "close/" + name + "/by 1", rfc: "6455 5.5.1", steps: frames(f...), want: want, chop: 1})
	}
	empty := raw.Frame{Op: raw.Close}
	none := append(outcome(nil), event{kind: "close", code: 1005}, end)

	add("after a message", []raw.Frame{data(raw.Text, "Hello"), closing(1000, "")}, ok(text("Hello")))
	add("twice", []raw.Frame{closing(1000, ""), closing(1000, "")}, ok())
	add("ping after", []raw.Frame{closing(1000, ""), data(raw.Ping, "x")}, ok())
	add("text after", []raw.Frame{closing(1000, ""), data(raw.Text, "x")}, ok())
	add("bad text after", []raw.Frame{closing(1000, ""), data(raw.Text, "\xff")}, ok())
	add("reserved opcode after", []raw.Frame{closing(1000, ""), data(3, "\xff")}, ok())
	add("rest of a message after", []raw.Frame{begin(raw.Text, "a"), closing(1000, ""), data(raw.Continuation, "b")}, ok())
	add("large message before, ping after", []raw.Frame{data(raw.Text, fill(4096)), closing(1000, ""), data(raw.Ping, "x")}, ok(text(fill(4096))))
	out = append(out, kase{name: "close/256 KiB before, ping after", rfc: "6455 5.5.1", steps: frames(data(raw.Text, fill(262144)), closing(1000, ""), data(raw.Ping, "x")), want: one(ok(text(fill(262144))))})
	add("empty", []raw.Frame{empty}, none, ok())
	add("payload of 1", []raw.Frame{data(raw.Close, "\x03")}, fail(1002))
	add("code only", []raw.Frame{closing(1000, "")}, ok())
	add("code and reason", []raw.Frame{closing(1000, "Hello World!")}, ok())
	add("reason of 123", []raw.Frame{closing(1000, fill(123))}, ok())
	add("reason of 124", []raw.Frame{closing(1000, fill(124))}, fail(1002))
	add("payload of 126", []raw.Frame{data(raw.Close, fill(126))}, fail(1002))
	add("payload of 65536", []raw.Frame{data(raw.Close, fill(65536))}, fail(1002))
	add("reason in UTF-8", []raw.Frame{closing(1000, "bye 👋 κόσμε")}, ok())
	add("inside a message", []raw.Frame{begin(raw.Text, "a"), closing(1001, "")}, fail(1001), ok())
	for _, v := range invalid {
		add("reason not UTF-8/"+v.name, []raw.Frame{closing(1000, v.s)}, fail(1007))
	}
	add("reason cut inside a character", []raw.Frame{closing(1000, fill(121)+"\xe2\x82")}, fail(1007))
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		add(fmt.Sprintf("code %d", code), []raw.Frame{closing(code, "")}, fail(code), ok())
		add(fmt.Sprintf("code %d with a reason", code), []raw.Frame{closing(code, "why")}, fail(code), ok())
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535} {
		add(fmt.Sprintf("bad code %d", code), []raw.Frame{closing(code, "")}, fail(1002))
		add(fmt.Sprintf("bad code %d with a reason", code), []raw.Frame{closing(code, "why")}, fail(1002))
	}
	out = append(out,
		kase{name: "close/no Close frame, the stream ends", rfc: "6455 7.1.5", open: true, steps: frames(data(raw.Text, "x")), want: one(drop(text("x")))},
		kase{name: "close/the stream ends inside a header", rfc: "6455 7.1.5", open: true, steps: []step{{frames: []raw.Frame{data(raw.Text, "x")}}, {frames: []raw.Frame{{Op: raw.Text, Claim: 5}}}}, want: []outcome{drop(text("x")), fail(1002, text("x"))}},
		kase{name: "close/the stream ends inside a message", rfc: "6455 7.1.5", open: true, steps: frames(begin(raw.Text, "x")), want: one(drop())})
	// A message that is cut off is none, wherever it was cut and whatever came before it.
	for _, n := range []int{10, 1000, 65536, 65537, 1 << 20} {
		for _, missing := range []int{1, n / 2, n - 1, n} {
			for _, k := range []struct {
				name   string
				before []raw.Frame
				got    []event
			}{
				{"alone", nil, nil},
				{"after a message", []raw.Frame{data(raw.Text, "x")}, []event{text("x")}},
				{"after a pong", []raw.Frame{data(raw.Pong, "x")}, nil},
				{"in its second fragment", []raw.Frame{begin(raw.Binary, "x")}, nil},
			} {
				f := raw.Frame{Op: raw.Binary, Payload: noise(n), Missing: missing}
				if k.name == "in its second fragment" {
					f.Op = raw.Continuation
				}
				out = append(out, kase{
					name: fmt.Sprintf("close/cut off/%d of %d missing/%s", missing, n, k.name), rfc: "6455 7.1.5", open: true,
					steps: []step{{frames: append(k.before[:len(k.before):len(k.before)], f)}}, want: one(drop(k.got...)),
				})
			}
		}
	}
	return out
}

// lengths: forms of the length that must not be used.
func lengths() []kase {
	var out []kase
	for _, n := range []int{0, 1, 125} {
		for _, form := range []int{2, 8} {
			f := raw.Frame{Op: raw.Binary, Payload: noise(n), Form: form}
			out = append(out, kase{name: fmt.Sprintf("length/%d in %d bytes", n, form), rfc: "6455 5.2", steps: frames(f), want: []outcome{fail(1002), ok(binary(noise(n)))}})
		}
	}
	for _, n := range []int{126, 65535} {
		f := raw.Frame{Op: raw.Binary, Payload: noise(n), Form: 8}
		out = append(out, kase{name: fmt.Sprintf("length/%d in 8 bytes", n), rfc: "6455 5.2", steps: frames(f), want: []outcome{fail(1002), ok(binary(noise(n)))}})
	}
	for _, n := range []uint64{1 << 63, 1<<63 + 5, 1<<64 - 1} {
		f := raw.Frame{Op: raw.Text, Payload: []byte("Hello"), Claim: n}
		out = append(out, kase{name: fmt.Sprintf("length/top bit, %x", n), rfc: "6455 5.2", open: true, steps: frames(f), want: []outcome{fail(1002), fail(1009)}})
		f.Op, f.More = raw.Continuation, true
		out = append(out, kase{name: fmt.Sprintf("length/top bit in a continuation, %x", n), rfc: "6455 5.2", open: true, steps: frames(begin(raw.Text, "x"), f), want: []outcome{fail(1002), fail(1009)}})
	}
	for _, op := range []byte{raw.Ping, raw.Close} {
		out = append(out, kase{name: fmt.Sprintf("length/control %d claims 1 TiB", op), rfc: "6455 5.5", open: true, steps: frames(raw.Frame{Op: op, Claim: 1 << 40}), want: one(fail(1002))})
	}
	return out
}

// masks: RFC 6455 section 5.1.
func masks() []kase {
	var out []kase
	for _, k := range []struct {
		name string
		f    raw.Frame
	}{
		{"text", data(raw.Text, "Hello")}, {"empty text", data(raw.Text, "")}, {"binary of 70000", data(raw.Binary, string(noise(70000)))},
		{"ping", data(raw.Ping, "Hello")}, {"pong", data(raw.Pong, "Hello")}, {"close", closing(1000, "")}, {"fragment", begin(raw.Text, "Hello")},
	} {
		f := k.f
		f.FlipMask = true
		out = append(out,
			kase{name: "mask/wrong way/" + k.name, rfc: "6455 5.1", steps: frames(f), want: one(fail(1002))},
			kase{name: "mask/wrong way after a message/" + k.name, rfc: "6455 5.1", steps: frames(data(raw.Text, "first"), f), want: []outcome{fail(1002, text("first")), fail(1002)}})
	}
	f := data(raw.Continuation, "lo")
	f.FlipMask = true
	out = append(out, kase{name: "mask/wrong way/continuation", rfc: "6455 5.1", steps: frames(begin(raw.Text, "Hel"), f), want: one(fail(1002))})
	out = append(out, kase{name: "mask/key of zeros", rfc: "6455 5.3", steps: frames(raw.Frame{Op: raw.Text, Payload: []byte("Hello"), ZeroMask: true}), want: one(ok(text("Hello")))})
	// Every length around the words that unmasking works on, with different keys, fragments out of step with the key.
	for _, cut := range []int{0, 1, 2, 3, 5} {
		c := kase{name: fmt.Sprintf("mask/lengths 0 to 130 cut at %d", cut), rfc: "6455 5.3"}
		var back []event
		for n := range 131 {
			p := noise(n)
			if cut > 0 && n > cut {
				c.steps = append(c.steps, step{frames: []raw.Frame{begin(raw.Binary, string(p[:cut])), data(raw.Continuation, string(p[cut:]))}})
			} else {
				c.steps = append(c.steps, step{frames: []raw.Frame{data(raw.Binary, string(p))}})
			}
			back = append(back, binary(p))
		}
		c.want = one(ok(back...))
		out = append(out, c)
		c.name += " by 3"
		c.chop = 3
		out = append(out, c)
	}
	return out
}

// limits: a message that is too big for the receiver, RFC 6455 section 7.4.1.
func limits() []kase {
	var out []kase
	add := func(name string, k kase) {
		k.name, k.rfc, k.limit = "limit/"+name, "6455 7.4.1", true
		out = append(out, k)
	}
	add("1024 fit", kase{steps: frames(data(raw.Text, fill(1024))), want: one(ok(text(fill(1024))))})
	add("1024 in fragments fit", kase{steps: frames(split(raw.Binary, noise(1024), 100)...), want: one(ok(binary(noise(1024))))})
	add("1024 and an empty last fragment fit", kase{steps: frames(begin(raw.Text, fill(1024)), data(raw.Continuation, "")), want: one(ok(text(fill(1024))))})
	add("two of 1024 fit", kase{steps: frames(data(raw.Text, fill(1024)), data(raw.Text, fill(1024))), want: one(ok(text(fill(1024)), text(fill(1024))))})
	add("1025", kase{steps: frames(data(raw.Text, fill(1025))), want: one(fail(1009))})
	add("1025 by 1", kase{chop: 1, steps: frames(data(raw.Text, fill(1025))), want: one(fail(1009))})
	add("1025 after a message", kase{steps: frames(data(raw.Text, "x"), data(raw.Text, fill(1025))), want: []outcome{fail(1009, text("x")), fail(1009)}})
	add("1025 in fragments", kase{steps: frames(split(raw.Text, []byte(fill(1025)), 100)...), want: one(fail(1009))})
	add("1025 in an unfinished message", kase{steps: frames(begin(raw.Text, fill(1024)), begin(raw.Continuation, "x"), data(raw.Ping, "it was taken")), want: one(fail(1009))})
	add("4 MiB", kase{large: true, steps: frames(data(raw.Binary, string(noise(4<<20)))), want: one(fail(1009))})
	add("4 MiB in fragments", kase{large: true, steps: frames(split(raw.Binary, noise(4<<20), 1000)...), want: one(fail(1009))})
	for _, n := range []uint64{1 << 20, 1 << 31, 1 << 32, 1 << 40, 1 << 62, 1<<63 - 1} {
		add(fmt.Sprintf("claim of %d", n), kase{open: true, steps: frames(raw.Frame{Op: raw.Binary, Payload: []byte("x"), Claim: n}), want: []outcome{fail(1009), drop()}})
	}
	add("continuation that claims 2^63-1", kase{open: true, steps: frames(begin(raw.Binary, "x"), raw.Frame{Op: raw.Continuation, Payload: []byte("x"), Claim: 1<<63 - 1}), want: []outcome{fail(1009), drop()}})
	return out
}

// sizes: large messages whole and in many sizes of fragments and of writes.
func sizes() []kase {
	var out []kase
	add := func(n, fragment, chop int) {
		name := fmt.Sprintf("size/%d KiB/", n>>10)
		switch {
		case fragment > 0:
			name += fmt.Sprintf("in frames of %d", fragment)
		case chop > 0:
			name += fmt.Sprintf("by %d", chop)
		default:
			name += "whole"
		}
		if fragment == 0 {
			fragment = n
		}
		p := fill(n)
		out = append(out,
			kase{name: name + "/text", rfc: "6455 5.4", large: true, chop: chop, steps: frames(split(raw.Text, []byte(p), fragment)...), want: one(ok(text(p)))})
		b := noise(n)
		out = append(out,
			kase{name: name + "/binary", rfc: "6455 5.4", large: true, chop: chop, steps: frames(split(raw.Binary, b, fragment)...), want: one(ok(binary(b)))})
	}
	for _, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20} {
		add(n, 0, 0)
	}
	for _, fragment := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		add(1<<20, fragment, 0)
	}
	for _, fragment := range []int{4 << 10, 64 << 10, 1 << 20, 4 << 20} {
		add(16<<20, fragment, 0)
	}
	for _, chop := range []int{64, 128, 256, 512, 1024, 2048} {
		add(1<<20, 0, chop)
	}
	return out
}

// early: frames in the handshake's own packet.
func early() []kase {
	two := []raw.Frame{begin(raw.Text, "fragment1"), data(raw.Continuation, "fragment2")}
	var out []kase
	add := func(name string, f []raw.Frame, want ...outcome) {
		out = append(out, kase{name: "early/" + name, rfc: "6455 4.1", early: true, steps: frames(f...), want: want})
	}
	add("text", []raw.Frame{data(raw.Text, "Hello")}, ok(text("Hello")))
	add("3000 bytes", []raw.Frame{data(raw.Text, fill(3000))}, ok(text(fill(3000))))
	add("300000 bytes", []raw.Frame{data(raw.Text, fill(300000))}, ok(text(fill(300000))))
	add("two messages in fragments", append(append([]raw.Frame(nil), two...), two...), ok(text("fragment1fragment2"), text("fragment1fragment2")))
	add("ping", []raw.Frame{data(raw.Ping, "x")}, ok(pong("x")))
	add("close", []raw.Frame{closing(4000, "already")}, fail(4000), ok())
	add("violation", []raw.Frame{data(3, "")}, fail(1002))
	out = append(out, kase{name: "early/half a frame", rfc: "6455 4.1", early: true, open: true, steps: frames(raw.Frame{Op: raw.Text, Payload: []byte("Hello"), Missing: 3}), want: one(drop())})
	return out
}
