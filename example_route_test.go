//go:build !js

package ws_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// The types of both directions, and the Route, belong into a package that the
// server and the client import.
type (
	Post struct{ Text string }
	Note struct{ From, Text string }
)

var Chat = ws.Route[Post, Note]{Path: "/rooms/{room}/ws"}

func ExampleRoute() {
	// The server. c.Send takes a Note and nothing else.
	mux := http.NewServeMux()
	mux.Handle(Chat.Path, ws.Upgrade(Chat.Factory(func(w http.ResponseWriter, r *http.Request) (ws.RouteEvents[Post, Note], error) {
		room := r.PathValue("room")
		return ws.RouteEvents[Post, Note]{
			OnMessage: func(c *ws.RouteConn[Note], p Post) error {
				return c.Send(Note{From: room, Text: p.Text})
			},
		}, nil
	})))

	// The client. With a server elsewhere, leave Handler out.
	closed := make(chan struct{})
	c, err := Chat.Dial(context.Background(), "https://example.com", ws.RouteEvents[Note, Post]{
		OnMessage: func(c *ws.RouteConn[Post], n Note) error {
			fmt.Printf("%s: %s\n", n.From, n.Text)
			return c.Close(websocket.StatusNormalClosure, "")
		},
		OnClose: func(*ws.RouteConn[Post], ws.CloseEvent) { close(closed) },
	}, &ws.DialOptions{
		Params:  map[string]string{"room": "lobby"},
		Handler: ws.Guard(mux),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Send(Post{Text: "hello"})
	<-closed
	// Output: lobby: hello
}

// Broadcast sends a value of the route's type to a group.
func ExampleRoute_Broadcast() {
	var room ws.Group
	h := ws.Upgrade(Chat.Factory(func(w http.ResponseWriter, r *http.Request) (ws.RouteEvents[Post, Note], error) {
		return ws.RouteEvents[Post, Note]{
			OnOpen: func(c *ws.RouteConn[Note]) error { room.Add(c.Conn()); return nil },
			OnMessage: func(c *ws.RouteConn[Note], p Post) error {
				return Chat.Broadcast(&room, Note{From: "somebody", Text: p.Text})
			},
		}, nil
	}))
	got, closed := make(chan Note), make(chan bool)
	c, err := Chat.Dial(context.Background(), "https://example.com", ws.RouteEvents[Note, Post]{
		OnMessage: func(_ *ws.RouteConn[Post], n Note) error { got <- n; return nil },
		OnClose:   func(*ws.RouteConn[Post], ws.CloseEvent) { close(closed) },
	}, &ws.DialOptions{Params: map[string]string{"room": "lobby"}, Handler: h})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Send(Post{Text: "hello"})
	fmt.Printf("%+v\n", <-got)
	c.Close(websocket.StatusNormalClosure, "")
	<-closed
	// Output: {From:somebody Text:hello}
}

// Testing your handlers: Dial takes the handler itself, with all its routes and
// middleware, in the place of a network.
func ExampleDial() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		if r.URL.Query().Get("user") == "" {
			return ws.Events{}, ws.Reject(http.StatusUnauthorized, "who are you?")
		}
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		}, nil
	}))

	_, err := ws.Dial(context.Background(), "ws://test/ws", ws.Events{}, &ws.DialOptions{Handler: mux})
	fmt.Println(err)

	got, closed := make(chan string), make(chan ws.CloseEvent)
	c, err := ws.Dial(context.Background(), "ws://test/ws?user=ada", ws.Events{
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
	fmt.Println(int(e.Code), e.Reason, e.WasClean)
	// Output:
	// ws: the handshake was refused with 401: who are you?
	// hello
	// 4000 enough true
}
