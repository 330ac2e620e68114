package main

import (
	"bytes"
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
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
