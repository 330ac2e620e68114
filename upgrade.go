//go:build !js

// Package ws makes a WebSocket endpoint as easy as an [http.HandlerFunc],
// behind any router and any middleware:
//
//	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
//		return ws.Events{
//			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
//		}, nil
//	}))
//	http.ListenAndServe(":3000", ws.Guard(mux))
//
// [Upgrade] turns a factory of callbacks into a handler. [Events] says when
// they are called, and what becomes of errors and panics. [Guard], around everything,
// makes the upgrade work behind middleware, and reports who touches the response after it.
// [Dial] is the other end, with the same Conn and Events, and [Route] types both.
//
// The protocol is done by github.com/coder/websocket.
package ws

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

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
	// Engine is the engine's own options: OriginPatterns, which other hosts'
	// pages may connect (default: none), Subprotocols, and CompressionMode
	// (default: none).
	Engine websocket.AcceptOptions

	// Fallback gets requests that are no WebSocket handshake. nil: they get 426
	// Upgrade Required, and a sentence that says what was missing.
	Fallback http.Handler

	// Detach makes the handler return right after the upgrade, with the
	// connection on a goroutine of its own. That frees about half of an idle
	// connection's memory, and ends middleware that measures a request at once.
	// But routers pool what belongs to a request: chi.URLParam(r, …), a gin
	// or an echo context must not be used in callbacks then; read them in the Factory.
	Detach bool

	// OnError gets what no Events takes: refused handshakes as
	// [*HandshakeError], reports of Guard as [*HeaderError], and the faults of
	// connections without Events.OnError. It may be called from any goroutine.
	// nil: slog.Default gets handshakes refused with 5xx, each place that a
	// HeaderError names once, errors of callbacks; and at debug level what
	// peers did wrong.
	OnError func(r *http.Request, err error)

	Limits

	logged sync.Map // the HeaderErrors that were logged

	mu       sync.Mutex // protects the following
	conns    map[*Conn]struct{}
	inflight int           // handshakes under way
	shut     bool          // Shutdown was called
	empty    chan struct{} // closed once shut, with no connection and no handshake left
}

// Upgrade returns a handler that upgrades requests to WebSocket connections. It
// returns when the connection has ended, or right after the upgrade with Detach.
func (u *Upgrader) Upgrade(factory Factory) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { u.serve(w, r, factory) }
}

// Serve upgrades the request inside a handler of one's own. It always answers.
// It returns a [*HandshakeError] if it refused, and nil once the connection was
// upgraded, however it ended, and after Fallback.
func (u *Upgrader) Serve(w http.ResponseWriter, r *http.Request, ev Events) error {
	return u.serve(w, r, func(http.ResponseWriter, *http.Request) (Events, error) { return ev, nil })
}

func (u *Upgrader) serve(w http.ResponseWriter, r *http.Request, factory Factory) error {
	if !isHandshake(r) {
		if u.Fallback != nil {
			u.Fallback.ServeHTTP(w, r)
			return nil
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		err := errors.New("this is a WebSocket endpoint, and the request has no \"Upgrade: websocket\" header" + proxyHint)
		http.Error(w, "ws: "+err.Error(), http.StatusUpgradeRequired)
		return &HandshakeError{http.StatusUpgradeRequired, err}
	}
	g := &gate{u: u, w: w, r: r, factory: factory, header: make(http.Header), below: guardBelow(r)}
	if !u.enter() {
		return g.refuse(&HandshakeError{http.StatusServiceUnavailable, ErrShutdown}, "the server is shutting down")
	}
	c, err := u.handshake(g)
	if err != nil {
		return err
	}
	life := func() { // without g, which holds net/http's buffers
		defer func() {
			if own := c.own.Load(); own != nil {
				own.done()
			}
		}()
		c.run()
	}
	if u.Detach {
		go life()
	} else {
		life()
	}
	return nil
}

// handshake takes the request through the engine's handshake.
func (u *Upgrader) handshake(g *gate) (c *Conn, err error) {
	defer func() { u.exit(c) }() // also when the Factory panics
	opts := u.Engine
	opts.OnPingReceived = pongs(&c, opts.OnPingReceived)
	r := g.r
	if opts.CompressionMode != websocket.CompressionDisabled && r.Header["Sec-Websocket-Extensions"] != nil {
		r = new(http.Request)
		*r = *g.r
		r.Header = maps.Clone(g.r.Header)
		r.Header["Sec-Websocket-Extensions"] = legalOffers(r.Header["Sec-Websocket-Extensions"])
	}
	engine, err := websocket.Accept(g, r, &opts)
	if g.refusal != nil {
		return nil, g.refusal
	}
	if err != nil {
		return nil, g.explain()
	}
	engine.SetReadLimit(-1) // the limit is ours
	c = g.conn
	c.engine, c.subprotocol = engine, engine.Subprotocol()
	c.in.br.Reset((*engineSide)(c))
	c.out.compressAt = compressAt(g.header.Get("Sec-Websocket-Extensions"), "server_no_context_takeover", opts.CompressionThreshold)
	return c, nil
}

// legalOffers returns the extensions that were offered, without those offers of
// permessage-deflate that must be declined (RFC 7692, section 7.1) and that the
// engine takes: with a parameter twice, or with a value that is not allowed or that
// it would have to confirm.
func legalOffers(offered []string) (legal []string) {
	for _, v := range offered {
	offers:
		for offer := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(offer, ";")
			seen := make(map[string]bool)
			for p := range strings.SplitSeq(params, ";") {
				key, value, hasValue := strings.Cut(strings.TrimSpace(p), "=")
				bits, err := strconv.Atoi(value)
				switch {
				case strings.TrimSpace(name) != "permessage-deflate", p == "":
				case seen[key], key == "server_max_window_bits",
					hasValue && (key != "client_max_window_bits" || err != nil || bits < 8 || bits > 15 || value[0] == '0'):
					continue offers
				}
				seen[key] = true
			}
			legal = append(legal, offer)
		}
	}
	return legal
}

