package matrix

import (
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5/middleware"
	chicors "github.com/go-chi/cors"
	httplog3 "github.com/go-chi/httplog/v3"
	"github.com/go-chi/httprate"
	"github.com/gorilla/handlers"
	"github.com/gorilla/mux"
	"github.com/justinas/alice"
	"github.com/klauspost/compress/gzhttp"
	"github.com/labstack/echo/v4"
	echomw "github.com/labstack/echo/v4/middleware"
	"github.com/seed412db446/ws"
	"github.com/urfave/negroni/v3"
)

func timeoutHandler(next http.Handler) http.Handler { return http.TimeoutHandler(next, long, "") }

// timedOut is what http.TimeoutHandler does to a connection that outlives it.
var timedOut = []report{
	{"WriteHeader", "", "net/http.(*timeoutHandler).ServeHTTP"},
	{"Write", "", "net/http.(*timeoutHandler).ServeHTTP"},
}

// stackRows are stacks of four and more, as applications have them.
var stackRows = []row{
	{
		name: "a second ws.Guard inside Logger, Recoverer, Compress",
		bare: "works; logged with another status",
		build: behindWith(func(s *site) []mw {
			return []mw{chiLogger(s), middleware.Recoverer, middleware.Compress(5), ws.Guard}
		}),
		logged: " 101 ",
	}, {
		name:    "ws.Guard inside http.TimeoutHandler",
		plain:   "upgrades, then hangs; server log: superfluous response.WriteHeader",
		bare:    "fails with 501",
		refused: "*http.timeoutWriter hides http.Hijacker",
		build:   behind(timeoutHandler, ws.Guard, rsCORS()),
		headers: []string{allowOrigin},
	}, {
		name: "alice: httpsnoop, secure, rs/cors, nosurf, gzhttp",
		build: func(s *site) http.Handler {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /ws", s.route)
			return alice.New(snoop(s), secured(), rsCORS(), noSurf, gzhttpWith(gzhttp.GzipHandler)).Then(mux)
		},
		headers: []string{"X-Frame-Options: DENY", allowOrigin, "Set-Cookie", "Vary: Accept-Encoding"},
	}, {
		name: "alice: Recoverer, scs, nosurf, secure",
		build: func(s *site) http.Handler {
			return alice.New(middleware.Recoverer, scsVisit, noSurf, secured()).Then(behind()(s))
		},
		headers: []string{"Set-Cookie", "Vary: Cookie", "X-Frame-Options: DENY"},
	}, {
		name: "otelhttp, sentry, promhttp, hlog, gzhttp",
		bare: "works; logged with another status",
		build: behindWith(func(s *site) []mw {
			return append([]mw{otel, withSentry, promMetrics(s)}, append(zerologStack(s), gzhttpWith(gzhttp.GzipHandler))...)
		}),
		headers: []string{"Request-Id", "Vary: Accept-Encoding"},
		logged:  `"status":101`,
	}, {
		name: "gorilla: CombinedLogging, Compress, Recovery, CORS, csrf, mux",
		bare: "works; logged with another status",
		build: func(s *site) http.Handler {
			r := mux.NewRouter()
			r.HandleFunc("/ws", s.route)
			r.Use(handlers.CORS(handlers.AllowedOrigins([]string{origin})), gorillaVisit)
			return handlers.CombinedLoggingHandler(&s.log, handlers.CompressHandler(handlers.RecoveryHandler()(r)))
		},
		headers: []string{allowOrigin, "Set-Cookie"},
		logged:  " 101 ",
	}, {
		name: "chi: httplog, otelhttp, CORS, httprate, scs, Compress, Timeout",
		bare: "works; without Set-Cookie; logged with another status",
		build: with(func(s *site) []mw {
			return []mw{
				httplog3.RequestLogger(slog.New(slog.NewJSONHandler(&s.log, nil)), &httplog3.Options{RecoverPanics: true}),
				otel, chicors.Handler(corsOptions), httprate.LimitByIP(1e6, long), scsVisit, middleware.Compress(5), middleware.Timeout(long),
			}
		}),
		headers: []string{allowOrigin, "X-Ratelimit-Limit: 1000000", "Set-Cookie"},
		logged:  "=> HTTP 101 ",
	}, {
		name: "chi: scs inside gzhttp inside Logger",
		bare: "works; without Set-Cookie; logged with another status",
		build: with(func(s *site) []mw {
			return []mw{chiLogger(s), gzhttpWith(gzhttp.GzipHandler), scsVisit, middleware.NoCache}
		}),
		headers: []string{"Set-Cookie", "Cache-Control"},
		logged:  " 101 ",
	}, {
		name: "negroni: Recovery, Logger, cors, secure, gzip",
		bare: "works; logged with another status",
		build: func(s *site) http.Handler {
			logger := negroni.NewLogger()
			logger.ALogger = printer{s}
			n := negroni.New(negroni.NewRecovery(), logger)
			n.UseHandler(chain(behind()(s), rsCORS(), secured(), gzhttpWith(gzhttp.GzipHandler)))
			return n
		},
		headers: []string{allowOrigin, "X-Frame-Options: DENY", "Vary: Accept-Encoding"},
		logged:  "| 101 |",
	}, {
		name:  "http.TimeoutHandler inside Logger, CORS, Recoverer",
		plain: "fails with 501",
		bare:  "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker",
		build: behindWith(func(s *site) []mw {
			return []mw{chiLogger(s), rsCORS(), middleware.Recoverer, timeoutHandler}
		}),
		headers: []string{allowOrigin},
	}, {
		name:  "http.TimeoutHandler around CORS, scs, secure",
		plain: "upgrades, then hangs; server log: superfluous response.WriteHeader",
		bare:  "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker",
		build:   behind(timeoutHandler, rsCORS(), scsVisit, secured()),
		headers: []string{allowOrigin, "Set-Cookie", "X-Frame-Options: DENY"},
	}, {
		name:  "http.TimeoutHandler inside Logger, Compress, NoCache, outlived",
		plain: "fails with 501",
		bare:  "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker",
		build: behindWith(func(s *site) []mw {
			return []mw{chiLogger(s), middleware.Compress(5), middleware.NoCache, func(next http.Handler) http.Handler {
				return http.TimeoutHandler(next, handlerTimeout, "")
			}}
		}),
		headers: []string{"Cache-Control"},
		waits:   forHandler,
		reports: timedOut,
	}, {
		name: "gin inside otelhttp, gzhttp, rs/cors, hlog",
		bare: "works; logged with another status",
		build: func(s *site) http.Handler {
			mws := append(zerologStack(s), otel, gzhttpWith(gzhttp.GzipHandler), rsCORS())
			return chain(ginUse(gin.Recovery())(s), mws...)
		},
		headers: []string{"Request-Id", allowOrigin, "Vary: Accept-Encoding"},
		logged:  `"status":101`,
	}, {
		name:  "gin inside http.TimeoutHandler, Recoverer, RequestID, secure",
		plain: "upgrades, then hangs",
		bare:  "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker",
		build: func(s *site) http.Handler {
			return chain(ginUse(gin.Recovery())(s), middleware.Recoverer, middleware.RequestID, secured(), timeoutHandler)
		},
		headers: []string{"X-Frame-Options: DENY"},
	}, {
		name: "echo v4 inside chi Compress, Logger, Recoverer, scs",
		bare: "works; without Set-Cookie; logged with another status",
		build: func(s *site) http.Handler {
			return chain(echoUse(echomw.Recover())(s), middleware.Compress(5), chiLogger(s), middleware.Recoverer, scsVisit)
		},
		headers: []string{"Set-Cookie"},
		logged:  " 101 ",
	}, {
		name: "echo v4 with WrapMiddleware: gzhttp, rs/cors, scs, otelhttp",
		bare: "works; without Set-Cookie",
		build: func(s *site) http.Handler {
			return echoUse(
				echo.WrapMiddleware(gzhttpWith(gzhttp.GzipHandler)), echo.WrapMiddleware(rsCORS()),
				echo.WrapMiddleware(scsVisit), echo.WrapMiddleware(otel),
			)(s)
		},
		headers: []string{allowOrigin, "Set-Cookie", "Vary: Accept-Encoding"},
	}, {
		name: "httputil.ReverseProxy in front of chi Compress, Logger, CORS, scs",
		bare: "works; without Set-Cookie; logged with another status",
		build: with(func(s *site) []mw {
			return []mw{middleware.Compress(5), chiLogger(s), chicors.Handler(corsOptions), scsVisit}
		}),
		front:   proxyTo,
		headers: []string{allowOrigin, "Set-Cookie"},
		logged:  " 101 ",
	},
}
