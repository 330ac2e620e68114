package differential

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
	"github.com/lxzan/gws"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/protocol/raw"
)

const (
	limit    = 1 << 18 // bytes of a message
	patience = 20 * time.Second
)

// setup is what a case fixes besides the bytes.
type setup struct {
	compress, takeover bool
	cuts               uint64 // seed of the places where the bytes are cut
}

// A server delivers messages to deliver until the connection has ended.
type server func(w http.ResponseWriter, r *http.Request, s setup, deliver func(op byte, data []byte))

func wsServer(w http.ResponseWriter, r *http.Request, s setup, deliver func(op byte, data []byte)) {
	u := &ws.Upgrader{OnError: func(*http.Request, error) {}, Limits: ws.Limits{ReadLimit: limit, PingInterval: -1}}
	if s.compress {
		u.Engine.CompressionMode = coder.CompressionNoContextTakeover
		if s.takeover {
			u.Engine.CompressionMode = coder.CompressionContextTakeover
		}
	}
	ws.Guard(u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(_ *ws.Conn, m ws.Message) error {
			deliver(byte(m.Type), m.Data)
			return nil
		}}, nil
	})).ServeHTTP(w, r)
}

func gorillaServer(w http.ResponseWriter, r *http.Request, s setup, deliver func(op byte, data []byte)) {
	up := websocket.Upgrader{EnableCompression: s.compress}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetReadLimit(limit)
	for {
		op, b, err := c.ReadMessage()
		if err != nil {
			return
		}
		deliver(byte(op), b)
	}
}

type gwsEvents struct {
	gws.BuiltinEventHandler
	deliver func(op byte, data []byte)
}

func (gwsEvents) OnPing(*gws.Conn, []byte) {}
func (e gwsEvents) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	e.deliver(byte(m.Opcode), m.Bytes())
}

type quiet struct{}

func (quiet) Error(...any) {}

func gwsServer(w http.ResponseWriter, r *http.Request, s setup, deliver func(op byte, data []byte)) {
	up := gws.NewUpgrader(gwsEvents{deliver: deliver}, &gws.ServerOption{
		CheckUtf8Enabled: true, Logger: quiet{}, ReadMaxPayloadSize: limit,
		PermessageDeflate: gws.PermessageDeflate{
			Enabled: s.compress, ServerContextTakeover: s.takeover, ClientContextTakeover: s.takeover,
			ServerMaxWindowBits: 15, ClientMaxWindowBits: 15,
		},
	})
	c, err := up.Upgrade(w, r)
	if err != nil {
		return
	}
	c.ReadLoop()
}

// script is the server's end of a connection in memory. Its input is there from the start, in pieces.
type script struct {
	net.Conn // nil: nothing else is called
	mu       sync.Mutex
	in       []byte
	rand     *rand.Rand
	out      bytes.Buffer
	closed   bool
}

func (c *script) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := 1 + int(c.rand.ExpFloat64()*float64(int(1)<<c.rand.IntN(14))) // of every magnitude
	n = copy(p, c.in[:min(n, len(c.in))])
	c.in = c.in[n:]
	return n, nil
}

func (c *script) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.out.Write(p)
}

func (c *script) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// writer is net/http's, as far as an upgrade needs it.
type writer struct {
	*httptest.ResponseRecorder
	conn *script
}

func (w writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// run gives in to a server and returns what became of it, unless the server panicked.
func run(t *testing.T, name string, f server, in []byte, s setup) (o outcome, panicked any) {
	t.Helper()
	offer := ""
	if s.compress {
		offer = "permessage-deflate"
		if !s.takeover {
			offer += "; client_no_context_takeover; server_no_context_takeover"
		}
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw.Request("x", "/", offer))))
	if err != nil {
		t.Fatal(err)
	}
	conn := &script{in: in, rand: rand.New(rand.NewPCG(s.cuts, 0))}
	w := writer{httptest.NewRecorder(), conn}
	done := make(chan any, 1)
	var mu sync.Mutex
	go func() {
		defer func() { done <- recover() }()
		f(w, r, s, func(op byte, data []byte) {
			mu.Lock()
			defer mu.Unlock()
			o.messages = append(o.messages, message{op, string(data)})
		})
	}()
	select {
	case panicked = <-done:
		if panicked != nil {
			return o, panicked
		}
	case <-time.After(patience):
		t.Fatalf("%s hangs", name)
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	_, out, found := bytes.Cut(conn.out.Bytes(), []byte("\r\n\r\n"))
	if !found {
		t.Fatalf("%s did not upgrade: %d %s %q", name, w.Code, w.Body, conn.out.Bytes())
	}
	if o.code, err = sent(out); err != nil {
		t.Errorf("%s sent %q: %v", name, out, err)
	}
	return o, nil
}

