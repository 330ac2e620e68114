package protocol

import (
	"fmt"
	"strings"

	"github.com/seed412db446/ws/e2e/protocol/raw"
)

// deflate is what the sender of a case needs once the extension is agreed on.
type deflate struct {
	*raw.Deflater
	fresh bool // its own direction takes no context over
}

func newDeflate(agreed *raw.Deflate, client bool) *deflate {
	fresh, bits := agreed.ServerNoContextTakeover, agreed.ServerBits
	if client {
		fresh, bits = agreed.ClientNoContextTakeover, agreed.ClientBits
	}
	return &deflate{raw.NewDeflater(fresh, bits), fresh}
}

// message compresses p into frames of at most n bytes; 0: into one.
func (d *deflate) message(op byte, p string, n int) []raw.Frame {
	b := d.Message([]byte(p))
	if n == 0 {
		n = len(b) + 1
	}
	f := split(op, b, n)
	f[0].RSV = raw.RSV1
	return f
}

func squeezed(op byte, p string) raw.Frame {
	return raw.Frame{Op: op, Payload: []byte(p), RSV: raw.RSV1}
}

// Offers that a server may accept or decline, RFC 7692 section 7.1.
var offers = []string{
	"permessage-deflate",
	"permessage-deflate; client_max_window_bits",
	"permessage-deflate; server_no_context_takeover",
	"permessage-deflate; client_no_context_takeover",
	"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
	"permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits",
	"permessage-deflate; server_max_window_bits=8",
	"permessage-deflate; server_max_window_bits=9",
	"permessage-deflate; server_max_window_bits=12",
	"permessage-deflate; server_max_window_bits=15",
	"permessage-deflate; client_max_window_bits=8",
	"permessage-deflate; client_max_window_bits=9",
	"permessage-deflate; client_max_window_bits=12",
	"permessage-deflate; client_max_window_bits=15",
	`permessage-deflate; client_max_window_bits="15"`,
	`permessage-deflate; server_max_window_bits="10"`,
	"permessage-deflate;client_max_window_bits=15;server_max_window_bits=15",
	"permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
	"permessage-deflate; server_no_context_takeover; server_max_window_bits=15; client_max_window_bits",
	"permessage-deflate; server_no_context_takeover; server_max_window_bits=9, permessage-deflate; server_no_context_takeover, permessage-deflate",
	"permessage-deflate; server_max_window_bits=9, permessage-deflate; client_max_window_bits",
	"permessage-deflate; unknown, permessage-deflate",
	"x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
	"permessage-bzip2; client_max_window_bits=3, permessage-deflate",
}

// Offers that it must decline.
var refused = []string{
	"permessage-deflate; unknown",
	"permessage-deflate; unknown=1",
	"permessage-deflate; server_no_context_takeover; unknown",
	"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
	"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
	"permessage-deflate; client_max_window_bits; client_max_window_bits",
	"permessage-deflate; client_max_window_bits=10; client_max_window_bits=12",
	"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
	"permessage-deflate; server_max_window_bits",
	"permessage-deflate; server_max_window_bits=",
	"permessage-deflate; server_max_window_bits=7",
	"permessage-deflate; server_max_window_bits=16",
	"permessage-deflate; server_max_window_bits=0",
	"permessage-deflate; server_max_window_bits=015",
	"permessage-deflate; server_max_window_bits=-15",
	"permessage-deflate; server_max_window_bits=1e1",
	"permessage-deflate; client_max_window_bits=",
	"permessage-deflate; client_max_window_bits=7",
	"permessage-deflate; client_max_window_bits=16",
	"permessage-deflate; client_max_window_bits=0",
	"permessage-deflate; client_max_window_bits=08",
	"permessage-deflate; client_max_window_bits=abc",
	"permessage-deflate; server_no_context_takeover=1",
	"permessage-deflate; client_no_context_takeover=true",
	"permessage-bzip2",
	"x-webkit-deflate-frame",
	"permessage-deflate-not",
}

