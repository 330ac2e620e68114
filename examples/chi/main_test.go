package main

import (
	"testing"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// TestRoom says something behind the middleware, which comes back from the room.
func TestRoom(t *testing.T) {
	got := make(chan string, 1)
	c, err := ws.Dial(t.Context(), "http://example.com/ws", ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error { got <- m.String(); return nil },
	}, &ws.DialOptions{Handler: routes()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(websocket.StatusNormalClosure, "")
	c.SendText("hello")
	if s := <-got; s != "hello" {
		t.Errorf("got %q, want hello", s)
	}
}
