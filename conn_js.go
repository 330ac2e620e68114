package ws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall/js"
	"time"

	"github.com/coder/websocket"
)

// In the browser a connection is the browser's own WebSocket, which frames,
// queues, answers pings and closes by itself. The engine's build for it is not
// used: it does not tell the code with which the peer closed, and may lose
// messages that came before.

// codec is the browser's.
type codec struct{}

// inbox is what the browser has received.
type inbox struct {
	mu     sync.Mutex // protects the following
	queue  []Message
	closed *websocket.CloseError
	signal chan struct{} // has room for one; something was added
}

// outbox is the browser's WebSocket.
type outbox struct {
	ws         js.Value
	sendBuffer int
	timeout    time.Duration
	in         *inbox
	cancel     func(error) // ends the connection's Context

	mu     sync.Mutex // protects the following
	closed bool
	why    error
	stats  Stats
}

func (c *Conn) connect(ctx context.Context, u *url.URL, opts *DialOptions) (err error) {
	if opts.Handler != nil {
		return errors.New("ws: DialOptions.Handler can't be dialled in the browser")
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case error: // a js.Error; a *js.ValueError where there is no WebSocket
			err = &HandshakeError{Err: e, kind: impossible}
		default:
			panic(e)
		}
	}()
	protocols := make([]any, len(opts.Engine.Subprotocols))
	for i, p := range opts.Engine.Subprotocols {
		protocols[i] = p
	}
	if c.req, err = http.NewRequestWithContext(c.ctx, http.MethodGet, u.String(), nil); err != nil {
		return &HandshakeError{Err: err}
	}
	ws := js.Global().Get("WebSocket").New(u.String(), protocols)
	ws.Set("binaryType", "arraybuffer")
	c.in.signal = make(chan struct{}, 1)
	c.out = outbox{ws: ws, sendBuffer: c.limits.SendBuffer, timeout: c.limits.WriteTimeout, in: &c.in, cancel: c.cancel}

	opened := make(chan struct{})
	var funcs [3]js.Func
	listen := func(i int, event string, f func(e js.Value)) {
		funcs[i] = js.FuncOf(func(_ js.Value, args []js.Value) any { f(args[0]); return nil })
		ws.Call("addEventListener", event, funcs[i])
	}
	listen(0, "open", func(js.Value) { close(opened) })
	listen(1, "message", func(e js.Value) {
		m := messageOf(e.Get("data"))
		c.in.add(func() { c.in.queue = append(c.in.queue, m) })
	})
	listen(2, "close", func(e js.Value) {
		ce := &websocket.CloseError{Code: websocket.StatusCode(e.Get("code").Int()), Reason: e.Get("reason").String()}
		c.in.add(func() { c.in.closed = ce })
		for i, event := range []string{"open", "message", "close"} {
			ws.Call("removeEventListener", event, funcs[i])
			funcs[i].Release()
		}
	})
	select {
	case <-opened:
		c.subprotocol = ws.Get("protocol").String()
		return nil
	case <-c.in.signal: // the browser tells nobody why
		return &HandshakeError{Err: errors.New("the browser could not open the connection")}
	case <-ctx.Done():
		ws.Call("close")
		return &HandshakeError{Err: ctx.Err()}
	}
}

// handshakeTimeout bounds an attempt of Redial's.
func (o *DialOptions) handshakeTimeout() time.Duration { return 10 * time.Second }

// pause waits for d, until ctx ends, or until the browser is online again.
func pause(ctx context.Context, d time.Duration) (online bool) {
	signal := make(chan struct{}, 1)
	if global := js.Global(); global.Get("addEventListener").Type() == js.TypeFunction { // Node has none
		f := js.FuncOf(func(js.Value, []js.Value) any {
			select {
			case signal <- struct{}{}:
			default:
			}
			return nil
		})
		defer f.Release()
		global.Call("addEventListener", "online", f)
		defer global.Call("removeEventListener", "online", f)
	}
	select {
	case <-ctx.Done():
	case <-signal:
		return true
	case <-time.After(d):
	}
	return false
}

func messageOf(data js.Value) Message {
	if data.Type() == js.TypeString {
		return Text(data.String())
	}
	array := js.Global().Get("Uint8Array").New(data)
	b := make([]byte, array.Length())
	js.CopyBytesToGo(b, array)
	return Binary(b)
}

func (in *inbox) add(f func()) {
	in.mu.Lock()
	f()
	in.mu.Unlock()
	select {
	case in.signal <- struct{}{}:
	default:
	}
}

