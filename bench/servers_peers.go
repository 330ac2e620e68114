//go:build linux

package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	nbiolog "github.com/lesismal/nbio/logging"
	nbio "github.com/lesismal/nbio/nbhttp/websocket"
	"github.com/lxzan/gws"
	"github.com/olahol/melody"
)

// peers are written as their own documentation shows it.
func peers() []server {
	return []server{
		{name: reference, handler: coderServer},
		{name: "gorilla", handler: gorillaServer},
		{name: "gws", handler: gwsServer},
		{name: "nbio", handler: nbioServer},
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
	var h hub[[]byte]
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
			h.take(m, b, isJoin(b))
		}
	})
	return mux
}

func gorillaServer(o serverOptions) http.Handler {
	up := gorilla.Upgrader{EnableCompression: o.deflate}
	var h hub[*gorilla.PreparedMessage]
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
		m := h.join(256, func() { c.Close() }, func(pm *gorilla.PreparedMessage) error {
			c.SetWriteDeadline(time.Now().Add(10 * time.Second))
			return c.WritePreparedMessage(pm)
		})
		defer h.leave(m)
		for {
			typ, b, err := c.ReadMessage()
			if err != nil {
				return
			}
			pm, err := gorilla.NewPreparedMessage(typ, b)
			if err != nil {
				return
			}
			h.take(m, pm, isJoin(b))
		}
	})
	return mux
}

func gwsServer(o serverOptions) http.Handler {
	opts := &gws.ServerOption{CheckUtf8Enabled: o.text}
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

// nbioServer runs nbio's upgrader below net/http: blocking reads, and writes by a
// goroutine that runs while there is something to write.
func nbioServer(o serverOptions) http.Handler {
	nbiolog.SetLevel(nbiolog.LevelNone) // it logs to the standard output
	upgrader := func(take func(*nbio.Conn, nbio.MessageType, []byte)) *nbio.Upgrader {
		u := nbio.NewUpgrader()
		u.EnableCompression(o.deflate)
		u.OnMessage(take)
		return u
	}
	serve := func(u *nbio.Upgrader) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { u.Upgrade(w, r, nil) }
	}
	echo := func(c *nbio.Conn, typ nbio.MessageType, b []byte) { c.WriteMessage(typ, b) }
	var (
		mu    sync.Mutex
		conns = map[*nbio.Conn]struct{}{} // mu protects it
	)
	chat := upgrader(func(c *nbio.Conn, typ nbio.MessageType, b []byte) {
		if isJoin(b) {
			echo(c, typ, b)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			echo(c, typ, b)
		}
	})
	chat.OnOpen(func(c *nbio.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns[c] = struct{}{}
	})
	chat.OnClose(func(c *nbio.Conn, err error) {
		mu.Lock()
		defer mu.Unlock()
		delete(conns, c)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", serve(upgrader(echo)))
	mux.HandleFunc("/chat", serve(chat))
	return mux
}
