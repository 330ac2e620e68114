package browsers

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
	_ "github.com/seed412db446/ws/http2"
)

//go:embed page.html
var page []byte

// sizes are the lengths of messages: those at which a frame's header changes among them.
const sizes = "[0, 1, 125, 126, 65535, 65536, 1000003, 4 << 20]"

// site is a server with the page and the endpoints of the tests.
type site struct {
	t      *testing.T
	url    string // on 127.0.0.1
	up     *ws.Upgrader
	opened chan *ws.Conn
	closed chan ws.CloseEvent
	errs   chan error // of Upgrader.OnError
	status chan int   // what the middleware saw for each request to /ws
}

// newSite starts a server, over TLS with HTTP/2 if the test's name says so. Its endpoint, at /ws, echoes; factory may be
// nil, and adds to it.
func newSite(t *testing.T, engine websocket.AcceptOptions, factory ws.Factory) *site {
	s := &site{t: t, opened: make(chan *ws.Conn, 10), closed: make(chan ws.CloseEvent, 10),
		errs: make(chan error, 10), status: make(chan int, 10)}
	s.up = &ws.Upgrader{Engine: engine, Limits: ws.Limits{ReadLimit: 4 << 20},
		OnError: func(r *http.Request, err error) { s.errs <- err }}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.RawQuery == "no-store" {
			w.Header().Set("Cache-Control", "no-store")
		}
		w.Write(page)
	})
	mux.HandleFunc("GET /empty", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /cookies", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Cookie"))
	})
	mux.HandleFunc("GET /ws", s.up.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		var ev ws.Events
		if factory != nil {
			var err error
			if ev, err = factory(w, r); err != nil {
				return ev, err
			}
		}
		ev.OnOpen = func(c *ws.Conn) error { s.opened <- c; return nil }
		if ev.OnMessage == nil {
			ev.OnMessage = func(c *ws.Conn, m ws.Message) error { return c.Send(m) }
		}
		ev.OnClose = func(c *ws.Conn, e ws.CloseEvent) { s.closed <- e }
		return ev, nil
	}))
	mux.HandleFunc("GET /from", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr, " ", r.Proto)
	})
	guarded, handshake := ws.Guard(s.cors(mux)), "GET /ws HTTP/1.1"
	if overHTTP2(t) {
		handshake = "CONNECT /ws HTTP/2.0"
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // within Guard all are alike
		if got := fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Proto); r.URL.Path == "/ws" && got != handshake {
			t.Errorf("a handshake came as %s, and not as %s", got, handshake)
		}
		guarded.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(panics{t}, "", 0)
	if srv.EnableHTTP2 = overHTTP2(t); srv.EnableHTTP2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.up.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		srv.Close()
		select {
		case err := <-s.errs:
			t.Errorf("Upgrader.OnError got %v", err)
		default:
		}
	})
	s.url = srv.URL
	return s
}

const http2Suffix = " over HTTP2"

func overHTTP2(t *testing.T) bool {
	return strings.Contains(t.Name(), strings.ReplaceAll(http2Suffix, " ", "_"))
}

// panics fails the test when net/http logs one.
type panics struct{ t *testing.T }

func (p panics) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "panic") {
		p.t.Errorf("net/http logged: %s", b)
	}
	return len(b), nil
}

// cors sets headers as CORS middlewares do, and hides the writer from who would hijack it, as
// loggers do.
func (s *site) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		rec := &recorder{w, 200}
		if r.URL.Path == "/ws" {
			defer func() { s.status <- rec.status }()
		}
		next.ServeHTTP(rec, r)
	})
}

type recorder struct {
	w      http.ResponseWriter
	status int
}

func (r *recorder) Header() http.Header         { return r.w.Header() }
func (r *recorder) Write(p []byte) (int, error) { return r.w.Write(p) }
func (r *recorder) WriteHeader(status int)      { r.status = status; r.w.WriteHeader(status) }

// await returns what comes on ch within a minute.
func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("no %s within a minute", what)
		panic("unreachable")
	}
}

// closedEvent is WHATWG's CloseEvent.
type closedEvent struct {
	Code     int
	Reason   string
	WasClean bool
}

