package ws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"
)

// DialOptions are the options of [Dial], [Redial] and a Route's. The zero value is ready.
type DialOptions struct {
	// Engine is the engine's own options:
	//
	//   - HTTPClient makes the handshake; nil: http.DefaultClient. Its Timeout is the
	//     handshake's alone, and without a CheckRedirect at most 10 redirects are
	//     followed. Its Transport must return the connection as the body of a 101, as
	//     [http.Transport] does. An HTTP proxy that http.Transport.Proxy names is asked to
	//     CONNECT (RFC 9110, section 9.3.6), for ws:// too.
	//   - HTTPHeader and Host are sent with the handshake; Host "": the URL's.
	//   - Subprotocols are offered, the preferred one first.
	//   - CompressionMode is what is offered (RFC 7692); zero: nothing. Messages of
	//     CompressionThreshold bytes are compressed; 0: of 128, without context takeover 512.
	//   - OnPingReceived and OnPongReceived are called between callbacks, on their goroutine.
	//
	// In the browser only Subprotocols is used.
	Engine websocket.DialOptions

	// Params are the values of the {wildcards} in a Route's path. Without a Route they
	// are an error.
	Params map[string]string

	// Query is added to the URL's own.
	Query url.Values

	// Handler is dialled in memory, without a network: for tests, also inside of
	// [testing/synctest]. The URL's host is then only what the request says. RemoteAddr
	// is "192.0.2.1:1234", and TLS is set for wss and https, as in httptest.NewRequest.
	// Of Engine.HTTPClient only Jar, CheckRedirect and Timeout are used. nil: the
	// network. In the browser it is an error.
	Handler http.Handler

	Limits
}

// Dial connects to rawURL, whose scheme is ws, wss, http or https, and returns
// without waiting for OnOpen. The callbacks run on a goroutine of the connection's own.
// opts may be nil. A user and password in the URL are sent as basic authentication.
//
// ctx bounds the handshake only; the connection's Context carries its values. If the
// handshake fails, the error is a [*HandshakeError]. If the server or a proxy refused it, that has
// the status and the headers of the answer and, of a server's, the beginning of its body (at most
// 1 KiB). The status is 0 if there was no answer, or one that is no valid 101 (RFC 6455,
// section 4.1). No error holds the URL's password.
//
// Without Events.OnError a fault is in CloseEvent.Err alone. In the browser Close
// sends the codes 1000 and 3000 to 4999 as they are, and no code instead of others.
func Dial(ctx context.Context, rawURL string, ev Events, opts *DialOptions) (*Conn, error) {
	c, err := dialURL(ctx, rawURL, ev, opts)
	if err != nil {
		return nil, err
	}
	go c.run()
	return c, nil
}

// dialURL connects without a Route. The connection is to be run.
func dialURL(ctx context.Context, rawURL string, ev Events, opts *DialOptions) (*Conn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	for name := range opts.Params {
		return nil, fmt.Errorf("ws: DialOptions.Params has %q, but only a Route has parameters", name)
	}
	return dial(ctx, rawURL, ev, opts)
}

// dial connects. The connection is to be run.
func dial(ctx context.Context, rawURL string, ev Events, opts *DialOptions) (*Conn, error) {
	u, err := parseURL(rawURL, opts.Query)
	if err != nil {
		return nil, fmt.Errorf("ws: can't dial: %w", err)
	}
	if u.Host == "" {
		return nil, errors.New("ws: can't dial: the URL has no host")
	}
	cctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &Conn{ev: ev, ctx: cctx, cancel: cancel, limits: opts.Limits.withDefaults()}
	if err := c.connect(ctx, u, opts); err != nil {
		cancel(err)
		return nil, err
	}
	return c, nil
}

// parseURL makes the scheme ws or wss and adds query to the URL's own. Its errors
// hold nothing that may be a password.
func parseURL(rawURL string, query url.Values) (*url.URL, error) {
	if !strings.Contains(rawURL, "://") {
		return nil, errors.New("the URL must begin with ws://, wss://, http:// or https://")
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		var e *url.Error
		if !errors.As(err, &e) || strings.Contains(rawURL, "@") {
			return nil, errors.New("the URL is malformed; special characters in its user and password must be escaped (url.UserPassword does that)")
		}
		return nil, fmt.Errorf("the URL is malformed: %w", e.Err)
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return nil, fmt.Errorf("the URL's scheme must be ws, wss, http or https, not %q", u.Scheme)
	}
	if len(query) > 0 {
		q := query.Encode()
		if u.RawQuery != "" {
			q = u.RawQuery + "&" + q
		}
		u.RawQuery = q
	}
	return u, nil
}
