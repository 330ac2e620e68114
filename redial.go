package ws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// Retry says when [Redial] comes back. Its zero value is ready.
type Retry struct {
	// First is the wait before the first attempt to come back, by default 500 ms. It doubles
	// with each attempt that fails, up to Max, by default 30 s. Each wait is shortened at
	// random by up to half, so that not all clients of a restarted server come at once,
	// and lengthened by the answer's Retry-After, up to an hour (RFC 9110, section 10.2.3).
	// A connection that did not last as long as the wait before it counts as an attempt that failed.
	First, Max time.Duration

	// After says whether to come back after this end. For an attempt that failed err says
	// why, and e.Code is 1006. If the client closed first, e.Code is the code it closed with.
	// nil: [DefaultAfter].
	After func(e CloseEvent, err *HandshakeError) bool

	// Waiting is called before each wait, with its length and what After got;
	// err is nil if there was a connection. nil: nothing is called.
	Waiting func(d time.Duration, e CloseEvent, err error)
}

// DefaultAfter is what a nil Retry.After does, for an After that adds to it:
//
//	After: func(e ws.CloseEvent, err *ws.HandshakeError) bool {
//		return err != nil && err.Status == 401 || ws.DefaultAfter(e, err) // with a new token
//	}
//
// It is false where it would end in the same way again: after the close codes 1000, 1002,
// 1003, 1007 to 1010 and 4000 to 4999 (RFC 6455, section 7.4.1), and after a handshake that
// was refused with a status below 500, but for 408, 425 and 429, or with 501. The browser tells
// no status; there it is false if the browser does not even try, as with a malformed subprotocol.
func DefaultAfter(e CloseEvent, err *HandshakeError) bool {
	if err == nil {
		c := e.Code
		return c != 1000 && c != 1002 && c != 1003 && !(1007 <= c && c <= 1010) && !(4000 <= c && c <= 4999)
	}
	switch s := err.Status; s {
	case 0:
		return err.kind != impossible
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	default:
		return s >= 500 && s != http.StatusNotImplemented
	}
}

// Redial keeps a connection to rawURL: it dials as [Dial] does, and again when
// the connection ends or an attempt fails, as r says; r may be nil. It returns:
//
//   - when ctx ends: ctx's error. The connection is closed with 1000.
//   - when r's After says no: nil after a close with 1000, a [websocket.CloseError] after
//     one with another code, and a [*HandshakeError] after a refusal.
//   - when f returns an error: that error. But a [*HandshakeError], or a [net.Error], as it comes from
//     asking for a token while the network is down, counts as an attempt that failed.
//   - when it can't be dialled at all, because of a malformed URL, say: Dial's error.
//
// f is called before every attempt and returns its callbacks and options; the options may be nil.
// It can renew a token, or put the number of the last message received into the query, for the
// server to go on from. f and the callbacks run on the goroutine that called
// Redial, which returns after OnClose. Conn.Close ends Redial if After says no to its code, whatever
// the peer answers. A handshake may take 10 s, or the Timeout of Engine.HTTPClient.
//
// In the browser a wait also ends when the browser is online again, and the waits begin anew.
func Redial(ctx context.Context, rawURL string, f func() (Events, *DialOptions, error), r *Retry) error {
	return redial(ctx, r, f, func(ctx context.Context, ev Events, opts *DialOptions) (*Conn, error) {
		return dialURL(ctx, rawURL, ev, opts)
	})
}

// Redial keeps a connection to the route's server at base, as [Redial] does. It dials as
// Route.Dial does; f may change the parameters.
func (rt Route[In, Out]) Redial(ctx context.Context, base string, f func() (RouteEvents[Out, In], *DialOptions, error), r *Retry) error {
	return redial(ctx, r, f, func(ctx context.Context, ev RouteEvents[Out, In], opts *DialOptions) (*Conn, error) {
		c, err := rt.dial(ctx, base, ev, opts)
		if err != nil {
			return nil, err
		}
		return c.conn, nil
	})
}

func redial[E any](ctx context.Context, r *Retry, f func() (E, *DialOptions, error), dial func(context.Context, E, *DialOptions) (*Conn, error)) error {
	if r == nil {
		r = &Retry{}
	}
	after := r.After
	if after == nil {
		after = DefaultAfter
	}
	longest := cmp.Or(max(r.Max, 0), 30*time.Second)
	first := min(cmp.Or(max(r.First, 0), 500*time.Millisecond), longest)
	for wait, next := time.Duration(0), first; ctx.Err() == nil; {
		e, lasted, err := once(ctx, f, dial)
		if ctx.Err() != nil {
			break
		}
		var failed *HandshakeError
		if err != nil && !errors.As(err, &failed) {
			return err
		}
		if !after(e, failed) {
			if err == nil {
				err = e.asError()
			}
			return err
		}
		if lasted >= wait {
			next = first
		}
		wait = next
		next += min(next, longest-next)
		d := wait - rand.N(wait/2+1) + failed.retryAfter()
		if r.Waiting != nil {
			r.Waiting(d, e, err)
		}
		if online := pause(ctx, d); online {
			next = first
		}
	}
	return ctx.Err()
}

// once makes one attempt, and runs the connection that comes of it, if it does.
func once[E any](ctx context.Context, f func() (E, *DialOptions, error), dial func(context.Context, E, *DialOptions) (*Conn, error)) (e CloseEvent, lasted time.Duration, err error) {
	e.Code = websocket.StatusAbnormalClosure
	ev, opts, err := f()
	if err != nil {
		var failed *HandshakeError
		var network net.Error
		if !errors.As(err, &failed) && errors.As(err, &network) {
			err = &HandshakeError{Err: err}
		}
		e.Err = err
		return e, 0, err
	}
	if opts == nil {
		opts = &DialOptions{}
	}
	attempt, cancel := context.WithTimeout(ctx, opts.handshakeTimeout())
	c, err := dial(attempt, ev, opts)
	cancel()
	if err != nil {
		e.Err = err
		return e, 0, err
	}
	begin := time.Now()
	defer context.AfterFunc(ctx, func() { c.Close(websocket.StatusNormalClosure, "") })()
	c.run()
	e = c.end
	if code := c.sentCode.Load(); code != 0 {
		e.Code = websocket.StatusCode(code)
	}
	return e, time.Since(begin), nil
}

// asError returns the error that stands for the end of a connection; nil: a normal one.
func (e CloseEvent) asError() error {
	err := websocket.CloseError{Code: e.Code, Reason: e.Reason}
	switch {
	case e.Code == websocket.StatusNormalClosure:
		return nil
	case e.Err != nil:
		return fmt.Errorf("%w: %w", e.Err, err)
	}
	return err
}

// retryAfter is what the answer's Retry-After says (RFC 9110, section 10.2.3), up to an hour.
func (e *HandshakeError) retryAfter() time.Duration {
	if e == nil {
		return 0
	}
	text := e.Header.Get("Retry-After")
	d := time.Duration(0)
	if seconds, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(seconds, 3600)) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		d = time.Until(date)
	}
	return min(max(d, 0), time.Hour)
}
