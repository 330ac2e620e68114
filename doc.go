// Package ws makes a WebSocket endpoint as easy as an [http.HandlerFunc],
// behind any router and any middleware:
//
//	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
//		return ws.Events{
//			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
//		}, nil
//	}))
//	http.ListenAndServe(":3000", ws.Guard(mux))
//
// # The factory
//
// The function given to [Upgrade] is a [Factory]. It runs once for each connection, before the
// answer. So it can still refuse, set headers and cookies, and choose a subprotocol. Its
// closure is the connection's state:
//
//	ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
//		name := r.FormValue("name")
//		if name == "" {
//			return ws.Events{}, ws.Reject(http.StatusForbidden, "who are you?")
//		}
//		count := 0
//		return ws.Events{
//			OnOpen: func(c *ws.Conn) error { return c.SendText("hello " + name) },
//			OnMessage: func(c *ws.Conn, m ws.Message) error {
//				count++
//				return c.SendText(fmt.Sprint(count, ": ", m))
//			},
//			OnClose: func(c *ws.Conn, e ws.CloseEvent) { log.Println(name, "left with", e.Code) },
//		}, nil
//	})
//
// # Callbacks
//
// The callbacks in [Events] run one at a time, on one goroutine, so count needs no lock. OnOpen
// comes first, and OnClose last, exactly once. An error that OnOpen or OnMessage returns goes to
// OnError and closes the connection with 1011, and so does a panic. A [websocket.CloseError] closes with its own code:
//
//	return websocket.CloseError{Code: 4001, Reason: "bye"}
//
// While a callback runs, nothing is read from this peer. So a callback that waits for a reply of the same peer waits for
// ever, and long work belongs on a goroutine, which may send. [Conn.Context] tells it when the connection has ended.
//
// # Sending
//
// [Conn.Send] copies the message into a queue and returns. It may be called from any goroutine. If the peer reads too
// slowly, and [Limits].SendBuffer bytes wait (1 MiB), Send waits for room, and [Conn.TrySend] returns
// [ErrBufferFull]. A peer that takes nothing for 10 s is dropped.
//
// A [Group] is a room. Connections leave it by themselves, and [Group.Broadcast] waits for no member:
//
//	room.Add(c)
//	room.Broadcast(ws.Text("somebody came"))
//
// # Options
//
// Upgrade uses [DefaultUpgrader]. An [Upgrader] of your own has options: which origins may connect (by default only pages
// of the same host), compression (by default none), limits, a handler for other requests, and where errors go:
//
//	u := &ws.Upgrader{
//		Engine: websocket.AcceptOptions{OriginPatterns: []string{"app.example.com"}},
//		Limits: ws.Limits{ReadLimit: 64 << 10, PingInterval: 20 * time.Second},
//	}
//	mux.HandleFunc("GET /ws", u.Upgrade(factory))
//
// # Middleware
//
// An upgrade takes the connection away from net/http, and from every middleware in between. A writer that holds the
// status back, in order to compress, swallows the answer. A header that is set afterwards goes nowhere. [Guard] stands around
// everything, once. Within it an upgrade works behind any middleware, and whoever touches the response later is named, with
// file and line, in a [HeaderError]. By default the log gets it:
//
//	ws: header "Server-Timing" was set after the WebSocket upgrade and never reached the client: main.timing at main.go:15; set it before calling the next handler
//
// # Shutdown
//
// [http.Server.Shutdown] forgets WebSockets. [Upgrader.Shutdown] closes each with 1001 once what was sent
// is written, and waits for every OnClose. Call it first:
//
//	if err := errors.Join(ws.DefaultUpgrader.Shutdown(ctx), server.Shutdown(ctx)); err != nil {
//		log.Print(err)
//	}
//
// # Clients and tests
//
// [Dial] is the other end, with the same Conn and Events. [Redial] keeps a connection, and comes back when it ends. With a
// Handler in [DialOptions] there is no network, and it works inside of [testing/synctest]:
//
//	c, err := ws.Dial(ctx, "ws://example.com/ws", ws.Events{
//		OnMessage: func(c *ws.Conn, m ws.Message) error { got <- m.String(); return nil },
//	}, &ws.DialOptions{Handler: ws.Guard(mux)})
//	if err != nil {
//		t.Fatal(err)
//	}
//	c.SendText("hello")
//
// # Types for both ends
//
// A [Route] has the path and the types of an endpoint, in a package that server and client import:
//
//	var Chat = ws.Route[Post, Note]{Path: "/rooms/{room}/ws"}
//
// The server is ws.Upgrade(Chat.Factory(…)); a client in Go is [Route.Dial] or [Route.Redial]. For a page,
// github.com/seed412db446/ws/wsts generates a client in TypeScript with the same types.
//
// # HTTP/2
//
// Browsers open a WebSocket on the HTTP/2 connection that they have (RFC 8441) when the server offers it. One import
// makes net/http offer it. Guard takes it to this package, and to every other that upgrades by hijacking:
//
//	import _ "github.com/seed412db446/ws/http2"
//
// # What does the work
//
// github.com/coder/websocket, "the engine" in this documentation, makes a client's handshake, and decides on a server about
// every handshake that is not of the usual form. Its options, StatusCode, MessageType and CloseError are used as they
// are. This package answers, reads and writes the frames (RFC 6455), and compresses with
// github.com/klauspost/compress (RFC 7692).
//
// In the browser (GOOS=js) the browser's own WebSocket is behind the same API. There is no Upgrader and no Guard there.
package ws
