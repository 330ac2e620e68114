//go:build !js

package ws

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// wholeFrame is how much may be allocated for a message before it has come: its header is only a claim.
const wholeFrame = 64 << 10

// next reads one message. After an error nothing can be read any more, unless goesOn says so. Once
// the connection is closing it discards messages.
func (c *Conn) next() (Message, error) {
	in := &c.in
	for {
		if in.first == 0 {
			if err := c.frame(); err != nil {
				return Message{}, err
			}
		}
		if in.discards = in.discards || c.out.closing(); in.discards {
			for {
				if _, err := c.payload(); err == errEnd {
					break
				} else if err != nil {
					return Message{}, err
				}
			}
			in.first = 0
			continue
		}
		typ := websocket.MessageType(in.first & 0xf)
		data, err := c.message()
		if err == nil {
			in.first = 0
			in.messages.Add(1)
			in.bytes.Add(int64(len(data)))
			return Message{typ, data}, nil
		}
		if in.discards = true; !goesOn(err) || !c.out.closing() {
			return Message{}, err
		}
	}
}

// message reads the message under way.
func (c *Conn) message() ([]byte, error) {
	in := &c.in
	text := in.first&0xf == opText
	switch {
	case in.first&rsv1 != 0:
		return c.inflated(text)
	case c.tooLong(0, in.left):
		return nil, c.tooBig()
	case !in.final || in.left > int64(len(in.buf)):
		return c.collected(text)
	}
	p := in.take(int(in.left))
	if text && !utf8.Valid(p) {
		return nil, errNotUTF8
	}
	if c.limits.ReuseData {
		return p, nil
	}
	data := make([]byte, len(p))
	copy(data, p)
	return data, nil
}

// collected reads a message that is not compressed and of which only a part is at hand.
func (c *Conn) collected(text bool) (_ []byte, err error) {
	in := &c.in
	var (
		b    []byte
		hold *buffer // holds b; nil once b has the message's size
		utf  utf8Checker
	)
	defer func() {
		if err != nil {
			hold.free()
		}
	}()
	for {
		for in.left == 0 && !in.final {
			if err := c.frame(); err != nil {
				return nil, err
			}
			if c.tooLong(len(b), in.left) {
				return nil, c.tooBig()
			}
		}
		if in.left > 0 {
			if len(b) == cap(b) {
				b, hold = c.enlarge(b, hold)
			}
			n, err := c.receive(b[len(b):cap(b)])
			if err != nil {
				return nil, err
			}
			b = b[:len(b)+n]
		}
		whole := in.left == 0 && in.final
		if text && !utf.valid(b, whole) {
			return nil, errNotUTF8
		}
		if whole {
			return c.deliver(b, hold), nil
		}
	}
}

// receive reads bytes of the frame under way into p, unmasked.
func (c *Conn) receive(p []byte) (n int, err error) {
	p = p[:min(int64(len(p)), c.in.left)]
	for n == 0 {
		if n = copy(p, c.in.buf); n > 0 {
			c.in.buf = c.in.buf[n:]
		} else if n, err = c.input(p); err != nil {
			return 0, err
		}
	}
	c.in.unmask(p[:n])
	return n, nil
}

// enlarge gives b, which is full, more room: as much as the frame under way claims,
// but at most twice what has come. hold holds b.
func (c *Conn) enlarge(b []byte, hold *buffer) ([]byte, *buffer) {
	in, n := &c.in, max(wholeFrame, 2*cap(b))
	all := in.left <= int64(n-len(b))
	if all && (in.final || cap(b) < 1<<maxBuffer) { // else each small frame would be a copy: only pooled buffers are rounded up
		n = len(b) + int(in.left)
	}
	var more []byte
	var moreHold *buffer
	if all && in.final && !c.limits.ReuseData {
		more = make([]byte, len(b), n)
	} else {
		moreHold = getBuffer(n)
		more = moreHold.b[:len(b)]
	}
	copy(more, b)
	hold.free()
	return more, moreHold
}

// inflated reads a compressed message.
func (c *Conn) inflated(text bool) (_ []byte, err error) {
	d, hold, utf := c.in.inflate, getBuffer(1), utf8Checker{}
	b := hold.b
	d.begin(c.pieces)
	defer func() {
		if err != nil {
			d.end(nil)
			hold.free()
		}
	}()
	for {
		if len(b) == cap(b) {
			hold.b = b
			hold = hold.grown(max(1, wholeFrame-len(b)))
			b = hold.b
		}
		n, err := d.read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		whole := err == io.EOF
		switch {
		case c.tooLong(len(b), 0):
			return nil, c.tooBig()
		case errors.Is(err, errDeflate):
			return nil, &peerError{websocket.StatusInvalidFramePayloadData, err}
		case err != nil && !whole:
			return nil, err
		case text && !utf.valid(b, whole):
			return nil, errNotUTF8
		case whole:
			d.end(b)
			return c.deliver(b, hold), nil
		}
	}
}

// deliver returns b for the callback. hold holds it; nil if b has an array of its own.
func (c *Conn) deliver(b []byte, hold *buffer) []byte {
	switch {
	case b == nil:
		return []byte{}
	case hold == nil:
		return b
	case c.limits.ReuseData:
		hold.b = b
		c.in.lent = hold
		return b
	}
	data := make([]byte, len(b))
	copy(data, b)
	hold.free()
	return data
}

// release is called when OnMessage has returned.
func (c *Conn) release() {
	if c.in.lent != nil {
		c.in.lent.free()
		c.in.lent = nil
	}
}

// utf8Checker checks a text as it grows.
type utf8Checker struct{ checked int }

// valid reports whether b may be the beginning of a text, or, if it is whole, is one.
func (u *utf8Checker) valid(b []byte, whole bool) bool {
	end := len(b)
	if !whole {
		end -= incomplete(b[u.checked:])
	}
	ok := utf8.Valid(b[u.checked:end])
	u.checked = end
	return ok
}

// incomplete returns how many bytes at the end of p may be the beginning of a rune.
func incomplete(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if b := p[len(p)-n]; utf8.RuneStart(b) {
			if utf8.FullRune(p[len(p)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

var errNotUTF8 = &peerError{websocket.StatusInvalidFramePayloadData, errors.New("the peer sent a text message that is not UTF-8")}

// tooLong reports whether a message of n bytes and more than that is over the limit.
func (c *Conn) tooLong(n int, more int64) bool {
	return c.limits.ReadLimit > 0 && more > c.limits.ReadLimit-int64(n)
}

func (c *Conn) tooBig() error {
	return &peerError{websocket.StatusMessageTooBig,
		fmt.Errorf("the peer sent a message of more than %d bytes (Limits.ReadLimit)", c.limits.ReadLimit)}
}
