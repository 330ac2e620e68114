package matrix

import (
	"expvar"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	chicors "github.com/go-chi/cors"
	httplog2 "github.com/go-chi/httplog/v2"
	httplog3 "github.com/go-chi/httplog/v3"
	"github.com/go-chi/httprate"
)

// use puts middlewares into a chi router.
func use(mws ...mw) func(*site) http.Handler {
	return func(s *site) http.Handler {
		r := chi.NewRouter()
		r.Use(mws...)
		r.Get("/ws", s.route)
		return r
	}
}

// with is use for middlewares that log to the site.
func with(mws func(s *site) []mw) func(*site) http.Handler {
	return func(s *site) http.Handler { return use(mws(s)...)(s) }
}

func chiLogger(s *site) mw {
	return middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(&s.log, "", 0), NoColor: true})
}

// A printer is the logger of several libraries.
type printer struct{ s *site }

func (p printer) Println(v ...any)          { log.New(&p.s.log, "", 0).Println(v...) }
func (p printer) Printf(f string, v ...any) { log.New(&p.s.log, "", 0).Printf(f, v...) }

var corsOptions = chicors.Options{AllowedOrigins: []string{origin}, AllowCredentials: true, ExposedHeaders: []string{"X-Total"}}

var allowOrigin = "Access-Control-Allow-Origin: " + origin

