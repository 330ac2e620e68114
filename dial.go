package ws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// DialOptions are the options of [Dial] and [Route.Dial]. Its zero value is ready.
type DialOptions struct {
	// Engine is the engine's own options: HTTPHeader, HTTPClient (default:
	// http.DefaultClient), Subprotocols, and CompressionMode (default: none). In the
	// browser it has Subprotocols alone.
	Engine websocket.DialOptions

	// Params are the values of a Route's {wildcards}. Dial has none.
	Params map[string]string

	// Query is added to the URL's own.
	Query url.Values

	// Handler is dialled in memory, without a network: for tests. The URL's
	// host is then only what the request says. It works inside of testing/synctest.
	// Only HTTPClient's Jar, CheckRedirect and Timeout are used. Not in the browser.
	Handler http.Handler

	Limits
}

// Dial connects to rawURL, whose scheme is ws, wss, http or https, and returns
// without waiting for OnOpen. The callbacks run on a goroutine of the connection's.
// opts may be nil.
//
// ctx bounds the handshake only; the connection's Context carries its values. A handshake that failed is a
// [*HandshakeError] with the status of the answer and the beginning of its
// body, or with status 0 if there was no answer.
//
// A fault that has no Events.OnError to go to is only CloseEvent.Err. In the
// browser Close can send the codes 1000 and 3000 to 4999; for others it sends none.
func Dial(ctx context.Context, rawURL string, ev Events, opts *DialOptions) (*Conn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	for name := range opts.Params {
		return nil, fmt.Errorf("ws: DialOptions.Params has %q, but %q is no Route", name, rawURL)
	}
	c, err := dial(ctx, rawURL, ev, opts)
	if err != nil {
		return nil, err
	}
	go c.run()
	return c, nil
}

// dial connects. The connection is to be run.
func dial(ctx context.Context, rawURL string, ev Events, opts *DialOptions) (*Conn, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("ws: can't dial: %w", err)
	}
	if err := toWebSocket(u, opts.Query); err != nil {
		return nil, err
	}
	if u.Host == "" {
		return nil, fmt.Errorf("ws: can't dial %q: it has no host", u.Redacted())
	}
	cctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &Conn{ev: ev, ctx: cctx, cancel: cancel, limits: opts.Limits.withDefaults()}
	if err := c.connect(ctx, u, opts); err != nil {
		cancel(err)
		return nil, err
	}
	return c, nil
}

// toWebSocket makes u's scheme ws or wss and adds query to its own.
func toWebSocket(u *url.URL, query url.Values) error {
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return fmt.Errorf("ws: can't dial %q: the scheme must be ws, wss, http or https", u.Redacted())
	}
	if len(query) > 0 {
		q := query.Encode()
		if u.RawQuery != "" {
			q = u.RawQuery + "&" + q
		}
		u.RawQuery = q
	}
	return nil
}

var errNoStream = errors.New("the client's Transport does not give the connection away after a 101")
