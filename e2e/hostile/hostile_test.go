package hostile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"golang.org/x/net/http2"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/internal/h2"
	"github.com/seed412db446/ws/e2e/protocol/raw"
)

var minute = flag.Bool("minute", false, "connect and drop for a minute, not for three seconds")

const kib = 1 << 10

// gone waits until the server has hung up on every connection.
func gone(t *testing.T, conns []net.Conn) {
	t.Helper()
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server did not hang up")
		}
		c.Close()
	}
}

// A handshake that does not end is http.Server.ReadHeaderTimeout's to end, and over HTTP/2 IdleTimeout's. This package
// holds nothing for it.
func TestSlowHandshake(t *testing.T) {
	attackBoth(t, func() *ws.Upgrader { return new(ws.Upgrader) }, func(a *target) {
		const n = 300
		before := memory()
		var conns []net.Conn
		var streams []*conn2
		for i := range n {
			if a.tls != "" {
				p := a.dial2(65535)
				streams = append(streams, p)
				p.write(func(fr *http2.Framer) error {
					b := p.handshake()
					return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:len(b)*i/n]}) // and no CONTINUATION
				})
				continue
			}
			c, err := net.Dial("tcp", a.addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			req := raw.Request(a.addr, "/", "")
			c.Write(req[:len(req)*i/n])
		}
		a.cost(before, n, 64*kib)
		gone(t, conns)
		for _, p := range streams {
			p.await("the connection's end", func() bool { return false })
			p.conn.Close()
		}
	})
}

// Frames that do not end, of every kind, and a byte of them now and then.
func TestSlowFrames(t *testing.T) {
	for _, detach := range []bool{false, true} {
		t.Run(fmt.Sprintf("detach %v", detach), func(t *testing.T) {
			attackBoth(t, func() *ws.Upgrader { return &ws.Upgrader{Detach: detach} }, func(a *target) {
				slow := []raw.Frame{
					{Op: raw.Text, Payload: make([]byte, 10), Claim: 1 << 20},
					{Op: raw.Binary, Payload: make([]byte, 10), Claim: 1 << 20},
					{Op: raw.Binary, Payload: make([]byte, 10), Claim: 60000},
					{Op: raw.Text, More: true, Payload: make([]byte, 10), Claim: 1 << 40},
					{Op: raw.Ping, Payload: make([]byte, 125), Missing: 100},
					{Op: raw.Close, Payload: make([]byte, 125), Missing: 124},
				}
				const n = 300
				before := memory()
				var conns []*raw.Conn
				for i := range n {
					c := a.dial("")
					defer c.Net.Close()
					conns = append(conns, c)
					c.Write(slow[i%len(slow)])
				}
				for range 10 {
					for _, c := range conns {
						c.Net.Write([]byte{0})
					}
				}
				a.cost(before, n, 96*kib)
			})
		})
	}
}

// Connects and drops, in every state of a connection, with a FIN and with a reset.
func TestConnectAndDrop(t *testing.T) {
	attackBoth(t, func() *ws.Upgrader { return new(ws.Upgrader) }, func(a *target) {
		before := memory()
		seconds := 3
		if *minute {
			seconds = 60
		}
		const rate = 1000
		req := raw.Request(a.addr, "/", "")
		text := raw.Frame{Op: raw.Text, Payload: bytes.Repeat([]byte("x"), 1000)}.Append(nil, true)
		var wg sync.WaitGroup
		busy := make(chan struct{}, 200)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		total := 0
		for range seconds * 100 {
			<-tick.C
			for range rate / 100 {
				n := total
				total++
				busy <- struct{}{}
				wg.Go(func() {
					defer func() { <-busy }()
					c, err := net.Dial("tcp", a.addr)
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(patience))
					if n%2 == 0 {
						c.(*net.TCPConn).SetLinger(0)
					}
					switch n / 2 % 6 {
					case 0: // nothing at all
					case 1:
						c.Write(req[:len(req)/2])
					case 2:
						c.Write(req)
					case 3:
						c.Write(append(req[:len(req):len(req)], text...))
					case 4, 5:
						c.Write(req)
						http.ReadResponse(bufio.NewReader(c), nil)
						c.Write(text[:len(text)/(1+n/12%2)])
					}
				})
			}
		}
		wg.Wait()
		if !poll(func() bool { return a.opened.Load()-a.closed.Load() <= 1 }) {
			t.Errorf("%d connections were opened, %d closed", a.opened.Load(), a.closed.Load())
		}
		t.Logf("%d connects, %d of them upgraded", total, a.opened.Load())
		a.cost(before, total, kib) // what is left of each
	})
}

