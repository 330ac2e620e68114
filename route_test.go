//go:build !js

package ws_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

type (
	routeIn  struct{ N int }
	routeOut struct {
		S string
		F func() `json:"-"`
	}
)

func TestRouteURL(t *testing.T) {
	t.Parallel()
	room := func(v string) *ws.DialOptions { return &ws.DialOptions{Params: map[string]string{"room": v}} }
	for _, tt := range []struct {
		name, path, base string
		opts             *ws.DialOptions
		want             string // or, if it begins with "error:", what the error says
	}{
		{"http", "/ws", "http://h", nil, "ws://h/ws"},
		{"https", "/ws", "https://h:1", nil, "wss://h:1/ws"},
		{"ws", "/ws", "ws://h", nil, "ws://h/ws"},
		{"wss", "/ws", "wss://h", nil, "wss://h/ws"},
		{"scheme", "/ws", "ftp://h", nil, "error:ws, wss, http or https"},
		{"no_scheme", "/ws", "h", nil, "error:ws://, wss://, http:// https://"},
		{"malformed_base", "/ws", "http://h/%zz", nil, "error:%zz"},

		{"base_slash", "/ws", "http://h/", nil, "ws://h/ws"},
		{"base_path", "/ws", "http://h/api", nil, "ws://h/api/ws"},
		{"base_path_slash", "/ws", "http://h/api/", nil, "ws://h/api/ws"},
		{"base_escaped", "/ws", "http://h/a%2Fb", nil, "ws://h/a%2Fb/ws"},
		{"base_query", "/ws", "http://h?a=1", nil, "ws://h/ws?a=1"},
		{"query", "/ws", "http://h", &ws.DialOptions{Query: url.Values{"b": {"2", "3&"}, "a": {"ü"}}}, "ws://h/ws?a=%C3%BC&b=2&b=3%26"},
		{"query_added", "/ws", "http://h?b=%20", &ws.DialOptions{Query: url.Values{"a": {"1"}}}, "ws://h/ws?b=%20&a=1"},
		{"query_empty", "/ws", "http://h", &ws.DialOptions{Query: url.Values{}}, "ws://h/ws"},

		{"param", "/rooms/{room}/ws", "http://h", room("lobby"), "ws://h/rooms/lobby/ws"},
		{"param_slash", "/rooms/{room}/ws", "http://h", room("a/b"), "ws://h/rooms/a%2Fb/ws"},
		{"param_umlaut", "/rooms/{room}/ws", "http://h", room("ü"), "ws://h/rooms/%C3%BC/ws"},
		{"param_percent", "/rooms/{room}/ws", "http://h", room("%2F"), "ws://h/rooms/%252F/ws"},
		{"param_query", "/rooms/{room}/ws", "http://h", room("a?b#c d"), "ws://h/rooms/a%3Fb%23c%20d/ws"},
		{"param_brace", "/rooms/{room}/ws", "http://h", room("{room}"), "ws://h/rooms/%7Broom%7D/ws"},
		{"param_dots", "/rooms/{room}/ws", "http://h", room(".."), `error:".."`},
		{"param_dot", "/rooms/{room}/ws", "http://h", room("."), `error:"."`},
		{"param_empty", "/rooms/{room}/ws", "http://h", room(""), `error:"room"`},
		{"param_missing", "/rooms/{room}/ws", "http://h", nil, `error:"room" /rooms/{room}/ws`},
		{"param_unknown", "/rooms/ws", "http://h", room("1"), `error:"room" /rooms/ws`},
		{"param_of_a_literal", "/ü x/{room}", "http://h", room("a/b"), "ws://h/%C3%BC%20x/a%2Fb"},
		{"literal_escaped", "/a%20b%25/{room}", "http://h", room("x"), "ws://h/a%20b%25/x"}, // http.ServeMux knows it so
		{"several", "/{a}/{room}", "http://h", &ws.DialOptions{Params: map[string]string{"room": "1", "a": "2"}}, "ws://h/2/1"},
		{"several_unknown", "/{a}/{room}", "http://h", &ws.DialOptions{Params: map[string]string{"room": "1", "a": "2", "b": ""}}, `error:"b" /{a}/{room}`},
		{"twice", "/{room}/{room}", "http://h", room("1"), "ws://h/1/1"},

		{"rest", "/files/{room...}", "http://h", room("a/b c/ü"), "ws://h/files/a/b%20c/%C3%BC"},
		{"rest_empty", "/files/{room...}", "http://h", room(""), "ws://h/files/"},
		{"rest_missing", "/files/{room...}", "http://h", nil, `error:"room"`},
		{"rest_dots", "/files/{room...}", "http://h", room("a/../b"), `error:"a/../b"`},
		{"end", "/ws/{$}", "http://h", nil, "ws://h/ws/"},
		{"end_and_param", "/{room}/{$}", "http://h", room("$"), "ws://h/$/"},

		{"regexp", "/rooms/{room:[a-z]+}/ws", "http://h", room("abc"), "ws://h/rooms/abc/ws"},
		{"regexp_no_match", "/rooms/{room:[a-z]+}/ws", "http://h", room("abc1"), `error:"room" "abc1" [a-z]+`},
		{"regexp_braces", "/rooms/{room:[a-z]{2}-\\d{1,3}}/ws", "http://h", room("ab-12"), "ws://h/rooms/ab-12/ws"},
		{"regexp_braces_no_match", "/rooms/{room:[a-z]{2}-\\d{1,3}}/ws", "http://h", room("ab-1234"), `error:"ab-1234"`},
		{"regexp_alternatives", "/rooms/{room:a|b}/ws", "http://h", room("ab"), `error:"ab"`},
		{"regexp_malformed", "/rooms/{room:[}/ws", "http://h", room("a"), "error:malformed"},
	} {
		t.Run("D2_"+tt.name, func(t *testing.T) {
			got, err := ws.Route[routeIn, routeOut]{Path: tt.path}.URL(tt.base, tt.opts)
			if says, ok := strings.CutPrefix(tt.want, "error:"); ok {
				for _, s := range strings.Fields(says) {
					if err == nil || !strings.HasPrefix(err.Error(), "ws: ") || !strings.Contains(err.Error(), s) {
						t.Errorf("got %q, %v; want an error with %s", got, err, s)
					}
				}
				_, err := ws.Route[routeIn, routeOut]{Path: tt.path}.Dial(t.Context(), tt.base, ws.RouteEvents[routeOut, routeIn]{}, tt.opts)
				if err == nil {
					t.Error("Dial returned no error")
				}
			} else if got != tt.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// What URL makes of a parameter is what the handler behind http.ServeMux gets.
func TestRouteServeMux(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, value string }{
		{"/rooms/{name}/ws", "a/b"},
		{"/rooms/{name}/ws", "a//b"},
		{"/rooms/{name}/ws", "ü"},
		{"/rooms/{name}/ws", "100%"},
		{"/rooms/{name}/ws", "%2F"},
		{"/rooms/{name}/ws", "a?b#c d+e"},
		{"/rooms/{name}/ws", "..."},
		{"/rooms/{name}/ws", "ws"},
		{"/ü/{name}", "a/b"},
		{"/a%20b%25/{name}", "a/b"},
		{"/files/{name...}", "a/b c/%/ü"},
		{"/files/{name...}", ""},
		{"/{name}/{$}", "a b"},
	} {
		t.Run("D2_"+tt.path+"_"+tt.value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := ws.Route[routeIn, string]{Path: tt.path}
				mux := http.NewServeMux()
				mux.HandleFunc("GET "+rt.Path, ws.Upgrade(rt.Factory(func(_ http.ResponseWriter, r *http.Request) (ws.RouteEvents[routeIn, string], error) {
					return ws.RouteEvents[routeIn, string]{OnOpen: func(c *ws.RouteConn[string]) error { return c.Send(r.PathValue("name") + "?" + r.URL.RawQuery) }}, nil
				})))
				got, closed := make(chan string, 1), make(chan bool)
				c, err := rt.Dial(t.Context(), "http://test", ws.RouteEvents[string, routeIn]{
					OnMessage: func(_ *ws.RouteConn[routeIn], s string) error { got <- s; return nil },
					OnClose:   func(*ws.RouteConn[routeIn], ws.CloseEvent) { close(closed) },
				}, &ws.DialOptions{Handler: ws.Guard(mux), Params: map[string]string{"name": tt.value}, Query: url.Values{"q": {"1"}}})
				if err != nil {
					t.Fatal(err)
				}
				if s := <-got; s != tt.value+"?q=1" {
					t.Errorf("the handler got %q", s)
				}
				c.Close(1000, "")
				<-closed
			})
		})
	}
}

