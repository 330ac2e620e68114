//go:build !js

package ws_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

// ask dials h in memory, sends each message in turn and waits for its answer.
// Then it waits for the server to close, or closes.
func ask(h http.Handler, messages ...string) (answers []string, end ws.CloseEvent, err error) {
	got := make(chan string)
	closed := make(chan ws.CloseEvent, 1)
	c, err := ws.Dial(context.Background(), "http://example.com/ws", ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error { got <- m.String(); return nil },
		OnClose:   func(c *ws.Conn, e ws.CloseEvent) { closed <- e },
	}, &ws.DialOptions{Handler: h})
	if err != nil {
		return nil, end, err
	}
	for _, m := range messages {
		c.SendText(m)
		select {
		case answer := <-got:
			answers = append(answers, answer)
		case end := <-closed:
			return answers, end, nil
		}
	}
	c.Close(websocket.StatusNormalClosure, "")
	return answers, <-closed, nil
}

func ExampleUpgrade() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		count := 0 // this connection's own: callbacks run one at a time
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				count++
				return c.SendText(fmt.Sprintf("%d: %s", count, m))
			},
		}, nil
	}))
	// http.ListenAndServe(":3000", ws.Guard(mux))

	fmt.Println(ask(mux, "hello", "again"))
	// Output: [1: hello 2: again] {StatusNormalClosure  true <nil>} <nil>
}

// A middleware that sets a header too late is named.
func ExampleGuard() {
	late := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			w.Header().Set("X-Took", "a while")
		})
	}
	reports := make(chan error, 1)
	u := &ws.Upgrader{OnError: func(r *http.Request, err error) { reports <- err }}
	echo := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) }}, nil
	})
	ask(ws.Guard(late(echo)), "hello")

	var report *ws.HeaderError
	if errors.As(<-reports, &report) {
		fmt.Println(report.Op, report.Key, path.Base(report.File))
	}
	// Output: set X-Took example_test.go
}

// Behind http.TimeoutHandler, whose writer hides http.Hijacker, an upgrade works with Guard.
func ExampleGuard_timeoutHandler() {
	u := &ws.Upgrader{OnError: func(r *http.Request, err error) {}}
	echo := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) }}, nil
	})
	h := http.TimeoutHandler(echo, time.Minute, "too late")

	_, _, err := ask(h, "hello")
	fmt.Println(err)
	answers, _, err := ask(ws.Guard(h), "hello")
	fmt.Println(answers, err)
	// Output:
	// ws: the handshake was refused with 501: *http.timeoutWriter hides http.Hijacker; install ws.Guard outside it
	// [hello] <nil>
}

// Authenticate in the factory: it runs before the answer, and can refuse.
func ExampleReject() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		if r.Header.Get("Authorization") == "" {
			return ws.Events{}, ws.Reject(http.StatusForbidden, "members only")
		}
		return ws.Events{}, nil
	})
	_, _, err := ask(h)
	var refused *ws.HandshakeError
	if errors.As(err, &refused) {
		fmt.Println(refused.Status, refused.Err)
	}
	// Output: 403 members only
}

// Any rule can decide which pages may connect. This one also refuses a Host that is
// not ours, against DNS rebinding.
func ExampleUpgrader_checkOrigin() {
	u := &ws.Upgrader{
		OnError: func(r *http.Request, err error) {},
		CheckOrigin: func(r *http.Request) bool {
			origin := r.Header.Get("Origin") // "": no page
			return r.Host == "example.com" && (origin == "" || origin == "https://app.example.com")
		},
	}
	h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) { return ws.Events{}, nil })
	for _, origin := range []string{"https://app.example.com", "https://evil.test"} {
		_, err := ws.Dial(context.Background(), "ws://example.com/", ws.Events{}, &ws.DialOptions{
			Handler: h,
			Engine:  websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}},
		})
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// ws: the handshake was refused with 403: a page of Origin "https://evil.test" may not connect to Host "example.com": Upgrader.CheckOrigin says so
}

// Browsers hide from a page why it was refused. RejectWithClose tells it.
func ExampleUpgrader_rejectWithClose() {
	u := &ws.Upgrader{RejectWithClose: true}
	h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(http.StatusUnauthorized, "sign in first")
	})
	closed := make(chan ws.CloseEvent)
	ws.Dial(context.Background(), "ws://example.com/", ws.Events{
		OnClose: func(c *ws.Conn, e ws.CloseEvent) { closed <- e },
	}, &ws.DialOptions{
		Handler: h,
		Engine:  websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://example.com"}}}, // as a page has it
	})
	e := <-closed
	fmt.Println(int(e.Code), e.Reason)
	// Output: 4401 sign in first
}

