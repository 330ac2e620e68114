package matrix

import (
	"errors"
	"net/http"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
	_ "github.com/seed412db446/ws/http2"
)

// bare is ws alone, guarded is ws with Guard around the whole stack.
var (
	bare    = engine{name: "ws", route: wsRoute}
	guarded = engine{name: "ws with Guard", route: wsRoute, guard: ws.Guard}
	overH2  = engine{name: "ws with Guard over HTTP/2", route: wsRoute, guard: ws.Guard, http2: true}
)

// plainGuarded is another package's upgrade behind Guard.
var plainGuarded = engine{name: "the plain engine behind Guard", route: plainEngine.route, guard: ws.Guard}

var errCallback = errors.New("a callback's panic")

func wsRoute(s *site, v variant) http.HandlerFunc {
	u := &ws.Upgrader{
		Engine:  websocket.AcceptOptions{OriginPatterns: []string{"*"}},
		Detach:  v.detach,
		OnError: func(_ *http.Request, err error) { s.fault(err) },
	}
	return u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		w.Header().Set("X-Factory", "yes")
		return ws.Events{
			OnOpen: func(*ws.Conn) error {
				s.accept(r)
				return nil
			},
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				switch m.String() {
				case "close":
					return c.Close(4002, "asked")
				case "panic":
					panic(errCallback)
				}
				return c.Send(m)
			},
			OnClose: func(_ *ws.Conn, e ws.CloseEvent) { s.closed <- e.Code },
		}, nil
	})
}
