//go:build !js

package ws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
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
// So the engine gets a gate for its writer, which hijacks first and writes the
// 101 to the connection itself. Guard's writer below all middleware lets them see
// the 101 on its way, and freezes: what comes later is reported to whom it concerns.

// Guard makes WebSocket upgrades by this package work behind any middleware.
// Wrap the outermost handler with it, once:
//
//	http.ListenAndServe(":3000", ws.Guard(mux))
//
// The middlewares within see WriteHeader(101) as they would see any status, the headers that
// they set go out with the 101, and writers that hide [http.Hijacker], as
// [http.TimeoutHandler]'s do, do no harm. After the 101 the response is frozen:
// a header that is set or deleted, a WriteHeader, Write or Flush has no effect and
// goes to Upgrader.OnError as a [*HeaderError], which names the function that did it.
//
// Requests that are no WebSocket handshake get the writer that Guard got.
// Upgrades by other packages and reverse proxies pass through.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isHandshake(r) || r.Context().Value(guardKey{}) != nil {
			next.ServeHTTP(w, r)
			return
		}
		g := &guard{w: w}
		g.cond.L = &g.mu
		defer g.done()
		next.ServeHTTP(g, r.WithContext(context.WithValue(r.Context(), guardKey{}, g)))
	})
}

// HeaderError reports a use of the response after the WebSocket upgrade. It
// had no effect.
type HeaderError struct {
	Op     string // "set", "delete", "WriteHeader", "Write" or "Flush"
	Key    string // of the header; "" for the last three
	Status int    // of WriteHeader; 0 for the others
	// Func, File and Line are the caller outside of this package, File with its
	// full path. They are empty where it can't be known.
	Func, File string
	Line       int
}

func (e *HeaderError) Error() string {
	who := "by unknown code, perhaps through a header map that was taken before the upgrade"
	if e.Func != "" {
		name := closure.ReplaceAllString(path.Base(e.Func), "") // a closure's number says nothing
		who = fmt.Sprintf("%s at %s:%d", name, path.Base(e.File), e.Line)
	}
	switch e.Op {
	case "set":
		return fmt.Sprintf("ws: header %q was set after the WebSocket upgrade and never reached the client: %s; set it before calling the next handler", e.Key, who)
	case "delete":
		return fmt.Sprintf("ws: header %q was deleted after the WebSocket upgrade, when the client had it already: %s; delete it before calling the next handler", e.Key, who)
	case "WriteHeader":
		return fmt.Sprintf("ws: status %d was written after the WebSocket upgrade and never reached the client: %s; write it before calling the next handler, or let WebSocket requests pass", e.Status, who)
	case "Flush":
		return fmt.Sprintf("ws: the response was flushed after the WebSocket upgrade, to no effect: %s; let WebSocket requests pass", who)
	}
	return fmt.Sprintf("ws: the response was written to after the WebSocket upgrade and none of it reached the client: %s; send messages with Conn.Send, or let WebSocket requests pass", who)
}

var closure = regexp.MustCompile(`\.func[0-9].*$`)

type guardKey struct{}

// guardBelow returns the Guard that r passed, if w is on it.
func guardBelow(r *http.Request) *guard {
	g, _ := r.Context().Value(guardKey{}).(*guard)
	return g
}

// guard is a ResponseWriter that passes everything on until the upgrade, and
// freezes then. One is Guard's own; another is what a Factory gets.
type guard struct {
	gate *gate // of the Factory whose writer this is, until the upgrade; nil for Guard's own
	conn *Conn // likewise, from the upgrade on

	mu       sync.Mutex // protects the following
	cond     sync.Cond  // signals the end of switching
	w        http.ResponseWriter
	state    guardState
	wrote    bool        // a final status, or the connection is somebody else's
	status   int         // that was written
	orig     http.Header // w's map, at the switch
	origWas  http.Header // a copy of it
	view     http.Header // what Header returns from the switch on
	frozen   http.Header // what view must be; shared, not to be changed
	seen     http.Header // what view was at the last call; likewise
	blame    map[string]caller
	last     caller // of the last call
	reportTo func(error)
}

