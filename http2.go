//go:build !js

package ws

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Over HTTP/2 a WebSocket is a stream: an extended CONNECT opens it, a 200 accepts it, and its DATA carries the frames
// (RFC 8441). Routers, middleware and packages know none of that. So Guard makes of it what they know, a GET with an
// Upgrade header whose connection is hijacked and answered with a 101, which the stream is behind.

// isHTTP2Handshake reports whether r is a WebSocket handshake over HTTP/2.
func isHTTP2Handshake(r *http.Request) bool {
	return r.Method == http.MethodConnect && r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket"
}

// serveHTTP2 is Guard for a handshake over HTTP/2. It returns when the stream may end: net/http takes no write after that.
func serveHTTP2(w http.ResponseWriter, next http.Handler, r *http.Request) {
	// As over HTTP/1.1 it ends with the handler, and with the client only before the upgrade.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	sw := &http2Writer{w: w, r: r, header: w.Header().Clone(), stay: context.AfterFunc(r.Context(), cancel)}
	defer sw.end()
	defer cancel()
	serveGuarded(sw, next, upgradeRequest(r, ctx))
}

// upgradeRequest returns r as it would be over HTTP/1.1. Nothing depends on the key (RFC 8441, section 5.1).
func upgradeRequest(r *http.Request, ctx context.Context) *http.Request {
	r = r.Clone(ctx)
	r.Method, r.Proto, r.ProtoMajor, r.ProtoMinor = http.MethodGet, "HTTP/1.1", 1, 1
	delete(r.Header, ":protocol")
	r.Header["Upgrade"], r.Header["Connection"] = []string{"websocket"}, []string{"Upgrade"}
	r.Header["Sec-Websocket-Key"] = []string{"AAAAAAAAAAAAAAAAAAAAAA=="}
	r.ContentLength = max(r.ContentLength, 0) // -1 is the stream itself
	r.Body, r.Trailer = http.NoBody, nil
	return r
}

// http2Writer is the writer under Guard's for a handshake over HTTP/2.
type http2Writer struct {
	w      http.ResponseWriter
	r      *http.Request // as it came
	stay   func() bool   // makes the request outlive the stream
	header http.Header   // what handlers see; that of w is touched only at the answer

	mu       sync.Mutex // protects the following
	switched bool       // 101 was written
	silent   bool       // the answer's body is dropped
	answered bool
	conn     *http2Conn
}

func (w *http2Writer) Header() http.Header { return w.header }

func (w *http2Writer) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.answered || w.conn != nil:
	case status == http.StatusSwitchingProtocols:
		w.switched = true
	default:
		w.answer(status, w.header)
	}
}

// answer sends the head of a response. A 2xx would open the socket: one that is no upgrade is a 501 without a body.
func (w *http2Writer) answer(status int, header http.Header) {
	final := w.w.Header()
	clear(final)
	maps.Copy(final, header)
	if status == http.StatusSwitchingProtocols || status >= 200 && status < 300 {
		maps.DeleteFunc(final, func(k string, _ []string) bool { return unfit[http.CanonicalHeaderKey(k)] })
		if w.silent = status != http.StatusSwitchingProtocols; w.silent {
			status = http.StatusNotImplemented
		} else {
			status = http.StatusOK
		}
	}
	for _, k := range []string{"Connection", "Upgrade", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Sec-Websocket-Accept"} {
		delete(final, k)
	}
	w.answered = status >= 200
	w.w.WriteHeader(status)
}

func (w *http2Writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.conn != nil:
		return 0, http.ErrHijacked
	case w.silent:
		return len(p), nil
	}
	return w.w.Write(p)
}

func (w *http2Writer) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.conn != nil:
		return http.ErrHijacked
	case w.switched && !w.answered:
		return nil
	case !w.answered:
		w.answer(http.StatusOK, w.header)
	}
	return http.NewResponseController(w.w).Flush()
}
func (w *http2Writer) Flush() { w.FlushError() }

// Hijack returns the stream as a connection on which an answer of HTTP/1.1 is written, unless it was by
// WriteHeader(101), and then what the protocol says.
func (w *http2Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.conn != nil:
		return nil, nil, http.ErrHijacked
	case w.answered:
		return nil, nil, errors.New("ws: the request was answered before the upgrade")
	}
	if _, ok := find[http.Flusher](w.w); !ok {
		return nil, nil, fmt.Errorf("ws: %T hides http.Flusher; install ws.Guard outside it", w.w)
	}
	w.stay()
	c := newHTTP2Conn(w)
	c.rc.SetReadDeadline(time.Time{}) // the server's are for requests
	c.rc.SetWriteDeadline(time.Time{})
	if w.conn = c; w.switched {
		w.answer(http.StatusSwitchingProtocols, w.header)
		c.headed = true
		c.rc.Flush()
	}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

