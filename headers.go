//go:build !js

package ws

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"sync"
)

// A WebSocket upgrade takes the connection away from net/http, and whatever
// stands between them. That breaks both ways:
//
//   - The engine answers with WriteHeader(101) and then hijacks. A writer that
//     buffers its status until the first Write, as those of compressing
//     middlewares do, swallows the 101: the client waits for ever.
//   - Middleware that sets a header or a status after the next handler has
//     returned sets it on a response that is gone. Nobody ever tells.
//
// So the engine never answers: this package hijacks, and writes the 101 to the
// connection itself. Guard's writer below all middleware lets them see the 101 on
// its way, and freezes: what comes later is reported to whom it concerns.

// Guard makes WebSocket upgrades by this package work behind any middleware. Wrap the outermost handler with it, once:
//
//	http.ListenAndServe(":3000", ws.Guard(mux)) // or http.DefaultServeMux, not nil
//
// The middlewares inside see WriteHeader(101) as they would see any status, the headers that
// they set go out with the 101, and writers that hide [http.Hijacker], as
// [http.TimeoutHandler]'s do, do no harm. After the 101 the response is frozen:
// a header that is set or deleted, a WriteHeader, Write or Flush has no effect and
// goes to Upgrader.OnError as a [*HeaderError], which names the function that did it.
//
// Requests that are no WebSocket handshake get the writer that Guard got.
// Upgrades by other packages and reverse proxies pass through.
//
// To the handlers inside, a handshake over HTTP/2 (RFC 8441) is a GET request of HTTP/1.1 with a connection of its
// own, which other packages and reverse proxies can upgrade too. net/http's server offers it if
// github.com/seed412db446/ws/http2 is imported. The stream ends when the handler has returned and the connection is closed.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isHandshake(r) || findGuard(w, r) != nil {
			next.ServeHTTP(w, r)
			return
		}
		if isHTTP2Handshake(r) {
			serveHTTP2(w, next, r)
			return
		}
		serveGuarded(w, next, r)
	})
}

// serveGuarded is on the stack of whatever runs on Guard's own goroutine.
func serveGuarded(w http.ResponseWriter, next http.Handler, r *http.Request) {
	g, r := newGuardWriter(w, r)
	defer g.finish()
	next.ServeHTTP(g, r)
}

var guardEntry = reflect.ValueOf(serveGuarded).Pointer()

