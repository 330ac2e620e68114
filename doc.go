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
// [Upgrade] turns a factory of callbacks into a handler. [Events] says when
// they are called, and what becomes of errors and panics. [Guard], around everything,
// makes the upgrade work behind middleware, and reports who touches the response after it.
// [Dial] is the other end, with the same Conn and Events, and [Route] types both.
//
// github.com/coder/websocket does the handshakes of both ends and gives the words:
// its options, StatusCode, MessageType and CloseError. This package answers, reads and
// writes frames, compresses (RFC 7692) and queues. In the browser (GOOS=js) the
// browser's own WebSocket does that, and there is no server.
package ws
