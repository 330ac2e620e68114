//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// client is one connection of the load generator. It knows just enough of RFC 6455
// to cost little: its frames are made beforehand, and what comes back is compared
// where it lies in the read buffer.
type client struct {
	id      int
	conn    net.Conn
	br      *bufio.Reader
	deflate bool
	text    bool

	packed []byte           // a compressed message, as it is read
	known  map[*byte][]byte // compressed replies that were found to be right, by what was sent
	infl   io.ReadCloser    // decompresses the others
	got    bytes.Buffer     // what infl made of one
}

type dialOptions struct {
	tls, deflate, text bool
	mux                int    // sockets of one HTTP/2 connection; 0: HTTP/1.1
	hello              []byte // a first message that must come back before the connection counts; nil for none
	readBuffer         int    // of ours; 0: 4 KiB
	socketBuffer       int    // for receiving; 0: the system's
}

// hello is for the works that send nothing else at first. It satisfies isJoin.
var hello = []byte("J: is everybody here?")

// smallBuffer is the readBuffer of connections by the thousand.
const smallBuffer = 512

var acceptOf = func(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

const (
	handshakeKey     = "dGhlIHNhbXBsZSBub25jZQ=="
	handshakeTimeout = 10 * time.Second // also for the hello
	portsOfSource    = 4096             // connections from one address; the system has 28,000 ports for each by default
)

var handshakeAccept = acceptOf(handshakeKey)

func dial(id int, addr, path string, o dialOptions) (*client, error) {
	if o.mux > 0 {
		return dialHTTP2(id, addr, path, o)
	}
	conn, err := connectTo(id, addr, o)
	if err != nil {
		return nil, err
	}
	if o.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the certificate was made a moment ago, here
	}
	c := o.client(id, conn)
	if err := c.handshake(addr, path); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connection %d: handshake: %w", id, err)
	}
	return c, c.greet(o)
}

func connectTo(id int, addr string, o dialOptions) (net.Conn, error) {
	source := net.IPv4(127, 0, 0, byte(1+id/portsOfSource))
	d := net.Dialer{Timeout: handshakeTimeout, LocalAddr: &net.TCPAddr{IP: source}, Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		ctlErr := rc.Control(func(fd uintptr) {
			// The port is chosen when connecting: only then may a connection to another server have the same.
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			if err == nil && o.socketBuffer > 0 { // before connecting, when the window is announced
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, o.socketBuffer)
			}
		})
		return errors.Join(ctlErr, err)
	}}
	conn, err := d.Dial("tcp4", addr)
	if err != nil {
		return nil, fmt.Errorf("connection %d: %w", id, exhausted(err))
	}
	return conn, conn.SetDeadline(time.Now().Add(handshakeTimeout))
}

func (o dialOptions) client(id int, conn net.Conn) *client {
	return &client{
		id: id, conn: conn, deflate: o.deflate, text: o.text,
		br: bufio.NewReaderSize(conn, cmp.Or(o.readBuffer, 4096)),
	}
}

// greet exchanges o.hello, and lets c wait from then on.
func (c *client) greet(o dialOptions) error {
	if o.hello != nil {
		_, err := c.conn.Write(frame(o.hello, o.text, o.deflate))
		if err == nil {
			err = c.expect(o.hello)
		}
		if err != nil {
			c.conn.Close()
			return late(err, handshakeTimeout)
		}
	}
	return c.conn.SetDeadline(time.Time{})
}

func (c *client) handshake(addr, path string) error {
	var extensions string
	if c.deflate {
		extensions = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"
	}
	_, err := io.WriteString(c.conn, "GET "+path+" HTTP/1.1\r\nHost: "+addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+handshakeKey+"\r\n"+extensions+"\r\n")
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != handshakeAccept {
		return fmt.Errorf("Sec-WebSocket-Accept is %q, not %q", got, handshakeAccept)
	}
	ext := resp.Header.Get("Sec-WebSocket-Extensions")
	if c.deflate && !(strings.Contains(ext, "permessage-deflate") && strings.Contains(ext, "server_no_context_takeover")) {
		return fmt.Errorf("asked for compression without context takeover, the server answered with extensions %q", ext)
	}
	return nil
}

// dialMany opens n connections, some at a time, and no more once one has failed.
func dialMany(addr, path string, n int, o dialOptions) ([]*client, error) {
	var (
		clients = make([]*client, n)
		errs    = make([]error, n)
		failed  atomic.Bool
		wg      sync.WaitGroup
		slots   = make(chan struct{}, 16)
	)
	for i := 0; i < n && !failed.Load(); i++ {
		slots <- struct{}{}
		wg.Go(func() {
			if clients[i], errs[i] = dial(i, addr, path, o); errs[i] != nil {
				failed.Store(true)
			}
			<-slots
		})
	}
	wg.Wait()
	if err := cmp.Or(errs...); err != nil {
		dropAll(clients)
		return nil, err
	}
	return clients, nil
}

func dropAll(clients []*client) {
	for _, c := range clients {
		if c != nil {
			c.drop()
		}
	}
}

// drop ends the connection without a trace, so that thousands of them in a row
// don't use up the ports.
func (c *client) drop() {
	if tc, ok := c.conn.(*net.TCPConn); ok {
		tc.SetLinger(0)
	}
	c.conn.Close()
}

