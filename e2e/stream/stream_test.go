package stream

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/seed412db446/ws"
	"golang.org/x/net/nettest"
)

// Both ends are a ws.Stream, and either may be the one that the suite calls c1.
func TestConn(t *testing.T) {
	for _, tt := range []struct {
		name        string
		start       func(h http.Handler) *httptest.Server // nil: in memory
		serverFirst bool
		reuse       bool
	}{
		{name: "TCP", start: httptest.NewServer},
		{name: "TCP_server_first", start: httptest.NewServer, serverFirst: true},
		{name: "TLS", start: httptest.NewTLSServer},
		{name: "TLS_server_first", start: httptest.NewTLSServer, serverFirst: true, reuse: true},
		{name: "memory"},
		{name: "memory_server_first", serverFirst: true, reuse: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				done := make(chan struct{})
				server, client := make(chan net.Conn, 1), make(chan net.Conn, 1)
				stream := func(ends chan<- net.Conn) ws.Events {
					return ws.Stream(func(c net.Conn) { ends <- c; <-done })
				}
				limits := ws.Limits{ReuseData: tt.reuse}
				u := &ws.Upgrader{Limits: limits, OnError: func(_ *http.Request, err error) { t.Error(err) }}
				h := u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return stream(server), nil })
				opts, url, closeServer := &ws.DialOptions{Limits: limits}, "ws://test", func() {}
				if tt.start == nil {
					opts.Handler = h
				} else {
					ts := tt.start(h)
					opts.Engine.HTTPClient, url, closeServer = ts.Client(), ts.URL, ts.Close
				}
				if _, err := ws.Dial(t.Context(), url, stream(client), opts); err != nil {
					closeServer()
					return nil, nil, nil, err
				}
				c1, c2 = <-client, <-server
				if tt.serverFirst {
					c1, c2 = c2, c1
				}
				return c1, c2, func() {
					c1.Close()
					c2.Close()
					close(done)
					u.Shutdown(context.Background()) // both have ended then, but for the client's last steps
					closeServer()
				}, nil
			})
		})
	}
}
