//go:build !js

package ws

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

const (
	opText  = 1
	opClose = 8
	opPing  = 9
	fin     = 0x80
	masked  = 0x80

	batch      = 64 << 10 // bytes that wait while input is being worked on
	batchTime  = time.Millisecond
	piece      = 16 << 10 // bytes written at once to what is no plain socket
	pooled     = 256 << 10
	closeGrace = 5 * time.Second
)

// outbox is the write side of a connection. It stands between the engine and
// the socket: it frames what is not compressed itself, and takes whole frames
// out of what the engine writes, so that the two never mix. Nothing that calls it
// waits for the peer, but for send, for room.
//
// While the connection's goroutine works on input, what is queued waits, to
// leave together. The engine's Read is the sign that the input is used up.
type outbox struct {
	sock       net.Conn
	raw        syscall.RawConn // sock's, if it is a plain socket
	mask       bool            // we are the client
	compressAt int             // length from which the engine compresses messages; -1: never
	sendBuffer int
	timeout    time.Duration

	closed atomic.Bool // a Close frame is queued, or the outbox is dead

	mu        sync.Mutex // protects the following
	queue     *[]byte    // whole frames; nil while empty
	part      []byte     // the beginning of a frame of the engine's
	flying    int        // bytes that the drain goroutine took and has not written
	reserved  int        // bytes that the engine is compressing
	working   bool       // the connection's goroutine works on input
	draining  bool       // the drain goroutine runs
	dead      bool       // nothing can be written any more
	closeDone bool       // the Close frame was written: clock runs
	why       error      // of drop
	late      *time.Timer
	lateSet   bool
	heart     *time.Timer   // calls beat
	clock     *time.Timer   // drops the connection after a Close
	room      chan struct{} // closed when bytes have left, for those who wait; nil if none does
	reading   time.Time     // since when we wait for input; zero while working
	pinged    time.Time     // when the last ping was queued
	writeRaw  func(fd uintptr) bool
	rawBuf    []byte // in and out of writeRaw
	rawErr    error
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

func putBuffer(b *[]byte) {
	if cap(*b) <= pooled {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

func (o *outbox) init(sock net.Conn, l Limits) {
	o.sock = sock
	o.sendBuffer, o.timeout = l.SendBuffer, l.WriteTimeout
	o.compressAt = -1
	switch s := sock.(type) {
	case *net.TCPConn:
		o.raw, _ = s.SyscallConn()
	case *net.UnixConn:
		o.raw, _ = s.SyscallConn()
	}
}

// send queues a message.
func (o *outbox) send(engine *websocket.Conn, m Message, wait bool) error {
	o.mu.Lock()
	if o.size() >= o.sendBuffer && !(wait && o.waitForRoom()) && !o.closed.Load() {
		o.mu.Unlock()
		return ErrBufferFull
	}
	if o.closed.Load() {
		o.mu.Unlock()
		return errClosed
	}
	if o.compressAt >= 0 && len(m.Data) >= o.compressAt {
		o.reserved += len(m.Data)
		o.mu.Unlock()
		err := engine.Write(context.Background(), m.Type, m.Data)
		o.mu.Lock()
		o.reserved -= len(m.Data)
		o.mu.Unlock()
		if err != nil || o.closed.Load() { // it may have come after the Close frame
			return errClosed
		}
		return nil
	}
	o.frame(byte(m.Type), m.Data)
	o.kick()
	o.mu.Unlock()
	return nil
}

// waitForRoom waits at most the write timeout, and reports whether there is
// room. It is called, and returns, with the mutex held.
func (o *outbox) waitForRoom() bool {
	o.flush()
	t := time.NewTimer(o.timeout)
	defer t.Stop()
	for o.size() >= o.sendBuffer && !o.closed.Load() {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
			o.mu.Lock()
		case <-t.C:
			o.mu.Lock()
			return o.size() < o.sendBuffer
		}
	}
	return true
}

func (o *outbox) size() int {
	n := o.flying + o.reserved + len(o.part)
	if o.queue != nil {
		n += len(*o.queue)
	}
	return n
}

func (o *outbox) buffered() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size()
}

func (o *outbox) closing() bool { return o.closed.Load() }

// close queues a Close frame, and reports whether it is the first. Nothing is
// queued after it.
func (o *outbox) close(code websocket.StatusCode, reason string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed.Load() {
		return false
	}
	var b [125]byte
	binary.BigEndian.PutUint16(b[:], uint16(code))
	n := 2 + copy(b[2:], reason)
	o.frame(opClose, b[:n])
	o.shut()
	return true
}

// shut is called when a Close frame has been queued.
func (o *outbox) shut() {
	o.closed.Store(true)
	o.wake()
	o.kick()
}

// startHeart starts the heartbeat: one timer, set anew when it fires and not
// when something comes.
func (o *outbox) startHeart(l Limits) {
	if l.PingInterval < 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.why == nil {
		o.heart = time.AfterFunc(l.PingInterval, func() { o.beat(l.PingInterval, l.PingTimeout) })
	}
}

// beat pings a peer that has been silent for the interval, and drops one that
// did not answer. Silence counts only while we wait for input, and once the
// ping has been written.
func (o *outbox) beat(interval, timeout time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed.Load() {
		return
	}
	wait := interval
	if !o.reading.IsZero() {
		now := time.Now()
		switch silence := now.Sub(o.reading); {
		case silence < interval:
			wait -= silence
		case !o.pinged.After(o.reading):
			o.pinged, wait = now, min(interval, timeout)
			o.frame(opPing, nil)
			o.kick()
		default:
			left := timeout - now.Sub(o.pinged)
			if left <= 0 && o.size() == 0 {
				o.dropLocked(ErrPingTimeout)
				return
			}
			if left > 0 {
				wait = min(interval, left)
			}
		}
	}
	o.heart.Reset(wait)
}

// frame appends a frame to the queue.
func (o *outbox) frame(op byte, p []byte) {
	if o.queue == nil {
		o.queue = buffers.Get().(*[]byte)
	}
	b := *o.queue
	var bit byte
	if o.mask {
		bit = masked
	}
	switch n := len(p); {
	case n < 126:
		b = append(b, fin|op, bit|byte(n))
	case n < 1<<16:
		b = append(b, fin|op, bit|126, byte(n>>8), byte(n))
	default:
		b = append(b, fin|op, bit|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !o.mask {
		b = append(b, p...)
	} else {
		var key [4]byte
		rand.Read(key[:])
		b = append(b, key[:]...)
		at := len(b)
		b = append(b, p...)
		xor(b[at:], key)
	}
	*o.queue = b
}

// xor masks or unmasks p (RFC 6455, section 5.3).
func xor(p []byte, key [4]byte) {
	k := binary.LittleEndian.Uint32(key[:])
	k64 := uint64(k)<<32 | uint64(k)
	if len(p) >= 1<<10 {
		var pad [256]byte
		for i := 0; i < len(pad); i += 8 {
			binary.LittleEndian.PutUint64(pad[i:], k64)
		}
		for len(p) >= len(pad) {
			subtle.XORBytes(p, p, pad[:])
			p = p[len(pad):]
		}
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^k64)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= key[i&3]
	}
}

// engineWrite takes what the engine writes: pongs, compressed messages, its
// own Close. It never fails, so that the engine reads on after a peer that
// only stopped reading, and finds its Close frame.
func (o *outbox) engineWrite(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.part) > 0 {
		o.part = append(o.part, p...)
		p = o.part
	}
	n := 0
	for {
		size, ok := frameSize(p[n:])
		if !ok || uint64(len(p)-n) < size {
			break
		}
		o.engineFrame(p[n : n+int(size)])
		n += int(size)
	}
	rest := p[n:]
	switch {
	case len(rest) > 0:
		o.part = append(o.part[:0], rest...)
	case cap(o.part) <= 256:
		o.part = o.part[:0]
	default:
		o.part = nil
	}
}

// engineFrame queues one whole frame of the engine's.
func (o *outbox) engineFrame(f []byte) {
	if o.closed.Load() {
		return
	}
	if f[0]&0xf == opClose {
		payload := append([]byte(nil), f[2:]...) // of at most 125 bytes
		if o.mask {
			payload = payload[4:]
			xor(payload, [4]byte(f[2:6]))
		}
		if len(payload) > 2 && !utf8.Valid(payload[2:]) {
			payload = []byte{1007 >> 8, 1007 & 0xff}
		}
		o.frame(opClose, payload)
		o.shut()
		return
	}
	if o.queue == nil {
		o.queue = buffers.Get().(*[]byte)
	}
	*o.queue = append(*o.queue, f...)
	o.kick()
}

// frameSize returns the size of the frame that b begins with, if it holds enough of the header to tell.
func frameSize(b []byte) (uint64, bool) {
	if len(b) < 2 {
		return 0, false
	}
	head, n := uint64(2), uint64(b[1]&0x7f)
	switch n {
	case 126:
		if len(b) < 4 {
			return 0, false
		}
		head, n = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if len(b) < 10 {
			return 0, false
		}
		head, n = 10, binary.BigEndian.Uint64(b[2:])
	}
	if b[1]&masked != 0 {
		head += 4
	}
	return head + n, true
}

// pongs returns an OnPingReceived that calls the user's. A peer that floods
// pings and reads nothing gets no pongs above a limit.
func pongs(c **Conn, onPing func(context.Context, []byte) bool) func(context.Context, []byte) bool {
	return func(ctx context.Context, p []byte) bool {
		return (onPing == nil || onPing(ctx, p)) && (*c).out.buffered() < (*c).out.sendBuffer+batch
	}
}

// idle is called before the connection's goroutine waits for input.
func (o *outbox) idle() {
	o.mu.Lock()
	o.working = false
	o.reading = time.Now()
	o.flush()
	o.mu.Unlock()
}

// busy is called when input has come.
func (o *outbox) busy() {
	o.mu.Lock()
	o.working = true
	o.reading = time.Time{}
	o.mu.Unlock()
}

// kick sees to it that what has been queued leaves in time.
func (o *outbox) kick() {
	if !o.working || o.queue == nil || len(*o.queue) > batch {
		o.flush()
		return
	}
	if o.lateSet || o.draining {
		return
	}
	o.lateSet = true
	if o.late == nil {
		o.late = time.AfterFunc(batchTime, func() {
			o.mu.Lock()
			o.lateSet = false
			o.flush()
			o.mu.Unlock()
		})
	} else {
		o.late.Reset(batchTime)
	}
}

// flush begins to write the queue and waits for nothing: a plain socket takes
// what it can at once, the rest is written by a goroutine that ends with the queue.
func (o *outbox) flush() {
	if o.draining || o.queue == nil {
		return
	}
	if o.lateSet && o.late.Stop() {
		o.lateSet = false
	}
	if o.dead {
		o.discard()
		return
	}
	if o.raw != nil {
		left, err := o.writeNow(*o.queue)
		if err != nil {
			o.die()
			return
		}
		o.moved()
		if len(left) == 0 {
			o.emptied()
			return
		}
		n := copy(*o.queue, left)
		*o.queue = (*o.queue)[:n]
	}
	o.draining = true
	go o.drain()
}

// emptied is called when the whole queue has been written.
func (o *outbox) emptied() {
	if o.queue != nil {
		putBuffer(o.queue)
		o.queue = nil
	}
	if o.closed.Load() {
		o.startClock()
	}
}

// moved wakes those who wait for room, after bytes have left.
func (o *outbox) moved() {
	if o.room != nil {
		o.wake()
	}
}

func (o *outbox) wake() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// drain writes the queue with waiting.
func (o *outbox) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.queue != nil && !o.dead {
		b := o.queue
		o.queue = nil
		o.flying = len(*b)
		o.mu.Unlock()
		err := o.write(*b)
		o.mu.Lock()
		o.flying = 0
		putBuffer(b)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				o.dropLocked(ErrWriteTimeout)
			}
			o.die()
		}
	}
	o.draining = false
	if !o.dead {
		o.sock.SetWriteDeadline(time.Time{})
		o.emptied()
	}
	o.wake()
}