// expect reads one message, which must be want.
func (c *client) expect(want []byte) error {
	rest, first := want, true
	for {
		h, err := c.header()
		if err != nil {
			return fmt.Errorf("connection %d: %w", c.id, err)
		}
		if h.opcode >= 8 {
			if h.opcode == 8 {
				return fmt.Errorf("connection %d: the server closed it", c.id)
			}
			if _, err := c.br.Discard(h.length); err != nil { // a ping
				return fmt.Errorf("connection %d: %w", c.id, err)
			}
			continue
		}
		if first && h.compressed != c.deflate {
			return fmt.Errorf("connection %d: compressed is %t, wanted %t", c.id, h.compressed, c.deflate)
		}
		if first != (h.opcode != 0) {
			return fmt.Errorf("connection %d: a message with a frame out of order", c.id)
		}
		if first && (h.opcode == 1) != c.text {
			return fmt.Errorf("connection %d: text is %t, wanted %t", c.id, h.opcode == 1, c.text)
		}
		first = false
		if c.deflate {
			if err := c.inflate(h, want); err != nil {
				return fmt.Errorf("connection %d: %w", c.id, err)
			}
		} else if rest, err = c.compare(h.length, rest, len(want)); err != nil {
			return fmt.Errorf("connection %d: %w", c.id, err)
		}
		if h.final && !c.deflate && len(rest) > 0 {
			return fmt.Errorf("connection %d: a reply of %d bytes to a message of %d", c.id, len(want)-len(rest), len(want))
		}
		if h.final {
			return nil
		}
	}
}

type header struct {
	opcode            byte
	final, compressed bool
	length            int
}

func (c *client) header() (header, error) {
	b, err := c.br.Peek(2)
	if err != nil {
		return header{}, err
	}
	h := header{opcode: b[0] & 15, final: b[0]&0x80 != 0, compressed: b[0]&0x40 != 0, length: int(b[1])}
	size := 2
	switch {
	case b[1] >= 128:
		return header{}, errors.New("the server masks its frames")
	case b[1] == 126:
		size = 4
	case b[1] == 127:
		size = 10
	}
	if b, err = c.br.Peek(size); err != nil {
		return header{}, err
	}
	switch size {
	case 4:
		h.length = int(binary.BigEndian.Uint16(b[2:]))
	case 10:
		h.length = int(binary.BigEndian.Uint64(b[2:]))
	}
	c.br.Discard(size)
	if h.length < 0 {
		return header{}, errors.New("a frame of impossible length")
	}
	return h, nil
}

// compare reads n bytes, which must be the first of rest, and returns what follows them in rest.
func (c *client) compare(n int, rest []byte, total int) ([]byte, error) {
	if n > len(rest) {
		return nil, fmt.Errorf("a reply of at least %d bytes to a message of %d", total-len(rest)+n, total)
	}
	for n > 0 {
		b, err := c.br.Peek(min(n, max(1, c.br.Buffered())))
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(b, rest[:len(b)]) {
			return nil, fmt.Errorf("a wrong byte in the reply, at %d or in the %d after it", total-len(rest), len(b)-1)
		}
		c.br.Discard(len(b))
		rest, n = rest[len(b):], n-len(b)
	}
	return rest, nil
}

// inflate reads a frame of a compressed message. At the last one it compares the
// message with want. Servers answer the same bytes to the same bytes, so only
// the first reply of a kind is decompressed.
func (c *client) inflate(h header, want []byte) error {
	have := len(c.packed)
	if h.length > maxMessage {
		return fmt.Errorf("a compressed reply of %d bytes", h.length)
	}
	c.packed = append(c.packed, make([]byte, h.length)...)
	if _, err := io.ReadFull(c.br, c.packed[have:]); err != nil {
		return err
	}
	if !h.final {
		return nil
	}
	packed := c.packed
	c.packed = c.packed[:0]
	if known, ok := c.known[&want[0]]; ok && bytes.Equal(packed, known) {
		return nil
	}
	const tail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff" // RFC 7692, section 7.2.2, and a final block
	r := io.MultiReader(bytes.NewReader(packed), strings.NewReader(tail))
	if c.infl == nil {
		c.infl = flate.NewReader(r)
	} else if err := c.infl.(flate.Resetter).Reset(r, nil); err != nil {
		return err
	}
	c.got.Reset()
	if _, err := c.got.ReadFrom(c.infl); err != nil {
		return fmt.Errorf("decompressing a reply: %w", err)
	}
	if !bytes.Equal(c.got.Bytes(), want) {
		return fmt.Errorf("a wrong reply of %d bytes after decompression, to a message of %d", c.got.Len(), len(want))
	}
	if c.known == nil {
		c.known = map[*byte][]byte{}
	}
	c.known[&want[0]] = bytes.Clone(packed)
	return nil
}

// dueIn makes everything that is still expected fail unless it comes within d.
func (c *client) dueIn(d time.Duration) { c.conn.SetDeadline(time.Now().Add(d)) }

// late turns a deadline's error into a sentence.
func late(err error, d time.Duration) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("a reply is missing for %v: %w", d, err)
	}
	return err
}

// payload makes the beginning of a JSON object, of size bytes. It compresses as JSON
// does, and differs from all others of this connection and of other connections.
func payload(connection, message, size int) []byte {
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven clever wizards mix potions under quiet northern lights")
	r := rand.New(rand.NewPCG(uint64(connection), uint64(message)))
	b := fmt.Appendf(make([]byte, 0, size+32), `{"id":"%d.%d"`, connection, message)
	for len(b) < size {
		b = fmt.Appendf(b, `,"%s":%d`, words[r.IntN(len(words))], r.IntN(100_000))
	}
	return b[:size]
}

// frame makes the masked frame of a message.
func frame(payload []byte, text, deflate bool) []byte {
	first := byte(0x82)
	if text {
		first = 0x81
	}
	if deflate {
		first |= 0x40
		payload = deflated(payload)
	}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := [4]byte{0x1f, 0xa5, 0x3c, 0x96}
	b = append(b, key[:]...)
	for i, x := range payload {
		b = append(b, x^key[i&3])
	}
	return b
}

func deflated(payload []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	w.Write(payload) // to memory
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}
