//go:build !js

package ws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// A token in a header, a subprotocol and compression; and 5 s for the handshake.
func ExampleDialOptions() {
	server := ws.Guard((&ws.Upgrader{Engine: websocket.AcceptOptions{Subprotocols: []string{"chat.v2"}}}).Upgrade(
		func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
			fmt.Println(r.Header.Get("Authorization"), r.URL.Query().Get("room"))
			return ws.Events{}, nil
		}))

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	closed := make(chan struct{})
	opts := &ws.DialOptions{Handler: server} // without it: over the network
	opts.Engine.HTTPHeader = http.Header{"Authorization": {"Bearer 7"}}
	opts.Engine.Subprotocols = []string{"chat.v2", "chat.v1"}
	opts.Engine.CompressionMode = websocket.CompressionNoContextTakeover
	c, err := ws.Dial(ctx, "wss://example.com/ws?room=lobby", ws.Events{
		OnClose: func(*ws.Conn, ws.CloseEvent) { close(closed) },
	}, opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Subprotocol())
	c.Close(websocket.StatusNormalClosure, "")
	<-closed
	// Output:
	// Bearer 7 lobby
	// chat.v2
}

func ExampleConn_Request() {
	server := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnOpen: func(c *ws.Conn) error {
			return c.SendText("you are " + c.Request().RemoteAddr) // the request that was upgraded
		}}, nil
	})

	closed := make(chan struct{})
	c, err := ws.Dial(context.Background(), "ws://example.com/ws", ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error {
			fmt.Println(m)
			return websocket.CloseError{Code: websocket.StatusNormalClosure}
		},
		OnClose: func(*ws.Conn, ws.CloseEvent) { close(closed) },
	}, &ws.DialOptions{Handler: server})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-closed
	fmt.Println("asked", c.Request().Host, "for", c.Request().URL.Path) // the request that was sent
	// Output:
	// you are 192.0.2.1:1234
	// asked example.com for /ws
}

func ExampleConn_Response() {
	server := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		w.Header().Set("X-Node", "7")
		return ws.Events{}, nil
	})

	closed := make(chan struct{})
	c, err := ws.Dial(context.Background(), "ws://example.com/ws", ws.Events{
		OnClose: func(*ws.Conn, ws.CloseEvent) { close(closed) },
	}, &ws.DialOptions{Handler: server})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Response().Status, c.Response().Header.Get("X-Node"))
	c.Close(websocket.StatusNormalClosure, "")
	<-closed
	// Output: 101 Switching Protocols 7
}

func ExampleHandshakeError() {
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
	})

	_, err := ws.Dial(context.Background(), "ws://example.com/ws", ws.Events{}, &ws.DialOptions{Handler: busy})
	var refused *ws.HandshakeError
	if errors.As(err, &refused) {
		fmt.Println(refused)
		fmt.Println("again in", refused.Header.Get("Retry-After"), "seconds")
	}
	// Output:
	// ws: the handshake was refused with 503: too many connections
	// again in 30 seconds
}