func TestRouteValues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := ws.Route[routeIn, routeOut]{Path: "/ws"}
		server, client := newRouteSide[routeIn, routeOut](), newRouteSide[routeOut, routeIn]()
		c := routePair(t, rt, server.events(), client.events())
		sc := <-server.opened
		if oc := <-client.opened; oc != c {
			t.Error("OnOpen got another RouteConn than Dial returned")
		}
		for i := range 10 {
			if err := errors.Join(c.Send(routeIn{i}), c.TrySend(routeIn{-i}), sc.Send(routeOut{S: "ü"}), sc.TrySend(routeOut{S: "b"})); err != nil {
				t.Error(err)
			}
			if a, b := <-server.got, <-server.got; a.N != i || b.N != -i {
				t.Errorf("the server got %v, %v", a, b)
			}
			if a, b := <-client.got, <-client.got; a.S != "ü" || b.S != "b" {
				t.Errorf("the client got %v, %v", a, b)
			}
		}

		var g ws.Group
		g.Add(sc.Conn())
		m, err := rt.Encode(routeOut{S: "all"})
		if err != nil || m.Type != websocket.MessageText || m.String() != `{"S":"all"}` {
			t.Errorf("Encode: %v %q, %v", m.Type, m, err)
		}
		g.Broadcast(m)
		if v := <-client.got; v.S != "all" {
			t.Errorf("the client got %v", v)
		}
		if sc.Context() != sc.Conn().Context() || sc.Request() != sc.Conn().Request() || sc.Request().URL.Path != "/ws" {
			t.Error("Context and Request are not the connection's")
		}
		if err := c.Close(4001, "bye"); err != nil {
			t.Error(err)
		}
		for _, s := range []*dialSide{server.dialSide, client.dialSide} {
			if e := <-s.closed; e.Code != 4001 || e.Reason != "bye" || e.Err != nil {
				t.Errorf("got %+v", e)
			}
		}
	})
}

