//go:build linux

package main

import (
	"log/slog"
	"net/http"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// wsServers are this package as its own documentation shows it, behind Guard.
func wsServers() []server {
	variant := func(u *ws.Upgrader) func(serverOptions) http.Handler {
		return func(o serverOptions) http.Handler { return wsServer(u, o) }
	}
	return []server{
		{name: "ws", handler: variant(&ws.Upgrader{})},
		{name: "ws-reuse", handler: variant(&ws.Upgrader{Limits: ws.Limits{ReuseData: true}})},
		{name: "ws-detach", handler: variant(&ws.Upgrader{Detach: true})},
		{name: "ws-reuse-detach", handler: variant(&ws.Upgrader{Detach: true, Limits: ws.Limits{ReuseData: true}})},
	}
}

func wsServer(u *ws.Upgrader, o serverOptions) http.Handler {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if o.deflate {
		u.Engine.CompressionMode = websocket.CompressionNoContextTakeover
		u.Engine.CompressionThreshold = 1
	}
	var g ws.Group
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		}, nil
	}))
	mux.HandleFunc("/chat", u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{
			OnOpen: func(c *ws.Conn) error { g.Add(c); return nil },
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				if isJoin(m.Data) {
					return c.Send(m)
				}
				g.Broadcast(m)
				return nil
			},
		}, nil
	}))
	return ws.Guard(mux)
}
