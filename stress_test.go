//go:build !js

package ws_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

const (
	stressSenders  = 3
	stressMessages = 16 // of each
)

// stressAll is those of all senders, made once.
var stressAll = sync.OnceValue(func() (all [stressSenders][stressMessages][]byte) {
	for sender := range all {
		for seq := range all[sender] {
			all[sender][seq] = stressMessage(sender, seq)
		}
	}
	return all
})

// stressMessage is the message of a sender with that number: some small, some large, half of them compressible.
func stressMessage(sender, seq int) []byte {
	r := rand.New(rand.NewPCG(uint64(sender), uint64(seq)))
	n := []int{0, 10, 125, 600, 1100, 5 << 10, 20 << 10, 70 << 10}[r.IntN(8)]
	b := binary.BigEndian.AppendUint32(nil, uint32(sender<<16|seq))
	for len(b) < n {
		if seq%2 == 0 {
			b = append(b, fmt.Sprintf("%d and %d, ", sender, r.IntN(100))...)
		} else {
			b = binary.BigEndian.AppendUint64(b, r.Uint64())
		}
	}
	return b
}

// stressEnd is one end: it checks what comes, whole and in order.
type stressEnd struct {
	t    *testing.T
	slow bool
	next [stressSenders]int
	left int
	all  chan struct{} // closed when all messages have come
	done chan ws.CloseEvent
}

func newStressEnd(t *testing.T, slow bool) *stressEnd {
	return &stressEnd{t: t, slow: slow, left: stressSenders * stressMessages,
		all: make(chan struct{}), done: make(chan ws.CloseEvent, 1)}
}

func (e *stressEnd) events() ws.Events {
	return ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error {
			if len(m.Data) < 4 {
				return errors.New("a message is too short")
			}
			n := int(binary.BigEndian.Uint32(m.Data))
			sender, seq := n>>16, n&0xffff
			if sender >= stressSenders || seq >= stressMessages || e.next[sender] != seq || !bytes.Equal(m.Data, stressAll()[sender][seq]) {
				return fmt.Errorf("message %d of sender %d is not what was sent, or out of order", seq, sender)
			}
			e.next[sender]++
			if e.slow && seq%8 == 0 {
				<-time.After(time.Millisecond)
			}
			if e.left--; e.left == 0 {
				close(e.all)
			}
			return nil
		},
		OnError: func(_ *ws.Conn, err error) { e.t.Error(err) },
		OnClose: func(_ *ws.Conn, end ws.CloseEvent) { e.done <- end },
	}
}

// send sends all messages and pings meanwhile.
func (e *stressEnd) send(c *ws.Conn, wg *sync.WaitGroup) {
	for sender := range stressSenders {
		wg.Go(func() {
			for seq := range stressMessages {
				m := ws.Binary(bytes.Clone(stressAll()[sender][seq]))
				err := c.TrySend(m)
				for err == ws.ErrBufferFull {
					err = c.Send(m)
				}
				if err != nil {
					e.t.Errorf("message %d of sender %d: %v", seq, sender, err)
					return
				}
				clear(m.Data) // it was copied
			}
		})
	}
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for range 20 {
			if _, err := c.Ping(ctx); err != nil {
				e.t.Errorf("ping: %v", err)
				return
			}
		}
	})
}

// TestStress mixes senders of small and large messages, pings, a slow reader and a close, and
// checks both ends (S1, S2, S5, C8, K1).
func TestStress(t *testing.T) {
	for _, over := range []string{"tcp", "tls", "pipe"} {
		for _, mode := range []websocket.CompressionMode{websocket.CompressionDisabled,
			websocket.CompressionNoContextTakeover, websocket.CompressionContextTakeover} {
			for _, reuse := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/compression=%d/reuse=%t", over, mode, reuse), func(t *testing.T) {
					t.Parallel()
					testStress(t, over, mode, ws.Limits{SendBuffer: 50 << 10, ReuseData: reuse, WriteTimeout: patience})
				})
			}
		}
	}
}

func testStress(t *testing.T, over string, mode websocket.CompressionMode, l ws.Limits) {
	u := &ws.Upgrader{Engine: websocket.AcceptOptions{CompressionMode: mode}, Limits: l}
	here, there := newStressEnd(t, false), newStressEnd(t, true)
	conns := make(chan *ws.Conn, 1)
	h := ws.Guard(u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		ev := there.events()
		ev.OnOpen = func(c *ws.Conn) error {
			conns <- c
			return nil
		}
		return ev, nil
	}))
	opts, url := &ws.DialOptions{Engine: websocket.DialOptions{CompressionMode: mode}, Limits: l}, "ws://pipe/"
	switch over {
	case "tcp", "tls":
		s := httptest.NewUnstartedServer(h)
		if over == "tcp" {
			s.Start()
		} else {
			s.StartTLS()
			opts.Engine.HTTPClient = s.Client()
		}
		defer s.Close()
		url = strings.Replace(s.URL, "http", "ws", 1)
	default:
		opts.Handler = h
	}
	c, err := ws.Dial(context.Background(), url, here.events(), opts)
	if err != nil {
		t.Fatal(err)
	}
	server := receive(t, conns)
	var wg sync.WaitGroup
	here.send(c, &wg)
	there.send(server, &wg)
	wg.Wait()
	receive(t, here.all)
	receive(t, there.all)
	c.Close(4000, "enough")
	for _, e := range []*stressEnd{here, there} {
		if end := receive(t, e.done); !end.WasClean || end.Code != 4000 {
			t.Errorf("%+v", end)
		}
	}
	for _, c := range []*ws.Conn{c, server} {
		if n := c.Buffered(); n != 0 {
			t.Errorf("%d bytes are buffered at the end", n)
		}
		if err := c.Send(ws.Text("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a send after the end: %v", err)
		}
	}
}
