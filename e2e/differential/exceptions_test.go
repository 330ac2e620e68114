package differential

import "unicode/utf8"

// An exception is where a server differs from what the RFCs want.
type exception struct {
	why      string
	when     func(v verdict) bool
	messages bool // it may deliver other messages as well
}

func kind(k string) func(verdict) bool { return func(v verdict) bool { return v.kind == k } }

// wsExceptions: only what the RFCs leave open.
var wsExceptions = []exception{
	{why: "RFC 7692 does not say what may follow a block with BFINAL", when: kind("BFINAL"), messages: true},
}

var gwsExceptions = []exception{
	{why: "RFC 7692 does not say what may follow a block with BFINAL", when: kind("BFINAL"), messages: true},
	{why: "it drops the connection without a Close frame, where it does not panic", when: kind("top bit")},
	{why: "it sees a fault when the frame is all there", when: func(v verdict) bool { return v.part }},
	{why: "it answers the end of the stream with a Close frame", when: kind("cut")},
	{why: "it refuses a long control frame with 1009", when: kind("long control frame")},
	{why: "it does not look at reserved bits once compression is agreed on", when: kind("reserved bit"), messages: true},
	{why: "it refuses compressed data that is invalid or too big with 1011, and takes data that ends early", when: kind("deflate"), messages: true},
	{why: "it refuses compressed data that is too big with 1011", when: kind("too big")},
	{why: "it looks at UTF-8 when the message is whole", when: kind("not UTF-8")},
	{why: "it answers some codes of the RFC's with 1000, and does not know 1014", when: func(v verdict) bool { return v.kind == "close" && v.code < 3000 }},
}

var gorillaExceptions = []exception{
	{why: "RFC 7692 does not say what may follow a block with BFINAL", when: kind("BFINAL"), messages: true},
	{why: "it does not check text for UTF-8", when: kind("not UTF-8"), messages: true},
	{why: "it drops the connection without a Close frame", when: kind("top bit")},
	{why: "it looks at RSV1 of a message's first frame alone", when: kind("reserved bit"), messages: true},
	{why: "its limit is on what is received, not on what that decompresses to", when: kind("too big"), messages: true},
	{why: "it drops the connection at bad compressed data, and takes data that ends early", when: kind("deflate"), messages: true},
	{why: "a block with BFINAL ends a message to it, also where its frame is cut off", when: kind("cut"), messages: true},
	{why: "1014 is not known to it", when: func(v verdict) bool { return v.kind == "close" && v.code == 1014 }},
	{why: "a Close frame of one byte is an empty one to it, and a reason that is not UTF-8 gets 1002",
		when: func(v verdict) bool {
			return v.kind == "bad close" && (len(v.close) == 1 || !utf8.Valid(v.close[2:]))
		}},
}
