//go:build !js

package ws

import (
	"fmt"
	"net/http"
	"path"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// HeaderError reports a use of the response after the WebSocket upgrade. It
// had no effect.
type HeaderError struct {
	Op     string // "set", "delete", "WriteHeader", "Write" or "Flush"
	Key    string // of the header; "" for the last three
	Status int    // of WriteHeader; 0 for the others
	// Func, File and Line are the caller outside of this package, File with its
	// full path. They are empty if that can't be known.
	Func, File string
	Line       int

	own bool // the response is a Factory's w
}

func (e *HeaderError) Error() string {
	who := "by unknown code, perhaps through a header map that was taken before the upgrade"
	if e.Func != "" {
		who = fmt.Sprintf("%s at %s:%d", e.name(), path.Base(e.File), e.Line)
	}
	const skip = `, or skip it if r.Header.Get("Upgrade") != ""`
	remedy := " it before calling the next handler"
	if e.own {
		remedy = " it in the Factory, before it returns"
	}
	switch e.Op {
	case "set":
		return fmt.Sprintf("ws: header %q was set after the WebSocket upgrade and never reached the client: %s; set%s", e.Key, who, remedy)
	case "delete":
		return fmt.Sprintf("ws: header %q was deleted after the WebSocket upgrade, when the client had it already: %s; delete%s", e.Key, who, remedy)
	case "WriteHeader":
		if e.own {
			return fmt.Sprintf("ws: status %d was written after the WebSocket upgrade and never reached the client: %s; refuse with ws.Reject in the Factory", e.Status, who)
		}
		return fmt.Sprintf("ws: status %d was written after the WebSocket upgrade and never reached the client: %s; write%s", e.Status, who, remedy+skip)
	case "Flush":
		return fmt.Sprintf("ws: the response was flushed after the WebSocket upgrade, to no effect: %s; leave it out%s", who, skip)
	}
	return fmt.Sprintf("ws: the response was written to after the WebSocket upgrade and none of it reached the client: %s; send messages with Conn.Send%s", who, skip)
}

// name is Func as somebody would search for it: a closure by the function around it. The compiler names one
// that it has inlined after the caller, as in app.main.Timeout.func1, but its file is still middleware/timeout.go.
func (e *HeaderError) name() string {
	name := path.Base(e.Func)
	outer, _, isClosure := strings.Cut(name, ".func")
	if !isClosure || !closure.MatchString(name) {
		return name
	}
	if inMain, ok := strings.CutPrefix(outer, "main.main."); ok && !strings.Contains(e.File, "@") {
		return "main." + inMain
	}
	parts, dir := strings.Split(outer, "."), path.Base(path.Dir(e.File))
	if len(parts) > 2 && !strings.Contains(outer, "(") && dir != parts[0] && (parts[0] != "main" || strings.Contains(e.File, "@")) {
		return dir + "." + parts[len(parts)-1]
	}
	return outer
}

var closure = regexp.MustCompile(`\.func[0-9]`)

// noteChanges notes which headers have changed since the last call, and blames the caller
// of that call: http.Header is a map, and nobody sees when it is written to.
func (p *response) noteChanges(now caller) {
	if keys := p.seen.changes(p.view); len(keys) > 0 {
		if p.blame == nil {
			p.blame = make(map[string]caller)
		}
		for _, k := range keys {
			p.blame[k] = p.last
		}
		p.seen = listHeader(p.view)
	}
	p.last = now
}

// reportChanges reports the headers that are not what was sent, each once.
func (p *response) reportChanges(now caller) {
	if p.view == nil {
		return
	}
	p.noteChanges(now)
	for _, k := range p.sent.changes(p.view) {
		p.add(headerError(k, p.view, p.blame[k]))
	}
	p.sent = p.seen
}

// reportCall reports a WriteHeader, Write or Flush.
func (p *response) reportCall(c caller, status int) {
	e := &HeaderError{Op: c.op, Status: status}
	e.Func, e.File, e.Line = c.site()
	p.add(e)
}

func headerError(key string, h http.Header, c caller) *HeaderError {
	e := &HeaderError{Op: "set", Key: key}
	if _, ok := h[key]; !ok {
		e.Op = "delete"
	}
	e.Func, e.File, e.Line = c.site()
	return e
}

func (p *response) add(e *HeaderError) {
	if e.own = p.added != nil || p.own; !p.telling {
		p.found = append(p.found, e)
	}
}

// deliver reports what was found. It is called without the mutex: report may
// panic, call runtime.Goexit, or use the response.
func (p *response) deliver() {
	p.mu.Lock()
	found, to := p.found, p.to
	p.found, p.telling = nil, p.telling || len(found) > 0
	p.mu.Unlock()
	if len(found) == 0 {
		return
	}
	defer func() {
		p.mu.Lock()
		p.telling = false
		p.mu.Unlock()
	}()
	for _, err := range found {
		to.report(err)
	}
}

// caller is where a method was called from.
type caller struct {
	op  string
	pcs []uintptr
}

// here is the caller of the method that calls it.
func here(op string) caller {
	pcs := make([]uintptr, 32)
	return caller{op, pcs[:runtime.Callers(2, pcs)]}
}

// forwarders are the methods by which writers pass a call on to the one below.
var forwarders = map[string][]string{
	"Header":      {"Header"},
	"WriteHeader": {"WriteHeader", "WriteHeaderNow"},
	"Write":       {"Write", "WriteString", "ReadFrom", "WriteHeader", "WriteHeaderNow"},
	"Flush":       {"Flush", "FlushError"},
}

// helpers are packages that write on somebody's behalf.
var helpers = []string{"io", "fmt", "bufio", "bytes", "strings", "encoding/json", "encoding/xml",
	"text/template", "html/template", "compress/gzip", "compress/flate", "compress/zlib"}

// site returns the function that is to blame: the nearest that is no part of
// this package, no writer that only passes the call on, and no helper.
func (c *caller) site() (fn, file string, line int) {
	if len(c.pcs) == 0 {
		return "", "", 0
	}
	frames := runtime.CallersFrames(c.pcs)
	for {
		f, more := frames.Next()
		if f.Function != "" && !c.skip(f.Function) {
			return f.Function, f.File, f.Line
		}
		if !more {
			return "", "", 0
		}
	}
}

func (c *caller) skip(fn string) bool {
	slash := strings.LastIndexByte(fn, '/') + 1
	last, name, _ := strings.Cut(fn[slash:], ".")
	pkg := fn[:slash+len(last)]
	method := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case pkg == self || pkg == "runtime" || slices.Contains(helpers, pkg):
		return true
	case pkg == "net/http":
		return method != "ServeHTTP"
	}
	return strings.Contains(name, ".") && slices.Contains(forwarders[c.op], method)
}

