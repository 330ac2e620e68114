//go:build !js

package ws

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/coder/websocket"
)

// extension is permessage-deflate as offered or agreed on (RFC 7692, section 7.1).
type extension struct {
	clientFresh, serverFresh bool // no context takeover
	clientBits, serverBits   int  // of the window; 0: not said
	clientAny                bool // client_max_window_bits without a value
}

func (x *extension) String() string {
	s := "permessage-deflate"
	if x.clientFresh {
		s += "; client_no_context_takeover"
	}
	if x.serverFresh {
		s += "; server_no_context_takeover"
	}
	if x.serverBits != 0 {
		s += "; server_max_window_bits=" + strconv.Itoa(x.serverBits)
	}
	if x.clientAny {
		s += "; client_max_window_bits"
	} else if x.clientBits != 0 {
		s += "; client_max_window_bits=" + strconv.Itoa(x.clientBits)
	}
	return s
}

// acceptExtension is a server's choice: the first offer that it can keep; nil: none.
func acceptExtension(h http.Header, mode websocket.CompressionMode) *extension {
	if mode == websocket.CompressionDisabled {
		return nil
	}
	for _, offer := range extensions(h) {
		x, err := parseExtension(offer)
		if err != nil {
			continue
		}
		x.clientBits, x.clientAny = 0, false // any window can be read
		if mode == websocket.CompressionNoContextTakeover {
			x.clientFresh, x.serverFresh = true, true
		}
		return x
	}
	return nil
}

// offerExtension is what a client asks for; nil: nothing.
func offerExtension(mode websocket.CompressionMode) *extension {
	if mode == websocket.CompressionDisabled {
		return nil
	}
	fresh := mode == websocket.CompressionNoContextTakeover
	return &extension{clientFresh: fresh, serverFresh: fresh, clientAny: true}
}

// checkExtension checks what a server answered to offer; nil: it wants no compression.
func checkExtension(h http.Header, offer *extension) (*extension, error) {
	all := extensions(h)
	if len(all) == 0 {
		return nil, nil
	}
	if len(all) > 1 || offer == nil {
		return nil, fmt.Errorf("ws: the server answered with extensions that were not asked for: %q", all)
	}
	x, err := parseExtension(all[0])
	if err == nil && x.clientAny {
		err = errors.New("client_max_window_bits has no value")
	}
	if err != nil {
		return nil, fmt.Errorf("ws: the server answered with the extension %q: %w", all[0], err)
	}
	x.clientFresh = x.clientFresh || offer.clientFresh
	return x, nil
}

// extensions returns the elements of Sec-WebSocket-Extensions (RFC 6455, section 9.1).
func extensions(h http.Header) []string {
	all := splitUnquoted(strings.Join(h["Sec-Websocket-Extensions"], ","), ',')
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// splitUnquoted splits s at each sep that is not in a quoted string, and trims the parts.
func splitUnquoted(s string, sep byte) (parts []string) {
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == sep:
			parts = append(parts, strings.Trim(s[start:i], " \t"))
			start = i + 1
		}
	}
	return append(parts, strings.Trim(s[start:], " \t"))
}

// parseExtension parses one offer or answer (RFC 7692, section 7.1).
func parseExtension(s string) (*extension, error) {
	parts := splitUnquoted(s, ';')
	if parts[0] != "permessage-deflate" {
		return nil, errors.New("only permessage-deflate is known")
	}
	x := &extension{}
	seen := make(map[string]bool)
	for _, p := range parts[1:] {
		name, value, valued := strings.Cut(p, "=")
		name, value = strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")
		if len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		n, err := strconv.Atoi(value)
		legal := err == nil && n >= 8 && n <= 15 && strconv.Itoa(n) == value
		switch {
		case seen[name]:
			return nil, fmt.Errorf("%s is there twice", name)
		case name == "client_no_context_takeover" && !valued:
			x.clientFresh = true
		case name == "server_no_context_takeover" && !valued:
			x.serverFresh = true
		case name == "server_max_window_bits" && legal:
			x.serverBits = n
		case name == "client_max_window_bits" && (legal || !valued):
			x.clientBits, x.clientAny = n, !valued
		default:
			return nil, fmt.Errorf("%q is not defined", p)
		}
		seen[name] = true
	}
	return x, nil
}

// tokens yields what stands between the commas of a header.
func tokens(values []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range values {
			for t := range strings.SplitSeq(v, ",") {
				if t = strings.TrimSpace(t); t != "" && !yield(t) {
					return
				}
			}
		}
	}
}

// Subprotocols returns the subprotocols that the client of a handshake offers,
// in its order of preference (RFC 6455, section 4.1). A Factory may choose one.
func Subprotocols(r *http.Request) (offered []string) {
	for t := range tokens(r.Header["Sec-Websocket-Protocol"]) {
		offered = append(offered, t)
	}
	return offered
}