// SetReadDeadline is here for http.ResponseController, as is SetWriteDeadline.
func (w *http2Writer) SetReadDeadline(t time.Time) error {
	return w.control((*http.ResponseController).SetReadDeadline, t)
}
func (w *http2Writer) SetWriteDeadline(t time.Time) error {
	return w.control((*http.ResponseController).SetWriteDeadline, t)
}

func (w *http2Writer) control(set func(*http.ResponseController, time.Time) error, t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		return http.ErrHijacked
	}
	return set(http.NewResponseController(w.w), t)
}

// end is called when the handler has returned. It waits for the end of the connection, if there is one.
func (w *http2Writer) end() {
	w.stay()
	w.mu.Lock()
	c := w.conn
	w.mu.Unlock()
	if c != nil {
		c.wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.answered {
		w.answer(http.StatusOK, w.header)
	}
}

// http2Conn is a stream of HTTP/2 as a connection. It has deadlines of its own, for net/http's end
// the stream, even one that passes while nobody waits: a Read that awaits input can be given
// up. Only a Write that is under way when its deadline passes ends the stream, as it ends TLS.
type http2Conn struct {
	w             *http2Writer
	rc            *http.ResponseController
	ctx           context.Context // the request's
	local, remote net.Addr
	closed        chan struct{}

	writing sync.Mutex // held by Write; protects the following
	headed  bool       // the answer's head was sent
	head    []byte     // what has come of it so far

	mu       sync.Mutex // protects the following
	changed  sync.Cond  // signals changes of the following
	awaiting bool       // a goroutine waits for input
	reading  bool       // by one Read
	ready    bool       // there is input, or an end
	rest     io.Reader  // what was there when the stream had ended; nil until then
	cut      error      // that Read met once a Write was late
	over     bool       // net/http's writer must not be touched any more
	late     bool       // a Write did not end in time
	patient  bool       // no deadline is ever set for a Read, which waits in net/http's body then

	isClosed, inWrite  bool
	read, write, grace deadline // grace is for a Close, once a Write was late
}

func newHTTP2Conn(w *http2Writer) *http2Conn {
	c := &http2Conn{w: w, rc: http.NewResponseController(w.w), ctx: w.r.Context(), closed: make(chan struct{}), remote: addr(w.r.RemoteAddr)}
	c.local, _ = c.ctx.Value(http.LocalAddrContextKey).(net.Addr)
	if a, err := netip.ParseAddrPort(w.r.RemoteAddr); err == nil {
		c.remote = net.TCPAddrFromAddrPort(a)
	}
	c.changed.L, c.read.wake, c.write.wake, c.grace.wake = &c.mu, c.wake, c.wake, c.wake
	return c
}

func (c *http2Conn) LocalAddr() net.Addr  { return c.local }
func (c *http2Conn) RemoteAddr() net.Addr { return c.remote }

func (c *http2Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var from io.Reader
		switch {
		case c.isClosed:
			return 0, net.ErrClosed
		case c.read.passed():
			return 0, os.ErrDeadlineExceeded
		case c.reading: // another Read
		case c.cut != nil && c.grace.passed():
			return 0, c.cut
		case c.cut != nil: // our own doing: whoever wrote too late is to close
		case c.rest != nil:
			from = c.rest
		case c.ready, c.patient:
			c.ready, from = false, c.w.r.Body
		case !c.awaiting:
			c.awaiting = true
			go c.await()
		}
		if from == nil {
			c.changed.Wait()
			continue
		}
		c.reading = true
		c.mu.Unlock() // for a body that another handler has wrapped may wait
		n, err := from.Read(p)
		c.mu.Lock()
		c.reading = false
		c.changed.Broadcast()
		if err == nil || !c.late {
			return n, err
		}
		c.cut = err
	}
}

// await waits until there is input.
func (c *http2Conn) await() {
	c.w.r.Body.Read(nil) // waits, in net/http's body, and takes nothing; with a body that does not wait here, Read does
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaiting, c.ready = false, true
	c.changed.Broadcast()
}

func (c *http2Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.setWriting(true); err != nil {
		return 0, err
	}
	n, err := c.send(p)
	if why := c.setWriting(false); err != nil {
		n, err = 0, cmp.Or(why, err)
	}
	return n, err
}