type guardState int

const (
	passing   guardState = iota
	switching            // from WriteHeader(101) to the hijack
	frozen               // upgraded by us
	refused              // the switch failed and was answered
	finished             // the handler has returned
)

// caller is where a method was called from.
type caller struct {
	op  string
	pcs []uintptr
}

// here is the caller of the method that calls it.
func here(op string) caller {
	pcs := make([]uintptr, 32)
	return caller{op, pcs[:runtime.Callers(2, pcs)]}
}

func (g *guard) Header() http.Header {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.state {
	case passing:
		return g.w.Header()
	case frozen:
		if g.view == nil { // a Factory's; most never come here, and are not kept
			g.view = g.frozen.Clone()
			g.conn.own.Store(g)
		}
		g.look(here("Header"))
	}
	return g.view
}

func (g *guard) WriteHeader(status int) {
	g.mu.Lock()
	switch g.state {
	case passing:
		w := g.w
		chosen := w.Header()["Sec-Websocket-Protocol"]
		status = g.passStatus(status)
		g.mu.Unlock()
		w.WriteHeader(status)
		if g.gate != nil && status < 200 {
			g.gate.put()
			if delete(w.Header(), "Sec-Websocket-Protocol"); chosen != nil {
				w.Header()["Sec-Websocket-Protocol"] = chosen
			}
		}
		return
	case switching, frozen:
		if status != http.StatusSwitchingProtocols {
			g.commit(here("WriteHeader"), status)
		}
	}
	g.mu.Unlock()
}

// passStatus notes that a status is on its way to the client. It takes the
// handshake's headers out of an answer that a Factory writes itself, which can't be a 101.
func (g *guard) passStatus(status int) int {
	if g.gate != nil {
		g.gate.strip()
		if status == http.StatusSwitchingProtocols {
			status = http.StatusInternalServerError
		}
	}
	if !g.wrote && (status >= 200 || status == http.StatusSwitchingProtocols) {
		g.wrote, g.status = true, status
	}
	return status
}

func (g *guard) Write(p []byte) (int, error) {
	if w := g.pass("Write", len(p)); w != nil {
		return w.Write(p)
	}
	return 0, http.ErrHijacked
}

func (g *guard) WriteString(s string) (int, error) {
	if w := g.pass("Write", len(s)); w != nil {
		return io.WriteString(w, s)
	}
	return 0, http.ErrHijacked
}

func (g *guard) ReadFrom(r io.Reader) (int64, error) {
	if w := g.pass("Write", 1); w != nil {
		return io.Copy(w, r)
	}
	return 0, http.ErrHijacked
}

func (g *guard) Flush() { g.FlushError() }

func (g *guard) FlushError() error {
	if w := g.pass("Flush", 1); w != nil {
		return http.NewResponseController(w).Flush()
	}
	return http.ErrHijacked
}

// pass returns the writer below for a call that writes n bytes or flushes, and
// nil, with a report, after the upgrade.
func (g *guard) pass(op string, n int) http.ResponseWriter {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.state {
	case passing:
		if !g.wrote {
			g.passStatus(http.StatusOK)
		}
		return g.w
	case switching, frozen:
		if n > 0 {
			g.commit(here(op), 0)
		}
	}
	return nil
}

// Hijack gives the connection to whoever asks for it before our upgrade, and
// to the gate, by way of the chain, while it switches.
func (g *guard) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != passing && g.state != switching {
		return nil, nil, http.ErrHijacked
	}
	conn, brw, err := http.NewResponseController(g.w).Hijack()
	if err == nil {
		g.wrote = true
	}
	return conn, brw, err
}

