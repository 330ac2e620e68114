package protocol

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
	"github.com/lxzan/gws"

	"github.com/seed412db446/ws/e2e/internal/h2"
	"github.com/seed412db446/ws/e2e/protocol/raw"
	_ "github.com/seed412db446/ws/http2"
)

const (
	largeLimit = 32 << 20
	smallLimit = 1024
)

// serve starts an HTTP server for as long as the test runs and returns its address: over HTTP/2 that of what
// makes streams of handshakes.
func serve(t *testing.T, h http.Handler, http2 bool) string {
	t.Helper()
	if http2 {
		srv := httptest.NewUnstartedServer(h)
		srv.EnableHTTP2 = true
		srv.StartTLS()
		t.Cleanup(srv.Close)
		addr, stop := h2.Front(t, srv.URL)
		t.Cleanup(stop)
		return addr
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// server is the endpoint of an HTTP server that echoes; it makes a handler for each limit.
func server(t *testing.T, name string, handler func(limit int64) http.Handler, deviations []deviation) endpoint {
	return serverOver(t, name, handler, deviations, false)
}

func serverOver(t *testing.T, name string, handler func(limit int64) http.Handler, deviations []deviation, http2 bool) endpoint {
	mux := http.NewServeMux()
	mux.Handle("/", handler(largeLimit))
	mux.Handle("/limit", handler(smallLimit))
	addr := serve(t, mux, http2)
	return endpoint{name: name, deviations: deviations, open: func(t *testing.T, limit bool, offer string, early func(bool) []byte) (*raw.Conn, string, string, error) {
		path := "/"
		if limit {
			path = "/limit"
		}
		var first []byte
		if early != nil {
			first = early(true)
		}
		c, err := raw.Dial(addr, path, offer, first, patience)
		if err != nil {
			return nil, "", "", err
		}
		return c, offer, c.Header.Get("Sec-WebSocket-Extensions"), nil
	}}
}

func coderServer(mode coder.CompressionMode) func(limit int64) http.Handler {
	return func(limit int64) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: mode})
			if err != nil {
				return
			}
			defer c.CloseNow()
			coderEcho(c, limit)
		})
	}
}

func coderEcho(c *coder.Conn, limit int64) {
	c.SetReadLimit(limit)
	ctx := context.Background()
	for {
		typ, b, err := c.Read(ctx)
		if err != nil {
			return
		}
		if c.Write(ctx, typ, b) != nil {
			return
		}
	}
}

func gorillaServer(compress bool) func(limit int64) http.Handler {
	return func(limit int64) http.Handler {
		up := websocket.Upgrader{EnableCompression: compress}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := up.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer c.Close()
			gorillaEcho(c, limit)
		})
	}
}

func gorillaEcho(c *websocket.Conn, limit int64) {
	c.SetReadLimit(limit)
	for {
		typ, b, err := c.ReadMessage()
		if err != nil {
			return
		}
		if c.WriteMessage(typ, b) != nil {
			return
		}
	}
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnPing(c *gws.Conn, p []byte) { c.WritePong(p) }
func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}

func gwsDeflate(compress bool) gws.PermessageDeflate {
	return gws.PermessageDeflate{
		Enabled: compress, ServerContextTakeover: true, ClientContextTakeover: true,
		ServerMaxWindowBits: 15, ClientMaxWindowBits: 15,
	}
}

type quiet struct{}

func (quiet) Error(...any) {}

func gwsServer(compress bool) func(limit int64) http.Handler {
	return func(limit int64) http.Handler {
		up := gws.NewUpgrader(gwsEcho{}, &gws.ServerOption{
			PermessageDeflate: gwsDeflate(compress), CheckUtf8Enabled: true, Logger: quiet{},
			ReadMaxPayloadSize: int(limit), WriteMaxPayloadSize: largeLimit,
		})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := up.Upgrade(w, r)
			if err != nil {
				return
			}
			c.ReadLoop()
		})
	}
}

func TestCoder(t *testing.T) {
	run(t, server(t, "coder", coderServer(coder.CompressionDisabled), coderDeviations))
}

func TestCoderDeflate(t *testing.T) {
	run(t, server(t, "coder deflate", coderServer(coder.CompressionContextTakeover), append(coderDeviations, coderDeflateDeviations...)))
}

func TestCoderDeflateFresh(t *testing.T) {
	run(t, server(t, "coder deflate fresh", coderServer(coder.CompressionNoContextTakeover), append(coderDeviations, coderDeflateDeviations...)))
}

func TestGorilla(t *testing.T) {
	run(t, server(t, "gorilla", gorillaServer(false), gorillaDeviations))
}

func TestGorillaDeflate(t *testing.T) {
	run(t, server(t, "gorilla deflate", gorillaServer(true), append(gorillaDeviations, gorillaDeflateDeviations...)))
}

func TestGws(t *testing.T) {
	run(t, server(t, "gws", gwsServer(false), gwsDeviations))
}

func TestGwsDeflate(t *testing.T) {
	run(t, server(t, "gws deflate", gwsServer(true), append(gwsDeviations, gwsDeflateDeviations...)))
}
