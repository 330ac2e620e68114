// Package http2 offers WebSockets over HTTP/2 (RFC 8441) when it is imported:
//
//	import _ "github.com/seed412db446/ws/http2"
//
// Then net/http's servers announce SETTINGS_ENABLE_CONNECT_PROTOCOL on every HTTP/2
// connection, and browsers open a WebSocket on the connection that they have. Every handler that
// upgrades must stand behind ws.Guard: without it such a handshake fails, where without
// this import the browser would have used HTTP/1.1.
//
// What it does is to set http2xconnect=1 in the environment variable GODEBUG before net/http is
// initialised, which reads it once. So the whole process is concerned, and the processes
// that it starts inherit the variable. If GODEBUG has http2xconnect already, as in
//
//	GODEBUG=http2xconnect=0 ./server
//
// that stands. golang.org/x/net/http2 reads the same variable. A later version of Go is to have
// http.HTTP2Config.EnableConnectProtocol, which will replace this package.
package http2

// Go initialises packages in the order of their import paths, each once those that it imports are (the language
// specification, "Program initialization"). This one imports so little that it comes before net/http.
import (
	"os"
	"strings"
)

func init() {
	if v := os.Getenv("GODEBUG"); !strings.Contains(v, "http2xconnect=") {
		os.Setenv("GODEBUG", strings.TrimPrefix(v+",http2xconnect=1", ","))
	}
}
