//go:build !js

package ws

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/coder/websocket"
)

// isHandshake reports whether r asks for a WebSocket (RFC 6455, section 4.1;
// RFC 8441, section 4).
func isHandshake(r *http.Request) bool {
	if r.Header["Sec-Websocket-Key"] != nil || r.Header[":protocol"] != nil {
		return true
	}
	for t := range tokens(r.Header["Upgrade"]) {
		if strings.EqualFold(t, "websocket") {
			return true
		}
	}
	return false
}

// judge says whether the handshake is good, and settles what its answer says. A handshake that is exactly
// as clients send it is good; the engine decides about any other.
func (h *handshake) judge() *HandshakeError {
	if key, ok := plainKey(h.r); ok {
		h.accept = []string{acceptKey(key)}
	} else if e := h.judgeByEngine(); e != nil {
		return e
	}
	if h.r.ProtoMajor == 1 && (h.r.ContentLength != 0 || len(h.r.TransferEncoding) > 0) {
		return refuse(http.StatusBadRequest, errors.New("the handshake has a body"))
	}
	if err := h.u.checkOrigin(h.r); err != nil {
		e := refuse(http.StatusForbidden, err)
		e.hint = originHint
		return e
	}
	h.subprotocol = h.u.chooseSubprotocol(h.r)
	h.extension = acceptExtension(h.r.Header, h.u.Engine.CompressionMode)
	return nil
}

// plainKey returns the Sec-WebSocket-Key of a handshake that is as clients send it (RFC 6455, section 4.1).
func plainKey(r *http.Request) (key string, ok bool) {
	only := func(k string) string {
		if v := r.Header[k]; len(v) == 1 {
			return v[0]
		}
		return ""
	}
	key = only("Sec-Websocket-Key")
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1 || only("Sec-Websocket-Version") != "13" ||
		!strings.EqualFold(only("Upgrade"), "websocket") || len(key) != 24 {
		return "", false
	}
	var b [18]byte
	if n, err := base64.StdEncoding.Decode(b[:], []byte(key)); n != 16 || err != nil {
		return "", false
	}
	for t := range tokens(r.Header["Connection"]) {
		if strings.EqualFold(t, "upgrade") {
			return key, true
		}
	}
	return "", false
}

// acceptKey returns the Sec-WebSocket-Accept for key, of 24 bytes (RFC 6455, section 4.2.2).
func acceptKey(key string) string {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var b [24 + len(guid)]byte
	copy(b[copy(b[:], key):], guid)
	sum := sha1.Sum(b[:])
	return base64.StdEncoding.EncodeToString(sum[:])
}

// judgeByEngine lets the engine say whether the handshake is good but for its Origin.
func (h *handshake) judgeByEngine() *HandshakeError {
	if h.r.ProtoMajor != 1 && h.r.Header[":protocol"] != nil {
		return refuse(http.StatusNotImplemented,
			errors.New("this handshake came over HTTP/2, which works behind ws.Guard alone: wrap the server's outermost handler with it"))
	}
	rec := recorder{header: make(http.Header)}
	websocket.Accept(&rec, h.r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if rec.status == http.StatusSwitchingProtocols {
		h.accept = rec.said["Sec-Websocket-Accept"]
		return nil
	}
	text := strings.TrimPrefix(strings.TrimSpace(rec.text.String()), "WebSocket protocol violation: ")
	e := refuse(rec.status, errors.New(text))
	switch h.extra = make(http.Header); e.Status {
	case http.StatusUpgradeRequired:
		e.Err, e.hint = errors.New(text+proxyHint(h.r)), upgradeHint
		askForUpgrade(h.extra, h.r)
	case http.StatusMethodNotAllowed:
		h.extra.Set("Allow", http.MethodGet)
	case http.StatusBadRequest:
		if v, ok := rec.header["Sec-Websocket-Version"]; ok {
			h.extra["Sec-Websocket-Version"] = v
		}
	}
	return e
}

// recorder is the writer that the engine's Accept gets. It notes what the engine
// decides; no connection is ever made.
type recorder struct {
	header http.Header
	said   http.Header // the header of a 101; header is another one from then on
	status int         // 0: none yet
	text   strings.Builder
}

func (r *recorder) Header() http.Header                          { return r.header }
func (r *recorder) Write(p []byte) (int, error)                  { return r.text.Write(p) }
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errJudged }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		if r.status = status; status == http.StatusSwitchingProtocols {
			r.said, r.header = r.header, make(http.Header)
		}
	}
}

var errJudged = errors.New("ws: the handshake is good")

// chooseSubprotocol returns the first of the options' subprotocols that the client offers, as it is offered.
func (u *Upgrader) chooseSubprotocol(r *http.Request) string {
	for _, p := range u.Engine.Subprotocols {
		for t := range tokens(r.Header["Sec-Websocket-Protocol"]) {
			if strings.EqualFold(t, p) {
				return t
			}
		}
	}
	return ""
}

// What the log tells to do about a refusal.
const (
	originHint = "if the page is yours, add its host to OriginPatterns; if Host is not what the page was " +
		"loaded from, make the proxy keep it (nginx: proxy_set_header Host $http_host;)"
	upgradeHint = "if it came through a proxy, make it pass the upgrade on (nginx: proxy_http_version 1.1; " +
		"proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;)"
	answerHint = "return ws.Reject, which answers, or another error"
)

// proxyHint is for the client, which may be the one who set the proxy up.
func proxyHint(r *http.Request) string {
	if !r.ProtoAtLeast(1, 1) {
		return "; a reverse proxy that speaks HTTP/1.0 is the usual cause: nginx needs \"proxy_http_version 1.1\""
	}
	return "; a reverse proxy that drops the Upgrade and Connection headers is the usual cause"
}

// checkOrigin returns an error if the page that r comes from may not connect
// (RFC 6455, section 10.2).
func (u *Upgrader) checkOrigin(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if u.CheckOrigin != nil {
		if !u.CheckOrigin(r) {
			return fmt.Errorf("a page of Origin %q may not connect to Host %q: Upgrader.CheckOrigin says so", origin, r.Host)
		}
		return nil
	}
	if origin == "" || u.Engine.InsecureSkipVerify {
		return nil
	}
	return u.matchOrigin(r, origin)
}

// matchOrigin returns an error unless origin is r's own host or matches one of the options' patterns.
func (u *Upgrader) matchOrigin(r *http.Request, origin string) error {
	at, err := url.Parse(origin)
	if err != nil {
		at = new(url.URL)
	}
	port := map[string]string{"http": ":80", "https": ":443"}[at.Scheme]
	if at.Host != "" && strings.EqualFold(strings.TrimSuffix(at.Host, port), strings.TrimSuffix(r.Host, port)) {
		return nil
	}
	for _, p := range u.Engine.OriginPatterns {
		target := at.Host
		switch {
		case p == "", (p == "null") != (origin == "null"):
			continue
		case p == "null":
			return nil
		case strings.Contains(p, "://"):
			target = at.Scheme + "://" + at.Host
		}
		ok, err := path.Match(strings.ToLower(p), strings.ToLower(target))
		if err != nil {
			return fmt.Errorf("the pattern %q in Upgrader.Engine.OriginPatterns is malformed", p)
		}
		if ok {
			return nil
		}
	}
	return fmt.Errorf("a page of Origin %q may not connect to Host %q; Upgrader.Engine.OriginPatterns allows it", origin, r.Host)
}
