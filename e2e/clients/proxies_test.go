package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// freeAddr returns an address on which nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// daemon runs a proxy until the test ends, and returns once it listens at addr.
func daemon(t *testing.T, addr, pkg, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name // not everybody's PATH has it
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no %s found: install it (on Debian: apt-get install %s)", name, pkg)
	}
	cmd := exec.Command(path, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", name, &out)
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", name, &out)
		case <-deadline:
			t.Fatalf("%s does not listen at %s", name, addr)
		case <-tick.C:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
	}
}

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// documented returns the configuration in docs/proxies.md that is marked with that language, with
// the addresses of its front and of the server replaced.
func documented(t *testing.T, language, front, addr, backend string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n```"+language+"\n")
	conf, _, _ := strings.Cut(rest, "\n```\n")
	for _, replace := range [][2]string{{front, addr}, {"127.0.0.1:3000", backend}} {
		if strings.Count(conf, replace[0]) != 1 {
			t.Fatalf("docs/proxies.md does not name %q once for %s", replace[0], language)
		}
		conf = strings.Replace(conf, replace[0], replace[1], 1)
	}
	return conf
}

func nginx(t *testing.T, backend, idle string) (addr string) {
	addr = freeAddr(t)
	runNginx(t, addr, fmt.Sprintf("proxy_read_timeout %[1]s; proxy_send_timeout %[1]s;\n", idle)+
		documented(t, "nginx", "listen 80;", "listen "+addr+";", backend))
	return addr
}

// nginxWith runs one whose location has these lines besides proxy_pass.
func nginxWith(t *testing.T, backend, lines string) (addr string) {
	addr = freeAddr(t)
	runNginx(t, addr, fmt.Sprintf("server { listen %s; location / { proxy_pass http://%s; %s } }", addr, backend, lines))
	return addr
}

func runNginx(t *testing.T, addr, http string) {
	dir := t.TempDir()
	daemon(t, addr, "nginx-light", "nginx", "-p", dir, "-e", "stderr", "-c", write(t, fmt.Sprintf(`
		daemon off;
		master_process off;
		pid %[1]s/pid;
		error_log stderr;
		events {}
		http {
			access_log off;
			client_body_temp_path %[1]s/body;
			proxy_temp_path %[1]s/proxy;
			fastcgi_temp_path %[1]s/fastcgi;
			uwsgi_temp_path %[1]s/uwsgi;
			scgi_temp_path %[1]s/scgi;
			%[2]s
		}`, dir, http)))
}

func haproxy(t *testing.T, backend, idle string) (addr string) {
	addr = freeAddr(t)
	conf := documented(t, "haproxy", "bind :80", "bind "+addr, backend)
	conf = strings.Replace(conf, "timeout tunnel 60s", "timeout tunnel "+idle, 1)
	daemon(t, addr, "haproxy", "haproxy", "-db", "-f", write(t, conf+"\n"))
	return addr
}

func caddy(t *testing.T, backend string) (addr string) {
	addr = freeAddr(t)
	conf := "{\n\tadmin off\n\tpersist_config off\n}\n" + documented(t, "caddy", "example.com", "http://"+addr, backend)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	daemon(t, addr, "caddy", "caddy", "run", "--adapter", "caddyfile", "--config", write(t, conf+"\n"))
	return addr
}

// tinyproxy runs one that connects by CONNECT, for "user" with "s3cret".
func tinyproxy(t *testing.T) (addr string) {
	addr = freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	conf := write(t, fmt.Sprintf("Listen %s\nPort %s\nTimeout 60\nBasicAuth user s3cret\n", host, port))
	daemon(t, addr, "tinyproxy-bin", "tinyproxy", "-d", "-c", conf)
	return addr
}

