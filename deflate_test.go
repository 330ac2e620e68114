//go:build !js

package ws

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	kflate "github.com/klauspost/compress/flate"
)

// pieces yields a message in pieces.
type pieces struct {
	data []byte
	size int
	err  error // at the end
}

func (p *pieces) more() ([]byte, error) {
	if len(p.data) == 0 {
		return nil, p.err
	}
	n := min(p.size, len(p.data))
	b := slices.Clone(p.data[:n])
	p.data = p.data[n:]
	return b, nil
}

// inflate decompresses a message that comes in pieces and is read with a small buffer.
func inflate(d *decompressor, data []byte, size, room int) ([]byte, error) {
	p := &pieces{data, size, errEnd}
	d.begin(p.more)
	var out []byte
	buf := make([]byte, room)
	for {
		n, err := d.read(buf)
		out = append(out, buf[:n]...)
		clear(buf) // what was read is gone
		if err == io.EOF {
			if out == nil {
				out = []byte{}
			}
			d.end(out)
			return out, nil
		}
		if err != nil {
			d.end(nil)
			return nil, err
		}
	}
}

func decompressorOf(takeover bool) *decompressor {
	return (&extension{clientFresh: !takeover}).decompressor(false)
}

func compressorOf(takeover bool, bits int) *compressor {
	return (&extension{serverFresh: !takeover, serverBits: bits}).compressor(false)
}

// jsonText is text as messages have it.
func jsonText(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `{"id":%d,"user":"user-%d","text":"hello, this is message %d","ok":%t,"score":%d},`, i*7919, i%13, i*31, i%3 == 0, i*i%1000)
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

// TestInflate has RFC 7692, section 7.2.3, and blocks of each kind.
func TestInflate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("Hello, ", 10_000)
	deflated := func(s string) string { return string(compressorOf(false, 15).append(nil, []byte(s))) }
	for _, tt := range []struct{ name, in, want string }{
		{"7.2.3.1_fixed", "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		{"7.2.3.3_stored", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
		{"7.2.3.4_last_block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"},
		{"7.2.3.4_last_block_and_no_more", "\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		{"7.2.3.4_last_block_twice", "\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00", "HelloHello"},
		{"7.2.3.4_reference_across_a_last_block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x02\x13\x00\x00", "HelloHello"},
		{"7.2.3.5_two_blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
		{"7.2.3.6_empty", "\x00", ""},
		{"empty_last_block", "\x03\x00", ""},
		{"empty_stored_last_block", "\x01\x00\x00\xff\xff", ""},
		{"empty_stored_last_block_by_its_tail", "\x01", ""},
		{"dynamic", deflated(long), long},
		{"long_last_block", string(stdDeflate([]byte(long), 9, true)), long},
		{"long_last_block_and_more", string(stdDeflate([]byte(long), 9, true)) + deflated(long), long + long},
	} {
		for _, takeover := range []bool{false, true} {
			for _, size := range []int{1, 2, 1 << 20} {
				for _, room := range []int{1, 7, 1 << 17} {
					if room == 1 && len(tt.want) > 1000 {
						room = 1000
					}
					d := decompressorOf(takeover)
					for i := range 3 {
						got, err := inflate(d, []byte(tt.in), size, room)
						if string(got) != tt.want || err != nil {
							t.Fatalf("%s, takeover %t, pieces of %d, room of %d, message %d: %d bytes, %v, want %d", tt.name, takeover, size, room, i, len(got), err, len(tt.want))
						}
					}
				}
			}
		}
	}
}

// stdDeflate compresses with the standard library: with one last block, or else as a message without its tail.
func stdDeflate(p []byte, level int, last bool) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, level)
	w.Write(p)
	if last {
		w.Close()
		return b.Bytes()
	}
	w.Flush()
	return b.Bytes()[:b.Len()-len(tail)]
}

