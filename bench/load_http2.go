//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// muxed is an HTTP/2 connection of the generator's.
type muxed struct {
	ready chan struct{} // closed when the following are set
	cc    *http2.ClientConn
	conn  net.Conn
	err   error
	users int // streams, open or to be opened; protected by muxes
}

// muxes are the connections that have streams, by the server and a number.
var muxes = struct {
	sync.Mutex
	of map[string]*muxed
}{of: map[string]*muxed{}}

func joinMuxed(id int, addr string, o dialOptions) (*muxed, string) {
	key := fmt.Sprintf("%s %d", addr, id/o.mux)
	muxes.Lock()
	m, ok := muxes.of[key]
	if !ok {
		m = &muxed{ready: make(chan struct{})}
		muxes.of[key] = m
	}
	m.users++
	muxes.Unlock()
	if ok {
		<-m.ready
		return m, key
	}
	defer close(m.ready)
	if m.conn, m.err = connectTo(id, addr, o); m.err == nil {
		secure := tls.Client(m.conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if m.err = secure.Handshake(); m.err == nil {
			m.cc, m.err = new(http2.Transport).NewClientConn(secure)
		}
	}
	return m, key
}

// leave closes the connection with its last stream.
func (m *muxed) leave(key string) {
	muxes.Lock()
	defer muxes.Unlock()
	if m.users--; m.users == 0 {
		delete(muxes.of, key)
		if m.conn != nil {
			m.conn.(*net.TCPConn).SetLinger(0)
			m.conn.Close()
		}
	}
}

func dialHTTP2(id int, addr, path string, o dialOptions) (*client, error) {
	m, key := joinMuxed(id, addr, o)
	if m.err != nil {
		m.leave(key)
		return nil, fmt.Errorf("connection %d: %w", id, m.err)
	}
	body, w := io.Pipe()
	r, err := http.NewRequest(http.MethodConnect, "https://"+addr+path, body)
	if err != nil {
		return nil, err
	}
	r.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	res, err := m.cc.RoundTrip(r)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server answered %s", res.Status)
	}
	if err != nil {
		w.Close()
		m.leave(key)
		return nil, fmt.Errorf("connection %d: handshake: %w", id, err)
	}
	c := o.client(id, &muxedConn{Conn: m.conn, in: res.Body, out: w, leave: func() { m.leave(key) }})
	return c, c.greet(o)
}

// muxedConn is a stream. Its deadlines are the connection's.
type muxedConn struct {
	net.Conn
	in    io.ReadCloser
	out   *io.PipeWriter
	leave func()
	once  sync.Once
}

func (c *muxedConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *muxedConn) Write(p []byte) (int, error) { return c.out.Write(p) }

// SetDeadline is for all streams of the connection. All of them fail when it passes.
func (c *muxedConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(t) }

func (c *muxedConn) Close() error {
	err := errors.Join(c.out.Close(), c.in.Close())
	c.once.Do(c.leave)
	return err
}