func reverseProxy(t *testing.T, backend string, wrap func(http.Handler) http.Handler) (addr string) {
	target := &url.URL{Scheme: "http", Host: backend}
	srv := httptest.NewServer(wrap(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// proxies are what stands between; start returns the address of one before backend. idle ends a
// connection on which nothing came for a second.
var proxies = []struct {
	name  string
	start func(t *testing.T, backend string) string
	idle  func(t *testing.T, backend string) string
}{
	{"nginx",
		func(t *testing.T, backend string) string { return nginx(t, backend, "60s") },
		func(t *testing.T, backend string) string { return nginx(t, backend, "1s") }},
	{"haproxy",
		func(t *testing.T, backend string) string { return haproxy(t, backend, "60s") },
		func(t *testing.T, backend string) string { return haproxy(t, backend, "1s") }},
	{"caddy", caddy, nil},
	{"ReverseProxy",
		func(t *testing.T, backend string) string {
			return reverseProxy(t, backend, func(h http.Handler) http.Handler { return h })
		}, nil},
	{"Guard around ReverseProxy",
		func(t *testing.T, backend string) string { return reverseProxy(t, backend, ws.Guard) }, nil},
}

// backend is a server of package ws behind a proxy.
type backend struct {
	addr   string
	opened chan *ws.Conn
	closed chan ws.CloseEvent
}

func newBackend(t *testing.T, limits ws.Limits) *backend {
	b := &backend{opened: make(chan *ws.Conn, 10), closed: make(chan ws.CloseEvent, 10)}
	u := &ws.Upgrader{Limits: limits,
		Engine:  websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover},
		OnError: func(r *http.Request, err error) { t.Logf("Upgrader.OnError got %v", err) }}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		w.Header().Add("Set-Cookie", "from=factory")
		return ws.Events{
			OnOpen: func(c *ws.Conn) error { b.opened <- c; return nil },
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				if m.String() == "close me" {
					c.SendText("before")
					return websocket.CloseError{Code: 4002, Reason: "go é"}
				}
				return c.Send(m)
			},
			OnClose: func(c *ws.Conn, e ws.CloseEvent) { b.closed <- e },
		}, nil
	}))
	mux.HandleFunc("/silent", u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnClose: func(c *ws.Conn, e ws.CloseEvent) { b.closed <- e }}, nil
	}))
	mux.HandleFunc("/refuse", u.Upgrade(func(w http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(403, "members only")
	}))
	srv := httptest.NewServer(ws.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Middleware", "was here")
		mux.ServeHTTP(w, r)
	})))
	t.Cleanup(srv.Close)
	b.addr = srv.Listener.Addr().String()
	return b
}

// recorder keeps the answer to the handshake.
type recorder struct{ header http.Header }

func (h *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		h.header = resp.Header
	}
	return resp, err
}

// TestProxies talks through reverse proxies.
func TestProxies(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy.name, func(t *testing.T) {
			b := newBackend(t, ws.Limits{})
			addr := proxy.start(t, b.addr)
			address, page := "ws://"+addr, http.Header{"Origin": {"http://" + addr}}
			for name, mode := range map[string]websocket.CompressionMode{
				"plain": websocket.CompressionDisabled, "deflate": websocket.CompressionContextTakeover,
			} {
				t.Run(name, func(t *testing.T) {
					var answer recorder
					opts := &ws.DialOptions{Engine: websocket.DialOptions{CompressionMode: mode, HTTPHeader: page, HTTPClient: &http.Client{Transport: &answer}}}
					d := dial(t, address+"/ws", opts)
					want(t, "the middleware's header", answer.header.Get("X-Middleware"), "was here")
					want(t, "the factory's cookie", answer.header.Get("Set-Cookie"), "from=factory")
					want(t, "deflate", strings.HasPrefix(answer.header.Get("Sec-Websocket-Extensions"), "permessage-deflate"), name == "deflate")
					want(t, "X-Forwarded-For", await(t, b.opened, "OnOpen").Request().Header.Get("X-Forwarded-For"), "127.0.0.1")
					d.echoes(t)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if _, err := d.Ping(ctx); err != nil {
						t.Errorf("Ping: %v", err)
					}
					d.Close(4001, "bye é")
					e := ws.CloseEvent{Code: 4001, Reason: "bye é", WasClean: true}
					want(t, "OnClose", await(t, d.closed, "OnClose"), e)
					want(t, "OnClose at the server", await(t, b.closed, "OnClose at the server"), e)

					d = dial(t, address+"/ws", opts)
					await(t, b.opened, "OnOpen")
					d.says(t, "close me", "before")
					e = ws.CloseEvent{Code: 4002, Reason: "go é", WasClean: true}
					want(t, "OnClose", await(t, d.closed, "OnClose"), e)
					want(t, "OnClose at the server", await(t, b.closed, "OnClose at the server"), e)
				})
			}
			t.Run("refused", func(t *testing.T) {
				_, err := ws.Dial(t.Context(), address+"/refuse", ws.Events{}, nil)
				wantRefusal(t, err, 403, "members only")
			})
			t.Run("a foreign page", func(t *testing.T) {
				_, err := ws.Dial(t.Context(), address+"/ws", ws.Events{}, from("http://example.com"))
				wantRefusal(t, err, 403, addr)
			})
			t.Run("a client that vanishes", func(t *testing.T) {
				c, _, err := websocket.Dial(t.Context(), address+"/ws", nil)
				if err != nil {
					t.Fatal(err)
				}
				await(t, b.opened, "OnOpen")
				c.CloseNow()
				e := await(t, b.closed, "OnClose at the server")
				if e.Code != 1006 || e.WasClean {
					t.Errorf("OnClose at the server got %+v, want 1006", e)
				}
			})
		})
	}
}

