//go:build !js

package ws

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// flush begins to write the queue, without waiting: a plain socket takes what it can
// at once, and a goroutine that ends with the queue writes the rest.
func (o *outbox) flush() {
	if o.writing || o.head == nil {
		return
	}
	if o.flushSet && o.flushTimer.Stop() {
		o.flushSet = false
	}
	if o.dead {
		o.discard()
		return
	}
	if f := o.head; o.raw != nil || o.fits(f) {
		n, err := o.writeNow(f.b[f.off:])
		if err != nil {
			o.die()
			return
		}
		f.off += n
		o.wrote(n)
		if f.off == len(f.b) {
			o.hint = f.off
			o.pop().free()
		}
		if o.head == nil {
			o.emptied()
			return
		}
	}
	o.handOver()
}

// fits reports whether TLS certainly takes the whole queue, f, without waiting. The socket under it
// said how much room it has; budget is that, less what was written since, with TLS's and the system's overhead.
func (o *outbox) fits(f *buffer) bool {
	if !o.tls || f.next != nil || len(f.b)-f.off > piece {
		return false
	}
	cost := 2*(len(f.b)-f.off) + 2048
	if o.budget < cost {
		o.under.Control(func(fd uintptr) { o.budget = freeRoom(fd) })
	}
	if o.budget < cost {
		return false
	}
	o.budget -= cost
	return true
}

// writeNow writes p without waiting, or as much of it as a plain socket takes.
func (o *outbox) writeNow(p []byte) (int, error) {
	if o.raw != nil {
		return o.write(p, nil, false)
	}
	if now := o.now(); now > o.deadline { // in case the system is out of memory all the same
		o.deadline = now + o.limits.WriteTimeout/2
		o.sock.SetWriteDeadline(time.Now().Add(o.limits.WriteTimeout))
	}
	return o.sock.Write(p)
}

// handOver starts a goroutine that writes the queue and may wait.
func (o *outbox) handOver() {
	o.writing, o.budget = true, 0
	if o.deadline > 0 {
		o.deadline = 0
		o.sock.SetWriteDeadline(time.Time{})
	}
	o.clock.progress(o)
	go o.drain()
}

// sendDirect writes the queue and then p as a frame, without holding the mutex. It
// copies only what does not leave at once.
func (o *outbox) sendDirect(b0 byte, p []byte) {
	t, n := o.open(maxHeader), len(p) // the only one in the queue
	if b0 != 0 {
		at := len(t.b)
		t.b, _ = appendHeader(t.b, b0, n, false)
		n += len(t.b) - at
	}
	o.size += n
	f := o.pop()
	o.writing, o.clock.moved = true, o.now()
	o.mu.Unlock()
	head, written := f.b[f.off:], 0
	var err error
	for len(head)+len(p) > 0 {
		if n, err = o.write(head, p, false); n == 0 || err != nil {
			break
		}
		k := min(n, len(head))
		head, p, written = head[k:], p[n-k:], written+n
	}
	var rest *buffer
	if len(head)+len(p) > 0 && err == nil {
		rest = getBuffer(len(head) + len(p))
		rest.b = append(append(rest.b, head...), p...)
	}
	f.free()
	o.mu.Lock()
	o.wrote(written)
	o.writing = false
	if rest != nil {
		o.unpop(rest)
	}
	switch {
	case err != nil:
		o.die()
	case o.head != nil:
		o.handOver()
	default:
		o.emptied()
	}
}

// wrote counts n bytes that have left.
func (o *outbox) wrote(n int) {
	if n > 0 {
		o.size -= n
		o.stats.WireOut += int64(n)
		o.wake()
	}
}

// emptied is called when the whole queue has been written.
func (o *outbox) emptied() {
	if o.isLate {
		o.latePong()
		if o.flush(); o.head != nil || o.writing {
			return
		}
	}
	if o.closed.Load() {
		o.clock.closeWritten(o)
	}
}

// drain writes the queue, and waits for the peer where it must.
func (o *outbox) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.head != nil && !o.dead {
		o.latePong()
		f := o.pop()
		o.mu.Unlock()
		err := o.writeAll(f.b[f.off:])
		f.free()
		o.mu.Lock()
		if err != nil {
			o.die()
		}
	}
	o.writing = false
	if o.dead {
		o.discard()
	} else {
		o.emptied()
	}
	o.wake()
}

