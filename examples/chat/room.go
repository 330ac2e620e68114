package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/seed412db446/ws"
)

const (
	keep     = 10000 // messages of a room that JetStream keeps, and a node that has the room open
	recent   = 50    // messages that someone new to the room sees
	maxRunes = 1000  // of a message's text
	maxName  = 24    // runes of a name

	// codeTaken closes a connection that may not have its name, or not any more.
	//
	// A page sees neither the status nor the body of a refused handshake. So there are two ways:
	// the handshake to a name that is taken is refused with 409, and the page, which only learns
	// that it failed, asks the same address with a plain GET for the reason. Two people who come
	// at the same moment both pass that check; the claim that decides is made in OnOpen, once
	// there is a connection whose OnClose gives it back, and the loser is closed with this code.
	codeTaken websocket.StatusCode = 4009
	taken                          = "this name is taken in the room"
)

// What a page sends: "say" with a text and an id of its choice, or "ping".
type request struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Text string `json:"text"`
}

// message is one line of the conversation. In the stream it has neither Seq nor Time:
// those are the stream's own.
type message struct {
	Seq  uint64    `json:"seq,omitzero"`
	ID   string    `json:"id"`
	Name string    `json:"name"`
	Text string    `json:"text"`
	Time time.Time `json:"time,omitzero"`
}

// What a page receives: hello, messages it missed, here, and then any of these as it happens.
// The first here says that nothing is missing.
type (
	hello struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		Stream  string `json:"stream"`  // to be sent as ?stream= with the next ?after=
		Resumed bool   `json:"resumed"` // exactly what came after ?after= follows, and not the recent messages
	}
	messages struct {
		Type string            `json:"type"`
		List []json.RawMessage `json:"list"`
	}
	here struct {
		Type  string   `json:"type"`
		Names []string `json:"names"`
	}
	ack struct {
		Type string `json:"type"`
		ID   string `json:"id"`
		Seq  uint64 `json:"seq"`
	}
	failure struct {
		Type    string `json:"type"`
		ID      string `json:"id"`
		Code    string `json:"code"`
		Message string `json:"message"`
		RetryMS int64  `json:"retryMs,omitzero"` // send it again after so long; without it never
	}
)

// hub has the rooms that are open on this node.
type hub struct {
	store    *store
	origins  []string // that may connect besides the page's own
	upgrader ws.Upgrader

	mu    sync.Mutex // protects the following
	rooms map[string]*room
}

func newHub(s *store, origins []string) *hub {
	h := &hub{store: s, origins: origins, rooms: make(map[string]*room)}
	h.upgrader = ws.Upgrader{
		Engine:   websocket.AcceptOptions{OriginPatterns: origins},
		Fallback: http.HandlerFunc(h.explain),
		// The handler returns at once, so that chi's Timeout never sees a conversation that lasts.
		Detach: true,
		// The longest text fits even if a client escapes each rune as two \u escapes.
		Limits: ws.Limits{ReadLimit: 12*maxRunes + 1024},
	}
	return h
}

// socket makes the callbacks for /rooms/{room}/ws?name=…&session=…&stream=…&after=…
func (h *hub) socket(_ http.ResponseWriter, r *http.Request) (ws.Events, error) {
	m, err := h.admit(r)
	if err != nil {
		return ws.Events{}, err
	}
	return ws.Events{
		OnOpen:    m.open,
		OnMessage: m.message,
		OnClose:   func(*ws.Conn, ws.CloseEvent) { m.leave() },
	}, nil
}

// explain tells a page by a plain GET why its handshake was refused.
func (h *hub) explain(w http.ResponseWriter, r *http.Request) {
	var refused *ws.HandshakeError
	if _, err := h.admit(r); errors.As(err, &refused) {
		http.Error(w, refused.Err.Error(), refused.Status)
		return
	}
	http.Error(w, "nothing is wrong: open this address as a WebSocket", http.StatusUpgradeRequired)
}

// claim is who holds a name. Someone whose connection was cut comes back before the old connection
// is known to be dead; with the same session, a secret of the page's, the name moves to the new one.
type claim struct {
	Name    string `json:"name"`
	Session string `json:"session"`
	Conn    string `json:"conn"`
}

