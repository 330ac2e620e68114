package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// peer is a server of another language.
type peer struct {
	url    string
	closed chan seen // how each connection closed
}

func (l language) serve(t *testing.T, args ...string) *peer {
	t.Helper()
	tool := l.tool(t)
	cmd := exec.Command(tool[0], append(append(tool[1:], filepath.FromSlash(l.server)), args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{closed: make(chan seen, 10)}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		cmd.Wait()
		t.Fatalf("%v does not start: %s", cmd.Args, &stderr)
	}
	p.url = "ws://127.0.0.1:" + lines.Text()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() {
			var s seen
			if err := json.Unmarshal(lines.Bytes(), &s); err == nil {
				p.closed <- s
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
		if t.Failed() {
			t.Logf("%v:\n%s", cmd.Args, &stderr)
		}
	})
	return p
}

// dialed is a connection of ours whose messages are waited for.
type dialed struct {
	*ws.Conn
	messages chan ws.Message
	closed   chan ws.CloseEvent
}

func dial(t *testing.T, url string, opts *ws.DialOptions) *dialed {
	t.Helper()
	d := &dialed{messages: make(chan ws.Message, 100), closed: make(chan ws.CloseEvent, 1)}
	c, err := ws.Dial(t.Context(), url, ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error { d.messages <- m; return nil },
		OnClose:   func(c *ws.Conn, e ws.CloseEvent) { d.closed <- e },
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(websocket.StatusNormalClosure, "") })
	d.Conn = c
	return d
}

// says sends a message and wants an answer to it.
func (d *dialed) says(t *testing.T, message, answer string) {
	t.Helper()
	if err := d.SendText(message); err != nil {
		t.Fatal(err)
	}
	want(t, "the answer to "+message, await(t, d.messages, "answer").String(), answer)
}

// echoes wants messages of every size back.
func (d *dialed) echoes(t *testing.T) {
	t.Helper()
	for _, n := range sizes {
		noise := make([]byte, n)
		rand.NewChaCha8([32]byte{1}).Read(noise)
		text := strings.Repeat("é€😀", n/9) + strings.Repeat("z", n%9)
		for _, sent := range []ws.Message{ws.Text(text), ws.Binary(noise)} {
			if err := d.Send(sent); err != nil {
				t.Fatal(err)
			}
			got := await(t, d.messages, "echo")
			if got.Type != sent.Type || !bytes.Equal(got.Data, sent.Data) {
				t.Errorf("%v of %d bytes came back as %v of %d", sent.Type, n, got.Type, len(got.Data))
			}
		}
	}
}

// TestServers dials the servers of other languages.
func TestServers(t *testing.T) {
	for _, l := range languages {
		if l.server == "" {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			plain, deflate := l.serve(t), l.serve(t, "deflate")
			for _, test := range []struct {
				name   string
				server *peer
				mode   websocket.CompressionMode
			}{
				{"plain", plain, websocket.CompressionDisabled},
				{"deflate refused by the server", plain, websocket.CompressionContextTakeover},
				{"deflate not offered", deflate, websocket.CompressionDisabled},
				{"deflate", deflate, websocket.CompressionContextTakeover},
				{"deflate, each message afresh", deflate, websocket.CompressionNoContextTakeover},
			} {
				t.Run(test.name, func(t *testing.T) {
					opts := &ws.DialOptions{Engine: websocket.DialOptions{
						CompressionMode: test.mode, Subprotocols: []string{"v1", "v2"}}}
					d := dial(t, test.server.url, opts)
					want(t, "the subprotocol", d.Subprotocol(), "v2")
					d.SendText("extensions")
					extensions := await(t, d.messages, "answer").String()
					compressed := test.server == deflate && test.mode != websocket.CompressionDisabled
					if strings.HasPrefix(extensions, "permessage-deflate") != compressed {
						t.Errorf("the server's extensions are %q", extensions)
					}
					d.echoes(t)
					d.says(t, "fragments", "fragments é")
					d.says(t, "ping me", "pong are you there?")
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if _, err := d.Ping(ctx); err != nil {
						t.Errorf("Ping: %v", err)
					}
					d.Close(4001, "bye é")
					want(t, "OnClose", await(t, d.closed, "OnClose"), ws.CloseEvent{Code: 4001, Reason: "bye é", WasClean: true})
					want(t, "the server", await(t, test.server.closed, "close at the server"), seen{Code: 4001, Reason: "bye é"})

					d = dial(t, test.server.url, opts)
					d.says(t, "close me", "before")
					want(t, "OnClose", await(t, d.closed, "OnClose"), ws.CloseEvent{Code: 4002, Reason: "go é", WasClean: true})
					want(t, "the server", await(t, test.server.closed, "close at the server"), seen{Code: 4002, Reason: "go é"})
				})
			}
			t.Run("heartbeat", func(t *testing.T) {
				pongs := make(chan struct{}, 100)
				d := dial(t, plain.url, &ws.DialOptions{
					Engine: websocket.DialOptions{Subprotocols: []string{"v2"}, OnPongReceived: func(context.Context, []byte) { pongs <- struct{}{} }},
					Limits: ws.Limits{PingInterval: 20 * time.Millisecond},
				})
				for range 3 {
					await(t, pongs, "pong")
				}
				d.says(t, "x", "x")
				d.Close(1000, "")
				await(t, plain.closed, "close at the server")
			})
			t.Run("refused", func(t *testing.T) {
				_, err := ws.Dial(t.Context(), plain.url+"/refuse", ws.Events{}, nil)
				var refusal *ws.HandshakeError
				if !errors.As(err, &refusal) || refusal.Status != 403 || !strings.Contains(err.Error(), "members only") {
					t.Errorf("Dial: %v, want a HandshakeError with 403 and the server's words", err)
				}
			})
		})
	}
}
