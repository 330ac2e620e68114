package ws

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/coder/websocket"
)

// Route describes one endpoint for both of its ends: the server receives In and
// sends Out. Put it into a package that both import:
//
//	var Chat = ws.Route[Post, Note]{Path: "/rooms/{room}/ws"}
//
// The server is ws.Upgrade(Chat.Factory(…)) at that path, the client Chat.Dial(…).
//
// An empty text message is a heartbeat, for clients that can't send pings, such as pages:
// neither end decodes it, and the server answers with another.
type Route[In, Out any] struct {
	// Path has the wildcards of [http.ServeMux], {name}, {name...} and {$}, or
	// chi's, {name:regexp}. It has no method and no host.
	Path string
	// Codec turns values into messages. nil: JSON in text messages.
	Codec Codec
}

// Codec turns values into messages and back. Its methods are called from many goroutines
// at once. Decode gets a pointer. Encode must not make an empty text message: that is a heartbeat.
type Codec interface {
	Encode(v any) (Message, error)
	Decode(m Message, v any) error
}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) (Message, error) { return JSON(v) }
func (jsonCodec) Decode(m Message, v any) error { return m.Decode(v) }

// RouteEvents are [Events] for one end of a [Route], which receives In and sends
// Out. On the client the two are the other way round.
type RouteEvents[In, Out any] struct {
	OnOpen    func(c *RouteConn[Out]) error
	OnMessage func(c *RouteConn[Out], v In) error
	// OnInvalid gets messages that did not decode. If it returns nil, the
	// message is skipped; an error is treated as one of OnMessage. nil:
	// the connection closes with 1007 (RFC 6455, section 7.4.1), and OnError gets err.
	OnInvalid func(c *RouteConn[Out], m Message, err error) error
	OnClose   func(c *RouteConn[Out], e CloseEvent)
	OnError   func(c *RouteConn[Out], err error)
	Value     any // as in Events
}

// RouteConn is a [Conn] that sends values of one type. There is one for each connection.
type RouteConn[Out any] struct {
	conn  *Conn
	codec Codec
}

// Send sends v as [Conn.Send] does. A value that can't be encoded is an error and closes nothing.
func (c *RouteConn[Out]) Send(v Out) error {
	m, err := c.codec.Encode(v)
	if err != nil {
		return err
	}
	return c.conn.Send(m)
}

// TrySend sends v as [Conn.TrySend] does.
func (c *RouteConn[Out]) TrySend(v Out) error {
	m, err := c.codec.Encode(v)
	if err != nil {
		return err
	}
	return c.conn.TrySend(m)
}

// Close is [Conn.Close].
func (c *RouteConn[Out]) Close(code websocket.StatusCode, reason string) error {
	return c.conn.Close(code, reason)
}

// Context is [Conn.Context].
func (c *RouteConn[Out]) Context() context.Context { return c.conn.Context() }

// Request is [Conn.Request].
func (c *RouteConn[Out]) Request() *http.Request { return c.conn.Request() }

// Conn returns the connection itself, for a [Group], say. It knows nothing of the types.
func (c *RouteConn[Out]) Conn() *Conn { return c.conn }

// Factory returns the server's end, for [Upgrade] or [Upgrader.Upgrade].
func (rt Route[In, Out]) Factory(f func(w http.ResponseWriter, r *http.Request) (RouteEvents[In, Out], error)) Factory {
	return func(w http.ResponseWriter, r *http.Request) (Events, error) {
		ev, err := f(w, r)
		if err != nil {
			return Events{}, err
		}
		_, events := typed(ev, rt.codec(), true)
		return events, nil
	}
}

// Encode returns the message that the server would send for v, for [Group.BroadcastAll].
func (rt Route[In, Out]) Encode(v Out) (Message, error) { return rt.codec().Encode(v) }

// Broadcast sends v to g's members as [Group.Broadcast] does. They must all be
// of this route. A value that can't be encoded is an error, and nobody gets it.
func (rt Route[In, Out]) Broadcast(g *Group, v Out, except ...*Conn) error {
	m, err := rt.Encode(v)
	if err != nil {
		return err
	}
	return g.Broadcast(m, except...)
}

// Dial connects to the route's server at base, as [Dial] does. base is the URL
// under which the server's routes are, "https://example.com" say.
// opts.Params needs a value for every wildcard of Path, and no other.
func (rt Route[In, Out]) Dial(ctx context.Context, base string, ev RouteEvents[Out, In], opts *DialOptions) (*RouteConn[In], error) {
	c, err := rt.dial(ctx, base, ev, opts)
	if err != nil {
		return nil, err
	}
	go c.conn.run()
	return c, nil
}

// dial connects. The connection is to be run.
func (rt Route[In, Out]) dial(ctx context.Context, base string, ev RouteEvents[Out, In], opts *DialOptions) (*RouteConn[In], error) {
	rawURL, err := rt.URL(base, opts)
	if err != nil {
		return nil, err
	}
	var o DialOptions
	if opts != nil {
		o = *opts
	}
	o.Params, o.Query = nil, nil // the URL has them
	c, events := typed(ev, rt.codec(), false)
	if c.conn, err = dial(ctx, rawURL, events, &o); err != nil {
		return nil, err
	}
	return c, nil
}

