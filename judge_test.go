//go:build !js

package ws

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
)

// A handshake that is taken without the engine is one that the engine takes, with the same answer.
func TestHandshakeAsClientsSendIt(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	without, with := 0, 0
	for range 100_000 {
		r := httptest.NewRequest(pick("GET", "GET", "GET", "GET", "get", "POST", "HEAD"), "/", nil)
		if rnd.IntN(10) == 0 {
			r.ProtoMajor, r.ProtoMinor = rnd.IntN(3), rnd.IntN(3)
		}
		set := func(k string, values ...string) {
			for range 1 + rnd.IntN(12)/11 {
				r.Header.Add(k, pick(values...))
			}
			if rnd.IntN(20) == 0 {
				r.Header.Del(k)
			}
		}
		key := "dGhlIHNhbXBsZSBub25jZQ=="
		set("Sec-WebSocket-Key", key, key, key, key, "", " "+key, key+" ", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ= ",
			"dGhlIHNhbXBsZSBub25jZQAA", "dGhlIHNhbXBsZSBub25\nZQ==", "dGhlIHNhbXBsZSBub25j\n\nQ=", "dGhlIHNhbXBsZSB1b25jZ_==", "dGhlIHNhbXBsZSBub25jZQ==\n", "\u00a0GhlIHNhbXBsZSBub25jZQ==")
		set("Sec-WebSocket-Version", "13", "13", "13", "13", "12", "13 ", "")
		set("Upgrade", "websocket", "WebSocket", "websocket", "h2c", "h2c, websocket", "websocket,", "websocket\u00a0", "WEB\u017fOCKET", "")
		set("Connection", "Upgrade", "upgrade", "keep-alive, Upgrade", "keep-alive,Upgrade ", "close", "UPGRADE;", "", "\u2003upgrade", ",,upgrade")
		set("Sec-WebSocket-Protocol", "a", "b, a", "B,a", "c", "", ", ,a", "\u212a, k")
		u := &Upgrader{Engine: websocket.AcceptOptions{Subprotocols: []string{pick("a", "b", "c", "k"), pick("A", "b")}}}

		rec := recorder{header: make(http.Header)}
		opts := u.Engine
		opts.InsecureSkipVerify = true
		websocket.Accept(&rec, r, &opts)
		good := rec.status == http.StatusSwitchingProtocols
		k, ok := plainKey(r)
		switch {
		case ok && !good:
			t.Fatalf("the engine refuses with %d: %s %s %q", rec.status, r.Method, r.Proto, r.Header)
		case ok && acceptKey(k) != rec.said.Get("Sec-WebSocket-Accept"):
			t.Fatalf("the engine answers %q to %q, not %q", rec.said.Get("Sec-WebSocket-Accept"), k, acceptKey(k))
		case good && u.chooseSubprotocol(r) != rec.said.Get("Sec-WebSocket-Protocol"):
			t.Fatalf("the engine chooses %q of %q, for %q, not %q", rec.said.Get("Sec-WebSocket-Protocol"),
				r.Header["Sec-Websocket-Protocol"], u.Engine.Subprotocols, u.chooseSubprotocol(r))
		}
		if ok {
			without++
		} else if good {
			with++
		}
	}
	if without < 1000 || with < 1000 {
		t.Errorf("%d were taken without the engine, %d by it alone", without, with)
	}
}