var chiRows = []row{
	{name: "chi AllowContentEncoding", build: use(middleware.AllowContentEncoding("gzip"))},
	{name: "chi AllowContentType", build: use(middleware.AllowContentType("application/json"))},
	{
		name:    "chi BasicAuth",
		build:   use(middleware.BasicAuth("realm", map[string]string{"ann": "secret"})),
		request: http.Header{"Authorization": {"Basic YW5uOnNlY3JldA=="}},
	},
	{name: "chi CleanPath", path: "//ws", build: use(middleware.CleanPath)},
	{name: "chi ClientIPFromRemoteAddr", build: use(middleware.ClientIPFromRemoteAddr)},
	{name: "chi ClientIPFromXFF", build: use(middleware.ClientIPFromXFF("127.0.0.0/8")), request: http.Header{"X-Forwarded-For": {"192.0.2.1"}}},
	{name: "chi Compress", build: use(middleware.Compress(5))},
	{name: "chi Compress, more types", build: use(middleware.Compress(5, "text/*", "application/*"))},
	{name: "chi ContentCharset", build: use(middleware.ContentCharset("utf-8", ""))},
	{name: "chi Deprecation", build: use(middleware.Deprecation(time.Unix(1, 0), "/v2")), headers: []string{"Deprecation"}},
	{name: "chi GetHead", build: use(middleware.GetHead)},
	{name: "chi Heartbeat", build: use(middleware.Heartbeat("/ping"))},
	{name: "chi Logger", bare: "works; logged with another status", build: with(func(s *site) []mw {
		return []mw{chiLogger(s)}
	}), logged: " 101 "},
	{name: "chi Maybe", build: use(middleware.Maybe(middleware.NoCache, func(*http.Request) bool { return true })), headers: []string{"Cache-Control"}},
	{name: "chi NoCache", build: use(middleware.NoCache), headers: []string{"Cache-Control", "Expires"}},
	{name: "chi PageRoute", build: use(middleware.PageRoute("/page", expvar.Handler()))},
	{name: "chi PathRewrite", path: "/old/ws", build: use(middleware.PathRewrite("/old", ""))},
	{
		name: "chi Profiler, mounted beside",
		build: func(s *site) http.Handler {
			r := chi.NewRouter()
			r.Mount("/debug", middleware.Profiler())
			r.Get("/ws", s.route)
			return r
		},
	},
	{name: "chi RealIP", build: use(middleware.RealIP), request: http.Header{"X-Real-Ip": {"192.0.2.1"}}},
	{name: "chi Recoverer", build: use(middleware.Recoverer)},
	{name: "chi RedirectSlashes", build: use(middleware.RedirectSlashes)},
	{name: "chi RequestID", build: use(middleware.RequestID)},
	{name: "chi RequestSize", build: use(middleware.RequestSize(1024))},
	{
		name:    "chi RouteHeaders",
		build:   use(middleware.RouteHeaders().Route("Origin", origin, setHeader("X-Site", "app")).Handler),
		headers: []string{"X-Site: app"},
	},
	{name: "chi SetHeader", build: use(middleware.SetHeader("X-Frame-Options", "DENY")), headers: []string{"X-Frame-Options: DENY"}},
	{
		name:  "chi SetHeader of a Content-Type",
		build: use(middleware.SetHeader("Content-Type", "application/json")),
	},
	{name: "chi StripPrefix", path: "/api/ws", build: use(middleware.StripPrefix("/api"))},
	{name: "chi StripSlashes", path: "/ws/", build: use(middleware.StripSlashes)},
	{name: "chi Sunset", build: use(middleware.Sunset(time.Unix(1, 0), "/v2")), headers: []string{"Sunset"}},
	{
		name: "chi SupressNotFound",
		build: func(s *site) http.Handler {
			r := chi.NewRouter()
			r.Use(middleware.SupressNotFound(r))
			r.Get("/ws", s.route)
			return r
		},
	},
	{name: "chi Throttle", build: use(middleware.Throttle(1))},
	{name: "chi ThrottleBacklog", build: use(middleware.ThrottleBacklog(1, 1, long))},
	{name: "chi Timeout", build: use(middleware.Timeout(long))},
	{
		name:    "chi Timeout, outlived",
		plain:   "upgrades, then drops the connection; server log: response.WriteHeader on hijacked connection",
		bare:    "works; server log: response.WriteHeader on hijacked connection",
		build:   use(middleware.Timeout(short)),
		waits:   forContext,
		reports: []report{{"WriteHeader", "", "Timeout"}},
	},
	{
		name:    "chi Timeout outside Compress and Logger, outlived",
		plain:   "upgrades, then drops the connection; server log: response.WriteHeader on hijacked connection",
		bare:    "works; logged with another status; server log: response.WriteHeader on hijacked connection",
		reports: []report{{"WriteHeader", "", "Timeout"}},

		waits:  forContext,
		logged: " 101 ",
		build: with(func(s *site) []mw {
			return []mw{middleware.Timeout(short), chiLogger(s), middleware.Compress(5)}
		}),
	},
	{name: "chi URLFormat", path: "/ws.json", build: use(middleware.URLFormat)},
	{name: "chi WithValue", build: use(middleware.WithValue(struct{}{}, "v"))},
	{name: "go-chi/cors", build: use(chicors.Handler(corsOptions)), headers: []string{allowOrigin, "Vary: Origin", "Access-Control-Allow-Credentials: true"}},
	{name: "go-chi/httprate", build: use(httprate.LimitByIP(1e6, time.Minute)), headers: []string{"X-Ratelimit-Limit: 1000000", "X-Ratelimit-Remaining"}},
	{
		name: "go-chi/httplog v2",
		bare: "works; logged with another status",
		build: with(func(s *site) []mw {
			logger := httplog2.NewLogger("app", httplog2.Options{JSON: true, Writer: &s.log, ResponseHeaders: true})
			return []mw{httplog2.RequestLogger(logger)}
		}),
		logged: `"status":101`,
	}, {
		name: "go-chi/httplog v3, bodies and panics",
		bare: "works; logged with another status",
		build: with(func(s *site) []mw {
			all := func(*http.Request) bool { return true }
			return []mw{httplog3.RequestLogger(
				slog.New(slog.NewJSONHandler(&s.log, nil)),
				&httplog3.Options{Schema: httplog3.SchemaECS, RecoverPanics: true, LogRequestBody: all, LogResponseBody: all},
			)}
		}),
		logged: "=> HTTP 101 ",
	}, {
		name: "chi stack of its README: RequestID, RealIP, Logger, Recoverer, Timeout",
		bare: "works; logged with another status",
		build: with(func(s *site) []mw {
			return []mw{
				middleware.RequestID, middleware.RealIP, chiLogger(s), middleware.Recoverer, middleware.Timeout(long),
			}
		}),
		logged: " 101 ",
	}, {
		name: "chi stack: CORS, Compress, Logger, Recoverer, Heartbeat, NoCache, httprate",
		bare: "works; logged with another status",
		build: with(func(s *site) []mw {
			return []mw{
				chicors.Handler(corsOptions), middleware.Compress(5), chiLogger(s), middleware.Recoverer,
				middleware.Heartbeat("/ping"), middleware.NoCache, httprate.LimitByIP(1e6, time.Minute),
			}
		}),
		headers: []string{allowOrigin, "Cache-Control", "X-Ratelimit-Limit: 1000000"},
		logged:  " 101 ",
	},
}
