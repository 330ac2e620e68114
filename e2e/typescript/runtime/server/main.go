// Command server is the other end of the runtime's tests. It is a process of its own, so that a test can stop and kill it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

type post struct {
	Text string `json:"text"`
}

type note struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

// seen is what the tests ask at /seen.
type seen struct {
	mu     sync.Mutex // protects the following
	Open   int
	Closes []websocket.StatusCode
}

func (s *seen) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Open++
}

func (s *seen) closed(code websocket.StatusCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Open--
	s.Closes = append(s.Closes, code)
}

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	flag.Parse()
	u := &ws.Upgrader{
		Engine:          websocket.AcceptOptions{OriginPatterns: []string{"127.0.0.1:*"}},
		RejectWithClose: true,
		OnError:         func(*http.Request, error) {}, // clients are killed, and close with any code
	}
	s := &seen{Closes: []websocket.StatusCode{}}
	mux := http.NewServeMux()
	handle := func(path string, factory func(r *http.Request) (ws.RouteEvents[post, note], error)) {
		rt := ws.Route[post, note]{Path: path}
		mux.HandleFunc("GET "+path, u.Upgrade(rt.Factory(func(_ http.ResponseWriter, r *http.Request) (ws.RouteEvents[post, note], error) {
			ev, err := factory(r)
			onOpen := ev.OnOpen
			ev.OnOpen = func(c *ws.RouteConn[note]) error {
				s.opened()
				if onOpen == nil {
					return nil
				}
				return onOpen(c)
			}
			ev.OnClose = func(_ *ws.RouteConn[note], e ws.CloseEvent) { s.closed(e.Code) }
			return ev, err
		})))
	}
	handle("/echo", func(*http.Request) (ws.RouteEvents[post, note], error) { return echo(), nil })
	handle("/private", func(r *http.Request) (ws.RouteEvents[post, note], error) {
		if r.FormValue("token") != "fresh" {
			return ws.RouteEvents[post, note]{}, ws.Reject(http.StatusUnauthorized, "the token has run out")
		}
		return echo(), nil
	})
	handle("/numbers", numbers)
	handle("/garbage", func(*http.Request) (ws.RouteEvents[post, note], error) {
		return ws.RouteEvents[post, note]{OnOpen: func(c *ws.RouteConn[note]) error {
			c.Conn().SendText("{")
			c.Conn().SendBinary([]byte{1, 2})
			return c.Send(note{N: 1, Text: "after garbage"})
		}}, nil
	})
	mux.HandleFunc("GET /seen", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		json.NewEncoder(w).Encode(s)
	})

	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go http.Serve(ln, ws.Guard(mux))
	fmt.Println(ln.Addr())
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := u.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func echo() ws.RouteEvents[post, note] {
	n := 0
	return ws.RouteEvents[post, note]{OnMessage: func(c *ws.RouteConn[note], p post) error {
		n++
		return c.Send(note{N: n, Text: p.Text})
	}}
}

// numbers sends every number that comes after the one asked for.
func numbers(r *http.Request) (ws.RouteEvents[post, note], error) {
	n, err := strconv.Atoi(r.FormValue("after"))
	if err != nil {
		return ws.RouteEvents[post, note]{}, ws.Reject(http.StatusBadRequest, "after is no number")
	}
	return ws.RouteEvents[post, note]{OnOpen: func(c *ws.RouteConn[note]) error {
		go func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					n++
					c.Send(note{N: n})
				case <-c.Context().Done():
					return
				}
			}
		}()
		return nil
	}}, nil
}
