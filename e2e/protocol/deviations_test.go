package protocol

// What the peers are known to do other than the table says. A case that stops to deviate fails, so
// that a change is noticed. There is no such list for ws.

var (
	noUTF8 = []deviation{
		{pattern: "utf8/invalid*", why: "text is not checked"},
		{pattern: "utf8/a message does not go on*", why: "text is not checked"},
		{pattern: "utf8 early/*", why: "text is not checked"},
		{pattern: "utf8 early/unfinished/*"},
	}
	noUTF8Deflate = []deviation{
		{pattern: "deflate/utf8/*", why: "text is not checked"},
		{pattern: "deflate/utf8 in fragments/*", why: "text is not checked"},
		{pattern: "deflate/utf8 early", why: "text is not checked"},
	}
	topBit = deviation{pattern: "length/top bit*", why: "dropped without a Close frame"}
	// A parameter must be legal and stand there once, and server_max_window_bits must be confirmed.
	looseOffers = []deviation{
		{pattern: "deflate/offer/*server_max_window_bits=15*", why: "accepted without confirming the window"},
		{pattern: "deflate/refused*client_max_window_bits=*", why: "the value is not looked at"},
		{pattern: "deflate/refused*client_max_window_bits; client_max_window_bits", why: "twice is accepted"},
		{pattern: "deflate/refused*takeover; *takeover", why: "twice is accepted"},
		{pattern: "deflate/refused*server_max_window_bits=15; *", why: "twice is accepted"},
	}
	anyOffer = []deviation{
		{pattern: "deflate/offer/*; server_max_window_bits=*", why: "accepted without confirming the window"},
		{pattern: "deflate/offer/*server_max_window_bits=15*", why: "accepted without confirming the window"},
		{pattern: "deflate/offer/*,*"},
		{pattern: "deflate/refused*permessage-deflate; *", why: "parameters are not looked at"},
	}
	reservedBitsDeflate = []deviation{
		{pattern: "deflate/RSV1 on*", why: "RSV1 is not refused where it must not be"},
	}
	code1014 = deviation{pattern: "close/code 1014*", why: "1014 is not known"}
	noEarly  = deviation{pattern: "early/*", why: "what comes with the handshake is refused"}
)

func list(parts ...any) []deviation {
	var out []deviation
	for _, p := range parts {
		switch p := p.(type) {
		case deviation:
			out = append(out, p)
		case []deviation:
			out = append(out, p...)
		}
	}
	return out
}

var coderDeviations = list(
	noUTF8, topBit,
	deviation{pattern: "close/cut off/10 of 10 *", why: "cut off right after a header, it is taken for whole"},
	deviation{pattern: "close/cut off/1000 of 1000 *", why: "cut off right after a header, it is taken for whole"},
	deviation{pattern: "close/cut off/65536 of 65536 *", why: "cut off right after a header, it is taken for whole"},
	deviation{pattern: "close/cut off/65537 of 65537 *", why: "cut off right after a header, it is taken for whole"},
	deviation{pattern: "close/cut off/1048576 of 1048576 *", why: "cut off right after a header, it is taken for whole"},
	deviation{pattern: "close/reason not UTF-8/*", why: "the reason is not checked and echoed"},
	deviation{pattern: "close/reason cut *", why: "the reason is not checked and echoed"},
	deviation{pattern: "close/the stream ends inside a *", why: "the end of the stream between two fragments, or after a header, is taken for the message's end"},
	deviation{pattern: "limit/4 MiB*", why: "the 1009 may be lost: it hangs up on what was not read", maybe: true},
	deviation{pattern: "mask/wrong way*", why: "dropped without a Close frame"},
)

var coderDeflateDeviations = list(
	noUTF8Deflate, looseOffers,
	deviation{pattern: "deflate/cut off/*", why: "the part that is there is taken for the message", maybe: true},
	deviation{pattern: "deflate/invalid/*", why: "dropped without a Close frame, or the part that is there is taken for the message"},
	deviation{pattern: "deflate/reference into the message before, which is gone", why: "dropped without a Close frame"},
	deviation{pattern: "deflate/block with BFINAL, then another message*", why: "the tail of a message with BFINAL is left over"},
	deviation{pattern: "deflate/limit/16 MiB*", why: "the 1009 may be lost: it hangs up on what was not read", maybe: true},
)

