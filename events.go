package ws

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/coder/websocket"
)

// Events are the callbacks of one connection. Any of them may be nil.
//
// They run one at a time, on one goroutine: OnOpen, then OnMessage for each
// message in order of arrival, then OnError at most once, then OnClose exactly
// once. State that only they touch needs no lock. While a callback runs nothing
// is read, so neither the peer's pings nor its close are answered: start a
// goroutine for long work, and send from there.
//
// What OnOpen and OnMessage return decides how the connection goes on:
//
//   - nil: it goes on.
//   - a [websocket.CloseError]: it closes with that code and reason.
//   - an error that is [net.ErrClosed], while the connection is closing: nothing,
//     for "return c.Send(m)" may lose that race every day.
//   - any other error: it goes to OnError, and the connection closes with 1011.
//
// A callback that panics does the same with a [*PanicError];
// panic([http.ErrAbortHandler]) drops the connection without a word.
type Events struct {
	// OnOpen is called when the 101 has been sent. What it acquires OnClose
	// can release: the two pair up always.
	OnOpen func(c *Conn) error

	// OnMessage is called for each text or binary message (RFC 6455, section 5.6).
	OnMessage func(c *Conn, m Message) error

	// OnClose is called last, also after an error. The connection's Context
	// has ended and nothing can be sent any more.
	OnClose func(c *Conn, e CloseEvent)

	// OnError is called for faults: errors and panics of callbacks, protocol
	// violations, messages that are too big or not UTF-8, timeouts. That a
	// peer went away is no fault. nil: Upgrader.OnError gets it; on a
	// connection of Dial only CloseEvent.Err tells.
	OnError func(c *Conn, err error)
}

// Factory makes the callbacks of one connection: its closure is the
// connection's state. It runs when the handshake is known to be good and before any
// byte of the answer. What it sets on w's header goes out with the 101. It chooses a
// subprotocol by setting Sec-WebSocket-Protocol to one that the client offered,
// and none by deleting it.
//
// It refuses with [Reject]; any other error is a 500 that tells the client
// nothing more. If it answers the request itself, that answer stands.
type Factory func(w http.ResponseWriter, r *http.Request) (Events, error)

// Message is one text or binary message.
type Message struct {
	Type websocket.MessageType
	// Data of a message that was received is the callback's to keep and to
	// change, but for Limits.ReuseData. Data of one that is sent is copied.
	Data []byte
}

// Text returns a text message. s should be UTF-8: a peer closes with 1007 otherwise.
func Text(s string) Message { return Message{websocket.MessageText, []byte(s)} }

// Binary returns a binary message.
func Binary(b []byte) Message { return Message{websocket.MessageBinary, b} }

// JSON returns a text message that holds v as JSON.
func JSON(v any) (Message, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Message{}, fmt.Errorf("ws: can't encode the message: %w", err)
	}
	return Message{websocket.MessageText, b}, nil
}

// String returns the message's data as a string, whatever its type.
func (m Message) String() string { return string(m.Data) }

// Decode decodes the message's data, which is JSON, into v.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("ws: can't decode the message: %w", err)
	}
	return nil
}

// CloseEvent says how a connection ended. Its fields are those of WHATWG's
// CloseEvent, and Err.
type CloseEvent struct {
	// Code is what the peer sent in its Close frame: 1005 if it sent no code,
	// 1006 if there was no valid Close frame (RFC 6455, section 7.1.5).
	Code websocket.StatusCode
	// Reason is the peer's, made valid UTF-8.
	Reason string
	// WasClean is true if both ends sent a Close frame.
	WasClean bool
	// Err is what OnError got, or else why there was no valid Close frame.
	Err error
}

// PanicError is given to OnError when a callback panicked.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // as debug.Stack formats it
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("ws: a callback panicked: %v", e.Value)
}

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// peerError is a fault of the peer's: it is closed with code.
type peerError struct {
	code websocket.StatusCode
	err  error
}

func (e *peerError) Error() string { return "ws: " + e.err.Error() }
func (e *peerError) Unwrap() error { return e.err }

var (
	errGoexit  = errors.New("ws: a callback called runtime.Goexit")
	errAborted = errors.New("ws: a callback dropped the connection with http.ErrAbortHandler")
)

// run is the life of a connection, from after its handshake to its end. Its
// stages are deferred so that runtime.Goexit in a callback skips none of them.
func (c *Conn) run() {
	defer c.leave()
	defer c.onClose()
	defer c.settle()
	c.end.Code = websocket.StatusAbnormalClosure
	c.out.startHeart(c.limits)
	c.guard(c.open)
	for c.stop == nil {
		c.guard(c.loop)
	}
}

