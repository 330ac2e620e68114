package http2_test

import (
	"log"
	"net/http"
	"time"

	"github.com/seed412db446/ws"
	_ "github.com/seed412db446/ws/http2"
)

// The server of a page that opens many WebSockets. docs/http2.md in the repository says why these settings.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		}, nil
	}))
	server := &http.Server{
		Addr:              ":3000",
		Handler:           ws.Guard(mux),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          250,
			MaxReceiveBufferPerConnection: 4<<20 - 1,
			MaxReceiveBufferPerStream:     256 << 10,
			WriteByteTimeout:              30 * time.Second,
		},
	}
	log.Fatal(server.ListenAndServeTLS("cert.pem", "key.pem"))
}