// CloseNotify is there for middlewares that keep a writer's Hijacker only if it
// has all that net/http's writer has.
func (g *guard) CloseNotify() <-chan bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == passing {
		if n, ok := find[http.CloseNotifier](g.w); ok {
			return n.CloseNotify()
		}
	}
	return nil // which never yields
}

// Unwrap lets http.ResponseController reach net/http's writer until the upgrade.
func (g *guard) Unwrap() http.ResponseWriter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == passing || g.state == switching {
		return g.w
	}
	return gone{}
}

// gone is the writer under one that is frozen.
type gone struct{}

func (gone) Header() http.Header       { return http.Header{} }
func (gone) Write([]byte) (int, error) { return 0, http.ErrHijacked }
func (gone) WriteHeader(int)           {}

// unanswered returns the writer below, and nil if the request has been answered.
func (g *guard) unanswered() http.ResponseWriter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != passing || g.wrote {
		return nil
	}
	return g.w
}

// begin is called before the switch. From here on the response belongs to the
// gate, and Header returns a copy. It reports false if the request has been answered.
func (g *guard) begin(report func(error)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != passing || g.wrote {
		return false
	}
	g.state = switching
	g.reportTo = report
	g.orig = g.w.Header()
	g.origWas = g.orig.Clone()
	g.view = g.orig.Clone()
	if g.view == nil {
		g.view = http.Header{}
	}
	return true
}

// merged returns the headers to send: those of Guard's view, those that came
// into the original map during the switch, and those of chain, if it is a map of its own.
func (g *guard) merged(chain http.Header) http.Header {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.view.Clone()
	for k := range changed(g.origWas, g.orig) {
		was, now := g.origWas[k], g.orig[k]
		switch {
		case now == nil:
			delete(h, k)
		case len(now) > len(was) && slices.Equal(now[:len(was)], was): // added to
			h[k] = append(h[k], now[len(was):]...)
		default:
			h[k] = slices.Clone(now)
		}
	}
	if !same(chain, g.view) && !same(chain, g.orig) {
		maps.Copy(h, chain.Clone())
	}
	return h
}

// same reports whether a and b are one map.
func same(a, b http.Header) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// freeze is called when the connection is ours. h is what was sent.
func (g *guard) freeze(h http.Header) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.orig != nil {
		g.origWas = h
	}
	if g.view != nil { // Guard's own: somebody may have it
		g.origWas = g.orig.Clone()
		clear(g.view)
		maps.Copy(g.view, h.Clone())
	}
	g.frozen, g.seen = h, h
	g.state = frozen
	g.w = nil // which may be pooled
	g.gate = nil
	g.cond.Broadcast()
}

// refuse is called when the switch failed: answer writes the response.
func (g *guard) refuse(answer func(w http.ResponseWriter)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != switching {
		return
	}
	if answer == nil { // a panic: whoever recovers it may answer
		g.state, g.view, g.orig, g.origWas = passing, nil, nil, nil
		g.cond.Broadcast()
		return
	}
	answer(g.w)
	g.state = refused
	g.view = http.Header{}
	g.w = nil
	g.cond.Broadcast()
}

// done is called when the handler has returned: the last moment in which the
// original map may be looked at.
func (g *guard) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.state == switching {
		g.cond.Wait()
	}
	if g.state == frozen {
		g.check(caller{})
		for k := range changed(g.origWas, g.orig) {
			g.reportTo(headerError(k, g.orig, caller{}))
		}
	}
	g.state = finished
	g.orig, g.origWas, g.frozen, g.seen, g.w, g.reportTo = nil, nil, nil, nil, nil, nil
	g.view = http.Header{}
}

// look notes which headers have changed since the last call, and blames the
// caller of that.
func (g *guard) look(now caller) {
	if keys := changed(g.seen, g.view); g.view != nil && len(keys) > 0 {
		if g.blame == nil {
			g.blame = make(map[string]caller)
		}
		for k := range keys {
			g.blame[k] = g.last
		}
		g.seen = g.view.Clone()
	}
	g.last = now
}

