// Command server answers clients, and serves the page that is one. It needs the
// go command, to build the page for the browser.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/examples/rpc"
)

//go:embed index.html
var index []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:8787", "the address to listen on")
	flag.Parse()
	if err := run(*addr); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (-addr takes another address)", err)
	}
	dir, err := os.MkdirTemp("", "rpc-page-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	wasm := filepath.Join(dir, "page.wasm")
	wasmExec, err := buildPage(ctx, wasm)
	if err != nil {
		return err
	}

	upgrader := &ws.Upgrader{}
	mux := http.NewServeMux()
	mux.Handle("GET "+rpc.Clock.Path, upgrader.Upgrade(rpc.Clock.Factory(clock)))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { w.Write(index) })
	mux.HandleFunc("GET /page.wasm", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, wasm) })
	mux.HandleFunc("GET /wasm_exec.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, wasmExec) })

	srv := &http.Server{Handler: ws.Guard(mux)}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	fmt.Printf("http://%s\n", l.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		stop() // a second Ctrl-C ends the program at once
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(upgrader.Shutdown(grace), srv.Shutdown(grace))
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

// buildPage builds the page's client into the file wasm. It returns the
// script that starts it, which must be of the same Go.
func buildPage(ctx context.Context, wasm string) (wasmExec string, err error) {
	build := exec.CommandContext(ctx, "go", "build", "-o", wasm, "github.com/seed412db446/ws/examples/rpc/page")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("can't build the page: %w\n%s", err, out)
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("can't find Go's wasm_exec.js: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"), nil
}
