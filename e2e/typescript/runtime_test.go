// Package typescript tests what wsts writes, with the TypeScript compiler, Node and Chromium.
package typescript

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/seed412db446/ws/e2e/internal/browser"
)

// limit is what any step may take.
const limit = time.Minute

// command runs a program in dir.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

var npmPackages sync.Mutex

// packages installs the packages of dir's lock file, if they are missing.
func packages(t *testing.T, dir string) {
	t.Helper()
	npmPackages.Lock()
	defer npmPackages.Unlock()
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		command(t, dir, "npm", "ci", "--no-audit", "--no-fund")
	}
}

// compile returns a directory with routes.js, of which the runtime is the larger part, and scenarios.js.
func compile(t *testing.T) string {
	t.Helper()
	packages(t, ".")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "routes.ts"), read(t, "runtime/routes.ts")+read(t, "../../wsts/runtime.ts"))
	write(t, filepath.Join(dir, "scenarios.ts"), read(t, "runtime/scenarios.ts"))
	write(t, filepath.Join(dir, "package.json"), `{"type": "module"}`)
	tsc(t, "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler",
		"--outDir", dir, filepath.Join(dir, "scenarios.ts"))
	return dir
}

func tsc(t *testing.T, args ...string) {
	t.Helper()
	packages(t, ".")
	command(t, ".", "node", append([]string{"node_modules/typescript/bin/tsc"}, args...)...)
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The JavaScript of -js is the TypeScript without its types, and both are checked. Without types and comments, with
// whitespace and names as they are, it has 2 KiB at most.
func TestRuntimeJavaScript(t *testing.T) {
	packages(t, ".")
	text := make(map[string]string)
	for _, ext := range []string{"ts", "js"} {
		dir := t.TempDir()
		file := filepath.Join(dir, "runtime."+ext)
		write(t, file, read(t, "../../wsts/runtime."+ext)+"export { route, routeWithCodec };\n")
		tsc(t, "--strict", "--allowJs", "--checkJs", "--noUnusedLocals", "--noUnusedParameters", "--removeComments", "--target", "esnext", "--module", "esnext",
			"--outDir", filepath.Join(dir, "out"), file)
		text[ext], _, _ = strings.Cut(read(t, filepath.Join(dir, "out", "runtime.js")), "export {")
	}
	if text["ts"] != text["js"] {
		t.Errorf("runtime.js differs from runtime.ts, which is\n%s\nand not\n%s", text["ts"], text["js"])
	}
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	io.WriteString(w, text["js"])
	w.Close()
	if t.Logf("%d bytes, gzipped %d", len(text["js"]), b.Len()); b.Len() > 2048 {
		t.Errorf("the runtime has %d bytes, gzipped", b.Len())
	}
}

// What the runtime does, by a clock and a WebSocket of the test's own.
func TestRuntimeBehaviour(t *testing.T) {
	dir := compile(t)
	cmd := exec.Command("node", "--test", "runtime/behaviour.mjs")
	cmd.Env = append(os.Environ(), "ROUTES="+filepath.Join(dir, "routes.js"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// server is a real one, in a process of its own, always at the same address.
type server struct {
	t    *testing.T
	bin  string
	addr string
	cmd  *exec.Cmd
}

func newServer(t *testing.T) *server {
	s := &server{t: t, bin: filepath.Join(t.TempDir(), "server"), addr: "127.0.0.1:0"}
	command(t, ".", "go", "build", "-o", s.bin, "./runtime/server")
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	return s
}

func (s *server) start() error {
	s.cmd = exec.Command(s.bin, "-addr", s.addr)
	s.cmd.Stderr = os.Stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	s.addr = strings.TrimSpace(line)
	return err
}

func (s *server) end(sig syscall.Signal) error {
	s.cmd.Process.Signal(syscall.SIGCONT)
	if err := s.cmd.Process.Signal(sig); err != nil {
		return err
	}
	s.cmd.Wait()
	return nil
}

// seen is what the server has to tell.
type seen struct {
	Open   int
	Closes []int
}

func (s *server) seen() (v seen, err error) {
	resp, err := http.Get("http://" + s.addr + "/seen")
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	return v, json.NewDecoder(resp.Body).Decode(&v)
}

// control does what a scenario asks for. outage is the browser's.
func (s *server) control(what string, outage func() error) (seen, error) {
	restart := func(sig syscall.Signal) error {
		if err := s.end(sig); err != nil {
			return err
		}
		return s.start()
	}
	switch what {
	case "restart":
		return seen{}, restart(syscall.SIGTERM)
	case "kill":
		return seen{}, restart(syscall.SIGKILL)
	case "freeze":
		return seen{}, s.cmd.Process.Signal(syscall.SIGSTOP)
	case "thaw":
		return seen{}, s.cmd.Process.Signal(syscall.SIGCONT)
	case "idle":
		for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
			v, err := s.seen()
			if err != nil || v.Open == 0 || time.Now().After(deadline) {
				return v, err
			}
		}
	case "outage":
		return seen{}, outage()
	}
	return seen{}, fmt.Errorf("no such thing: %s", what)
}

// site serves control, and the files in dir.
func site(t *testing.T, dir string, s *server, outage func() error) string {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("POST /control", func(w http.ResponseWriter, r *http.Request) {
		v, err := s.control(r.FormValue("do"), outage)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(v)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

var scenarios = []string{"typed round trip", "back after 1001 without a gap", "back after a kill without a gap", "a frozen server is noticed",
	"heartbeats keep a silent connection", "a new token after 4401", "abort", "garbage", "1,000 connects and closes"}

func TestRuntimeNode(t *testing.T) {
	dir := compile(t)
	packages(t, "runtime")
	ws, err := filepath.Abs("runtime/node_modules/ws/wrapper.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for name, ws := range map[string]string{"built in": "", "ws": ws} {
		t.Run(name, func(t *testing.T) {
			for _, scenario := range scenarios {
				t.Run(scenario, func(t *testing.T) {
					s := newServer(t)
					out := command(t, ".", "node", "--experimental-websocket", "--no-warnings", "runtime/node.mjs", filepath.Join(dir, "scenarios.js"), ws,
						scenario, "http://"+s.addr, site(t, dir, s, nil)+"/control")
					if out != "\n" {
						t.Error(out)
					}
				})
			}
		})
	}
}

func TestRuntimeChromium(t *testing.T) {
	dir := compile(t)
	write(t, filepath.Join(dir, "index.html"), `<!DOCTYPE html><script type="module">
import { run } from "./scenarios.js";
window.run = (name, base) => run(name, { base, origin: true, control: async (what) => {
	const response = await fetch("/control?do=" + what, { method: "POST" });
	if (!response.ok) throw new Error(await response.text());
	return response.json();
} });
</script>`)
	ctx, _ := browser.Start(t)
	for _, scenario := range append(scenarios, "offline and online") {
		t.Run(scenario, func(t *testing.T) {
			tab, closeTab := chromedp.NewContext(ctx)
			defer closeTab()
			s := newServer(t)
			address := site(t, dir, s, func() error { return outage(tab, s) })
			if err := chromedp.Do(tab, chromedp.Navigate(address)); err != nil {
				t.Fatal(err)
			}
			within, cancel := context.WithTimeout(tab, limit)
			defer cancel()
			wrong, err := chromedp.Run(within, chromedp.Evaluate[string](fmt.Sprintf("run(%q, %q)", scenario, "http://"+s.addr), chromedp.EvalAwaitPromise))
			if wrong != "" || err != nil {
				t.Error(wrong, err)
			}
		})
	}
}

// outage takes the page's network away, restarts the server, and gives the network back once the page waits.
func outage(tab context.Context, s *server) error {
	offline := func(yes bool) error {
		// The rule comes first: it takes effect some time after the answer.
		if _, err := chromedp.Call(tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{Offline: yes, DownloadThroughput: -1, UploadThroughput: -1}},
		}); err != nil {
			return err
		}
		if _, err := chromedp.Run(tab, chromedp.Evaluate[bool](fmt.Sprintf(`new Promise(resolve => {
			const check = () => fetch("/").then(() => false, () => true).then(failed => failed === %t ? resolve(true) : check())
			check()
		})`, yes), chromedp.EvalAwaitPromise)); err != nil {
			return err
		}
		_, err := chromedp.Call(tab, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: yes, DownloadThroughput: -1, UploadThroughput: -1})
		return err
	}
	if err := offline(true); err != nil {
		return err
	}
	if err := s.end(syscall.SIGKILL); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	if _, err := chromedp.Run(tab, chromedp.Poll[bool]("window.waiting && !navigator.onLine", chromedp.WithPollingTimeout(limit))); err != nil {
		return err
	}
	return offline(false)
}
