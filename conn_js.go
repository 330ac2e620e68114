package ws

import (
	"context"
	"errors"
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
// messages that came before. So Raw returns nil here.

// guard is the server's.
type guard struct{}

// inbox is what the browser has received.
type inbox struct {
	err error // there was no valid Close frame

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

	mu     sync.Mutex // protects the following
	closed bool
	why    error
}

func (c *Conn) connect(ctx context.Context, u *url.URL, opts *DialOptions) (err error) {
	if opts.Handler != nil {
		return errors.New("ws: DialOptions.Handler can't be dialled in the browser")
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case error: // a js.Error; a *js.ValueError where there is no WebSocket
			err = &HandshakeError{Err: e}
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
	c.out = outbox{ws: ws, sendBuffer: c.limits.SendBuffer, timeout: c.limits.WriteTimeout, in: &c.in}

	opened := make(chan struct{})
	var funcs [3]js.Func
	listen := func(i int, event string, f func(e js.Value)) {
		funcs[i] = js.FuncOf(func(_ js.Value, args []js.Value) any { f(args[0]); return nil })
		ws.Call("addEventListener", event, funcs[i])
	}
	listen(0, "open", func(js.Value) { close(opened) })
	listen(1, "message", func(e js.Value) {
		m := Message{Type: websocket.MessageText}
		if data := e.Get("data"); data.Type() == js.TypeString {
			m.Data = []byte(data.String())
		} else {
			array := js.Global().Get("Uint8Array").New(data)
			m.Type, m.Data = websocket.MessageBinary, make([]byte, array.Length())
			js.CopyBytesToGo(m.Data, array)
		}
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
			return m, nil
		case ce != nil:
			c.in.mu.Unlock()
			c.out.shut()
			if ce.Code == websocket.StatusAbnormalClosure {
				c.in.err = errors.New("the browser says no more")
				return Message{}, c.in.err
			}
			return Message{}, *ce
		}
		c.in.mu.Unlock()
		<-c.in.signal
	}
}

func (c *Conn) release()    {}
func (c *Conn) disconnect() {}

func (o *outbox) startHeart(Limits) {}

func (o *outbox) shut() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}

func (o *outbox) send(_ *websocket.Conn, m Message, wait bool) error {
	deadline := time.Now().Add(o.timeout)
	for !o.closing() && o.buffered() >= o.sendBuffer {
		if !wait || time.Now().After(deadline) {
			return ErrBufferFull
		}
		time.Sleep(10 * time.Millisecond) // browsers tell nobody when there is room
	}
	if o.closing() || o.ws.Get("readyState").Int() != int(Open) {
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
	o.ws.Call("close")
	o.in.add(func() {})
}

func (o *outbox) dropped() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why
}