// sent returns the code of the Close frame with which out ends.
func sent(out []byte) (code int, err error) {
	for len(out) > 0 {
		if len(out) < 2 || out[1] > 125 || len(out) < 2+int(out[1]) {
			return 0, fmt.Errorf("%q is no control frame", out)
		}
		p := out[2 : 2+out[1]]
		b0 := out[0]
		switch out = out[2+len(p):]; {
		case b0 == 0x8a:
		case b0 != 0x88 || len(p) == 1 || len(out) > 0:
			return 0, fmt.Errorf("a frame %#x %q, and %d bytes after it", b0, p, len(out))
		case len(p) == 0:
			return emptyClose, nil
		default:
			return int(binary.BigEndian.Uint16(p)), nil
		}
	}
	return noClose, nil
}

// FuzzFrames gives the same bytes, cut at places that the case fixes, to ws and to other servers. Each
// must deliver the messages and end with the code that the RFCs want (judge), but for what its
// exceptions explain. With -short only ws is judged.
func FuzzFrames(f *testing.F) {
	for _, in := range seeds() {
		for flags := range byte(4) {
			f.Add(flags, uint64(len(in)), in)
		}
		f.Add(byte(1), uint64(0), in[:len(in)*2/3])
	}
	f.Fuzz(func(t *testing.T, flags byte, cuts uint64, in []byte) {
		s := setup{compress: flags&1 != 0, takeover: flags&3 == 3, cuts: cuts}
		if len(in) > 1<<16 {
			return
		}
		want := judge(in, s.compress, s.takeover, limit)
		got, panicked := run(t, "ws", wsServer, in, s)
		if panicked != nil {
			t.Fatalf("ws panicked: %v", panicked)
		}
		compare(t, "ws", got, want, wsExceptions)
		if testing.Short() { // others' faults that nobody has met yet are no failure of ours
			return
		}
		if got, panicked := run(t, "gws", gwsServer, in, s); panicked == nil { // as it does at lengths with the top bit
			compare(t, "gws", got, want, gwsExceptions)
		}
		if s.takeover { // which gorilla does not know
			return
		}
		if got, panicked := run(t, "gorilla", gorillaServer, in, s); panicked == nil {
			compare(t, "gorilla", got, want, gorillaExceptions)
		}
	})
}

func compare(t *testing.T, name string, got outcome, want verdict, exceptions []exception) {
	t.Helper()
	code, messages := !want.loose, true
	for _, e := range exceptions {
		if e.when(want) {
			code, messages = false, messages && !e.messages
		}
	}
	if code && got.code != want.code {
		t.Errorf("%s ended with code %d, want %d (%s)", name, got.code, want.code, want.kind)
	}
	if messages && !slices.Equal(got.messages, want.messages) {
		t.Errorf("%s delivered %.200q, want %.200q (then %s)", name, got.messages, want.messages, want.kind)
	}
}

