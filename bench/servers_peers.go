//go:build linux

package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	gobwas "github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	"github.com/olahol/melody"
)

// peers are written as their own documentation shows it.
func peers() []server {
	return []server{
		{name: reference, handler: coderServer},
		{name: "gorilla", handler: gorillaServer},
		{name: "gws", handler: gwsServer},
		{name: "melody", handler: melodyServer},
		{name: "gobwas", handler: gobwasServer},
	}
}

// coderServer reads and writes under a context that can't be cancelled: that is
// its fastest way.
func coderServer(o serverOptions) http.Handler {
	opts := &websocket.AcceptOptions{}
	if o.deflate {
		opts.CompressionMode = websocket.CompressionNoContextTakeover
		opts.CompressionThreshold = 1
	}
	accept := func(w http.ResponseWriter, r *http.Request) *websocket.Conn {
		c, err := websocket.Accept(w, r, opts)
		if err != nil {
			return nil
		}
		c.SetReadLimit(maxMessage)
		return c
	}
	ctx := context.Background()
	var h hub
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		c := accept(w, r)
		if c == nil {
			return
		}
		defer c.CloseNow()
		for {
			typ, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			if err := c.Write(ctx, typ, b); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		c := accept(w, r)
		if c == nil {
			return
		}
		m := h.join(16, func() { c.CloseNow() }, func(b []byte) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return c.Write(ctx, websocket.MessageBinary, b)
		})
		defer h.leave(m)
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			h.take(m, b)
		}
	})
	return mux
}

func gorillaServer(o serverOptions) http.Handler {
	up := gorilla.Upgrader{EnableCompression: o.deflate}
	var h hub
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			typ, b, err := c.ReadMessage()
			if err != nil {
				return
			}
			if err := c.WriteMessage(typ, b); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		m := h.join(256, func() { c.Close() }, func(b []byte) error {
			c.SetWriteDeadline(time.Now().Add(10 * time.Second))
			return c.WriteMessage(gorilla.BinaryMessage, b)
		})
		defer h.leave(m)
		for {
			_, b, err := c.ReadMessage()
			if err != nil {
				return
			}
			h.take(m, b)
		}
	})
	return mux
}

func gobwasServer(o serverOptions) http.Handler {
	var h hub
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		if o.deflate {
			gobwasDeflate(w, r)
			return
		}
		c, _, _, err := gobwas.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			b, op, err := wsutil.ReadClientData(c)
			if err != nil {
				return
			}
			if err := wsutil.WriteServerMessage(c, op, b); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		c, _, _, err := gobwas.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		m := h.join(256, func() { c.Close() }, func(b []byte) error {
			c.SetWriteDeadline(time.Now().Add(10 * time.Second))
			return wsutil.WriteServerBinary(c, b)
		})
		defer h.leave(m)
		for {
			b, _, err := wsutil.ReadClientData(c)
			if err != nil {
				return
			}
			h.take(m, b)
		}
	})
	return mux
}

func gobwasDeflate(w http.ResponseWriter, r *http.Request) {
	e := wsflate.Extension{Parameters: wsflate.DefaultParameters}
	up := gobwas.HTTPUpgrader{Negotiate: e.Negotiate}
	c, _, _, err := up.Upgrade(r, w)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		f, err := gobwas.ReadFrame(c)
		if err != nil || f.Header.OpCode.IsControl() {
			return
		}
		f = gobwas.UnmaskFrameInPlace(f)
		if f, err = wsflate.DecompressFrame(f); err != nil {
			return
		}
		if f, err = wsflate.CompressFrame(gobwas.NewFrame(f.Header.OpCode, true, f.Payload)); err != nil {
			return
		}
		if err := gobwas.WriteFrame(c, f); err != nil {
			return
		}
	}
}

// hub is the idea of gorilla's and coder's chat examples: a queue and a writing
// goroutine for each member, and who lets the queue fill up is dropped.
type hub struct {
	mu sync.Mutex
	// mu protects the following.
	members map[*member]struct{}
}

type member struct {
	queue chan []byte
	drop  func()
}

func (h *hub) join(queue int, drop func(), write func([]byte) error) *member {
	m := &member{make(chan []byte, queue), drop}
	h.mu.Lock()
	if h.members == nil {
		h.members = map[*member]struct{}{}
	}
	h.members[m] = struct{}{}
	h.mu.Unlock()
	go func() {
		for b := range m.queue {
			if write(b) != nil {
				break
			}
		}
		drop()
	}()
	return m
}

func (h *hub) leave(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(m)
}

// remove is called with mu held.
func (h *hub) remove(m *member) {
	if _, ok := h.members[m]; ok {
		delete(h.members, m)
		close(m.queue)
		go m.drop() // a write may be stuck in it
	}
}

func (h *hub) take(from *member, b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if isJoin(b) {
		h.send(from, b)
		return
	}
	for m := range h.members {
		h.send(m, b)
	}
}

// send is called with mu held.
func (h *hub) send(m *member, b []byte) {
	if _, ok := h.members[m]; !ok {
		return
	}
	select {
	case m.queue <- b:
	default:
		h.remove(m)
	}
}

func gwsServer(o serverOptions) http.Handler {
	opts := &gws.ServerOption{}
	if o.deflate {
		opts.PermessageDeflate = gws.PermessageDeflate{Enabled: true, Threshold: 1}
	}
	upgrade := func(h gws.Event) http.HandlerFunc {
		up := gws.NewUpgrader(h, opts)
		return func(w http.ResponseWriter, r *http.Request) {
			c, err := up.Upgrade(w, r)
			if err != nil {
				return
			}
			go c.ReadLoop() // lets net/http's part be collected
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", upgrade(gwsEcho{}))
	mux.HandleFunc("/chat", upgrade(&gwsChat{conns: map[*gws.Conn]struct{}{}}))
	return mux
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}

type gwsChat struct {
	gws.BuiltinEventHandler
	mu sync.Mutex
	// mu protects the following.
	conns map[*gws.Conn]struct{}
}

func (h *gwsChat) OnOpen(c *gws.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = struct{}{}
}

func (h *gwsChat) OnClose(c *gws.Conn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *gwsChat) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	if isJoin(m.Bytes()) {
		c.WriteMessage(m.Opcode, m.Bytes())
		return
	}
	b := gws.NewBroadcaster(m.Opcode, m.Bytes())
	defer b.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		b.Broadcast(c)
	}
}

func melodyServer(o serverOptions) http.Handler {
	make := func(take func(m *melody.Melody, s *melody.Session, text bool, b []byte)) http.HandlerFunc {
		m := melody.New()
		m.Config.MaxMessageSize = maxMessage
		m.Upgrader.EnableCompression = o.deflate
		m.HandleMessage(func(s *melody.Session, b []byte) { take(m, s, true, b) })
		m.HandleMessageBinary(func(s *melody.Session, b []byte) { take(m, s, false, b) })
		return func(w http.ResponseWriter, r *http.Request) { m.HandleRequest(w, r) }
	}
	echo := func(_ *melody.Melody, s *melody.Session, text bool, b []byte) {
		if text {
			s.Write(b)
		} else {
			s.WriteBinary(b)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", make(echo))
	mux.HandleFunc("/chat", make(func(m *melody.Melody, s *melody.Session, text bool, b []byte) {
		switch {
		case isJoin(b):
			echo(m, s, text, b)
		case text:
			m.Broadcast(b)
		default:
			m.BroadcastBinary(b)
		}
	}))
	return mux
}