// run decodes what the body of an async function, js, returns in the page.
func run[T any](t *testing.T, p tab, js string) (out T) {
	t.Helper()
	text, err := p.eval("(async () => {" + js + "})().then(x => JSON.stringify(x ?? null), e => JSON.stringify({thrown: String(e)}))")
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(text, `{"thrown":`) {
		t.Fatalf("the page threw %s", text)
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// TestBrowsers runs every test below in every browser.
func TestBrowsers(t *testing.T) {
	type test struct {
		name string
		run  func(t *testing.T, at func(url string) tab)
	}
	tests := []test{
		{"echo", echo},
		{"close by the page", closeByPage},
		{"close by the server", closeByServer},
		{"subprotocol", subprotocol},
		{"cookies", cookies},
		{"refused by the factory", refused},
		{"origins", origins},
		{"compression", compression},
		{"a page that is left", pageLeft},
		{"a tab that is closed", tabClosed},
		{"bursts", bursts},
		{"shutdown", shutdown},
	}
	for _, one := range append(tests, test{"one connection", oneConnection}, test{"200 sockets", manySockets}) {
		tests = append(tests, test{one.name + http2Suffix, one.run})
	}
	for _, b := range browsers {
		t.Run(b.name, func(t *testing.T) {
			newTab := b.start(t)
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					test.run(t, func(url string) tab {
						t.Helper()
						p, err := newTab()
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(func() { p.close() })
						if err := p.open(url); err != nil {
							t.Fatal(err)
						}
						return p
					})
				})
			}
		})
	}
}

func echo(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, nil)
	p := at(s.url)
	wrong := run[[]string](t, p, `
		window.s = connect('/ws')
		await s.opened
		if (s.extensions !== '' || s.protocol !== '') return [s.extensions, s.protocol]
		return await echoes(s, `+sizes+`)`)
	want(t, "echoes", wrong, []string{})
	want(t, "what the page sees", run[closedEvent](t, p, "s.close(); return await s.closed"), closedEvent{1005, "", true})
	e := await(t, s.closed, "OnClose")
	want(t, "OnClose", e, ws.CloseEvent{Code: 1005, WasClean: true})
	want(t, "the status that middleware sees", await(t, s.status, "status"), 101)
}

func closeByPage(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, nil)
	p := at(s.url)
	for _, e := range []closedEvent{{1000, "", true}, {1000, "done", true}, {3000, "é€😀", true}, {4999, strings.Repeat("x", 123), true}} {
		reason, _ := json.Marshal(e.Reason)
		got := run[closedEvent](t, p, fmt.Sprintf(`
			const s = connect('/ws')
			await s.opened
			s.close(%d, %s)
			return await s.closed`, e.Code, reason))
		want(t, "what the page sees", got, e)
		want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: websocket.StatusCode(e.Code), Reason: e.Reason, WasClean: true})
	}
}

func closeByServer(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error { // "1001 and a reason"
				code, reason, _ := strings.Cut(m.String(), " ")
				if code == "error" {
					return errors.New(reason)
				}
				n, err := strconv.Atoi(code)
				if err != nil {
					return err
				}
				c.SendText("before")
				return c.Close(websocket.StatusCode(n), reason)
			},
			OnError: func(c *ws.Conn, err error) {
				if err.Error() != "a secret" && !strings.Contains(err.Error(), "more than 4194304 bytes") {
					t.Errorf("OnError got %v", err)
				}
			},
		}, nil
	})
	p := at(s.url)
	codes := []closedEvent{{1000, "", true}, {1001, "away", true}, {1008, "not you", true}, {1011, "", true}, {1013, "later", true},
		{3000, "é€😀", true}, {4999, strings.Repeat("x", 123), true}}
	for _, e := range codes {
		ask, _ := json.Marshal(fmt.Sprint(e.Code, " ", e.Reason))
		got := run[closedEvent](t, p, fmt.Sprintf(`
			const s = connect('/ws')
			await s.opened
			s.send(%s)
			if (await s.next() !== 'before') throw new Error('the message before the close is lost')
			return await s.closed`, ask))
		want(t, "what the page sees", got, e)
		want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: websocket.StatusCode(e.Code), Reason: e.Reason, WasClean: true})
	}
	got := run[closedEvent](t, p, `const s = connect('/ws'); await s.opened; s.send('error a secret'); return await s.closed`)
	want(t, "what the page sees of an error", got, closedEvent{1011, "", true})
	if e := await(t, s.closed, "OnClose"); e.Code != 1011 || e.Err == nil {
		t.Errorf("OnClose got %+v, want 1011 and the error", e)
	}
	got = run[closedEvent](t, p, `const s = connect('/ws'); await s.opened; s.send('4000 ' + 'x'.repeat(4 << 20)); return await s.closed`)
	want(t, "what the page sees when its message is too big", got.Code, 1009)
	await(t, s.closed, "OnClose")
}

