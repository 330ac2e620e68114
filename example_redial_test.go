//go:build !js

package ws_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

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
	m, err := Game.Encode(Moved{Who: "ada", Move: Move{X: 1, Y: 2}})
	fmt.Println(m, err)

	server := ws.Upgrade(Game.Factory(func(w http.ResponseWriter, r *http.Request) (ws.RouteEvents[Command, Event], error) {
		return ws.RouteEvents[Command, Event]{
			OnMessage: func(c *ws.RouteConn[Event], v Command) error {
				switch v := v.(type) {
				case Move:
					return c.Send(Moved{"ada", v})
				case Say:
					return c.Send(Said{"ada", v})
				}
				return nil
			},
		}, nil
	}))

	closed := make(chan struct{})
	c, err := Game.Dial(context.Background(), "https://example.com", ws.RouteEvents[Event, Command]{
		OnMessage: func(c *ws.RouteConn[Command], v Event) error {
			fmt.Printf("%+v\n", v)
			return c.Close(websocket.StatusNormalClosure, "")
		},
		OnClose: func(*ws.RouteConn[Command], ws.CloseEvent) { close(closed) },
	}, &ws.DialOptions{Handler: server})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Send(Say{"hello"})
	<-closed
	// Output:
	// {"type":"Moved","who":"ada","x":1,"y":2} <nil>
	// {Who:ada Say:{Text:hello}}
}

// A client that stays connected while ctx lasts. Before every attempt it says which number
// it saw last, so that the server goes on from there.
func ExampleRedial() {
	server := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
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
		}, &ws.DialOptions{Query: url.Values{"after": {last}}, Handler: server}, nil
	}, &ws.Retry{
		First: time.Millisecond, // leave it out for 500 ms
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

// A token that has run out is renewed: the server refuses it with 401, After says that it is
// worth another attempt, and the function is asked anew.
func ExampleRoute_Redial() {
	server := http.NewServeMux()
	server.HandleFunc("GET "+Chat.Path, ws.Upgrade(Chat.Factory(func(w http.ResponseWriter, r *http.Request) (ws.RouteEvents[Post, Note], error) {
		if r.Header.Get("Authorization") != "Bearer 2" {
			return ws.RouteEvents[Post, Note]{}, ws.Reject(http.StatusUnauthorized, "the token has run out")
		}
		return ws.RouteEvents[Post, Note]{OnOpen: func(c *ws.RouteConn[Note]) error {
			c.Send(Note{From: r.PathValue("room"), Text: "welcome"})
			return c.Close(websocket.StatusNormalClosure, "")
		}}, nil
	})))

	token := 0
	err := Chat.Redial(context.Background(), "https://example.com", func() (ws.RouteEvents[Note, Post], *ws.DialOptions, error) {
		token++ // ask for one here; an error ends it
		opts := &ws.DialOptions{Params: map[string]string{"room": "lobby"}, Handler: server}
		opts.Engine.HTTPHeader = http.Header{"Authorization": {fmt.Sprint("Bearer ", token)}}
		return ws.RouteEvents[Note, Post]{
			OnMessage: func(_ *ws.RouteConn[Post], n Note) error {
				fmt.Println(n.From+":", n.Text)
				return nil
			},
		}, opts, nil
	}, &ws.Retry{
		First: time.Millisecond,
		After: func(e ws.CloseEvent, err *ws.HandshakeError) bool {
			return err != nil && err.Status == http.StatusUnauthorized || ws.DefaultAfter(e, err)
		},
		Waiting: func(_ time.Duration, _ ws.CloseEvent, err error) { fmt.Println(err) },
	})
	fmt.Println(err)
	// Output:
	// ws: the handshake was refused with 401: the token has run out
	// lobby: welcome
	// <nil>
}