// Small messages that decompress to much.
func TestBombs(t *testing.T) {
	for _, mode := range []coder.CompressionMode{coder.CompressionContextTakeover, coder.CompressionNoContextTakeover} {
		t.Run(fmt.Sprintf("mode %d", mode), func(t *testing.T) {
			attackBoth(t, func() *ws.Upgrader { return &ws.Upgrader{Engine: coder.AcceptOptions{CompressionMode: mode}} }, func(a *target) {
				bomb := raw.NewDeflater(true, 15).Message(make([]byte, 64<<20))
				const n = 50
				stop := peak()
				var wg sync.WaitGroup
				for range n {
					c := a.dial("permessage-deflate")
					defer c.Net.Close()
					wg.Go(func() {
						c.Write(raw.Frame{Op: raw.Binary, RSV: raw.RSV1, Payload: bomb})
						f, err := c.ReadFrame()
						if err != nil || f.Op != raw.Close || binary.BigEndian.Uint16(f.Payload) != 1009 {
							t.Errorf("came back: opcode %d, %q, %v; want Close with 1009", f.Op, f.Payload, err)
						}
					})
				}
				wg.Wait()
				each := stop() / n
				t.Logf("a bomb of %d bytes, 64 MiB inside, costs at most %d bytes at a time", len(bomb), each)
				if each > 4<<20 {
					t.Errorf("a bomb costs %d bytes, more than 4 MiB", each)
				}
			})
		})
	}
}

// Peers that make the server answer and never read.
func TestFloods(t *testing.T) {
	full := raw.Frame{Op: raw.Ping, Payload: make([]byte, 125)}
	for _, k := range []struct {
		name  string
		frame raw.Frame
	}{
		{"pings", full},
		{"empty pings", raw.Frame{Op: raw.Ping}},
		{"messages", raw.Frame{Op: raw.Text, Payload: bytes.Repeat([]byte("x"), 1000)}},
		{"empty messages", raw.Frame{Op: raw.Text}},
		{"large messages", raw.Frame{Op: raw.Binary, Payload: make([]byte, 1<<20)}},
	} {
		t.Run(k.name, func(t *testing.T) {
			attackBoth(t, func() *ws.Upgrader { return &ws.Upgrader{Limits: ws.Limits{WriteTimeout: time.Second}} }, func(a *target) {
				const n = 10
				b := bytes.Repeat(k.frame.Append(nil, true), max(1, 64*kib/(len(k.frame.Payload)+6)))
				stop := peak()
				var wg sync.WaitGroup
				for range n {
					c := a.dial("")
					defer c.Net.Close()
					wg.Go(func() {
						// Until the server hangs up, or that many frames or bytes were taken.
						frames, size, most := 0, len(k.frame.Payload)+6, 500_000
						if a.tls != "" {
							most = 100_000 // more than its windows hold
						}
						for frames*size < 64<<20 && frames < most {
							frames += len(b) / size
							c.Net.SetDeadline(time.Now().Add(patience))
							if _, err := c.Net.Write(b); err != nil {
								if errors.Is(err, os.ErrDeadlineExceeded) {
									t.Error("the server neither takes anything nor hangs up")
								}
								return
							}
						}
					})
				}
				wg.Wait()
				each := stop() / n
				t.Logf("a peer that sends %s and reads nothing costs at most %d bytes", k.name, each)
				if each > 16<<20 {
					t.Errorf("a peer costs %d bytes, more than 16 MiB", each)
				}
			})
		})
	}
}

