// Package rpc is one endpoint, described once, and the client that speaks to it:
// the program in client and the page in the browser run the same code.
//
//	go run ./examples/rpc/server
//	go run ./examples/rpc/client
package rpc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// Clock is the endpoint: the client sends its time, the server answers with its own.
var Clock = ws.Route[Tick, Tock]{Path: "/ws"}

// Tick is what the client sends.
type Tick struct {
	Client time.Time `json:"client"`
	Bye    string    `json:"bye,omitempty"` // if not empty, the server closes with StatusBye and this reason
}

// Tock is what the server sends.
type Tock struct {
	Client time.Time `json:"client"` // of the Tick
	Server time.Time `json:"server"`
}

// StatusBye is the code of a close that the client asked for.
const StatusBye websocket.StatusCode = 4001

// Run is the client: it sends its time every second, and prints what comes back.
// When ctx ends it says bye, and returns once the server has closed. A
// connection that ends in any other way is dialled again.
func Run(ctx context.Context, base string, print func(string)) {
	const shortest, longest = 500 * time.Millisecond, 30 * time.Second
	for pause := shortest; ; pause = min(2*pause, longest) {
		begin := time.Now()
		err := talk(ctx, base, print)
		print(err.Error())
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > longest { // it was up for a while
			pause = shortest
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)): // or else all clients of a server that fell come back at once
		}
	}
}

// talk is the life of one connection. It returns how that ended.
func talk(ctx context.Context, base string, print func(string)) error {
	closed := make(chan ws.CloseEvent, 1)
	c, err := Clock.Dial(ctx, base, ws.RouteEvents[Tock, Tick]{
		OnMessage: func(_ *ws.RouteConn[Tick], t Tock) error {
			print(fmt.Sprintf("sent at %s, answered at %s", t.Client.Format("15:04:05.000"), t.Server.Format("15:04:05.000")))
			return nil
		},
		OnClose: func(_ *ws.RouteConn[Tick], e ws.CloseEvent) { closed <- e },
	}, nil)
	if err != nil {
		return err
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	interrupted := ctx.Done()
	for {
		select {
		case now := <-second.C:
			c.Send(Tick{Client: now})
		case <-interrupted:
			c.Send(Tick{Bye: "see you"})
			interrupted = nil
		case e := <-closed:
			return fmt.Errorf("closed with %d %q", e.Code, e.Reason)
		}
	}
}
