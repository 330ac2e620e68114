// Package rpc tests the package where it runs in the browser: the example of a
// Route as it is, and a page of checks.
package rpc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/internal/browser"
	"github.com/seed412db446/ws/examples/rpc"
)

// build builds a package into a temporary directory.
func build(t *testing.T, pkg string, env ...string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("go", "build", "-o", file, pkg)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return file
}

// The example's server, its page in Chromium and its Go client, all at once.
func TestExample(t *testing.T) {
	cmd := exec.Command(build(t, "github.com/seed412db446/ws/examples/rpc/server"), "-addr", "127.0.0.1:0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		cmd.Wait()
		t.Fatalf("the server printed no address: %v\n%s", err, &stderr)
	}
	address = strings.TrimSpace(address)

	// A second server at the same address says so.
	host := strings.TrimPrefix(address, "http://")
	out, err := exec.Command(cmd.Path, "-addr", host).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), host) || !strings.Contains(string(out), "-addr") {
		t.Errorf("a second server: %v\n%s", err, out)
	}

	// The Go client.
	var mu sync.Mutex
	var printed []string
	lines := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(printed, "\n")
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	gone := make(chan error, 1)
	go func() {
		gone <- rpc.Run(ctx, address, func(s string) {
			mu.Lock()
			printed = append(printed, s)
			mu.Unlock()
		})
	}()

	// The pages: the one in TypeScript is left by the keyboard alone.
	typescript, _ := browser.Start(t)
	inGo, cancel := chromedp.NewContext(typescript)
	defer cancel()
	if err := chromedp.Do(typescript, chromedp.Navigate(address)); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(inGo, chromedp.Navigate(address+"/wasm")); err != nil {
		t.Fatal(err)
	}
	shows := func(page context.Context, id, condition string) {
		t.Helper()
		if _, err := chromedp.Run(page, chromedp.Poll[bool]("("+condition+")(document.getElementById('"+id+"').textContent)", chromedp.WithPollingTimeout(time.Minute))); err != nil {
			text, _ := chromedp.Run(page, chromedp.Evaluate[string](`document.body.innerText`))
			t.Fatalf("never: %s: %v\nthe page shows:\n%s\nthe client printed:\n%s", condition, err, text, lines())
		}
	}
	const answered = `s => s.split("\n").filter(l => /^sent at \d\d:.*, answered at \d\d:/.test(l)).length >= 2`
	shows(typescript, "log", answered)
	shows(inGo, "log", answered)
	if n := strings.Count(lines(), "answered at"); n < 1 {
		t.Errorf("the client printed\n%s", lines())
	}
	if err := chromedp.Do(typescript, chromedp.EmulateViewport(320, 640, chromedp.EmulateMobile)); err != nil {
		t.Fatal(err)
	}
	width, err := chromedp.Run(typescript, chromedp.Evaluate[int](`document.documentElement.scrollWidth`))
	if err != nil || width > 320 {
		t.Errorf("on a phone of 320 pixels the page takes %d: %v", width, err)
	}
	if err := chromedp.Do(typescript, chromedp.Focus("#bye"), chromedp.KeyEvent(" ")); err != nil {
		t.Fatal(err)
	}
	shows(typescript, "state", `s => s === "The server said bye: see you."`)
	if err := chromedp.Do(inGo, chromedp.Click("#leave")); err != nil {
		t.Fatal(err)
	}
	shows(inGo, "state", `s => s === "Ended."`)

	// The Go client comes back to a server that was started anew, and another page too.
	if err := chromedp.Do(typescript, chromedp.Navigate(address)); err != nil {
		t.Fatal(err)
	}
	shows(typescript, "state", `s => s === "Connected."`)
	stopServer(t, cmd, syscall.SIGTERM, &stderr)
	shows(typescript, "state", `s => /Again in \d+ s/.test(s)`)
	again := exec.Command(cmd.Path, "-addr", host)
	again.Stderr = &stderr
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	defer again.Process.Kill()
	shows(typescript, "state", `s => s === "Connected."`)
	leave()
	if err := <-gone; err != context.Canceled || !strings.Contains(lines(), "closed with 1001") {
		t.Errorf("the client returned %v and printed\n%s", err, lines())
	}
	stopServer(t, again, os.Interrupt, &stderr)
}

func stopServer(t *testing.T, cmd *exec.Cmd, sig os.Signal, stderr *bytes.Buffer) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server: %v\n%s", err, stderr)
	}
}