// check reports the headers that are not what they must be.
func (g *guard) check(now caller) {
	g.look(now)
	if keys := changed(g.frozen, g.view); g.view != nil && len(keys) > 0 {
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			g.reportTo(headerError(k, g.view, g.blame[k]))
		}
		g.frozen = g.view.Clone()
	}
}

// commit reports a WriteHeader, Write or Flush after the upgrade, and the
// headers that were changed for it.
func (g *guard) commit(c caller, status int) {
	if g.state == frozen {
		g.check(c)
	} else {
		// Another goroutine's, a timeout's say, during the switch: what it
		// put into the map is not to be sent.
		g.view = g.origWas.Clone()
	}
	e := &HeaderError{Op: c.op, Status: status}
	e.Func, e.File, e.Line = c.site()
	g.reportTo(e)
}

// changed yields the keys in which b differs from a.
func changed(a, b http.Header) map[string]struct{} {
	var keys map[string]struct{}
	add := func(k string) {
		if keys == nil {
			keys = make(map[string]struct{})
		}
		keys[k] = struct{}{}
	}
	for k, v := range b {
		if was, ok := a[k]; !ok || !slices.Equal(v, was) {
			add(k)
		}
	}
	for k := range a {
		if _, ok := b[k]; !ok {
			add(k)
		}
	}
	return keys
}

func headerError(key string, h http.Header, c caller) error {
	e := &HeaderError{Op: "set", Key: key}
	if _, ok := h[key]; !ok {
		e.Op = "delete"
	}
	e.Func, e.File, e.Line = c.site()
	return e
}

// forwarders are the methods by which writers pass a call on to the one below.
var forwarders = map[string][]string{
	"Header":      {"Header"},
	"WriteHeader": {"WriteHeader", "WriteHeaderNow"},
	"Write":       {"Write", "WriteString", "ReadFrom", "WriteHeader", "WriteHeaderNow"},
	"Flush":       {"Flush", "FlushError"},
}

// helpers are packages that write on somebody's behalf.
var helpers = []string{"io", "fmt", "bufio", "bytes", "strings", "encoding/json", "encoding/xml",
	"text/template", "html/template", "compress/gzip", "compress/flate", "compress/zlib"}

// site returns the function that is to blame: the nearest that is no part of
// this package, no writer that only passes the call on, and no helper.
func (c *caller) site() (fn, file string, line int) {
	if len(c.pcs) == 0 {
		return "", "", 0
	}
	frames := runtime.CallersFrames(c.pcs)
	for {
		f, more := frames.Next()
		if f.Function != "" && !c.skip(f.Function) {
			return f.Function, f.File, f.Line
		}
		if !more {
			return "", "", 0
		}
	}
}

func (c *caller) skip(fn string) bool {
	slash := strings.LastIndexByte(fn, '/') + 1
	dot := slash + strings.IndexByte(fn[slash:], '.')
	pkg, name := fn[:dot], fn[dot+1:]
	method := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case pkg == self || pkg == "runtime" || slices.Contains(helpers, pkg):
		return true
	case pkg == "net/http":
		return method != "ServeHTTP"
	}
	return strings.Contains(name, ".") && slices.Contains(forwarders[c.op], method)
}

// self is the path of this package.
var self = reflect.TypeFor[guard]().PkgPath()

// gate is the writer that the engine's Accept gets. The engine sees headers of
// the handshake's alone; the handler's writer w sees them from the Factory on.
type gate struct {
	u       *Upgrader
	w       http.ResponseWriter
	r       *http.Request
	factory Factory
	below   *guard      // Guard's writer; nil without it
	own     *guard      // the Factory's
	header  http.Header // of the handshake
	status  int         // with which the engine refuses
	text    []byte      // its reason
	refusal error       // once answered
	saved   http.Header // what w's header held in the place of the handshake's; nil while it does

	ev   Events
	conn *Conn
	brw  *bufio.ReadWriter
}

