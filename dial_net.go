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
	engine.OnPingReceived = pongs(&c, engine.OnPingReceived)
	client := http.Client{}
	if engine.HTTPClient != nil {
		client = *engine.HTTPClient
	}
	t := &tap{ctx: ctx, c: c, next: client.Transport}
	if t.next == nil {
		t.next = http.DefaultTransport
	}
	if opts.Handler != nil {
		t.next = inMemory(opts.Handler)
	}
	client.Transport = t
	engine.HTTPClient = &client

	conn, resp, err := websocket.Dial(ctx, u.String(), &engine)
	if t.taken && !t.stop() && err == nil {
		conn.CloseNow()
		err = ctx.Err()
	}
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
	ctx   context.Context // Dial's
	c     *Conn
	next  http.RoundTripper
	req   *http.Request
	taken bool
	stop  func() bool // ends ctx's say in the connection
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
	t.c.in.body, t.c.in.frames = body, new(unmasked)
	t.taken = true
	t.stop = context.AfterFunc(t.ctx, func() { (*engineSide)(t.c).Close() })
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

// unmasked follows the frames that a server sends, which must not be masked
// (RFC 6455, section 5.1). The engine does not look.
type unmasked struct {
	head []byte // the beginning of a frame
	left uint64 // bytes of its payload
	bad  bool
}

var errMasked = errors.New("the server masked a frame")

// pass returns how many bytes of p come before a masked frame.
func (f *unmasked) pass(p []byte) int {
	for n := 0; n < len(p); {
		if f.left > 0 {
			k := min(f.left, uint64(len(p)-n))
			f.left -= k
			n += int(k)
			continue
		}
		f.head = append(f.head, p[n])
		if len(f.head) == 2 && p[n]&masked != 0 {
			f.bad = true
			return max(0, n-1)
		}
		n++
		if size, ok := frameSize(f.head); ok {
			f.left = size - uint64(len(f.head))
			f.head = f.head[:0]
		}
	}
	return len(p)
}
