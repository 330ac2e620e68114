package matrix

import (
	"net/http"

	"github.com/CAFxX/httpcompression"
	"github.com/NYTimes/gziphandler"
	"github.com/andybalholm/brotli"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func gzhttpWith(wrapper func(http.Handler) http.HandlerFunc) mw {
	return func(next http.Handler) http.Handler { return wrapper(next) }
}

// brotliHandler is the use that andybalholm/brotli documents.
func brotliHandler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cw := brotli.HTTPCompressor(w, r)
		defer cw.Close()
		next.ServeHTTP(writeTo{w, cw}, r)
	})
}

// A writeTo is the writer that such a handler needs, with the Unwrap that
// http.ResponseController asks for.
type writeTo struct {
	http.ResponseWriter
	to interface{ Write([]byte) (int, error) }
}

func (w writeTo) Write(p []byte) (int, error) { return w.to.Write(p) }
func (w writeTo) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var compressRows = []row{
	{name: "klauspost gzhttp", build: behind(gzhttpWith(gzhttp.GzipHandler)), headers: []string{"Vary: Accept-Encoding"}},
	{
		name:    "klauspost gzhttp: MinSize(0), zstd, jitter",
		build:   behind(gzhttpWith(must(gzhttp.NewWrapper(gzhttp.MinSize(0), gzhttp.EnableZstd(true), gzhttp.RandomJitter(32, 0, false))))),
		headers: []string{"Vary: Accept-Encoding"},
	},
	{name: "NYTimes/gziphandler", plain: "hangs; server log: response.WriteHeader on hijacked connection", build: behind(gziphandler.GzipHandler), headers: []string{"Vary: Accept-Encoding"}},
	{
		name:    "NYTimes/gziphandler: MinSize(0)",
		plain:   "hangs; server log: response.WriteHeader on hijacked connection",
		build:   behind(must(gziphandler.GzipHandlerWithOpts(gziphandler.MinSize(0)))),
		headers: []string{"Vary: Accept-Encoding"},
	},
	{name: "CAFxX/httpcompression", plain: "hangs; server log: response.WriteHeader on hijacked connection", build: behind(must(httpcompression.DefaultAdapter()))},
	{name: "CAFxX/httpcompression: MinSize(0)", plain: "hangs; server log: response.WriteHeader on hijacked connection", build: behind(must(httpcompression.DefaultAdapter(httpcompression.MinSize(0))))},
	{name: "gorilla/handlers Compress", build: behind(handlers.CompressHandler)},
	{name: "andybalholm/brotli HTTPCompressor", plain: "works; server log: response.Write on hijacked connection", bare: "works; server log: response.Write on hijacked connection", build: behind(brotliHandler), headers: []string{"Vary: Accept-Encoding"}, reports: []report{{"Write", "", "brotli.(*Writer)"}}},
	{name: "gzhttp around chi Compress", build: behind(gzhttpWith(gzhttp.GzipHandler), middleware.Compress(5))},
	{name: "chi Compress around gzhttp", build: behind(middleware.Compress(5), gzhttpWith(gzhttp.GzipHandler))},
}