func subprotocol(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		if p := r.URL.Query().Get("choose"); p != "" {
			w.Header().Set("Sec-WebSocket-Protocol", p)
		}
		return ws.Events{}, nil
	})
	p := at(s.url)
	for choose, protocol := range map[string]string{"": "", "v1": "v1", "v2": "v2"} {
		// A browser may fail a connection whose server chose none of the subprotocols that it
		// offered, so it offers some only where one is chosen.
		offer := ""
		if choose != "" {
			offer = ", ['v1', 'v2']"
		}
		got := run[string](t, p, fmt.Sprintf("const s = connect('/ws?choose=%s'%s); await s.opened; s.close(); await s.closed; return s.protocol", choose, offer))
		want(t, "the page's protocol", got, protocol)
		want(t, "Conn.Subprotocol", await(t, s.opened, "OnOpen").Subprotocol(), protocol)
	}
}

func cookies(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "by-script", Path: "/"})
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "secret", Path: "/", HttpOnly: true})
		return ws.Events{}, nil
	})
	p := at(s.url)
	got := run[[]string](t, p, `
		const s = connect('/ws')
		await s.opened
		const sent = await (await fetch('/cookies')).text()
		s.close()
		await s.closed
		const again = connect('/ws')
		await again.opened
		return [document.cookie, sent]`)
	want(t, "document.cookie", got[0], "seen=by-script")
	want(t, "the cookies of the next request", got[1], "seen=by-script; session=secret")
	await(t, s.opened, "OnOpen")
	want(t, "the cookies of the next handshake", await(t, s.opened, "OnOpen").Request().Header.Get("Cookie"), "seen=by-script; session=secret")
}

func refused(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(403, "members only")
	})
	got := run[closedEvent](t, at(s.url), "return await connect('/ws').closed")
	want(t, "what the page sees", got, closedEvent{1006, "", false})
	want(t, "the status", await(t, s.status, "status"), 403)
	wantRefusal(t, s, 403)
}

// wantRefusal wants one refused handshake in the Upgrader's OnError.
func wantRefusal(t *testing.T, s *site, status int) {
	t.Helper()
	var refusal *ws.HandshakeError
	if err := await(t, s.errs, "OnError"); !errors.As(err, &refusal) || refusal.Status != status {
		t.Errorf("OnError got %v, want a HandshakeError with %d", err, status)
	}
}

func origins(t *testing.T, at func(string) tab) {
	for _, test := range []struct {
		name     string
		patterns []string
		open     bool
	}{
		{"foreign", nil, false},
		{"another host allowed", []string{"example.com"}, false},
		{"allowed", []string{"example.com", "localhost:*"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, websocket.AcceptOptions{OriginPatterns: test.patterns}, nil)
			p := at(strings.Replace(s.url, "127.0.0.1", "localhost", 1))
			// With the connection of a fetch there is one of HTTP/2 to that host.
			js := fmt.Sprintf("await fetch('%s/empty', {mode: 'no-cors', credentials: 'include'}); window.s = connect('%s/ws'); ",
				s.url, strings.Replace(s.url, "http", "ws", 1))
			if test.open {
				want(t, "echoes", run[[]string](t, p, js+"await s.opened; return await echoes(s, [0, 5])"), []string{})
				return
			}
			want(t, "what the page sees", run[closedEvent](t, p, js+"return await s.closed"), closedEvent{1006, "", false})
			wantRefusal(t, s, 403)
			// The same page at its own host is no foreigner.
			want(t, "echoes", run[[]string](t, p, "const s = connect('/ws'); await s.opened; return await echoes(s, [5])"), []string{})
		})
	}
}

