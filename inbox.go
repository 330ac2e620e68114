//go:build !js

package ws

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// wholeFrame is the size up to which a frame's payload is allocated before it
// has come. A header is only a claim.
const wholeFrame = 64 << 10

// inbox is the read side of a connection. It belongs to the goroutine of run.
type inbox struct {
	br      *bufio.Reader // what the engine reads from; nil when dialling
	body    io.Reader     // to read in the socket's place; nil for the socket itself
	early   []byte        // came with the handshake's own packet, or by readNow
	pooled  *[]byte       // holds early, if it came by readNow
	lean    bool          // br is for frames' headers alone, and readNow reads
	readRaw func(fd uintptr) bool
	rawErr  error     // of readRaw
	err     error     // of the socket
	frames  *unmasked // follows what a server sends; nil on the server
	rest    io.Reader // of a message that was given up
	lent    *[]byte   // holds the message that OnMessage has, with Limits.ReuseData
}

// engineSide is the connection that the engine gets in the socket's place.
type engineSide Conn

func (s *engineSide) Read(p []byte) (n int, err error) {
	if len(s.in.early) > 0 {
		s.out.busy()
		return s.serve(p), nil
	}
	if s.in.frames != nil && s.in.frames.bad {
		return 0, errMasked
	}
	s.out.idle()
	switch {
	case s.in.body != nil:
		n, err = s.in.body.Read(p)
	case s.in.lean && len(p) < 1<<10:
		err = (*Conn)(s).readNow()
		n = s.serve(p)
	default:
		n, err = s.out.sock.Read(p)
	}
	s.out.busy()
	if f := s.in.frames; f != nil && n > 0 {
		if n = f.pass(p[:n]); n == 0 {
			return 0, errMasked
		}
	}
	if n > 0 {
		return n, nil // an error comes again
	}
	s.in.err = err
	return 0, err
}

// serve gives out what came early.
func (s *engineSide) serve(p []byte) int {
	n := copy(p, s.in.early)
	s.in.early = s.in.early[n:]
	if len(s.in.early) == 0 && s.in.pooled != nil {
		putBuffer(s.in.pooled)
		s.in.pooled = nil
	}
	return n
}

func (s *engineSide) Write(p []byte) (int, error) {
	s.out.engineWrite(p)
	return len(p), nil
}

// Close ends a Read of the engine's. The socket is closed by disconnect.
func (s *engineSide) Close() error { return s.out.sock.SetReadDeadline(time.Unix(1, 0)) }

func (s *engineSide) LocalAddr() net.Addr                { return s.out.sock.LocalAddr() }
func (s *engineSide) RemoteAddr() net.Addr               { return s.out.sock.RemoteAddr() }
func (s *engineSide) SetDeadline(t time.Time) error      { return s.out.sock.SetDeadline(t) }
func (s *engineSide) SetReadDeadline(t time.Time) error  { return s.out.sock.SetReadDeadline(t) }
func (s *engineSide) SetWriteDeadline(t time.Time) error { return s.out.sock.SetWriteDeadline(t) }

// next reads one message. While the connection is closing it reads and drops one.
// Its errors are a *peerError, after which it may be called again, or final.
func (c *Conn) next() (Message, error) {
	if r := c.in.rest; r != nil || c.out.closing() {
		c.in.rest = nil
		if r == nil {
			var err error
			if _, r, err = c.engine.Reader(context.Background()); err != nil {
				return Message{}, err
			}
		}
		_, err := io.Copy(io.Discard, r)
		return Message{}, err
	}
	if size, n, ok := c.peek(); ok {
		if c.limits.ReadLimit > 0 && n > uint64(c.limits.ReadLimit) {
			return Message{}, c.tooBig()
		}
		if n <= wholeFrame {
			return c.readFrame(size, int(n))
		}
	}
	return c.readMessage()
}

// peek looks at the next frame's header and, if it is a message of one frame
// that is neither compressed nor wrong, returns the header's size and the message's
// length. Whatever else it is, is the engine's to judge.
func (c *Conn) peek() (size int, n uint64, ok bool) {
	if c.in.br == nil {
		return 0, 0, false
	}
	b, err := c.in.br.Peek(2)
	if err != nil || b[0] != fin|opText && b[0] != fin|opText+1 || b[1]&masked == 0 {
		return 0, 0, false
	}
	switch n = uint64(b[1] & 0x7f); n {
	case 126:
		if b, err = c.in.br.Peek(4); err != nil {
			return 0, 0, false
		}
		return 4 + 4, uint64(binary.BigEndian.Uint16(b[2:])), true
	case 127:
		if b, err = c.in.br.Peek(10); err != nil || b[2]&0x80 != 0 {
			return 0, 0, false
		}
		return 10 + 4, binary.BigEndian.Uint64(b[2:]), true
	}
	return 2 + 4, n, true
}

