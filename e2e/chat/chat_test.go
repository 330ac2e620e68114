package chat

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed412db446/ws/e2e/internal/browser"
)

var screenshot = flag.String("screenshot", "", "where TestPhone puts its picture of the page")

// build makes the chat's binary.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "chat")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = filepath.Join("..", "..", "examples", "chat")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// node is a chat process.
type node struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  *url.URL
	nats string // where others join, if it listens
	log  *strings.Builder
	done chan struct{} // closed when it has ended; then log is complete
}

func start(t *testing.T, bin string, args ...string) *node {
	t.Helper()
	n := &node{t: t, cmd: exec.Command(bin, append([]string{"-addr", "127.0.0.1:0"}, args...)...),
		log: new(strings.Builder), done: make(chan struct{})}
	n.cmd.Stderr = n.log
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.stop()
		if t.Failed() {
			t.Logf("%v:\n%s", n.cmd.Args, n.log)
		}
	})
	lines := bufio.NewScanner(out)
	for n.url == nil && lines.Scan() {
		if s, ok := strings.CutPrefix(lines.Text(), "chat: other nodes join with -nats "); ok {
			n.nats = s
		}
		if s, ok := strings.CutPrefix(lines.Text(), "chat: listening on "); ok {
			if n.url, err = url.Parse(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	go func() {
		io.Copy(io.Discard, out)
		n.cmd.Wait()
		close(n.done)
	}()
	if n.url == nil {
		t.Fatalf("%v does not say where it listens", n.cmd.Args)
	}
	return n
}

// stop is Ctrl-C, and waits until the process has ended well.
func (n *node) stop() {
	n.t.Helper()
	select {
	case <-n.done:
		return
	default:
	}
	n.cmd.Process.Signal(os.Interrupt)
	select {
	case <-n.done:
	case <-time.After(30 * time.Second):
		n.cmd.Process.Kill()
		<-n.done
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("%v: exit status %d", n.cmd.Args, code)
	}
}

// balancer sends requests to its nodes in turn. It knows nothing of WebSocket or of the nodes' health.
type balancer struct {
	mu    sync.Mutex // protects the following
	nodes []*node
	next  int
}

func (b *balancer) set(nodes ...*node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = nodes
}

func (b *balancer) rewrite(r *httputil.ProxyRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	r.SetURL(b.nodes[b.next%len(b.nodes)].url)
	r.Out.Host = r.In.Host // which the origin is compared with
}

func newBalancer(t *testing.T, nodes ...*node) (*balancer, string) {
	b := &balancer{nodes: nodes}
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: b.rewrite,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return b, srv.URL
}

// page is a person's page of the chat.
type page struct {
	t   *testing.T
	ctx context.Context
}

// open opens a page of its own in the browser.
func open(t *testing.T, ctx context.Context, address string) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &page{t, ctx}
	p.run(chromedp.Navigate(address))
	return p
}

func (p *page) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

func js(code string) chromedp.Action[chromedp.Void] { return chromedp.Evaluate[chromedp.Void](code) }

// is evaluates a JavaScript condition, which must be one of this page's, whatever page it becomes.
func (p *page) is(condition string) bool {
	ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](condition))
	return err == nil && ok
}

