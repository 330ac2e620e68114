//go:build !js

package ws

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
)

const closeGrace = 5 * time.Second // for the peer to answer a Close frame

var (
	errNoClose = errors.New("ws: the peer did not answer the Close frame within 5 s")
	errGone    = errors.New("ws: the peer went away while a callback ran")
	errWorking = errors.New("ws: the connection was closed 5 s ago, and a callback still runs")
)

// watchdog is the one timer that a connection always has. It is set again when it fires, not
// whenever something happens. outbox.mu protects it; its times are those of outbox.now.
type watchdog struct {
	timer  *time.Timer
	at     time.Duration // when it fires
	moved  time.Duration // when the last bytes left, while somebody writes
	taken  int64         // bytes that the peer had acknowledged when the system was last asked
	pinged time.Duration // when the last ping was queued; 0: never
	behind int64         // stats.WireOut once it is written, if that takes long; 0: it has been
	wrote  time.Duration // when that was
	timed  bool          // its pong tells the round trip
	nudged time.Duration // when a long write was interrupted to see its progress; 0: it was not
	closed bool          // the Close frame was written
	since  time.Duration // when that was, or when the last callback after it ended
}

// watch starts the heartbeat.
func (o *outbox) watch() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.limits.PingInterval > 0 {
		o.clock.within(o, o.limits.PingInterval)
	}
}

// within makes the timer fire after d at the latest.
func (w *watchdog) within(o *outbox, d time.Duration) {
	at := o.now() + d
	switch {
	case o.why != nil || w.timer != nil && w.at != 0 && w.at <= at:
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(d, o.tick)
	default:
		w.timer.Reset(d)
	}
	w.at = at
}

// progress is called when somebody begins a write that may wait.
func (w *watchdog) progress(o *outbox) {
	w.moved = o.now()
	if unsent, ok := o.unsent(); ok {
		w.taken = o.stats.WireOut - int64(unsent)
	}
	w.within(o, o.limits.WriteTimeout)
}

// closeWritten is called when the Close frame was written, or nothing can be written any more.
func (w *watchdog) closeWritten(o *outbox) {
	if !w.closed {
		w.closed, w.since = true, o.now()
		w.within(o, closeGrace)
	}
}

// worked is called when a callback has ended, on a connection that is closing.
func (o *outbox) worked() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state.Store(parsing)
	if o.clock.closed {
		o.clock.since = o.now()
		o.clock.within(o, closeGrace)
	}
}

// tick is called when the timer fires.
func (o *outbox) tick() {
	o.mu.Lock()
	w, now, inCallback := &o.clock, o.now(), false
	w.at = 0
	if s := o.state.Load(); s < 0 && s != outside {
		inCallback = true
	}
	next, why := w.judgeWrites(o, now)
	if why == nil {
		var d time.Duration
		d, why = w.judgeSilence(o, now, inCallback)
		next = min(next, d)
	}
	if why == nil {
		var d time.Duration
		d, why = w.judgeClose(now, inCallback)
		next = min(next, d)
	}
	gone := inCallback && (o.dead || o.hungUp())
	if why == ErrWriteTimeout {
		w.within(o, o.limits.WriteTimeout)
	} else if why == nil && next < never {
		w.within(o, next)
	}
	working := inCallback && w.closed && now-w.since >= closeGrace
	nudge := why == ErrWriteTimeout && w.nudge(o, now)
	o.mu.Unlock()
	switch {
	case nudge && o.sock.SetWriteDeadline(time.Unix(1, 0)) == nil:
	case why != nil:
		o.drop(why)
	case gone:
		o.cancel(errGone)
	case working:
		o.cancel(errWorking)
	}
}

const never = time.Duration(1<<63 - 1)

// judgeWrites drops a peer that takes nothing (S3), and says when to ask again.
func (w *watchdog) judgeWrites(o *outbox, now time.Duration) (time.Duration, error) {
	if !o.writing {
		return never, nil
	}
	timeout := o.limits.WriteTimeout
	wait := timeout
	if unsent, ok := o.unsent(); ok {
		if taken := o.stats.WireOut - int64(unsent); taken > w.taken {
			w.taken, w.moved = taken, now
		}
		wait = timeout / 4
	}
	left := w.moved + timeout - now
	if left <= 0 {
		return 0, ErrWriteTimeout
	}
	return min(left, wait), nil
}