func (g *gate) Header() http.Header { return g.header }

func (g *gate) Write(p []byte) (int, error) {
	g.text = append(g.text, p...)
	return len(p), nil
}

// WriteHeader takes the engine's refusals; and its 101, which is the moment in
// which the handshake is known to be good.
func (g *gate) WriteHeader(status int) {
	switch {
	case g.refusal != nil:
	case status == http.StatusSwitchingProtocols:
		g.refusal = g.open()
	default:
		g.status = status
	}
}

// Hijack gives the engine the connection that WriteHeader took.
func (g *gate) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if g.refusal != nil {
		return nil, nil, g.refusal
	}
	return (*engineSide)(g.conn), g.brw, nil
}

// refuse answers with an error and reports it.
func (g *gate) refuse(err *HandshakeError, text string) error {
	http.Error(g.w, text, err.Status)
	g.u.report(g.r, err)
	return err
}

// explain answers a handshake that the engine refused.
func (g *gate) explain() error {
	text := strings.TrimPrefix(strings.TrimSpace(string(g.text)), "WebSocket protocol violation: ")
	switch g.status {
	case http.StatusUpgradeRequired:
		text += proxyHint
		g.header["Connection"], g.header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	case http.StatusMethodNotAllowed:
		g.header["Allow"] = []string{http.MethodGet}
	case http.StatusForbidden:
		if text == http.StatusText(g.status) {
			text = "a pattern in Upgrader.Engine.OriginPatterns is malformed"
		} else {
			text = fmt.Sprintf("a page of Origin %q may not connect to Host %q; Upgrader.Engine.OriginPatterns allows it", g.r.Header.Get("Origin"), g.r.Host)
		}
	}
	for _, k := range []string{"Connection", "Upgrade", "Sec-Websocket-Version", "Allow"} {
		if v := g.header[k]; v != nil {
			g.w.Header()[k] = v
		}
	}
	return g.refuse(&HandshakeError{g.status, errors.New(text)}, "ws: "+text)
}

// open runs the Factory, takes the connection and writes the 101.
func (g *gate) open() error {
	w := g.w
	if g.below != nil {
		if w = g.below.unanswered(); w == nil {
			return g.tooLate()
		}
	}
	if err := hijackable(w); err != nil {
		return g.refuse(&HandshakeError{http.StatusNotImplemented, err}, "ws: "+err.Error())
	}
	g.put()
	defer g.strip() // whatever goes wrong, a panic too
	g.own = &guard{w: g.w, gate: g}
	g.own.cond.L = &g.own.mu
	ev, err := g.factory(g.own, g.r)
	if g.own.wrote {
		if err == nil {
			err = errors.New("the factory answered the request itself")
		}
		err := &HandshakeError{g.own.status, err}
		g.u.report(g.r, err)
		return err
	}
	if err == nil {
		err = g.choose()
	}
	if err != nil {
		return g.reject(err)
	}
	g.ev = ev
	if g.below != nil {
		return g.openGuarded()
	}
	h := g.w.Header().Clone()
	conn, brw, err := g.hijack()
	if err != nil {
		g.strip()
		return g.refuse(&HandshakeError{http.StatusInternalServerError, err}, http.StatusText(http.StatusInternalServerError))
	}
	return g.take(conn, brw, h)
}