// writeAll writes p, and waits for the peer where it must. The watchdog sees its progress.
func (o *outbox) writeAll(p []byte) error {
	for len(p) > 0 {
		var n int
		var err error
		if o.raw != nil {
			n, err = o.write(p, nil, true)
		} else {
			n, err = o.sock.Write(p[:min(piece, len(p))])
		}
		p = p[n:]
		o.mu.Lock()
		o.wrote(n)
		w := &o.clock
		if n > 0 {
			w.moved = o.now()
			if w.behind != 0 && o.stats.WireOut >= w.behind {
				w.wrote, w.behind = w.moved, 0
			}
		}
		nudged := w.nudged != 0 && errors.Is(err, os.ErrDeadlineExceeded)
		moved := w.moved >= w.nudged
		if nudged {
			w.nudged = 0
		}
		o.mu.Unlock()
		switch {
		case nudged && moved:
			o.sock.SetWriteDeadline(time.Time{})
		case nudged:
			o.drop(ErrWriteTimeout)
			return err
		case err != nil:
			return err
		}
	}
	return nil
}

// write writes a and then b to the plain socket, as much as one system call takes. With wait it waits until that is something.
func (o *outbox) write(a, b []byte, wait bool) (int, error) {
	if o.sendFD == nil {
		o.sendFD = func(fd uintptr) bool {
			if o.sent, o.sendErr = send(fd, o.a, o.b); o.sendErr == eagain {
				o.sent, o.sendErr = 0, nil
				return !o.wait
			}
			return true
		}
	}
	o.a = a[:min(len(a), oneWrite)]
	o.b, o.wait = b[:min(len(b), oneWrite-len(o.a))], wait
	err := o.raw.Write(o.sendFD)
	o.a, o.b = nil, nil
	if err != nil {
		return 0, err
	}
	return o.sent, o.sendErr
}

// die is called when a write has failed. The peer's Close frame may still be there to be read.
func (o *outbox) die() {
	if !o.dead {
		o.dead = true
		o.closed.Store(true)
		o.clock.closeWritten(o)
		if s := o.state.Load(); s < 0 && s != outside {
			o.clock.within(o, 0) // the callback may wait for the end of the Context
		}
	}
	o.discard()
}

// discard empties the queue.
func (o *outbox) discard() {
	for o.head != nil {
		o.pop().free()
	}
	o.size = 0
	o.wake()
}

// drop ends the connection at once. The first reason stands. Nothing else closes the
// socket while the connection's goroutine reads from it.
func (o *outbox) drop(why error) {
	o.mu.Lock()
	if o.why != nil {
		o.mu.Unlock()
		return
	}
	o.why, o.dead = why, true
	o.closed.Store(true)
	o.wake()
	o.stopTimers()
	o.mu.Unlock()
	o.cancel(why)
	closeNow(o.sock)
}

func (o *outbox) dropped() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why
}

// finish waits until the queue has been written, at most min(5 s, the write
// timeout), and reports whether all of it was. Nothing is queued from then on.
func (o *outbox) finish() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state.Store(outside)
	o.closed.Store(true)
	o.flush()
	if !o.writing {
		return !o.dead
	}
	t := time.NewTimer(min(closeGrace, o.limits.WriteTimeout))
	defer t.Stop()
	for o.writing && !o.dead {
		if !o.waitForWrite(t.C, nil) {
			o.mu.Unlock()
			o.drop(ErrWriteTimeout)
			o.mu.Lock()
		}
	}
	return !o.dead
}

// end stops what is left, once nothing is read any more and finish has returned.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = true
	if !o.writing {
		o.discard()
	}
	if o.why == nil {
		o.why = errClosed
		o.stopTimers()
	}
}

func (o *outbox) stopTimers() {
	if o.flushTimer != nil {
		o.flushTimer.Stop()
	}
	if o.clock.timer != nil {
		o.clock.timer.Stop()
	}
}

// plainSocket returns the raw connection of a socket that can be read and written without waiting; nil if c is none.
func plainSocket(c net.Conn) syscall.RawConn {
	if !canNotWait {
		return nil
	}
	var raw syscall.RawConn
	switch c := c.(type) {
	case *net.TCPConn:
		raw, _ = c.SyscallConn()
	case *net.UnixConn:
		raw, _ = c.SyscallConn()
	}
	return raw
}

// innermost returns the connection that c wraps, however often.
func innermost(c net.Conn) net.Conn {
	for range 8 { // one may return itself
		inner, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		next := inner.NetConn()
		if next == nil {
			break
		}
		c = next
	}
	return c
}

// closeNow closes the socket under c. Only a socket's Close is sure not to wait: a *tls.Conn's can, for 5 s.
func closeNow(c net.Conn) {
	switch c := innermost(c).(type) {
	case *net.TCPConn, *net.UnixConn:
		c.Close()
	default:
		go c.Close()
	}
}