func compression(t *testing.T, at func(string) tab) {
	for _, test := range []struct {
		name       string
		mode       websocket.CompressionMode
		extensions []string
	}{
		{"context takeover", websocket.CompressionContextTakeover, []string{"permessage-deflate"}},
		{"no context takeover", websocket.CompressionNoContextTakeover,
			[]string{"client_no_context_takeover", "permessage-deflate", "server_no_context_takeover"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, websocket.AcceptOptions{CompressionMode: test.mode}, nil)
			p := at(s.url)
			extensions := run[string](t, p, "window.s = connect('/ws'); await s.opened; return s.extensions")
			got := strings.Split(strings.ReplaceAll(extensions, " ", ""), ";")
			slices.Sort(got)
			if strings.Contains(t.Name(), "Firefox") { // it names no parameters
				test.extensions = []string{"permessage-deflate"}
			}
			want(t, "the page's extensions", got, test.extensions)
			want(t, "echoes", run[[]string](t, p, "return await echoes(s, "+sizes+")"), []string{})
			// A second time: what one message leaves in a window must not spoil the next.
			want(t, "echoes", run[[]string](t, p, "return await echoes(s, [70000, 3, 0, 70000, 511, 512, 513])"), []string{})
			want(t, "what the page sees", run[closedEvent](t, p, "s.close(1000, 'done'); return await s.closed"), closedEvent{1000, "done", true})
			want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: 1000, Reason: "done", WasClean: true})
		})
	}
}

// pageLeft leaves pages. A browser may keep a page that is left for the back button, and Chromium
// keeps its socket with it: the server still gets pongs, and OnClose comes when the page does, or
// is forgotten.
func pageLeft(t *testing.T, at func(string) tab) {
	const open = "window.s = connect('/ws'); await s.opened; "
	s := newSite(t, websocket.AcceptOptions{}, nil)
	for _, test := range []struct {
		name, path, js string
		back           bool
		want           ws.CloseEvent
	}{
		{"not kept", "/?no-store", open, false, ws.CloseEvent{Code: 1001, WasClean: true}},
		{"and come back to", "/", open, true, ws.CloseEvent{Code: 1001, WasClean: true}},
		{"closes on pagehide", "/", open + "addEventListener('pagehide', () => s.close(3001, 'left'))", false,
			ws.CloseEvent{Code: 3001, Reason: "left", WasClean: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := at(s.url + test.path)
			run[any](t, p, test.js)
			if err := p.open(s.url + "/empty"); err != nil {
				t.Fatal(err)
			}
			if test.back {
				run[any](t, p, "setTimeout(() => history.back())")
			}
			e := await(t, s.closed, "OnClose")
			if strings.Contains(t.Name(), "Firefox") { // it may be faster than the page
				test.want.Code, test.want.Reason = 1001, ""
				if e.Code == 3001 {
					test.want.Code, test.want.Reason = 3001, "left"
				}
			}
			wantLeft(t, e, test.want)
		})
	}
}

// wantLeft wants left of a page that is left. Over HTTP/2 Chromium resets the stream where it would send 1001.
func wantLeft(t *testing.T, e, left ws.CloseEvent) {
	t.Helper()
	if overHTTP2(t) && strings.Contains(t.Name(), "Chromium") && left.Code == websocket.StatusGoingAway {
		left = ws.CloseEvent{Code: websocket.StatusAbnormalClosure, Err: e.Err}
	}
	want(t, "OnClose", e, left)
}

func tabClosed(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, nil)
	p := at(s.url)
	run[any](t, p, "window.s = connect('/ws'); await s.opened")
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, await(t, s.closed, "OnClose"), ws.CloseEvent{Code: 1001, WasClean: true})
}

