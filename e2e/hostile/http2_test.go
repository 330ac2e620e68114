package hostile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/protocol/raw"
	_ "github.com/seed412db446/ws/http2"
)

// conn2 is an HTTP/2 connection that keeps no rule.
type conn2 struct {
	*http2.Framer
	net  net.Conn
	t    *testing.T
	next uint32 // stream
	data map[uint32]*bytes.Buffer
	done map[uint32]error // of streams that have ended
	head map[uint32]string
	gone error // of the connection
}

// dial2 connects without TLS, with SETTINGS_INITIAL_WINDOW_SIZE of the given size.
func (a *target) dial2(window uint32) *conn2 {
	a.t.Helper()
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	c2 := &conn2{http2.NewFramer(c, c), c, a.t, 1, map[uint32]*bytes.Buffer{}, map[uint32]error{}, map[uint32]string{}, nil}
	io.WriteString(c, http2.ClientPreface)
	c2.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	c2.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return c2
}

// open sends an extended CONNECT.
func (c *conn2) open() uint32 {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/"}, {"sec-websocket-version", "13"}} {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	id := c.next
	c.next += 2
	c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true})
	c.data[id] = new(bytes.Buffer)
	return id
}

// until reads frames until f holds or the connection has ended.
func (c *conn2) until(f func() bool) bool {
	for !f() {
		fr, err := c.ReadFrame()
		if err != nil {
			c.gone = err
			return f()
		}
		id := fr.Header().StreamID
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				c.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			c.head[id] = fr.PseudoValue("status")
			if fr.StreamEnded() {
				c.done[id] = io.EOF
			}
		case *http2.DataFrame:
			if b := c.data[id]; b != nil {
				b.Write(fr.Data())
			}
			if fr.StreamEnded() {
				c.done[id] = io.EOF
			}
		case *http2.RSTStreamFrame:
			c.done[id] = fmt.Errorf("reset: %v", fr.ErrCode)
		case *http2.GoAwayFrame:
			c.gone = fmt.Errorf("GOAWAY: %v", fr.ErrCode)
		}
	}
	return true
}

// echo sends text on a stream and wants it back. The server's frame has 2 or 4 bytes of header.
func (c *conn2) echo(id uint32, text string) {
	c.t.Helper()
	c.WriteData(id, false, raw.Frame{Op: raw.Text, Payload: []byte(text)}.Append(nil, true))
	want := raw.Frame{Op: raw.Text, Payload: []byte(text)}.Append(nil, false)
	if !c.until(func() bool { return c.data[id].Len() >= len(want) }) || !bytes.Equal(c.data[id].Next(len(want)), want) {
		c.t.Errorf("no echo of %.20q on stream %d: %v, %v", text, id, c.done[id], c.gone)
	}
}

func (c *conn2) opened(id uint32) {
	c.t.Helper()
	if !c.until(func() bool { return c.head[id] != "" || c.done[id] != nil }) || c.head[id] != "200" {
		c.t.Errorf("stream %d: %q, %v, %v", id, c.head[id], c.done[id], c.gone)
	}
}

const window = 1 << 20

