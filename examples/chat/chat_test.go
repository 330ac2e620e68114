package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the request log
	os.Exit(m.Run())
}

// newNATS starts an embedded server of the test's own.
func newNATS(t *testing.T) *nats.Conn {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	nc, stop, err := connect("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return nc
}

type node struct {
	*hub
	url string
}

func newNode(t *testing.T, nc *nats.Conn, origins ...string) *node {
	t.Helper()
	s, err := openStore(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(s, origins)
	srv := httptest.NewServer(h.routes())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.upgrader.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return &node{h, srv.URL}
}

// client is a page without a page.
type client struct {
	t        *testing.T
	c        *websocket.Conn
	hello    reply
	messages []message // as they came
}

// reply is any of what a page receives.
type reply struct {
	hello
	List    []message `json:"list"`
	Names   []string  `json:"names"`
	ID      string    `json:"id"`
	Seq     uint64    `json:"seq"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
	RetryMS int64     `json:"retryMs"`
}

func dial(t *testing.T, n *node, room string, query url.Values) (*client, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, n.url+"/rooms/"+room+"/ws?"+query.Encode(), nil)
	if err != nil {
		return nil, resp, err
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { c.CloseNow() })
	return &client{t: t, c: c}, resp, nil
}

// join dials and reads hello.
func join(t *testing.T, n *node, room, name string, more ...string) *client {
	t.Helper()
	query := url.Values{"name": {name}}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	c, _, err := dial(t, n, room, query)
	if err != nil {
		t.Fatal(err)
	}
	c.hello = c.until("hello")
	return c
}

func (c *client) read() (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var r reply
	_, data, err := c.c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	c.messages = append(c.messages, r.List...)
	return r, err
}

// until reads up to a reply of that type.
func (c *client) until(kind string) reply {
	c.t.Helper()
	for {
		r, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", kind, err)
		}
		if r.hello.Type == kind {
			return r
		}
	}
}

// untilClosed returns the code that ended the connection.
func (c *client) untilClosed() websocket.StatusCode {
	for {
		if _, err := c.read(); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

// has reads until n messages have come, and returns their texts.
func (c *client) has(n int) []string {
	c.t.Helper()
	for len(c.messages) < n {
		if _, err := c.read(); err != nil {
			c.t.Fatalf("waiting for message %d of %d: %v", len(c.messages)+1, n, err)
		}
	}
	return texts(c.messages)
}

func texts(list []message) []string {
	s := make([]string, len(list))
	for i, m := range list {
		s[i] = m.Text
	}
	return s
}

func (c *client) write(s string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.c.Write(ctx, websocket.MessageText, []byte(s)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) say(id, text string) {
	c.t.Helper()
	data, err := json.Marshal(request{Type: "say", ID: id, Text: text})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(string(data))
}

// accepted says text and waits for its acknowledgement.
func (c *client) accepted(text string) uint64 {
	c.t.Helper()
	c.say(text, text)
	r := c.until("ack")
	if r.ID != text {
		c.t.Fatalf("ack of %q, not of %q", r.ID, text)
	}
	return r.Seq
}

// publish puts messages into a room past the rate limit.
func publish(t *testing.T, n *node, room string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		data, err := json.Marshal(message{ID: strconv.Itoa(i), Name: "bot", Text: strconv.Itoa(i)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.store.js.Publish(t.Context(), "chat."+room, data); err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(from, to int) []string {
	var s []string
	for i := from; i < to; i++ {
		s = append(s, strconv.Itoa(i))
	}
	return s
}

// eventually polls what the other node learns in its own time.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); ; {
		if f() {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("never true: " + what)
		}
	}
}

func TestTwoNodesAreOneChat(t *testing.T) {
	nc := newNATS(t)
	a, b := newNode(t, nc), newNode(t, nc)
	people := []*client{join(t, a, "lobby", "Ann"), join(t, b, "lobby", "Bob"), join(t, a, "lobby", "Cleo"), join(t, b, "lobby", "Dan")}
	elsewhere := join(t, b, "attic", "Eve")
	for _, p := range people {
		p.until("here")
	}
	var wg sync.WaitGroup
	for i, p := range people {
		wg.Go(func() {
			for j := range 8 {
				p.say(fmt.Sprintf("%d-%d", i, j), fmt.Sprintf("%d-%d", i, j))
			}
			p.has(32)
		})
	}
	wg.Wait()
	first := people[0].messages
	for i, p := range people {
		if !slices.Equal(texts(p.messages), texts(first)) {
			t.Errorf("person %d saw %q\nand person 0 %q", i, texts(p.messages), texts(first))
		}
		next := 0
		for _, m := range first {
			if m.Text == fmt.Sprintf("%d-%d", i, next) {
				next++
			}
		}
		if next != 8 {
			t.Errorf("person %d said 8 messages; %d are there in order", i, next)
		}
	}
	if !slices.IsSortedFunc(first, func(x, y message) int { return int(x.Seq) - int(y.Seq) }) {
		t.Error("sequence numbers do not grow")
	}
	if elsewhere.accepted("alone"); len(elsewhere.has(1)) != 1 {
		t.Errorf("another room saw %q", texts(elsewhere.messages))
	}
}

func TestWhoIsHere(t *testing.T) {
	nc := newNATS(t)
	a, b := newNode(t, nc), newNode(t, nc)
	ann := join(t, a, "lobby", "Ann")
	bob := join(t, b, "lobby", "  Bob   B. ")
	if bob.hello.Name != "Bob B." {
		t.Errorf("name is %q", bob.hello.Name)
	}
	join(t, a, "lobby-2", "Cleo") // a room whose name begins like this one's
	for _, c := range []*client{ann, bob} {
		for !slices.Equal(c.until("here").Names, []string{"Ann", "Bob B."}) {
		}
	}
	bob.c.Close(websocket.StatusNormalClosure, "")
	for !slices.Equal(ann.until("here").Names, []string{"Ann"}) {
	}
	eventually(t, "the room is closed where nobody is in it", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.rooms) == 0
	})
	ann.c.Close(websocket.StatusNormalClosure, "")
	eventually(t, "no subscription is left but the attic's", func() bool {
		info, err := a.store.stream.Info(t.Context())
		return err == nil && info.State.Consumers == 1
	})
}

// A node that died renews no claims; those of the living come back if NATS lost them.
func TestNamesExpire(t *testing.T) {
	nc := newNATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	names, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: "CHAT-NAMES", Storage: jetstream.MemoryStorage, TTL: time.Second, LimitMarkerTTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := newNode(t, newNATS(t)).store.names.Status(t.Context()); err != nil || s.TTL() != nameTTL || s.LimitMarkerTTL() != nameTTL {
		t.Errorf("the bucket that a node creates: %+v %v", s, err)
	}
	n := newNode(t, nc)
	if _, err := names.Create(t.Context(), "lobby."+base64.RawURLEncoding.EncodeToString([]byte("bob")), []byte(`{"name":"Bob"}`)); err != nil {
		t.Fatal(err)
	}
	if _, resp, _ := dial(t, n, "lobby", url.Values{"name": {"Bob"}}); resp.StatusCode != http.StatusConflict {
		t.Fatal("Bob's name is free at once")
	}
	ann := join(t, n, "lobby", "Ann")
	for len(ann.until("here").Names) > 0 {
	}
	join(t, n, "lobby", "Bob")
	n.mu.Lock()
	r := n.rooms["lobby"]
	n.mu.Unlock()
	r.renewNames()
	for !slices.Contains(ann.until("here").Names, "Ann") {
	}
}

func TestTakenName(t *testing.T) {
	nc := newNATS(t)
	a, b := newNode(t, nc), newNode(t, nc)
	ann := join(t, a, "lobby", "Ann", "session", "secret")
	for _, query := range []url.Values{
		{"name": {"Ann"}},
		{"name": {"ann"}},
		{"name": {"Ann"}, "session": {"other"}},
	} {
		_, resp, err := dial(t, b, "lobby", query)
		if err == nil || resp == nil || resp.StatusCode != http.StatusConflict {
			t.Fatalf("%v: %v %v", query, resp, err)
		}
	}

	// What a page asks when its handshake failed.
	get := func(n *node) (int, string) {
		resp, err := http.Get(n.url + "/rooms/lobby/ws?name=Ann")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if status, body := get(b); status != http.StatusConflict || body != taken+"\n" {
		t.Errorf("%d %q", status, body)
	}
	join(t, b, "attic", "Ann") // another room, another Ann

	// The same page after its network changed: the old connection is still there.
	again := join(t, b, "lobby", "Ann", "session", "secret")
	again.accepted("I am back")
	ann.c.CloseNow()
	eventually(t, "the old connection is gone", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.rooms) == 0
	})
	if status, _ := get(a); status != http.StatusConflict {
		t.Errorf("the old connection gave the name away that had moved: %d", status)
	}
	again.c.CloseNow()
	eventually(t, "the name is free", func() bool { status, _ := get(a); return status == http.StatusUpgradeRequired })
}

func TestLostNameCloses(t *testing.T) {
	n := newNode(t, newNATS(t))
	old := join(t, n, "lobby", "Ann", "session", "secret")
	old.until("here")
	join(t, n, "lobby", "Ann", "session", "secret").until("here")
	n.mu.Lock()
	r := n.rooms["lobby"]
	n.mu.Unlock()
	r.renewNames()
	if code := old.untilClosed(); code != codeTaken {
		t.Errorf("closed with %d", code)
	}
}

func TestNameRace(t *testing.T) {
	nc := newNATS(t)
	nodes := []*node{newNode(t, nc), newNode(t, nc)}
	const tries = 10
	in := make(chan *client, tries)
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() {
			c, resp, err := dial(t, nodes[i%2], "lobby", url.Values{"name": {"Ann"}})
			if err != nil {
				if resp == nil || resp.StatusCode != http.StatusConflict {
					t.Error(err)
				}
				return
			}
			if r, err := c.read(); err == nil && r.hello.Type == "hello" {
				in <- c
			} else if websocket.CloseStatus(err) != codeTaken {
				t.Errorf("%v %v", r, err)
			}
		})
	}
	wg.Wait()
	if len(in) != 1 {
		t.Errorf("%d of %d have the name", len(in), tries)
	}
}

func TestHistory(t *testing.T) {
	nc := newNATS(t)
	a, b := newNode(t, nc), newNode(t, nc)
	publish(t, a, "lobby", 0, 60)
	publish(t, a, "attic", 0, 3)
	ann := join(t, a, "lobby", "Ann")
	if ann.until("here"); !slices.Equal(texts(ann.messages), numbers(10, 60)) {
		t.Errorf("history is %q", texts(ann.messages))
	}
	publish(t, a, "lobby", 60, 70)
	bob := join(t, b, "lobby", "Bob")
	if bob.until("here"); !slices.Equal(texts(bob.messages), numbers(20, 70)) {
		t.Errorf("history is %q", texts(bob.messages))
	}
	if m := bob.messages[0]; m.Name != "bot" || m.Time.IsZero() || m.Seq == 0 {
		t.Errorf("a message of the past is %+v", m)
	}
	publish(t, a, "lobby", 70, 71)
	if got := ann.has(61); !slices.Equal(got, numbers(10, 71)) {
		t.Errorf("history and live are %q", got)
	}
}

func TestResume(t *testing.T) {
	nc := newNATS(t)
	a, b := newNode(t, nc), newNode(t, nc)
	publish(t, a, "lobby", 0, 5)
	ann := join(t, a, "lobby", "Ann")
	ann.has(5)
	ann.c.CloseNow()
	publish(t, b, "attic", 0, 7)
	publish(t, b, "lobby", 5, 305) // more than one piece, more than the recent ones

	after := strconv.FormatUint(ann.messages[4].Seq, 10)
	back := join(t, b, "lobby", "Ann2", "after", after, "stream", ann.hello.Stream)
	if back.until("here"); !back.hello.Resumed || !slices.Equal(texts(back.messages), numbers(5, 305)) {
		t.Errorf("resumed %v with %d messages: %q", back.hello.Resumed, len(back.messages), texts(back.messages))
	}
	// Numbers of another stream, one whose server was lost, say nothing here.
	lost := join(t, b, "lobby", "Ann3", "after", "1000000", "stream", "another")
	if lost.until("here"); lost.hello.Resumed || !slices.Equal(texts(lost.messages), numbers(255, 305)) {
		t.Errorf("resumed %v with %q", lost.hello.Resumed, texts(lost.messages))
	}
}

func TestForgotten(t *testing.T) {
	r := &room{log: make([]entry, keep)}
	for i := range r.log {
		r.log[i].seq = uint64(100 + 2*i)
	}
	for _, c := range []struct {
		after, from uint64
		resumed     bool
	}{
		{100, 100, true},
		{5000, 5000, true},
		{99, r.log[keep-recent-1].seq, false}, // what came after 99 is no longer here
	} {
		from, resumed := r.position(&member{resume: true, after: c.after})
		if from != c.from || resumed != c.resumed {
			t.Errorf("after %d: from %d, resumed %v", c.after, from, resumed)
		}
	}
}

// Who comes from a node that is ahead waits until this one has seen as much.
func TestNodeBehind(t *testing.T) {
	r := new(room)
	done := make(chan uint64)
	go func() {
		if err := r.reach(t.Context(), 3); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		done <- r.known
	}()
	for seq := range uint64(3) {
		r.deliver(seq+1, time.Now(), []byte(`{"id":"1","name":"Ann","text":"?"}`))
	}
	if known := <-done; known != 3 {
		t.Errorf("ended at %d", known)
	}

	n := newNode(t, newNATS(t))
	ann := join(t, n, "lobby", "Ann")
	liar, _, err := dial(t, n, "lobby", url.Values{"name": {"Bob"}, "stream": {ann.hello.Stream}, "after": {"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if code := liar.untilClosed(); code != websocket.StatusTryAgainLater {
		t.Errorf("closed with %d", code)
	}
}

// People who come and come back in the middle of a lively conversation see no gap and no duplicate.
func TestJoinWhileTalking(t *testing.T) {
	nc := newNATS(t)
	nodes := []*node{newNode(t, nc), newNode(t, nc)}
	const total = 2000
	publish(t, nodes[0], "lobby", 0, 1)
	first := join(t, nodes[0], "lobby", "first")
	first.has(1)
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		publish(t, nodes[0], "lobby", 1, total)
	}()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			after, seen := first.messages[0].Seq, 1
			for visit := 0; seen < total; visit++ {
				c := join(t, nodes[(i+visit)%2], "lobby", fmt.Sprintf("%d-%d", i, visit),
					"after", strconv.FormatUint(after, 10), "stream", first.hello.Stream)
				want := min(300, total-seen)
				c.has(want)
				c.c.CloseNow()
				for j, text := range texts(c.messages) {
					if text != strconv.Itoa(seen+j) {
						t.Errorf("visitor %d on visit %d: %s, and %d was due", i, visit, text, seen+j)
						return
					}
				}
				after, seen = c.messages[len(c.messages)-1].Seq, seen+len(c.messages)
			}
		})
	}
	wg.Wait()
	<-talked
}

func TestSameIDIsOneMessage(t *testing.T) {
	nc := newNATS(t)
	a, b := newNode(t, nc), newNode(t, nc)
	ann := join(t, a, "lobby", "Ann")
	seq := ann.accepted("hello")
	ann.c.Close(websocket.StatusNormalClosure, "")
	eventually(t, "the name is free", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.rooms) == 0
	})
	back := join(t, b, "lobby", "Ann")
	if again := back.accepted("hello"); again != seq {
		t.Errorf("sent again: message %d, was %d", again, seq)
	}
	back.accepted("next")
	if got := back.has(2); !slices.Equal(got, []string{"hello", "next"}) {
		t.Errorf("the room has %q", got)
	}
	// Someone else's id is another one.
	bob := join(t, b, "lobby", "Bob")
	if other := bob.accepted("hello"); other == seq {
		t.Error("two people's messages with one id became one")
	}
}

func TestRefusedMessages(t *testing.T) {
	n := newNode(t, newNATS(t))
	ann := join(t, n, "lobby", "Ann")
	for _, c := range []struct{ send, code string }{
		{`{"type":"say","id":"1","text":"` + strings.Repeat("é", maxRunes+1) + `"}`, "long"},
		{`{"type":"say","id":"1","text":" \n "}`, "empty"},
		{`{"type":"say","text":"no id"}`, "invalid"},
		{`{"type":"shout","id":"1","text":"?"}`, "invalid"},
		{`no JSON`, "invalid"},
	} {
		ann.write(c.send)
		if r := ann.until("error"); r.Code != c.code || r.Message == "" || r.RetryMS != 0 {
			t.Errorf("%.40s: %+v", c.send, r)
		}
	}
	// The longest text in its longest form.
	ann.write(`{"type":"say","id":"2","text":"` + strings.Repeat(`\ud83d\ude00`, maxRunes) + `"}`)
	ann.until("ack")
	if got := ann.has(1); !slices.Equal(got, []string{strings.Repeat("😀", maxRunes)}) {
		t.Errorf("the room has %d messages", len(got))
	}
	ann.write(strings.Repeat(" ", 12*maxRunes+1025))
	if code := ann.untilClosed(); code != websocket.StatusMessageTooBig {
		t.Errorf("closed with %d", code)
	}
}

func TestRateLimit(t *testing.T) {
	n := newNode(t, newNATS(t))
	ann := join(t, n, "lobby", "Ann")
	const burst = 40
	for i := range burst {
		ann.say(strconv.Itoa(i), strconv.Itoa(i))
	}
	var accepted, refused []string
	for len(accepted)+len(refused) < burst {
		r, err := ann.read()
		if err != nil {
			t.Fatal(err)
		}
		switch r.hello.Type {
		case "ack":
			accepted = append(accepted, r.ID)
		case "error":
			refused = append(refused, r.ID)
			if r.Code != "rate" || r.RetryMS <= 0 || !strings.Contains(r.Message, "too fast") {
				t.Errorf("%+v", r)
			}
		}
	}
	if len(accepted) < 10 || len(refused) == 0 {
		t.Errorf("%d accepted, %d refused", len(accepted), len(refused))
	}
	if got := ann.has(len(accepted)); !slices.Equal(got, accepted) {
		t.Errorf("accepted %q, seen %q", accepted, got)
	}
}

func TestRefusedHandshakes(t *testing.T) {
	n := newNode(t, newNATS(t), "https://friend.example")
	for _, c := range []struct {
		path, origin string
		status       int
	}{
		{"/rooms/lobby/ws?name=Ann", "", 101},
		{"/rooms/lobby/ws?name=Anna", n.url, 101},
		{"/rooms/lobby/ws?name=%E5%B0%8F%E6%98%8E", "", 101},
		{"/rooms/lobby/ws?name=Anne", "https://friend.example", 101},
		{"/rooms/lobby/ws?name=Foe", "https://foe.example", 403},
		{"/rooms/lobby/ws", "", 400},
		{"/rooms/lobby/ws?name=%20", "", 400},
		{"/rooms/lobby/ws?name=" + strings.Repeat("n", maxName+1), "", 400},
		{"/rooms/lobby/ws?name=a%E2%80%AEb", "", 400}, // text direction
		{"/rooms/lobby/ws?name=a%FF", "", 400},
		{"/rooms/a.b/ws?name=Ann", "", 400},
		{"/rooms/*/ws?name=Ann", "", 400},
		{"/rooms/" + strings.Repeat("r", 33) + "/ws?name=Ann", "", 400},
		{"/rooms/lobby/ws?name=Bob&after=-1", "", 400},
	} {
		header := http.Header{}
		if c.origin != "" {
			header.Set("Origin", c.origin)
		}
		conn, resp, err := websocket.Dial(t.Context(), n.url+c.path, &websocket.DialOptions{HTTPHeader: header})
		if err == nil {
			defer conn.CloseNow()
		}
		if resp == nil || resp.StatusCode != c.status {
			t.Errorf("%s from %q: %v %v", c.path, c.origin, resp, err)
		}
		if c.status == 101 && c.origin == "https://friend.example" && resp.Header.Get("Access-Control-Allow-Origin") != c.origin {
			t.Errorf("the 101 has no CORS header: %v", resp.Header)
		}
	}
}

func TestTextStaysText(t *testing.T) {
	n := newNode(t, newNATS(t))
	const evil = `</script><script>alert("1")</script><img src=x onerror=alert(1)> & é`
	ann := join(t, n, "lobby", "Ann")
	ann.accepted(evil[:60])
	if got := ann.has(1); got[0] != evil[:60] {
		t.Errorf("%q became %q", evil[:60], got[0])
	}
	resp, err := http.Get(n.url + "/rooms/lobby")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	policy := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy is %q", policy)
	}
	for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "onclick=\"", "style=\""} {
		if strings.Contains(string(body), way) {
			t.Errorf("the page uses %s", way)
		}
	}
	resp, err = http.Get(n.url + "/rooms/%3Cscript%3E")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("a room with an impossible name: %s", resp.Status)
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	n := newNode(t, newNATS(t))
	var requests bytes.Buffer
	log.SetOutput(&requests)
	resp, err := http.Get(n.url + "/rooms/lobby/ws?name=Ann&session=secret")
	log.SetOutput(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if s := requests.String(); !strings.Contains(s, "/rooms/lobby/ws") || strings.Contains(s, "secret") {
		t.Errorf("the log says %q", s)
	}
}

func TestDrain(t *testing.T) {
	nc := newNATS(t)
	a, b := newNode(t, nc), newNode(t, nc)
	ann, bob := join(t, a, "lobby", "Ann"), join(t, b, "lobby", "Bob")
	ann.accepted("one")
	ann.has(1)
	done := make(chan error)
	go func() { done <- a.upgrader.Shutdown(t.Context()) }()
	if code := ann.untilClosed(); code != websocket.StatusGoingAway {
		t.Errorf("closed with %d", code)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, resp, err := dial(t, a, "lobby", url.Values{"name": {"Cleo"}}); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a node that drains: %v %v", resp, err)
	}
	// The other node takes her in at once, under her name.
	bob.accepted("two")
	back := join(t, b, "lobby", "Ann", "after", strconv.FormatUint(ann.messages[0].Seq, 10), "stream", ann.hello.Stream)
	if got := back.has(1); !slices.Equal(got, []string{"two"}) {
		t.Errorf("she missed %q", got)
	}
}

// While NATS is away nothing is accepted, and the sender is told to try again.
func TestNATSAway(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ns, stop, err := embed("")
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(ns), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	n := newNode(t, nc)
	ann := join(t, n, "lobby", "Ann")
	ann.accepted("one")
	stop()
	ann.say("two", "two")
	for {
		r, err := ann.read()
		if err != nil {
			t.Fatal(err)
		}
		if r.hello.Type == "error" {
			if r.ID != "two" || r.Code != "store" || r.RetryMS <= 0 {
				t.Errorf("%+v", r)
			}
			break
		}
		if r.hello.Type == "ack" {
			t.Errorf("accepted: %+v", r)
		}
	}
	ann.write(`{"type":"ping"}`)
	ann.until("pong")
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	used := ln.Addr().String()
	for _, c := range []struct {
		config
		want string
	}{
		{config{addr: used}, "address already in use"},
		{config{addr: "127.0.0.1:0", natsListen: used}, "address already in use"},
		{config{addr: "127.0.0.1:0", nats: "nats://" + used, natsListen: used}, "give one of them"},
		{config{addr: "127.0.0.1:0", nats: "nats://127.0.0.1:1"}, "NATS at nats://127.0.0.1:1"},
	} {
		if err := run(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- run(ctx, config{addr: "127.0.0.1:0"}) }()
	eventually(t, "the store is there", func() bool { list, _ := os.ReadDir(dir); return len(list) == 1 })
	cancel()
	select {
	case err := <-done:
		if err != nil && !strings.Contains(err.Error(), "context canceled") { // it may have come before the store was open
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("still running")
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}
