// Package browser runs a real Chromium for tests.
package browser

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Start runs a headless Chromium with a profile of its own, and returns chromedp's context of its
// first page. chromedp.NewContext with that context opens another page. The browser ends with stop,
// or else with the test; after three minutes it ends in any case.
func Start(t testing.TB, flags ...chromedp.ExecAllocatorOption) (ctx context.Context, stop func()) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(find(t)),
		chromedp.NoSandbox, // Chromium's sandbox does not work for root
		chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancelTime := context.WithTimeout(context.Background(), 3*time.Minute)
	ctx, cancelBrowser := chromedp.NewExecAllocator(ctx, append(options, flags...)...)
	ctx, cancelPage := chromedp.NewContext(ctx)
	stop = func() {
		chromedp.Cancel(ctx) // waits until the profile can be removed
		cancelPage()
		cancelBrowser()
		cancelTime()
	}
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx, stop
}

// find returns the path of a Chromium or Chrome.
func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium found: install it (on Debian: apt-get install chromium) or set CHROMIUM to its path")
	return ""
}