// self is the path of this package.
var self = reflect.TypeFor[guardWriter]().PkgPath()

// headerList is a copy of a header, sorted by key. It is not changed once it is made.
type headerList []headerField

type headerField struct {
	key    string
	values []string // nil where it stands for a deletion
}

func byKey(f headerField, key string) int { return strings.Compare(f.key, key) }

func listHeader(h http.Header) headerList {
	n := 0
	for _, v := range h {
		n += len(v)
	}
	list, values := make(headerList, 0, len(h)), make([]string, 0, n)
	for k, v := range h {
		at := len(values)
		values = append(values, v...)
		i := len(list) // where it belongs: a header is short
		list = append(list, headerField{})
		for ; i > 0 && list[i-1].key > k; i-- {
			list[i] = list[i-1]
		}
		list[i] = headerField{k, values[at:len(values):len(values)]}
	}
	return list
}

// with returns l with the given fields in the place of its own. It and copyTo are not inlined: in
// their callers' frames they would make a goroutine's stack grow in the middle of a handshake.
//
//go:noinline
func (l headerList) with(fields headerList) headerList {
	if len(fields) == 0 {
		return l
	}
	return append(make(headerList, 0, len(l)+len(fields)), l...).insert(fields)
}

// insert is with, but changes l.
func (l headerList) insert(fields headerList) headerList {
	for _, f := range fields {
		i, ok := slices.BinarySearchFunc(l, f.key, byKey)
		switch {
		case f.values == nil && ok:
			l = slices.Delete(l, i, i+1)
		case ok:
			l[i] = f
		case f.values != nil:
			l = slices.Insert(l, i, f)
		}
	}
	return l
}

// addHandshakeHeaders returns l with the headers of the handshake, and no others of their kind.
func (l headerList) addHandshakeHeaders(own headerList) headerList {
	clean := make(headerList, 0, len(l)+len(own))
	for _, f := range l {
		if !ofHandshake(f.key) {
			clean = append(clean, f)
		}
	}
	return clean.insert(own)
}

// changes returns the keys, in order, in which h differs from l.
func (l headerList) changes(h http.Header) (keys []string) {
	left := len(h)
	for _, f := range l {
		v, ok := h[f.key]
		if ok {
			left--
		}
		if !ok || !slices.Equal(v, f.values) {
			keys = append(keys, f.key)
		}
	}
	if left > 0 {
		for k := range h {
			if _, ok := slices.BinarySearchFunc(l, k, byKey); !ok {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
	}
	return keys
}

func (l headerList) header() http.Header {
	h := make(http.Header, len(l))
	l.copyTo(h)
	return h
}

//go:noinline
func (l headerList) copyTo(h http.Header) {
	n := 0
	for _, f := range l {
		n += len(f.values)
	}
	values := make([]string, 0, n)
	for _, f := range l {
		if f.values == nil {
			delete(h, f.key)
			continue
		}
		at := len(values)
		values = append(values, f.values...)
		h[f.key] = values[at:len(values):len(values)]
	}
}

// unfit are headers that have no place in a 101.
var unfit = map[string]bool{
	"Content-Length": true, "Content-Type": true, "Content-Encoding": true, "Transfer-Encoding": true, "Trailer": true,
	"Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Te": true,
}

var lineBreaks = strings.NewReplacer("\n", " ", "\r", " ")

// appendSwitching appends the answer with which the protocol changes. Names have
// the RFC's spelling: some peers compare case.
func appendSwitching(b []byte, l headerList) []byte {
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\n"...)
	for _, f := range l {
		if unfit[http.CanonicalHeaderKey(f.key)] || !isToken(f.key) {
			continue
		}
		for _, v := range f.values {
			if rest, ok := strings.CutPrefix(f.key, "Sec-Websocket-"); ok {
				b = append(append(b, "Sec-WebSocket-"...), rest...)
			} else {
				b = append(b, f.key...)
			}
			b = append(b, ": "...)
			b = append(b, strings.TrimSpace(lineBreaks.Replace(v))...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// isToken reports whether s may be a header's name (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// ofHandshake reports whether only the handshake may set the header k.
func ofHandshake(k string) bool {
	k = http.CanonicalHeaderKey(k)
	return k == "Upgrade" || k == "Connection" || strings.HasPrefix(k, "Sec-Websocket-")
}

// removeHandshakeHeaders takes the headers of the handshake's kind out of h, and returns them.
func removeHandshakeHeaders(h http.Header) (removed headerList) {
	for k, v := range h {
		if ofHandshake(k) {
			removed = append(removed, headerField{k, v})
			delete(h, k)
		}
	}
	return removed
}
