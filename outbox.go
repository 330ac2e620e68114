//go:build !js

package ws

import (
	"crypto/tls"
	"encoding/binary"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

const (
	batch     = 64 << 10 // how many bytes may wait while input is being worked on
	batchTime = time.Millisecond
	large     = 4 << 10   // a message of this size is not copied, or not under the mutex
	oneWrite  = 256 << 10 // bytes written by one system call
	piece     = 16 << 10  // bytes written at once to anything but a plain socket
)

// The values of outbox.state: what the connection's goroutine is doing. A
// positive one is the time since which it waits for input, and 1 ns.
const (
	parsing = 0
	between = -1            // in a callback, and there is more input at hand
	outside = math.MinInt64 // before it begins and after it has ended
	// Other negative values: in a callback for the last of the input. Each such callback has a value of its own.
)

// outbox is the write side of a connection: a queue of frames. Whoever queues one writes
// the queue, unless somebody writes already. No caller waits for the peer, except
// send, when there is no room.
//
// While the connection's goroutine works on input, frames stay in the queue, so that they leave
// together. The first reply to the last of the input leaves at once.
type outbox struct {
	sock   net.Conn
	raw    syscall.RawConn // of a plain socket, which can be written to without waiting; else nil
	under  syscall.RawConn // of the plain socket under sock, for questions to the system; nil if there is none
	tls    bool            // sock is a *tls.Conn on it
	mask   bool            // we are the client
	limits *Limits
	cancel func(error) // ends the connection's Context
	start  time.Time

	state  atomic.Int64
	queued atomic.Bool // head is not nil
	closed atomic.Bool // a Close frame is queued, or nothing can be written any more
	turns  int64       // callbacks for the last of the input so far; belongs to the connection's goroutine

	mu         sync.Mutex // protects the following
	head, tail *buffer    // the queue: whole frames in each
	size       int        // bytes that were sent and not yet written
	writing    bool       // somebody writes without holding the mutex
	dead       bool       // nothing can be written any more
	why        error      // of drop
	hint       int        // size of the last buffer that was written
	turn       int64      // the state in which replies were counted
	replies    int        // sent in it
	several    bool       // in the turn before, there was more than one
	flushTimer *time.Timer
	flushSet   bool
	room       chan struct{} // closed when bytes have left; nil if nobody waits
	late       []byte        // the latest ping that waits for its pong
	isLate     bool
	pings      []*ping // of Conn.Ping, without an answer yet
	pingID     uint64
	clock      watchdog
	budget     int           // bytes that the socket under TLS takes without waiting
	deadline   time.Duration // when to renew the deadline of such writes; 0: none is set
	stats      Stats         // of what goes out

	// The following belong to whoever writes: who holds the mutex, or who has set writing.
	sendFD  func(fd uintptr) bool
	a, b    []byte
	wait    bool
	sent    int
	sendErr error
}

func (o *outbox) init(sock net.Conn, mask bool, l *Limits, cancel func(error)) {
	o.sock, o.mask, o.limits, o.cancel, o.start = sock, mask, l, cancel, time.Now()
	o.state.Store(outside)
	if o.raw = plainSocket(sock); o.raw != nil {
		o.under = o.raw
	} else {
		o.under = plainSocket(innermost(sock))
	}
	if t, ok := sock.(*tls.Conn); ok && plainSocket(t.NetConn()) != nil {
		o.tls = true
	}
}

func (o *outbox) now() time.Duration { return time.Since(o.start) }

// outgoing is a data frame to be queued.
type outgoing struct {
	b0    byte   // 0: p is whole frames already
	p     []byte // the payload
	count int    // of messages
	bytes int    // of the messages, before compression
}

// send queues frames, which leave together. waited is how long they have waited for room already.
func (o *outbox) send(fs []outgoing, full admission, waited time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.admit(full, &waited); err != nil {
		return err
	}
	o.latePong() // its ping came before
	n := 0
	for i := range fs {
		n += len(fs[i].p)
	}
	o.replied()
	switch {
	case n < large:
		for i := range fs {
			o.frame(fs[i].b0, fs[i].p)
		}
		o.kick()
	case len(fs) == 1 && o.canSendDirect() && o.urgent(n):
		o.sendDirect(fs[0].b0, fs[0].p)
	default:
		o.mu.Unlock()
		f := getBuffer(maxHeader*len(fs) + n) // outside of the mutex
		for i := range fs {
			f.b = appendFrame(f.b, fs[i].b0, fs[i].p, o.mask)
		}
		o.mu.Lock()
		if err := o.admit(full, &waited); err != nil {
			f.free()
			return err
		}
		o.push(f)
		o.kick()
	}
	for i := range fs {
		o.stats.MessagesOut += int64(fs[i].count)
		o.stats.BytesOut += int64(fs[i].bytes)
	}
	return nil
}

// canSendDirect reports whether sendDirect may be called.
func (o *outbox) canSendDirect() bool {
	alone := o.head == nil || o.head == o.tail && len(o.head.b)+maxHeader <= oneWrite
	return o.raw != nil && !o.mask && !o.writing && !o.dead && alone
}

// admit returns an error if nothing can be queued. While it waits for room it releases the mutex.
func (o *outbox) admit(full admission, waited *time.Duration) error {
	if o.size >= o.limits.SendBuffer && full != anyRoom && !o.closed.Load() {
		if full == tryRoom || !o.waitForRoom(nil, waited) {
			return ErrBufferFull
		}
	}
	if o.closed.Load() {
		return errClosed
	}
	return nil
}

// hasRoom is admit for a message that has yet to be compressed.
func (o *outbox) hasRoom(full admission) (waited time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	err = o.admit(full, &waited)
	return waited, err
}

// awaitRoom waits for room as send does, or until stop is closed.
func (o *outbox) awaitRoom(stop <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waitForRoom(stop, new(time.Duration))
}

// waitForRoom waits for what is left of the write timeout, or until stop is closed, and reports whether there is room.
func (o *outbox) waitForRoom(stop <-chan struct{}, waited *time.Duration) bool {
	o.flush()
	begin, t := o.now(), time.NewTimer(o.limits.WriteTimeout-*waited)
	defer func() {
		t.Stop()
		*waited += o.now() - begin
	}()
	for o.size >= o.limits.SendBuffer && !o.closed.Load() {
		if !o.waitForWrite(t.C, stop) {
			return o.size < o.limits.SendBuffer
		}
	}
	return true
}

// waitForWrite waits until bytes have left, and reports false if timeout or stop came first.
func (o *outbox) waitForWrite(timeout <-chan time.Time, stop <-chan struct{}) bool {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	room := o.room
	o.mu.Unlock()
	defer o.mu.Lock()
	select {
	case <-room:
		return true
	case <-timeout:
	case <-stop:
	}
	return false
}

// wake wakes those who wait for bytes to leave.
func (o *outbox) wake() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// buffered returns how many bytes were sent and not yet written.
func (o *outbox) buffered() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// closing reports whether a Close frame is queued, or nothing can be written any more.
func (o *outbox) closing() bool { return o.closed.Load() }

// ending reports whether nothing can be sent any more.
func (o *outbox) ending() bool { return o.closed.Load() }

// frame appends a small frame to the queue.
func (o *outbox) frame(b0 byte, p []byte) {
	t := o.open(maxHeader + len(p))
	n := len(t.b)
	t.b = appendFrame(t.b, b0, p, o.mask)
	o.size += len(t.b) - n
}

// open returns the last buffer of the queue, with room for n bytes.
func (o *outbox) open(n int) *buffer {
	switch {
	case o.tail == nil:
		o.push(getBuffer(max(n, o.hint)))
	case len(o.tail.b)+n > oneWrite:
		o.push(getBuffer(n))
	case cap(o.tail.b)-len(o.tail.b) < n && o.head == o.tail:
		o.tail = o.tail.grown(n)
		o.head = o.tail
	case cap(o.tail.b)-len(o.tail.b) < n:
		o.push(getBuffer(2 * cap(o.tail.b)))
	}
	return o.tail
}

// push appends f, which holds whole frames, to the queue.
func (o *outbox) push(f *buffer) {
	if o.tail == nil {
		o.head = f
		o.queued.Store(true)
	} else {
		o.tail.next = f
	}
	o.tail = f
	o.size += len(f.b)
}

// pop takes the first buffer out of the queue.
func (o *outbox) pop() *buffer {
	f := o.head
	if o.head = f.next; o.head == nil {
		o.tail = nil
		o.queued.Store(false)
	}
	f.next = nil
	return f
}

// unpop puts f back.
func (o *outbox) unpop(f *buffer) {
	f.next = o.head
	if o.head = f; o.tail == nil {
		o.tail = f
		o.queued.Store(true)
	}
}

// pong answers a ping (RFC 6455, section 5.5.3). While something is being written it keeps
// the latest ping, and answers it later. more says whether there is more input at hand.
func (o *outbox) pong(p []byte, more bool) {
	if more {
		o.state.Store(parsing)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed.Load():
	case o.writing:
		o.late, o.isLate = append(o.late[:0], p...), true
	default:
		o.replied()
		o.frame(fin|opPong, p)
		o.kick()
	}
}

// latePong queues the pong that had to wait.
func (o *outbox) latePong() {
	if o.isLate && !o.closed.Load() {
		o.frame(fin|opPong, o.late)
		o.late, o.isLate = nil, false
	}
}

// close queues a Close frame, and reports whether it is the first. Nothing is queued after it.
func (o *outbox) close(code websocket.StatusCode, reason string) bool {
	p := make([]byte, 2, maxControl)
	binary.BigEndian.PutUint16(p, uint16(code))
	return o.closeWith(append(p, reason...))
}

func (o *outbox) closeWith(p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed.Load() {
		return false
	}
	o.latePong() // its ping came before
	o.replied()
	o.frame(fin|opClose, p)
	o.closed.Store(true)
	o.wake()
	o.kick()
	return true
}

// idle is called before the connection's goroutine waits for input. It writes what was
// queued before; whoever queues something later writes it.
func (o *outbox) idle() {
	o.state.Store(int64(o.now()) + 1)
	if o.queued.Load() {
		o.mu.Lock()
		o.flush()
		o.mu.Unlock()
	}
}

// callback is called before a callback. more says whether there is more input at hand.
func (o *outbox) callback(more bool) {
	if more {
		o.state.Store(between)
	} else {
		o.turns++
		o.state.Store(between - o.turns)
	}
}

// urgent reports whether the queue, with n bytes more, leaves at once (S2).
func (o *outbox) urgent(n int) bool {
	switch s := o.state.Load(); {
	case s > 0 || s == outside || o.size+n > batch:
		return true
	case s < between:
		return s == o.turn && o.replies == 1 && !o.several
	}
	return false
}

// replied counts a reply that is about to be queued in a callback for the last of the input.
func (o *outbox) replied() {
	if s := o.state.Load(); outside < s && s < between {
		if s != o.turn {
			o.turn, o.several, o.replies = s, o.replies > 1, 0
		}
		o.replies++
	}
}

// kick makes sure that the queue leaves in time.
func (o *outbox) kick() {
	switch {
	case o.urgent(0):
		o.flush()
	case o.flushSet || o.writing:
	case o.flushTimer == nil:
		o.flushSet = true
		o.flushTimer = time.AfterFunc(batchTime, func() {
			o.mu.Lock()
			o.flushSet = false
			o.flush()
			o.mu.Unlock()
		})
	default:
		o.flushSet = true
		o.flushTimer.Reset(batchTime)
	}
}
