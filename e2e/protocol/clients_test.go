package protocol

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
	"github.com/lxzan/gws"

	"github.com/seed412db446/ws/e2e/protocol/raw"
)

// client is the endpoint of a client that echoes: dial connects it and returns when it is done.
func client(name string, dial func(url string, limit int64) error, deviations []deviation) endpoint {
	return endpoint{name: name, client: true, deviations: deviations, open: func(t *testing.T, limit bool, offer string, early func(bool) []byte) (*raw.Conn, string, string, error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, "", "", err
		}
		defer ln.Close()
		max := int64(largeLimit)
		if limit {
			max = smallLimit
		}
		failed := make(chan error, 1)
		go func() {
			err := dial("ws://"+ln.Addr().String(), max)
			if err != nil {
				ln.Close()
			}
			failed <- err
		}()
		nc, err := ln.Accept()
		if err != nil {
			return nil, "", "", fmt.Errorf("%w: %w", err, <-failed)
		}
		var first []byte
		if early != nil {
			first = early(false)
		}
		var offered, answered string
		c, err := raw.Server(nc, func(o string) string {
			offered, answered = o, answer(o, offer)
			return answered
		}, first, patience)
		if err != nil {
			nc.Close()
			return nil, "", "", err
		}
		return c, offered, answered, nil
	}}
}

// answer is a server's response to a client's offer, with the takeovers that a case wants.
func answer(offered, wanted string) string {
	if wanted == "" || !strings.Contains(offered, "permessage-deflate") {
		return ""
	}
	s := "permessage-deflate"
	for _, p := range []string{"server_no_context_takeover", "client_no_context_takeover"} {
		if strings.Contains(wanted, p) || p[0] == 's' && strings.Contains(offered, p) {
			s += "; " + p
		}
	}
	return s
}

func coderClient(mode coder.CompressionMode) func(url string, limit int64) error {
	return func(url string, limit int64) error {
		c, _, err := coder.Dial(context.Background(), url, &coder.DialOptions{CompressionMode: mode})
		if err != nil {
			return err
		}
		defer c.CloseNow()
		coderEcho(c, limit)
		return nil
	}
}

func gorillaClient(url string, limit int64) error {
	c, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	gorillaEcho(c, limit)
	return nil
}

func gwsClient(url string, limit int64) error {
	c, _, err := gws.NewClient(gwsEcho{}, &gws.ClientOption{
		Addr: url, CheckUtf8Enabled: true, Logger: quiet{}, ReadMaxPayloadSize: int(limit), WriteMaxPayloadSize: largeLimit,
	})
	if err != nil {
		return err
	}
	defer c.NetConn().Close()
	defer func() { recover() }() // it panics on a length with the top bit
	c.ReadLoop()
	return nil
}

func TestCoderClient(t *testing.T) {
	run(t, client("coder client", coderClient(coder.CompressionDisabled), coderClientDeviations))
}

func TestCoderClientDeflate(t *testing.T) {
	run(t, client("coder client deflate", coderClient(coder.CompressionContextTakeover), coderClientDeflateDeviations))
}

func TestGorillaClient(t *testing.T) {
	run(t, client("gorilla client", gorillaClient, gorillaClientDeviations))
}

func TestGwsClient(t *testing.T) {
	run(t, client("gws client", gwsClient, gwsClientDeviations))
}
