// Package msgpack shows that a ws.Codec is all that MessagePack needs.
package msgpack

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
	"github.com/vmihailenco/msgpack/v5"
)

// Codec sends values as MessagePack, in binary messages.
type Codec struct{}

func (Codec) Encode(v any) (ws.Message, error) {
	b, err := msgpack.Marshal(v)
	return ws.Binary(b), err
}

func (Codec) Decode(m ws.Message, v any) error {
	if m.Type != websocket.MessageBinary {
		return errors.New("MessagePack comes in binary messages")
	}
	return msgpack.Unmarshal(m.Data, v)
}

type Question struct{ A, B int }

type Answer struct{ Sum int }

// Sums is shared by both ends.
var Sums = ws.Route[Question, Answer]{Path: "/sums", Codec: Codec{}}

func Example() {
	mux := http.NewServeMux()
	mux.Handle(Sums.Path, ws.Upgrade(Sums.Factory(func(http.ResponseWriter, *http.Request) (ws.RouteEvents[Question, Answer], error) {
		return ws.RouteEvents[Question, Answer]{
			OnMessage: func(c *ws.RouteConn[Answer], q Question) error {
				return c.Send(Answer{q.A + q.B})
			},
		}, nil
	})))

	closed := make(chan ws.CloseEvent)
	c, err := Sums.Dial(context.Background(), "http://localhost", ws.RouteEvents[Answer, Question]{
		OnMessage: func(c *ws.RouteConn[Question], a Answer) error {
			fmt.Println(a.Sum)
			return c.Conn().SendText("no MessagePack")
		},
		OnClose: func(_ *ws.RouteConn[Question], e ws.CloseEvent) { closed <- e },
	}, &ws.DialOptions{Handler: mux}) // in memory
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Send(Question{2, 3})
	fmt.Println("closed with", int((<-closed).Code))

	m, err := Sums.Encode(Answer{5}) // for a Group
	fmt.Printf("%v %q %v\n", m.Type, m.Data, err)
	// Output:
	// 5
	// closed with 1007
	// MessageBinary "\x81\xa3Sum\x05" <nil>
}
