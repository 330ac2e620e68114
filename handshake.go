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
	"net/url"
	"path"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// isHandshake reports whether r asks for a WebSocket (RFC 6455, section 4.1;
// RFC 8441, section 4).
func isHandshake(r *http.Request) bool {
	if r.Header["Sec-Websocket-Key"] != nil || r.Header[":protocol"] != nil {
		return true
	}
	for t := range tokens(r.Header["Upgrade"]) {
		if strings.EqualFold(t, "websocket") {
			return true
		}
	}
	return false
}

// handshake is one under way. Nothing of it outlives the upgrade.
type handshake struct {
	u           *Upgrader
	w           http.ResponseWriter
	r           *http.Request
	guard       *guardWriter        // nil without Guard
	chain       http.Header         // w's
	bottom      http.ResponseWriter // the one below Guard, or else w
	below       http.Header         // bottom's, with Guard
	before      headerList          // what below was, if the chain's goroutine is not Guard's
	extra       http.Header         // of a refusal
	accept      []string            // Sec-WebSocket-Accept
	subprotocol string
	extension   *extension
	changes     headerList      // the Factory's
	rejected    *HandshakeError // that is told by a Close frame
	ev          Events
	fw          *factoryWriter
	conn        net.Conn
	brw         *bufio.ReadWriter
	sent        headerList // with the 101
}

// report gives err to the Upgrader.
func (h *handshake) report(err error) { h.u.report(h.r, err) }

// recorder is the writer that the engine's Accept gets: it takes down what the
// engine decides, and no connection is ever made.
type recorder struct {
	header http.Header
	said   http.Header // with a 101; header is what Accept's end is written to, then
	status int         // 0: none yet
	text   strings.Builder
}

func (r *recorder) Header() http.Header                          { return r.header }
func (r *recorder) Write(p []byte) (int, error)                  { return r.text.Write(p) }
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errJudged }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		if r.status = status; status == http.StatusSwitchingProtocols {
			r.said, r.header = r.header, make(http.Header)
		}
	}
}

var errJudged = errors.New("ws: the handshake is good")

// judge lets the engine say whether the handshake is good, and then judges its body and its Origin.
func (h *handshake) judge() *HandshakeError {
	if h.r.ProtoMajor != 1 && h.r.Header[":protocol"] != nil {
		return refuse(http.StatusNotImplemented,
			errors.New("this handshake came over HTTP/2, which works behind ws.Guard alone: wrap the server's outermost handler with it"))
	}
	opts, rec := h.u.Engine, recorder{header: make(http.Header)}
	opts.CompressionMode = websocket.CompressionDisabled // ours
	opts.InsecureSkipVerify = true                       // ours, below
	websocket.Accept(&rec, h.r, &opts)
	if rec.status != http.StatusSwitchingProtocols {
		text := strings.TrimPrefix(strings.TrimSpace(rec.text.String()), "WebSocket protocol violation: ")
		e := refuse(rec.status, errors.New(text))
		switch h.extra = make(http.Header); e.Status {
		case http.StatusUpgradeRequired:
			e.Err, e.hint = errors.New(text+proxyHint(h.r)), upgradeHint
			askForUpgrade(h.extra, h.r)
		case http.StatusMethodNotAllowed:
			h.extra.Set("Allow", http.MethodGet)
		case http.StatusBadRequest:
			if v, ok := rec.header["Sec-Websocket-Version"]; ok {
				h.extra["Sec-Websocket-Version"] = v
			}
		}
		return e
	}
	h.accept = rec.said["Sec-Websocket-Accept"]
	h.subprotocol = rec.said.Get("Sec-Websocket-Protocol")
	h.extension = acceptExtension(h.r.Header, h.u.Engine.CompressionMode)
	if h.r.ProtoMajor == 1 && (h.r.ContentLength != 0 || len(h.r.TransferEncoding) > 0) {
		return refuse(http.StatusBadRequest, errors.New("the handshake has a body"))
	}
	if err := h.u.checkOrigin(h.r); err != nil {
		e := refuse(http.StatusForbidden, err)
		e.hint = originHint
		return e
	}
	return nil
}

// What the log says to do about a refusal.
const (
	originHint = "if the page is yours, add its host to OriginPatterns; if Host is not what the page was " +
		"loaded from, make the proxy keep it (nginx: proxy_set_header Host $http_host;)"
	upgradeHint = "if it came through a proxy, make it pass the upgrade on (nginx: proxy_http_version 1.1; " +
		"proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;)"
	answerHint = "return ws.Reject, which answers, or another error"
)

