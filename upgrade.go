//go:build !js

package ws

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Upgrade returns a handler that upgrades requests to WebSocket connections
// with [DefaultUpgrader].
func Upgrade(factory Factory) http.HandlerFunc { return DefaultUpgrader.Upgrade(factory) }

// DefaultUpgrader is the Upgrader of [Upgrade]. Libraries should have one of
// their own: Shutdown ends an Upgrader for good.
var DefaultUpgrader = &Upgrader{}

// Upgrader turns requests into connections. Its zero value is ready. It must
// not be copied, nor its fields changed, after first use.
type Upgrader struct {
	// Engine is the engine's own options, all of which have a meaning here:
	//
	//   - OriginPatterns: which other hosts' pages may connect; default: none. A page may
	//     always connect to its own host; default ports are equal to none. An Origin of
	//     "null" matches the pattern "null" alone, and an empty pattern matches nothing.
	//   - InsecureSkipVerify: pages of any host may connect.
	//   - Subprotocols: the first of them that the client offers is chosen, unless the
	//     Factory chooses.
	//   - CompressionMode: default: no compression (RFC 7692). With CompressionContextTakeover
	//     a connection holds up to 52 KiB between messages, with CompressionNoContextTakeover nothing.
	//   - CompressionThreshold: from which length on messages are compressed; 0: of 128
	//     bytes, without context takeover 512.
	//   - OnPingReceived and OnPongReceived: called between callbacks, on their goroutine,
	//     with the connection's Context. The payload is valid until they return.
	Engine websocket.AcceptOptions

	// CheckOrigin reports whether the page that a request comes from may
	// connect, in place of Engine's rules. A request without an Origin header comes
	// from no page. nil: Engine's rules.
	CheckOrigin func(r *http.Request) bool

	// RejectWithClose tells a page why a Factory refused it, which browsers hide
	// otherwise: a request with an Origin header that [Reject] refuses is upgraded, and
	// closed at once with the code 4000 + status and the reason, of which 123 bytes fit.
	// No callback is called. Default: everybody gets the status.
	RejectWithClose bool

	// Fallback gets requests that are no WebSocket handshake. nil: they get 426
	// Upgrade Required, and a sentence that says what was missing.
	Fallback http.Handler

	// Detach makes the handler return right after the upgrade, with the
	// connection on a goroutine of its own. That frees a third to a half of an idle
	// connection's memory, and ends middleware that measures a request at once.
	// But routers pool what belongs to a request: chi.URLParam(r, …), a gin
	// or an echo context must not be used in callbacks then; read them in the Factory.
	// Over HTTP/2 Guard waits in the handler's place: net/http ends the stream when it returns.
	Detach bool

	// OnError gets what no Events takes: refused handshakes as
	// [*HandshakeError], reports of Guard as [*HeaderError], and the faults of
	// connections without Events.OnError. It may be called from any goroutine.
	// nil: LogError.
	OnError func(r *http.Request, err error)

	Limits

	mu       sync.Mutex     // protects the following
	conns    map[*Conn]bool // false: it only tells a refusal, and Conns does not yield it
	inflight int            // handshakes under way
	shut     bool           // Shutdown was called
	empty    chan struct{}  // closed once shut, with no connection and no handshake left
	logged   map[place]bool // what is logged once only
}

// Upgrade returns a handler that upgrades requests to WebSocket connections. It
// returns when the connection has ended, or right after the upgrade with Detach.
// It panics if factory is nil.
func (u *Upgrader) Upgrade(factory Factory) http.HandlerFunc {
	if factory == nil {
		panic("ws: Upgrade needs a Factory, and got nil")
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if c, _ := u.serve(w, r, factory); c != nil {
			c.run()
		}
	}
}

// Serve upgrades the request inside a handler of your own. It always answers.
// It returns a [*HandshakeError] if it refused, and nil once the connection was
// upgraded, however it ended, and after Fallback.
func (u *Upgrader) Serve(w http.ResponseWriter, r *http.Request, ev Events) error {
	c, err := u.serve(w, r, func(http.ResponseWriter, *http.Request) (Events, error) { return ev, nil })
	if c != nil {
		c.run()
	}
	return err
}