// An OnError of one's own can count errors, say, and leave the log as it is.
func ExampleUpgrader_LogError() {
	counted := make(chan string, 1)
	u := &ws.Upgrader{}
	u.OnError = func(r *http.Request, err error) {
		counted <- r.URL.Path
		u.LogError(r, err)
	}
	h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(http.StatusForbidden, "members only")
	})
	ask(h)
	fmt.Println(<-counted)
	// Output: /ws
}

// A factory may choose the subprotocol by what the client offers.
func ExampleSubprotocols() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		for _, p := range ws.Subprotocols(r) {
			if strings.HasPrefix(p, "chat.") {
				w.Header().Set("Sec-WebSocket-Protocol", p)
				break
			}
		}
		return ws.Events{}, nil
	})
	c, err := ws.Dial(context.Background(), "ws://example.com/", ws.Events{}, &ws.DialOptions{
		Handler: h,
		Engine:  websocket.DialOptions{Subprotocols: []string{"mail.v1", "chat.v2", "chat.v1"}},
	})
	if err == nil {
		fmt.Println(c.Subprotocol())
	}
	// Output: chat.v2
}

func ExampleUpgrader() {
	u := &ws.Upgrader{
		Engine: websocket.AcceptOptions{
			OriginPatterns: []string{"*.example.com"}, // pages of other hosts that may connect
			Subprotocols:   []string{"chat.v2", "chat.v1"},
		},
		Limits: ws.Limits{ReadLimit: 10, PingInterval: time.Minute},
	}
	h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
			OnError:   func(c *ws.Conn, err error) { fmt.Println(err) },
		}, nil
	})
	answers, end, _ := ask(h, "short", "too long for it")
	fmt.Println(answers, int(end.Code))
	// Output:
	// ws: the peer sent a message of more than 10 bytes (Limits.ReadLimit)
	// [short] 1009
}

// Serve upgrades inside a handler of one's own.
func ExampleUpgrader_Serve() {
	u := new(ws.Upgrader)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := u.Serve(w, r, ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.SendText(strings.ToUpper(m.String())) },
		})
		fmt.Println("served:", err)
	})
	done := make(chan bool)
	answers, _, _ := ask(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h(w, r)
		close(done)
	}), "hello")
	<-done
	fmt.Println(answers)
	// Output:
	// served: <nil>
	// [HELLO]
}

// Shut the Upgrader down before the http.Server, which knows nothing of WebSockets.
func ExampleUpgrader_Shutdown() {
	u := new(ws.Upgrader)
	opened := make(chan bool)
	server := &http.Server{Handler: u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnOpen:  func(c *ws.Conn) error { close(opened); return nil },
			OnClose: func(c *ws.Conn, e ws.CloseEvent) { fmt.Println("server:", int(e.Code), e.WasClean) },
		}, nil
	})}
	closed := make(chan ws.CloseEvent, 1)
	ws.Dial(context.Background(), "http://example.com/", ws.Events{
		OnClose: func(c *ws.Conn, e ws.CloseEvent) { closed <- e },
	}, &ws.DialOptions{Handler: server.Handler})
	<-opened

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	u.Shutdown(ctx) // every OnClose has returned now
	server.Shutdown(ctx)
	e := <-closed
	fmt.Println("client:", int(e.Code), e.WasClean)
	// Output:
	// server: 1001 true
	// client: 1001 true
}

// A room: everybody gets what one of them says.
func ExampleGroup() {
	var room ws.Group
	joined := make(chan bool)
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnOpen: func(c *ws.Conn) error {
				room.Add(c) // leaves by itself
				joined <- true
				return nil
			},
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				room.Broadcast(m, c) // to all but c
				return nil
			},
		}, nil
	})
	said := make(chan string)
	join := func(name string) *ws.Conn {
		c, _ := ws.Dial(context.Background(), "http://example.com/", ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { said <- name + " got " + m.String(); return nil },
		}, &ws.DialOptions{Handler: h})
		<-joined
		return c
	}
	join("ann")
	join("bob").SendText("hello")
	fmt.Println(room.Len(), <-said)
	// Output: 2 ann got hello
}

// Messages that belong together leave in one write a member, and none comes between them.
func ExampleGroup_BroadcastAll() {
	var room ws.Group
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnOpen: func(c *ws.Conn) error { room.Add(c); return nil },
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				return room.BroadcastAll([]ws.Message{ws.Text("a picture by " + m.String()), ws.Binary([]byte("GIF89a…"))})
			},
		}, nil
	})
	got, closed := make(chan ws.Message), make(chan bool)
	c, _ := ws.Dial(context.Background(), "http://example.com/", ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error { got <- m; return nil },
		OnClose:   func(*ws.Conn, ws.CloseEvent) { close(closed) },
	}, &ws.DialOptions{Handler: h})
	c.SendText("ann")
	for range 2 {
		m := <-got
		fmt.Println(m.Type, m)
	}
	c.Close(websocket.StatusNormalClosure, "")
	<-closed
	// Output:
	// MessageText a picture by ann
	// MessageBinary GIF89a…
}