// onGuardsGoroutine reports whether Guard's handler is on the stack. It looks from
// the outermost function on, near which Guard is.
func onGuardsGoroutine() bool {
	var pcs [32]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for i := n - 1; i >= 0; i-- {
			if f := runtime.FuncForPC(pcs[i] - 1); f != nil && f.Entry() == guardEntry {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}

type guardKey struct{}

// findGuard returns the writer of the Guard that r has passed: by the context,
// or by w, for middleware may replace either.
func findGuard(w http.ResponseWriter, r *http.Request) *guardWriter {
	if g, ok := r.Context().Value(guardKey{}).(*guardWriter); ok {
		return g
	}
	g, _ := find[*guardWriter](w)
	return g
}

// response is what the writers of Guard and of a Factory have in common. It passes an
// answer on until the upgrade. Then it freezes, and finds out who touches it.
type response struct {
	mu     sync.Mutex // protects the following, and what the two have of their own
	w      http.ResponseWriter
	state  responseState
	own    bool                              // it is the response of a Factory
	wrote  bool                              // a final status was written, or somebody else has the connection
	status int                               // that was written
	conn   net.Conn                          // was hijacked while switching
	brw    *bufio.ReadWriter                 // likewise
	added  interface{ changes() headerList } // what an answer gets into its header; nil: nothing

	sent    headerList  // the header as it went out with the 101
	seen    headerList  // what view was at the last call
	view    http.Header // what Header returns; nil until somebody asks
	blame   map[string]caller
	last    caller // of the last call
	to      reporter
	found   []error // to be reported
	telling bool    // found is being reported: what happens meanwhile is the doing of report itself
}

// reporter is a handshake or a Conn: it knows its Upgrader.
type reporter interface{ report(error) }

type responseState int

const (
	passing   responseState = iota
	switching               // from WriteHeader(101) to the hijack
	frozen                  // upgraded by us
	finished                // the handler has returned, or the switch failed and was answered
)

func (p *response) WriteHeader(status int) {
	if w, status := p.pass("WriteHeader", status, status != http.StatusSwitchingProtocols); w != nil {
		w.WriteHeader(status)
	}
}

func (p *response) Write(b []byte) (int, error) {
	if w, _ := p.pass("Write", 0, len(b) > 0); w != nil {
		return w.Write(b)
	}
	return 0, http.ErrHijacked
}

func (p *response) ReadFrom(r io.Reader) (int64, error) {
	if w, _ := p.pass("Write", 0, true); w != nil {
		return io.Copy(w, r)
	}
	return 0, http.ErrHijacked
}

func (p *response) Flush() { p.FlushError() }

func (p *response) FlushError() error {
	if w, _ := p.pass("Flush", 0, true); w != nil {
		return http.NewResponseController(w).Flush()
	}
	return http.ErrHijacked
}

// pass returns the writer below, for an answer, and its status. After the upgrade it returns no
// writer, and reports the call if it counts. status is WriteHeader's; 0 for other calls.
func (p *response) pass(op string, status int, counts bool) (http.ResponseWriter, int) {
	p.mu.Lock()
	switch {
	case p.state == passing:
		defer p.mu.Unlock()
		if !p.wrote {
			if p.added != nil {
				p.added.changes().copyTo(p.w.Header())
				if status == http.StatusSwitchingProtocols { // it is not a Factory's to send
					status = http.StatusInternalServerError
				}
			}
			if status >= 200 || status == 0 || status == http.StatusSwitchingProtocols {
				p.wrote, p.status = true, max(status, http.StatusOK)
			}
		}
		return p.w, status
	case counts && p.state == switching: // another goroutine's, a timeout's say
		p.reportCall(here(op), status)
	case counts && p.state == frozen:
		c := here(op)
		p.reportChanges(c)
		p.reportCall(c, status)
	}
	p.mu.Unlock()
	p.deliver()
	return nil, 0
}

// Hijack gives the connection to whoever asks for it before our upgrade. While switching, that
// is the handshake, by way of the chain.
func (p *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state > switching:
		return nil, nil, http.ErrHijacked
	case p.conn != nil: // the chain's Hijack failed after it had been here
		return p.conn, p.brw, nil
	}
	hj, ok := find[http.Hijacker](p.w)
	if !ok {
		return nil, nil, http.ErrNotSupported
	}
	conn, brw, err := hj.Hijack()
	if err == nil {
		if p.wrote = true; p.state == switching {
			p.conn, p.brw = conn, brw
		}
	}
	return conn, brw, err
}

// Unwrap lets http.ResponseController reach net/http's writer until the upgrade.
func (p *response) Unwrap() http.ResponseWriter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state <= switching {
		return p.w
	}
	return gone{}
}

// gone is the writer under one that is frozen.
type gone struct{}

func (gone) Header() http.Header       { return http.Header{} }
func (gone) Write([]byte) (int, error) { return 0, http.ErrHijacked }
func (gone) WriteHeader(int)           {}

// freeze notes that the client has got sent. It is called with the mutex held, as
// is header.
func (p *response) freeze(sent headerList, to reporter) {
	p.state, p.sent, p.seen, p.to = frozen, sent, sent, to
	p.blame, p.last, p.conn, p.brw = nil, caller{}, nil, nil
	if p.view != nil { // somebody may have it
		clear(p.view)
		sent.copyTo(p.view)
	}
}

// header returns the view.
func (p *response) header() http.Header {
	if p.view == nil {
		p.view = p.sent.header()
	}
	p.noteChanges(here("Header"))
	return p.view
}

// guardWriter is Guard's writer.
//
// Anybody may hold the header map of the writer below: a middleware that runs the
// handler on another goroutine, for a timeout, may set headers meanwhile. So
// only Guard's own goroutine looks at it. There is one exception: when a handshake begins on
// another goroutine, because the headers that were set before must go out with the 101.
type guardWriter struct {
	response
	switched  sync.Cond   // signals the end of switching
	below     http.Header // w's, once a handshake has begun
	elsewhere bool        // the handshake runs on another goroutine than Guard: view is used, and below not looked at
	before    headerList  // what below was at the last look
	stale     headerList  // headers of below that those of the handshake have replaced
}

func (g *guardWriter) Header() http.Header {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.state == finished:
		return http.Header{}
	case g.state == frozen:
		return g.header()
	case g.below == nil || g.wrote && g.state == passing:
		return g.w.Header()
	case g.elsewhere && g.state == switching && !onGuardsGoroutine():
		return g.view
	}
	return g.below
}

// CloseNotify is there for middlewares that keep a writer's Hijacker only if it
// has all that net/http's writer has.
func (g *guardWriter) CloseNotify() <-chan bool {
	if n, ok := find[http.CloseNotifier](g.Unwrap()); ok {
		return n.CloseNotify()
	}
	return nil // which never yields
}

