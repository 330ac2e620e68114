// Command tunnel carries TCP connections through one WebSocket: many streams of yamux
// over a ws.Stream.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/seed412db446/ws"
)

// exit is the server: what comes through the tunnel goes on to target.
func exit(target string) http.HandlerFunc {
	return ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Stream(func(c net.Conn) {
			session, _ := yamux.Server(c, nil) // only a configuration can be wrong
			for {
				in, err := session.Accept()
				if err != nil { // the tunnel is closed
					return
				}
				go func() {
					out, err := net.Dial("tcp", target)
					if err != nil {
						log.Print(err)
						in.Close()
						return
					}
					join(in, out)
				}()
			}
		}), nil
	})
}

// enter is the client: what l accepts goes through a tunnel to the server at url.
// It returns when l or the tunnel is closed.
func enter(ctx context.Context, url string, l net.Listener, opts *ws.DialOptions) error {
	done := make(chan error, 1)
	_, err := ws.Dial(ctx, url, ws.Stream(func(c net.Conn) {
		session, _ := yamux.Client(c, nil)
		defer session.Close()
		go func() { <-session.CloseChan(); l.Close() }()
		for {
			in, err := l.Accept()
			if err != nil {
				if session.IsClosed() {
					err = errors.New("the server closed the tunnel, or the network is gone")
				}
				done <- err
				return
			}
			out, err := session.Open()
			if err != nil {
				in.Close()
				continue
			}
			go join(in, out)
		}
	}), opts)
	if err != nil {
		return err
	}
	return <-done
}

// join copies both ways, until both are at their end.
func join(a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	var wg sync.WaitGroup
	one := func(to, from net.Conn) {
		io.Copy(to, from)
		if tcp, ok := to.(*net.TCPConn); ok {
			tcp.CloseWrite()
		} else {
			to.Close() // of a yamux stream: it can still be read
		}
	}
	wg.Go(func() { one(a, b) })
	wg.Go(func() { one(b, a) })
	wg.Wait()
}

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "where to listen")
	to := flag.String("to", "127.0.0.1:22", "server: where the connections go")
	through := flag.String("through", "", "client: the server's URL, ws://host:3000/tunnel")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatalf("%v (-addr takes another address)", err)
	}
	log.Printf("listening on %s (Ctrl-C stops it)", l.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second Ctrl-C ends the process at once
		l.Close()
	})
	if *through != "" {
		err = enter(ctx, *through, l, nil)
	} else {
		mux := http.NewServeMux()
		mux.Handle("GET /tunnel", exit(*to))
		err = http.Serve(l, ws.Guard(mux))
	}
	if !errors.Is(err, net.ErrClosed) {
		log.Fatal(err)
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws.DefaultUpgrader.Shutdown(grace)
}