// member is one connection. Its callbacks share the fields without a lock, but for mu's.
type member struct {
	hub      *hub
	roomName string
	key      string // of the name, in the bucket
	claim    claim
	value    []byte // the claim, encoded
	resume   bool
	after    uint64
	limit    *rate.Limiter

	room *room // nil until open
	conn *ws.Conn

	mu       sync.Mutex // held while the claim is made, renewed or given up; protects the following
	revision uint64     // of the claim; 0 when there is none
}

// A room's name is a part of a NATS subject.
var roomNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

const roomRule = "a room's name has 1 to 32 letters, digits, - or _"

// admit checks a handshake and returns its member, or an error made by ws.Reject.
func (h *hub) admit(r *http.Request) (*member, error) {
	query := r.URL.Query()
	m := &member{
		hub:      h,
		roomName: chi.URLParam(r, "room"), // not in the callbacks: chi reuses its context when the handler has returned
		limit:    rate.NewLimiter(5, 10),
	}
	if !roomNames.MatchString(m.roomName) {
		return nil, ws.Reject(http.StatusBadRequest, roomRule)
	}
	name := strings.Join(strings.Fields(query.Get("name")), " ")
	if !validName(name) {
		return nil, ws.Reject(http.StatusBadRequest, fmt.Sprintf("a name has 1 to %d letters, digits, spaces, or any of . - _ '", maxName))
	}
	if after := query.Get("after"); after != "" {
		var err error
		if m.after, err = strconv.ParseUint(after, 10, 64); err != nil {
			return nil, ws.Reject(http.StatusBadRequest, "after is not a sequence number")
		}
		m.resume = query.Get("stream") == h.store.id
	}
	m.claim = claim{Name: name, Session: query.Get("session"), Conn: rand.Text()}
	if len(m.claim.Session) > 64 {
		return nil, ws.Reject(http.StatusBadRequest, "a session has at most 64 bytes")
	}
	m.value, _ = json.Marshal(m.claim) // strings can always be encoded
	// "Ann" and "ann" are one name.
	m.key = m.roomName + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.ToLower(name)))

	ctx, cancel := context.WithTimeout(r.Context(), natsWait)
	defer cancel()
	entry, err := h.store.names.Get(ctx, m.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
	case err != nil:
		slog.Error("chat: names", "err", err)
		return nil, ws.Reject(http.StatusServiceUnavailable, "the chat's store does not answer")
	case !m.mayTake(entry.Value()):
		return nil, ws.Reject(http.StatusConflict, taken)
	}
	return m, nil
}

func validName(name string) bool {
	for _, r := range name {
		if !unicode.In(r, unicode.L, unicode.M, unicode.N) && !strings.ContainsRune(" .-_'", r) {
			return false
		}
	}
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= maxName
}

// mayTake reports whether the name can move from the claim in value to m.
func (m *member) mayTake(value []byte) bool {
	var old claim
	return json.Unmarshal(value, &old) == nil && old.Session != "" && old.Session == m.claim.Session
}

// open is OnOpen: it takes the name, then shows the room.
func (m *member) open(c *ws.Conn) error {
	m.conn = c
	m.room = m.hub.enter(m.roomName)
	<-m.room.ready
	err := m.room.err
	if err == nil {
		err = m.take(c.Context())
	}
	if errors.Is(err, jetstream.ErrKeyExists) {
		return websocket.CloseError{Code: codeTaken, Reason: taken}
	}
	if err != nil {
		slog.Error("chat: open", "room", m.roomName, "err", err)
		return websocket.CloseError{Code: websocket.StatusTryAgainLater, Reason: "the chat's store does not answer"}
	}
	return m.room.join(m)
}

// take claims the name, or returns jetstream.ErrKeyExists.
func (m *member) take(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, natsWait)
	defer cancel()
	names := m.hub.store.names
	for {
		revision, err := names.Create(ctx, m.key, m.value)
		if errors.Is(err, jetstream.ErrKeyExists) {
			entry, getErr := names.Get(ctx, m.key)
			if errors.Is(getErr, jetstream.ErrKeyNotFound) {
				continue // it became free just now
			}
			if getErr != nil {
				return getErr
			}
			if !m.mayTake(entry.Value()) {
				return err
			}
			revision, err = names.Update(ctx, m.key, m.value, entry.Revision())
			if errors.Is(err, jetstream.ErrKeyExists) {
				continue // it moved just now
			}
		}
		if err == nil {
			m.revision = revision
		}
		return err
	}
}

