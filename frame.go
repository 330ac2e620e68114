//go:build !js

package ws

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/coder/websocket"
)

// The first two bytes of a frame (RFC 6455, section 5.2).
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
	fin            = 0x80
	rsv1           = 0x40 // compressed (RFC 7692, section 6)
	masked         = 0x80

	maxHeader  = 14
	maxControl = 125
)

// frameHeader is the header of one frame.
type frameHeader struct {
	b0     byte
	size   int // of the header itself
	length uint64
	key    [4]byte
}

func (h *frameHeader) op() byte { return h.b0 & 0xf }

// parseHeader parses the header that b begins with. ok is false while b is too short for it.
func parseHeader(b []byte) (h frameHeader, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h.b0, h.size, h.length = b[0], 2, uint64(b[1]&0x7f)
	switch h.length {
	case 126:
		if h.size = 4; len(b) >= 4 {
			h.length = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case 127:
		if h.size = 10; len(b) >= 10 {
			h.length = binary.BigEndian.Uint64(b[2:])
		}
	}
	if b[1]&masked != 0 {
		if h.size += 4; len(b) >= h.size {
			h.key = [4]byte(b[h.size-4:])
		}
	}
	return h, len(b) >= h.size
}

// appendHeader appends the header of a frame of n bytes, and returns the key if it is to be masked.
func appendHeader(b []byte, b0 byte, n int, mask bool) ([]byte, [4]byte) {
	var bit byte
	if mask {
		bit = masked
	}
	switch {
	case n < 126:
		b = append(b, b0, bit|byte(n))
	case n < 1<<16:
		b = append(b, b0, bit|126, byte(n>>8), byte(n))
	default:
		b = append(b, b0, bit|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	var key [4]byte
	if mask {
		rand.Read(key[:])
		b = append(b, key[:]...)
	}
	return b, key
}

// appendFrame appends a whole frame; p alone, if b0 is 0: it is whole frames already.
func appendFrame(b []byte, b0 byte, p []byte, mask bool) []byte {
	if b0 == 0 {
		return append(b, p...)
	}
	b, key := appendHeader(b, b0, len(p), mask)
	at := len(b)
	b = append(b, p...)
	if mask {
		xor(b[at:], key)
	}
	return b
}

// check says what is wrong with a frame that begins with b0 and b1, as far as
// these tell (RFC 6455, sections 5.1 to 5.5). inMessage is whether its message
// has begun, compression whether RSV1 was agreed on, client whether we are the client.
func check(b0, b1 byte, inMessage, compression, client bool) error {
	op := b0 & 0xf
	reserved := b0 & 0x70
	if compression && (op == opText || op == opBinary) {
		reserved &^= rsv1
	}
	switch {
	case reserved != 0:
		return violation("the peer set a reserved bit")
	case client && b1&masked != 0:
		return violation("the server masked a frame")
	case !client && b1&masked == 0:
		return violation("the client did not mask a frame")
	}
	switch op {
	case opText, opBinary:
		if inMessage {
			return violation("the peer began a message inside another")
		}
	case opContinuation:
		if !inMessage {
			return violation("the peer continued a message that it did not begin")
		}
	case opClose, opPing, opPong:
		if b0&fin == 0 {
			return violation("the peer fragmented a control frame")
		}
		if b1&0x7f > maxControl {
			return violation("the peer sent a control frame of more than 125 bytes")
		}
	default:
		return violation("the peer used a reserved opcode")
	}
	return nil
}

func violation(s string) error {
	return &peerError{websocket.StatusProtocolError, errors.New(s)}
}

// parseClose parses the payload of a Close frame (RFC 6455, section 5.5.1).
func parseClose(p []byte) (websocket.CloseError, error) {
	switch len(p) {
	case 0:
		return websocket.CloseError{Code: websocket.StatusNoStatusRcvd}, nil
	case 1:
		return websocket.CloseError{}, violation("the peer sent a Close frame of one byte")
	}
	ce := websocket.CloseError{Code: websocket.StatusCode(binary.BigEndian.Uint16(p)), Reason: string(p[2:])}
	if !sendable(ce.Code) {
		return ce, violation("the peer sent a close code that must not be sent")
	}
	return ce, nil
}

// xor masks or unmasks p (RFC 6455, section 5.3).
func xor(p []byte, key [4]byte) {
	k := binary.LittleEndian.Uint32(key[:])
	k64 := uint64(k)<<32 | uint64(k)
	if len(p) >= 1<<10 {
		var pad [512]byte
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

// rotate returns the key for what follows n bytes.
func rotate(key [4]byte, n int) [4]byte {
	return [4]byte{key[n&3], key[(n+1)&3], key[(n+2)&3], key[(n+3)&3]}
}