// serve answers the request. It returns a connection if that is to run on the caller's goroutine, which then
// needs less of a stack than if serve ran it.
func (u *Upgrader) serve(w http.ResponseWriter, r *http.Request, factory Factory) (*Conn, error) {
	if !isHandshake(r) {
		return nil, u.serveOther(w, r)
	}
	h := &handshake{u: u, w: w, r: r, bottom: w, guard: findGuard(w, r)}
	if e := h.judge(); e != nil {
		return nil, h.answerAndReport(e, "ws: "+e.Err.Error())
	}
	if !u.enter() {
		return nil, h.answerAndReport(refuse(http.StatusServiceUnavailable, errShutDown), "the server is shutting down")
	}
	c, refused := h.upgrade(factory)
	switch {
	case c == nil:
	case refused != nil: // it is over once the client answers the Close frame
		go c.run()
	case u.Detach:
		go c.run()
		return nil, nil
	default:
		return c, nil
	}
	h.report(refused)
	return nil, refused
}

var errShutDown = fmt.Errorf("Upgrader.Shutdown was called: %w", ErrShutdown)

// serveOther answers a request that is no handshake.
func (u *Upgrader) serveOther(w http.ResponseWriter, r *http.Request) error {
	if u.Fallback != nil {
		u.Fallback.ServeHTTP(w, r)
		return nil
	}
	askForUpgrade(w.Header(), r)
	e := refuse(http.StatusUpgradeRequired,
		errors.New("this is a WebSocket endpoint, and the request has no \"Upgrade: websocket\" header"+proxyHint(r)))
	http.Error(w, "ws: "+e.Err.Error(), e.Status)
	return e
}

// upgrade makes a connection that is ready to run of a good handshake. If it returns both a
// connection and an error, the connection is only there to tell the client that it is refused.
func (h *handshake) upgrade(factory Factory) (c *Conn, e *HandshakeError) {
	defer func() { // also when the Factory or a middleware panics
		if h.switching {
			h.guard.switchFailed(nil)
		}
		h.u.exit(c, e == nil)
	}()
	if h.guard != nil {
		if h.bottom, h.below, h.before = h.guard.begin(); h.bottom == nil {
			return nil, refuse(0, errTooLate)
		}
	}
	if err := hijackable(h.bottom); err != nil {
		h.answer(http.StatusNotImplemented, "ws: "+err.Error())
		return nil, refuse(http.StatusNotImplemented, err)
	}
	h.chain = h.w.Header()
	if e = h.ask(factory); e != nil {
		return nil, e
	}
	if e = h.announce(); e != nil {
		return nil, e
	}
	if err := h.hijack(); err != nil {
		return nil, h.notHijacked(err)
	}
	c = h.newConn()
	if h.guard != nil {
		h.switching = false
		h.guard.switchedTo(h.sent, c)
	}
	h.fw.upgraded(h.sent, c)
	if err := c.accept(h.sent); err != nil {
		h.conn.Close()
		c.cancel(err)
		return nil, refuse(0, err)
	}
	if h.rejected != nil {
		c.Close(websocket.StatusCode(4000+h.rejected.Status), h.closeReason())
	}
	return c, h.rejected
}

// newConn makes the Conn. Of the handshake it keeps only what Conn.Request promises.
func (h *handshake) newConn() *Conn {
	c := &Conn{ev: h.ev, owner: h.u, limits: h.u.Limits.withDefaults(), subprotocol: h.subprotocol}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(h.r.Context()))
	c.req = h.r.WithContext(c.ctx)
	c.req.Body = http.NoBody
	c.onPing, c.onPong = h.u.Engine.OnPingReceived, h.u.Engine.OnPongReceived
	early, _ := h.brw.Reader.Peek(h.brw.Reader.Buffered())
	if s, ok := h.conn.(*http2Conn); ok {
		s.patient = true
	}
	c.attach(h.conn, nil, early, false)
	*h.brw.Reader = bufio.Reader{} // net/http holds it, and its buffer
	c.useExtension(h.extension, h.u.Engine.CompressionThreshold)
	return c
}

// accept writes the 101. A new socket takes it without waiting.
func (c *Conn) accept(sent headerList) error {
	f := getBuffer(1)
	defer f.free()
	f.b = appendSwitching(f.b, sent)
	b := f.b
	if c.out.raw != nil {
		n, err := c.out.write(b, nil, false)
		if b = b[n:]; err != nil || len(b) == 0 {
			return err
		}
	}
	c.out.sock.SetWriteDeadline(time.Now().Add(c.limits.WriteTimeout))
	defer c.out.sock.SetWriteDeadline(time.Time{})
	_, err := c.out.sock.Write(b)
	return err
}

// enter counts a handshake that is under way, unless the Upgrader is shut down.
func (u *Upgrader) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.shut {
		return false
	}
	u.inflight++
	return true
}

// exit ends a handshake, which led to c or to nothing. Conns yields c if it is live.
func (u *Upgrader) exit(c *Conn, live bool) {
	u.mu.Lock()
	u.inflight--
	shut := u.shut
	if c != nil {
		if u.conns == nil {
			u.conns = make(map[*Conn]bool)
		}
		u.conns[c] = live
	}
	u.checkEmpty()
	u.mu.Unlock()
	if c != nil && shut {
		c.Close(websocket.StatusGoingAway, "")
	}
}

