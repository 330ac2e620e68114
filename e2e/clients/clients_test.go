package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

var sizes = []int{0, 1, 125, 126, 511, 512, 65535, 65536, 1 << 20}

// A language is what clients and servers of one library are run with.
type language struct {
	name   string
	tool   func(t *testing.T) []string // the command
	client string
	server string // "" if there is none
	checks []string
	body   bool // the client shows a refusal's body
}

var languages = []language{
	{"Node ws", node, "node/client.js", "node/server.js",
		[]string{"echo", "fragments", "close", "closed", "ping", "pinged", "refused"}, true},
	{"Node built in", builtin, "node/builtin.js", "",
		[]string{"echo", "close", "closed", "pinged"}, false},
	{"Python websockets", python, "python/client.py", "python/server.py",
		[]string{"echo", "fragments", "close", "closed", "ping", "pinged", "refused"}, false},
}

var npm sync.Once

// node returns Node's command, and installs its packages if they are missing.
func node(t *testing.T) []string {
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("no Node found: install it (https://nodejs.org, or on Debian: apt-get install nodejs npm)")
	}
	npm.Do(func() {
		if _, err := os.Stat("node/node_modules/ws/package.json"); err == nil {
			return
		}
		cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund")
		cmd.Dir = "node"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm ci in e2e/clients/node: %v\n%s", err, out)
		}
	})
	return []string{path}
}

// builtin returns Node's command with its own WebSocket, which Node 20 hides behind a flag.
func builtin(t *testing.T) []string {
	cmd := append(node(t), "--experimental-websocket", "--no-warnings")
	if out, err := exec.Command(cmd[0], append(cmd[1:], "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}")...).CombinedOutput(); err != nil {
		t.Fatalf("this Node has no WebSocket built in; install Node 20.10 or later: %s", out)
	}
	return cmd
}

// python returns the command of a Python that has websockets. Debian's package is seen by Debian's
// Python alone.
func python(t *testing.T) []string {
	for _, path := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(path, "-c", "import websockets").Run() == nil {
			return []string{path}
		}
	}
	t.Fatal("no Python with websockets found: apt-get install python3-websockets")
	return nil
}

// seen is what a client prints. Each check fills in its own part.
type seen struct {
	Wrong      []string
	Extensions string
	Protocol   string
	Code       int
	Reason     string
	Message    string
	Status     int
}

// ask runs a check of l's client.
func (l language) ask(t *testing.T, check, url string, args ...string) (out seen) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tool := l.tool(t)
	cmd := exec.CommandContext(ctx, tool[0], slices.Concat(tool[1:], []string{filepath.FromSlash(l.client), check, url}, args)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v printed %q: %v\n%s", cmd.Args, text, err, &stderr)
	}
	return out
}

// site is a server of package ws for others' clients.
type site struct {
	url    string
	closed chan ws.CloseEvent
}

func newSite(t *testing.T) *site {
	s := &site{closed: make(chan ws.CloseEvent, 1)}
	factory := func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				switch m.String() {
				case "close me":
					return websocket.CloseError{Code: 4002, Reason: "go é"}
				case "ping me":
					go func() {
						ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
						defer cancel()
						if _, err := c.Ping(ctx); err != nil {
							c.SendText("no pong: " + err.Error())
							return
						}
						c.SendText("pong")
					}()
					return nil
				}
				return c.Send(m)
			},
			OnClose: func(c *ws.Conn, e ws.CloseEvent) { s.closed <- e },
			OnError: func(c *ws.Conn, err error) { t.Errorf("OnError got %v", err) },
		}, nil
	}
	mux := http.NewServeMux()
	for path, mode := range map[string]websocket.CompressionMode{
		"/":               websocket.CompressionDisabled,
		"/deflate":        websocket.CompressionContextTakeover,
		"/deflate/afresh": websocket.CompressionNoContextTakeover,
	} {
		u := &ws.Upgrader{Engine: websocket.AcceptOptions{CompressionMode: mode}}
		mux.HandleFunc(path, u.Upgrade(factory))
	}
	u := &ws.Upgrader{OnError: func(*http.Request, error) {}}
	mux.HandleFunc("/refuse", u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(403, "members only")
	}))
	srv := httptest.NewServer(ws.Guard(mux))
	t.Cleanup(srv.Close)
	s.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	return s
}