// newGuardWriter returns Guard's writer, and the request by whose context it is found.
func newGuardWriter(w http.ResponseWriter, r *http.Request) (*guardWriter, *http.Request) {
	g := &guardWriter{response: response{w: w}}
	g.switched.L = &g.mu
	return g, r.WithContext(context.WithValue(r.Context(), guardKey{}, g))
}

// begin is called when a handshake has begun. It returns the writer below and its header, and
// a copy of that if this is not Guard's goroutine. If the request has been answered already
// it returns no writer.
func (g *guardWriter) begin() (w http.ResponseWriter, below http.Header, before headerList) {
	elsewhere := !onGuardsGoroutine()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != passing || g.wrote {
		return nil, nil, nil
	}
	g.below = g.w.Header()
	if g.elsewhere = elsewhere; elsewhere {
		g.before = listHeader(g.below)
	}
	return g.w, g.below, g.before
}

// switchTo is called before the 101 goes down the chain, with what the handshake
// adds to the header. From here on the response belongs to the handshake. It
// reports false if the request has been answered.
func (g *guardWriter) switchTo(added headerList, to reporter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != passing || g.wrote {
		return false
	}
	g.state, g.to = switching, to
	live := g.below
	if g.elsewhere {
		g.view = g.before.header()
		live = g.view
	}
	g.stale = removeHandshakeHeaders(live)
	added.copyTo(live)
	return true
}

// toSend returns the header when the 101 has gone down the chain.
func (g *guardWriter) toSend() headerList {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.elsewhere {
		return listHeader(g.view)
	}
	g.before = listHeader(g.below)
	return g.before
}

// switchedTo is called when the connection is ours and sent is on its way.
func (g *guardWriter) switchedTo(sent headerList, c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.freeze(sent, c)
	g.switched.Broadcast()
}

// switchFailed is called when it is not. answer writes the response; it is nil
// after a panic, for whoever recovers may answer.
func (g *guardWriter) switchFailed(answer func()) {
	g.mu.Lock()
	if !g.elsewhere {
		removeHandshakeHeaders(g.below)
		g.stale.copyTo(g.below)
	}
	g.mu.Unlock()
	state := passing
	if answer != nil {
		answer()
		state = finished
	}
	g.mu.Lock()
	g.state, g.view = state, nil
	g.switched.Broadcast()
	g.mu.Unlock()
}

// finish is called when the handler has returned: the last moment in which the
// map below may be looked at.
func (g *guardWriter) finish() {
	g.mu.Lock()
	for g.state == switching {
		g.switched.Wait()
	}
	if g.state == frozen {
		g.reportChanges(caller{})
		for _, k := range g.before.changes(g.below) {
			g.add(headerError(k, g.below, caller{}))
		}
	}
	g.state = finished
	g.w, g.below, g.before, g.sent, g.seen, g.view, g.blame = nil, nil, nil, nil, nil, nil, nil
	g.mu.Unlock()
	g.deliver()
}

// factoryWriter is what a Factory gets. Its header map is its own, so that a
// handshake that fails leaves nothing of it behind.
type factoryWriter struct {
	response
	h     *handshake // nil from the upgrade on
	conn  *Conn      // nil until then
	asked bool       // Header was called: somebody may have the map, which must be looked at in the end
}

func (f *factoryWriter) Header() http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wrote {
		return f.w.Header()
	}
	if f.asked = true; f.conn != nil {
		f.conn.asked.Store(f)
	}
	if f.view == nil && f.state == passing {
		f.sent = f.h.base().addHandshakeHeaders(f.h.headers())
	}
	return f.header()
}

// changes returns what the Factory has changed in the header, without the headers of the handshake.
func (f *factoryWriter) changes() (list headerList) {
	if f.view == nil {
		return nil
	}
	for _, k := range f.sent.changes(f.view) {
		if !ofHandshake(k) {
			list = append(list, headerField{k, slices.Clone(f.view[k])})
		}
	}
	return list
}

// upgraded is called when the connection is ours and sent is on its way.
func (f *factoryWriter) upgraded(sent headerList, c *Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.freeze(sent, c)
	f.w, f.added, f.h, f.conn = nil, nil, nil, c
	if f.asked {
		c.asked.Store(f)
	}
}

// finish is called when the connection has ended.
func (f *factoryWriter) finish() {
	f.mu.Lock()
	f.reportChanges(caller{})
	f.mu.Unlock()
	f.deliver()
}
