//go:build linux

package main

import "sync"

// hub is the idea of gorilla's and coder's chat examples: a queue and a writing
// goroutine for each member, and a member whose queue is full is dropped. A T is a message.
type hub[T any] struct {
	mu sync.Mutex
	// mu protects the following.
	members map[*member[T]]struct{}
}

type member[T any] struct {
	queue chan T
	drop  func()
}

func (h *hub[T]) join(queue int, drop func(), write func(T) error) *member[T] {
	m := &member[T]{make(chan T, queue), drop}
	h.mu.Lock()
	if h.members == nil {
		h.members = map[*member[T]]struct{}{}
	}
	h.members[m] = struct{}{}
	h.mu.Unlock()
	go func() {
		for v := range m.queue {
			if write(v) != nil {
				break
			}
		}
		drop()
	}()
	return m
}

func (h *hub[T]) leave(m *member[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(m)
}

// remove is called with mu held.
func (h *hub[T]) remove(m *member[T]) {
	if _, ok := h.members[m]; ok {
		delete(h.members, m)
		close(m.queue)
		go m.drop() // which may wait for a write that is stuck
	}
}

// take sends v to everybody, or to its sender alone.
func (h *hub[T]) take(from *member[T], v T, alone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if alone {
		h.send(from, v)
		return
	}
	for m := range h.members {
		h.send(m, v)
	}
}

// send is called with mu held.
func (h *hub[T]) send(m *member[T], v T) {
	if _, ok := h.members[m]; !ok {
		return
	}
	select {
	case m.queue <- v:
	default:
		h.remove(m)
	}
}
