//go:build !js

package ws_test

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/seed412db446/ws"
	_ "github.com/seed412db446/ws/http2"
)

// overHTTP2 makes the servers of the contract tests speak HTTP/2 alone. What stands in front of them makes
// streams of handshakes, so that the tests are the same.
var overHTTP2 = os.Getenv("WS_TEST_HTTP2") != ""

// TestHTTP2 is the contract tests once more, over HTTP/2 (T2).
func TestHTTP2(t *testing.T) {
	if overHTTP2 {
		t.Fatal("it runs itself")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^(TestHandshake|TestHeaders|TestGuard|TestCallbacks|TestLife|TestSending|TestReceiving)", "-test.count=1", "-test.short="+fmt.Sprint(testing.Short()))
	cmd.Env = append(os.Environ(), "WS_TEST_HTTP2=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// front listens for handshakes over HTTP/1.1, makes them streams of one HTTP/2 connection to srv, and back.
type front struct {
	net.Listener
	srv *httptest.Server
	rt  http.RoundTripper
}

// startHTTP2 starts srv with HTTP/2 and returns the address of what stands in front of it.
func startHTTP2(t testing.TB, srv *httptest.Server) string {
	t.Helper()
	srv.EnableHTTP2 = true
	srv.StartTLS()
	f := &front{srv: srv, rt: dialHTTP2(t, srv)}
	var err error
	if f.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	go func() {
		for {
			c, err := f.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	}()
	return f.Addr().String()
}

// dialHTTP2 returns one connection to srv. net/http's Transport sends no ":protocol"; what it makes of a
// connection does.
func dialHTTP2(t testing.TB, srv *httptest.Server) http.RoundTripper {
	t.Helper()
	tr := srv.Client().Transport.(*http.Transport).Clone()
	tr.ForceAttemptHTTP2 = true
	tr.CloseIdleConnections() // sets TLSNextProto
	cfg := tr.TLSClientConfig.Clone()
	cfg.NextProtos = []string{"h2"}
	addr := srv.Listener.Addr().String()
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return tr.TLSNextProto["h2"](addr, c)
}

func (f *front) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		r.URL.Scheme, r.URL.Host, r.RequestURI = "https", f.srv.Listener.Addr().String(), ""
		key := r.Header.Get("Sec-Websocket-Key")
		if key != "" {
			r.Method, r.ContentLength = http.MethodConnect, -1
			r.Header[":protocol"] = []string{"websocket"}
			for _, k := range []string{"Upgrade", "Connection", "Sec-Websocket-Key"} {
				delete(r.Header, k)
			}
			body, w := io.Pipe()
			r.Body = body
			go func() {
				_, err := br.WriteTo(w)
				w.CloseWithError(err)
			}()
		}
		res, err := f.rt.RoundTrip(r)
		if err != nil {
			return
		}
		if key != "" && res.StatusCode == 200 {
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n", acceptOf(key))
			res.Header.Write(c)
			io.WriteString(c, "\r\n")
			io.Copy(c, res.Body)
			return
		}
		res.ProtoMajor, res.ProtoMinor = 1, 1
		if res.Write(c); key != "" {
			return
		}
	}
}

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// stream opens a WebSocket on the connection.
func stream(t testing.TB, rt http.RoundTripper, url string, header http.Header) (*http.Response, *io.PipeWriter) {
	t.Helper()
	body, w := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	r.Header[":protocol"] = []string{"websocket"}
	r.Header.Set("Sec-WebSocket-Version", "13")
	res, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); res.Body.Close() })
	return res, w
}

func TestHTTP2Echo(t *testing.T) {
	srv := httptest.NewUnstartedServer(ws.Guard(ws.Upgrade(echoFactory)))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	res, w := stream(t, dialHTTP2(t, srv), srv.URL, nil)
	if res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	t.Log(res.Header)
	w.Write(frame(fText, "hello"))
	b := make([]byte, 7)
	if _, err := io.ReadFull(res.Body, b); err != nil || string(b[2:]) != "hello" {
		t.Fatal(b, err)
	}
}

var _ = strings.TrimSpace
var _ sync.Mutex
