//go:build !js

package ws

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// codec is what a Conn needs on platforms where this package makes the frames.
type codec struct {
	asked     atomic.Pointer[factoryWriter] // somebody may have its header, which must be looked at in the end
	onPing    func(context.Context, []byte) bool
	onPong    func(context.Context, []byte)
	pieces    func() ([]byte, error) // payload, for the decompressor
	deflate   *compressor            // nil: nothing is compressed
	threshold int                    // how long a message must be to be compressed

	deflateMu sync.Mutex // held from a message's compression until it is queued, with context takeover
}

// attach gives c the connection that the handshake led to. If body is not nil it is read in place of
// the socket. early is what has come already. client says whether we are the client.
func (c *Conn) attach(sock net.Conn, body io.ReadCloser, early []byte, client bool) {
	c.out.init(sock, client, &c.limits, c.cancel)
	c.in.client = client
	if c.in.src, c.in.isBody = body, body != nil; body == nil {
		c.in.src, c.in.raw = sock, c.out.raw
	}
	if len(early) > 0 {
		c.in.hold = getBuffer(max(readBuffer, len(early)))
		c.in.buf = append(c.in.hold.b, early...)
		c.in.wire.Store(int64(len(early)))
	}
}

// useExtension sets c up for permessage-deflate as it was agreed on; nil: without. Messages
// of threshold bytes and more are compressed; 0: the default of websocket.AcceptOptions.
func (c *Conn) useExtension(x *extension, threshold int) {
	if x == nil {
		return
	}
	c.pieces = c.payload
	c.in.inflate, c.deflate = x.decompressor(c.in.client), x.compressor(c.in.client)
	switch c.threshold = threshold; {
	case threshold != 0:
	case c.deflate.takeover():
		c.threshold = 128
	default:
		c.threshold = 512
	}
}

// post queues a message, compressed where that was agreed on.
func (c *Conn) post(m Message, full admission) error {
	if c.compresses(m) {
		return c.postAll([]Message{m}, full)
	}
	one := [1]outgoing{uncompressed(m)}
	return c.out.send(one[:], full, 0)
}

// compresses reports whether m is to be compressed.
func (c *Conn) compresses(m Message) bool { return c.deflate != nil && len(m.Data) >= c.threshold }

// uncompressed is the frame of m without compression.
func uncompressed(m Message) outgoing { return outgoing{fin | byte(m.Type), m.Data, 1, len(m.Data)} }

// postAll is post for several messages, which leave together.
func (c *Conn) postAll(ms []Message, full admission) error {
	var one [1]outgoing
	fs, hold, waited := one[:0], (*buffer)(nil), time.Duration(0)
	for _, m := range ms {
		if !c.compresses(m) {
			fs = append(fs, uncompressed(m))
			continue
		}
		if hold == nil {
			var err error
			if waited, err = c.out.hasRoom(full); err != nil {
				return err
			}
			if hold = getBuffer(len(m.Data)); c.deflate.takeover() {
				c.deflateMu.Lock()
				defer c.deflateMu.Unlock()
				full = anyRoom // the peer's context depends on the message from here on
			}
		}
		at := len(hold.b)
		hold.b = c.deflate.append(hold.b, m.Data)
		fs = append(fs, outgoing{fin | rsv1 | byte(m.Type), hold.b[at:], 1, len(m.Data)})
	}
	err := c.out.send(fs, full, waited)
	hold.free()
	return err
}

// shared is messages for many connections: framed once for all, and compressed
// once for all that agreed on the same without context takeover.
type shared struct {
	ms []Message

	mu     sync.Mutex // protects the following
	framed map[agreement]outgoing
}

// agreement is what members must have in common to get the same bytes.
type agreement struct {
	compressed        bool
	window, threshold int
}

// share queues s, if there is room.
func (c *Conn) share(s *shared) error {
	if c.out.mask || c.deflate != nil && c.deflate.takeover() {
		return c.postAll(s.ms, tryRoom)
	}
	one := [1]outgoing{s.frames(c)}
	return c.out.send(one[:], tryRoom, 0)
}

// frames returns the frames for c, and for all members with the same agreement.
func (s *shared) frames(c *Conn) outgoing {
	var a agreement
	if c.deflate != nil {
		a = agreement{true, c.deflate.window(), c.threshold}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.framed[a]
	if ok {
		return f
	}
	for _, m := range s.ms {
		b0, p := fin|byte(m.Type), m.Data
		if a.compressed && len(p) >= a.threshold {
			b0, p = b0|rsv1, c.deflate.append(nil, p)
		}
		f.p = appendFrame(f.p, b0, p, false)
		f.count++
		f.bytes += len(m.Data)
	}
	if s.framed == nil {
		s.framed = make(map[agreement]outgoing)
	}
	s.framed[a] = f
	return f
}

// disconnect writes what is queued and closes the socket. Unless both ends have closed, and
// if there is more to read, it reads on until the peer has hung up too, at most 5 s: a
// socket that is closed with unread input resets the connection, and the peer
// may never read our Close frame.
func (c *Conn) disconnect() {
	if !c.out.finish() {
		c.end.WasClean = false
	} else if c.in.err == nil && (!c.end.WasClean || len(c.in.buf) > 0) && c.halfClose() {
		t := time.AfterFunc(closeGrace, func() { closeNow(c.out.sock) })
		for c.in.err == nil {
			c.in.buf = nil
			c.input(nil)
		}
		t.Stop()
	}
	c.in.hold.free()
	c.in.hold, c.in.buf, c.in.idle = nil, nil, nil
	c.out.sock.Close()
	if c.in.isBody {
		c.in.src.Close()
	}
	c.out.end()
}

// halfClose tells the peer that nothing more comes, where the connection can. It reports false where that fails, as
// over HTTP/2: there only the end of the stream tells it, and takes nothing away that was written before.
func (c *Conn) halfClose() bool {
	half, ok := c.out.sock.(interface{ CloseWrite() error })
	return !ok || half.CloseWrite() == nil
}

// Stats returns what has passed over the connection so far. In the browser it counts messages alone.
func (c *Conn) Stats() Stats {
	c.out.mu.Lock()
	s := c.out.stats
	c.out.mu.Unlock()
	s.MessagesIn, s.BytesIn, s.WireIn = c.in.messages.Load(), c.in.bytes.Load(), c.in.wire.Load()
	return s
}

// NetConn returns the connection under the WebSocket, for its addresses and options. It is
// not to be read, written or closed. Over HTTP/2 it is a stream, which has only addresses. In the browser it is nil.
func (c *Conn) NetConn() net.Conn { return c.out.sock }