// seeds are the kinds of cases that ../protocol has.
func seeds() (out [][]byte) {
	add := func(frames ...raw.Frame) {
		var b []byte
		for _, f := range frames {
			f.ZeroMask = len(out)%2 == 0 // easier to change
			b = f.Append(b, true)
		}
		out = append(out, b)
	}
	frame := func(op byte, p string) raw.Frame { return raw.Frame{Op: op, Payload: []byte(p)} }
	begin := func(op byte, p string) raw.Frame { return raw.Frame{Op: op, Payload: []byte(p), More: true} }
	squeezed := func(op byte, p string) raw.Frame {
		return raw.Frame{Op: op, RSV: raw.RSV1, Payload: raw.NewDeflater(true, 15).Message([]byte(p))}
	}
	packed := func(op byte, p string) raw.Frame { return raw.Frame{Op: op, RSV: raw.RSV1, Payload: []byte(p)} }
	bye := frame(raw.Close, "\x03\xe8bye")
	long := strings.Repeat("A message that is longer, ", 100)
	add(bye)
	for _, n := range []int{0, 1, 125, 126, 127, 4095, 4096, 20000} {
		add(frame(raw.Text, strings.Repeat("x", n)), frame(raw.Binary, strings.Repeat("\xff", n)), bye)
	}
	add(begin(raw.Text, "Hel"), frame(raw.Ping, "p"), begin(raw.Continuation, ""), frame(raw.Continuation, "lo"), frame(raw.Pong, ""), bye)
	add(begin(raw.Binary, long), begin(raw.Continuation, long), frame(raw.Continuation, long), frame(raw.Text, "after"), bye)
	for _, p := range []string{"κόσμε", "\xf4\x90\x80\x80", "\xed\xa0\x80", "\xc3", "a\xff", "\xf0\x9f\x98\x80"} {
		add(frame(raw.Text, p), bye)
		add(begin(raw.Text, p[:1]), frame(raw.Continuation, p[1:]), bye)
		add(begin(raw.Text, p), frame(raw.Ping, ""), frame(raw.Continuation, "x"), bye)
		add(squeezed(raw.Text, p), bye)
		add(frame(raw.Close, "\x03\xe8"+p))
	}
	for _, code := range []int{0, 999, 1000, 1001, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 2999, 3000, 4999, 5000, 65535} {
		add(frame(raw.Close, string(raw.ClosePayload(code, "r"))), frame(raw.Text, "late"))
	}
	add(frame(raw.Close, ""))
	add(frame(raw.Close, "\x03"))
	add(frame(raw.Ping, strings.Repeat("x", 125)), frame(raw.Ping, strings.Repeat("x", 126)))
	add(begin(raw.Ping, ""), bye)
	add(frame(raw.Continuation, "x"), bye)
	add(begin(raw.Text, "x"), frame(raw.Text, "y"), bye)
	for op := range byte(16) {
		add(frame(raw.Text, "first"), frame(op, "x"), bye)
	}
	for rsv := range byte(8) {
		add(frame(raw.Text, "first"), raw.Frame{Op: raw.Text, RSV: rsv, Payload: []byte("x")}, bye)
		add(raw.Frame{Op: raw.Ping, RSV: rsv}, bye)
		add(begin(raw.Text, "x"), raw.Frame{Op: raw.Continuation, RSV: rsv}, bye)
	}
	add(raw.Frame{Op: raw.Text, FlipMask: true, Payload: []byte("Hello")}, bye)
	for _, claim := range []uint64{1, limit, limit + 1, 1 << 31, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		add(raw.Frame{Op: raw.Binary, Claim: claim, Payload: []byte("x")}, bye)
	}
	add(raw.Frame{Op: raw.Binary, Form: 2, Payload: []byte("x")}, raw.Frame{Op: raw.Text, Form: 8, Payload: []byte("y")}, bye)

	add(squeezed(raw.Text, "Hello"), squeezed(raw.Binary, long), squeezed(raw.Text, ""), frame(raw.Text, "plain"), bye)
	shared := raw.NewDeflater(false, 15)
	add(packed(raw.Text, string(shared.Message([]byte(long)))), packed(raw.Text, string(shared.Message([]byte(long)))), bye)
	add(squeezed(raw.Binary, strings.Repeat("\x00", limit)), squeezed(raw.Binary, strings.Repeat("\x00", limit+1)), bye)
	z := squeezed(raw.Text, long)
	add(raw.Frame{Op: raw.Text, RSV: raw.RSV1, Payload: z.Payload[:9], More: true}, frame(raw.Ping, ""), frame(raw.Continuation, string(z.Payload[9:])), bye)
	add(raw.Frame{Op: raw.Text, RSV: raw.RSV1, Payload: z.Payload[:9]}, bye)
	for _, p := range []string{
		"\xf2\x48\xcd\xc9\xc9\x07\x00", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", // RFC 7692, section 7.2.3
		"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "\xf2\x00\x11\x00\x00", "\xff\xff\xff", "", "\x00", "\x00\x09\x00\xf6\xff\x48\x65\x6c\x6c\x6f",
	} {
		add(packed(raw.Text, p), packed(raw.Text, "\xf2\x48\xcd\xc9\xc9\x07\x00"), bye)
	}
	return out
}
