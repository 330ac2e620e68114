package ws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/coder/websocket"
)

// Errors of a connection, found with errors.Is.
var (
	// ErrBufferFull: Limits.SendBuffer bytes wait to be written already. The
	// message was not queued. The connection goes on, unless it was a broadcast.
	ErrBufferFull = errors.New("ws: the send buffer is full: the peer reads more slowly than we write")
	// ErrPingTimeout: nothing came from the peer within Limits.PingTimeout of a ping.
	ErrPingTimeout = errors.New("ws: the peer did not answer a ping")
	// ErrWriteTimeout: the peer took nothing for Limits.WriteTimeout.
	ErrWriteTimeout = errors.New("ws: the peer takes no data")
	// ErrShutdown: the Upgrader is shut down.
	ErrShutdown = errors.New("ws: the server is shutting down")
)

// errClosed is what sending returns from Close on.
var errClosed error = closedError{}

type closedError struct{}

func (closedError) Error() string { return "ws: the connection is closing or closed" }
func (closedError) Unwrap() error { return net.ErrClosed }

// ReadyState is the state of a connection, with the values of WHATWG's WebSocket.readyState.
type ReadyState int

// The states of a connection.
const (
	Connecting ReadyState = iota // never returned: there is no Conn before the handshake is over
	Open                         // messages go both ways
	Closing                      // Close was called, or the peer's Close frame came
	Closed                       // the connection has ended
)

// Limits bound what one connection may use. In each field zero means the default, and
// so does a negative value where the field says nothing else.
type Limits struct {
	// ReadLimit is how many bytes a message may have, uncompressed; a longer
	// one closes the connection with 1009. Default: 1 MiB. Negative: no limit.
	ReadLimit int64
	// SendBuffer is how many bytes may wait to be written before Send waits
	// and TrySend fails. A message of any size fits an empty buffer. Default: 1 MiB.
	SendBuffer int
	// WriteTimeout is how long the peer may take nothing before it is dropped
	// with ErrWriteTimeout, and how long Send waits for room. The peer takes something
	// when the system accepts a write and, on Linux, when it has acknowledged bytes.
	// Elsewhere a slow but steady reader can seem to take nothing for many seconds,
	// while megabytes leave the system's buffers. Default: 10 s.
	WriteTimeout time.Duration
	// PingInterval is how long nothing may come from the peer before it is
	// pinged (RFC 6455, section 5.5.2). Default: 30 s. Negative: never.
	PingInterval time.Duration
	// PingTimeout is how long after the ping something, of any kind, must come;
	// else the peer is dropped with ErrPingTimeout. Time in which a callback
	// runs does not count. Default: 10 s.
	PingTimeout time.Duration
	// ReuseData makes Message.Data valid only until OnMessage returns, which
	// saves the allocation per message. Default: Data is the callback's to keep.
	ReuseData bool
}

func (l Limits) withDefaults() Limits {
	if l.ReadLimit == 0 {
		l.ReadLimit = 1 << 20
	}
	if l.SendBuffer <= 0 {
		l.SendBuffer = 1 << 20
	}
	if l.WriteTimeout <= 0 {
		l.WriteTimeout = 10 * time.Second
	}
	if l.PingInterval == 0 {
		l.PingInterval = 30 * time.Second
	}
	if l.PingTimeout <= 0 {
		l.PingTimeout = 10 * time.Second
	}
	for _, d := range []*time.Duration{&l.WriteTimeout, &l.PingInterval, &l.PingTimeout} {
		*d = min(*d, 1<<62) // they are added to times: the most would be negative
	}
	return l
}

// Conn is one connection, of either end. Its methods may be called from any
// goroutine, in callbacks and outside of them, also after its end.
type Conn struct {
	ev     Events
	owner  owner // nil when dialling
	req    *http.Request
	resp   *http.Response // of the handshake, when dialling
	ctx    context.Context
	cancel context.CancelCauseFunc
	limits Limits

	subprotocol string
	sentCode    atomic.Int32 // the code of our Close frame, if it came before the peer's

	// The following belong to the goroutine of run.
	stop  error      // what ended the stream
	fault error      // what OnError got
	end   CloseEvent // 1006 until it is known better

	codec
	in  inbox
	out outbox

	mu     sync.Mutex // protects the following
	ended  bool
	groups map[*Group]struct{}
}

// owner is what a connection belongs to: an Upgrader.
type owner interface {
	report(r *http.Request, err error)
	remove(c *Conn)
}

// Stats is what has passed over a connection so far.
type Stats struct {
	MessagesIn, MessagesOut int64         // text and binary
	BytesIn, BytesOut       int64         // of these messages, uncompressed and without their frames
	WireIn, WireOut         int64         // of all frames, as they were read and written, without TLS
	RTT                     time.Duration // of the last ping that was answered; 0: none was
}