// write writes b, each piece of which must make progress within the timeout.
func (o *outbox) write(b []byte) error {
	size := piece
	if o.raw != nil {
		size = batch
	}
	_, isTLS := o.sock.(*tls.Conn) // which is of no use after a timeout
	for len(b) > 0 {
		o.sock.SetWriteDeadline(time.Now().Add(o.timeout))
		n, err := o.sock.Write(b[:min(size, len(b))])
		if err != nil && (isTLS || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
		b = b[n:]
		o.mu.Lock()
		o.flying -= n
		o.moved()
		o.mu.Unlock()
	}
	return nil
}

// die is called when nothing can be written any more. The peer's Close frame
// may still be there to be read.
func (o *outbox) die() {
	o.dead = true
	o.closed.Store(true)
	o.discard()
	o.startClock()
}

func (o *outbox) discard() {
	if o.queue != nil {
		putBuffer(o.queue)
		o.queue = nil
	}
	o.wake()
}

// startClock gives the peer 5 s from now.
func (o *outbox) startClock() {
	if o.clock == nil && o.why == nil {
		o.clock = time.AfterFunc(closeGrace, func() { o.drop(errNoClose) })
	}
}

var errNoClose = errors.New("ws: the peer did not answer the Close frame within 5 s")

// drop ends the connection at once. The first reason stands.
func (o *outbox) drop(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropLocked(why)
}

func (o *outbox) dropLocked(why error) {
	if o.why != nil {
		return
	}
	o.why = why
	o.dead = true
	o.closed.Store(true)
	o.wake()
	o.stopTimers()
	// Not the Close of a *tls.Conn, which can wait for 5 s.
	sock := o.sock
	for {
		inner, ok := sock.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		sock = inner.NetConn()
	}
	sock.Close()
}

func (o *outbox) dropped() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why
}

// finish waits until the queue has been written, at most min(5 s, the write
// timeout), and reports whether all of it was.
func (o *outbox) finish() bool {
	t := time.NewTimer(min(closeGrace, o.timeout))
	defer t.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.working = false
	o.closed.Store(true)
	o.flush()
	for o.draining && !o.dead {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
			o.mu.Lock()
		case <-t.C:
			o.mu.Lock()
			o.dropLocked(ErrWriteTimeout)
		}
	}
	return !o.dead
}

// end is called when nothing is read any more and finish has returned.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = true
	o.discard()
	if o.why == nil {
		o.why = errClosed
		o.stopTimers()
	}
}

func (o *outbox) stopTimers() {
	if o.late != nil {
		o.late.Stop()
	}
	if o.clock != nil {
		o.clock.Stop()
	}
	if o.heart != nil {
		o.heart.Stop()
	}
}

// compressAt returns the length from which the engine compresses messages when
// extensions was agreed on (RFC 7692), and -1 if it compresses none.
func compressAt(extensions, noTakeover string, threshold int) int {
	switch {
	case extensions == "":
		return -1
	case threshold != 0:
		return threshold
	case strings.Contains(extensions, noTakeover):
		return 512
	}
	return 128
}
