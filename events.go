package ws

import (
	"encoding/json"
	"fmt"

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
//   - a [websocket.CloseError] or a pointer to one: it closes with that code and reason.
//   - an error that is [net.ErrClosed], while the connection is closing: nothing
//     happens, so that "return c.Send(m)" is safe.
//   - any other error: it goes to OnError, and the connection closes with 1011.
//
// A callback that panics does the same with a [*PanicError];
// panic([http.ErrAbortHandler]) drops the connection without a word.
type Events struct {
	// OnOpen is called first, after the handshake. OnClose always follows, even if
	// OnOpen fails, and can release what OnOpen has acquired.
	OnOpen func(c *Conn) error

	// OnMessage is called for each text or binary message (RFC 6455, section 5.6).
	OnMessage func(c *Conn, m Message) error

	// OnClose is called last, also after an error. The connection's Context
	// has ended and nothing can be sent any more.
	OnClose func(c *Conn, e CloseEvent)

	// OnError is called for faults: errors and panics of callbacks, protocol
	// violations, messages that are too big or not UTF-8, timeouts. A peer
	// that goes away is no fault. nil: Upgrader.OnError gets them; a client's
	// are in CloseEvent.Err alone.
	OnError func(c *Conn, err error)

	// Value is what Conn.Value returns: whose connection it is, say, for code
	// that has only the Conn, such as a loop over a Group.
	Value any
}

// Message is one text or binary message.
type Message struct {
	Type websocket.MessageType
	// Data of a received message may be kept and changed by the callback, unless
	// Limits.ReuseData is set. Data of a message that is sent is copied.
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

// Decode decodes the message's data as JSON into v, whatever its type. An OnMessage that returns its
// error closes with 1011, as for any other; a websocket.CloseError with 1007 says that the peer is at fault.
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
	// Err is what OnError got, or else why there was no valid Close frame. It is
	// nil after a close without fault.
	Err error
}

// PanicError is what OnError gets when a callback has panicked.
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