func (c *Conn) next() (Message, error) {
	for {
		c.in.mu.Lock()
		switch ce := c.in.closed; {
		case c.out.dropped() != nil:
			c.in.mu.Unlock()
			return Message{}, c.out.dropped()
		case len(c.in.queue) > 0:
			m := c.in.queue[0]
			c.in.queue = c.in.queue[1:]
			c.in.mu.Unlock()
			if c.limits.ReadLimit > 0 && int64(len(m.Data)) > c.limits.ReadLimit && !c.out.closing() {
				return Message{}, &peerError{websocket.StatusMessageTooBig, errors.New("the peer sent a message of more than Limits.ReadLimit")}
			}
			c.out.count(&c.out.stats.MessagesIn, &c.out.stats.BytesIn, len(m.Data))
			return m, nil
		case ce != nil:
			c.in.mu.Unlock()
			c.out.shut()
			if ce.Code == websocket.StatusAbnormalClosure {
				return Message{}, errors.New("the browser says no more")
			}
			return Message{}, *ce
		}
		c.in.mu.Unlock()
		<-c.in.signal
	}
}

func (c *Conn) wait()       {}
func (c *Conn) release()    {}
func (c *Conn) disconnect() {}

// What the other build needs to know of callbacks and input, the browser knows by itself.
func (in *inbox) more() bool         { return false }
func (o *outbox) watch()             {}
func (o *outbox) callback(more bool) {}
func (o *outbox) worked()            {}

func (o *outbox) shut() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}

// post sends a message.
func (c *Conn) post(m Message, full admission) error {
	err := c.out.send(m, full)
	if err == nil {
		c.out.count(&c.out.stats.MessagesOut, &c.out.stats.BytesOut, len(m.Data))
	}
	return err
}

// shared is messages for many connections.
type shared struct{ ms []Message }

func (c *Conn) share(s *shared) error {
	for _, m := range s.ms {
		if err := c.post(m, tryRoom); err != nil {
			return err
		}
	}
	return nil
}

// Stats returns what has passed over the connection so far. In the browser it counts messages alone.
func (c *Conn) Stats() Stats {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.stats
}

// Ping returns an error in the browser: a page can't send pings.
func (c *Conn) Ping(context.Context) (time.Duration, error) {
	return 0, fmt.Errorf("ws: a page can't ping: %w", errors.ErrUnsupported)
}

// NetConn returns nil in the browser.
func (c *Conn) NetConn() net.Conn { return nil }

func (o *outbox) count(messages, bytes *int64, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*messages++
	*bytes += int64(n)
}

func (o *outbox) send(m Message, full admission) error {
	if full == waitRoom {
		o.awaitRoom(nil)
	}
	if !o.ending() && o.buffered() >= o.sendBuffer {
		return ErrBufferFull
	}
	if o.ending() {
		return errClosed
	}
	if m.Type == websocket.MessageText {
		o.ws.Call("send", string(m.Data))
		return nil
	}
	array := js.Global().Get("Uint8Array").New(len(m.Data))
	js.CopyBytesToJS(array, m.Data)
	o.ws.Call("send", array)
	return nil
}

// awaitRoom waits for room, at most the write timeout and until stop is closed.
// Browsers tell nobody when there is some.
func (o *outbox) awaitRoom(stop <-chan struct{}) {
	deadline := time.Now().Add(o.timeout)
	for !o.ending() && o.buffered() >= o.sendBuffer && time.Now().Before(deadline) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-stop:
			return
		}
	}
}

func (o *outbox) close(code websocket.StatusCode, reason string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.ws.Get("readyState").Int() != int(Open) {
		return false
	}
	o.closed = true
	if code == websocket.StatusNormalClosure || code >= 3000 {
		o.ws.Call("close", int(code), reason)
	} else {
		o.ws.Call("close")
	}
	return true
}

func (o *outbox) closing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// ending reports whether nothing can be sent any more: the browser may know before the loop does.
func (o *outbox) ending() bool {
	return o.closing() || o.ws.Get("readyState").Int() != int(Open)
}

func (o *outbox) buffered() int { return o.ws.Get("bufferedAmount").Int() }

// drop ends the connection for us at once; the browser closes it in its own time.
func (o *outbox) drop(why error) {
	o.mu.Lock()
	if o.why != nil {
		o.mu.Unlock()
		return
	}
	o.why, o.closed = why, true
	o.mu.Unlock()
	o.cancel(why)
	o.ws.Call("close")
	o.in.add(func() {})
}

func (o *outbox) dropped() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why
}
