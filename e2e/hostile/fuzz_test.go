package hostile

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/internal/h2"
	"github.com/seed412db446/ws/e2e/protocol/raw"
)

// FuzzServer gives a server any bytes, from the first of the request or from the first after its
// handshake, which over HTTP/2 are the stream's. It must hang up in the end, panic nowhere, and go on to serve.
func FuzzServer(f *testing.F) {
	up := &ws.Upgrader{
		Engine: coder.AcceptOptions{CompressionMode: coder.CompressionContextTakeover},
		Limits: ws.Limits{ReadLimit: 1 << 16},
	}
	var logged syncBuffer
	panicked := make(chan *ws.PanicError, 1)
	note := func(err error) {
		var p *ws.PanicError
		if errors.As(err, &p) {
			select {
			case panicked <- p:
			default:
			}
		}
	}
	up.OnError = func(_ *http.Request, err error) { note(err) }
	srv := httptest.NewUnstartedServer(ws.Guard(up.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			m.Decode(new(any))
			return c.Send(m)
		}}, nil
	})))
	srv.Config.ErrorLog = log.New(&logged, "", 0)
	srv.Start()
	f.Cleanup(srv.Close)
	srv2 := httptest.NewUnstartedServer(srv.Config.Handler)
	srv2.Config.ErrorLog = srv.Config.ErrorLog
	srv2.EnableHTTP2 = true
	srv2.StartTLS()
	f.Cleanup(srv2.Close)
	front, stop := h2.Front(f, srv2.URL)
	f.Cleanup(stop)
	addrs := map[bool]string{false: srv.Listener.Addr().String(), true: front}

	request := raw.Request("x", "/", "permessage-deflate; client_max_window_bits")
	add := func(upgraded bool, in []byte) {
		f.Add(false, upgraded, in)
		f.Add(true, upgraded, in)
	}
	seed := func(frames ...raw.Frame) {
		var b []byte
		for _, fr := range frames {
			b = fr.Append(b, true)
		}
		add(true, b)
		add(false, append(request[:len(request):len(request)], b...))
	}
	hello := raw.Frame{Op: raw.Text, Payload: []byte("Hello")}
	end := raw.Frame{Op: raw.Close, Payload: raw.ClosePayload(1000, "bye")}
	seed()
	seed(hello, end)
	seed(raw.Frame{Op: raw.Text, Payload: []byte("Hel"), More: true}, raw.Frame{Op: raw.Ping, Payload: []byte("x")}, raw.Frame{Op: raw.Continuation, Payload: []byte("lo")}, end)
	seed(raw.Frame{Op: raw.Text, Payload: []byte("\xe2\x82"), More: true}, raw.Frame{Op: raw.Continuation, Payload: []byte("\xff")})
	seed(raw.Frame{Op: raw.Text, RSV: raw.RSV1, Payload: []byte("\xf2\x48\xcd\xc9\xc9\x07\x00")}, raw.Frame{Op: raw.Text, RSV: raw.RSV1, Payload: []byte("\xf2\x00\x11\x00\x00")}, end)
	seed(raw.Frame{Op: raw.Binary, RSV: raw.RSV1, Payload: raw.NewDeflater(true, 15).Message(make([]byte, 1<<18))})
	seed(raw.Frame{Op: raw.Binary, Payload: make([]byte, 200)}, raw.Frame{Op: raw.Binary, Payload: make([]byte, 70000)})
	seed(raw.Frame{Op: raw.Binary, Claim: 1 << 63})
	seed(raw.Frame{Op: raw.Binary, Claim: 1<<63 - 1, More: true}, hello)
	seed(raw.Frame{Op: 3}, raw.Frame{Op: 11}, raw.Frame{Op: raw.Text, RSV: 7})
	seed(raw.Frame{Op: raw.Close, Payload: []byte{3}})
	seed(raw.Frame{Op: raw.Ping, Payload: make([]byte, 126)})
	seed(raw.Frame{Op: raw.Ping, More: true})
	seed(raw.Frame{Op: raw.Text, FlipMask: true, Payload: []byte("Hello")})
	add(false, []byte(strings.Replace(string(request), "13", "12", 1)))
	add(false, []byte(strings.Replace(string(request), "GET", "POST", 1)))
	add(false, []byte(strings.Replace(string(request), "Upgrade: websocket\r\n", "", 1)))
	add(false, []byte("GET / HTTP/1.0\r\n\r\n"))

	f.Fuzz(func(t *testing.T, http2, upgraded bool, in []byte) {
		c, err := net.Dial("tcp", addrs[http2])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		go func() {
			if upgraded {
				c.Write(request)
			}
			c.Write(in)
			c.(*net.TCPConn).CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server did not hang up")
		}
		select {
		case p := <-panicked:
			t.Fatalf("a callback panicked: %v\n%s", p.Value, p.Stack)
		default:
		}
		if strings.Contains(logged.String(), "panic") {
			t.Fatalf("the server panicked: %s", logged.String())
		}
	})
}