// readFrame reads a message of one frame, with a header of size bytes and then n. The
// engine is not asked: it stands between two messages, and finds the next frame.
func (c *Conn) readFrame(size, n int) (Message, error) {
	head, err := c.in.br.Peek(size)
	if err != nil {
		return Message{}, err
	}
	typ, key := websocket.MessageType(head[0]&0xf), [4]byte(head[size-4:])
	c.in.br.Discard(size)
	var data []byte
	if c.limits.ReuseData {
		data = c.lend(n)
	} else {
		data = make([]byte, n)
	}
	if _, err := io.ReadFull(c.in.br, data); err != nil {
		return Message{}, err
	}
	xor(data, key)
	if typ == websocket.MessageText && !utf8.Valid(data) {
		c.release()
		return Message{}, errNotUTF8
	}
	return Message{typ, data}, nil
}

// readMessage reads any message, as it comes.
func (c *Conn) readMessage() (Message, error) {
	typ, r, err := c.engine.Reader(context.Background())
	if err != nil {
		return Message{}, err
	}
	buf := buffers.Get().(*[]byte)
	b, checked := (*buf)[:0], 0
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):c.enough(len(b), cap(b))])
		b = b[:len(b)+n]
		if err == io.EOF && c.in.err != nil {
			err = io.ErrUnexpectedEOF // cut between two frames, which the engine takes for the end
		}
		whole := err == io.EOF
		if c.limits.ReadLimit > 0 && int64(len(b)) > c.limits.ReadLimit {
			err = c.tooBig()
		} else if typ == websocket.MessageText {
			tail := incomplete(b[checked:])
			if whole {
				tail = 0
			}
			if !utf8.Valid(b[checked : len(b)-tail]) {
				err = errNotUTF8
			}
			checked = len(b) - tail
		}
		if err == nil {
			continue
		}
		*buf = b
		if err == io.EOF {
			if c.limits.ReuseData {
				c.in.lent = buf
				return Message{typ, b}, nil
			}
			data := make([]byte, len(b))
			copy(data, b)
			putBuffer(buf)
			return Message{typ, data}, nil
		}
		putBuffer(buf)
		if _, ok := err.(*peerError); ok && !whole {
			c.in.rest = r
		}
		return Message{}, err
	}
}

// enough returns the end of the piece to read next: not more than has come, so
// that bad UTF-8 is seen before its frame is complete. (The engine never reads
// beyond a frame. Its decompressor has a buffer of its own: what it holds can't be seen.)
func (c *Conn) enough(from, to int) int {
	if c.in.br == nil || c.out.compressAt >= 0 {
		return to
	}
	return min(to, from+max(1, c.in.br.Buffered()+len(c.in.early)))
}

// incomplete returns how many bytes at the end of p may be the beginning of a rune.
func incomplete(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if c := p[len(p)-n]; utf8.RuneStart(c) {
			if utf8.FullRune(p[len(p)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

// lend returns a buffer of n bytes that release takes back.
func (c *Conn) lend(n int) []byte {
	c.in.lent = buffers.Get().(*[]byte)
	if cap(*c.in.lent) < n {
		*c.in.lent = make([]byte, 0, n)
	}
	return (*c.in.lent)[:n]
}

// release is called when OnMessage has returned.
func (c *Conn) release() {
	if c.in.lent != nil {
		putBuffer(c.in.lent)
		c.in.lent = nil
	}
}

var errNotUTF8 = &peerError{websocket.StatusInvalidFramePayloadData, errors.New("the peer sent a text message that is not UTF-8")}

func (c *Conn) tooBig() error {
	return &peerError{websocket.StatusMessageTooBig,
		fmt.Errorf("the peer sent a message of more than %d bytes (Limits.ReadLimit)", c.limits.ReadLimit)}
}

// disconnect writes what is queued and closes the socket. After a protocol
// violation, or if there is more to read, it reads on until the peer has hung up too, at most 5 s: a
// socket that is closed with unread input resets the connection, and the peer
// may never read our Close frame.
func (c *Conn) disconnect() {
	if !c.out.finish() {
		c.end.WasClean = false
	} else if c.in.err == nil && (!c.end.WasClean || c.in.br != nil && c.in.br.Buffered()+len(c.in.early) > 0) {
		if half, ok := c.out.sock.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
		c.out.sock.SetReadDeadline(time.Now().Add(closeGrace))
		buf := buffers.Get().(*[]byte)
		for err := error(nil); err == nil; {
			_, err = c.out.sock.Read((*buf)[:cap(*buf)])
		}
		putBuffer(buf)
	}
	c.engine.CloseNow()
	if c.in.pooled != nil {
		putBuffer(c.in.pooled)
		c.in.pooled, c.in.early = nil, nil
	}
	c.out.sock.Close()
	c.out.end()
}