func TestRouteBroadcast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := ws.Route[routeIn, any]{Path: "/"}
		var g ws.Group
		server, first, second := newRouteSide[routeIn, any](), newRouteSide[any, routeIn](), newRouteSide[any, routeIn]()
		var conns []*ws.Conn
		for _, client := range []routeSide[any, routeIn]{first, second} {
			routePair(t, rt, server.events(), client.events())
			c := (<-server.opened).Conn()
			conns = append(conns, c)
			g.Add(c)
		}
		if err := rt.Broadcast(&g, func() {}); err == nil || !strings.HasPrefix(err.Error(), "ws: ") {
			t.Errorf("of what can't be encoded: %v", err)
		}
		if err := errors.Join(rt.Broadcast(&g, "all"), rt.Broadcast(&g, "second", conns[0])); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(first.got) != 1 || <-first.got != "all" || len(second.got) != 2 || <-second.got != "all" || <-second.got != "second" {
			t.Error("K3: not all got what they should")
		}
		for _, c := range conns {
			c.Close(1000, "")
			<-server.closed
		}
	})
}

func TestRouteHeartbeat(t *testing.T) {
	t.Parallel()
	bubble(t, "D2_the_server_answers", func(t *testing.T) {
		rt := ws.Route[routeIn, routeOut]{Path: "/"}
		w := link{pipe: true}.openFunc(t, &ws.Upgrader{Limits: noPings}, rt.Factory(func(http.ResponseWriter, *http.Request) (ws.RouteEvents[routeIn, routeOut], error) {
			return ws.RouteEvents[routeIn, routeOut]{}, nil
		}))
		w.send(fText, "")
		w.expect(fText, "")
		go w.send(fBinary, "") // is none
		w.bye(1007, "the message does not decode")
	})
	bubble(t, "D2_the_client_does_not", func(t *testing.T) {
		h := dialRaw("", func(c net.Conn, r *bufio.Reader) {
			c.Write(slices.Concat(dialFrame(fText), dialClose(1000, "")))
			if first, p, err := readMasked(r); first != fClose {
				t.Errorf("the client sent %#x %q, %v", first, p, err)
			}
		})
		client := newRouteSide[routeOut, routeIn]()
		if _, err := (ws.Route[routeIn, routeOut]{Path: "/"}).Dial(t.Context(), "ws://test", client.events(), &ws.DialOptions{Handler: h}); err != nil {
			t.Fatal(err)
		}
		if e := <-client.closed; e.Code != 1000 || e.Err != nil {
			t.Errorf("%+v", e)
		}
	})
}