// from is a page's client, as its Origin says.
func from(origin string) *ws.DialOptions {
	return &ws.DialOptions{Engine: websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}}}
}

// TestProxyChangesHost has proxies whose own page is refused, because they change Host.
func TestProxyChangesHost(t *testing.T) {
	const upgrade = `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";`
	for name, start := range map[string]func(t *testing.T, backend string) (addr, host string){
		"nginx without Host": func(t *testing.T, backend string) (addr, host string) { return nginxWith(t, backend, upgrade), backend },
		"nginx with $host": func(t *testing.T, backend string) (addr, host string) {
			return nginxWith(t, backend, upgrade+"proxy_set_header Host $host;"), "127.0.0.1"
		},
		"ReverseProxy with SetURL alone": func(t *testing.T, backend string) (addr, host string) {
			target := &url.URL{Scheme: "http", Host: backend}
			srv := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
			t.Cleanup(srv.Close)
			return srv.Listener.Addr().String(), backend
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr, host := start(t, newBackend(t, ws.Limits{}).addr)
			_, err := ws.Dial(t.Context(), "ws://"+addr+"/ws", ws.Events{}, from("http://"+addr))
			wantRefusal(t, err, 403, host)
		})
	}
}

func wantRefusal(t *testing.T, err error, status int, text string) {
	t.Helper()
	var refusal *ws.HandshakeError
	if !errors.As(err, &refusal) || refusal.Status != status || !strings.Contains(err.Error(), text) {
		t.Errorf("Dial: %v, want a HandshakeError with %d and %q", err, status, text)
	}
}

// TestProxyIdle has proxies that end a connection on which nothing came for a second. Pings keep it
// if they come more often, and so does a client that talks to a silent server.
func TestProxyIdle(t *testing.T) {
	for _, proxy := range proxies {
		if proxy.idle == nil {
			continue
		}
		t.Run(proxy.name+"/pings", func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, ws.Limits{PingInterval: 200 * time.Millisecond})
			pings := make(chan struct{}, 1000)
			d := dial(t, "ws://"+proxy.idle(t, b.addr)+"/ws", &ws.DialOptions{
				Engine: websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool { pings <- struct{}{}; return true }},
				Limits: ws.Limits{PingInterval: -1},
			})
			for range 15 { // the time of three timeouts
				select {
				case <-pings:
				case e := <-d.closed:
					t.Fatalf("the proxy ended the connection in spite of pings: %+v", e)
				}
			}
			d.says(t, "still here", "still here")
		})
		t.Run(proxy.name+"/only the client talks", func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, ws.Limits{PingInterval: -1})
			d := dial(t, "ws://"+proxy.idle(t, b.addr)+"/silent", &ws.DialOptions{Limits: ws.Limits{PingInterval: -1}})
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for range 15 {
				select {
				case <-tick.C:
					d.SendText("hello")
				case e := <-d.closed:
					t.Fatalf("the proxy ended the connection of a client that talks: %+v", e)
				}
			}
		})
		t.Run(proxy.name+"/no pings", func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, ws.Limits{PingInterval: -1})
			d := dial(t, "ws://"+proxy.idle(t, b.addr)+"/ws", &ws.DialOptions{Limits: ws.Limits{PingInterval: -1}})
			for _, ch := range []chan ws.CloseEvent{d.closed, b.closed} {
				if e := await(t, ch, "OnClose"); e.Code != 1006 || e.WasClean || e.Err == nil {
					t.Errorf("OnClose got %+v, want 1006 and why", e)
				}
			}
		})
	}
}

