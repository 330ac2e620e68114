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
	"net/http/httptest"
	"path"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// A server and a client. The factory runs once for each connection, whose state is its closure.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		name, count := r.FormValue("name"), 0
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				count++ // without a lock: callbacks run one at a time
				return c.SendText(fmt.Sprintf("message %d of %s: %s", count, name, m))
			},
		}, nil
	}))
	server := httptest.NewServer(ws.Guard(mux)) // or http.ListenAndServe(":3000", ws.Guard(mux))
	defer server.Close()

	closed := make(chan ws.CloseEvent)
	c, err := ws.Dial(context.Background(), server.URL+"/ws?name=ann", ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error {
			fmt.Println(m)
			return c.Close(websocket.StatusNormalClosure, "")
		},
		OnClose: func(c *ws.Conn, e ws.CloseEvent) { closed <- e },
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c.SendText("hello")
	e := <-closed
	fmt.Println(int(e.Code), e.WasClean)
	// Output:
	// message 1 of ann: hello
	// 1000 true
}

func ExampleUpgrade() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		}, nil
	})
	talk(h, "hello", "again")
	// Output:
	// hello
	// again
	// closed: 1000 ""
}

// What becomes of a panic: the connection ends, and the process goes on.
func ExampleEvents() {
	ended := make(chan ws.CloseEvent, 1)
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnOpen:    func(c *ws.Conn) error { return nil }, // acquires what OnClose releases
			OnMessage: func(c *ws.Conn, m ws.Message) error { panic("no such command: " + m.String()) },
			OnError:   func(c *ws.Conn, err error) {}, // logs it; a *ws.PanicError has the stack
			OnClose:   func(c *ws.Conn, e ws.CloseEvent) { ended <- e },
		}, nil
	}), "jump")
	e := <-ended
	fmt.Println(e.Err)
	// Output:
	// closed: 1011 ""
	// ws: a callback panicked: no such command: jump
}

// An Upgrader has the options of its connections.
func ExampleUpgrader() {
	u := &ws.Upgrader{
		Engine: websocket.AcceptOptions{
			OriginPatterns:  []string{"*.example.org"}, // pages of other hosts that may connect
			Subprotocols:    []string{"chat.v2", "chat.v1"},
			CompressionMode: websocket.CompressionNoContextTakeover,
		},
		Fallback: http.FileServer(http.Dir("web")), // for requests that are no handshake
		Detach:   true,                             // the handler returns after the upgrade
		Limits:   ws.Limits{ReadLimit: 10, PingInterval: time.Minute, PingTimeout: 5 * time.Second, ReuseData: true},
	}
	talk(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
		}, nil
	}), "short", "too long for it")
	// Output:
	// short
	// closed: 1009 "message too big"
}

// The factory authenticates: it runs before the answer, and can refuse.
func ExampleReject() {
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		session, err := r.Cookie("session")
		if err != nil {
			return ws.Events{}, ws.Reject(http.StatusUnauthorized, "sign in first")
		}
		return ws.Events{Value: session.Value}, nil
	}))
	// Output: ws: the handshake was refused with 401: sign in first
}

// Browsers hide from a page why it was refused. RejectWithClose tells it.
func ExampleUpgrader_rejectWithClose() {
	u := &ws.Upgrader{RejectWithClose: true}
	talk(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(http.StatusUnauthorized, "sign in first")
	}))
	// Output: closed: 4401 "sign in first"
}

// Any rule can decide which pages may connect. This one also refuses a Host that is
// not ours, against DNS rebinding.
func ExampleUpgrader_checkOrigin() {
	u := &ws.Upgrader{
		CheckOrigin: func(r *http.Request) bool {
			origin := r.Header.Get("Origin") // "": no page
			return r.Host == "example.com" && (origin == "" || origin == "https://example.com")
		},
		OnError: func(r *http.Request, err error) {}, // no log
	}
	talk(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, nil
	}))
	// Output: ws: the handshake was refused with 403: a page of Origin "http://example.com" may not connect to Host "example.com": Upgrader.CheckOrigin says so
}