// A page of checks. What the server saw is checked here.
func TestChecks(t *testing.T) {
	wasm := build(t, "./page", "GOOS=js", "GOARCH=wasm")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}

	type end struct {
		code     websocket.StatusCode
		reason   string
		messages int // "0", "1", and so on
	}
	var mu sync.Mutex
	seen := make(map[string]end)
	release := make(chan struct{})
	releaseOnce := sync.OnceFunc(func() { close(release) })

	mux := http.NewServeMux()
	u := &ws.Upgrader{Limits: ws.Limits{ReadLimit: -1}, Engine: websocket.AcceptOptions{Subprotocols: []string{"a", "b"}}}
	handle := func(path string, ev ws.Events) {
		mux.HandleFunc("GET "+path, u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ev, nil }))
	}
	echo := func(c *ws.Conn, m ws.Message) error { return c.Send(m) }
	handle("/echo", ws.Events{OnMessage: echo})
	handle("/burst", ws.Events{OnOpen: func(c *ws.Conn) error {
		for i := range 1000 {
			c.SendText(fmt.Sprint(i))
		}
		return websocket.CloseError{Code: 4001, Reason: "done, ü"}
	}})
	mux.HandleFunc("GET /seen/{name}", u.Upgrade(func(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
		messages := 0
		return ws.Events{
			OnMessage: func(c *ws.Conn, m ws.Message) error {
				if m.String() == fmt.Sprint(messages) {
					messages++
					return nil
				}
				return echo(c, m)
			},
			OnClose: func(_ *ws.Conn, e ws.CloseEvent) {
				mu.Lock()
				defer mu.Unlock()
				seen[r.PathValue("name")] = end{e.Code, e.Reason, messages}
			},
		}, nil
	}))
	handle("/drop", ws.Events{
		OnOpen:    func(c *ws.Conn) error { return c.SendText("hello") },
		OnMessage: func(*ws.Conn, ws.Message) error { panic(http.ErrAbortHandler) },
	})
	mux.Handle("GET /query", u.Upgrade(func(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
		return ws.Events{OnOpen: func(c *ws.Conn) error { return c.SendText(r.URL.RawQuery) }}, nil
	}))
	mux.Handle("GET /refuse", u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) {
		return ws.Events{}, ws.Reject(http.StatusForbidden, "members only")
	}))
	var restarts atomic.Int32
	mux.HandleFunc("GET /restarts", u.Upgrade(func(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
		if restarts.Add(1) == 2 {
			return ws.Events{}, ws.Reject(http.StatusServiceUnavailable, "busy") // a page learns no status
		}
		return ws.Events{OnOpen: func(c *ws.Conn) error {
			if r.FormValue("after") == "2" {
				return c.Close(4001, "enough")
			}
			return c.Close(1012, "")
		}}, nil
	}))
	mux.HandleFunc("GET /hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	handle("/stall", ws.Events{OnOpen: func(c *ws.Conn) error { <-release; return nil }})
	handle("/release", ws.Events{OnOpen: func(*ws.Conn) error { releaseOnce(); return nil }})
	mux.HandleFunc("GET /page.wasm", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/wasm")
		http.ServeFile(w, r, wasm)
	})
	mux.HandleFunc("GET /wasm_exec.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<!DOCTYPE html><script src="wasm_exec.js"></script><script>
const go = new Go();
WebAssembly.instantiateStreaming(fetch("page.wasm"), go.importObject).then(({ instance }) => go.run(instance))
	.then(() => window.results ??= '{"page": "it crashed"}');
</script>`)
	})
	srv := httptest.NewServer(ws.Guard(mux))
	defer srv.Close()
	defer releaseOnce()

	page, _ := browser.Start(t)
	if err := chromedp.Do(page, chromedp.Navigate(srv.URL)); err != nil {
		t.Fatal(err)
	}
	text, err := chromedp.Run(page, chromedp.Poll[string]("window.results", chromedp.WithPollingTimeout(2*time.Minute)))
	if err != nil {
		t.Fatalf("the page has no results: %v", err)
	}
	results := make(map[string]string)
	if err := json.Unmarshal([]byte(text), &results); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if len(results) < 15 {
		t.Errorf("only %d checks ran", len(results))
	}
	for name, failure := range results {
		t.Run(name, func(t *testing.T) {
			if failure != "" {
				t.Error(failure)
			}
		})
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := u.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]end{
		"closes_after_messages": {4002, "enough, ü", 1000},
		"going_away":            {1005, "", 0}, // browsers send 1000 and 3000 to 4999 alone
		"read_limit":            {1005, "", 0},
		"error":                 {1005, "", 0},
		"close_error":           {4003, "r", 0},
		"panic":                 {1005, "", 0},
		"route_invalid":         {1005, "", 0},
		"redial_context":        {1000, "", 0},
	} {
		t.Run("server_saw_"+name, func(t *testing.T) {
			if got := seen[name]; got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}
