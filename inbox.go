//go:build !js

package ws

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"unicode/utf8"

	"github.com/coder/websocket"
)

const (
	readBuffer  = 16 << 10 // of a plain socket, once it has input
	otherBuffer = 4 << 10  // of another connection, once a frame has begun
	idleBuffer  = 512      // of another connection, which can't be asked for input without a buffer
)

// inbox is the read side of a connection: frames in, messages out. It belongs to
// the goroutine of run, except for its counters.
type inbox struct {
	client  bool
	inflate *decompressor // nil: permessage-deflate was not agreed on

	raw    syscall.RawConn // of a plain socket
	src    io.ReadCloser   // is read where raw is nil
	isBody bool            // src is the body of a response, not the connection
	hold   *buffer         // holds buf; nil while there is no input
	idle   []byte          // holds buf in its place when input has come for which another connection had to wait
	buf    []byte          // read and not used yet
	full   bool            // the last read filled hold: there may be more at hand
	err    error           // of the socket

	// The following are for readFD, which raw calls.
	readFD  func(fd uintptr) bool
	target  []byte // nil: hold
	noWait  bool
	got     int
	readErr error

	first    byte // byte of the message under way, without FIN; 0: none
	final    bool // the frame under way is the last of its message
	left     int64
	key      [4]byte
	lent     *buffer // holds the message that OnMessage has, with Limits.ReuseData
	discards bool    // after a fault or our own Close: only a Close frame counts

	messages, bytes, wire atomic.Int64
	before                struct{ messages, wire int64 } // when another connection waited last
}

// errEnd is the end of a message. (io.EOF is the end of the socket.)
var errEnd = errors.New("the message is over")

// more reports whether there is input at hand.
func (in *inbox) more() bool { return len(in.buf) > 0 || in.full }

// input waits for input and reads it: into buf if p is nil or small, else into p. It
// returns how many bytes went into p.
func (c *Conn) input(p []byte) (n int, err error) {
	in := &c.in
	if in.err != nil {
		return 0, in.err
	}
	if len(p) < otherBuffer {
		p = nil
	}
	switch {
	case in.raw != nil:
		n, err = c.inputRaw(p)
	case p != nil:
		c.out.idle()
		n, err = in.src.Read(p)
	default:
		c.out.idle()
		n, err = in.src.Read(in.space())
	}
	if n > 0 {
		err = nil // the next read returns it again
	}
	if in.err = err; err == io.EOF {
		in.err = io.ErrUnexpectedEOF // io.EOF is the end of a compressed message
	}
	in.wire.Add(int64(n))
	if p == nil {
		in.full = n > 0 && in.raw != nil && len(in.buf)+n == cap(in.buf)
		in.buf = in.buf[:len(in.buf)+n]
		n = 0
	}
	return n, in.err
}

// wait waits for input if there is none. It is for loop: a goroutine that waits there needs less of a stack than one that
// waits in frame.
func (c *Conn) wait() {
	if len(c.in.buf) == 0 {
		c.input(nil) // in.err keeps the error
	}
}

// space returns where to read from a connection that is no plain socket.
func (in *inbox) space() []byte {
	if len(in.buf) > 0 || in.left > 0 {
		return in.room(otherBuffer)
	}
	// What comes after messages that were too many for idle may be as many: replies are to leave together (S2).
	messages, wire := in.messages.Load(), in.wire.Load()
	burst := messages-in.before.messages > 1 && wire-in.before.wire > idleBuffer
	if in.before.messages, in.before.wire = messages, wire; burst {
		return in.room(otherBuffer)
	}
	if in.idle == nil {
		in.idle = make([]byte, idleBuffer)
	}
	in.hold.free()
	in.hold, in.buf = nil, in.idle[:0]
	return in.idle
}

// room moves what is in buf to the beginning of its buffer, and returns the free space behind it.
func (in *inbox) room(size int) []byte {
	if in.hold == nil {
		in.hold = getBuffer(size)
	}
	b := in.hold.b[:cap(in.hold.b)]
	in.buf = b[:copy(b, in.buf)]
	return b[len(in.buf):]
}

