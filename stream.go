package ws

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Stream makes a byte stream of a connection's messages, for protocols that need a
// [net.Conn]: SSH, yamux, a database's. The peer need not have a Stream too.
//
// serve runs on a goroutine of its own, from OnOpen on. When it returns, the connection
// closes with 1000; when it panics, with 1011, and the panic is reported like one of OnClose.
// OnClose waits for serve, and so does [Upgrader.Shutdown]: it must return when Read or Write fail.
//
//   - Read returns the bytes of binary and of text messages. One message is held at a
//     time, and nothing more is read from the peer before Read has taken all of it.
//   - Write sends binary messages of at most 32 KiB. While Limits.SendBuffer is full it waits for
//     room, or the write deadline. A peer that takes nothing for Limits.WriteTimeout is
//     dropped, so the timeout should be longer than the peer's reader may pause.
//   - CloseWrite, to be called by a type assertion, sends an empty binary message, at which the
//     peer's Stream reads [io.EOF]: WebSocket itself has no half-close (RFC 6455, section 5.5.1).
//     Most other peers ignore it. Bytes that come after one close the connection with
//     1003. An empty text message means nothing.
//   - Close closes with 1000 after what was written, and discards what was not read. It does not
//     wait: to be sure that all has arrived, CloseWrite and read to the end.
//   - After the peer's Close, Read returns [io.EOF] for 1000, 1001 and 1005, and an error
//     that is a [websocket.CloseError] for other codes; without one (1006) an
//     [io.ErrUnexpectedEOF]. Past a deadline the error is [os.ErrDeadlineExceeded].
//
// In the browser nothing holds the peer back, and the addresses are the URL's host.
func Stream(serve func(c net.Conn)) Events {
	var streams sync.Map // from *Conn: Events may be those of many
	return Events{
		OnOpen: func(c *Conn) error {
			s := &stream{conn: c, done: make(chan struct{})}
			s.changed.L = &s.mu
			s.read, s.write = deadline{wake: s.wake}, deadline{wake: s.wake}
			streams.Store(c, s)
			go s.run(serve)
			return nil
		},
		OnMessage: func(c *Conn, m Message) error {
			s, _ := streams.Load(c)
			return s.(*stream).deliver(m)
		},
		OnClose: func(c *Conn, e CloseEvent) {
			s, _ := streams.LoadAndDelete(c)
			s.(*stream).finish(e)
		},
	}
}

// streamPiece is the most that Write puts into a message: what io.Copy writes at once. The peer
// can use nothing of a message before it has all of it, and may have any ReadLimit.
const streamPiece = 32 << 10

type stream struct {
	conn *Conn
	done chan struct{} // closed when serve has returned

	mu      sync.Mutex    // protects the following
	changed sync.Cond     // something of it has
	data    []byte        // of the message that OnMessage has: what was not read
	eof     bool          // the peer will write no more
	end     error         // what Read returns once the connection has ended
	closed  bool          // Close was called
	shut    bool          // CloseWrite was called
	writing bool          // by one goroutine, which keeps the pieces of its Write together
	full    chan struct{} // closed to interrupt its wait for room; nil if it does not wait
	read    deadline
	write   deadline
}

func (s *stream) run(serve func(net.Conn)) {
	code := websocket.StatusInternalError
	defer close(s.done)
	defer func() { s.close(code) }() // also after runtime.Goexit
	s.conn.safelyLast(func() {
		serve(s)
		code = websocket.StatusNormalClosure
	})
}

// deliver returns when m has been read: with ReuseData its data is valid until then. It
// does not watch Conn.Context, for what has come can be read although the connection has ended.
func (s *stream) deliver(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eof && len(m.Data) > 0 {
		return websocket.CloseError{Code: websocket.StatusUnsupportedData, Reason: "data came after the end of the stream"}
	}
	s.eof = s.eof || len(m.Data) == 0 && m.Type == websocket.MessageBinary
	s.data = m.Data
	s.changed.Broadcast()
	for len(s.data) > 0 && !s.closed {
		s.changed.Wait()
	}
	s.data = nil
	return nil
}

