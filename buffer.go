//go:build !js

package ws

import (
	"math/bits"
	"sync"
)

// buffer holds bytes on their way, and is one of a list.
type buffer struct {
	b    []byte
	off  int // how much of b has left already
	next *buffer
}

// pools has buffers of 1<<minBuffer to 1<<maxBuffer bytes, by size, so that a small
// need never takes a large buffer.
const (
	minBuffer = 12
	maxBuffer = 24
)

var pools [maxBuffer + 1]sync.Pool

// getBuffer returns an empty buffer with room for n bytes.
func getBuffer(n int) *buffer {
	class := max(minBuffer, bits.Len(uint(max(n, 1)-1)))
	if class > maxBuffer {
		return &buffer{b: make([]byte, 0, n)}
	}
	if b, ok := pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 1<<class)}
}

// free gives b back. nil is no buffer.
func (b *buffer) free() {
	if b == nil {
		return
	}
	if class := bits.Len(uint(cap(b.b))) - 1; minBuffer <= class && class <= maxBuffer {
		*b = buffer{b: b.b[:0]}
		pools[class].Put(b)
	}
}

// grown returns a buffer with what b holds and room for n bytes more. b is not to be used any more.
func (b *buffer) grown(n int) *buffer {
	if cap(b.b)-len(b.b) >= n {
		return b
	}
	more := getBuffer(max(2*cap(b.b), len(b.b)+n))
	more.b, more.off = append(more.b, b.b...), b.off
	b.free()
	return more
}
