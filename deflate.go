//go:build !js

package ws

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"
)

// compressor compresses what one end sends. Without context takeover nothing is kept between
// messages. With it a connection keeps at most 12 KiB from its first compressed message
// on: the last 4 to 8 KiB that were sent, and a table of 4 KiB.
type compressor struct {
	bits    int      // of the window
	takes   bool     // context takeover
	history *matcher // with context takeover
}

// compressor returns the compressor of one end; nil: nothing is compressed.
func (x *extension) compressor(client bool) *compressor {
	if x == nil {
		return nil
	}
	fresh, bits := x.serverFresh, x.serverBits
	if client {
		fresh, bits = x.clientFresh, x.clientBits
	}
	if bits == 0 {
		bits = 15
	}
	return &compressor{bits: bits, takes: !fresh}
}

func (k *compressor) takeover() bool { return k != nil && k.takes }

// window returns the size of the window. Compressors without context takeover that have the
// same make the same of a message.
func (k *compressor) window() int { return 1 << k.bits }

// append appends p to dst, compressed, without the tail (RFC 7692, section 7.2.1). Without
// context takeover it may be called from any goroutine at any time. With it messages are
// to be sent in the order in which they were compressed.
func (k *compressor) append(dst, p []byte) []byte {
	if !k.takes {
		if len(p) > shortMessage {
			return k.appendLong(dst, p, nil)
		}
		m := matchers.Get().(*matcher)
		dst = m.compress(dst, p, 0, k.window())
		m.move(len(p))
		matchers.Put(m)
		return dst
	}
	if k.history == nil {
		k.history = newMatcher()
	}
	m := k.history
	if len(p) > shortMessage {
		dst = k.appendLong(dst, p, m.data[max(0, len(m.data)-k.window()):])
		m.index(m.add(p))
		return dst
	}
	from := m.add(p)
	return m.compress(dst, m.data, from, k.window())
}

func (k *compressor) appendLong(dst, p, dict []byte) []byte {
	w, ok := writers[k.bits].Get().(*flateWriter)
	if !ok {
		w = &flateWriter{}
		if k.bits == 15 {
			w.flate, _ = flate.NewWriter(w, flate.BestSpeed)
		} else {
			w.flate, _ = flate.NewWriterWindow(w, k.window())
		}
	}
	w.dst = dst
	w.flate.ResetDict(w, dict)
	w.flate.Write(p)
	w.flate.Flush()
	dst, w.dst = w.dst, nil
	writers[k.bits].Put(w)
	return dst[:len(dst)-len(tail)]
}

var writers [16]sync.Pool // by the bits of their windows

// flateWriter appends to dst what its flate.Writer makes.
type flateWriter struct {
	flate *flate.Writer
	dst   []byte
}

func (w *flateWriter) Write(p []byte) (int, error) {
	w.dst = append(w.dst, p...)
	return len(p), nil
}

// Short messages are compressed here, with the fixed codes (RFC 1951, section 3.2.6). Codes of
// their own would cost a flate.Writer more than a microsecond, and the peer's reader another, to
// save a message of 1 KiB a fifth of its size.
const (
	shortMessage = 1 << 10
	historySize  = 8 << 10
	tableBits    = 10
)

// matcher finds what a message repeats.
type matcher struct {
	data  []byte                 // with context takeover: what was sent last
	base  uint32                 // the position of its beginning, or of the message's without
	table [1 << tableBits]uint32 // positions, by what is there; below base: none
}

var matchers = sync.Pool{New: func() any { return newMatcher() }}

func newMatcher() *matcher { return &matcher{base: 1} }

func (m *matcher) slot(v uint32) *uint32 { return &m.table[v*0x9e3779b1>>(32-tableBits)] }

// move moves the beginning on by n.
func (m *matcher) move(n int) {
	if m.base += uint32(n); m.base > 1<<31 {
		clear(m.table[:])
		m.base = 1
	}
}

// add puts p at the end of data, and returns where it begins there.
func (m *matcher) add(p []byte) (from int) {
	n := len(m.data) + len(p)
	m.data = slide(m.data, p, historySize/2, historySize)
	m.move(n - len(m.data))
	return max(0, len(m.data)-len(p))
}

