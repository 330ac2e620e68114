// Package rpc is one endpoint, described once for its server and all of its clients: a page in
// TypeScript, a program in Go, and a page whose client is that program's code.
//
//	go run ./examples/rpc/server
//	go run ./examples/rpc/client
package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

//go:generate go run github.com/seed412db446/ws/wsts -o server/web/routes.ts .
//go:generate go run github.com/seed412db446/ws/wsts -js -o server/web/routes.js .

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

// Run is the client in Go: it sends its time every second, and prints what comes back. A
// connection that ends it dials again. It returns when ctx ends, or when the server closes for good.
func Run(ctx context.Context, base string, print func(string)) error {
	return Clock.Redial(ctx, base, func() (ws.RouteEvents[Tock, Tick], *ws.DialOptions, error) {
		return ws.RouteEvents[Tock, Tick]{
			OnOpen: func(c *ws.RouteConn[Tick]) error {
				go tick(c)
				return nil
			},
			OnMessage: func(_ *ws.RouteConn[Tick], t Tock) error {
				print(fmt.Sprintf("sent at %s, answered at %s", t.Client.Format("15:04:05.000"), t.Server.Format("15:04:05.000")))
				return nil
			},
		}, nil, nil
	}, &ws.Retry{
		Waiting: func(d time.Duration, e ws.CloseEvent, err error) {
			if err == nil {
				err = fmt.Errorf("closed with %d %q", e.Code, e.Reason)
			}
			print(fmt.Sprintf("%v; again in %v", err, d.Round(time.Millisecond)))
		},
	})
}

// tick sends the time every second, as long as the connection lasts.
func tick(c *ws.RouteConn[Tick]) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case now := <-second.C:
			c.Send(Tick{Client: now})
		case <-c.Context().Done():
			return
		}
	}
}
