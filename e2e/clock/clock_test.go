// Package clock drives examples/clock with a real browser.
package clock

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/seed412db446/ws/e2e/internal/browser"
)

// start starts the clock and returns its address and, line by line, its log.
func start(t *testing.T, args ...string) (server *exec.Cmd, address string, logged <-chan string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "clock")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/seed412db446/ws/examples/clock").CombinedOutput(); err != nil {
		t.Fatalf("can't build the clock: %v\n%s", err, out)
	}
	server = exec.Command(bin, append(args, "-addr", "127.0.0.1:0")...)
	stdout, _ := server.StdoutPipe()
	stderr, _ := server.StderrPipe()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill() })
	if _, err := fmt.Fscanf(stdout, "The clock is at %s", &address); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	return server, address, lines
}

// stop ends the clock with Ctrl-C and wants exit status 0.
func stop(t *testing.T, server *exec.Cmd, logged <-chan string) {
	t.Helper()
	server.Process.Signal(os.Interrupt)
	var seen []string
	for line := range logged { // to its end, before Wait closes the pipe
		seen = append(seen, line)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v; the clock logged %q", err, seen)
	}
}

// watch opens the clock and sees the time, and two changes.
func watch(t *testing.T, tab context.Context, address string) {
	t.Helper()
	if err := chromedp.Do(tab, chromedp.Navigate(address)); err != nil {
		t.Fatal(err)
	}
	var last string
	for range 3 {
		now, err := chromedp.Run(tab, chromedp.PollFunction[string](`(last) => {
			const now = document.getElementById('now-time').textContent
			return /^\d\d:/.test(now) && now !== last && now
		}`, chromedp.WithPollingArgs(last)))
		if err != nil {
			t.Fatalf("the clock stands still at %q: %v", last, err)
		}
		last = now
	}
}

// TestClock sees the time move twice in Chromium, closes the page and sees
// OnClose, and stops the server with Ctrl-C.
func TestClock(t *testing.T) {
	server, address, logged := start(t)
	ctx, _ := browser.Start(t)
	tab, closeTab := chromedp.NewContext(ctx)
	watch(t, tab, address)
	closeTab()
	var seen []string
	for line := range logged {
		seen = append(seen, line)
		if strings.Contains(line, "close") {
			if !strings.Contains(line, "1001") && !strings.Contains(line, "StatusGoingAway") {
				t.Errorf("the page went away with %q, want 1001", line)
			}
			break
		}
	}
	if len(seen) != 2 || !strings.Contains(seen[0], "open") {
		t.Errorf("the clock logged %q, want one open and one close", seen)
	}
	stop(t, server, logged)
}

// TestTLS sees page and WebSocket on one connection. Ctrl-C works beside a connection that was opened
// ahead and is not used, as browsers open them.
func TestTLS(t *testing.T) {
	server, address, logged := start(t, "-tls")
	ctx, _ := browser.Start(t, chromedp.Flag("ignore-certificate-errors", true))
	watch(t, ctx, address)
	from := make(map[string]string)
	for line := range logged {
		var day, now, method, path, addr string
		if _, err := fmt.Sscanf(line, "%s %s %s %s HTTP/2.0 %s", &day, &now, &method, &path, &addr); err == nil {
			from[method+" "+path] = addr
		}
		if from["CONNECT /ws"] != "" {
			break
		}
	}
	if from["CONNECT /ws"] == "" || from["GET /"] != from["CONNECT /ws"] {
		t.Errorf("page and WebSocket came from %q", from)
	}
	spare, err := tls.Dial("tcp", strings.TrimPrefix(address, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer spare.Close()
	stop(t, server, logged)
}

// TestPortInUse wants a clear error and an exit status other than 0.
func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := exec.Command("go", "run", "github.com/seed412db446/ws/examples/clock", "-addr", l.Addr().String()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "address already in use") {
		t.Errorf("a port in use: %v, %s", err, out)
	}
}
