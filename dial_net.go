//go:build !js

package ws

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// connect makes the handshake with u, by the engine's Dial, and attaches the connection.
func (c *Conn) connect(ctx context.Context, u *url.URL, opts *DialOptions) error {
	client := *http.DefaultClient
	if opts.Engine.HTTPClient != nil {
		client = *opts.Engine.HTTPClient
	}
	t := &takeover{next: cmp.Or(client.Transport, http.DefaultTransport), offer: offerExtension(opts.Engine.CompressionMode)}
	if opts.Handler != nil {
		t.next = inMemory(opts.Handler)
	}
	client.Transport = t
	if client.CheckRedirect == nil {
		client.CheckRedirect = tenRedirects
	}
	if client.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, client.Timeout)
		defer cancel()
		client.Timeout = 0
	}
	engine := opts.Engine
	engine.HTTPClient = &client
	engine.CompressionMode = websocket.CompressionDisabled // t has the extension

	// The request has the connection's context: what a RoundTripper ties to it
	// lives as long as the connection.
	stop := context.AfterFunc(ctx, func() { c.cancel(context.Cause(ctx)) })
	conn, answer, err := websocket.Dial(c.ctx, u.String(), &engine)
	err = withoutURL(err)
	if conn != nil {
		conn.CloseNow() // it has a body to nowhere
	}
	var agreed *extension
	if err == nil {
		agreed, err = checkExtension(t.resp.Header, t.offer)
	}
	if err == nil && t.body == nil {
		err = errNoStream
	}
	if !stop() && (err == nil || t.resp == nil) {
		err = ctx.Err()
	}
	if err != nil {
		return t.fail(err, answer)
	}

	c.req = t.req.WithContext(c.ctx)
	resp := *t.resp
	resp.Body, resp.Request = http.NoBody, c.req
	c.resp = &resp
	c.subprotocol = resp.Header.Get("Sec-WebSocket-Protocol")
	c.onPing, c.onPong = engine.OnPingReceived, engine.OnPongReceived
	c.attach(socketOf(t.body), t.body, nil, true) // what has been read already is in the body
	c.useExtension(agreed, engine.CompressionThreshold)
	return nil
}

// handshakeTimeout bounds an attempt of Redial's.
func (o *DialOptions) handshakeTimeout() time.Duration {
	client := cmp.Or(o.Engine.HTTPClient, http.DefaultClient)
	return cmp.Or(client.Timeout, 10*time.Second)
}

// pause waits for d, or until ctx ends. Only a browser tells that it is online again.
func pause(ctx context.Context, d time.Duration) (online bool) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return false
}

func tenRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// withoutURL takes what the engine and http.Client say around an error away.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return errors.Unwrap(err)
}

// takeover is a Transport that keeps the connection of a 101, and gives the
// engine an answer without it and without the extension, to judge.
type takeover struct {
	next  http.RoundTripper
	offer *extension

	// The following are of the last request.
	req  *http.Request
	resp *http.Response     // nil: there was none
	body io.ReadWriteCloser // of a 101
}

func (t *takeover) RoundTrip(r *http.Request) (*http.Response, error) {
	t.req, t.resp = r.Clone(r.Context()), nil
	maps.DeleteFunc(t.req.Header, func(k string, _ []string) bool { return strings.EqualFold(k, "Sec-WebSocket-Extensions") })
	if t.offer != nil {
		t.req.Header.Set("Sec-WebSocket-Extensions", t.offer.String())
	}
	sent := t.req.WithContext(r.Context())
	sent.Header = spelled(t.req.Header)
	next, err := throughProxy(t.next, sent)
	if err != nil {
		return nil, err
	}
	resp, err := next.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	t.resp = resp
	if resp.StatusCode != http.StatusSwitchingProtocols {
		if _, err := url.Parse(resp.Header.Get("Location")); err != nil && resp.StatusCode/100 == 3 {
			resp.Body.Close()
			return nil, errors.New("its Location is malformed") // http.Client's error would hold it
		}
		return resp, nil
	}
	t.body, _ = resp.Body.(io.ReadWriteCloser)
	judged := *resp
	judged.Header = resp.Header.Clone()
	judged.Header.Del("Sec-WebSocket-Extensions")
	judged.Body = struct {
		io.ReadCloser
		io.Writer
	}{http.NoBody, io.Discard}
	return &judged, nil
}