// renew keeps the claim alive. It returns jetstream.ErrKeyExists when the name has been lost.
func (m *member) renew() error {
	ctx, cancel := context.WithTimeout(context.Background(), natsWait)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revision == 0 {
		return nil
	}
	revision, err := m.hub.store.names.Update(ctx, m.key, m.value, m.revision)
	if errors.Is(err, jetstream.ErrKeyExists) { // it moved, or it expired while NATS was away
		revision, err = m.hub.store.names.Create(ctx, m.key, m.value)
	}
	if err == nil {
		m.revision = revision
	}
	return err
}

// message is OnMessage. It waits for JetStream, which is bounded by natsWait; the package holds no
// heartbeat against a peer meanwhile.
func (m *member) message(c *ws.Conn, msg ws.Message) error {
	var req request
	decodeErr := msg.Decode(&req)
	fail := func(code, text string, retry time.Duration) error {
		return c.SendJSON(failure{Type: "error", ID: req.ID, Code: code, Message: text, RetryMS: retry.Milliseconds()})
	}
	r := m.limit.Reserve()
	if wait := r.Delay(); wait > 0 {
		r.Cancel()
		return fail("rate", "that was too fast: five messages a second, ten at once", wait+time.Millisecond)
	}
	text := strings.TrimSpace(req.Text)
	switch {
	case decodeErr != nil:
		return fail("invalid", "this is no JSON that a page would send", 0)
	case req.Type == "ping":
		return c.SendText(`{"type":"pong"}`)
	case req.Type != "say":
		return fail("invalid", `type is neither "say" nor "ping"`, 0)
	case req.ID == "" || len(req.ID) > 64:
		return fail("invalid", "id has 1 to 64 bytes", 0)
	case text == "":
		return fail("empty", "the message is empty", 0)
	case utf8.RuneCountInString(text) > maxRunes:
		return fail("long", fmt.Sprintf("the message is longer than %d characters", maxRunes), 0)
	}
	data, err := json.Marshal(message{ID: req.ID, Name: m.claim.Name, Text: text})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), natsWait)
	defer cancel()
	// The id makes a message that is sent again, after a reconnect or an error, the same message.
	published, err := m.hub.store.js.Publish(ctx, "chat."+m.roomName, data,
		jetstream.WithMsgID(m.key+"."+req.ID), jetstream.WithExpectStream("CHAT"))
	if err != nil {
		slog.Error("chat: publish", "room", m.roomName, "err", err)
		return fail("store", "the message could not be stored yet", time.Second)
	}
	return c.SendJSON(ack{Type: "ack", ID: req.ID, Seq: published.Sequence})
}

// leave is OnClose, also when open failed.
func (m *member) leave() {
	m.room.forget(m)
	m.mu.Lock()
	if m.revision != 0 {
		ctx, cancel := context.WithTimeout(context.Background(), natsWait)
		// With the revision: after a reconnect the name may belong to the new connection.
		err := m.hub.store.names.Delete(ctx, m.key, jetstream.LastRevision(m.revision))
		if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			slog.Warn("chat: a name stays taken until it expires", "err", err)
		}
		cancel()
		m.revision = 0
	}
	m.mu.Unlock()
	m.hub.exit(m.room)
}

// enter returns the room and holds it open until exit.
func (h *hub) enter(name string) *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[name]
	if r == nil {
		ctx, stop := context.WithCancel(context.Background())
		r = &room{hub: h, name: name, stop: stop, ready: make(chan struct{}),
			members: make(map[*member]bool), present: make(map[string]string)}
		h.rooms[name] = r
		go r.run(ctx)
	}
	r.users++
	return r
}

func (h *hub) exit(r *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.users--; r.users == 0 {
		r.stop()
		if h.rooms[r.name] == r {
			delete(h.rooms, r.name)
		}
	}
}