// URL returns the URL that Dial connects to: base with the scheme ws or wss, the
// path with opts.Params in place of its wildcards, and opts.Query. opts may be nil.
func (rt Route[In, Out]) URL(base string, opts *DialOptions) (string, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	u, err := parseURL(base, opts.Query)
	if err != nil {
		return "", fmt.Errorf("ws: can't dial the route %s: %w", rt.Path, err)
	}
	path, err := fill(rt.Path, opts.Params)
	if err != nil {
		return "", err
	}
	escaped := strings.TrimSuffix(u.EscapedPath(), "/") + path
	if u.Path, err = url.PathUnescape(escaped); err != nil {
		return "", fmt.Errorf("ws: can't dial the route %s: %w", rt.Path, err)
	}
	u.RawPath = escaped
	return u.String(), nil
}

func (rt Route[In, Out]) codec() Codec {
	if rt.Codec == nil {
		return jsonCodec{}
	}
	return rt.Codec
}

// typed returns the Events that call ev. Its RouteConn is complete when OnOpen is called.
func typed[In, Out any](ev RouteEvents[In, Out], codec Codec, server bool) (*RouteConn[Out], Events) {
	rc := &RouteConn[Out]{codec: codec}
	events := Events{
		Value: ev.Value,
		OnOpen: func(c *Conn) error {
			if rc.conn == nil { // on the server
				rc.conn = c
			}
			if ev.OnOpen == nil {
				return nil
			}
			return ev.OnOpen(rc)
		},
		OnMessage: func(c *Conn, m Message) error {
			if len(m.Data) == 0 && m.Type == websocket.MessageText { // a heartbeat
				if server {
					c.TrySend(m) // a full buffer is life enough
				}
				return nil
			}
			var v In
			switch err := codec.Decode(m, &v); {
			case err == nil && ev.OnMessage == nil:
				return nil
			case err == nil:
				return ev.OnMessage(rc, v)
			case ev.OnInvalid != nil:
				return ev.OnInvalid(rc, m, err)
			default:
				c.Close(websocket.StatusInvalidFramePayloadData, "the message does not decode")
				return &peerError{websocket.StatusInvalidFramePayloadData, fmt.Errorf("the peer sent a message that does not decode: %w", err)}
			}
		},
	}
	if ev.OnClose != nil {
		events.OnClose = func(_ *Conn, e CloseEvent) { ev.OnClose(rc, e) }
	}
	if ev.OnError != nil {
		events.OnError = func(_ *Conn, err error) { ev.OnError(rc, err) }
	}
	return rc, events
}

// fill puts params in the place of path's wildcards, escaped.
func fill(path string, params map[string]string) (string, error) {
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("ws: the route's path %q does not begin with a slash", path)
	}
	var b strings.Builder
	used := make(map[string]bool)
	for rest := path; rest != ""; {
		before, wild, after, ok := cutWildcard(rest)
		if !ok {
			return "", fmt.Errorf("ws: the route %s has a wildcard that does not end", path)
		}
		if plain, err := url.PathUnescape(before); err == nil { // http.ServeMux takes both forms
			before = plain
		}
		b.WriteString((&url.URL{Path: before}).EscapedPath())
		rest = after
		if wild == "" || wild == "$" {
			continue
		}
		name, pattern, hasPattern := strings.Cut(wild, ":")
		name, many := strings.CutSuffix(name, "...")
		value, ok := params[name]
		if !ok {
			return "", fmt.Errorf("ws: the route %s needs the parameter %q, which DialOptions.Params lacks", path, name)
		}
		used[name] = true
		if hasPattern {
			re, err := regexp.Compile("^(?:" + pattern + ")$")
			if err != nil {
				return "", fmt.Errorf("ws: the route %s has a malformed wildcard: %w", path, err)
			}
			if !re.MatchString(value) {
				return "", fmt.Errorf("ws: the parameter %q of the route %s is %q, which does not match %s", name, path, value, pattern)
			}
		}
		segments := []string{value}
		if many {
			segments = strings.Split(value, "/")
		}
		for i, s := range segments {
			if s == "." || s == ".." || s == "" && !many {
				return "", fmt.Errorf("ws: the parameter %q of the route %s is %q, which can't be part of a path", name, path, value)
			}
			if i > 0 {
				b.WriteByte('/')
			}
			b.WriteString(url.PathEscape(s))
		}
	}
	for name := range params {
		if !used[name] {
			return "", fmt.Errorf("ws: the route %s has no parameter %q", path, name)
		}
	}
	return b.String(), nil
}

// cutWildcard cuts s around the inner of its first {wildcard}, in which braces
// may be nested.
func cutWildcard(s string) (before, wild, after string, ok bool) {
	start := strings.IndexByte(s, '{')
	if start < 0 {
		return s, "", "", true
	}
	depth := 0
	for i := start; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[:start], s[start+1 : i], s[i+1:], true
			}
		}
	}
	return "", "", "", false
}