// index makes data[from:] be found.
func (m *matcher) index(from int) {
	for i := from; i+4 <= len(m.data); i += 2 {
		*m.slot(binary.LittleEndian.Uint32(m.data[i:])) = m.base + uint32(i)
	}
}

// compress appends src[from:] to dst, as a block and the beginning of an empty stored one.
func (m *matcher) compress(dst, src []byte, from, window int) []byte {
	start := len(dst)
	dst = slices.Grow(dst, (len(src)-from)*9/8+24)
	out, at := dst[:cap(dst)], start
	w, n := uint64(2), uint(3) // the header: fixed codes, not the last block
	for i := from; i < len(src); {
		binary.LittleEndian.PutUint64(out[at:], w)
		at, w, n = at+int(n>>3), w>>(n&^7), n&7
		if i+4 <= len(src) {
			v := binary.LittleEndian.Uint32(src[i:])
			p := m.slot(v)
			old := int(*p) - int(m.base)
			*p = m.base + uint32(i)
			if old >= 0 && i-old <= window && binary.LittleEndian.Uint32(src[old:]) == v {
				length := 4
				for i+length < len(src) && length < 258 && src[old+length] == src[i+length] {
					length++
				}
				code, k := reference(length, i-old)
				w, n = w|code<<n, n+k
				i += length
				continue
			}
		}
		code, k := literal(src[i])
		w, n = w|code<<n, n+k
		i++
	}
	n += 7 + 3 // the end of the block, and the header of a stored one
	binary.LittleEndian.PutUint64(out[at:], w)
	at += int(n+7) >> 3
	if p := src[from:]; at-start > len(p)+5 { // stored
		dst = append(dst[:start], 0, byte(len(p)), byte(len(p)>>8), ^byte(len(p)), ^byte(len(p)>>8))
		return append(append(dst, p...), 0)
	}
	return out[:at]
}

// literal returns the fixed code of a byte, from the lowest bit on, and its length.
func literal(v byte) (uint64, uint) {
	if v < 144 {
		return uint64(bits.Reverse8(v + 0x30)), 8
	}
	return uint64(bits.Reverse8(v))<<1 | 1, 9
}

// reference returns the codes of a length and a distance, with their extra bits.
func reference(length, distance int) (uint64, uint) {
	v, extra := uint(length-3), uint(0)
	if v >= 8 {
		extra = uint(bits.Len(v)) - 3
	}
	symbol := 257 + 4*extra + v>>extra
	if length == 258 {
		symbol, extra = 285, 0
	}
	code, n := uint64(bits.Reverse8(byte(symbol-256)<<1)), uint(7)
	if symbol >= 280 {
		code, n = uint64(bits.Reverse8(byte(symbol-280+0xc0))), 8
	}
	code |= uint64(v&(1<<extra-1)) << n
	n += extra
	v, extra = uint(distance-1), 0
	if v >= 4 {
		extra = uint(bits.Len(v)) - 2
	}
	symbol = 2*extra + v>>extra
	code |= uint64(bits.Reverse8(byte(symbol)<<3))<<n | uint64(v&(1<<extra-1))<<(n+5)
	return code, n + 5 + extra
}

// tail is the end of the empty stored block that ends a message. The sender leaves it
// out (RFC 7692, section 7.2.1).
const tail = "\x00\x00\xff\xff"

const maxWindow = 32 << 10

var errDeflate = errors.New("the peer sent compressed data that is broken or ends early")

// decompressor decompresses what the peer sends. With context takeover a connection keeps what
// the peer may refer to: 32 KiB, or up to 40, so that not every message moves them; less as
// long as less has come.
type decompressor struct {
	takes  bool // the peer uses context takeover
	window []byte
	f      *inflater // of the message under way
}

// decompressor returns the decompressor of one end; nil: nothing is compressed.
func (x *extension) decompressor(client bool) *decompressor {
	if x == nil {
		return nil
	}
	fresh := x.clientFresh
	if client {
		fresh = x.serverFresh
	}
	return &decompressor{takes: !fresh}
}

// begin begins a message. more returns its next compressed piece, which is used until the next
// call, and errEnd at its end.
func (d *decompressor) begin(more func() ([]byte, error)) {
	d.f = inflaters.Get().(*inflater)
	d.f.more = more
	d.f.reset(d.window)
}

