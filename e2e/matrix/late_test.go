package matrix

import (
	"fmt"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
)

// after is a middleware that does f when the handler has returned.
func after(f func(w http.ResponseWriter)) mw {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			f(w)
		})
	}
}

func lateDelete(w http.ResponseWriter)  { w.Header().Del("X-Frame-Options") }
func lateChange(w http.ResponseWriter)  { w.Header().Set("X-Frame-Options", "SAMEORIGIN") }
func lateStatus(w http.ResponseWriter)  { w.WriteHeader(http.StatusInternalServerError) }
func lateBody(w http.ResponseWriter)    { fmt.Fprintln(w, "goodbye") }
func lateFlusher(w http.ResponseWriter) { w.(http.Flusher).Flush() }
func lateControl(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
func lateError(w http.ResponseWriter)   { http.Error(w, "oops", http.StatusInternalServerError) }

func lateNothing(w http.ResponseWriter) {
	w.Header().Set("X-Passing", "yes")
	w.Header().Del("X-Passing")
	_ = w.Header().Get("X-Frame-Options")
	w.WriteHeader(http.StatusSwitchingProtocols)
}

// keptMap changes the headers through a map that it took before the upgrade.
func keptMap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		next.ServeHTTP(w, r)
		h.Set("X-Kept", "yes")
	})
}

func denyFrames(next http.Handler) http.Handler { return setHeader("X-Frame-Options", "DENY")(next) }

// lateRows are middlewares that touch the response when it is long gone, one
// way each.
var lateRows = []row{
	{name: "a header after next", build: behind(elapsed), reports: []report{{"set", "Server-Timing", "matrix.elapsed"}}},
	{name: "a header after next, outside gzhttp", build: behind(elapsed, gzhttpWith(gzhttp.GzipHandler)), reports: []report{{"set", "Server-Timing", "matrix.elapsed"}}},
	{name: "a changed header after next", build: behind(denyFrames, after(lateChange)), headers: []string{"X-Frame-Options: DENY"}, reports: []report{{"set", "X-Frame-Options", "matrix.lateChange"}}},
	{name: "a deleted header after next", build: behind(denyFrames, after(lateDelete)), headers: []string{"X-Frame-Options: DENY"}, reports: []report{{"delete", "X-Frame-Options", "matrix.lateDelete"}}},
	{name: "a header in a map taken before", build: behind(keptMap), reports: []report{{"set", "X-Kept", ""}}},
	{name: "WriteHeader after next", plain: "works; server log: response.WriteHeader on hijacked connection", bare: "works; server log: response.WriteHeader on hijacked connection", build: behind(after(lateStatus)), reports: []report{{"WriteHeader", "", "matrix.lateStatus"}}},
	{name: "Write after next", plain: "works; server log: response.Write on hijacked connection", bare: "works; server log: response.Write on hijacked connection", build: behind(after(lateBody)), reports: []report{{"Write", "", "matrix.lateBody"}}},
	{name: "Flush after next", plain: "works; server log: panic: runtime error: invalid memory address or nil pointer dereference", bare: "works; server log: response.WriteHeader on hijacked connection; server log: panic: runtime error: invalid memory address or nil pointer dereference", build: behind(after(lateFlusher)), reports: []report{{"Flush", "", "matrix.lateFlusher"}}},
	{name: "Flush by http.ResponseController after next", plain: "works; server log: panic: runtime error: invalid memory address or nil pointer dereference", bare: "works; server log: response.WriteHeader on hijacked connection; server log: panic: runtime error: invalid memory address or nil pointer dereference", build: behind(after(lateControl)), reports: []report{{"Flush", "", "matrix.lateControl"}}},
	{name: "http.Error after next", plain: "works; server log: response.WriteHeader on hijacked connection; server log: response.Write on hijacked connection", bare: "works; server log: response.WriteHeader on hijacked connection; server log: response.Write on hijacked connection", build: behind(after(lateError)), reports: []report{
		{"set", "Content-Type", "matrix.lateError"}, {"set", "X-Content-Type-Options", "matrix.lateError"}, {"WriteHeader", "", "matrix.lateError"}, {"Write", "", "matrix.lateError"},
	}},
	{name: "changes that end where they began", plain: "works; server log: response.WriteHeader on hijacked connection", bare: "works; server log: response.WriteHeader on hijacked connection", build: behind(denyFrames, after(lateNothing)), headers: []string{"X-Frame-Options: DENY"}},
}
