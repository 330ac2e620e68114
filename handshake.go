//go:build !js

package ws

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"
)

// handshake is one under way. Nothing of it outlives the upgrade.
type handshake struct {
	u           *Upgrader
	w           http.ResponseWriter
	r           *http.Request
	guard       *guardWriter        // nil without Guard
	chain       http.Header         // the header of w
	bottom      http.ResponseWriter // the one below Guard, or else w
	below       http.Header         // the header of bottom, with Guard
	before      headerList          // a copy of below, if this is not Guard's goroutine
	extra       http.Header         // of a refusal
	accept      []string            // Sec-WebSocket-Accept
	subprotocol string
	extension   *extension
	changes     headerList      // made by the Factory
	rejected    *HandshakeError // a refusal that a Close frame is to tell
	ev          Events
	fw          *factoryWriter
	conn        net.Conn
	brw         *bufio.ReadWriter
	sent        headerList // with the 101
	switching   bool       // Guard's writer waits to know how it ends
}

// report gives err to the Upgrader.
func (h *handshake) report(err error) { h.u.report(h.r, err) }

// refuse returns the error of a handshake that ends with status; 0 if it is not answered.
func refuse(status int, err error) *HandshakeError {
	return &HandshakeError{Status: status, Err: err, kind: refusal}
}

var errTooLate = errors.New("the request was answered before the upgrade, by a middleware or its timeout")

const internalError = "Internal Server Error"

// answer tells the client that the handshake is refused.
func (h *handshake) answer(status int, text string) {
	header := h.w.Header()
	maps.DeleteFunc(header, func(k string, _ []string) bool { return len(k) > 10 && ofHandshake(k) })
	maps.Copy(header, h.extra)
	http.Error(h.w, text, status)
}

// answerAndReport does both, and returns e.
func (h *handshake) answerAndReport(e *HandshakeError, text string) error {
	h.answer(e.Status, text)
	h.report(e)
	return e
}

// askForUpgrade says what a 426 must (RFC 9110, section 15.5.22). HTTP/2 forbids it.
func askForUpgrade(header http.Header, r *http.Request) {
	if r.ProtoMajor == 1 {
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", "websocket")
	}
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
	name := fmt.Sprintf("%T", w)
	if name == "*httptest.ResponseRecorder" {
		return errors.New("an *httptest.ResponseRecorder has no connection: in a test, give the handler to ws.Dial as DialOptions.Handler, or use httptest.NewServer")
	}
	s := name + " hides http.Hijacker; install ws.Guard outside it"
	if len(chain) > 1 {
		s += " (the writers on the way are"
		for i, w := range chain {
			s += fmt.Sprintf("%s %T", ","[:min(i, 1)], w)
		}
		s += ")"
	}
	return errors.New(s)
}

// ask runs the Factory and takes over what it decides.
func (h *handshake) ask(factory Factory) (e *HandshakeError) {
	fw := &factoryWriter{response: response{w: h.w, own: true}, h: h}
	h.fw, fw.added = fw, fw
	var err error
	h.ev, err = factory(fw, h.r)
	fw.mu.Lock()
	wrote, status, changes, view := fw.wrote, fw.status, fw.changes(), fw.view
	fw.mu.Unlock()
	if wrote {
		if e = refuse(status, err); err == nil {
			e.Err, e.hint = errors.New("the factory answered the request itself and returned no error"), answerHint
		}
		return e
	}
	h.changes = changes
	if err == nil && view != nil {
		err = h.choose(view["Sec-Websocket-Protocol"])
	}
	if err == nil {
		return nil
	}
	return h.answerError(err)
}

// answerError answers the request as an error of the Factory's wants it. It returns nil if a Close frame is to tell it.
func (h *handshake) answerError(err error) *HandshakeError {
	e, text := refuse(http.StatusInternalServerError, err), internalError
	r, found := findRejection(err)
	switch {
	case !found:
	case r == nil:
		e.Err = errors.New("the factory returned a nil *HandshakeError")
	case r.Status < 300 || r.Status > 599:
		e.Err = fmt.Errorf("the factory rejected with status %d, which is not 300 to 599: %w", r.Status, r.Err)
	default:
		e, text = refuse(r.Status, r.Err), r.Err.Error()
		e.from = err
		if offered := Subprotocols(h.r); h.u.RejectWithClose && h.r.Header.Get("Origin") != "" {
			if h.rejected = e; h.subprotocol == "" && len(offered) > 0 {
				h.subprotocol = offered[0] // without one browsers fail the connection
			}
			h.ev = Events{OnError: func(*Conn, error) {}}
			return nil
		}
	}
	h.changes.copyTo(h.w.Header())
	h.answer(e.Status, text)
	return e
}

