package protocol

import (
	"net/http"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

func echo() ws.Events {
	return ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		OnError:   func(*ws.Conn, error) {},
	}
}

// wsServer echoes through an Upgrader; change makes it another than the default.
func wsServer(change func(u *ws.Upgrader), wrap func(http.Handler) http.Handler) func(limit int64) http.Handler {
	return func(limit int64) http.Handler {
		u := &ws.Upgrader{
			OnError: func(*http.Request, error) {},
			// The suite writes whole streams before it reads.
			Limits: ws.Limits{ReadLimit: limit, SendBuffer: 64 << 20, WriteTimeout: patience},
		}
		change(u)
		var h http.Handler = u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return echo(), nil })
		if wrap != nil {
			h = wrap(h)
		}
		return h
	}
}

func TestWs(t *testing.T) {
	hidden := func(next http.Handler) http.Handler {
		return ws.Guard(http.TimeoutHandler(next, time.Hour, "too late"))
	}
	for _, k := range []struct {
		name   string
		change func(u *ws.Upgrader)
		wrap   func(http.Handler) http.Handler
	}{
		{"default", func(*ws.Upgrader) {}, nil},
		{"guard", func(*ws.Upgrader) {}, ws.Guard},
		{"guard and hidden hijacker", func(*ws.Upgrader) {}, hidden},
		{"reuse data", func(u *ws.Upgrader) { u.ReuseData = true }, nil},
		{"detach", func(u *ws.Upgrader) { u.Detach = true }, nil},
		{"deflate", func(u *ws.Upgrader) { u.Engine.CompressionMode = coder.CompressionContextTakeover }, nil},
		{"deflate fresh", func(u *ws.Upgrader) { u.Engine.CompressionMode = coder.CompressionNoContextTakeover }, nil},
		{"deflate, reuse data, detach, guard", func(u *ws.Upgrader) {
			u.Engine.CompressionMode = coder.CompressionContextTakeover
			u.ReuseData, u.Detach = true, true
		}, ws.Guard},
	} {
		t.Run(k.name, func(t *testing.T) {
			run(t, server(t, "ws "+k.name, wsServer(k.change, k.wrap), nil))
		})
		if k.wrap != nil {
			t.Run(k.name+", HTTP/2", func(t *testing.T) {
				run(t, serverOver(t, "ws "+k.name+" over HTTP/2", wsServer(k.change, k.wrap), nil, true))
			})
		}
	}
}