// until waits for a condition. The page's policy forbids eval, and with it chromedp.Poll.
func (p *page) until(condition string) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); !p.is(condition); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText`))
			p.t.Fatalf("never: %s\nthe page shows (%v):\n%s", condition, err, text)
		}
	}
}

// says types texts one after the other, faster than the chat takes them.
func (p *page) says(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.run(js(fmt.Sprintf(`$("text").value = %q; $("say").requestSubmit()`, text)))
	}
}

type seen struct {
	Seq        int
	Name, Text string
}

// log is what the page shows of the conversation.
func (p *page) log() []seen {
	p.t.Helper()
	list, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]seen](`Array.from(document.querySelectorAll("#log [data-seq]"), li => ({
		Seq: Number(li.dataset.seq), Name: li.dataset.name, Text: li.querySelector(".text").firstChild.textContent}))`))
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

const (
	joined  = `document.body.classList.contains("online")`
	settled = `document.querySelectorAll("#pending li").length === 0`
)

func count(n int) string {
	return fmt.Sprintf(`document.querySelectorAll("#log [data-seq]").length >= %d`, n)
}

// Two nodes behind a load balancer are replaced while three people talk in two rooms.
// Every message is seen exactly once and in order by all.
func TestNodesComeAndGo(t *testing.T) {
	bin := build(t)
	hub := start(t, bin, "-nats-listen", "127.0.0.1:0") // has the NATS server; not behind the balancer
	one, two := start(t, bin, "-nats", hub.nats), start(t, bin, "-nats", hub.nats)
	lb, address := newBalancer(t, one, two)
	ctx, _ := browser.Start(t)

	ann := open(t, ctx, address+"/rooms/lobby?name=Ann")
	bob := open(t, ctx, address+"/rooms/lobby?name=Bob")
	ann.until(joined)
	bob.until(joined)

	// A name that is taken is told at the door.
	cleo := open(t, ctx, address+"/rooms/lobby?name=Ann")
	cleo.until(`!$("door").hidden && $("why").textContent === "this name is taken in the room"`)
	cleo.run(
		js(`$("name").value = "Cleo"; $("room").value = "attic"`),
		js(`$("door").requestSubmit()`),
	)
	cleo.until(`location.pathname === "/rooms/attic" && ` + joined)

	const each = 45
	var wg sync.WaitGroup
	talk := func(p *page, who string) {
		for i := range each {
			p.says(fmt.Sprintf("%s %d", who, i))
		}
	}
	wg.Go(func() { talk(ann, "ann") })
	wg.Go(func() { talk(bob, "bob") })
	wg.Go(func() { talk(cleo, "cleo") })

	ann.until(count(20))
	one.stop()
	three := start(t, bin, "-nats", hub.nats)
	lb.set(two, three)
	ann.until(count(45))
	two.stop()
	lb.set(three)
	wg.Wait()

	// Bob's network is gone while the others talk on.
	bob.until(settled)
	bob.run(js(`hangUp()`))
	ann.says(`<img src=x onerror="document.title='owned'"><b>bold</b>`, "are you there?")
	ann.until(settled)
	bob.run(js(`connect()`))

	cleo.until(settled)
	ann.until(count(2*each + 2))
	bob.until(count(2*each + 2))
	cleo.until(count(each))

	lobby, attic := ann.log(), cleo.log()
	if other := bob.log(); !reflect.DeepEqual(lobby, other) {
		t.Errorf("Ann sees\n%v\nBob sees\n%v", lobby, other)
	}
	check(t, lobby, map[string]int{"ann": each, "bob": each}, 2)
	check(t, attic, map[string]int{"cleo": each}, 0)
	if last := lobby[len(lobby)-1].Text; last != "are you there?" {
		t.Errorf("the last message is %q", last)
	}
	if bob.is(`document.querySelector("img, b") !== null`) || !strings.HasPrefix(lobby[len(lobby)-2].Text, "<img src=x") {
		t.Error("a text became markup")
	}
}

// check reports messages that are missing, doubled or out of order.
func check(t *testing.T, log []seen, said map[string]int, others int) {
	t.Helper()
	last, next := 0, map[string]int{}
	for _, m := range log {
		if m.Seq <= last {
			t.Errorf("%v comes after %d", m, last)
		}
		last = m.Seq
		who, number, _ := strings.Cut(m.Text, " ")
		if _, ok := said[who]; !ok {
			others--
			continue
		}
		if number != fmt.Sprint(next[who]) || !strings.EqualFold(m.Name, who) {
			t.Errorf("%v, and %d was due", m, next[who])
		}
		next[who]++
	}
	if !reflect.DeepEqual(next, said) || others != 0 {
		t.Errorf("seen %v of %v, and %d of the others missing", next, said, others)
	}
}

// A node whose NATS server comes back without its messages can't go on, and says so.
func TestStoreLost(t *testing.T) {
	bin := build(t)
	hub := start(t, bin, "-nats-listen", "127.0.0.1:0")
	n := start(t, bin, "-nats", hub.nats)
	hub.stop()
	start(t, bin, "-nats-listen", strings.TrimPrefix(hub.nats, "nats://"))
	select {
	case <-n.done:
	case <-time.After(time.Minute):
		t.Fatal("the node runs on")
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d", code)
	}
	if !strings.Contains(n.log.String(), "chat: NATS came back without the messages it had") {
		t.Errorf("it says %s", n.log)
	}
}

// On a phone everything is in reach, and what one types is not lost.
func TestPhone(t *testing.T) {
	n := start(t, build(t))
	ctx, _ := browser.Start(t)
	phone := chromedp.EmulateViewport(390, 720, chromedp.EmulateScale(2), chromedp.EmulatePortrait)
	ann := open(t, ctx, n.url.String()+"/rooms/garden?name=Ann")
	bob := open(t, ctx, n.url.String()+"/rooms/garden?name=Bob")
	ann.run(phone)
	ann.until(joined)
	bob.until(joined)
	for i, text := range []string{
		"Good morning! Is anybody near the greenhouse?",
		"On my way.",
		"I have the key with me.",
		"Wonderful. The tomatoes need water, and somebody left the window open all night.",
		"Oh no. Did the basil make it?",
		"It did! A little cold, but it smells as if nothing had happened.",
		"Then there is pasta tonight. Who else is coming?",
	} {
		p := []*page{ann, bob, bob, ann, bob, ann, bob}[i]
		p.says(text)
		ann.until(count(i+1) + " && " + settled)
		bob.until(count(i+1) + " && " + settled)
	}
	if !ann.is(`document.documentElement.scrollWidth <= innerWidth &&
		$("text").getBoundingClientRect().bottom <= innerHeight &&
		Array.from(document.querySelectorAll("#log li")).at(-1).getBoundingClientRect().bottom <= $("say").getBoundingClientRect().top`) {
		t.Error("something is out of the screen")
	}
	if *screenshot != "" {
		ann.run(js(`document.activeElement.blur()`))
		png, err := chromedp.Run(ann.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(*screenshot, png, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	// The node is gone: what Ann says waits for the next one, and it takes the address of the first.
	n.stop()
	ann.until(`!` + joined)
	ann.says("still here")
	ann.until(`document.querySelectorAll("#pending li").length === 1`)
	ann.until(`!$("status").hidden`)
	start(t, n.cmd.Path, "-addr", n.url.Host)
	ann.until(settled + ` && Array.from(document.querySelectorAll("#log [data-seq]")).at(-1).textContent.includes("still here")`)
}
