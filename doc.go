// Package ws makes a WebSocket endpoint of a few callbacks, behind any router and any middleware.
//
// # A first endpoint
//
// [Upgrade] makes an [http.HandlerFunc] of a [Factory], and [Guard] goes around everything:
//
//	mux := http.NewServeMux()
//	mux.HandleFunc("GET /ws", ws.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
//		name := r.FormValue("name")
//		return ws.Events{
//			OnOpen:    func(c *ws.Conn) error { return c.SendText("hello " + name) },
//			OnMessage: func(c *ws.Conn, m ws.Message) error { return c.Send(m) },
//			OnClose:   func(c *ws.Conn, e ws.CloseEvent) { log.Println(name, "left:", e.Code, e.Reason) },
//		}, nil
//	}))
//	server := &http.Server{Addr: ":3000", Handler: ws.Guard(mux), ReadHeaderTimeout: 10 * time.Second}
//	log.Fatal(server.ListenAndServe())
//
// The Factory runs once for each connection, before the answer. Its variables are the connection's state.
//
// # Callbacks
//
// The callbacks of a connection run one at a time: OnOpen, then OnMessage for each message in order, then OnError
// at most once, then OnClose exactly once. What only they use needs no lock. [Events] says the rest.
//
// An error that OnOpen or OnMessage returns ends the connection. A [websocket.CloseError] gives the close code and
// the reason. Any other error goes to OnError, and the peer gets the code 1011 and no detail. A panic does the
// same with a [*PanicError], and the process goes on. "return c.Send(m)" is safe: its error while the connection
// is closing, [net.ErrClosed], is no fault.
//
// While a callback runs, nothing is read from its connection. So OnMessage must not wait for a reply to what it
// sends, nor for [Conn.Ping]. Work that takes long belongs to a goroutine, which can send and close as well as a
// callback, and ends with [Conn.Context]:
//
//	return ws.Events{OnOpen: func(c *ws.Conn) error {
//		go func() {
//			for tick := time.Tick(time.Second); ; {
//				select {
//				case now := <-tick:
//					c.SendJSON(now)
//				case <-c.Context().Done():
//					return
//				}
//			}
//		}()
//		return nil
//	}}, nil
//
// # Who may connect
//
// A browser lets any page connect to any host, and may send the user's cookies along. So pages of other hosts are
// refused with 403 (RFC 6455, section 10.2), unless Upgrader.Engine.OriginPatterns allows them.
// Upgrader.CheckOrigin replaces this rule. The Factory authenticates the user as any handler does, and refuses
// with [Reject]:
//
//	session, err := r.Cookie("session")
//	if err != nil {
//		return ws.Events{}, ws.Reject(http.StatusUnauthorized, "sign in first")
//	}
//	return ws.Events{Value: session.Value}, nil // Conn.Value
//
// Browsers hide the status from the page. With Upgrader.RejectWithClose the page gets a close code instead: 4401,
// for a 401. A page can't set headers, but it can offer a token as a subprotocol, next to the one that it speaks:
// see the example of [Subprotocols].
//
// # Sending
//
// The methods of [Conn] may be called from any goroutine. [Conn.Send] queues a copy of the message and returns. If
// Limits.SendBuffer is full because the peer reads slowly, Send waits for room, while [Conn.TrySend] returns
// [ErrBufferFull] at once. A peer that takes nothing at all for Limits.WriteTimeout is dropped with
// [ErrWriteTimeout].
//
// A [Group] is a room. Connections leave it by themselves when they end. Broadcast waits for nobody: it drops a
// member whose buffer is full.
//
//	var room ws.Group
//
//	func chat(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
//		return ws.Events{
//			OnOpen:    func(c *ws.Conn) error { room.Add(c); return nil },
//			OnMessage: func(c *ws.Conn, m ws.Message) error { return room.Broadcast(m, c) }, // to all but c
//		}, nil
//	}
//
// # Options and limits
//
// Upgrade uses [DefaultUpgrader]. An [Upgrader] of your own has options:
//
//	u := &ws.Upgrader{
//		Engine: websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover},
//		Limits: ws.Limits{ReadLimit: 64 << 10, PingInterval: 20 * time.Second},
//	}
//	mux.HandleFunc("GET /ws", u.Upgrade(factory))
//
// By default nothing is compressed, a message may have 1 MiB, 1 MiB may wait to be written, and a peer has 10 s to
// take some of it. After 30 s of silence the peer is pinged, and 10 s later it is dropped with [ErrPingTimeout] if
// nothing came. [Limits] are the same for clients.
//
// # Middleware
//
// An upgrade takes the connection away from net/http and from all middleware in between. A writer that hides
// [http.Hijacker] prevents it, a logger does not see the 101, and a header that is set when the answer begins,
// or later, is lost without a word. [Guard] must be outermost to mend this: every middleware inside sees a 101
// like any other status, and the headers it has set go out with that. Whoever touches the response afterwards is
// reported with function, file and line, as a [*HeaderError].
//
// These reports, refused handshakes, and the faults of connections without an Events.OnError go to
// Upgrader.OnError, and by default to [Upgrader.LogError], which logs with [log/slog].
//
// # Shutdown
//
// [http.Server.Shutdown] does not wait for WebSockets over HTTP/1.1. Call [Upgrader.Shutdown] first: it closes
// each connection with 1001, once what was sent on it is written, and waits for every OnClose.
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	go func() { log.Print(server.ListenAndServe()); stop() }()
//	<-ctx.Done()
//	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
//	defer cancel()
//	if err := errors.Join(ws.DefaultUpgrader.Shutdown(ctx), server.Shutdown(ctx)); err != nil {
//		log.Fatal(err)
//	}
//
// # The client
//
// [Dial] takes the same Events and returns the same Conn:
//
//	c, err := ws.Dial(ctx, "wss://example.com/ws", ws.Events{
//		OnMessage: func(c *ws.Conn, m ws.Message) error { fmt.Println(m); return nil },
//	}, nil)
//	if err != nil {
//		return err // a *ws.HandshakeError has the status of a refusal
//	}
//	return c.SendText("hello")
//
// [Redial] keeps a connection. It asks a function for Events and options before each attempt, waits 500 ms before
// it comes back, then longer, up to 30 s, and returns when its context ends or another attempt would be in vain
// ([DefaultAfter]).
//
// A test dials its handler in memory, with router, middleware and Guard: it is DialOptions.Handler then. That
// works inside of [testing/synctest] too, where heartbeats and timeouts take no time.
//
// # Typed routes
//
// A [Route] describes an endpoint once for both ends, in a package that both import:
//
//	type Post struct{ Text string }
//	type Note struct{ From, Text string }
//
//	var Chat = ws.Route[Post, Note]{Path: "/rooms/{room}/ws"}
//
// The server is ws.Upgrade(Chat.Factory(…)), which receives a Post and sends a Note. The client is Chat.Dial or
// Chat.Redial. Values travel as JSON, unless the Route has another [Codec]; [Tagged] is one for messages of
// several types. This writes the types and a client for pages, in TypeScript:
//
//	go run github.com/seed412db446/ws/wsts -o web/routes.ts ./chat
//
// # HTTP/2
//
// Behind Guard a handshake over HTTP/2 (RFC 8441) reaches routers, middleware and handlers as one of HTTP/1.1.
// net/http's server offers it if the program has this import:
//
//	import _ "github.com/seed412db446/ws/http2"
//
// # In the browser
//
// With GOOS=js there is only the client, over the browser's own WebSocket. Upgrade, Upgrader, DefaultUpgrader,
// Subprotocols, Guard and HeaderError don't exist, Conn.Ping and DialOptions.Handler are errors, and
// DialOptions.Engine has Subprotocols alone: headers, compression and heartbeats are the browser's.
//
// # The engine
//
// github.com/coder/websocket, "the engine" in this documentation, makes a client's handshake, and decides on a server
// about every handshake that is not of the usual form. Its options, StatusCode, MessageType and CloseError are used
// as they are. This package judges origins, answers handshakes, and reads, writes, queues and compresses (RFC 7692)
// frames.
package ws