// Value says whose connection it is, to code that has only the Conn.
func ExampleConn_Value() {
	var all ws.Group
	joined := make(chan bool)
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			Value:  r.URL.Query().Get("user"),
			OnOpen: func(c *ws.Conn) error { all.Add(c); joined <- true; return nil },
		}, nil
	})
	closed := make(chan string)
	for _, user := range []string{"ann", "bob"} {
		ws.Dial(context.Background(), "http://example.com/?user="+user, ws.Events{
			OnClose: func(_ *ws.Conn, e ws.CloseEvent) { closed <- user + ": " + e.Reason },
		}, &ws.DialOptions{Handler: h})
		<-joined
	}
	for c := range all.All() {
		if c.Value() == "bob" {
			c.Close(4403, "you were banned")
		}
	}
	fmt.Println(<-closed)
	// Output: bob: you were banned
}

// A stream carries any protocol of a net.Conn. Here both ends speak lines.
func ExampleStream() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Stream(func(c net.Conn) {
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				fmt.Fprintln(c, strings.ToUpper(lines.Text()))
			}
			fmt.Fprintln(c, "BYE") // the client has called CloseWrite
		}), nil
	})
	done := make(chan bool)
	ws.Dial(context.Background(), "http://example.com/", ws.Stream(func(c net.Conn) {
		defer close(done)
		c.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(c, "hello\nagain\n")
		c.(interface{ CloseWrite() error }).CloseWrite()
		answer, err := io.ReadAll(c) // until the server's function has returned
		fmt.Printf("%s%v", answer, err)
	}), &ws.DialOptions{Handler: h})
	<-done
	// Output:
	// HELLO
	// AGAIN
	// BYE
	// <nil>
}

// TrySend suits messages that are worth nothing later: a position, a price.
func ExampleConn_TrySend() {
	tick := func(c *ws.Conn, price string) {
		switch err := c.TrySend(ws.Text(price)); {
		case errors.Is(err, ws.ErrBufferFull):
			// The client is slow. It gets the next price instead.
		case err != nil:
			return // the connection is closing
		}
	}
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error { tick(c, "42"); return nil }}, nil
	})
	answers, _, _ := ask(h, "price?")
	fmt.Println(answers)
	// Output: [42]
}

// Ping measures the round trip. It is not for the connection's own callbacks, which
// hold up the pong.
func ExampleConn_Ping() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, nil
	})
	c, err := ws.Dial(context.Background(), "http://example.com/", ws.Events{}, &ws.DialOptions{Handler: h})
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := c.Ping(context.Background())
	fmt.Println(d > 0, err)
	fmt.Println(c.Stats().RTT == d)
	// Output:
	// true <nil>
	// true
}

func ExampleConn_Stats() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			s := c.Stats()
			return c.SendText(fmt.Sprintf("%d messages of %d bytes, %d with their frames", s.MessagesIn, s.BytesIn, s.WireIn))
		}}, nil
	})
	answers, _, _ := ask(h, "hello", "world")
	fmt.Println(answers[1])
	// Output: 2 messages of 10 bytes, 22 with their frames
}

// NetConn gives the connection's addresses and, where it is a socket, its options.
func ExampleConn_NetConn() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			if tcp, ok := c.NetConn().(*net.TCPConn); ok {
				tcp.SetKeepAlive(false) // the heartbeat finds out as well
			}
			return c.SendText("you are " + c.NetConn().RemoteAddr().String())
		}}, nil
	})
	answers, _, _ := ask(h, "who am I?")
	fmt.Println(answers)
	// Output: [you are 192.0.2.1:1234]
}

// Closing with a code is the way to tell a page why.
func ExampleConn_Close() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Close(4001, "bye") },
			// or: return websocket.CloseError{Code: 4001, Reason: "bye"}
		}, nil
	})
	_, end, _ := ask(h, "hello")
	fmt.Println(int(end.Code), end.Reason, end.WasClean)
	// Output: 4001 bye true
}

func ExampleMessage_Decode() {
	type point struct{ X, Y int }
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			var p point
			if err := m.Decode(&p); err != nil {
				return websocket.CloseError{Code: websocket.StatusInvalidFramePayloadData, Reason: "not a point"}
			}
			return c.SendJSON(point{p.Y, p.X})
		}}, nil
	})
	answers, _, _ := ask(h, `{"X":1,"Y":2}`)
	_, end, _ := ask(h, "nonsense")
	fmt.Println(answers, int(end.Code), end.Reason)
	// Output: [{"X":2,"Y":1}] 1007 not a point
}
