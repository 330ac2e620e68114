//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
)

// bareServer is the limit: a socket, a buffer, and no handling of anything that a
// good client does not do.
func bareServer() server {
	return server{name: "bare", plain: true, echoOnly: true, accept: func(l net.Listener) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			go bareConn(c)
		}
	}}
}

func bareConn(c net.Conn) {
	defer c.Close()
	req, err := http.ReadRequest(bufio.NewReaderSize(c, 1024))
	if err != nil {
		return
	}
	_, err = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		acceptOf(req.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
	if err != nil {
		return
	}
	bareEcho(c)
}

// bareEcho answers all whole frames that one read brought with one write.
func bareEcho(c net.Conn) {
	in := make([]byte, 4096)
	var out []byte
	for have := 0; ; {
		n, err := c.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		rest, need := in[:have], 0
		out = out[:0]
		for {
			if out, rest, need = bareFrame(out, rest); need > 0 {
				break
			}
		}
		if need > len(in) {
			rest = append(make([]byte, 0, 2*need), rest...)
			in = rest[:cap(rest)]
			have = len(rest)
		} else {
			have = copy(in, rest)
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

// bareFrame appends the answer to the first frame of in to out. It returns what
// comes after that frame, or how many bytes it must have.
func bareFrame(out, in []byte) (_, rest []byte, need int) {
	if len(in) < 14 && (len(in) < 2 || len(in) < 6+int(in[1]&127)) {
		return out, in, 14
	}
	head, n := 2, int(in[1]&127)
	switch n {
	case 126:
		head, n = 4, int(binary.BigEndian.Uint16(in[2:]))
	case 127:
		head, n = 10, int(binary.BigEndian.Uint64(in[2:]))
	}
	if need := head + 4 + n; len(in) < need {
		return out, in, need
	}
	out = append(out, in[:head]...)
	out[len(out)-head+1] &^= 0x80
	key := binary.LittleEndian.Uint32(in[head:])
	begin := len(out)
	out = append(out, in[head+4:head+4+n]...)
	unmask(out[begin:], key)
	return out, in[head+4+n:], 0
}

func unmask(b []byte, key uint32) {
	k := uint64(key)<<32 | uint64(key)
	for len(b) >= 32 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^k)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^k)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^k)
		b = b[32:]
	}
	for i := range b {
		b[i] ^= byte(k >> (8 * (i & 3)))
	}
}