// TestHTTP2 is what only HTTP/2 can do to a server.
func TestHTTP2(t *testing.T) {
	t.Run("rapid reset", func(t *testing.T) {
		attack(t, &ws.Upgrader{}, func(a *target) {
			for range 4 {
				c := a.dial2(window)
				defer c.net.Close()
				c.until(func() bool { return true })
				for range 2000 {
					if c.WriteRSTStream(c.open(), http2.ErrCodeCancel) != nil {
						break // net/http has had enough
					}
				}
			}
			c := a.dial2(window)
			defer c.net.Close()
			id := c.open()
			c.opened(id)
			c.echo(id, "after all")
		})
	})
	t.Run("CONNECTs without end", func(t *testing.T) {
		attack(t, &ws.Upgrader{}, func(a *target) {
			c := a.dial2(window)
			defer c.net.Close()
			const limit = 250 // net/http's default of MaxConcurrentStreams
			for range limit + 50 {
				c.open()
			}
			c.until(func() bool { return len(c.head)+len(c.done) >= limit+50 })
			refused := 0
			for _, err := range c.done {
				if err.Error() == "reset: REFUSED_STREAM" {
					refused++
				}
			}
			if refused != 50 || len(c.head) != limit {
				t.Errorf("%d streams were opened and %d refused: %v", len(c.head), refused, c.gone)
			}
			c.echo(1, "the first")
		})
	})
	t.Run("tiny windows", func(t *testing.T) {
		attack(t, &ws.Upgrader{}, func(a *target) {
			c := a.dial2(1)
			defer c.net.Close()
			id := c.open()
			c.opened(id)
			f := raw.Frame{Op: raw.Text, Payload: bytes.Repeat([]byte("x"), 100)}
			c.WriteData(id, false, f.Append(nil, true))
			want := f.Append(nil, false)
			for i := range want {
				if !c.until(func() bool { return c.data[id].Len() > i }) {
					t.Fatalf("%d bytes came: %v", c.data[id].Len(), c.gone)
				}
				c.WriteWindowUpdate(id, 1)
			}
			if !bytes.Equal(c.data[id].Bytes(), want) {
				t.Errorf("%q", c.data[id])
			}
		})
	})
	t.Run("DATA after END_STREAM", func(t *testing.T) {
		attack(t, &ws.Upgrader{}, func(a *target) {
			c := a.dial2(window)
			defer c.net.Close()
			id, other := c.open(), c.open()
			c.opened(id)
			c.opened(other)
			c.WriteData(id, true, raw.Frame{Op: raw.Text, Payload: []byte("x")}.Append(nil, true))
			c.WriteData(id, false, []byte("more"))
			c.until(func() bool { return c.done[id] != nil })
			if c.done[id] == nil && c.gone == nil {
				t.Error("the server takes it")
			}
		})
	})
	t.Run("reset inside a message", func(t *testing.T) {
		attack(t, &ws.Upgrader{}, func(a *target) {
			c := a.dial2(window)
			defer c.net.Close()
			id, other := c.open(), c.open()
			c.opened(id)
			c.opened(other)
			c.WriteData(id, false, raw.Frame{Op: raw.Binary, Payload: make([]byte, 5000)}.Append(nil, true)[:3000])
			c.WriteRSTStream(id, http2.ErrCodeCancel)
			a.settle("connections besides the bystander and the other stream", 2, func() int { return int(a.opened.Load() - a.closed.Load()) })
			c.echo(other, "goes on")
			a.causes.Range(func(k, _ any) bool { t.Errorf("a fault: %v", k); return true })
		})
	})
	t.Run("a peer that stops reading", func(t *testing.T) {
		attack(t, &ws.Upgrader{Limits: ws.Limits{WriteTimeout: 300 * time.Millisecond}}, func(a *target) {
			c := a.dial2(1000)
			defer c.net.Close()
			id, other := c.open(), c.open()
			c.opened(id)
			c.opened(other)
			c.WriteData(id, false, raw.Frame{Op: raw.Binary, Payload: make([]byte, 10000)}.Append(nil, true))
			if !c.until(func() bool { return c.done[id] != nil }) {
				t.Errorf("it is not dropped: %v", c.gone)
			}
			c.echo(other, "goes on")
			if a.caused(ws.ErrWriteTimeout.Error()) != 1 {
				t.Error("no fault says why")
			}
		})
	})
	t.Run("bytes of HTTP/1.1 in DATA", func(t *testing.T) {
		attack(t, &ws.Upgrader{}, func(a *target) {
			c := a.dial2(window)
			defer c.net.Close()
			id := c.open()
			c.opened(id)
			c.WriteData(id, false, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			if !c.until(func() bool { return c.done[id] != nil || errors.Is(c.gone, io.EOF) }) {
				t.Errorf("it goes on: %q", c.data[id])
			}
		})
	})
}