// room is a room while it is open on this node, from its first member here to its last.
type room struct {
	hub   *hub
	name  string
	stop  context.CancelFunc // ends run
	users int                // protected by hub.mu

	ready chan struct{} // closed when the room is complete, or err is set
	err   error         // why it never will be

	mu      sync.Mutex // protects the following; never held while waiting
	group   ws.Group
	members map[*member]bool
	log     []entry           // the last messages, in order
	known   uint64            // every message up to this number has been here
	grown   chan struct{}     // closed when known grows; nil while nobody waits for it
	present map[string]string // who is here, on all nodes: key → name
}

type entry struct {
	seq  uint64
	data json.RawMessage
}

// run keeps the room up to date with one subscription for messages and one for names.
func (r *room) run(ctx context.Context) {
	err := r.follow(ctx)
	if ctx.Err() != nil {
		return
	}
	slog.Error("chat: room", "room", r.name, "err", err)
	// The next member opens it anew.
	r.hub.mu.Lock()
	if r.hub.rooms[r.name] == r {
		delete(r.hub.rooms, r.name)
	}
	r.hub.mu.Unlock()
	select {
	case <-r.ready:
		for c := range r.group.All() {
			c.Close(websocket.StatusTryAgainLater, "the chat's store does not answer")
		}
	default:
		r.err = err
		close(r.ready)
	}
}

// follow returns when ctx ends, or with the reason why the room can't go on.
func (r *room) follow(ctx context.Context) error {
	start, cancel := context.WithTimeout(ctx, 3*natsWait)
	defer cancel()
	watcher, err := r.hub.store.names.Watch(ctx, r.name+".*")
	if err != nil {
		return err
	}
	defer watcher.Stop()
	stopMessages, err := r.subscribe(start)
	if err != nil {
		return err
	}
	defer stopMessages()
	for known := false; !known; {
		select {
		case <-start.Done():
			return start.Err()
		case e, ok := <-watcher.Updates():
			if !ok {
				return errNamesEnded
			}
			if known = e == nil; !known { // nil comes after all that were there before
				r.nameChanged(e)
			}
		}
	}
	close(r.ready)

	refresh := time.NewTicker(nameRefresh)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-watcher.Updates():
			if !ok {
				return errNamesEnded
			}
			r.nameChanged(e)
		case <-refresh.C:
			r.renewNames()
		}
	}
}

var errNamesEnded = errors.New("the subscription to names ended")

// subscribe begins to deliver the room's messages and returns when those of the past are in.
func (r *room) subscribe(ctx context.Context) (stop func(), err error) {
	// All messages that exist now must arrive first. The number of pending messages that NATS gives does
	// not tell: it can be zero for a moment while some are on their way.
	stream, err := r.hub.store.stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	var newest uint64
	msg, err := r.hub.store.stream.GetLastMsgForSubject(ctx, "chat."+r.name)
	if err == nil {
		newest = msg.Sequence
	} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, err
	}
	// An ordered consumer reads again what it lost: each message comes once and in order.
	consumer, err := r.hub.store.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{"chat." + r.name},
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	consume, err := consumer.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			slog.Error("chat: message", "err", err)
			return
		}
		r.deliver(meta.Sequence.Stream, meta.Timestamp, m.Data())
	})
	if err != nil {
		return nil, err
	}
	stop = func() {
		consume.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), natsWait)
		defer cancel()
		// If this fails, the server removes it after InactiveThreshold.
		r.hub.store.stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)
	}
	if err := r.reach(ctx, newest); err != nil {
		stop()
		return nil, err
	}
	r.mu.Lock()
	r.known = max(r.known, stream.State.LastSeq) // the numbers between are other rooms' messages
	r.mu.Unlock()
	return stop, nil
}

// deliver adds a message to the log and sends it to everyone here.
func (r *room) deliver(seq uint64, at time.Time, data []byte) {
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		slog.Error("chat: not a message", "room", r.name, "seq", seq, "err", err)
		return
	}
	m.Seq, m.Time = seq, at
	data, _ = json.Marshal(m) // what was decoded can be encoded

	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, entry{seq, data})
	if len(r.log) > keep {
		r.log = r.log[1:]
	}
	r.group.Broadcast(encode(r.log[len(r.log)-1:]))
	r.known = max(r.known, seq)
	if r.grown != nil {
		close(r.grown)
		r.grown = nil
	}
}

