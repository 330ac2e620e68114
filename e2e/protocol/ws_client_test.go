package protocol

import (
	"context"
	"testing"

	coder "github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

func wsClient(mode coder.CompressionMode, reuse bool) func(url string, limit int64) error {
	return func(url string, limit int64) error {
		done := make(chan struct{})
		ev := echo()
		ev.OnClose = func(*ws.Conn, ws.CloseEvent) { close(done) }
		_, err := ws.Dial(context.Background(), url, ev, &ws.DialOptions{
			Engine: coder.DialOptions{CompressionMode: mode},
			Limits: ws.Limits{ReadLimit: limit, SendBuffer: 64 << 20, WriteTimeout: patience, ReuseData: reuse},
		})
		if err != nil {
			return err
		}
		<-done
		return nil
	}
}

func TestWsClient(t *testing.T) {
	run(t, client("ws client", wsClient(coder.CompressionDisabled, false), nil))
}

func TestWsClientReuseData(t *testing.T) {
	run(t, client("ws client reuse data", wsClient(coder.CompressionDisabled, true), nil))
}

func TestWsClientDeflate(t *testing.T) {
	run(t, client("ws client deflate", wsClient(coder.CompressionContextTakeover, false), nil))
}
