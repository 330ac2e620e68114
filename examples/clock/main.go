// Clock serves a page that shows the server's time, pushed to it five times a
// second over a WebSocket.
//
//	go run ./examples/clock
//
// With -tls it serves HTTPS and HTTP/2, with a certificate of its own, and the WebSocket is a
// stream of the page's connection.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed412db446/ws"
	_ "github.com/seed412db446/ws/http2"
)

//go:embed index.html
var page []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address to listen on")
	secure := flag.Bool("tls", false, "serve HTTPS and HTTP/2, with a certificate made now")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	if err := run(ctx, *addr, *secure); err != nil {
		fmt.Fprintln(os.Stderr, "clock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, addr string, secure bool) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (-addr takes another address)", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("GET /ws", ws.Upgrade(clock))

	server := &http.Server{Handler: ws.Guard(cors(mux)), ReadHeaderTimeout: 10 * time.Second}
	scheme := "http"
	if secure {
		scheme = "https"
		server.Handler = logged(server.Handler)
		server.ErrorLog = log.New(io.Discard, "", 0) // it would show browsers that don't trust the certificate yet
		if server.TLSConfig, err = selfSigned(); err != nil {
			return err
		}
	}
	fmt.Printf("The clock is at %s://%s (Ctrl-C stops it)\n", scheme, l.Addr())
	done := make(chan error, 1)
	go func() {
		if secure {
			done <- server.ServeTLS(l, "", "")
		} else {
			done <- server.Serve(l)
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// More than net/http gives a connection which a browser opened and has not used: 5 s, and 10 s
	// for one of HTTP/2.
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := ws.DefaultUpgrader.Shutdown(ctx); err != nil { // pages see 1001
		return err
	}
	return server.Shutdown(ctx)
}

// clock makes the events of one page's connection.
func clock(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
	return ws.Events{
		OnOpen: func(c *ws.Conn) error {
			log.Println("open ", r.RemoteAddr)
			go tick(c)
			return nil
		},
		OnClose: func(c *ws.Conn, e ws.CloseEvent) {
			log.Println("close", r.RemoteAddr, e.Code)
		},
	}, nil
}

// tick sends the time until the connection ends.
func tick(c *ws.Conn) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for now := time.Now(); ; {
		c.SendText(now.Format("15:04:05.0"))
		select {
		case now = <-t.C:
		case <-c.Context().Done(): // it ends before OnClose
			return
		}
	}
}

// cors sets headers on every response, as a CORS middleware does.
func cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Add("Vary", "Origin")
		next.ServeHTTP(w, r)
	})
}

// logged logs each request as it arrives. Within Guard a WebSocket's looks like one of HTTP/1.1.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Println(r.Method, r.URL.Path, r.Proto, r.RemoteAddr)
		next.ServeHTTP(w, r)
	})
}