func deflates() []kase {
	var out []kase

	// Negotiation. Twenty messages show that both ends understood it the same way.
	for _, offer := range offers {
		k := kase{name: "deflate/offer/" + offer, rfc: "7692 7.1", offer: offer, squeeze: true}
		var back []event
		for i := range 20 {
			back = append(back, text(fill(100*i*i)))
		}
		k.want = one(ok(back...))
		k.deflate = func(d *deflate) []step {
			var f []raw.Frame
			for i := range 20 {
				f = append(f, d.message(raw.Text, fill(100*i*i), 0)...)
			}
			return frames(f...)
		}
		out = append(out, k)
	}
	for _, offer := range refused {
		out = append(out, kase{
			name: "deflate/refused offer/" + offer, rfc: "7692 7.1", offer: offer, refuse: true,
			steps: frames(data(raw.Text, "Hello")), want: one(ok(text("Hello"))),
		})
	}
	for _, offer := range refused {
		if strings.Contains(offer, "deflate;") {
			out = append(out, kase{
				name: "deflate/refused bits/" + offer, rfc: "7692 6", offer: offer, refuse: true,
				steps: frames(squeezed(raw.Text, "\xf2\x48\xcd\xc9\xc9\x07\x00")), want: one(fail(1002)),
			})
		}
	}

	takeovers := []struct{ name, offer string }{
		{"takeover", "permessage-deflate"},
		{"client fresh", "permessage-deflate; client_no_context_takeover"},
		{"server fresh", "permessage-deflate; server_no_context_takeover"},
		{"both fresh", "permessage-deflate; client_no_context_takeover; server_no_context_takeover"},
	}

	// Many messages, RFC 7692 sections 7.2.1 and 7.2.2.
	for _, way := range takeovers {
		for _, n := range []int{16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072} {
			count := max(10, min(200, 1<<20/n))
			for _, cut := range []int{0, 256} {
				if cut > 0 && n != 8192 && n != 131072 {
					continue
				}
				k := kase{rfc: "7692 7.2", offer: way.offer, squeeze: n >= 4096, large: n >= 32768}
				k.name = fmt.Sprintf("deflate/%s/%d messages of %d", way.name, count, n)
				if cut > 0 {
					k.name += fmt.Sprintf(" in frames of %d", cut)
				}
				all := fill(n + 31*count)
				var back []event
				for i := range count {
					back = append(back, text(all[31*i:31*i+n]))
				}
				k.want = one(ok(back...))
				k.deflate = func(d *deflate) []step {
					var f []raw.Frame
					for i := range count {
						f = append(f, d.message(raw.Text, all[31*i:31*i+n], cut)...)
					}
					return frames(f...)
				}
				out = append(out, k)
			}
		}
		out = append(out, kase{
			name: "deflate/" + way.name + "/what does not compress", rfc: "7692 7.2", offer: way.offer,
			want: one(ok(binary(noise(100)), binary(noise(70000)), text("x"), binary(noise(70000)))),
			deflate: func(d *deflate) []step {
				f := d.message(raw.Binary, string(noise(100)), 0)
				f = append(f, d.message(raw.Binary, string(noise(70000)), 0)...)
				f = append(f, d.message(raw.Text, "x", 0)...)
				return frames(append(f, d.message(raw.Binary, string(noise(70000)), 0)...)...)
			},
		})
		// A message that is not compressed leaves the context as it is.
		out = append(out, kase{
			name: "deflate/" + way.name + "/plain messages between", rfc: "7692 6", offer: way.offer,
			want: one(ok(text(fill(500)), text(fill(500)), text(fill(500)), text(fill(501)), text(fill(502)))),
			deflate: func(d *deflate) []step {
				f := append(d.message(raw.Text, fill(500), 0), data(raw.Text, fill(500)))
				f = append(f, d.message(raw.Text, fill(500), 0)...)
				f = append(f, begin(raw.Text, fill(501)[:100]), data(raw.Continuation, fill(501)[100:]))
				return frames(append(f, d.message(raw.Text, fill(502), 0)...)...)
			},
		})
	}
	out = append(out, kase{
		name: "deflate/4 MiB", rfc: "7692 7.2", offer: "permessage-deflate", squeeze: true, large: true,
		want:    one(ok(text(fill(4 << 20)))),
		deflate: func(d *deflate) []step { return frames(d.message(raw.Text, fill(4<<20), 0)...) },
	})

	// One message, by its bytes: the examples of RFC 7692 section 7.2.3, and what is wrong.
	add := func(name string, f []raw.Frame, want ...outcome) {
		for _, chop := range []int{0, 1} {
			k := kase{name: "deflate/" + name, rfc: "7692 7.2", offer: "permessage-deflate", want: want, chop: chop}
			if chop > 0 {
				k.name += "/by 1"
			}
			k.deflate = func(*deflate) []step { return frames(f...) }
			out = append(out, k)
		}
	}
	const cont = raw.Continuation
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	add("one block", []raw.Frame{squeezed(raw.Text, hello)}, ok(text("Hello")))
	first := squeezed(raw.Text, hello[:3])
	first.More = true
	add("fragments", []raw.Frame{first, data(cont, hello[3:])}, ok(text("Hello")))
	add("fragments of one byte", func() []raw.Frame {
		f := split(raw.Text, []byte(hello), 1)
		f[0].RSV = raw.RSV1
		return f
	}(), ok(text("Hello")))
	emptyFirst := raw.Frame{Op: raw.Text, RSV: raw.RSV1, More: true}
	add("empty first and last fragment", []raw.Frame{emptyFirst, begin(cont, hello), data(cont, "")}, ok(text("Hello")))
	add("ping between fragments", []raw.Frame{first, data(raw.Ping, "x"), data(cont, hello[3:])}, ok(pong("x"), text("Hello")))
	add("stored block", []raw.Frame{squeezed(raw.Text, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")}, ok(text("Hello")))
	add("block with BFINAL", []raw.Frame{squeezed(raw.Text, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, ok(text("Hello")))
	add("block with BFINAL, then another message", []raw.Frame{squeezed(raw.Text, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), squeezed(raw.Text, hello)}, ok(text("Hello"), text("Hello")))
	add("two blocks", []raw.Frame{squeezed(raw.Text, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")}, ok(text("Hello")))
	add("empty message", []raw.Frame{squeezed(raw.Text, "\x00")}, ok(text("")))
	add("empty message as a final block", []raw.Frame{squeezed(raw.Text, "\x03\x00\x00")}, ok(text("")))
	add("empty message between others", []raw.Frame{squeezed(raw.Text, hello), squeezed(raw.Binary, "\x00"), squeezed(raw.Text, hello)}, ok(text("Hello"), binary(nil), text("Hello")))
	add("payload of nothing", []raw.Frame{squeezed(raw.Text, "")}, fail(1007), fail(1002), ok(text("")))
	add("plain message", []raw.Frame{data(raw.Text, "Hello")}, ok(text("Hello")))

	for _, k := range []struct {
		name string
		f    raw.Frame
	}{{"ping", data(raw.Ping, "x")}, {"pong", data(raw.Pong, "x")}, {"close", closing(1000, "")}} {
		k.f.RSV = raw.RSV1
		add("RSV1 on a "+k.name, []raw.Frame{k.f}, fail(1002))
		add("RSV1 on a "+k.name+" between fragments", []raw.Frame{first, k.f, data(cont, hello[3:])}, fail(1002))
	}
	add("RSV1 on a continuation", []raw.Frame{first, squeezed(cont, hello[3:])}, fail(1002))
	add("RSV1 on a continuation alone", []raw.Frame{begin(raw.Text, "Hel"), squeezed(cont, hello[3:])}, fail(1002))
	for rsv := byte(1); rsv < 8; rsv++ {
		if rsv != raw.RSV1 {
			f := squeezed(raw.Text, hello)
			f.RSV = rsv
			add(fmt.Sprintf("bits %03b", rsv), []raw.Frame{f}, fail(1002))
		}
	}

	bad := []struct{ name, p string }{
		{"reserved block type", "\x06\x00\x00"},
		{"all ones", "\xff\xff\xff\xff"},
		{"stored block with wrong complement", "\x00\x05\x00\x00\x00Hello\x00"},
		{"reference before the beginning", "\xf2\x00\x11\x00\x00"},
		{"plain text", "Hello, I am not compressed"},
		{"stored block of more than there is", "\x00\xe8\x03\x17\xfcHe"},
		{"cut inside a block", hello[:5]},
		{"dynamic block without codes", "\x04\x00\x00\x00"},
	}
	for _, b := range bad {
		if b.name == "reference before the beginning" {
			add("invalid/"+b.name, []raw.Frame{squeezed(raw.Text, b.p)}, fail(1007), fail(1002))
		} else {
			add("invalid/"+b.name, []raw.Frame{squeezed(raw.Binary, b.p)}, fail(1007), fail(1002))
			add("invalid/after a message/"+b.name, []raw.Frame{squeezed(raw.Text, hello), squeezed(raw.Binary, b.p)}, fail(1007, text("Hello")), fail(1002, text("Hello")), fail(1007), fail(1002))
			f := squeezed(raw.Binary, b.p[:2])
			f.More = true
			add("invalid/in fragments/"+b.name, []raw.Frame{f, data(cont, b.p[2:])}, fail(1007), fail(1002))
		}
	}
	// The same bytes are a message where the context was taken over, and none where it was not.
	out = append(out, kase{
		name: "deflate/reference into the message before", rfc: "7692 7.2.3.2", offer: "permessage-deflate; server_no_context_takeover",
		want: one(ok(text("Hello"), text("Hello"))),
		deflate: func(d *deflate) []step {
			if d.fresh { // the server said so by itself
				return frames(squeezed(raw.Text, hello), squeezed(raw.Text, hello))
			}
			return frames(squeezed(raw.Text, hello), squeezed(raw.Text, "\xf2\x00\x11\x00\x00"))
		},
	}, kase{
		name: "deflate/reference into the message before, which is gone", rfc: "7692 7.1.1.2", offer: "permessage-deflate; client_no_context_takeover",
		want: []outcome{fail(1007, text("Hello")), fail(1002, text("Hello")), fail(1007), fail(1002)},
		deflate: func(d *deflate) []step {
			if !d.fresh { // the server did not take it up: a block that is wrong in any case
				return frames(squeezed(raw.Text, hello), squeezed(raw.Text, "\xff\xff"))
			}
			return frames(squeezed(raw.Text, hello), squeezed(raw.Text, "\xf2\x00\x11\x00\x00"))
		},
	})

	for _, n := range []int{100, 70000} {
		for _, missing := range []int{1, 50} {
			out = append(out, kase{
				name: fmt.Sprintf("deflate/cut off/%d of %d missing", missing, n), rfc: "6455 7.1.5", offer: "permessage-deflate", open: true, want: one(drop()),
				deflate: func(d *deflate) []step {
					f := d.message(raw.Binary, string(noise(n)), 0)
					f[0].Missing = missing
					return frames(f...)
				},
			})
		}
	}
	for _, v := range invalid {
		out = append(out, kase{
			name: "deflate/utf8/" + v.name, rfc: "6455 8.1", offer: "permessage-deflate", want: one(fail(1007)),
			deflate: func(d *deflate) []step { return frames(d.message(raw.Text, fill(50)+v.s, 0)...) },
		}, kase{
			name: "deflate/utf8 in fragments/" + v.name, rfc: "6455 8.1", offer: "permessage-deflate", want: one(fail(1007)),
			deflate: func(d *deflate) []step { return frames(d.message(raw.Text, fill(500)+v.s, 11)...) },
		})
	}
	out = append(out, kase{
		name: "deflate/utf8 early", rfc: "6455 8.1", offer: "permessage-deflate",
		want: []outcome{fail(1007), fail(1007, pong("the frame before was taken"))},
		deflate: func(d *deflate) []step {
			f := d.message(raw.Text, fill(500)+"\xff"+fill(500), 0)
			f[0].More = true
			return frames(f[0], data(raw.Ping, "the frame before was taken"), data(raw.Continuation, ""))
		},
	})
	for _, v := range valid {
		out = append(out, kase{
			name: "deflate/utf8 valid/" + v.name, rfc: "6455 8.1", offer: "permessage-deflate", want: one(ok(text(fill(50) + v.s))),
			deflate: func(d *deflate) []step { return frames(d.message(raw.Text, fill(50)+v.s, 3)...) },
		})
	}

	// The limit is on what a message has once it is decompressed.
	limit := func(name string, large bool, want []outcome, f func(d *deflate) []raw.Frame) {
		out = append(out, kase{
			name: "deflate/limit/" + name, rfc: "6455 7.4.1", offer: "permessage-deflate", limit: true, large: large, want: want,
			deflate: func(d *deflate) []step { return frames(f(d)...) },
		})
	}
	limit("1024 fit", false, one(ok(text(fill(1024)))), func(d *deflate) []raw.Frame { return d.message(raw.Text, fill(1024), 0) })
	limit("1025", false, one(fail(1009)), func(d *deflate) []raw.Frame { return d.message(raw.Text, fill(1025), 0) })
	limit("1025 in fragments", false, one(fail(1009)), func(d *deflate) []raw.Frame { return d.message(raw.Text, fill(1025), 20) })
	limit("16 MiB of zeros", true, one(fail(1009)), func(d *deflate) []raw.Frame { return d.message(raw.Binary, string(make([]byte, 16<<20)), 0) })
	limit("after a message", false, []outcome{fail(1009, text("x")), fail(1009)}, func(d *deflate) []raw.Frame {
		return append(d.message(raw.Text, "x", 0), d.message(raw.Text, strings.Repeat("a", 5000), 0)...)
	})
	return out
}