var gorillaDeviations = list(
	noUTF8, topBit, code1014, noEarly,
	deviation{pattern: "close/payload of 1", why: "taken for an empty one"},
	deviation{pattern: "close/payload of 1/*", why: "taken for an empty one"},
	deviation{pattern: "close/reason not UTF-8/*", why: "refused with 1002"},
	deviation{pattern: "close/reason cut *", why: "refused with 1002"},
	deviation{pattern: "limit/4 MiB*", why: "the 1009 may be lost: it hangs up on what was not read", maybe: true},
)

var gorillaDeflateDeviations = list(
	noUTF8Deflate, anyOffer, reservedBitsDeflate,
	deviation{pattern: "deflate/invalid/*", why: "dropped without a Close frame"},
	deviation{pattern: "deflate/payload of nothing*", why: "dropped without a Close frame"},
	deviation{pattern: "deflate/reference into the message before, which is gone", why: "dropped without a Close frame"},
	deviation{pattern: "deflate/limit/1025*", why: "the limit is on what is received"},
	deviation{pattern: "deflate/limit/after a message", why: "the limit is on what is received"},
	deviation{pattern: "deflate/limit/16 MiB*", why: "the 1009 may be lost: it hangs up on what was not read", maybe: true},
)

var gwsDeviations = list(
	code1014, noEarly,
	deviation{pattern: "early/close", why: "what comes with the handshake is lost", hangs: true},
	deviation{pattern: "utf8 early/*", why: "text is checked when the message is whole"},
	deviation{pattern: "utf8 early/unfinished/*"},
	deviation{pattern: "utf8/invalid/*/with a ping between frames", why: "text is checked when the message is whole", maybe: true},
	deviation{pattern: "length/top bit*", why: "panics, or drops without a Close frame", hangs: true},
	deviation{pattern: "length/control *", why: "refused with 1009"},
	deviation{pattern: "close/cut off/*", why: "answers the end of the stream with a Close frame"},
	deviation{pattern: "close/no Close frame*", why: "answers the end of the stream with a Close frame"},
	deviation{pattern: "close/the stream ends inside a *", why: "answers the end of the stream with a Close frame"},
	deviation{pattern: "limit/4 MiB*", why: "the 1009 may be lost: it hangs up on what was not read", maybe: true},
)

var gwsDeflateDeviations = list(
	anyOffer, reservedBitsDeflate,
	deviation{pattern: "deflate/cut off/*", why: "answers the end of the stream with a Close frame"},
	deviation{pattern: "deflate/refused offer/permessage-deflate-not", why: "any name that begins so is accepted"},
	deviation{pattern: "deflate/invalid/*", why: "refused with 1011"},
	deviation{pattern: "deflate/payload of nothing*", why: "refused with 1011"},
	deviation{pattern: "deflate/reference into the message before, which is gone", why: "refused with 1011"},
	deviation{pattern: "deflate/bits *", why: "reserved bits are not looked at once compression is agreed on"},
	deviation{pattern: "deflate/utf8 early", why: "text is checked when the message is whole", maybe: true},
	deviation{pattern: "deflate/limit/*", why: "refused with 1011", maybe: true},
	deviation{pattern: "deflate/limit/1024 fit"},
	deviation{pattern: "reserved/*", why: "reserved bits are not looked at once compression is agreed on", maybe: true},
)

// As clients they do what they do as servers, but for a few.

var coderClientDeviations = list(
	coderDeviations,
	deviation{pattern: "mask/wrong way*", why: "masked frames are taken for plain ones"},
)

var coderClientDeflateDeviations = list(
	coderClientDeviations, noUTF8Deflate,
	deviation{pattern: "deflate/cut off/*", why: "the part that is there is taken for the message", maybe: true},
	deviation{pattern: "deflate/invalid/*", why: "dropped without a Close frame, or the part that is there is taken for the message"},
	deviation{pattern: "deflate/reference into the message before, which is gone", why: "dropped without a Close frame"},
	deviation{pattern: "deflate/block with BFINAL, then another message*", why: "the tail of a message with BFINAL is left over"},
	deviation{pattern: "deflate/limit/16 MiB*", why: "the 1009 may be lost: it hangs up on what was not read", maybe: true},
)

var gorillaClientDeviations = list(gorillaDeviations, deviation{pattern: "early/*"})

var gwsClientDeviations = list(
	gwsDeviations,
	deviation{pattern: "early/*"},
	deviation{pattern: "early/close"},
	deviation{pattern: "early/half a frame", why: "answers the end of the stream with a Close frame"},
)
