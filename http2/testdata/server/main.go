// Command server prints what a server of this process announces on an HTTP/2 connection, and GODEBUG.
package main

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
)

func main() {
	srv := httptest.NewUnstartedServer(nil)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	c, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// The preface and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5); the answer begins with the server's.
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		log.Fatal(err)
	}
	var head [9]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		log.Fatal(err)
	}
	settings := make([]byte, binary.BigEndian.Uint32(head[:])>>8)
	if _, err := io.ReadFull(c, settings); err != nil || head[3] != 4 {
		log.Fatal(head, err)
	}
	offered := false
	for ; len(settings) >= 6; settings = settings[6:] {
		const enableConnectProtocol = 8 // RFC 8441, section 3
		if binary.BigEndian.Uint16(settings) == enableConnectProtocol && binary.BigEndian.Uint32(settings[2:]) == 1 {
			offered = true
		}
	}
	fmt.Print(offered, " ", os.Getenv("GODEBUG"))
}
