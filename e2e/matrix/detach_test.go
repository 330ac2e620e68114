package matrix

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/seed412db446/ws"
)

// TestDetachPooledContext shows what the comment of Upgrader.Detach warns of: chi takes its context
// back when the handler returns, and gives it to the next request.
func TestDetachPooledContext(t *testing.T) {
	for _, detach := range []bool{false, true} {
		t.Run(map[bool]string{false: "attached", true: "detached"}[detach], func(t *testing.T) {
			type rooms struct{ factory, callback string }
			said := make(chan rooms, 1)
			u := &ws.Upgrader{Detach: detach, OnError: func(r *http.Request, err error) { t.Error(err) }}
			mux := chi.NewRouter()
			mux.Get("/rooms/{room}/ws", u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
				room := chi.URLParam(r, "room")
				return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
					said <- rooms{factory: room, callback: chi.URLParam(r, "room")}
					return nil
				}}, nil
			}))
			mux.Get("/rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, chi.URLParam(r, "room"))
			})
			srv := httptest.NewServer(ws.Guard(mux))
			defer srv.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			defer u.Shutdown(ctx)

			// A pool may give another context, or drop one: try with several connections.
			wrong := false
			for range 50 {
				c, err := ws.Dial(ctx, srv.URL+"/rooms/mine/ws", ws.Events{}, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.Get(srv.URL + "/rooms/another")
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				c.SendText("where am I?")
				got := <-said
				if got.factory != "mine" {
					t.Fatalf("what the factory read became %q", got.factory)
				}
				if wrong = got.callback != "mine"; wrong {
					break
				}
			}
			if wrong != detach {
				t.Errorf("chi.URLParam in a callback gives another request's value: %v, want %v", wrong, detach)
			}
		})
	}
}