func (s *stream) finish(e CloseEvent) {
	s.mu.Lock()
	switch {
	case e.Code == websocket.StatusAbnormalClosure:
		s.end = fmt.Errorf("ws: the stream broke off: %w: %w", io.ErrUnexpectedEOF, e.Err)
	case e.Err == nil && (e.Code == websocket.StatusNormalClosure || e.Code == websocket.StatusGoingAway || e.Code == websocket.StatusNoStatusRcvd):
		s.end = io.EOF
	default:
		s.end = fmt.Errorf("ws: the stream was closed: %w", websocket.CloseError{Code: e.Code, Reason: e.Reason})
	}
	s.mu.Unlock()
	s.SetDeadline(time.Time{}) // wakes Read, and stops the timers
	<-s.done
}

func (s *stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, errClosed
		case s.read.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(s.data) > 0:
			n := copy(b, s.data)
			if s.data = s.data[n:]; len(s.data) == 0 {
				s.changed.Broadcast()
			}
			return n, nil
		case s.eof:
			return 0, io.EOF
		case s.end != nil:
			return 0, s.end
		}
		s.changed.Wait()
	}
}

func (s *stream) Write(b []byte) (int, error) { return s.send(b, false) }

func (s *stream) CloseWrite() error {
	_, err := s.send(nil, true)
	return err
}

var errShut = fmt.Errorf("ws: CloseWrite was called: %w", net.ErrClosed)

// send sends b, or the end of the stream: an empty message.
func (s *stream) send(b []byte, end bool) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		s.changed.Wait()
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.changed.Broadcast()
	}()
	for {
		switch {
		case s.closed:
			return n, errClosed
		case s.shut:
			return n, errShut
		case s.write.passed():
			return n, os.ErrDeadlineExceeded
		case n == len(b) && !end: // no bytes
			return n, nil
		}
		piece, full := b[n:min(n+streamPiece, len(b))], s.full
		s.mu.Unlock()
		if full != nil {
			s.conn.out.awaitRoom(full)
		}
		err := s.conn.TrySend(Binary(piece))
		s.mu.Lock()
		s.full = nil
		switch err {
		case nil:
			if n += len(piece); n == len(b) {
				s.shut = end
				return n, nil
			}
		case ErrBufferFull:
			s.full = make(chan struct{})
		default:
			return n, err
		}
	}
}

func (s *stream) Close() error {
	s.close(websocket.StatusNormalClosure)
	return nil
}

func (s *stream) close(code websocket.StatusCode) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wake()
	s.conn.Close(code, "")
}

// wake makes all that wait look again.
func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full != nil {
		close(s.full)
		s.full = nil
	}
	s.changed.Broadcast()
}

func (s *stream) LocalAddr() net.Addr  { return s.addr(net.Conn.LocalAddr) }
func (s *stream) RemoteAddr() net.Addr { return s.addr(net.Conn.RemoteAddr) }

func (s *stream) addr(of func(net.Conn) net.Addr) net.Addr {
	if c := s.conn.NetConn(); c != nil {
		return of(c)
	}
	return browserAddr(s.conn.Request().URL.Host)
}

type browserAddr string

func (browserAddr) Network() string  { return "websocket" }
func (a browserAddr) String() string { return string(a) }

// deadline is when Read or Write fails. Its timer only wakes those that wait.
type deadline struct {
	wake  func()
	at    time.Time // by the timer's clock; zero: never
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// set is called with the mutex held that protects d, and wake after it, without.
func (d *deadline) set(t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.at = t; t.IsZero() {
		return
	}
	left := time.Until(t)
	d.at = time.Now().Add(left)
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.wake)
	} else {
		d.timer.Reset(left)
	}
}

func (s *stream) SetReadDeadline(t time.Time) error  { return s.set(&s.read, t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.set(&s.write, t) }

func (s *stream) SetDeadline(t time.Time) error {
	s.set(&s.read, t)
	return s.set(&s.write, t)
}

func (s *stream) set(d *deadline, t time.Time) error {
	s.mu.Lock()
	d.set(t)
	s.mu.Unlock()
	s.wake()
	return nil
}
