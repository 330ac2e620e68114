package ws

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/coder/websocket"
)

// peerError is a fault of the peer's, for which the connection closes with code.
type peerError struct {
	code websocket.StatusCode
	err  error
}

func (e *peerError) Error() string { return "ws: " + e.err.Error() }
func (e *peerError) Unwrap() error { return e.err }

// goesOn reports whether err is a fault after which frames can still be told apart.
func goesOn(err error) bool {
	fault, ok := err.(*peerError)
	return ok && fault.code != websocket.StatusProtocolError
}

// invalidReason is a Close frame from the peer whose reason is not UTF-8.
type invalidReason struct{ frame websocket.CloseError }

func (e *invalidReason) Error() string { return e.frame.Error() }

// wentAway is the end of a stream without a Close frame.
type wentAway struct{ err error }

func (e *wentAway) Error() string {
	return "ws: the peer went away without a Close frame: " + e.err.Error()
}
func (e *wentAway) Unwrap() error { return e.err }

// closeReason is the reason that we send with code.
func closeReason(code websocket.StatusCode) string {
	switch code {
	case websocket.StatusProtocolError:
		return "protocol error"
	case websocket.StatusUnsupportedData:
		return "unsupported data"
	case websocket.StatusInvalidFramePayloadData:
		return "invalid data"
	case websocket.StatusMessageTooBig:
		return "message too big"
	}
	return ""
}

var (
	errGoexit  = errors.New("ws: a callback called runtime.Goexit")
	errAborted = errors.New("ws: a callback dropped the connection with http.ErrAbortHandler")
)

// run is the life of a connection, from after its handshake to its end. Its
// stages are deferred so that runtime.Goexit in a callback skips none of them.
func (c *Conn) run() {
	defer c.leave()
	defer c.close()
	defer c.settle()
	c.end.Code = websocket.StatusAbnormalClosure
	c.out.watch()
	c.safely((*Conn).open)
	for c.stop == nil {
		c.safely((*Conn).loop)
	}
}

// safely runs f, which calls callbacks, and turns a panic into a fault.
func (c *Conn) safely(f func(*Conn)) {
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
		c.out.worked()
	}()
	f(c)
	returned = true
}

func (c *Conn) open() {
	if c.ev.OnOpen != nil {
		c.out.callback(c.in.more())
		c.returned(c.ev.OnOpen(c))
	}
}

// loop reads messages and calls OnMessage until the stream ends. Messages that come
// once the connection is closing are discarded.
func (c *Conn) loop() {
	for {
		c.wait()
		m, err := c.next()
		if err != nil {
			if !goesOn(err) {
				c.stop = err
				return
			}
			c.fail(err.(*peerError).code, err)
			continue
		}
		if c.ev.OnMessage != nil && !c.out.closing() {
			c.out.callback(c.in.more())
			c.returned(c.ev.OnMessage(c, m))
		}
		c.release()
	}
}

// returned acts on what OnOpen or OnMessage returned.
func (c *Conn) returned(err error) {
	if err != nil {
		c.failed(err)
	}
	if c.out.closing() {
		c.out.worked()
	}
}

// failed acts on an error of OnOpen or OnMessage.
func (c *Conn) failed(err error) {
	var ce websocket.CloseError
	var pointer *websocket.CloseError
	if errors.As(err, &pointer) && pointer != nil {
		ce = *pointer
	}
	if pointer != nil || errors.As(err, &ce) {
		cerr := c.Close(ce.Code, ce.Reason)
		if cerr == nil || errors.Is(cerr, net.ErrClosed) {
			return
		}
		err = fmt.Errorf("%w: a callback returned %w", cerr, err)
	} else if errors.Is(err, net.ErrClosed) && c.out.ending() {
		return
	}
	c.fail(websocket.StatusInternalError, err)
}

// fail closes the connection because of a fault. Only the first is reported.
func (c *Conn) fail(code websocket.StatusCode, err error) {
	c.sendClose(code, closeReason(code))
	if c.fault != nil {
		return
	}
	c.fault = err
	if c.ev.OnError != nil {
		c.out.callback(c.in.more())
		c.safelyLast(func() { c.ev.OnError(c, err) })
		c.out.worked()
	} else if c.owner != nil {
		c.report(err)
	}
}

// safelyLast runs OnError or OnClose. No Events.OnError may come after them, so their
// panics go to the Upgrader, or to the log when dialling.
func (c *Conn) safelyLast(f func()) {
	defer func() {
		v := recover()
		switch {
		case v == nil || v == http.ErrAbortHandler:
		case c.owner != nil:
			c.report(&PanicError{v, debug.Stack()})
		default:
			slog.Error((&PanicError{Value: v}).Error(), "stack", string(debug.Stack()))
		}
	}()
	f()
}

// report gives err to the Upgrader.
func (c *Conn) report(err error) { c.owner.report(c.req, err) }

// settle works out how the connection ended.
func (c *Conn) settle() {
	defer c.hangUp()
	for c.stop == nil {
		c.safely((*Conn).loop)
	}
	if code, fault := c.judge(c.stop); fault != nil {
		c.fail(code, fault)
	}
}

// judge settles what the end of the stream means, and returns an error if it is a fault.
func (c *Conn) judge(err error) (websocket.StatusCode, error) {
	invalid, _ := err.(*invalidReason)
	frame, closed := err.(websocket.CloseError) // the peer's
	if invalid != nil {
		frame, closed = invalid.frame, true
	}
	fault, wrong := err.(*peerError)
	dropped := c.out.dropped()
	switch {
	case closed:
		c.end = CloseEvent{Code: frame.Code, Reason: strings.ToValidUTF8(frame.Reason, "\uFFFD"), WasClean: true}
		if invalid != nil {
			c.end.WasClean = false
			const code = websocket.StatusInvalidFramePayloadData
			return code, &peerError{code, errors.New("the peer sent a close reason that is not UTF-8")}
		}
	case dropped != nil:
		c.end.Err = dropped
		if dropped == ErrPingTimeout || dropped == ErrWriteTimeout || dropped == ErrBufferFull {
			return websocket.StatusInternalError, dropped
		}
	case wrong && !c.out.closing():
		return fault.code, fault
	case wrong:
		c.end.Err = fault
	default:
		c.end.Err = &wentAway{err}
	}
	return 0, nil
}

// hangUp disconnects, and ends everything that comes before OnClose.
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

func (c *Conn) close() {
	if c.ev.OnClose != nil {
		c.safelyLast(func() { c.ev.OnClose(c, c.end) })
	}
}

// leave is the last step: from here on nobody sees the connection.
func (c *Conn) leave() {
	if c.owner != nil {
		c.owner.remove(c)
	}
}
