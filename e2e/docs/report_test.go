package docs

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
)

// timing sets a header after its handler has returned.
func timing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		w.Header().Set("Server-Timing", "total")
	})
}

func timeout(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Second, "") }

// TestReports compares Guard's reports with those in the README, but for the lines' numbers.
func TestReports(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	numbers := regexp.MustCompile(`(\.go):\d+`)
	readme := numbers.ReplaceAllString(string(page), "$1:")
	for name, middleware := range map[string]func(http.Handler) http.Handler{"timing": timing, "http.TimeoutHandler": timeout} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reports := make(chan error, 9)
				u := &ws.Upgrader{OnError: func(_ *http.Request, err error) { reports <- err }}
				h := u.Upgrade(func(http.ResponseWriter, *http.Request) (ws.Events, error) { return ws.Events{}, nil })
				c, err := ws.Dial(t.Context(), "http://example.com/", ws.Events{}, &ws.DialOptions{Handler: ws.Guard(middleware(h))})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute) // of the bubble's time
				c.Close(websocket.StatusNormalClosure, "")
				said := numbers.ReplaceAllString((<-reports).Error(), "$1:")
				said = strings.ReplaceAll(said, "docs.timing at report_test.go", "main.timing at main.go")
				if !strings.Contains(readme, said+"\n") {
					t.Errorf("README.md has not the report %q", said)
				}
				synctest.Wait()
			})
		})
	}
}