// A page can't set headers, but it can offer subprotocols, and one of them may be a token:
// new WebSocket(url, ["chat", "token." + token]). The answer is the other one.
func ExampleSubprotocols() {
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		for _, offered := range ws.Subprotocols(r) {
			if token, ok := strings.CutPrefix(offered, "token."); ok && token == "7" {
				w.Header().Set("Sec-WebSocket-Protocol", "chat")
				return ws.Events{}, nil
			}
		}
		return ws.Events{}, ws.Reject(http.StatusUnauthorized, "no valid token")
	})
	c, err := ws.Dial(context.Background(), "ws://example.com/", ws.Events{}, &ws.DialOptions{
		Handler: h,
		Engine:  websocket.DialOptions{Subprotocols: []string{"chat", "token.7"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Subprotocol())
	// Output: chat
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
	talk(ws.Guard(late(echo)), "hello")

	var report *ws.HeaderError
	if errors.As(<-reports, &report) {
		fmt.Println(report.Op, report.Key, path.Base(report.File))
	}
	// Output:
	// hello
	// closed: 1000 ""
	// set X-Took example_test.go
}

// Behind http.TimeoutHandler, whose writer hides http.Hijacker, an upgrade works with Guard.
func ExampleGuard_timeoutHandler() {
	u := &ws.Upgrader{OnError: func(r *http.Request, err error) {}} // no log
	h := http.TimeoutHandler(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) }}, nil
	}), time.Minute, "too late")

	talk(h, "hello")
	talk(ws.Guard(h), "hello")
	// Output:
	// ws: the handshake was refused with 501: *http.timeoutWriter hides http.Hijacker; install ws.Guard outside it
	// hello
	// closed: 1000 ""
}

// An OnError of one's own can count errors, say, and leave the log as it is.
func ExampleUpgrader_LogError() {
	counted := make(chan string, 1)
	u := &ws.Upgrader{}
	u.OnError = func(r *http.Request, err error) {
		counted <- r.URL.Path
		u.LogError(r, err)
	}
	talk(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(http.StatusForbidden, "members only")
	}))
	fmt.Println("counted", <-counted)
	// Output:
	// ws: the handshake was refused with 403: members only
	// counted /ws
}

// Serve upgrades inside a handler of one's own.
func ExampleUpgrader_Serve() {
	u, served := new(ws.Upgrader), make(chan error, 1)
	talk(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served <- u.Serve(w, r, ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.SendText(strings.ToUpper(m.String())) },
		})
	}), "hello")
	fmt.Println("served:", <-served)
	// Output:
	// HELLO
	// closed: 1000 ""
	// served: <nil>
}

// Shut the Upgrader down before the http.Server, which knows nothing of WebSockets.
func ExampleUpgrader_Shutdown() {
	u := new(ws.Upgrader)
	h := u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnClose: func(c *ws.Conn, e ws.CloseEvent) { fmt.Println("closed:", int(e.Code), e.WasClean) },
		}, nil
	})
	server := httptest.NewServer(ws.Guard(h))
	if _, err := ws.Dial(context.Background(), server.URL, ws.Events{}, nil); err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := u.Shutdown(ctx) // every OnClose has returned now
	fmt.Println(err, server.Config.Shutdown(ctx))
	// Output:
	// closed: 1001 true
	// <nil> <nil>
}

func ExampleMessage_Decode() {
	type point struct{ X, Y int }
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			var p point
			if err := m.Decode(&p); err != nil {
				return websocket.CloseError{Code: websocket.StatusInvalidFramePayloadData, Reason: "not a point"}
			}
			return c.SendJSON(point{p.Y, p.X})
		}}, nil
	}), `{"X":1,"Y":2}`, "nonsense")
	// Output:
	// {"X":2,"Y":1}
	// closed: 1007 "not a point"
}

// Closing with a code is the way to tell a page why.
func ExampleConn_Close() {
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Close(4001, "bye") },
			// or: return websocket.CloseError{Code: 4001, Reason: "bye"}
		}, nil
	}), "hello")
	// Output: closed: 4001 "bye"
}

// TrySend suits messages that are worth nothing later: a position, a price.
func ExampleConn_TrySend() {
	tick := func(c *ws.Conn, price string) error {
		err := c.TrySend(ws.Text(price))
		if errors.Is(err, ws.ErrBufferFull) {
			return nil // the client is slow: it gets the next price instead
		}
		return err
	}
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error { return tick(c, "42") }}, nil
	}), "price?")
	// Output:
	// 42
	// closed: 1000 ""
}

