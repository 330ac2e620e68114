package examples

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// servers are the examples' servers.
var servers = []struct {
	dir, says string // says: what it prints once it listens, before its URL
	socket    string
}{
	{"clock", "The clock is at", "/ws"},
	{"chi", "The room is at", "/ws"},
	{"chat", "chat: listening on", "/rooms/lobby/ws?name=ann&session=0123456789abcdef0123456789abcdef"},
}

func build(t *testing.T, dir string) (bin string) {
	t.Helper()
	bin = filepath.Join(t.TempDir(), "example")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = filepath.Join("..", "..", "examples", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// TestSignals ends each server while somebody is connected, with Ctrl-C and with SIGTERM.
func TestSignals(t *testing.T) {
	for _, server := range servers {
		t.Run(server.dir, func(t *testing.T) {
			t.Parallel()
			bin := build(t, server.dir)
			for name, signal := range map[string]os.Signal{"Ctrl-C": os.Interrupt, "SIGTERM": syscall.SIGTERM} {
				t.Run(name, func(t *testing.T) {
					temp := t.TempDir()
					cmd := exec.Command(bin, "-addr", "127.0.0.1:0")
					cmd.Env = append(os.Environ(), "TMPDIR="+temp)
					var log strings.Builder
					cmd.Stderr = &log
					out, err := cmd.StdoutPipe()
					if err != nil {
						t.Fatal(err)
					}
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { cmd.Process.Kill() })
					var url string
					if _, err := fmt.Fscanf(out, server.says+" %s", &url); err != nil {
						t.Fatalf("no address: %v\n%s", err, &log)
					}
					closed := make(chan ws.CloseEvent, 1)
					opened := make(chan bool, 1)
					if _, err := ws.Dial(t.Context(), url+server.socket, ws.Events{
						OnOpen:  func(c *ws.Conn) error { opened <- true; return nil },
						OnClose: func(c *ws.Conn, e ws.CloseEvent) { closed <- e },
					}, nil); err != nil {
						t.Fatal(err)
					}
					<-opened
					cmd.Process.Signal(signal)
					if e := <-closed; e.Code != websocket.StatusGoingAway {
						t.Errorf("the connection closed with %+v, want 1001", e)
					}
					if err := cmd.Wait(); err != nil {
						t.Errorf("it ended with %v\n%s", err, &log)
					}
					if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
						t.Errorf("it left %v, %v", left, err)
					}
				})
			}
		})
	}
}

// TestAddressInUse wants each server to say what to do.
func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, dir := range []string{"clock", "chi", "chat", "tunnel"} {
		t.Run(dir, func(t *testing.T) {
			out, err := exec.Command(build(t, dir), "-addr", l.Addr().String()).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "address already in use (-addr takes another address)") {
				t.Errorf("it ended with %v: %s", err, out)
			}
		})
	}
}