// openGuarded is the rest of open behind Guard: the 101 goes down the chain,
// for middleware to see, and up to Guard's writer, which keeps it.
func (g *gate) openGuarded() error {
	u, r := g.u, g.r // not g, which holds the chain's writer
	if !g.below.begin(func(err error) { u.report(r, err) }) {
		return g.tooLate()
	}
	var answer func(http.ResponseWriter)      // nil after a panic
	defer func() { g.below.refuse(answer) }() // unless it is frozen by then
	g.w.WriteHeader(http.StatusSwitchingProtocols)
	if gin, ok := find[interface{ WriteHeaderNow() }](g.w); ok {
		gin.WriteHeaderNow()
	}
	h := g.below.merged(g.w.Header())
	conn, brw, err := g.hijack()
	if err != nil {
		answer = func(w http.ResponseWriter) {
			maps.DeleteFunc(w.Header(), func(k string, _ []string) bool { return ofHandshake(k) })
			maps.Copy(w.Header(), g.saved)
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		}
		err := &HandshakeError{http.StatusInternalServerError, err}
		g.u.report(g.r, err)
		return err
	}
	return g.take(conn, brw, h)
}

// tooLate reports that somebody else has answered.
func (g *gate) tooLate() error {
	err := &HandshakeError{0, errors.New("the request was answered before the upgrade, by a middleware or its timeout")}
	g.u.report(g.r, err)
	return err
}

// find returns the first T on w's chain of Unwrap methods.
func find[T any](w http.ResponseWriter) (T, bool) {
	for {
		if t, ok := w.(T); ok {
			return t, true
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			var none T
			return none, false
		}
		w = inner.Unwrap()
	}
}

// hijackable returns an error that says which writer hides the Hijacker. It
// looks at the last on w's chain: those above may have a Hijack that only asks it.
func hijackable(w http.ResponseWriter) error {
	chain := []http.ResponseWriter{w}
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = inner.Unwrap()
		chain = append(chain, w)
	}
	if _, ok := w.(http.Hijacker); ok {
		return nil
	}
	s := fmt.Sprintf("%T hides http.Hijacker; install ws.Guard outside it", w)
	if len(chain) > 1 {
		s += " (the writers on the way are"
		for i, w := range chain {
			s += fmt.Sprintf("%s %T", ","[:min(i, 1)], w)
		}
		s += ")"
	}
	return errors.New(s)
}

// ofHandshake reports whether only the handshake may set the header k.
func ofHandshake(k string) bool {
	k = http.CanonicalHeaderKey(k)
	return k == "Upgrade" || k == "Connection" || strings.HasPrefix(k, "Sec-Websocket-")
}

// put puts the handshake's headers into w's. Stale ones of its kind are removed.
func (g *gate) put() {
	h := g.w.Header()
	if g.saved == nil {
		g.saved = make(http.Header)
		for _, k := range []string{"Upgrade", "Connection"} {
			if v, ok := h[k]; ok {
				g.saved[k] = v
			}
		}
	}
	maps.DeleteFunc(h, func(k string, _ []string) bool { return ofHandshake(k) })
	maps.Copy(h, g.header.Clone())
}

// strip takes them out again, for an answer that is no 101.
func (g *gate) strip() {
	if g.conn != nil || g.saved == nil {
		return
	}
	h := g.w.Header()
	maps.DeleteFunc(h, func(k string, _ []string) bool { return ofHandshake(k) })
	maps.Copy(h, g.saved)
	g.saved = nil
}

// choose takes over the subprotocol that the Factory chose.
func (g *gate) choose() error {
	const key = "Sec-Websocket-Protocol"
	var chosen string
	switch v := g.w.Header()[key]; {
	case len(v) > 1:
		return fmt.Errorf("the factory chose more than one subprotocol: %q", v)
	case len(v) == 1:
		chosen = v[0]
	}
	delete(g.header, key)
	if chosen != "" {
		offered := false
		for _, v := range g.r.Header[key] {
			for t := range strings.SplitSeq(v, ",") {
				offered = offered || strings.TrimSpace(t) == chosen
			}
		}
		if !offered {
			return fmt.Errorf("the factory chose the subprotocol %q, which the client did not offer: %q", chosen, g.r.Header[key])
		}
		g.header[key] = []string{chosen}
	}
	g.put()
	return nil
}