// proxyHint is for the client, which may be the one who set the proxy up.
func proxyHint(r *http.Request) string {
	if !r.ProtoAtLeast(1, 1) {
		return "; a reverse proxy that speaks HTTP/1.0 is the usual cause: nginx needs \"proxy_http_version 1.1\""
	}
	return "; a reverse proxy that drops the Upgrade and Connection headers is the usual cause"
}

// checkOrigin returns an error if the page that r comes from may not connect
// (RFC 6455, section 10.2).
func (u *Upgrader) checkOrigin(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if u.CheckOrigin != nil {
		if !u.CheckOrigin(r) {
			return fmt.Errorf("a page of Origin %q may not connect to Host %q: Upgrader.CheckOrigin says so", origin, r.Host)
		}
		return nil
	}
	if origin == "" || u.Engine.InsecureSkipVerify {
		return nil
	}
	at, err := url.Parse(origin)
	if err != nil {
		at = new(url.URL)
	}
	port := map[string]string{"http": ":80", "https": ":443"}[at.Scheme]
	if at.Host != "" && strings.EqualFold(strings.TrimSuffix(at.Host, port), strings.TrimSuffix(r.Host, port)) {
		return nil
	}
	for _, p := range u.Engine.OriginPatterns {
		target := at.Host
		switch {
		case p == "", (p == "null") != (origin == "null"):
			continue
		case p == "null":
			return nil
		case strings.Contains(p, "://"):
			target = at.Scheme + "://" + at.Host
		}
		ok, err := path.Match(strings.ToLower(p), strings.ToLower(target))
		if err != nil {
			return fmt.Errorf("the pattern %q in Upgrader.Engine.OriginPatterns is malformed", p)
		}
		if ok {
			return nil
		}
	}
	return fmt.Errorf("a page of Origin %q may not connect to Host %q; Upgrader.Engine.OriginPatterns allows it", origin, r.Host)
}

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
	var r *HandshakeError
	switch {
	case !errors.As(err, &r):
	case r == nil:
		e.Err = errors.New("the factory returned a nil *HandshakeError")
	case r.kind != rejection:
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

// switchProtocols takes the connection, and settles the header to send on it.
// Without Guard nothing can tell whether the chain lets a 101 through: it gets none.
func (h *handshake) switchProtocols() *HandshakeError {
	if !h.shared() {
		h.changes.copyTo(h.chain)
	}
	own := h.headers()
	if h.guard != nil {
		return h.switchBehindGuard(own)
	}
	h.sent = listHeader(h.chain).addHandshakeHeaders(own)
	err := h.hijack()
	switch {
	case err == nil:
		return nil
	case h.conn == nil:
		h.answer(http.StatusInternalServerError, internalError)
	default: // the connection is no longer net/http's
		io.WriteString(h.conn, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		h.conn.Close()
	}
	return refuse(http.StatusInternalServerError, err)
}

// switchBehindGuard lets the 101 go down the chain first, for middleware to see, and up to
// Guard's writer, which keeps it.
func (h *handshake) switchBehindGuard(own headerList) *HandshakeError {
	g := h.guard
	if !g.switchTo(own.with(h.changes), h) {
		return refuse(0, errTooLate)
	}
	over := false
	defer func() {
		if !over { // a panic
			g.switchFailed(nil)
		}
	}()
	h.w.WriteHeader(http.StatusSwitchingProtocols)
	if gin, ok := find[interface{ WriteHeaderNow() }](h.w); ok {
		gin.WriteHeaderNow()
	}
	if h.sent = g.toSend(); !same(h.chain, h.below) {
		h.sent = h.sent.with(listHeader(h.chain))
	}
	h.sent = h.sent.addHandshakeHeaders(own)
	err := h.hijack()
	if err != nil {
		// Not by way of the chain, which believes that it has answered.
		g.switchFailed(func() { http.Error(h.bottom, internalError, http.StatusInternalServerError) })
	}
	if over = true; err != nil {
		return refuse(http.StatusInternalServerError, err)
	}
	return nil
}

// hijack takes the connection: by way of the chain, where writers on the way
// may want to know, or from Guard's writer if the chain hides it or fails.
func (h *handshake) hijack() (err error) {
	if hj, ok := find[http.Hijacker](h.w); ok {
		if h.conn, h.brw, err = tryHijack(hj); err == nil {
			return nil
		}
		if h.guard == nil {
			return fmt.Errorf("%T can't hijack the connection (install ws.Guard outside it): %w", hj, err)
		}
	}
	h.conn, h.brw, err = h.guard.Hijack()
	return err
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
