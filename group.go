package ws

import (
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Group is a set of connections: a room, say. Its zero value is empty and ready;
// a Group must not be copied after first use. A connection may be in many groups, and leaves them
// by itself when it ends, before its OnClose. Its methods may be called from
// any goroutine.
type Group struct {
	mu      sync.Mutex // protects the following; a Conn's mu comes before it
	members map[*Conn]struct{}
	list    []*Conn // of members, never changed; nil if it is out of date
}

// Add adds c, unless it has ended already.
func (g *Group) Add(c *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	if c.groups == nil {
		c.groups = make(map[*Group]struct{})
	}
	c.groups[g] = struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members == nil {
		g.members = make(map[*Conn]struct{})
	}
	g.members[c] = struct{}{}
	g.list = nil
}

// Remove removes c, if it is a member.
func (g *Group) Remove(c *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.groups, g)
	g.remove(c)
}

// remove needs c.mu to be held.
func (g *Group) remove(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.members, c)
	g.list = nil
}

// Len returns the number of members.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// All returns the members at the moment when the iteration begins, in no particular order.
func (g *Group) All() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for _, c := range g.snapshot() {
			if !yield(c) {
				return
			}
		}
	}
}

// Broadcast sends m to every member but those in except, and waits for none: a
// member whose send buffer is full is dropped, with OnError([ErrBufferFull])
// and OnClose{1006}; the others don't notice. m is framed once for all, and compressed once for all
// members without context takeover. It returns an error only if m's type is neither text nor binary.
func (g *Group) Broadcast(m Message, except ...*Conn) error {
	return g.BroadcastAll([]Message{m}, except...)
}

// BroadcastAll is Broadcast of several messages, which leave together: in one write to a member.
func (g *Group) BroadcastAll(ms []Message, except ...*Conn) error {
	for _, m := range ms {
		if err := checkType(m); err != nil {
			return err
		}
	}
	if len(ms) == 0 {
		return nil
	}
	s, members := &shared{ms: ms}, g.snapshot()
	var next atomic.Int64 // of the members
	work := func() {
		for {
			to := int(next.Add(share))
			if to-share >= len(members) {
				return
			}
			s.send(members[to-share:min(to, len(members))], except)
		}
	}
	// What costs is the system's calls: they run on all processors.
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(members)/share) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return nil
}

const share = 32 // members that a goroutine takes at once

func (s *shared) send(members, except []*Conn) {
	for _, c := range members {
		if !slices.Contains(except, c) && c.share(s) == ErrBufferFull {
			c.out.drop(ErrBufferFull)
		}
	}
}

func (g *Group) snapshot() []*Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.list == nil {
		g.list = make([]*Conn, 0, len(g.members))
		for c := range g.members {
			g.list = append(g.list, c)
		}
	}
	return g.list
}
