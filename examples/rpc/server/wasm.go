package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// wasm is the client in Go for the browser: page.wasm, and wasm_exec.js, which starts it.
type wasm struct {
	dir   string
	built chan struct{} // closed when the build has ended
	err   error         // of the build
}

func newWasm() (*wasm, error) {
	dir, err := os.MkdirTemp("", "rpc-page-")
	return &wasm{dir: dir, built: make(chan struct{})}, err
}

func (w *wasm) remove() { os.RemoveAll(w.dir) }

func (w *wasm) build(ctx context.Context) {
	defer close(w.built)
	fmt.Println("building the page in Go, /wasm, in the background")
	if w.err = w.run(ctx); w.err == nil {
		fmt.Println("built the page in Go, /wasm")
	} else if ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "server: can't build the page in Go, /wasm:", w.err)
	}
}

func (w *wasm) run(ctx context.Context) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(w.dir, "page.wasm"), "github.com/seed412db446/ws/examples/rpc/page")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "GOTMPDIR="+w.dir) // what the build leaves there is removed with dir
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) }
	build.WaitDelay = 5 * time.Second
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("can't find Go's wasm_exec.js: %w", err)
	}
	script, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, "wasm_exec.js"), script, 0o600)
}

// serve serves a file of the build, when that has ended.
func (w *wasm) serve(rw http.ResponseWriter, r *http.Request) {
	select {
	case <-w.built:
	case <-r.Context().Done():
		return
	}
	if w.err != nil {
		http.Error(rw, "the page could not be built; the server printed why", http.StatusInternalServerError)
		return
	}
	http.ServeFile(rw, r, filepath.Join(w.dir, filepath.Base(r.URL.Path)))
}
