package differential

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"unicode/utf8"
)

// outcome is what became of a stream: the messages that were delivered, and the server's Close frame.
type outcome struct {
	messages []message
	code     int // of the Close frame that was sent; or noClose, emptyClose
}

type message struct {
	op   byte
	data string
}

const (
	noClose    = 0
	emptyClose = -1
)

// verdict is what the RFCs want of a stream.
type verdict struct {
	outcome
	kind  string // of what ended it: the words of judge
	loose bool   // the code is open: the fault may be seen before or after what is missing
	// What the exceptions ask for.
	close []byte // the payload of the Close frame that ended it
	part  bool   // the frame that ended it is not all there
}

// judge reads a whole stream as RFC 6455 and 7692 have it: no buffer, no pieces, no speed.
func judge(in []byte, compress, takeover bool, limit int) (v verdict) {
	var (
		op         byte // of the message under way
		compressed bool
		data       []byte
		window     []byte
	)
	end := func(code int, kind string) verdict {
		v.code, v.kind = code, kind
		v.loose = v.loose || op != 0 && compressed
		return v
	}
	for {
		if len(in) < 2 {
			v.loose, v.part = len(in) == 1, true
			return end(noClose, "cut")
		}
		b0, b1 := in[0], in[1]
		v.part = !isWhole(in)
		frameOp, fin, n := b0&15, b0&0x80 != 0, uint64(b1&0x7f)
		switch {
		case b0&0x30 != 0 || b0&0x40 != 0 && (!compress || frameOp == 0 || frameOp > 2):
			return end(1002, "reserved bit")
		case b1&0x80 == 0:
			return end(1002, "not masked")
		case frameOp > 2 && frameOp < 8 || frameOp > 10:
			return end(1002, "opcode")
		case frameOp >= 8 && !fin:
			return end(1002, "fragmented control frame")
		case frameOp >= 8 && n > 125:
			return end(1002, "long control frame")
		case frameOp == 0 && op == 0:
			return end(1002, "continues nothing")
		case frameOp > 0 && frameOp < 3 && op != 0:
			return end(1002, "message in a message")
		}
		size := map[uint64]int{126: 2, 127: 8}[n]
		if len(in) < 2+size+4 {
			v.loose = true // a bad length may be seen before the mask
			return end(noClose, "cut")
		}
		switch size {
		case 2:
			n = uint64(binary.BigEndian.Uint16(in[2:]))
		case 8:
			n = binary.BigEndian.Uint64(in[2:])
		}
		if n>>63 != 0 {
			return end(1002, "top bit")
		}
		key := in[2+size:][:4]
		in = in[2+size+4:]
		payload := bytes.Clone(in[:min(n, uint64(len(in)))])
		in = in[len(payload):]
		whole := uint64(len(payload)) == n
		for i := range payload {
			payload[i] ^= key[i&3]
		}
		if frameOp >= 8 {
			switch {
			case !whole:
				return end(noClose, "cut")
			case frameOp == 8:
				v.close = payload
				// Which of two faults is seen first is open.
				v.loose = len(payload) > 2 && !utf8.Valid(payload[2:])
				return end(judgeClose(payload))
			}
			continue
		}
		if frameOp != 0 {
			op, compressed, data = frameOp, b0&0x40 != 0, nil
		}
		if !compressed && uint64(len(data))+n > uint64(limit) {
			return end(1009, "too big")
		}
		data = append(data, payload...)
		if !compressed && op == 1 && !validSoFar(data, whole && fin) {
			v.loose = !whole
			return end(1007, "not UTF-8")
		}
		if !whole {
			return end(noClose, "cut")
		}
		if !fin {
			continue
		}
		if compressed {
			var why string
			if data, why = inflate(data, window, limit); why != "" {
				op = 0
				return end(map[string]int{"too big": 1009}[why]+map[string]int{"deflate": 1007}[why], why)
			}
			if op == 1 && !utf8.Valid(data) {
				op = 0
				return end(1007, "not UTF-8")
			}
			if takeover {
				window = append(window, data...)
				window = window[max(0, len(window)-32<<10):]
			}
		}
		v.messages = append(v.messages, message{op, string(data)})
		op = 0
	}
}

// isWhole reports whether the frame that in begins with is all there.
func isWhole(in []byte) bool {
	n, head := uint64(in[1]&0x7f), 2
	if in[1]&0x80 != 0 {
		head += 4
	}
	switch {
	case n == 126 && len(in) >= 4:
		n, head = uint64(binary.BigEndian.Uint16(in[2:])), head+2
	case n == 127 && len(in) >= 10:
		n, head = binary.BigEndian.Uint64(in[2:]), head+8
	case n >= 126:
		return false
	}
	return len(in) >= head && uint64(len(in)-head) >= n
}

func judgeClose(p []byte) (code int, kind string) {
	if len(p) == 0 {
		return emptyClose, "close"
	}
	if len(p) == 1 {
		return 1002, "bad close"
	}
	code = int(binary.BigEndian.Uint16(p))
	switch {
	case code < 1000, 1004 <= code && code <= 1006, 1015 <= code && code <= 2999, code >= 5000:
		return 1002, "bad close"
	case !utf8.Valid(p[2:]):
		return 1007, "bad close"
	}
	return code, "close"
}

// validSoFar reports whether p can be the beginning of UTF-8, or is all of it.
func validSoFar(p []byte, all bool) bool {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			return !all && !utf8.FullRune(p)
		}
		p = p[n:]
	}
	return true
}

// inflate decompresses a message. why is "" or what is wrong: "deflate", "too big", or "BFINAL" for a
// last block, after which the RFC does not say what may come.
func inflate(p, window []byte, limit int) (data []byte, why string) {
	const last = "\x01\x00\x00\xff\xff"
	run := func(tail string) (out []byte, unread int, err error) {
		src := bytes.NewReader(append(bytes.Clone(p), tail+last...))
		out, err = io.ReadAll(io.LimitReader(flate.NewReaderDict(src, window), int64(limit)+2))
		return out, src.Len(), err
	}
	data, unread, err := run("\x00\x00\xff\xff")
	switch {
	case len(data) > limit:
		return nil, "too big"
	case err != nil:
		return nil, "deflate"
	case unread > 0:
		return nil, "BFINAL"
	}
	// Where the tail is, and not inside of something: another block in its place must be one, too.
	if more, _, err := run("\x01\x00\xfe\xffB"); err != nil || string(more) != string(data)+"B" {
		return nil, "deflate"
	}
	return data, ""
}
