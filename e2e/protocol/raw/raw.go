// Package raw speaks WebSocket frame by frame, correctly or not, from either end. It is made for
// tests: a Frame can be encoded in ways that the RFCs forbid, and what is read is checked strictly.
package raw

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http"
	"strings"
	"time"
)

// Opcodes, RFC 6455 section 5.2.
const (
	Continuation byte = 0
	Text         byte = 1
	Binary       byte = 2
	Close        byte = 8
	Ping         byte = 9
	Pong         byte = 10
)

// The reserved bits as they stand in a frame's first byte, shifted down by four.
const (
	RSV1 byte = 4
	RSV2 byte = 2
	RSV3 byte = 1
)

// Frame is one frame. The zero value of the fields after Payload encodes it as the RFC wants it.
type Frame struct {
	Op      byte
	More    bool // FIN is not set
	RSV     byte
	Payload []byte

	FlipMask bool   // mask it where it must not be, or leave it unmasked where it must be
	ZeroMask bool   // mask with a key of zeros
	Form     int    // bytes of the extended length: 2 or 8; 0: the fewest
	Claim    uint64 // the length that the header claims, in 8 bytes; 0: the payload's
	Missing  int    // octets of the payload's end that are not sent
}

var keys uint32 = 0x9e3779b9

// Append encodes f as a client or a server would send it.
func (f Frame) Append(dst []byte, client bool) []byte {
	b0 := f.RSV<<4 | f.Op
	if !f.More {
		b0 |= 0x80
	}
	masked := client != f.FlipMask
	var b1 byte
	if masked {
		b1 = 0x80
	}
	n := uint64(len(f.Payload))
	form := f.Form
	switch {
	case f.Claim != 0:
		n, form = f.Claim, 8
	case form != 0:
	case n > 65535:
		form = 8
	case n > 125:
		form = 2
	}
	switch form {
	case 2:
		dst = append(dst, b0, b1|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	case 8:
		dst = append(dst, b0, b1|127)
		dst = binary.BigEndian.AppendUint64(dst, n)
	default:
		dst = append(dst, b0, b1|byte(n))
	}
	payload := f.Payload[:len(f.Payload)-f.Missing]
	if !masked {
		return append(dst, payload...)
	}
	// A key that depends on the place in the stream: fixed for a case, different for its frames.
	key := bits.RotateLeft32(keys*uint32(len(dst)+1), int(f.Op)+5)
	if f.ZeroMask {
		key = 0
	}
	var k [4]byte
	binary.BigEndian.PutUint32(k[:], key)
	dst = append(dst, k[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	for i := range payload {
		dst[at+i] ^= k[i&3]
	}
	return dst
}

// ClosePayload is the payload of a Close frame.
func ClosePayload(code int, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// Conn is one end of a connection after its handshake.
type Conn struct {
	Net    net.Conn
	Client bool        // this end is the client
	Header http.Header // of the other end's half of the handshake

	br *bufio.Reader
}

// MaxFrame bounds what a Conn reads into one frame.
const MaxFrame = 64 << 20

// ReadFrame reads a frame and checks what can be checked without its neighbours. A frame that
// breaks a rule is returned with an error that is an *Invalid.
func (c *Conn) ReadFrame() (Frame, error) {
	var h [14]byte
	if _, err := io.ReadFull(c.br, h[:2]); err != nil {
		return Frame{}, err
	}
	f := Frame{Op: h[0] & 15, More: h[0]&0x80 == 0, RSV: h[0] >> 4 & 7}
	masked := h[1]&0x80 != 0
	n := uint64(h[1] & 127)
	var bad string
	switch n {
	case 126:
		if _, err := io.ReadFull(c.br, h[2:4]); err != nil {
			return f, err
		}
		if n = uint64(binary.BigEndian.Uint16(h[2:])); n < 126 {
			bad = "its length is not in the fewest bytes"
		}
	case 127:
		if _, err := io.ReadFull(c.br, h[2:10]); err != nil {
			return f, err
		}
		if n = binary.BigEndian.Uint64(h[2:]); n < 65536 {
			bad = "its length is not in the fewest bytes"
		}
	}
	if n > MaxFrame {
		return f, &Invalid{fmt.Sprintf("it claims %d bytes", n)}
	}
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(c.br, key[:]); err != nil {
			return f, err
		}
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(c.br, f.Payload); err != nil {
		return f, err
	}
	if masked {
		for i := range f.Payload {
			f.Payload[i] ^= key[i&3]
		}
	}
	switch {
	case masked && c.Client:
		bad = "a server masked it"
	case !masked && !c.Client:
		bad = "a client did not mask it"
	case f.Op > 2 && f.Op < 8 || f.Op > 10:
		bad = "its opcode is reserved"
	case f.RSV&(RSV2|RSV3) != 0:
		bad = "it has a reserved bit"
	case f.Op >= 8 && (f.More || n > 125 || f.RSV != 0):
		bad = "a control frame must be whole, short and without reserved bits"
	case f.Op == Close && n == 1:
		bad = "a Close frame has one byte"
	}
	if bad != "" {
		return f, &Invalid{bad}
	}
	return f, nil
}

// Invalid says that a frame broke the protocol.
type Invalid struct{ Why string }

func (e *Invalid) Error() string { return "raw: invalid frame: " + e.Why }

// Write sends frames in one write.
func (c *Conn) Write(frames ...Frame) error {
	var b []byte
	for _, f := range frames {
		b = f.Append(b, c.Client)
	}
	_, err := c.Net.Write(b)
	return err
}

// Key is the Sec-WebSocket-Key that this package sends.
const Key = "dGhlIHNhbXBsZSBub25jZQ=="

// Accept is the Sec-WebSocket-Accept for a key.
func Accept(key string) string {
	h := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(h[:])
}

// Request is the handshake of a client.
func Request(host, path, extensions string, header ...string) []byte {
	s := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + Key + "\r\n"
	if extensions != "" {
		s += "Sec-WebSocket-Extensions: " + extensions + "\r\n"
	}
	for _, h := range header {
		s += h + "\r\n"
	}
	return []byte(s + "\r\n")
}

// Dial connects to a server and makes the handshake within timeout. The bytes of early leave in the
// handshake's own packet.
func Dial(addr, path, extensions string, early []byte, timeout time.Duration) (*Conn, error) {
	nc, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	c, err := NewClient(nc, addr, path, extensions, early, timeout)
	if err != nil {
		nc.Close()
	}
	return c, err
}

// NewClient is Dial over a connection that is open already.
func NewClient(nc net.Conn, host, path, extensions string, early []byte, timeout time.Duration, header ...string) (*Conn, error) {
	nc.SetDeadline(time.Now().Add(timeout))
	if _, err := nc.Write(append(Request(host, path, extensions, header...), early...)); err != nil {
		return nil, err
	}
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != 101 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return nil, fmt.Errorf("raw: the server answered %s: %s", resp.Status, b)
	}
	switch {
	case !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket"),
		!strings.EqualFold(resp.Header.Get("Connection"), "upgrade"),
		resp.Header.Get("Sec-WebSocket-Accept") != Accept(Key):
		return nil, fmt.Errorf("raw: the server's handshake is wrong: %v", resp.Header)
	}
	return &Conn{Net: nc, Client: true, Header: resp.Header, br: br}, nil
}

// Server answers a client's handshake within timeout. The extensions of the answer are what
// respond makes of the request's. The bytes of early leave in the handshake's own packet.
func Server(nc net.Conn, respond func(offer string) string, early []byte, timeout time.Duration) (*Conn, error) {
	nc.SetDeadline(time.Now().Add(timeout))
	br := bufio.NewReader(nc)
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	if err != nil || len(key) != 16 || r.Method != "GET" || r.Header.Get("Sec-WebSocket-Version") != "13" ||
		!strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return nil, errors.New("raw: the client's handshake is wrong")
	}
	s := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + Accept(r.Header.Get("Sec-WebSocket-Key")) + "\r\n"
	if ext := respond(strings.Join(r.Header.Values("Sec-WebSocket-Extensions"), ", ")); ext != "" {
		s += "Sec-WebSocket-Extensions: " + ext + "\r\n"
	}
	if _, err := nc.Write(append([]byte(s+"\r\n"), early...)); err != nil {
		return nil, err
	}
	return &Conn{Net: nc, Header: r.Header, br: br}, nil
}