// guard runs f, which calls callbacks, and makes a fault of a panic.
func (c *Conn) guard(f func()) {
	returned := false
	defer func() {
		if returned {
			return
		}
		switch v := recover(); v {
		case nil:
			c.fail(websocket.StatusInternalError, errGoexit)
		case http.ErrAbortHandler:
			c.out.drop(errAborted)
		default:
			c.fail(websocket.StatusInternalError, &PanicError{v, debug.Stack()})
		}
	}()
	f()
	returned = true
}

func (c *Conn) open() {
	if c.ev.OnOpen != nil {
		c.returned(c.ev.OnOpen(c))
	}
}

// loop reads messages and hands them on until the stream ends. Once the
// connection is closing, those that still come are discarded.
func (c *Conn) loop() {
	for {
		m, err := c.next()
		if err != nil {
			var fault *peerError
			if !errors.As(err, &fault) {
				c.stop = err
				return
			}
			c.fail(fault.code, err)
			continue
		}
		if c.out.closing() {
			continue
		}
		if c.ev.OnMessage != nil {
			c.returned(c.ev.OnMessage(c, m))
		}
		c.release()
	}
}

// returned acts on what OnOpen or OnMessage returned.
func (c *Conn) returned(err error) {
	if err == nil {
		return
	}
	var ce websocket.CloseError
	if errors.As(err, &ce) {
		cerr := c.Close(ce.Code, ce.Reason)
		if cerr == nil || errors.Is(cerr, net.ErrClosed) {
			return
		}
		err = fmt.Errorf("%w: a callback returned %w", cerr, err)
	} else if errors.Is(err, net.ErrClosed) && c.out.closing() {
		return
	}
	code := websocket.StatusInternalError
	if fault, ok := err.(*peerError); ok { // a Route's
		code = fault.code
	}
	c.fail(code, err)
}

// fail closes the connection because of a fault, the first of which is reported.
func (c *Conn) fail(code websocket.StatusCode, err error) {
	c.out.close(code, "")
	if c.fault != nil {
		return
	}
	c.fault = err
	if c.ev.OnError != nil {
		c.guardLate(func() { c.ev.OnError(c, err) })
	} else if c.home != nil {
		c.home.report(c.req, err)
	}
}

// guardLate runs OnError or OnClose, after which no Events.OnError may come:
// their panics go to the Upgrader, and to the log when dialling.
func (c *Conn) guardLate(f func()) {
	defer func() {
		v := recover()
		switch {
		case v == nil || v == http.ErrAbortHandler:
		case c.home != nil:
			c.home.report(c.req, &PanicError{v, debug.Stack()})
		default:
			slog.Error((&PanicError{Value: v}).Error(), "stack", string(debug.Stack()))
		}
	}()
	f()
}

// settle works out how the connection ended, and ends it.
func (c *Conn) settle() {
	defer c.hangUp()
	for c.stop == nil {
		c.guard(c.loop)
	}
	if code, fault := c.judge(c.stop); fault != nil {
		c.fail(code, fault)
	}
}

// judge says what the end of the stream means. It returns what is a fault.
func (c *Conn) judge(err error) (websocket.StatusCode, error) {
	var ce websocket.CloseError
	dropped := c.out.dropped()
	switch {
	case errors.As(err, &ce): // the engine's only for a Close frame of the peer's
		c.end = CloseEvent{Code: ce.Code, Reason: ce.Reason, WasClean: true}
		if valid := strings.ToValidUTF8(ce.Reason, "\uFFFD"); valid != ce.Reason {
			c.end.Reason, c.end.WasClean = valid, false
			const code = websocket.StatusInvalidFramePayloadData
			return code, &peerError{code, errors.New("the peer sent a close reason that is not UTF-8")}
		}
	case dropped != nil:
		c.end.Err = dropped
		if dropped == ErrPingTimeout || dropped == ErrWriteTimeout || dropped == ErrBufferFull {
			return websocket.StatusInternalError, dropped
		}
	case c.in.err != nil:
		c.end.Err = fmt.Errorf("ws: the peer went away without a Close frame: %w", c.in.err)
	default:
		const code = websocket.StatusProtocolError
		return code, &peerError{code, err}
	}
	return 0, nil
}

// hangUp ends what is left of the connection but for OnClose.
func (c *Conn) hangUp() {
	if c.stop == nil { // a hook of the engine's called Goexit
		c.out.drop(errGoexit)
	}
	c.disconnect()
	if c.fault != nil {
		c.end.Err = c.fault
	}
	cause := c.end.Err
	if cause == nil {
		cause = websocket.CloseError{Code: c.end.Code, Reason: c.end.Reason}
	}
	c.cancel(cause)
	c.leaveGroups()
}

func (c *Conn) onClose() {
	if c.ev.OnClose != nil {
		c.guardLate(func() { c.ev.OnClose(c, c.end) })
	}
}

// leave is the last step: from here on nobody sees the connection.
func (c *Conn) leave() {
	if c.home != nil {
		c.home.remove(c)
	}
}