// spelled returns h with the names of the handshake as RFC 6455 spells them:
// some peers compare case.
func spelled(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for k, v := range h {
		name := http.CanonicalHeaderKey(k)
		rest, ok := strings.CutPrefix(name, "Sec-Websocket-")
		switch {
		case !ok:
			out[k] = v
		case k == name || h[name] == nil:
			out["Sec-WebSocket-"+rest] = v
		}
	}
	return out
}

// fail makes an error of err. refused is an answer with the beginning of its body.
func (t *takeover) fail(err error, refused *http.Response) error {
	var e *HandshakeError // a proxy's
	if errors.As(err, &e) {
		return e
	}
	e = &HandshakeError{Err: err}
	if t.resp == nil {
		return e
	}
	e.Header = t.resp.Header
	if t.resp.StatusCode == http.StatusSwitchingProtocols {
		t.resp.Body.Close()
		return e
	}
	e.Status = t.resp.StatusCode
	if refused != nil {
		text, _ := io.ReadAll(refused.Body)
		said := strings.TrimPrefix(strings.TrimSpace(string(text)), "ws: ")
		e.Err = errors.New(cmp.Or(said, http.StatusText(e.Status), err.Error()))
	}
	return e
}

var errNoStream = errors.New("the client's Transport does not give the connection away after a 101")

// socketOf returns the connection to which body writes, if body is net/http's own
// type, which embeds it; else body itself is all that is known to lead there.
func socketOf(body io.ReadWriteCloser) net.Conn {
	conn, _ := body.(net.Conn)
	if v := reflect.Indirect(reflect.ValueOf(body)); v.Kind() == reflect.Struct && v.Type().PkgPath() == "net/http" {
		if f := v.FieldByName("ReadWriteCloser"); f.IsValid() {
			conn, _ = f.Interface().(net.Conn)
		}
	}
	if conn != nil && conn.SetReadDeadline(time.Time{}) == nil {
		return conn
	}
	b := &bodyConn{ReadWriteCloser: body, local: addr("unknown"), remote: addr("unknown")}
	if conn != nil {
		b.local, b.remote = conn.LocalAddr(), conn.RemoteAddr()
	}
	b.timer = time.AfterFunc(math.MaxInt64, func() { b.Close() })
	b.timer.Stop()
	return b
}

// bodyConn makes a net.Conn of a body. It knows no deadline for writes; that for
// reads is a timer that closes it.
type bodyConn struct {
	io.ReadWriteCloser
	local, remote net.Addr
	timer         *time.Timer
}

func (b *bodyConn) LocalAddr() net.Addr              { return b.local }
func (b *bodyConn) RemoteAddr() net.Addr             { return b.remote }
func (b *bodyConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (b *bodyConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

func (b *bodyConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		b.timer.Stop()
	} else {
		b.timer.Reset(time.Until(t))
	}
	return nil
}

// inMemory is a Transport whose every connection is served by h, with what
// httptest.NewRequest says of it.
func inMemory(h http.Handler) http.RoundTripper {
	dial := func(h http.Handler) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			l := make(pipeListener, 1)
			l <- pipeEnd{server}
			close(l)
			go (&http.Server{Handler: h}).Serve(l)
			return client, nil
		}
	}
	secure := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true, ServerName: r.Host}
		h.ServeHTTP(w, r)
	})
	// Keep-alives would leave a goroutine behind after a refused handshake.
	return &http.Transport{DialContext: dial(h), DialTLSContext: dial(secure), DisableKeepAlives: true}
}

// pipeEnd is the server's end of a connection in memory.
type pipeEnd struct{ net.Conn }

func (pipeEnd) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234} }

// pipeListener accepts what is in the channel.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, io.EOF
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return addr("pipe") }

type addr string

func (a addr) Network() string { return string(a) }
func (a addr) String() string  { return string(a) }
