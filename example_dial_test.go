//go:build !js

package ws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// Testing your handlers: Dial takes the handler itself, with all its routes and
// middleware, in the place of a network.
func ExampleDial() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		}, nil
	}))

	got, closed := make(chan string), make(chan ws.CloseEvent)
	c, err := ws.Dial(context.Background(), "ws://test/ws", ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error { got <- m.String(); return nil },
		OnClose:   func(c *ws.Conn, e ws.CloseEvent) { closed <- e },
	}, &ws.DialOptions{Handler: mux})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.SendText("hello")
	fmt.Println(<-got)
	c.Close(4000, "enough")
	e := <-closed
	fmt.Println(int(e.Code), e.Reason, e.WasClean, c.ReadyState() == ws.Closed)
	// Output:
	// hello
	// 4000 enough true true
}

// A token in a header, a subprotocol and compression; and 5 s for the handshake.
func ExampleDialOptions() {
	u := &ws.Upgrader{Engine: websocket.AcceptOptions{Subprotocols: []string{"chat.v2"}}}
	h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		fmt.Println(r.Header.Get("Authorization"), r.FormValue("room"))
		return ws.Events{}, nil
	})

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := ws.Dial(ctx, "wss://example.com/ws", ws.Events{}, &ws.DialOptions{
		Engine: websocket.DialOptions{
			HTTPHeader:      http.Header{"Authorization": {"Bearer 7"}},
			Subprotocols:    []string{"chat.v2", "chat.v1"},
			CompressionMode: websocket.CompressionNoContextTakeover,
		},
		Query:   url.Values{"room": {"lobby"}},
		Handler: h, // without it: over the network
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Subprotocol())
	// Output:
	// Bearer 7 lobby
	// chat.v2
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

func ExampleConn_Response() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		w.Header().Set("X-Node", "7")
		return ws.Events{}, nil
	})
	c, err := ws.Dial(context.Background(), "ws://example.com/ws", ws.Events{}, &ws.DialOptions{Handler: h})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Response().Status, c.Response().Header.Get("X-Node"))
	// Output: 101 Switching Protocols 7
}

// Ping measures the round trip. It is not for the connection's own callbacks, which
// hold up the pong.
func ExampleConn_Ping() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, nil
	})
	c, err := ws.Dial(context.Background(), "ws://example.com/ws", ws.Events{}, &ws.DialOptions{Handler: h})
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := c.Ping(context.Background())
	fmt.Println(d > 0, err)
	fmt.Println(c.Stats().RTT == d)
	// Output:
	// true <nil>
	// true
}

// A client that stays connected while ctx lasts. Before every attempt it says which number
// it saw last, so that the server goes on from there.
func ExampleRedial() {
	numbers := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		var last int
		fmt.Sscan(r.FormValue("after"), &last)
		return ws.Events{OnOpen: func(c *ws.Conn) error {
			c.SendText(fmt.Sprint(last + 1))
			c.SendText(fmt.Sprint(last + 2))
			return websocket.CloseError{Code: websocket.StatusServiceRestart}
		}}, nil
	})

	ctx, cancel := context.WithCancel(context.Background())
	last := "0"
	err := ws.Redial(ctx, "https://example.com/numbers", func() (ws.Events, *ws.DialOptions, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				last = m.String()
				fmt.Println(last)
				if last == "4" {
					cancel()
				}
				return nil
			},
		}, &ws.DialOptions{Query: url.Values{"after": {last}}, Handler: numbers}, nil
	}, &ws.Retry{
		First: time.Millisecond, // leave it out for 500 ms
		Max:   time.Minute,      // and this for 30 s
		Waiting: func(d time.Duration, e ws.CloseEvent, err error) {
			fmt.Println("closed with", int(e.Code))
		},
	})
	fmt.Println(err)
	// Output:
	// 1
	// 2
	// closed with 1012
	// 3
	// 4
	// context canceled
}
