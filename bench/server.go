//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seed412db446/ws"
	_ "github.com/seed412db446/ws/http2"
)

// server is one of the programs that are compared. It echoes at /echo; at /chat
// it sends each message to everybody, but echoes those that isJoin.
type server struct {
	name     string
	handler  func(serverOptions) http.Handler // nil: accept
	accept   func(net.Listener) error         // in place of net/http
	command  []string                         // in place of this program
	plain    bool                             // has no compression
	echoOnly bool                             // has no broadcast
	noTLS    bool
}

// servers are those written in Go. The first is the one that ratios refer to.
func servers() []server {
	return slices.Concat(peers(), wsServers(), []server{bareServer()})
}

const reference = "coder"

// serverOptions are what a work asks of a server.
type serverOptions struct {
	deflate    bool // permessage-deflate for every message, without context takeover
	text       bool // messages are text
	tls        bool
	http2      bool // which all packages speak behind Guard
	sendBuffer int  // of a socket; 0: the system's
}

func (s server) can(w work) bool {
	return !(s.plain && w.deflate || s.echoOnly && w.chat || s.noTLS && w.tls || w.mux > 0 && s.accept != nil || w.mux > 0 && s.command != nil)
}

const maxMessage = 1 << 20

// isJoin reports whether a message at /chat asks to be echoed to its sender
// alone. The answer shows that the sender has joined.
func isJoin(b []byte) bool { return len(b) > 0 && b[0] == 'J' }

const serveCommand = "serve"

// serve is the server's process. It prints its address, then obeys the lines
// that come in until there are no more.
func serve(args []string) error {
	fs := flag.NewFlagSet("bench "+serveCommand, flag.ContinueOnError)
	var o serverOptions
	name := fs.String("name", "", "")
	fs.BoolVar(&o.deflate, "deflate", false, "")
	fs.BoolVar(&o.text, "text", false, "")
	fs.BoolVar(&o.tls, "tls", false, "")
	fs.BoolVar(&o.http2, "http2", false, "")
	fs.IntVar(&o.sendBuffer, "sendbuffer", 0, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	i := slices.IndexFunc(servers(), func(s server) bool { return s.name == *name })
	if i < 0 {
		return fmt.Errorf("there is no server %q", *name)
	}
	s := servers()[i]
	l, err := listen(o)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		if s.accept != nil {
			failed <- s.accept(l)
			return
		}
		h := &http.Server{Handler: s.handler(o), ErrorLog: log.New(io.Discard, "", 0)}
		if o.http2 {
			h.Handler = ws.Guard(h.Handler)
		}
		failed <- h.Serve(l)
	}()
	fmt.Println(l.Addr())

	lines := make(chan string)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
		close(lines)
	}()
	for {
		select {
		case err := <-failed:
			return err
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			if err := obey(line); err != nil {
				return err
			}
			fmt.Println("ok")
		}
	}
}

func obey(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "gc":
		runtime.GC() // twice, as a sync.Pool survives once
		debug.FreeOSMemory()
	case "profile":
		f, err := os.Create(arg)
		if err != nil {
			return err
		}
		return pprof.StartCPUProfile(f)
	case "heap":
		f, err := os.Create(arg)
		if err != nil {
			return err
		}
		defer f.Close()
		return pprof.WriteHeapProfile(f)
	case "stop":
		pprof.StopCPUProfile()
	default:
		return fmt.Errorf("unknown command %q", line)
	}
	return nil
}

func listen(o serverOptions) (net.Listener, error) {
	var lc net.ListenConfig
	if o.sendBuffer > 0 { // accepted sockets inherit it
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			ctlErr := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, o.sendBuffer)
			})
			return errors.Join(ctlErr, err)
		}
	}
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l = impatient{l}
	if !o.tls {
		return l, nil
	}
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	if o.http2 {
		cfg.NextProtos = []string{"h2"}
	}
	return tls.NewListener(l, cfg), nil
}

// impatient is a listener whose errors end a server. net/http would wait until a
// descriptor is free.
type impatient struct{ net.Listener }

func (l impatient) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, fmt.Errorf("accepting a connection: %w", exhausted(err))
	}
	return c, nil
}

func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// process is a server's process as seen from the load generator.
type process struct {
	addr    string
	pid     int
	profile string // where to write a CPU profile of the measured window; "" for none

	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	lines  *bufio.Reader
	stderr bytes.Buffer
}

const answerTimeout = 20 * time.Second

func start(s server, w work) (*process, error) {
	var sendBuffer int
	if w.stalled > 0 {
		sendBuffer = 64 << 10
	}
	p := &process{}
	if s.command != nil {
		p.cmd = exec.Command(s.command[0], s.command[1:]...)
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p.cmd = exec.Command(self, serveCommand, "-name", s.name, fmt.Sprintf("-deflate=%t", w.deflate),
			fmt.Sprintf("-text=%t", w.text), fmt.Sprintf("-tls=%t", w.tls), fmt.Sprintf("-http2=%t", w.mux > 0), fmt.Sprintf("-sendbuffer=%d", sendBuffer))
	}
	p.cmd.Stderr = &p.stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = out.(*os.File)
	p.lines = bufio.NewReader(p.out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.pid = p.cmd.Process.Pid
	if p.addr, err = p.line(); err != nil {
		p.stop()
		return nil, fmt.Errorf("the server did not start: %w%s", err, p.complaint())
	}
	return p, nil
}

func (p *process) line() (string, error) {
	p.out.SetReadDeadline(time.Now().Add(answerTimeout))
	s, err := p.lines.ReadString('\n')
	return strings.TrimSpace(s), err
}

// ask has the server carry out a command.
func (p *process) ask(command string) error {
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		return fmt.Errorf("asking the server for %q: %w", command, err)
	}
	if s, err := p.line(); err != nil || s != "ok" {
		return fmt.Errorf("asking the server for %q: got %q: %w", command, s, err)
	}
	return nil
}

// stop ends the process, and returns an error if it had ended by itself.
func (p *process) stop() error {
	p.in.Close() // tells it to end
	timer := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the server's process ended with %w", err)
	}
	return nil
}

// complaint is the end of what the process wrote to its standard error. It is
// called after stop.
func (p *process) complaint() string {
	s := strings.TrimSpace(p.stderr.String())
	if s == "" {
		return ""
	}
	return "; the server says: " + s[:min(len(s), 2000)]
}