// setWriting says whether a Write is under way. It returns what stands against one.
func (c *http2Conn) setWriting(is bool) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isClosed:
		err = net.ErrClosed
	case c.late, c.write.passed():
		err = os.ErrDeadlineExceeded
	case c.over:
		err = errors.New("ws: the peer has ended the stream")
	}
	c.inWrite = is && err == nil
	return err
}

func (c *http2Conn) send(p []byte) (n int, err error) {
	n = len(p)
	if !c.headed {
		if p, err = c.addHead(p); err != nil || !c.headed {
			return n, err
		}
	}
	if len(p) > 0 && !c.w.silent {
		if _, err := c.w.w.Write(p); err != nil {
			return 0, err
		}
	}
	if err = c.rc.Flush(); len(p) == 0 { // a head; that the client has gone, Read will say
		err = nil
	}
	return n, err
}

// addHead adds p to the head of the answer. Once that is whole, it is sent, and what comes after it returned.
func (c *http2Conn) addHead(p []byte) ([]byte, error) {
	c.head = append(c.head, p...)
	for {
		head, rest, whole := bytes.Cut(c.head, []byte("\r\n\r\n"))
		if !whole && len(c.head) < http.DefaultMaxHeaderBytes {
			return nil, nil
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(c.head[:len(c.head)-len(rest)])), nil)
		if err != nil {
			return nil, fmt.Errorf("ws: what was written to a hijacked stream of HTTP/2 is no HTTP/1.1 response: %.40q: %w", head, err)
		}
		if c.head = rest; res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			c.headed, c.head = true, nil
			c.w.mu.Lock()
			defer c.w.mu.Unlock()
			c.w.answer(res.StatusCode, res.Header)
			c.w.silent = c.w.silent || len(res.TransferEncoding) > 0 // its body is not what follows
			return rest, nil
		}
	}
}

// reset ends the stream under a Write. It is called with mu held.
func (c *http2Conn) reset() {
	if c.inWrite {
		c.rc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// Close lets the handler return, which ends the stream: what was written arrives.
func (c *http2Conn) Close() error {
	defer c.wake()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	c.isClosed = true
	close(c.closed)
	for _, d := range []*deadline{&c.read, &c.write, &c.grace} {
		d.set(time.Time{})
	}
	c.reset()
	if c.reading && !c.over {
		c.rc.SetReadDeadline(time.Unix(1, 0))
	}
	return nil
}

// CloseWrite fails: net/http ends its half of a stream when the handler returns, and then the other half with it.
func (c *http2Conn) CloseWrite() error { return errors.ErrUnsupported }

// wait returns when nobody touches net/http's writer any more: after Close, or when the peer has ended the stream.
func (c *http2Conn) wait() {
	select {
	case <-c.closed:
	case <-c.ended():
		c.keepRest()
	}
	c.mu.Lock()
	c.over = true
	c.reset()
	c.mu.Unlock()
	c.writing.Lock() // until the last Write has returned
	c.writing.Unlock()
}

// ended returns what says that the peer has ended the stream. The request's context is not it: it may end with
// the server's, from http.Server.BaseContext, while the stream goes on.
func (c *http2Conn) ended() <-chan bool {
	select {
	case <-c.closed:
	case <-c.ctx.Done():
		if n, ok := find[http.CloseNotifier](c.w.w); ok {
			return n.CloseNotify()
		}
	}
	return nil
}

// keepRest keeps what has come on a stream that has ended, and would be lost with the handler.
func (c *http2Conn) keepRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.awaiting || c.reading {
		c.changed.Wait()
	}
	b, err := io.ReadAll(c.w.r.Body)
	c.rest = io.MultiReader(bytes.NewReader(b), failing{cmp.Or(err, io.EOF)})
	c.changed.Broadcast()
}

// failing is a reader of nothing but an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (c *http2Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *http2Conn) SetReadDeadline(t time.Time) error  { return c.set(&c.read, t) }
func (c *http2Conn) SetWriteDeadline(t time.Time) error { return c.set(&c.write, t) }

func (c *http2Conn) set(d *deadline, t time.Time) error {
	defer c.wake()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	d.set(t)
	return nil
}

// wake makes a Read look again, and ends a Write that is late.
func (c *http2Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inWrite && !c.late && c.write.passed() {
		c.late = true
		c.grace.set(time.Now().Add(closeGrace))
		c.reset()
	}
	c.changed.Broadcast()
}