func (u *Upgrader) remove(c *Conn) {
	u.mu.Lock()
	delete(u.conns, c)
	u.checkEmpty()
	u.mu.Unlock()
	if f := c.asked.Load(); f != nil {
		f.finish()
	}
}

// checkEmpty lets Shutdown return if nothing is left.
func (u *Upgrader) checkEmpty() {
	if u.shut && u.inflight == 0 && len(u.conns) == 0 {
		select {
		case <-u.empty:
		default:
			close(u.empty)
		}
	}
}

// Conns yields the connections that are live at the moment when the iteration
// begins: from before their OnOpen until after their OnClose.
func (u *Upgrader) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for _, c := range u.all(false) {
			if !yield(c) {
				return
			}
		}
	}
}

// all returns the connections, also those that stand for a refusal.
func (u *Upgrader) all(refused bool) (conns []*Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c, live := range u.conns {
		if live || refused {
			conns = append(conns, c)
		}
	}
	return conns
}

// Shutdown refuses new handshakes with 503, closes every connection with 1001
// (RFC 6455, section 7.4.1) once what was sent on it is written, and waits until all
// their OnClose have returned. When ctx ends it drops those that are left, waits
// for no callback, and returns ctx's error. It may be called again, but not from a
// callback. An Upgrader that was shut down stays so.
//
// Call it before [http.Server.Shutdown], which forgets the WebSockets of HTTP/1.1 and waits for those of HTTP/2.
func (u *Upgrader) Shutdown(ctx context.Context) error {
	u.mu.Lock()
	if !u.shut {
		u.shut = true
		u.empty = make(chan struct{})
	}
	u.checkEmpty()
	u.mu.Unlock()
	for _, c := range u.all(true) {
		c.Close(websocket.StatusGoingAway, "")
	}
	select {
	case <-u.empty:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-u.empty: // both: nothing is left
		return nil
	default:
	}
	for _, c := range u.all(true) {
		c.out.drop(ErrShutdown)
	}
	return ctx.Err()
}

// report gives err to OnError.
func (u *Upgrader) report(r *http.Request, err error) {
	defer func() {
		if v := recover(); v != nil {
			slog.Error("ws: Upgrader.OnError panicked", "panic", v, "err", err)
		}
	}()
	if u.OnError != nil {
		u.OnError(r, err)
		return
	}
	u.LogError(r, err)
}

// place is where something happens that is logged once.
type place struct {
	what, where string
	line        int
}

// first reports whether it is called with p for the first time. Places are those of the
// program, not the client's to choose; there is a bound all the same.
func (u *Upgrader) first(p place) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.logged[p] || len(u.logged) >= 1000 {
		return false
	}
	if u.logged == nil {
		u.logged = make(map[place]bool)
	}
	u.logged[p] = true
	return true
}

// LogError does what a nil OnError does, for an OnError that adds to it. It logs to [slog.Default]:
//
//   - at error level handshakes that were refused with a status from 500 on, and errors and panics of callbacks
//   - at warn level each place that a [*HeaderError] names, once; and of each route (http.Request.Pattern) the
//     first foreign Origin, the first handshake that lacks what a proxy should pass on, and the first that a
//     Factory answered itself without an error, each with what to do about it
//   - at debug level what peers did wrong
//
// Other refusals are not logged.
func (u *Upgrader) LogError(r *http.Request, err error) {
	log := slog.With("path", r.URL.Path, "remote", r.RemoteAddr)
	var (
		handshake *HandshakeError
		peer      *peerError
		panicked  *PanicError
	)
	header, isReport := err.(*HeaderError) // not one that a callback wrapped
	switch {
	case isReport:
		if u.first(place{header.Op, header.File, header.Line}) {
			log.Warn(err.Error())
		}
	case errors.As(err, &handshake) && handshake.kind == refusal: // and no callback's error
		if handshake.Status >= 500 {
			log.Error(err.Error())
		} else if handshake.hint != "" && u.first(place{handshake.hint, r.Pattern, 0}) {
			log.Warn(err.Error(), "host", r.Host, "origin", r.Header.Get("Origin"), "hint", handshake.hint)
		}
	case errors.As(err, &panicked):
		log.Error(err.Error(), "stack", string(panicked.Stack))
	case errors.As(err, &peer), err == ErrPingTimeout, err == ErrWriteTimeout, err == ErrBufferFull:
		log.Debug(err.Error())
	default:
		log.Error("ws: a callback returned an error", "err", err)
	}
}