// nudge reports whether the write under way may be interrupted, to see how much of it was
// taken. A plain socket tells without that, and a *tls.Conn is of no use after it.
func (w *watchdog) nudge(o *outbox, now time.Duration) bool {
	if o.under != nil || w.nudged != 0 {
		return false
	}
	w.nudged = now
	return true
}

// judgeSilence pings a peer that has been silent for the interval, and drops one that did not
// answer (K1). Silence counts only while we wait for input, and once the ping has been written.
// During a callback it only pings.
func (w *watchdog) judgeSilence(o *outbox, now time.Duration, inCallback bool) (time.Duration, error) {
	interval, timeout := o.limits.PingInterval, o.limits.PingTimeout
	state := o.state.Load()
	since := time.Duration(state) - 1 // if it waits
	switch {
	case interval < 0:
		return never, nil
	case o.closed.Load():
		return interval, nil
	case inCallback:
		if left := w.pinged + interval - now; w.pinged != 0 && left > 0 {
			return left, nil
		}
		w.ping(o, now)
		w.timed = false
		return interval, nil
	case state <= parsing:
		return interval, nil
	case now-since < interval:
		return interval - (now - since), nil
	case w.pinged <= since:
		w.ping(o, now)
		return min(interval, timeout), nil
	}
	left := max(w.pinged, w.wrote) + timeout - now
	if left <= 0 && o.size == 0 {
		return 0, ErrPingTimeout
	}
	if left <= 0 {
		return interval, nil
	}
	return min(interval, left), nil
}

func (w *watchdog) ping(o *outbox, now time.Duration) {
	w.pinged, w.timed = now, true
	o.frame(fin|opPing, nil)
	o.flush()
	if w.behind = 0; o.size > 0 {
		w.behind = o.stats.WireOut + int64(o.size)
	}
}

// judgeClose drops a peer that did not answer our Close frame in 5 s of reading (S4).
func (w *watchdog) judgeClose(now time.Duration, inCallback bool) (time.Duration, error) {
	switch left := w.since + closeGrace - now; {
	case !w.closed:
		return never, nil
	case left > 0:
		return left, nil
	case inCallback:
		return closeGrace, nil
	default:
		return 0, errNoClose
	}
}

// unsent returns how many bytes the system still holds for the peer. ok is false if it does not tell.
func (o *outbox) unsent() (n int, ok bool) {
	if o.under != nil {
		o.under.Control(func(fd uintptr) { n, ok = unsent(fd) })
	}
	return n, ok
}

// hungUp reports whether the peer is known to have hung up.
func (o *outbox) hungUp() (is bool) {
	if o.under != nil {
		if err := o.under.Control(func(fd uintptr) { is = hungUp(fd) }); err != nil {
			return true
		}
	}
	return is
}

// ping is a Conn.Ping that waits for its pong.
type ping struct {
	id   string
	sent time.Duration
	pong chan time.Duration // has room for one
}

// Ping sends a ping (RFC 6455, section 5.5.2), waits for its pong and returns the
// time between them. It must not be called in a callback of the connection itself, because
// no pong is read until that returns. It returns ctx's error when ctx ends first, and one
// that is [net.ErrClosed] when the connection does. In the browser it always returns an error.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	o := &c.out
	o.mu.Lock()
	if o.closed.Load() {
		o.mu.Unlock()
		return 0, errClosed
	}
	o.pingID++
	p := &ping{strconv.FormatUint(o.pingID, 36), o.now(), make(chan time.Duration, 1)}
	o.pings = append(o.pings, p)
	o.frame(fin|opPing, []byte(p.id))
	o.flush()
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.pings = slices.DeleteFunc(o.pings, func(q *ping) bool { return q == p })
	}()
	select {
	case d := <-p.pong:
		return d, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.ctx.Done():
		return 0, errClosed
	}
}

// ponged is called when a pong has come.
func (o *outbox) ponged(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(p) == 0 && o.clock.timed {
		o.clock.timed = false
		o.stats.RTT = o.now() - o.clock.pinged
	}
	for _, q := range o.pings {
		if q.id == string(p) {
			o.stats.RTT = o.now() - q.sent
			q.pong <- o.stats.RTT
			o.pings = slices.DeleteFunc(o.pings, func(p *ping) bool { return p == q })
			break
		}
	}
}