// findRejection finds what Reject made in err's tree, in which the error of an upstream's Dial may be too. A
// *HandshakeError that is nil counts.
func findRejection(err error) (*HandshakeError, bool) {
	if r, ok := err.(*HandshakeError); ok && (r == nil || r.kind == rejection) {
		return r, true
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range many.Unwrap() {
			if r, ok := findRejection(err); ok {
				return r, true
			}
		}
		return nil, false
	}
	if err = errors.Unwrap(err); err == nil {
		return nil, false
	}
	return findRejection(err)
}

// choose takes over the subprotocol that the Factory chose.
func (h *handshake) choose(v []string) error {
	if h.subprotocol = ""; len(v) > 1 {
		return fmt.Errorf("the factory chose more than one subprotocol: %q", v)
	}
	if len(v) == 0 || v[0] == "" {
		return nil
	}
	for t := range tokens(h.r.Header["Sec-Websocket-Protocol"]) {
		if t == v[0] {
			h.subprotocol = t
			return nil
		}
	}
	return fmt.Errorf("the factory chose the subprotocol %q, which the client did not offer: %q", v[0], h.r.Header["Sec-Websocket-Protocol"])
}

// closeReason is the reason of a Close frame that stands for a refusal.
func (h *handshake) closeReason() string {
	s := strings.ToValidUTF8(h.rejected.Err.Error(), "\uFFFD")
	for len(s) > 123 {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// base is the header that the middleware has set.
func (h *handshake) base() headerList {
	if h.shared() {
		return h.before
	}
	return listHeader(h.chain)
}

// shared reports whether the chain's header is Guard's, and the goroutine another.
func (h *handshake) shared() bool { return h.before != nil && same(h.chain, h.below) }

// same reports whether a and b are one map.
func same(a, b http.Header) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// What the 101 says, and nobody changes.
var valueUpgrade, valueWebSocket = []string{"Upgrade"}, []string{"websocket"}

// headers are those of the handshake.
func (h *handshake) headers() headerList {
	own := append(make(headerList, 0, 5), headerField{"Connection", valueUpgrade}, headerField{"Sec-Websocket-Accept", h.accept})
	if h.extension != nil {
		own = append(own, headerField{"Sec-Websocket-Extensions", []string{h.extension.String()}})
	}
	if h.subprotocol != "" {
		own = append(own, headerField{"Sec-Websocket-Protocol", []string{h.subprotocol}})
	}
	return append(own, headerField{"Upgrade", valueWebSocket})
}

// announce settles the header to send. With Guard it lets the 101 go down the chain, for middleware to
// see, and up to Guard's writer, which keeps it. Without, nothing can tell whether the chain lets a 101 through: it gets none.
func (h *handshake) announce() *HandshakeError {
	own := h.headers()
	if !h.shared() {
		h.changes.copyTo(h.chain)
	}
	if h.guard == nil {
		h.sent = listHeader(h.chain).addHandshakeHeaders(own)
		return nil
	}
	if !h.guard.switchTo(own.with(h.changes), h) {
		return refuse(0, errTooLate)
	}
	h.switching = true
	h.w.WriteHeader(http.StatusSwitchingProtocols)
	if gin, ok := find[interface{ WriteHeaderNow() }](h.w); ok {
		gin.WriteHeaderNow()
	}
	if h.sent = h.guard.toSend(); !same(h.chain, h.below) {
		h.sent = h.sent.with(listHeader(h.chain))
	}
	h.sent = h.sent.addHandshakeHeaders(own)
	return nil
}

// notHijacked answers when the connection could not be taken.
func (h *handshake) notHijacked(err error) *HandshakeError {
	switch {
	case h.guard != nil: // not by way of the chain, which believes that it has answered
		h.switching = false
		h.guard.switchFailed(func() { http.Error(h.bottom, internalError, http.StatusInternalServerError) })
	case h.conn == nil:
		h.answer(http.StatusInternalServerError, internalError)
	default: // the connection is no longer net/http's
		io.WriteString(h.conn, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		h.conn.Close()
	}
	return refuse(http.StatusInternalServerError, err)
}

// hijack takes the connection: by way of the chain, where writers on the way
// may want to know, or from Guard's writer if the chain hides it or fails.
func (h *handshake) hijack() error {
	if hj, ok := find[http.Hijacker](h.w); ok {
		if err := h.tryHijack(hj); err == nil || h.guard == nil {
			return err
		}
	}
	return h.tryHijack(h.guard)
}

// tryHijack makes an error of a panic: some writers take for granted that the
// one below them is a Hijacker.
func (h *handshake) tryHijack(hj http.Hijacker) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("Hijack panicked: %v", v)
		}
		if err != nil && h.guard == nil {
			err = fmt.Errorf("%T can't hijack the connection (install ws.Guard outside it): %w", hj, err)
		}
	}()
	h.conn, h.brw, err = hj.Hijack()
	return err
}