func TestValue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, client := newRouteSide[string, string](), newRouteSide[string, string]()
		sev, cev := server.events(), client.events()
		sev.Value, cev.Value = "of the server", 7
		c := routePair(t, ws.Route[string, string]{Path: "/"}, sev, cev)
		sc := <-server.opened
		if sc.Conn().Value() != "of the server" || c.Conn().Value() != 7 {
			t.Errorf("%v, %v", sc.Conn().Value(), c.Conn().Value())
		}
		c.Close(1000, "")
		<-server.closed
		<-client.closed
		plain := mustDial(t, dialEcho(&ws.Upgrader{}), ws.Events{}, ws.Limits{})
		if plain.Value() != nil {
			t.Errorf("without one: %v", plain.Value())
		}
		plain.Close(1000, "")
	})
}

func TestRouteInvalid(t *testing.T) {
	t.Parallel()
	oops := errors.New("oops")
	type invalid = func(*ws.RouteConn[routeOut], ws.Message, error) error
	for _, tt := range []struct {
		name      string
		onInvalid invalid
		code      websocket.StatusCode
		reason    string
		fault     error // that OnError gets; nil: none
		got       int   // values
	}{
		{"nil", nil, 1007, "the message does not decode", errors.New("any"), 1},
		{"skip", func(_ *ws.RouteConn[routeOut], m ws.Message, err error) error {
			if err == nil || m.String() != "{" {
				return fmt.Errorf("OnInvalid got %q, %v", m, err)
			}
			return nil
		}, 1000, "", nil, 2},
		{"error", func(*ws.RouteConn[routeOut], ws.Message, error) error { return oops }, 1011, "", oops, 1},
		{"its_error", func(_ *ws.RouteConn[routeOut], _ ws.Message, err error) error { return err }, 1011, "", errors.New("any"), 1},
		{"CloseError", func(*ws.RouteConn[routeOut], ws.Message, error) error {
			return websocket.CloseError{Code: 4007, Reason: "not JSON"}
		}, 4007, "not JSON", nil, 1},
	} {
		t.Run("D2_"+tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := newRouteSide[routeIn, routeOut](), newRouteSide[routeOut, routeIn]()
				ev := server.events()
				ev.OnInvalid = tt.onInvalid
				c := routePair(t, ws.Route[routeIn, routeOut]{Path: "/"}, ev, client.events())
				c.Send(routeIn{1})
				c.Conn().SendText("{")
				c.Send(routeIn{2})
				if tt.code == 1000 {
					c.Close(1000, "")
				}
				if e := <-client.closed; e.Code != tt.code || e.Reason != tt.reason {
					t.Errorf("the client got %+v, want %d %q", e, tt.code, tt.reason)
				}
				e := <-server.closed
				if len(server.got) != tt.got {
					t.Errorf("OnMessage was called %d times, want %d", len(server.got), tt.got)
				}
				switch {
				case tt.fault == nil && len(server.fault) == 0:
				case tt.fault == nil || len(server.fault) != 1:
					t.Errorf("OnError was called %d times", len(server.fault))
				default:
					if err := <-server.fault; tt.fault == oops && err != oops || e.Err != err {
						t.Errorf("OnError got %v, CloseEvent.Err is %v", err, e.Err)
					}
				}
			})
		})
	}
	t.Run("D2_client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server, client := newRouteSide[routeIn, routeOut](), newRouteSide[routeOut, routeIn]()
			routePair(t, ws.Route[routeIn, routeOut]{Path: "/"}, server.events(), client.events())
			(<-server.opened).Conn().SendText("no JSON")
			var syntax *json.SyntaxError
			if e := <-server.closed; e.Code != 1007 {
				t.Errorf("the server got %+v", e)
			}
			if err := <-client.fault; !errors.As(err, &syntax) {
				t.Errorf("OnError got %v", err)
			}
			<-client.closed
		})
	})
	t.Run("D2_without_OnMessage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // what no callback takes must decode as well
			client := newRouteSide[routeOut, routeIn]()
			c := routePair(t, ws.Route[routeIn, routeOut]{Path: "/"}, ws.RouteEvents[routeIn, routeOut]{OnError: func(*ws.RouteConn[routeOut], error) {}}, client.events())
			c.Send(routeIn{1})
			c.Conn().SendText("{")
			if e := <-client.closed; e.Code != 1007 {
				t.Errorf("the client got %+v", e)
			}
		})
	})
}