// A message of fragments without content has no end and must not cost anything.
func TestEmptyFragments(t *testing.T) {
	attackBoth(t, func() *ws.Upgrader { return new(ws.Upgrader) }, func(a *target) {
		c := a.dial("")
		defer c.Net.Close()
		c.Net.SetDeadline(time.Now().Add(patience))
		b := bytes.Repeat(raw.Frame{Op: raw.Continuation, More: true}.Append(nil, true), 10000)
		before := memory()
		stop := peak()
		c.Write(raw.Frame{Op: raw.Text, More: true})
		for range 200 {
			if _, err := c.Net.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		c.Write(raw.Frame{Op: raw.Continuation, Payload: []byte("the end")})
		f, err := c.ReadFrame()
		if err != nil || f.Op != raw.Text || string(f.Payload) != "the end" {
			t.Errorf("came back: opcode %d, %q, %v", f.Op, f.Payload, err)
		}
		high := stop()
		t.Logf("2,000,000 empty fragments cost at most %d bytes", high)
		if high > 8<<20 {
			t.Errorf("empty fragments cost %d bytes, more than 8 MiB", high)
		}
		a.cost(before, 1, 1<<20)
	})
}

// Peers that are gone without a word, or half gone.
func TestHalfOpen(t *testing.T) {
	limits := ws.Limits{PingInterval: 300 * time.Millisecond, PingTimeout: 300 * time.Millisecond}
	for _, detach := range []bool{false, true} {
		t.Run(fmt.Sprintf("detach %v", detach), func(t *testing.T) {
			attackBoth(t, func() *ws.Upgrader { return &ws.Upgrader{Detach: detach, Limits: limits} }, func(a *target) {
				const n = 200
				before := memory()
				var conns []net.Conn
				for i := range n {
					c := a.dial("")
					conns = append(conns, c.Net)
					switch i % 4 {
					case 1: // silent inside a frame
						c.Write(raw.Frame{Op: raw.Text, Payload: []byte("xyz"), Missing: 1})
					case 2: // its half of the connection is closed, the other it keeps
						c.Net.(*net.TCPConn).CloseWrite()
					case 3: // half of the close handshake
						c.Write(raw.Frame{Op: raw.Close})
					}
				}
				a.cost(before, n, 64*kib)
				gone(t, conns)
				if !poll(func() bool { return a.caused("ping") == n/2 }) { // the last report comes after the end of its socket
					t.Errorf("%d ping timeouts were reported, want %d", a.caused("ping"), n/2)
				}
			})
		})
	}
}

// What a client says must not make headers.
func TestHeaderInjection(t *testing.T) {
	evil := []string{
		"x\r\nX-Injected: 1", "x\nX-Injected: 1", "x\rX-Injected: 1", "x\r\n\r\nX-Injected: 1\r\n", "x\x00\r\nX-Injected: 1", "\u010d\u010aX-Injected: 1",
	}
	for _, over := range []string{"HTTP1", "Guard", "HTTP2"} {
		var h http.Handler = (&ws.Upgrader{OnError: func(*http.Request, error) {}}).Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
			v := r.URL.Query().Get("v")
			switch r.URL.Path {
			case "/cookie":
				w.Header().Add("Set-Cookie", "name="+v)
			case "/setcookie":
				http.SetCookie(w, &http.Cookie{Name: "name", Value: v})
			case "/header":
				w.Header().Set("X-Name", v)
			case "/key":
				w.Header()["X-"+v] = []string{v}
			case "/subprotocol":
				w.Header().Set("Sec-WebSocket-Protocol", v)
			case "/reject":
				w.Header().Set("X-Name", v)
				return ws.Events{}, ws.Reject(403, v)
			case "/close":
				return ws.Events{OnOpen: func(c *ws.Conn) error { return c.Close(4000, v) }}, nil
			}
			return ws.Events{}, nil
		})
		if over != "HTTP1" {
			h = ws.Guard(h)
		}
		srv := httptest.NewUnstartedServer(h)
		var addr string
		if srv.EnableHTTP2 = over == "HTTP2"; srv.EnableHTTP2 {
			srv.StartTLS()
			front, stop := h2.Front(t, srv.URL)
			defer stop()
			addr = front
		} else {
			srv.Start()
			addr = srv.Listener.Addr().String()
		}
		defer srv.Close()
		for _, path := range []string{"/cookie", "/setcookie", "/header", "/key", "/subprotocol", "/reject", "/close"} {
			for i, v := range evil {
				t.Run(fmt.Sprintf("%s%s/%d", over, path, i), func(t *testing.T) {
					c, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(patience))
					c.Write(raw.Request(addr, path+"?v="+url.QueryEscape(v), "", "Sec-WebSocket-Protocol: x, y"))
					c.(*net.TCPConn).CloseWrite()
					b, _ := io.ReadAll(c)
					head, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
					resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
					if err != nil && !strings.Contains(v, "\x00") { // net/http lets a NUL pass as well
						t.Fatalf("no answer: %v: %q", err, b)
					}
					if err == nil && resp.Header.Get("X-Injected") != "" || strings.Contains(string(head), "\nX-Injected") || strings.Contains(string(head), "\rX-Injected") {
						t.Errorf("a header was injected: %q", head)
					}
				})
			}
		}
	}
}