// await returns what comes on ch within a minute.
func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatalf("no %s any more", what)
		}
		return v
	case <-time.After(time.Minute):
		t.Fatalf("no %s within a minute", what)
		panic("unreachable")
	}
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// TestClients runs the checks of every client against a server of package ws.
func TestClients(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			for _, check := range l.checks {
				t.Run(check, func(t *testing.T) { checks[check](t, l) })
			}
		})
	}
}

var checks = map[string]func(t *testing.T, l language){
	"echo": func(t *testing.T, l language) {
		arg, _ := json.Marshal(sizes)
		for _, path := range []string{"/", "/deflate", "/deflate/afresh"} {
			t.Run(path, func(t *testing.T) {
				s := newSite(t)
				got := l.ask(t, "echo", s.url+path, string(arg))
				for _, w := range got.Wrong {
					t.Error(w)
				}
				var extensions []string
				switch path {
				case "/deflate":
					extensions = []string{"permessage-deflate"}
				case "/deflate/afresh":
					extensions = []string{"client_no_context_takeover", "permessage-deflate", "server_no_context_takeover"}
				}
				if l.name == "Node ws" && len(extensions) > 1 {
					extensions = []string{"permessage-deflate"} // it names no parameters
				}
				var answered []string
				if got.Extensions != "" {
					answered = strings.Split(strings.ReplaceAll(got.Extensions, " ", ""), ";")
					slices.Sort(answered)
				}
				want(t, "extensions", answered, extensions)
				want(t, "the client's close code", got.Code, 1000)
				want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: 1000, WasClean: true})
			})
		}
	},
	"fragments": func(t *testing.T, l language) {
		for _, path := range []string{"/", "/deflate"} {
			s := newSite(t)
			want(t, "the echo", l.ask(t, "fragments", s.url+path).Message, "fragments é")
			want(t, "WasClean", await(t, s.closed, "OnClose").WasClean, true)
		}
	},
	"close": func(t *testing.T, l language) {
		s := newSite(t)
		want(t, "the client", l.ask(t, "close", s.url), seen{Code: 4001, Reason: "bye é"})
		want(t, "OnClose", await(t, s.closed, "OnClose"), ws.CloseEvent{Code: 4001, Reason: "bye é", WasClean: true})
	},
	"closed": func(t *testing.T, l language) {
		s := newSite(t)
		want(t, "the client", l.ask(t, "closed", s.url), seen{Code: 4002, Reason: "go é"})
		e := await(t, s.closed, "OnClose")
		if l.name == "Node built in" { // it answers with the code alone
			e.Reason += "go é"
		}
		want(t, "OnClose", e, ws.CloseEvent{Code: 4002, Reason: "go é", WasClean: true})
	},
	"ping": func(t *testing.T, l language) {
		s := newSite(t)
		want(t, "the client's pong", l.ask(t, "ping", s.url).Message, "are you there?")
	},
	"pinged": func(t *testing.T, l language) {
		for _, path := range []string{"/", "/deflate"} {
			s := newSite(t)
			want(t, "the server's ping", l.ask(t, "pinged", s.url+path).Message, "pong")
		}
	},
	"refused": func(t *testing.T, l language) {
		s := newSite(t)
		got := l.ask(t, "refused", s.url+"/refuse")
		want(t, "the status", got.Status, 403)
		if l.body && !strings.Contains(got.Message, "members only") {
			t.Errorf("the body is %q, want the reason in it", got.Message)
		}
	},
}