func TestRouteUnencodable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := ws.Route[any, any]{Path: "/"}
		server, client := newRouteSide[any, any](), newRouteSide[any, any]()
		c := routePair(t, rt, server.events(), client.events())
		var unsupported *json.UnsupportedTypeError
		for name, err := range map[string]error{"Send": c.Send(func() {}), "TrySend": c.TrySend(make(chan int))} {
			if !errors.As(err, &unsupported) || !strings.HasPrefix(err.Error(), "ws: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := rt.Encode(func() {}); !errors.As(err, &unsupported) {
			t.Errorf("Encode: %v", err)
		}
		if err := c.Send("next"); err != nil {
			t.Error(err)
		}
		if v := <-server.got; v != "next" {
			t.Errorf("the server got %v", v)
		}
		c.Close(1000, "")
		<-client.closed
	})
}

// shout is a Codec that is no JSON: upper case on the wire, in binary messages.
type shout struct{}

func (shout) Encode(v any) (ws.Message, error) {
	return ws.Binary([]byte(strings.ToUpper(v.(string)))), nil
}

func (shout) Decode(m ws.Message, v any) error {
	if m.Type != websocket.MessageBinary || !bytes.Equal(m.Data, bytes.ToUpper(m.Data)) {
		return errors.New("that is not shouted")
	}
	*v.(*string) = strings.ToLower(m.String())
	return nil
}

func TestRouteCodec(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := ws.Route[string, string]{Path: "/", Codec: shout{}}
		server, client := newRouteSide[string, string](), newRouteSide[string, string]()
		c := routePair(t, rt, server.events(), client.events())
		sc := <-server.opened
		c.Send("to the server")
		sc.Send("to the client")
		if a, b := <-server.got, <-client.got; a != "to the server" || b != "to the client" {
			t.Errorf("got %q and %q", a, b)
		}
		if m, err := rt.Encode("all"); m.Type != websocket.MessageBinary || m.String() != "ALL" || err != nil {
			t.Errorf("Encode: %v %q, %v", m.Type, m, err)
		}
		c.Conn().SendText("whisper")
		if e := <-client.closed; e.Code != 1007 {
			t.Errorf("the client got %+v", e)
		}
		if err := <-server.fault; !strings.Contains(err.Error(), "not shouted") {
			t.Errorf("OnError got %v", err)
		}
	})
}

func TestRouteTrySend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		h := dialRaw("", func(net.Conn, *bufio.Reader) { <-stop })
		client := newRouteSide[routeOut, routeIn]()
		c, err := ws.Route[routeIn, routeOut]{Path: "/"}.Dial(t.Context(), "ws://test", client.events(), &ws.DialOptions{Handler: h, Limits: ws.Limits{SendBuffer: 1}})
		if err != nil {
			t.Fatal(err)
		}
		c.Send(routeIn{1})
		begin := time.Now()
		if err := c.TrySend(routeIn{2}); err != ws.ErrBufferFull || time.Since(begin) != 0 {
			t.Errorf("S1: TrySend: %v after %v", err, time.Since(begin))
		}
		close(stop)
		<-client.closed
	})
}

func TestRouteFactory(t *testing.T) {
	t.Parallel()
	rt := ws.Route[routeIn, routeOut]{Path: "/"}
	h := (&ws.Upgrader{}).Upgrade(rt.Factory(func(http.ResponseWriter, *http.Request) (ws.RouteEvents[routeIn, routeOut], error) {
		return ws.RouteEvents[routeIn, routeOut]{}, ws.Reject(403, "members only")
	}))
	_, err := rt.Dial(t.Context(), "ws://test", ws.RouteEvents[routeOut, routeIn]{}, &ws.DialOptions{Handler: h})
	var e *ws.HandshakeError
	if !errors.As(err, &e) || e.Status != 403 || e.Err.Error() != "members only" {
		t.Errorf("got %v", err)
	}
}