// Send queues a copy of m and returns. If Limits.SendBuffer bytes wait already,
// it waits for room, at most Limits.WriteTimeout, and then returns
// [ErrBufferFull]; nothing is queued then, and the connection goes on. Once the
// connection is closing it returns an error that is [net.ErrClosed]. It also returns an
// error if m.Type is neither text nor binary.
//
// Replies to messages that arrived together leave together: when the last of these was
// handled, when more than 64 KiB wait, or after 1 ms. In other callbacks all but the first
// message may wait as long. What is sent outside of callbacks leaves at once. If a Send
// returns before another begins, its message arrives first.
func (c *Conn) Send(m Message) error { return c.send(m, waitRoom) }

// SendText sends s as a text message, as Send does. s should be UTF-8.
func (c *Conn) SendText(s string) error {
	// The bytes are only read, and not kept: no copy but the queue's.
	return c.send(Message{websocket.MessageText, unsafe.Slice(unsafe.StringData(s), len(s))}, waitRoom)
}

// SendBinary sends b as a binary message, as Send does.
func (c *Conn) SendBinary(b []byte) error { return c.send(Binary(b), waitRoom) }

// SendJSON sends v as JSON in a text message, as Send does.
func (c *Conn) SendJSON(v any) error {
	m, err := JSON(v)
	if err != nil {
		return err
	}
	return c.send(m, waitRoom)
}

// TrySend is like Send, but never waits for room: if the buffer is full it returns [ErrBufferFull].
func (c *Conn) TrySend(m Message) error { return c.send(m, tryRoom) }

func (c *Conn) send(m Message, full admission) error {
	if err := checkType(m); err != nil {
		return err
	}
	return c.post(m, full)
}

// admission is what becomes of a message when the buffer is full.
type admission int

const (
	tryRoom  admission = iota // ErrBufferFull
	waitRoom                  // it waits for room, at most the write timeout
	anyRoom                   // it is queued all the same
)

func checkType(m Message) error {
	if m.Type != websocket.MessageText && m.Type != websocket.MessageBinary {
		return fmt.Errorf("ws: a message's type must be text or binary, not %d", int(m.Type))
	}
	return nil
}

// Close begins the closing handshake (RFC 6455, section 7) and returns at once:
// what was sent before goes first, then the Close frame. Messages that still
// come are discarded. OnClose follows when the peer has answered, or 5 s after
// the Close frame was written; time in which a callback runs does not count.
//
// code is 1000 to 1003, 1007 to 1014 or 3000 to 4999, and reason at most 123
// bytes of UTF-8; for others Close returns an error and does nothing. Once
// the connection is closing it returns an error that is [net.ErrClosed].
func (c *Conn) Close(code websocket.StatusCode, reason string) error {
	if err := checkClose(code, reason); err != nil {
		return err
	}
	if !c.sendClose(code, reason) {
		return errClosed
	}
	return nil
}

// sendClose closes, if neither end has yet.
func (c *Conn) sendClose(code websocket.StatusCode, reason string) bool {
	first := c.out.close(code, reason)
	if first {
		c.sentCode.Store(int32(code))
	}
	return first
}

// sendable reports whether a Close frame may have code (RFC 6455, section 7.4).
func sendable(code websocket.StatusCode) bool {
	return 1000 <= code && code <= 1003 || 1007 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

func checkClose(code websocket.StatusCode, reason string) error {
	if !sendable(code) {
		return fmt.Errorf("ws: can't close with code %d: it must be 1000 to 1003, 1007 to 1014 or 3000 to 4999", int(code))
	}
	if len(reason) > 123 {
		return fmt.Errorf("ws: can't close with a reason of %d bytes: 123 is the most", len(reason))
	}
	if !utf8.ValidString(reason) {
		return fmt.Errorf("ws: can't close with reason %q: it is not UTF-8", reason)
	}
	return nil
}

// ReadyState returns the connection's state at this moment.
func (c *Conn) ReadyState() ReadyState {
	switch {
	case c.ctx.Err() != nil:
		return Closed
	case c.out.ending():
		return Closing
	}
	return Open
}

// Buffered returns how many bytes of messages wait to be written to the system.
func (c *Conn) Buffered() int { return c.out.buffered() }

// Subprotocol returns the subprotocol that was chosen in the handshake, or "".
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Request returns the handshake's request: on the server the one that was
// upgraded, with Context as its context; when dialling the one that was sent.
func (c *Conn) Request() *http.Request { return c.req }

// Context returns a context with the values of the request's context. It ends when the
// connection does, before OnClose, with the reason as its [context.Cause]: a
// [websocket.CloseError] if it closed cleanly. While a callback runs, it also
// ends when the peer is known to have gone, and 5 s after our Close frame was written.
// Use it rather than the request's own, which middleware may end at any time.
func (c *Conn) Context() context.Context { return c.ctx }

// Value returns Events.Value.
func (c *Conn) Value() any { return c.ev.Value }

func (c *Conn) leaveGroups() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for g := range c.groups {
		g.remove(c)
	}
	c.groups = nil
}

// Response returns the answer to the handshake when dialling, with an empty Body. It is nil on the
// server and in the browser.
func (c *Conn) Response() *http.Response { return c.resp }