// reach waits until every message up to seq has been here.
func (r *room) reach(ctx context.Context, seq uint64) error {
	for {
		r.mu.Lock()
		if r.known >= seq {
			r.mu.Unlock()
			return nil
		}
		if r.grown == nil {
			r.grown = make(chan struct{})
		}
		grown := r.grown
		r.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// encode makes one message of many; Broadcast and history share it.
func encode(log []entry) ws.Message {
	list := make([]json.RawMessage, len(log))
	for i, e := range log {
		list[i] = e.data
	}
	m, _ := ws.JSON(messages{Type: "messages", List: list}) // it is JSON already
	return m
}

// join sends m what it missed, then adds it to the group.
//
// History and live messages meet without a gap and without a duplicate: history is sent in pieces and
// without the lock, so that nobody waits for a slow newcomer, until under the lock none is left.
//
// A member that has seen more on another node than this node has yet waits for it. Otherwise it would see that again.
func (r *room) join(m *member) error {
	if m.resume {
		ctx, cancel := context.WithTimeout(m.conn.Context(), natsWait)
		defer cancel()
		if err := r.reach(ctx, m.after); err != nil {
			return websocket.CloseError{Code: websocket.StatusTryAgainLater, Reason: "this node has not seen that number yet"}
		}
	}
	r.mu.Lock()
	after, resumed := r.position(m)
	r.mu.Unlock()
	if err := m.conn.SendJSON(hello{Type: "hello", Name: m.claim.Name, Stream: r.hub.store.id, Resumed: resumed}); err != nil {
		return err
	}
	for {
		missed, err := r.addIfComplete(m, after)
		if len(missed) == 0 && !errors.Is(err, ws.ErrBufferFull) {
			return err
		}
		// An empty list is sent too: Send waits until there is room again.
		if err := m.conn.Send(encode(missed)); err != nil {
			return err
		}
		if len(missed) > 0 {
			after = missed[len(missed)-1].seq
		}
	}
}

// position returns the sequence number after which m reads on. It needs the lock.
func (r *room) position(m *member) (after uint64, resumed bool) {
	// A full log has lost its oldest messages: perhaps some that m missed.
	if m.resume && (len(r.log) < keep || r.log[0].seq <= m.after) {
		return m.after, true
	}
	if len(r.log) <= recent {
		return 0, false
	}
	return r.log[len(r.log)-recent-1].seq, false
}

// addIfComplete adds m to the group if it has everything, or returns the next messages it lacks.
func (r *room) addIfComplete(m *member, after uint64) ([]entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.log, after+1, func(e entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	if i < len(r.log) {
		return r.log[i:min(i+100, len(r.log))], nil
	}
	if err := m.conn.TrySend(r.here()); err != nil {
		return nil, err
	}
	r.group.Add(m.conn)
	r.members[m] = true
	return nil, nil
}

func (r *room) here() ws.Message {
	m, _ := ws.JSON(here{Type: "here", Names: slices.Sorted(maps.Values(r.present))}) // strings can always be encoded
	return m
}

// forget undoes join.
func (r *room) forget(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
}

// nameChanged takes note of a name that was taken, renewed, given up, or that expired, on any node.
func (r *room) nameChanged(e jetstream.KeyValueEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, was := r.present[e.Key()]
	var c claim
	if e.Operation() == jetstream.KeyValuePut && json.Unmarshal(e.Value(), &c) == nil {
		r.present[e.Key()] = c.Name
	} else {
		delete(r.present, e.Key())
	}
	if now, is := r.present[e.Key()]; was != is || old != now {
		r.group.Broadcast(r.here())
	}
}

// renewNames renews the claims of this node's members and closes those who lost theirs.
func (r *room) renewNames() {
	r.mu.Lock()
	members := slices.Collect(maps.Keys(r.members))
	r.mu.Unlock()
	for _, m := range members {
		err := m.renew()
		if errors.Is(err, jetstream.ErrKeyExists) {
			m.conn.Close(codeTaken, "this name moved to another connection")
		} else if err != nil {
			slog.Warn("chat: names", "err", err)
			return // NATS is away; the next round comes soon
		}
	}
}