// bursts sends 1,000 messages at once, each way alone and both together, and wants them in order.
func bursts(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		next := 0
		return ws.Events{OnMessage: func(c *ws.Conn, m ws.Message) error {
			if m.String() == "burst" {
				for i := range 1000 {
					if err := c.SendText(fmt.Sprint("from the server ", i)); err != nil {
						return err
					}
				}
				return nil
			}
			if got, want := m.String(), fmt.Sprint("from the page ", next); got != want {
				return websocket.CloseError{Code: 4000, Reason: fmt.Sprintf("got %q, want %q", got, want)}
			}
			next++
			return c.Send(m)
		}}, nil
	})
	p := at(s.url)
	const awaits = `const wants = async (who, n = 1000) => {
			for (let i = 0; i < n; i++) {
				const got = await Promise.race([s.next(), s.closed])
				if (got !== who + i) throw new Error('got ' + JSON.stringify(got) + ', want ' + who + i)
			}
		}
		const s = connect('/ws')
		await s.opened
		`
	run[any](t, p, awaits+`s.send('burst'); await wants('from the server ')`)
	run[any](t, p, awaits+`for (let i = 0; i < 1000; i++) s.send('from the page ' + i); await wants('from the page ')`)
	run[any](t, p, awaits+`
		s.send('burst')
		for (let i = 0; i < 1000; i++) s.send('from the page ' + i)
		await wants('from the server '); await wants('from the page ')`)
}

func shutdown(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, nil)
	p := at(s.url)
	run[any](t, p, "window.s = connect('/ws'); await s.opened; s.send('x'); await s.next()")
	c := await(t, s.opened, "OnOpen")
	c.SendText("the last word")
	if err := s.up.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, "the last message", run[string](t, p, "return await s.next()"), "the last word")
	want(t, "what the page sees", run[closedEvent](t, p, "return await s.closed"), closedEvent{1001, "", true})
	want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: 1001, WasClean: true})
	want(t, "what a page that comes later sees", run[closedEvent](t, p, "return await connect('/ws').closed"), closedEvent{1006, "", false})
	wantRefusal(t, s, 503)
}

// oneConnection has a page and its socket on one connection, and a thousand echoes.
func oneConnection(t *testing.T, at func(string) tab) {
	s := newSite(t, websocket.AcceptOptions{}, nil)
	p := at(s.url)
	from := run[string](t, p, "return await (await fetch('/from')).text()")
	run[any](t, p, "window.s = connect('/ws'); await s.opened")
	if r := await(t, s.opened, "OnOpen").Request(); from != r.RemoteAddr+" HTTP/2.0" || r.TLS == nil {
		t.Errorf("the page came from %s, the socket from %s", from, r.RemoteAddr)
	}
	wrong := run[[]string](t, p, `
		const sizes = [0, 1, 125, 126, 16384, 65535, 65536, 1 << 20]
		while (sizes.length < 500) sizes.push(sizes.length * 37 % 5000)
		return await echoes(s, sizes)`)
	want(t, "echoes", wrong, []string{})
	want(t, "where a fetch beside it comes from", run[string](t, p, "return await (await fetch('/from')).text()"), from)
	want(t, "what the page sees", run[closedEvent](t, p, "s.close(1000, 'done'); return await s.closed"), closedEvent{1000, "done", true})
	want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: 1000, Reason: "done", WasClean: true})
}

// manySockets has 200 of them on one connection, and a fetch beside them.
func manySockets(t *testing.T, at func(string) tab) {
	const n = 200
	s := newSite(t, websocket.AcceptOptions{}, nil)
	s.opened, s.closed, s.status = make(chan *ws.Conn, n), make(chan ws.CloseEvent, n), make(chan int, n)
	p := at(s.url)
	from := run[string](t, p, "return await (await fetch('/from')).text()")
	got := run[string](t, p, fmt.Sprintf(`
		window.all = []
		for (let i = 0; i < %d; i++) all.push(connect('/ws'))
		await Promise.all(all.map(s => s.opened))
		for (const [i, s] of all.entries()) s.send('message ' + i)
		for (const [i, s] of all.entries()) if (await s.next() !== 'message ' + i) throw new Error('a wrong echo')
		return await (await fetch('/from')).text()`, n))
	want(t, "where a fetch beside them comes from", got, from)
	for range n {
		if r := await(t, s.opened, "OnOpen").Request(); from != r.RemoteAddr+" HTTP/2.0" {
			t.Errorf("the page came from %s, a socket from %s", from, r.RemoteAddr)
		}
	}
	run[any](t, p, "for (const s of all) s.close(); await Promise.all(all.map(s => s.closed))")
	for range n {
		want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: 1005, WasClean: true})
	}
}
