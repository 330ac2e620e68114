//go:build linux

package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"time"

	gobwas "github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/gobwas/ws/wsutil"
)

func gobwasServer(o serverOptions) http.Handler {
	read, write := wsutil.ReadClientData, wsutil.WriteServerMessage
	if o.deflate {
		read, write = gobwasInflate, gobwasDeflate
	}
	upgrade := func(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
		up := gobwas.HTTPUpgrader{}
		if o.deflate {
			e := wsflate.Extension{Parameters: wsflate.DefaultParameters} // one for each connection
			up.Negotiate = e.Negotiate
		}
		c, _, _, err := up.Upgrade(r, w)
		return c, err
	}
	var h hub[[]byte]
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrade(w, r)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			b, op, err := read(c)
			if err != nil {
				return
			}
			if err := write(c, op, b); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrade(w, r)
		if err != nil {
			return
		}
		m := h.join(256, func() { c.Close() }, func(frame []byte) error {
			c.SetWriteDeadline(time.Now().Add(10 * time.Second))
			_, err := c.Write(frame)
			return err
		})
		defer h.leave(m)
		for {
			b, op, err := read(c)
			if err != nil {
				return
			}
			var frame bytes.Buffer // made once for all
			if err := write(&frame, op, b); err != nil {
				return
			}
			h.take(m, frame.Bytes(), isJoin(b))
		}
	})
	return mux
}

func gobwasInflate(rw io.ReadWriter) ([]byte, gobwas.OpCode, error) {
	f, err := gobwas.ReadFrame(rw)
	if err != nil {
		return nil, 0, err
	}
	if f.Header.OpCode.IsControl() {
		return nil, 0, io.EOF // the load generator sends none but to leave
	}
	f, err = wsflate.DecompressFrame(gobwas.UnmaskFrameInPlace(f))
	return f.Payload, f.Header.OpCode, err
}

func gobwasDeflate(w io.Writer, op gobwas.OpCode, b []byte) error {
	f, err := wsflate.CompressFrame(gobwas.NewFrame(op, true, b))
	if err != nil {
		return err
	}
	return gobwas.WriteFrame(w, f)
}
