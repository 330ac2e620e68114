package matrix

import (
	"context"
	"net/http"

	"github.com/coder/websocket"
)

// plainEngine is what people write with coder/websocket: Accept, then a loop
// that reads and writes under the request's context.
var plainEngine = engine{
	name: "plain",
	route: func(s *site, _ variant) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{"*"}})
			if err != nil {
				return
			}
			defer c.CloseNow()
			s.accept(r)
			c.SetReadLimit(-1)
			s.closed <- websocket.CloseStatus(plainLoop(r.Context(), c))
		}
	},
}

func plainLoop(ctx context.Context, c *websocket.Conn) error {
	for {
		typ, data, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if err := c.Write(ctx, typ, data); err != nil {
			return err
		}
	}
}
