// Command chat is a chat with rooms, for one process or for many behind a load balancer.
package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/cors"

	"github.com/seed412db446/ws"
)

type config struct {
	addr       string
	nats       string
	natsListen string
	origins    []string
}

func main() {
	var c config
	flag.StringVar(&c.addr, "addr", "127.0.0.1:3001", "`address` to listen on")
	flag.StringVar(&c.nats, "nats", "", "`URL` of a NATS server with JetStream; without it one runs inside this process")
	flag.StringVar(&c.natsListen, "nats-listen", "", "`address` where the NATS server inside this process accepts other nodes; it asks for no password")
	flag.Func("origin", "another `origin`, such as https://example.com, whose pages may connect; can be repeated", func(s string) error {
		c.origins = append(c.origins, s)
		return nil
	})
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then drains.
func run(ctx context.Context, c config) error {
	if c.nats != "" && c.natsListen != "" {
		return errors.New("-nats joins a server and -nats-listen starts one: give one of them")
	}
	ln, err := net.Listen("tcp", c.addr)
	if err != nil {
		return fmt.Errorf("%w (-addr takes another address)", err)
	}
	defer ln.Close()
	nc, closeNATS, err := connect(c.nats, c.natsListen)
	if err != nil {
		return err
	}
	defer closeNATS()
	store, err := openStore(ctx, nc)
	if err != nil {
		return err
	}
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	store.replaced(nc, end)

	h := newHub(store, c.origins)
	srv := &http.Server{Handler: h.routes(), ReadHeaderTimeout: 10 * time.Second}
	go func() { end(srv.Serve(ln)) }()
	fmt.Printf("chat: listening on http://%s\n", ln.Addr())
	<-running.Done()

	// WebSockets end first: each gets 1001, and its page goes on at another node. Requests
	// follow, and NATS is last, because leaving a room gives back its name.
	fmt.Println("chat: closing")
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(h.upgrader.Shutdown(drain), srv.Shutdown(drain))
	if ctx.Err() == nil { // no signal ended it
		return context.Cause(running)
	}
	return err
}

// routes is the middleware of an ordinary application, on the WebSocket route too.
func (h *hub) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestLogger(pathOnly{&middleware.DefaultLogFormatter{Logger: log.Default(), NoColor: true}}))
	r.Use(middleware.Recoverer)
	r.Use(middleware.Timeout(15 * time.Second))
	r.Use(cors.Handler(cors.Options{
		AllowOriginFunc: func(_ *http.Request, origin string) bool { return slices.Contains(h.origins, origin) },
		AllowedMethods:  []string{http.MethodGet},
	}))
	r.Get("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/rooms/lobby", http.StatusFound)
	})
	r.Get("/rooms/{room}", servePage)
	r.Get("/rooms/{room}/ws", h.upgrader.Upgrade(h.socket))
	return ws.Guard(r)
}

// pathOnly keeps queries out of the request log: a socket's has its session, a secret.
type pathOnly struct{ middleware.LogFormatter }

func (f pathOnly) NewLogEntry(r *http.Request) middleware.LogEntry {
	r = r.WithContext(r.Context()) // a copy
	r.RequestURI = r.URL.EscapedPath()
	return f.LogFormatter.NewLogEntry(r)
}

//go:embed page.html
var page string

// pagePolicy lets the page's own script and style run and nothing else, even if a text were taken for HTML.
var pagePolicy = fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src 'self'; "+
	"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", hash("script"), hash("style"))

// hash is the policy's name for the page's one element of that kind.
func hash(element string) string {
	_, rest, _ := strings.Cut(page, "<"+element+">")
	inner, _, ok := strings.Cut(rest, "</"+element+">")
	if !ok {
		panic("page.html has no " + element)
	}
	sum := sha256.Sum256([]byte(inner))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func servePage(w http.ResponseWriter, r *http.Request) {
	if !roomNames.MatchString(chi.URLParam(r, "room")) {
		http.Error(w, roomRule, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(page))
}