// A room: everybody gets what one of them says.
func ExampleGroup() {
	var room ws.Group
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		name := r.FormValue("name")
		return ws.Events{
			OnOpen: func(c *ws.Conn) error {
				room.Add(c) // it leaves by itself
				return nil
			},
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				s := fmt.Sprintf("%s, one of %d, says %s", name, room.Len(), m)
				return room.Broadcast(ws.Text(s)) // Broadcast(ws.Text(s), c): to all but c
			},
		}, nil
	}), "hello")
	// Output:
	// ann, one of 1, says hello
	// closed: 1000 ""
}

// Messages that belong together leave in one write a member, and none comes between them.
func ExampleGroup_BroadcastAll() {
	var room ws.Group
	h := ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnOpen: func(c *ws.Conn) error {
			room.Add(c)
			return room.BroadcastAll([]ws.Message{ws.Text("a picture"), ws.Binary([]byte("GIF89a"))})
		}}, nil
	})
	got := make(chan ws.Message)
	if _, err := ws.Dial(context.Background(), "ws://example.com/", ws.Events{
		OnMessage: func(c *ws.Conn, m ws.Message) error { got <- m; return nil },
	}, &ws.DialOptions{Handler: h}); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		m := <-got
		fmt.Println(m.Type, len(m.Data))
	}
	// Output:
	// MessageText 9
	// MessageBinary 6
}

// A video: a viewer that is slow skips pictures.
func ExampleGroup_All() {
	var viewers ws.Group
	show := func(picture []byte) {
		for c := range viewers.All() {
			if c.Buffered() == 0 {
				c.SendBinary(picture)
			}
		}
	}
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnOpen:    func(c *ws.Conn) error { viewers.Add(c); return nil },
			OnMessage: func(c *ws.Conn, m ws.Message) error { show([]byte("GIF89a")); return nil },
		}, nil
	}), "a picture?")
	// Output:
	// GIF89a
	// closed: 1000 ""
}

// Value says whose connection it is, to code that has only the Conn.
func ExampleConn_Value() {
	u := new(ws.Upgrader)
	ban := func(name string) {
		for c := range u.Conns() {
			if c.Value() == name {
				c.Close(4403, "you were banned")
			}
		}
	}
	talk(u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			Value:     r.FormValue("name"),
			OnMessage: func(c *ws.Conn, m ws.Message) error { ban(m.String()); return nil },
		}, nil
	}), "ann")
	// Output: closed: 4403 "you were banned"
}

func ExampleConn_Request() {
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			return c.SendText(c.Request().FormValue("name") + " at " + c.Request().RemoteAddr)
		}}, nil
	}), "who am I?")
	// Output:
	// ann at 192.0.2.1:1234
	// closed: 1000 ""
}

// NetConn gives the connection's addresses and, where it is a socket, its options.
func ExampleConn_NetConn() {
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			if tcp, ok := c.NetConn().(*net.TCPConn); ok {
				tcp.SetKeepAlive(false) // the heartbeat finds out as well
			}
			return c.SendText("you are " + c.NetConn().RemoteAddr().String())
		}}, nil
	}), "who am I?")
	// Output:
	// you are 192.0.2.1:1234
	// closed: 1000 ""
}

func ExampleConn_Stats() {
	talk(ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			s := c.Stats()
			return c.SendText(fmt.Sprintf("%d of %d bytes, %d with frames", s.MessagesIn, s.BytesIn, s.WireIn))
		}}, nil
	}), "hello", "world")
	// Output:
	// 1 of 5 bytes, 11 with frames
	// 2 of 10 bytes, 22 with frames
	// closed: 1000 ""
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
	ws.Dial(context.Background(), "ws://example.com/", ws.Stream(func(c net.Conn) {
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

// talk is the client of these examples: a page of http://example.com. It connects to h in
// memory, and sends each message when the one before was answered. It prints the answers, and the end.
func talk(h http.Handler, messages ...string) {
	next := func(c *ws.Conn) error {
		if len(messages) == 0 {
			return c.Close(websocket.StatusNormalClosure, "")
		}
		m := messages[0]
		messages = messages[1:]
		return c.SendText(m)
	}
	closed := make(chan bool)
	_, err := ws.Dial(context.Background(), "ws://example.com/ws?name=ann", ws.Events{
		OnOpen:    next,
		OnMessage: func(c *ws.Conn, m ws.Message) error { fmt.Println(m); return next(c) },
		OnClose:   func(c *ws.Conn, e ws.CloseEvent) { fmt.Printf("closed: %d %q\n", e.Code, e.Reason); close(closed) },
	}, &ws.DialOptions{
		Handler: h,
		Engine:  websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://example.com"}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-closed
}