// reject answers with the Factory's error.
func (g *gate) reject(err error) error {
	g.strip()
	var refused *HandshakeError
	if errors.As(err, &refused) && (refused == nil || refused.Err == nil) {
		err = errors.New("the factory returned an empty *HandshakeError")
	} else if refused != nil {
		if 300 <= refused.Status && refused.Status < 600 {
			return g.refuse(refused, refused.Err.Error())
		}
		err = fmt.Errorf("the factory rejected with status %d, which is not 300 to 599: %w", refused.Status, refused.Err)
	}
	return g.refuse(&HandshakeError{http.StatusInternalServerError, err}, http.StatusText(http.StatusInternalServerError))
}

// hijack takes the connection: by way of the chain, where writers on the way
// may want to know, or from Guard's writer if the chain hides it or fails.
func (g *gate) hijack() (conn net.Conn, brw *bufio.ReadWriter, err error) {
	if hj, ok := find[http.Hijacker](g.w); ok {
		if conn, brw, err = tryHijack(hj); err == nil {
			return conn, brw, nil
		}
		if g.below == nil {
			return nil, nil, fmt.Errorf("%T can't hijack the connection (install ws.Guard outside it): %w", hj, err)
		}
	}
	return g.below.Hijack()
}

// tryHijack makes an error of a panic: some writers take for granted that the
// one below them is a Hijacker.
func tryHijack(hj http.Hijacker) (conn net.Conn, brw *bufio.ReadWriter, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("Hijack panicked: %v", v)
		}
	}()
	return hj.Hijack()
}

// unfit are headers that have no place in a 101.
var unfit = map[string]bool{
	"Content-Length": true, "Content-Type": true, "Content-Encoding": true, "Transfer-Encoding": true, "Trailer": true,
	"Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Te": true,
}

// take makes a Conn of the connection, writes the 101 with h and freezes the response.
func (g *gate) take(conn net.Conn, brw *bufio.ReadWriter, h http.Header) error {
	maps.DeleteFunc(h, func(k string, _ []string) bool { return ofHandshake(k) })
	maps.Copy(h, g.header)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(g.r.Context()))
	c := &Conn{ev: g.ev, home: g.u, ctx: ctx, cancel: cancel, limits: g.u.Limits.withDefaults()}
	c.req = g.r.WithContext(ctx)
	c.out.init(conn, c.limits)
	if n := brw.Reader.Buffered(); n > 0 {
		early, _ := brw.Reader.Peek(n)
		c.in.early = slices.Clone(early)
	}
	if g.u.Detach {
		size := 1 << 10
		if c.out.raw != nil && canReadNow {
			size, c.in.lean = 1<<4, true
		}
		brw = bufio.NewReadWriter(bufio.NewReaderSize(nil, size), bufio.NewWriterSize(nil, 1<<7))
	}
	brw.Reader.Reset(nil)
	brw.Writer.Reset((*engineSide)(c))
	c.in.br = brw.Reader
	g.conn, g.brw = c, brw

	u := g.u
	report := func(err error) { u.report(c.req, err) }
	if g.below != nil {
		g.below.freeze(h)
	} else if !g.u.Detach {
		g.own.orig = g.w.Header()
		c.own.Store(g.own)
	}
	g.own.reportTo, g.own.conn = report, c
	g.own.freeze(h)

	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	exclude := make(map[string]bool)
	for k := range h {
		exclude[k] = unfit[http.CanonicalHeaderKey(k)]
	}
	h.WriteSubset(&b, exclude)
	b.WriteString("\r\n")
	conn.SetWriteDeadline(time.Now().Add(c.limits.WriteTimeout))
	if _, err := conn.Write(b.Bytes()); err != nil {
		conn.Close()
		err := &HandshakeError{0, err}
		report(err)
		return err
	}
	conn.SetWriteDeadline(time.Time{})
	return nil
}
