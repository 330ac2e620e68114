package browsers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/e2e/internal/browser"
)

// A tab is one page of a browser.
type tab interface {
	open(url string) error            // returns when the page is loaded
	eval(expr string) (string, error) // returns the string that the promise resolves with
	close() error
}

// browsers are what every test runs with. Each starts a browser, which ends with the test, and
// returns how to open a tab in it.
var browsers = []struct {
	name  string
	start func(t *testing.T) func() (tab, error)
}{
	{"Chromium", chromium},
	{"Firefox", firefox},
}

func chromium(t *testing.T) func() (tab, error) {
	ctx, _ := browser.Start(t, chromedp.Flag("ignore-certificate-errors", true)) // httptest's is nobody's
	return func() (tab, error) {
		ctx, cancel := chromedp.NewContext(ctx)
		return chromiumTab{ctx, cancel}, chromedp.Do(ctx)
	}
}

type chromiumTab struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func (p chromiumTab) open(url string) error { return chromedp.Do(p.ctx, chromedp.Navigate(url)) }
func (p chromiumTab) close() error          { return chromedp.Cancel(p.ctx) }
func (p chromiumTab) eval(expr string) (string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string](expr, chromedp.EvalAwaitPromise))
}

func firefox(t *testing.T) func() (tab, error) {
	var path string
	for _, name := range []string{os.Getenv("FIREFOX"), "firefox-esr", "firefox"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Fatal("no Firefox found: install it (on Debian: apt-get install firefox-esr) or set FIREFOX to its path")
	}
	home := t.TempDir()
	cmd := exec.Command(path, "--headless", "--no-remote", "--profile", home, "--remote-debugging-port", "0", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+home, "MOZ_CRASHREPORTER_DISABLE=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &bidi{answers: make(map[int]chan bidiAnswer), ended: make(chan struct{})}
	t.Cleanup(func() {
		if b.conn != nil {
			b.call("browser.close", struct{}{}, nil)
		}
		late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		io.Copy(io.Discard, stderr)
		cmd.Wait()
		late.Stop()
	})
	var address string
	var said strings.Builder
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	lines := bufio.NewReader(stderr)
	for address == "" {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			t.Fatalf("Firefox does not start: %v\n%s", err, &said)
		}
		if _, a, ok := strings.Cut(line, "WebDriver BiDi listening on "); ok {
			address = strings.TrimSpace(a)
		}
	}
	late.Stop()
	go io.Copy(io.Discard, lines)

	b.conn, err = ws.Dial(t.Context(), address+"/session", ws.Events{
		OnMessage: b.message,
		OnClose:   func(*ws.Conn, ws.CloseEvent) { close(b.ended) },
	}, &ws.DialOptions{Limits: ws.Limits{ReadLimit: -1}})
	if err != nil {
		t.Fatalf("Firefox's WebDriver BiDi: %v", err)
	}
	if err := b.call("session.new", map[string]any{
		"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}},
	}, nil); err != nil {
		t.Fatal(err)
	}
	return func() (tab, error) {
		var created struct{ Context string }
		err := b.call("browsingContext.create", map[string]any{"type": "tab"}, &created)
		return firefoxTab{b, created.Context}, err
	}
}

type firefoxTab struct {
	b  *bidi
	id string
}

func (p firefoxTab) open(url string) error {
	return p.b.call("browsingContext.navigate", map[string]any{"context": p.id, "url": url, "wait": "complete"}, nil)
}

func (p firefoxTab) close() error {
	return p.b.call("browsingContext.close", map[string]any{"context": p.id}, nil)
}

func (p firefoxTab) eval(expr string) (string, error) {
	var out struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	err := p.b.call("script.evaluate", map[string]any{
		"expression": expr, "target": map[string]any{"context": p.id}, "awaitPromise": true,
	}, &out)
	if err == nil && out.Type != "success" {
		err = fmt.Errorf("the script failed: %s", out.ExceptionDetails.Text)
	}
	return out.Result.Value, err
}

// bidi is a connection to a browser that speaks WebDriver BiDi.
type bidi struct {
	conn  *ws.Conn
	ended chan struct{}

	mu      sync.Mutex // protects the following
	last    int
	answers map[int]chan bidiAnswer
}

type bidiAnswer struct {
	ID             int
	Error, Message string
	Result         json.RawMessage
}

func (b *bidi) message(c *ws.Conn, m ws.Message) error {
	var a bidiAnswer
	if err := m.Decode(&a); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch := b.answers[a.ID]; ch != nil {
		delete(b.answers, a.ID)
		ch <- a
	}
	return nil
}

func (b *bidi) call(method string, params, result any) error {
	b.mu.Lock()
	b.last++
	id := b.last
	answer := make(chan bidiAnswer, 1)
	b.answers[id] = answer
	b.mu.Unlock()
	if err := b.conn.SendJSON(map[string]any{"id": id, "method": method, "params": params}); err != nil {
		return err
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return fmt.Errorf("%s: %s: %s", method, a.Error, a.Message)
		}
		if result != nil {
			return json.Unmarshal(a.Result, result)
		}
		return nil
	case <-b.ended:
		return fmt.Errorf("%s: the browser is gone", method)
	case <-time.After(time.Minute):
		return fmt.Errorf("%s: no answer within a minute", method)
	}
}
