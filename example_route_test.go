//go:build !js

package ws_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

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
	mux.HandleFunc("GET "+Chat.Path, ws.Upgrade(Chat.Factory(func(w http.ResponseWriter, r *http.Request) (ws.RouteEvents[Post, Note], error) {
		room := r.PathValue("room")
		return ws.RouteEvents[Post, Note]{
			OnMessage: func(c *ws.RouteConn[Note], p Post) error {
				return c.Send(Note{From: room, Text: p.Text})
			},
			OnInvalid: func(c *ws.RouteConn[Note], m ws.Message, err error) error { return nil }, // skip what is no Post
		}, nil
	})))

	// The client. With a server elsewhere, leave Handler out.
	closed := make(chan bool)
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
		return ws.RouteEvents[Post, Note]{OnOpen: func(c *ws.RouteConn[Note]) error {
			room.Add(c.Conn())
			return Chat.Broadcast(&room, Note{From: r.URL.Path, Text: "somebody came in"})
		}}, nil
	}))

	got := make(chan Note)
	if _, err := Chat.Dial(context.Background(), "https://example.com", ws.RouteEvents[Note, Post]{
		OnMessage: func(_ *ws.RouteConn[Post], n Note) error { got <- n; return nil },
	}, &ws.DialOptions{Params: map[string]string{"room": "lobby"}, Handler: h}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%+v\n", <-got)
	// Output: {From:/rooms/lobby/ws Text:somebody came in}
}

// A token that has run out is renewed: the server refuses it with 401, After says that it is
// worth another attempt, and the function is asked anew.
func ExampleRoute_Redial() {
	h := ws.Upgrade(Chat.Factory(func(w http.ResponseWriter, r *http.Request) (ws.RouteEvents[Post, Note], error) {
		if r.Header.Get("Authorization") != "Bearer 2" {
			return ws.RouteEvents[Post, Note]{}, ws.Reject(http.StatusUnauthorized, "the token has run out")
		}
		return ws.RouteEvents[Post, Note]{OnOpen: func(c *ws.RouteConn[Note]) error {
			c.Send(Note{From: "the host", Text: "welcome"})
			return c.Close(websocket.StatusNormalClosure, "")
		}}, nil
	}))

	token := 0
	err := Chat.Redial(context.Background(), "https://example.com", func() (ws.RouteEvents[Note, Post], *ws.DialOptions, error) {
		token++ // ask for one here; an error ends it
		opts := &ws.DialOptions{Params: map[string]string{"room": "lobby"}, Handler: h}
		opts.Engine.HTTPHeader = http.Header{"Authorization": {fmt.Sprint("Bearer ", token)}}
		return ws.RouteEvents[Note, Post]{
			OnMessage: func(_ *ws.RouteConn[Post], n Note) error {
				fmt.Println(n.From+":", n.Text)
				return nil
			},
		}, opts, nil
	}, &ws.Retry{
		First: time.Millisecond, // leave it out for 500 ms
		After: func(e ws.CloseEvent, err *ws.HandshakeError) bool {
			return err != nil && err.Status == http.StatusUnauthorized || ws.DefaultAfter(e, err)
		},
		Waiting: func(_ time.Duration, _ ws.CloseEvent, err error) { fmt.Println(err) },
	})
	fmt.Println(err)
	// Output:
	// ws: the handshake was refused with 401: the token has run out
	// the host: welcome
	// <nil>
}

// Messages of several kinds: an interface for each direction, and a Codec that names
// the types. In TypeScript they are a union, of which "type" tells the members apart.
type (
	Command interface{ command() }
	Move    struct {
		X int `json:"x"`
		Y int `json:"y"`
	}
	Say struct {
		Text string `json:"text"`
	}

	Event interface{ event() }
	Moved struct {
		Who string `json:"who"`
		Move
	}
	Said struct {
		Who string `json:"who"`
		Say
	}
)

func (Move) command() {}
func (Say) command()  {}
func (Moved) event()  {}
func (Said) event()   {}

var Game = ws.Route[Command, Event]{Path: "/game", Codec: ws.Tagged("type", Move{}, Say{}, Moved{}, Said{})}

func ExampleTagged() {
	h := ws.Upgrade(Game.Factory(func(w http.ResponseWriter, r *http.Request) (ws.RouteEvents[Command, Event], error) {
		return ws.RouteEvents[Command, Event]{
			OnMessage: func(c *ws.RouteConn[Event], v Command) error {
				switch v := v.(type) {
				case Move:
					return c.Send(Moved{"ann", v})
				case Say:
					return c.Send(Said{"ann", v})
				}
				return nil
			},
		}, nil
	}))

	got := make(chan Event)
	c, err := Game.Dial(context.Background(), "https://example.com", ws.RouteEvents[Event, Command]{
		OnMessage: func(_ *ws.RouteConn[Command], v Event) error { got <- v; return nil },
	}, &ws.DialOptions{Handler: h})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Send(Move{X: 1, Y: 2})
	event := <-got
	m, err := Game.Encode(event)
	fmt.Printf("%+v\n%s %v\n", event, m, err)
	// Output:
	// {Who:ann Move:{X:1 Y:2}}
	// {"type":"Moved","who":"ann","x":1,"y":2} <nil>
}
