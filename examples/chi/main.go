// Command chi has a room behind chi and its usual middleware: all pages see what one says.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/seed412db446/ws"
)

//go:embed index.html
var page []byte

func routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Logger, middleware.Recoverer, middleware.Compress(5), middleware.Timeout(time.Minute))
	r.Get("/", func(w http.ResponseWriter, r *http.Request) { w.Write(page) })
	var room ws.Group
	r.Get("/ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnOpen:    func(c *ws.Conn) error { room.Add(c); return nil },
			OnMessage: func(c *ws.Conn, m ws.Message) error { return room.Broadcast(m) },
		}, nil
	}))
	return ws.Guard(r)
}

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "`address` to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatalf("%v (-addr takes another address)", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	server := &http.Server{Handler: routes(), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	fmt.Printf("The room is at http://%s (Ctrl-C stops it)\n", l.Addr())
	<-ctx.Done()
	stop() // a second Ctrl-C ends the process at once
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws.DefaultUpgrader.Shutdown(ctx) // pages see 1001
	server.Shutdown(ctx)
}
