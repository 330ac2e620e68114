// Package h2 is a client of WebSockets over HTTP/2 (RFC 8441) for the packages that have none.
package h2

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/http2"
)

// Transport opens a stream for every WebSocket handshake, and turns the answer into what it would be over
// HTTP/1.1. All share one connection for each host.
type Transport struct{ http2.Transport }

// New returns a Transport that trusts every server.
func New() *Transport {
	return &Transport{http2.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	key := r.Header.Get("Sec-Websocket-Key")
	if key == "" {
		return t.Transport.RoundTrip(r)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer context.AfterFunc(r.Context(), cancel)() // after the handshake it has no effect
	out := r.Clone(ctx)
	out.Method = http.MethodConnect
	for _, k := range []string{"Upgrade", "Connection", "Sec-Websocket-Key"} {
		delete(out.Header, k)
	}
	out.Header[":protocol"] = []string{"websocket"}
	body, w := io.Pipe()
	out.Body = body
	res, err := t.Transport.RoundTrip(out)
	if err != nil {
		cancel()
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		w.Close()
		return res, nil
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	res.StatusCode, res.Status = http.StatusSwitchingProtocols, "101 Switching Protocols"
	res.Header.Set("Upgrade", "websocket")
	res.Header.Set("Connection", "Upgrade")
	res.Header.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	res.Body = &Stream{res.Body, w}
	return res, nil
}

// Stream is the body of an answer: both directions.
type Stream struct {
	io.ReadCloser
	w *io.PipeWriter
}

func (s *Stream) Write(p []byte) (int, error) { return s.w.Write(p) }

// CloseWrite ends the client's direction.
func (s *Stream) CloseWrite() error { return s.w.Close() }

// Reset ends the stream with RST_STREAM.
func (s *Stream) Reset() {
	s.w.CloseWithError(errors.New("reset"))
	s.ReadCloser.Close()
}

// Close ends both directions.
func (s *Stream) Close() error {
	return errors.Join(s.w.Close(), s.ReadCloser.Close())
}

// Front returns the address of a listener that opens a stream to srv for each WebSocket handshake over HTTP/1.1. A
// close or a reset of either side is passed on as one of the other. It ends with stop, once its clients are gone.
func Front(tb testing.TB, url string) (addr string, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tr := New()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { forward(c.(*net.TCPConn), tr, url) })
		}
	})
	return ln.Addr().String(), func() {
		ln.Close()
		running.Wait()
		tr.CloseIdleConnections()
	}
}

func forward(c *net.TCPConn, tr *Transport, url string) {
	defer c.Close()
	br := bufio.NewReader(c)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if r.URL, err = r.URL.Parse(url + r.RequestURI); err != nil {
		return
	}
	r.RequestURI = ""
	res, err := tr.RoundTrip(r)
	if err != nil {
		return
	}
	s, ok := res.Body.(*Stream)
	if !ok {
		res.Write(c)
		return
	}
	defer s.Close()
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	res.Header.Write(&head)
	head.WriteString("\r\n")
	c.Write(head.Bytes())
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := br.WriteTo(s); err == nil {
			s.CloseWrite()
		} else if errors.Is(err, syscall.ECONNRESET) {
			s.Reset()
		}
		io.Copy(io.Discard, c) // or what c has received would be lost
	}()
	if _, err := io.Copy(c, s); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		s.Reset()
	}
	c.CloseWrite()
	s.w.Close()
	<-sent
}
