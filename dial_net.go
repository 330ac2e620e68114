//go:build !js

package ws

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// connect dials u by way of the engine.
func (c *Conn) connect(ctx context.Context, u *url.URL, opts *DialOptions) error {
	engine := opts.Engine
	onPing := engine.OnPingReceived
	engine.OnPingReceived = func(ctx context.Context, p []byte) bool {
		return (onPing == nil || onPing(ctx, p)) && c.out.pongs()
	}
	client := http.Client{}
	if engine.HTTPClient != nil {
		client = *engine.HTTPClient
	}
	t := &tap{c: c, next: client.Transport}
	if t.next == nil {
		t.next = http.DefaultTransport
	}
	if opts.Handler != nil {
		t.next = inMemory(opts.Handler)
	}
	client.Transport = t
	engine.HTTPClient = &client

	conn, resp, err := websocket.Dial(ctx, u.String(), &engine)
	if err != nil {
		if t.taken {
			c.out.sock.Close()
		}
		e := &HandshakeError{Err: err}
		if resp != nil {
			e.Status = resp.StatusCode
			if resp.Body != nil {
				if body, _ := io.ReadAll(resp.Body); len(body) > 0 && !t.taken {
					e.Err = errors.New(strings.TrimPrefix(strings.TrimSpace(string(body)), "ws: "))
				}
			}
		}
		return e
	}
	conn.SetReadLimit(-1) // the limit is ours
	c.engine, c.subprotocol = conn, conn.Subprotocol()
	c.req = t.req.WithContext(c.ctx)
	c.out.mask = true
	c.out.compressAt = compressAt(resp.Header.Get("Sec-Websocket-Extensions"), "client_no_context_takeover", engine.CompressionThreshold)
	return nil
}

// tap is a Transport that takes the connection of a 101 for c and gives the
// engine c's side of it.
type tap struct {
	c     *Conn
	next  http.RoundTripper
	req   *http.Request
	taken bool
}

func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	var (
		mu   sync.Mutex
		sock net.Conn
	)
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		mu.Lock()
		sock = info.Conn
		mu.Unlock()
	}}
	t.req = r
	resp, err := t.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	body, ok := resp.Body.(io.ReadWriteCloser)
	mu.Lock()
	defer mu.Unlock()
	if !ok || sock == nil {
		resp.Body.Close()
		return nil, errNoStream
	}
	t.c.out.init(sock, t.c.limits)
	t.c.in.body = body
	t.taken = true
	resp.Body = (*engineSide)(t.c)
	return resp, nil
}

// inMemory is a Transport whose every connection is served by h.
func inMemory(h http.Handler) http.RoundTripper {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		client, server := net.Pipe()
		l := make(pipeListener, 1)
		l <- server
		close(l)
		go (&http.Server{Handler: h}).Serve(l)
		return client, nil
	}
	// Keep-alives would leave a goroutine behind after a refused handshake.
	return &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true}
}

// pipeListener accepts what is in the channel.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, io.EOF
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
