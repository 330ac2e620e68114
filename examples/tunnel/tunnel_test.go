package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/seed412db446/ws"
)

// TestTunnel sends much through many connections at once, over one WebSocket.
func TestTunnel(t *testing.T) {
	t.Parallel()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	target, entry := listen(), listen()
	go func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c) // to the end, which must come through as well
				c.Write(b)
			}()
		}
	}()
	server := httptest.NewServer(exit(target.Addr().String()))
	defer server.Close()
	left := make(chan error)
	go func() { left <- enter(t.Context(), server.URL, entry, nil) }()

	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, err := net.Dial("tcp", entry.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			want := bytes.Repeat([]byte{byte(i), 1, 2}, 100_000)
			go func() {
				c.Write(want)
				c.(*net.TCPConn).CloseWrite()
			}()
			if got, err := io.ReadAll(c); !bytes.Equal(got, want) || err != nil {
				t.Errorf("%d of %d bytes came back: %v", len(got), len(want), err)
			}
		})
	}
	wg.Wait()
	entry.Close()
	<-left
}

// TestTunnelEnds wants the client to say that it was the server that ended the tunnel.
func TestTunnelEnds(t *testing.T) {
	t.Parallel()
	entry, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := ws.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Stream(func(net.Conn) {}), nil
	})
	if err := enter(t.Context(), "ws://example.com/", entry, &ws.DialOptions{Handler: server}); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
}