const proxyHint = "; a reverse proxy that drops the Upgrade and Connection headers is the usual cause"

// isHandshake reports whether r asks for a WebSocket (RFC 6455, section 4.1;
// RFC 8441, section 4).
func isHandshake(r *http.Request) bool {
	if r.Header["Sec-Websocket-Key"] != nil || r.Header[":protocol"] != nil {
		return true
	}
	for _, v := range r.Header["Upgrade"] {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), "websocket") {
				return true
			}
		}
	}
	return false
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

// exit ends a handshake, which led to c or to nothing.
func (u *Upgrader) exit(c *Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inflight--
	if c != nil {
		if u.conns == nil {
			u.conns = make(map[*Conn]struct{})
		}
		u.conns[c] = struct{}{}
		if u.shut {
			c.Close(websocket.StatusGoingAway, "")
		}
	}
	u.left()
}

func (u *Upgrader) remove(c *Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.conns, c)
	u.left()
}

func (u *Upgrader) left() {
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
		u.mu.Lock()
		conns := slices.Collect(maps.Keys(u.conns))
		u.mu.Unlock()
		for _, c := range conns {
			if !yield(c) {
				return
			}
		}
	}
}

// Shutdown refuses new handshakes with 503, closes every connection with 1001
// (RFC 6455, section 7.4.1) once what was sent on it is written, and waits until all
// their OnClose have returned. When ctx ends it drops those that are left, waits
// for no callback, and returns ctx's error. It may be called again, but not from a
// callback. An Upgrader that was shut down stays so.
//
// Call it before [http.Server.Shutdown], which knows nothing of WebSockets.
func (u *Upgrader) Shutdown(ctx context.Context) error {
	u.mu.Lock()
	if !u.shut {
		u.shut = true
		u.empty = make(chan struct{})
	}
	for c := range u.conns {
		c.Close(websocket.StatusGoingAway, "")
	}
	u.left()
	u.mu.Unlock()
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
	for c := range u.Conns() {
		c.out.drop(ErrShutdown)
	}
	return ctx.Err()
}

// report gives err to OnError, or logs it.
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
	log := slog.With("path", r.URL.Path, "remote", r.RemoteAddr)
	var (
		handshake *HandshakeError
		header    *HeaderError
		peer      *peerError
		panicked  *PanicError
	)
	switch {
	case errors.As(err, &header):
		if _, again := u.logged.LoadOrStore(*header, true); !again {
			log.Warn(err.Error())
		}
	case errors.As(err, &handshake):
		if handshake.Status >= 500 {
			log.Error(err.Error())
		}
	case errors.As(err, &panicked):
		log.Error(err.Error(), "stack", string(panicked.Stack))
	case errors.As(err, &peer), err == ErrPingTimeout, err == ErrWriteTimeout, err == ErrBufferFull:
		log.Debug(err.Error())
	default:
		log.Error("ws: a callback returned an error", "err", err)
	}
}