// inputRaw reads from a plain socket. While it waits with nothing in buf it holds no buffer.
func (c *Conn) inputRaw(p []byte) (int, error) {
	in := &c.in
	if in.readFD == nil {
		in.readFD = in.read
	}
	in.target, in.noWait, in.full = p, in.full, false
	for {
		if in.noWait {
			c.out.state.Store(parsing)
		} else {
			c.out.idle()
		}
		// readFD calls no callback and takes no lock: the socket's Close waits for it.
		err := in.raw.Read(in.readFD)
		if err == nil && in.noWait && in.readErr == eagain {
			in.noWait = false
			continue
		}
		if err == nil {
			err = in.readErr
		}
		if err != nil {
			in.got = 0
		}
		in.target = nil
		return in.got, err
	}
}

// read reads what has come. It returns false to wait for more.
func (in *inbox) read(fd uintptr) bool {
	p := in.target
	if p == nil {
		p = in.room(readBuffer)
	}
	n, err := recv(fd, p)
	if err == eagain && !in.noWait {
		if len(in.buf) == 0 {
			in.hold.free()
			in.hold, in.buf = nil, nil
		}
		return false
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	in.got, in.readErr = max(n, 0), err
	return true
}

// frame reads up to the next data frame and begins that. It acts on the control frames before it.
func (c *Conn) frame() error {
	in := &c.in
	for {
		if len(in.buf) >= 2 {
			if err := check(in.buf[0], in.buf[1], in.first != 0, in.inflate != nil, in.client); err != nil {
				return err
			}
		}
		h, ok := parseHeader(in.buf)
		if !ok {
			if _, err := c.input(nil); err != nil {
				return err
			}
			continue
		}
		if h.length>>63 != 0 {
			return violation("the peer sent a frame of more than 2^63 bytes")
		}
		in.buf = in.buf[h.size:]
		if h.op() < opClose {
			if h.op() != opContinuation {
				in.first = h.b0 &^ fin
			}
			in.final, in.left, in.key = h.b0&fin != 0, int64(h.length), h.key
			return nil
		}
		for len(in.buf) < int(h.length) {
			if _, err := c.input(nil); err != nil {
				return err
			}
		}
		p := in.buf[:h.length]
		in.buf = in.buf[h.length:]
		xor(p, h.key)
		if err := c.control(h.op(), p); err != nil {
			return err
		}
	}
}

// control acts on a control frame (RFC 6455, section 5.5). A Close frame is an error.
func (c *Conn) control(op byte, p []byte) error {
	switch op {
	case opPing:
		wanted := true
		if c.onPing != nil {
			c.hook(func() { wanted = c.onPing(c.ctx, p) })
		}
		if wanted {
			c.out.pong(p, c.in.more())
		}
	case opPong:
		c.out.ponged(p)
		if c.onPong != nil {
			c.hook(func() { c.onPong(c.ctx, p) })
		}
	case opClose:
		ce, err := parseClose(p)
		switch {
		case err != nil:
			return err
		case utf8.ValidString(ce.Reason):
			c.out.closeWith(p)
		case c.out.close(websocket.StatusInvalidFramePayloadData, closeReason(websocket.StatusInvalidFramePayloadData)):
			return &invalidReason{ce}
		}
		return ce
	}
	return nil
}

// hook calls a hook of the engine's options, as a callback: the time that it takes is not the peer's.
// Once the connection is closing it does not: each would give the peer another 5 s.
func (c *Conn) hook(f func()) {
	if c.out.closing() {
		return
	}
	c.out.callback(c.in.more())
	f()
	c.out.worked()
}

// payload returns the next piece of the message under way, unmasked, and errEnd at its end. The piece lies in buf.
func (c *Conn) payload() ([]byte, error) {
	in := &c.in
	for in.left == 0 {
		if in.final {
			return nil, errEnd
		}
		if err := c.frame(); err != nil {
			return nil, err
		}
	}
	if len(in.buf) == 0 {
		if _, err := c.input(nil); err != nil {
			return nil, err
		}
	}
	return in.take(int(min(int64(len(in.buf)), in.left))), nil
}

// take takes n bytes of the frame under way out of buf.
func (in *inbox) take(n int) []byte {
	p := in.buf[:n:n]
	in.buf = in.buf[n:]
	in.unmask(p)
	return p
}

func (in *inbox) unmask(p []byte) {
	in.left -= int64(len(p))
	if !in.client {
		xor(p, in.key)
		in.key = rotate(in.key, len(p))
	}
}