// read reads into p. It returns io.EOF at the end of the message, errDeflate where it is broken
// or ends early, and other errors of more as they are, but io.EOF as io.ErrUnexpectedEOF.
func (d *decompressor) read(p []byte) (int, error) {
	f := d.f
	for {
		n, err := f.flate.Read(p)
		if n > 0 && f.fed < len(tail) { // the message may go on after a last block
			f.history = slide(f.history, p[:n], maxWindow, 2*maxWindow)
		}
		switch {
		case n > 0 || err == nil:
			return n, nil
		case f.err != nil && f.err != errEnd:
			return 0, f.err
		case f.whole || f.fed == len(tail) && err == io.EOF:
			return 0, io.EOF
		case err != io.EOF || f.fed > 0:
			return 0, errDeflate
		case f.next(): // after a last block (RFC 7692, section 7.2.3.4)
			if !f.joined && len(d.window) > 0 {
				f.history = slide(slices.Clone(d.window), f.history, maxWindow, 2*maxWindow)
			}
			f.joined = true
			f.reset(f.history)
		case f.err == errEnd:
			return 0, io.EOF
		}
	}
}

// end ends the message, or gives it up if message is nil. It is called once for each begin.
func (d *decompressor) end(message []byte) {
	if d.takes {
		d.window = slide(d.window, message, maxWindow, maxWindow+8<<10)
	}
	f := d.f
	d.f = nil
	*f = inflater{flate: f.flate, history: f.history[:0]}
	inflaters.Put(f)
}

// slide appends p to w and keeps at least the last keep bytes. It moves them to the front when
// there would be more than full.
func slide(w, p []byte, keep, full int) []byte {
	if len(p) >= keep {
		w, p = w[:0], p[len(p)-keep:]
	}
	need := len(w) + len(p)
	if need > full {
		w = w[:copy(w, w[need-keep:])]
	} else if need > cap(w) {
		w = append(make([]byte, 0, min(2*need, full)), w...)
	}
	return append(w, p...)
}

// inflater has a flate reader, and is what that reads from: the message and its tail.
//
// A message is whole if, and only if, it ends after the header of a stored block, the length of
// which is the tail. The flate reader reads a length in one Read of four bytes, or of
// three if it had to read ahead after a block that is not the last, and everything else but a
// stored block's data by ReadByte. So nothing of the tail is taken for anything else.
type inflater struct {
	flate  io.Reader
	more   func() ([]byte, error)
	piece  []byte // of the message
	at     int    // in it
	err    error  // of more
	header bool   // ReadByte was called last: Read will be for a length
	fed    int    // bytes of tail that were read
	whole  bool   // what comes after it was asked for

	history []byte // the end of what was decompressed
	joined  bool   // history begins with the decompressor's window
}

var inflaters = sync.Pool{New: func() any {
	f := &inflater{}
	f.flate = flate.NewReader(f)
	return f
}}

func (f *inflater) reset(window []byte) {
	f.header = true
	f.flate.(flate.Resetter).Reset(f, window)
}

// next reports whether there is more of the message, and gets it.
func (f *inflater) next() bool {
	for f.at == len(f.piece) && f.err == nil {
		f.at = 0
		if f.piece, f.err = f.more(); f.err == io.EOF {
			f.err = io.ErrUnexpectedEOF // the message's end is io.EOF
		}
	}
	return f.at < len(f.piece)
}

func (f *inflater) ReadByte() (byte, error) {
	f.header = true
	if f.at < len(f.piece) || f.next() {
		b := f.piece[f.at]
		f.at++
		return b, nil
	}
	if f.err == errEnd && f.fed == 0 {
		f.fed = 1
		return tail[0], nil
	}
	f.whole = f.fed == len(tail)
	return 0, io.ErrUnexpectedEOF
}

func (f *inflater) Read(p []byte) (int, error) {
	length := f.header
	f.header = false
	if f.at < len(f.piece) || f.next() {
		n := copy(p, f.piece[f.at:])
		f.at += n
		return n, nil
	}
	if f.err != errEnd || !length || f.fed+len(p) != len(tail) {
		return 0, io.ErrUnexpectedEOF
	}
	f.fed += copy(p, tail[f.fed:])
	return len(p), nil
}