// TestInflateTakeover has RFC 7692, section 7.2.3.2.
func TestInflateTakeover(t *testing.T) {
	t.Parallel()
	first, second := "\xf2\x48\xcd\xc9\xc9\x07\x00", "\xf2\x00\x11\x00\x00"
	d := decompressorOf(true)
	for _, in := range []string{first, second, second} {
		if got, err := inflate(d, []byte(in), 1, 10); string(got) != "Hello" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	// A last block takes nothing away.
	for range 3 {
		if got, err := inflate(d, []byte("\xf3\x00\x11\x00"+second), 1, 10); string(got) != "HelloHello" || err != nil {
			t.Fatalf("after a last block: %q, %v", got, err)
		}
	}
	d = decompressorOf(false)
	if _, err := inflate(d, []byte(first), 1, 10); err != nil {
		t.Fatal(err)
	}
	if got, err := inflate(d, []byte(second), 1, 10); err != errDeflate {
		t.Errorf("without takeover: %q, %v", got, err)
	}
	if cap(d.window) > 0 {
		t.Error("without takeover a window is kept")
	}
}

// TestInflateWindow refers to the first byte of the largest window.
func TestInflateWindow(t *testing.T) {
	t.Parallel()
	const window = 32 << 10
	data := noise(window)
	// Four bytes from a distance of 32768: 0000010 for the length, 11101 and 13 bits for the distance.
	in := &bits64{}
	in.put(2, 3)
	in.put(reverse(2, 7), 7)
	in.put(reverse(29, 5), 5)
	in.put(1<<13-1, 13)
	in.put(0, 7+3)
	k := compressorOf(false, 15)
	for _, size := range []int{16, 100, 1000, 8191, 8192, 8193, window} { // of the messages
		d := decompressorOf(true)
		for range 3 {
			for p := range slices.Chunk(data, size) {
				if _, err := inflate(d, k.append(nil, p), 1<<20, 1<<15); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := inflate(d, in.b, 1<<20, 100); !bytes.Equal(got, data[:4]) || err != nil {
				t.Fatalf("messages of %d: %x, %v, want %x", size, got, err, data[:4])
			}
		}
		if cap(d.window) > 40<<10 {
			t.Errorf("%d bytes are kept", cap(d.window))
		}
	}
}

type bits64 struct {
	b []byte
	n int
}

func (w *bits64) put(v uint64, n int) {
	for i := range n {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
}

func reverse(v uint64, n int) (r uint64) {
	for i := range n {
		r |= v >> i & 1 << (n - 1 - i)
	}
	return r
}

// TestInflateCut cuts messages everywhere. It pins what the flate reader reads at the end of a message.
func TestInflateCut(t *testing.T) {
	t.Parallel()
	samples := map[string][]byte{
		"fixed":          []byte("\xf2\x48\xcd\xc9\xc9\x07\x00"),
		"two_blocks":     []byte("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
		"last_and_fixed": []byte("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00"),
		"stored_255":     stored(noise(255)),
		"stored_256":     stored(noise(256)),
		"zeros":          stored(make([]byte, 300)),
		"ends_as_tail":   stored([]byte("x" + tail)),
	}
	for _, n := range []int{0, 1, 13, 100, 300} {
		for kind, p := range map[string][]byte{"json": jsonText(n), "noise": noise(n), "zeros": make([]byte, n)} {
			for _, level := range []int{-2, 0, 1, 6} {
				samples[fmt.Sprint("std", level, kind, n)] = stdDeflate(p, level, false)
				var b bytes.Buffer
				w, _ := kflate.NewWriter(&b, level)
				w.Write(p[:n/2])
				w.Write(p[n/2:])
				w.Flush()
				samples[fmt.Sprint("klauspost", level, kind, n)] = b.Bytes()[:b.Len()-len(tail)]
			}
			samples[fmt.Sprint("own", kind, n)] = compressorOf(false, 15).append(nil, p)
		}
	}
	d := decompressorOf(false)
	for name, data := range samples {
		for n := range len(data) + 1 {
			want, ok := oracle(data[:n])
			got, err := inflate(d, data[:n], 1<<20, 1<<12)
			if ok != (err == nil) || !bytes.Equal(got, want) {
				t.Fatalf("%s, the first %d of %d bytes: %v, %d bytes; want %t, %d", name, n, len(data), err, len(got), ok, len(want))
			}
			if n == len(data) && !ok {
				t.Errorf("%s is not whole", name)
			}
			if _, err2 := inflate(d, data[:n], 3, 1<<12); err2 != err {
				t.Fatalf("%s, the first %d of %d bytes, in pieces: %v, want %v", name, n, len(data), err2, err)
			}
		}
	}
	// A stored block's data that is cut four bytes before the end of the reader's window.
	p := noise(32 << 10)
	for n := 32<<10 - 8; n <= 32<<10; n++ {
		for _, pre := range []int{n, n - 1, n - 100} {
			data := append(stored(p[:pre])[:5+pre], stored(p[pre:])...)
			cut := data[:5+pre+5+n-pre]
			if pre == n {
				cut = data[:5+pre]
			}
			if got, err := inflate(d, cut, 1<<20, 1<<16); err != errDeflate {
				t.Fatalf("stored, cut after %d bytes (%d in the block before): %d bytes, %v", n, pre, len(got), err)
			}
		}
	}
}

// stored is p in stored blocks, as a message.
func stored(p []byte) []byte {
	n := len(p)
	return append(append([]byte{0, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}, p...), 0)
}

// oracle decompresses a message with the standard library. What stands behind its end
// is its tail if, and only if, another stored block in its place is found there too.
func oracle(data []byte) (_ []byte, ok bool) {
	ends := []string{tail, "\x01\x00\xfe\xffx", "\x02\x00\xfd\xffyz"}
	var all [3][]byte
	z := flate.NewReader(nil)
	for i, end := range ends {
		b := append(slices.Clone(data), end...)
		b = append(b, "\x01\x00\x00\xff\xff"...)
		r := bytes.NewReader(b)
		for {
			z.(flate.Resetter).Reset(r, all[i])
			out, err := io.ReadAll(z)
			all[i] = append(all[i], out...)
			left := r.Len()
			if err == nil && left == len(end)+5 { // ended by a last block
				return append([]byte{}, all[i]...), true
			}
			if err != nil || left > 0 && left < len(end)+5 && left != 5 {
				return nil, false
			}
			if left == 0 || left == 5 { // by a last block of the tail
				break
			}
		}
	}
	for i, end := range ends {
		if string(all[i]) != string(all[0])+end[len(tail):] {
			return nil, false
		}
	}
	return append([]byte{}, all[0]...), true
}

func TestInflateErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, tt := range []struct{ err, want error }{
		{broken, broken},
		{io.EOF, io.ErrUnexpectedEOF}, // the socket's
	} {
		for n := range 8 {
			d := decompressorOf(true)
			p := &pieces{[]byte("\xf2\x48\xcd\xc9\xc9\x07\x00")[:n], 2, tt.err}
			d.begin(p.more)
			err := error(nil)
			for buf := make([]byte, 3); err == nil; {
				_, err = d.read(buf)
			}
			d.end(nil)
			if err != tt.want {
				t.Errorf("%v after %d bytes came as %v", tt.err, n, err)
			}
		}
	}
}

// TestDeflate is read by the standard library, and looks at each distance.
func TestDeflate(t *testing.T) {
	t.Parallel()
	far := append(noise(200), make([]byte, 300)...)
	for range 7 {
		far = append(far, far...)
	}
	messages := [][]byte{nil, []byte("H"), []byte("Hello"), jsonText(12), jsonText(13), jsonText(200), noise(300),
		jsonText(shortMessage), jsonText(shortMessage + 1), noise(shortMessage + 1), jsonText(100), make([]byte, 700), jsonText(70_000), jsonText(500),
		far[:shortMessage], far, far[:100], noise(70_000), noise(1000), noise(historySize/2 + 1), noise(historySize/2 - 1)}
	var lengths [][]byte
	for v := range 259 { // each length of a match, and each byte
		lengths = append(lengths, append([]byte{byte(v)}, make([]byte, v)...), slices.Repeat(noise(v), 2))
	}
	z := flate.NewReader(nil)
	for bits := 8; bits <= 15; bits++ {
		messages := messages
		if bits == 8 || bits == 15 { // which have nothing to do with the window between
			messages = append(messages, lengths...)
		}
		for _, takeover := range []bool{false, true} {
			k := compressorOf(takeover, bits)
			if k.takeover() != takeover || k.window() != 1<<bits {
				t.Fatalf("takeover %t, window %d", k.takeover(), k.window())
			}
			var sent []byte
			for i, p := range slices.Concat(messages, messages) {
				data := k.append([]byte("before"), p)[len("before"):]
				if len(data) > len(p)+len(p)/100+20 {
					t.Errorf("bits %d, message %d: %d bytes became %d", bits, i, len(p), len(data))
				}
				if !takeover {
					sent = nil
				}
				z.(flate.Resetter).Reset(bytes.NewReader(append(data, tail+"\x01\x00\x00\xff\xff"...)), sent)
				got, err := io.ReadAll(z)
				if !bytes.Equal(got, p) || err != nil {
					t.Fatalf("bits %d, takeover %t, message %d: %d bytes of %d, %v", bits, takeover, i, len(got), len(p), err)
				}
				if got, err := inflate(&decompressor{window: sent}, data, 1000, 1000); !bytes.Equal(got, p) || err != nil {
					t.Fatalf("bits %d, takeover %t, message %d: %d bytes of %d, %v", bits, takeover, i, len(got), len(p), err)
				}
				if d := farthest(data); d > k.window() {
					t.Fatalf("bits %d, takeover %t, message %d refers to a distance of %d", bits, takeover, i, d)
				}
				sent = append(sent, p...)
				sent = sent[max(0, len(sent)-k.window()):]
			}
			if m := k.history; m != nil && cap(m.data) > historySize {
				t.Errorf("%d bytes are kept", cap(m.data))
			}
		}
	}
}

// farthest returns the largest distance that a message refers to.
func farthest(data []byte) int {
	r := &bitReader{b: append(slices.Clone(data), tail...)}
	return r.walk(8 * len(data))
}

// emptyCode reports whether a message has a code without symbols.
func emptyCode(data []byte) (empty bool) {
	r := &bitReader{b: append(slices.Clone(data), tail...)}
	defer func() { empty = recover() != nil && r.empty || r.empty }()
	r.walk(8 * len(data))
	return
}

func (r *bitReader) walk(end int) (far int) {
	for r.at < end {
		last := r.bits(1) == 1
		switch r.bits(2) {
		case 0:
			r.at = (r.at + 7) &^ 7
			n := r.bits(16)
			r.at += 16 + 8*n
		case 1:
			var lit, dist [288]int
			for i := range lit {
				lit[i] = 8
				if i >= 144 && i < 256 {
					lit[i] = 9
				} else if i >= 256 && i < 280 {
					lit[i] = 7
				}
			}
			for i := range 30 {
				dist[i] = 5
			}
			far = max(far, r.block(lit[:], dist[:30]))
		case 2:
			nlit, ndist, n := r.bits(5)+257, r.bits(5)+1, r.bits(4)+4
			var clen [19]int
			for i := range n {
				clen[[]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[i]] = r.bits(3)
			}
			codes := huffman(clen[:])
			r.empty = r.empty || len(codes) == 0
			var lens []int
			for len(lens) < nlit+ndist {
				switch s := r.symbol(codes); s {
				case 16:
					lens = append(lens, slices.Repeat(lens[len(lens)-1:], 3+r.bits(2))...)
				case 17:
					lens = append(lens, make([]int, 3+r.bits(3))...)
				case 18:
					lens = append(lens, make([]int, 11+r.bits(7))...)
				default:
					lens = append(lens, s)
				}
			}
			r.empty = r.empty || slices.Max(lens[:nlit]) == 0 || slices.Max(lens[nlit:]) == 0
			far = max(far, r.block(lens[:nlit], lens[nlit:]))
		}
		if last {
			r.at = (r.at + 7) &^ 7
		}
	}
	return far
}

type bitReader struct {
	b     []byte
	at    int
	empty bool // a code without symbols was there
}

func (r *bitReader) bits(n int) (v int) {
	for i := range n {
		v |= int(r.b[r.at/8]>>(r.at%8)&1) << i
		r.at++
	}
	return v
}

// huffman returns the symbols by their codes, each with a leading 1.
func huffman(lens []int) map[int]int {
	codes, code := make(map[int]int), 0
	for n := 1; n <= 15; n++ {
		for s, l := range lens {
			if l == n {
				codes[1<<n|code] = s
				code++
			}
		}
		code <<= 1
	}
	return codes
}

func (r *bitReader) symbol(codes map[int]int) int {
	for c := 1; ; {
		c = c<<1 | r.bits(1)
		if s, ok := codes[c]; ok {
			return s
		}
	}
}

func (r *bitReader) block(lit, dist []int) (far int) {
	lits, dists := huffman(lit), huffman(dist)
	for {
		s := r.symbol(lits)
		switch {
		case s == 256:
			return far
		case s > 264 && s < 285:
			r.bits((s - 261) / 4)
		case s < 256:
			continue
		}
		d, extra := r.symbol(dists), 0
		if d >= 4 {
			extra = d/2 - 1
			d = (2 + d&1) << extra
		}
		far = max(far, d+r.bits(extra)+1)
	}
}

// TestDeflateBroadcast: what two compressors without takeover make is the same, from any goroutine.
func TestDeflateBroadcast(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 20, shortMessage, 5000} {
		p := jsonText(n)
		want := compressorOf(false, 10).append(nil, p)
		done := make(chan []byte)
		k := compressorOf(false, 10)
		for range 8 {
			go func() {
				for i := range 10 {
					k.append(nil, jsonText(n+i))
				}
				done <- k.append(nil, p)
			}()
		}
		for range 8 {
			if got := <-done; !bytes.Equal(got, want) {
				t.Errorf("%d bytes: %x, want %x", n, got, want)
			}
		}
	}
	var none *compressor
	if none.takeover() || (*extension)(nil).compressor(true) != nil || (*extension)(nil).decompressor(true) != nil {
		t.Error("without an extension something is compressed")
	}
}

// TestDeflateRemembers: what was sent before a message of which only the end is kept is forgotten.
func TestDeflateRemembers(t *testing.T) {
	t.Parallel()
	k, d := compressorOf(true, 15), decompressorOf(true)
	for i, p := range [][]byte{jsonText(66), noise(historySize/2 + 1000), jsonText(66), noise(maxWindow + 100), jsonText(66)} {
		if got, err := inflate(d, k.append(nil, p), 1<<20, 1<<16); !bytes.Equal(got, p) || err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

// TestDeflateWrap lets the positions begin again.
func TestDeflateWrap(t *testing.T) {
	t.Parallel()
	k, d := compressorOf(true, 15), decompressorOf(true)
	for i := range 300 {
		p := jsonText(1000 + i%40)[i%40:]
		if i == 50 {
			k.history.table = [1 << tableBits]uint32{}
			k.history.base = 1<<31 - 20_000
		}
		if got, err := inflate(d, k.append(nil, p), 1<<20, 1<<20); !bytes.Equal(got, p) || err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if k.history.base > 1<<30 {
		t.Error("they did not")
	}
}

func TestExtensionAccept(t *testing.T) {
	t.Parallel()
	const fresh = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	for _, tt := range []struct {
		offers []string
		want   string // with takeover; "": none
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"permessage-deflate"}, "permessage-deflate"},
		{[]string{"x-webkit-deflate-frame, permessage-deflate"}, "permessage-deflate"},
		{[]string{"foo;a=\"b,permessage-deflate\\\",;\"", " , permessage-deflate;server_max_window_bits=9"}, "permessage-deflate; server_max_window_bits=9"},
		{[]string{"permessage-deflate; client_max_window_bits"}, "permessage-deflate"},
		{[]string{"permessage-deflate; client_max_window_bits=8"}, "permessage-deflate"},
		{[]string{"permessage-deflate; server_max_window_bits=8"}, "permessage-deflate; server_max_window_bits=8"},
		{[]string{"permessage-deflate; server_max_window_bits = \"10\""}, "permessage-deflate; server_max_window_bits=10"},
		{[]string{"permessage-deflate; server_max_window_bits=15"}, "permessage-deflate; server_max_window_bits=15"},
		{[]string{"permessage-deflate ;\tserver_no_context_takeover ; client_no_context_takeover"}, fresh},
		{[]string{"permessage-deflate; client_no_context_takeover"}, "permessage-deflate; client_no_context_takeover"},
		{[]string{"permessage-deflate; server_max_window_bits=7, permessage-deflate; server_no_context_takeover"}, "permessage-deflate; server_no_context_takeover"},
		{[]string{"permessage-deflate; server_max_window_bits=16"}, ""},
		{[]string{"permessage-deflate; server_max_window_bits=08"}, ""},
		{[]string{"permessage-deflate; server_max_window_bits=+9"}, ""},
		{[]string{"permessage-deflate; server_max_window_bits=\"\""}, ""},
		{[]string{"permessage-deflate; server_max_window_bits=\"9"}, ""},
		{[]string{"permessage-deflate; server_max_window_bits="}, ""},
		{[]string{"permessage-deflate; server_max_window_bits"}, ""},
		{[]string{"permessage-deflate; client_max_window_bits=16"}, ""},
		{[]string{"permessage-deflate; client_max_window_bits="}, ""},
		{[]string{"permessage-deflate; server_no_context_takeover=1"}, ""},
		{[]string{"permessage-deflate; client_no_context_takeover="}, ""},
		{[]string{"permessage-deflate; client_max_window_bits; client_max_window_bits"}, ""},
		{[]string{"permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, ""},
		{[]string{"permessage-deflate; unknown"}, ""},
		{[]string{"permessage-deflate;"}, ""},
		{[]string{"permessage-deflate=1"}, ""},
		{[]string{"permessage-deflated"}, ""},
	} {
		h := http.Header{"Sec-Websocket-Extensions": tt.offers}
		got := ""
		x := acceptExtension(h, websocket.CompressionContextTakeover)
		if x != nil {
			got = x.String()
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.offers, got, tt.want)
		}
		if acceptExtension(h, websocket.CompressionDisabled) != nil {
			t.Errorf("%q: accepted though compression is off", tt.offers)
		}
		y := acceptExtension(h, websocket.CompressionNoContextTakeover)
		if (x == nil) != (y == nil) || y != nil && (!strings.HasPrefix(y.String(), fresh) || y.compressor(false).takeover() || y.decompressor(false).takes) {
			t.Errorf("%q, without takeover: %v", tt.offers, y)
		}
	}
}

func TestExtensionDial(t *testing.T) {
	t.Parallel()
	const takeover, fresh = "permessage-deflate; client_max_window_bits", "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits"
	if offerExtension(websocket.CompressionDisabled) != nil {
		t.Error("something is offered")
	}
	type agreed struct {
		read, write bool // takeover
		window      int
	}
	for _, tt := range []struct {
		answer string
		want   *agreed // nil and ok: no compression
		ok     bool
	}{
		{"", nil, true},
		{"permessage-deflate", &agreed{true, true, 1 << 15}, true},
		{"permessage-deflate; client_max_window_bits=8; server_max_window_bits=9", &agreed{true, true, 1 << 8}, true},
		{"permessage-deflate; client_max_window_bits=\"15\"", &agreed{true, true, 1 << 15}, true},
		{"permessage-deflate; server_no_context_takeover", &agreed{false, true, 1 << 15}, true},
		{"permessage-deflate; client_no_context_takeover", &agreed{true, false, 1 << 15}, true},
		{"permessage-deflate; client_max_window_bits", nil, false},
		{"permessage-deflate; client_max_window_bits=16", nil, false},
		{"permessage-deflate; client_no_context_takeover; client_no_context_takeover", nil, false},
		{"permessage-deflate, permessage-deflate", nil, false},
		{"foo", nil, false},
	} {
		h := http.Header{}
		if tt.answer != "" {
			h.Set("Sec-WebSocket-Extensions", tt.answer)
		}
		for mode, text := range map[websocket.CompressionMode]string{websocket.CompressionContextTakeover: takeover, websocket.CompressionNoContextTakeover: fresh} {
			offer := offerExtension(mode)
			if offer.String() != text {
				t.Errorf("offered %q, want %q", offer, text)
			}
			x, err := checkExtension(h, offer)
			if (err == nil) != tt.ok || (x != nil) != (tt.want != nil) {
				t.Errorf("%q: %v, %v", tt.answer, x, err)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "ws: ") {
				t.Errorf("%q: %v", tt.answer, err)
			}
			if x != nil {
				want := *tt.want
				want.write = want.write && mode == websocket.CompressionContextTakeover
				k := x.compressor(true)
				if got := (agreed{x.decompressor(true).takes, k.takeover(), k.window()}); got != want {
					t.Errorf("%q: %v, want %v", tt.answer, got, want)
				}
			}
		}
		if x, err := checkExtension(h, nil); x != nil || (err == nil) != (tt.answer == "") {
			t.Errorf("%q without an offer: %v, %v", tt.answer, x, err)
		}
	}
}

func FuzzInflate(f *testing.F) {
	f.Add([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), uint16(1), uint16(3))
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), uint16(2), uint16(3))
	f.Add(stored(noise(40)), uint16(9), uint16(3))
	f.Add(compressorOf(false, 15).append(nil, jsonText(3000)), uint16(100), uint16(300))
	f.Add(stdDeflate(jsonText(300), 6, true), uint16(100), uint16(300))
	f.Fuzz(func(t *testing.T, data []byte, size, room uint16) {
		want, ok := oracle(data)
		d := decompressorOf(true)
		got, err := inflate(d, data, int(size)+1, int(room)+1)
		if !ok && err == nil && emptyCode(data) {
			return // the flate reader then goes on with the code before it
		}
		if ok != (err == nil) || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; want %d, %t", len(got), err, len(want), ok)
		}
		if err != nil && err != errDeflate {
			t.Fatal(err)
		}
	})
}

func FuzzDeflate(f *testing.F) {
	f.Add([]byte("Hello"), []byte("Hello, Hello"), uint8(15))
	f.Add(jsonText(2000), noise(100), uint8(8))
	f.Add(jsonText(900), jsonText(1100), uint8(9))
	f.Fuzz(func(t *testing.T, p, q []byte, bits uint8) {
		bits = 8 + bits%8
		for _, takeover := range []bool{false, true} {
			k, d := compressorOf(takeover, int(bits)), decompressorOf(takeover)
			var sent []byte
			for i, p := range [][]byte{p, q, p, slices.Concat(q, p, q), p} {
				data := k.append(nil, p)
				if !takeover {
					sent = nil
				}
				got, err := io.ReadAll(flate.NewReaderDict(bytes.NewReader(append(slices.Clone(data), tail+"\x01\x00\x00\xff\xff"...)), sent))
				if !bytes.Equal(got, p) || err != nil {
					t.Fatalf("takeover %t, message %d: %v", takeover, i, err)
				}
				if got, err := inflate(d, data, 1<<20, 1<<12); !bytes.Equal(got, p) || err != nil {
					t.Fatalf("takeover %t, message %d: %v", takeover, i, err)
				}
				sent = append(sent, p...)
				sent = sent[max(0, len(sent)-1<<bits):]
			}
		}
	})
}

func benchmarkSizes(b *testing.B, f func(b *testing.B, takeover bool, p []byte)) {
	for _, takeover := range []bool{false, true} {
		for _, n := range []int{32, 1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("takeover=%t/%d", takeover, n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				f(b, takeover, jsonText(n))
			})
		}
	}
}

func BenchmarkDeflate(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, takeover bool, p []byte) {
		k := compressorOf(takeover, 15)
		var dst []byte
		for b.Loop() {
			dst = k.append(dst[:0], p)
		}
		b.ReportMetric(float64(len(dst)), "bytes")
	})
}

func BenchmarkInflate(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, takeover bool, p []byte) {
		d, data := decompressorOf(takeover), compressorOf(takeover, 15).append(nil, p)
		buf, src := make([]byte, len(p)), pieces{size: len(data), err: errEnd}
		var next []byte
		more := func() ([]byte, error) {
			if next == nil {
				return nil, src.err
			}
			b := next
			next = nil
			return b, nil
		}
		for b.Loop() {
			next = data
			d.begin(more)
			for n, err := 0, error(nil); err != io.EOF; {
				var k int
				if k, err = d.read(buf[min(n, len(buf)-1):]); err != nil && err != io.EOF {
					b.Fatal(err)
				}
				n += k
			}
			d.end(buf)
		}
	})
}