// TestProxyDropsUpgrade has the usual mistake: an nginx that was not told of WebSockets. What the
// client reads says so.
func TestProxyDropsUpgrade(t *testing.T) {
	const dropped = "a reverse proxy that drops the Upgrade and Connection headers is the usual cause"
	for name, tt := range map[string]struct{ lines, cause string }{
		"nothing configured": {"", `nginx needs "proxy_http_version 1.1"`},
		"HTTP/1.1 alone":     {"proxy_http_version 1.1;", dropped},
		"only Upgrade":       {"proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;", dropped},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, ws.Limits{})
			addr := nginxWith(t, b.addr, tt.lines)
			_, err := ws.Dial(t.Context(), "ws://"+addr+"/ws", ws.Events{}, nil)
			wantRefusal(t, err, 426, tt.cause)

			// So does who looks with curl or a browser.
			resp, err := http.Get("http://" + addr + "/ws")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			want(t, "the status", resp.StatusCode, 426)
			if !strings.Contains(string(body), "reverse proxy") {
				t.Errorf("the body is %q", body)
			}
		})
	}
}

// through is a client of the proxy.
func through(proxy *url.URL) *ws.DialOptions {
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	return &ws.DialOptions{Engine: websocket.DialOptions{HTTPClient: client}}
}

// TestConnect talks through a forward proxy, which lets no upgrade pass but by CONNECT.
func TestConnect(t *testing.T) {
	b := newBackend(t, ws.Limits{})
	proxy := &url.URL{Scheme: "http", Host: tinyproxy(t), User: url.UserPassword("user", "s3cret")}
	t.Run("messages", func(t *testing.T) {
		d := dial(t, "ws://"+b.addr+"/ws", through(proxy))
		await(t, b.opened, "OnOpen")
		d.echoes(t)
		d.Close(4001, "bye é")
		e := ws.CloseEvent{Code: 4001, Reason: "bye é", WasClean: true}
		want(t, "OnClose", await(t, d.closed, "OnClose"), e)
		want(t, "OnClose at the server", await(t, b.closed, "OnClose at the server"), e)
	})
	t.Run("refused by the server", func(t *testing.T) {
		_, err := ws.Dial(t.Context(), "ws://"+b.addr+"/refuse", ws.Events{}, through(proxy))
		wantRefusal(t, err, 403, "members only")
	})
	t.Run("wrong password", func(t *testing.T) {
		other := *proxy
		other.User = url.UserPassword("user", "hunter2")
		_, err := ws.Dial(t.Context(), "ws://"+b.addr+"/ws", ws.Events{}, through(&other))
		wantRefusal(t, err, 401, "the proxy http://"+proxy.Host) // Tinyproxy's status for it
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds the password: %v", err)
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		_, err := ws.Dial(t.Context(), "ws://"+freeAddr(t)+"/ws", ws.Events{}, through(proxy))
		wantRefusal(t, err, 500, "the proxy http://"+proxy.Host)
	})
	t.Run("HTTP_PROXY", func(t *testing.T) {
		// It is read once a process, and never used for what net/http takes for this machine, as which it does not know 127.1.
		_, port, _ := net.SplitHostPort(b.addr)
		run := func(proxy string) (string, error) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConnectFromEnvironment$", "-test.count=1")
			cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy, "NO_PROXY=", "WS_CLIENTS_URL=ws://127.1:"+port+"/ws")
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		if out, err := run(proxy.String()); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		want(t, "the Host", await(t, b.opened, "OnOpen").Request().Host, "127.1:"+port)
		if out, err := run("http://" + proxy.Host); err == nil || !strings.Contains(out, "refused with 407: the proxy http://"+proxy.Host) {
			t.Errorf("without the password: %v\n%s", err, out)
		}
	})
}

// TestConnectFromEnvironment is the process that TestConnect starts.
func TestConnectFromEnvironment(t *testing.T) {
	if address := os.Getenv("WS_CLIENTS_URL"); address != "" {
		dial(t, address, nil).says(t, "hello", "hello")
	}
}
