// Command server answers clients, and serves the same page twice: / in TypeScript, and /wasm
// in Go, which the go command builds in the background.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/examples/rpc"
)

//go:embed web
var files embed.FS

func main() {
	addr := flag.String("addr", "127.0.0.1:8787", "the address to listen on")
	flag.Parse()
	if err := run(*addr); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: another server is running there; stop it, or take a free port with -addr 127.0.0.1:0", err)
	} else if err != nil {
		return err
	}
	web, err := fs.Sub(files, "web")
	if err != nil {
		return err
	}
	wasm, err := newWasm()
	if err != nil {
		return err
	}
	defer wasm.remove()

	upgrader := &ws.Upgrader{}
	mux := http.NewServeMux()
	mux.Handle("GET "+rpc.Clock.Path, upgrader.Upgrade(rpc.Clock.Factory(clock)))
	mux.Handle("GET /", http.FileServerFS(web))
	mux.HandleFunc("GET /wasm", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, web, "wasm.html") })
	mux.HandleFunc("GET /page.wasm", wasm.serve)
	mux.HandleFunc("GET /wasm_exec.js", wasm.serve)

	srv := &http.Server{Handler: ws.Guard(mux)}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	fmt.Printf("http://%s\n", l.Addr())
	go wasm.build(ctx)
	select {
	case err = <-failed:
		stop()
	case <-ctx.Done():
		stop() // a second Ctrl-C ends the program at once
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(upgrader.Shutdown(grace), srv.Shutdown(grace))
	}
	<-wasm.built
	return err
}

// clock is the server's end of the Route.
func clock(http.ResponseWriter, *http.Request) (ws.RouteEvents[rpc.Tick, rpc.Tock], error) {
	return ws.RouteEvents[rpc.Tick, rpc.Tock]{
		OnMessage: func(c *ws.RouteConn[rpc.Tock], t rpc.Tick) error {
			if t.Bye != "" {
				return websocket.CloseError{Code: rpc.StatusBye, Reason: t.Bye}
			}
			return c.Send(rpc.Tock{Client: t.Client, Server: time.Now()})
		},
	}, nil
}
