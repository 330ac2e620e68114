package matrix

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/felixge/httpsnoop"
	"github.com/getsentry/sentry-go"
	sentryhttp "github.com/getsentry/sentry-go/http"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/handlers"
	"github.com/newrelic/go-agent/v3/newrelic"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/riandyrn/otelchi"
	"github.com/rs/zerolog"
	"github.com/rs/zerolog/hlog"
	sloghttp "github.com/samber/slog-http"
	slokmetrics "github.com/slok/go-http-metrics/metrics"
	slok "github.com/slok/go-http-metrics/middleware"
	slokstd "github.com/slok/go-http-metrics/middleware/std"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// behindWith is behind for middlewares that log to the site.
func behindWith(mws func(s *site) []mw) func(*site) http.Handler {
	return func(s *site) http.Handler { return behind(mws(s)...)(s) }
}

func slogTo(s *site) *slog.Logger { return slog.New(slog.NewTextHandler(&s.log, nil)) }

func otel(next http.Handler) http.Handler { return otelhttp.NewHandler(next, "app") }

// promMetrics is every wrapper that promhttp has, as its documentation nests them.
func promMetrics(s *site) mw {
	reg := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "in_flight"})
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests"}, []string{"code", "method"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "duration"}, []string{"code"})
	size := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "size"}, nil)
	header := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "header"}, nil)
	reg.MustRegister(gauge, counter, duration, size, header)
	return func(next http.Handler) http.Handler {
		h := promhttp.InstrumentHandlerInFlight(gauge,
			promhttp.InstrumentHandlerDuration(duration,
				promhttp.InstrumentHandlerTimeToWriteHeader(header,
					promhttp.InstrumentHandlerCounter(counter,
						promhttp.InstrumentHandlerResponseSize(size, next)))))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			families, err := reg.Gather()
			fmt.Fprintln(&s.log, families, err)
		})
	}
}

// snoop is a logger as people write it with httpsnoop.
func snoop(s *site) mw {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m := httpsnoop.CaptureMetrics(next, w, r)
			fmt.Fprintln(&s.log, r.Method, r.URL, m.Code, m.Written)
		})
	}
}

// handRolled is the logger of many a tutorial: it hides http.Hijacker.
func handRolled(s *site) mw {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &statusRecorder{ResponseWriter: w, status: 200}
			next.ServeHTTP(rec, r)
			fmt.Fprintln(&s.log, r.Method, r.URL, rec.status)
		})
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(code int) {
	r.status = code
	r.ResponseWriter.WriteHeader(code)
}

// elapsed sets a header when the handler is done, as many do who forget that
// it is too late then.
func elapsed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		next.ServeHTTP(w, r)
		w.Header().Set("Server-Timing", fmt.Sprintf("app;dur=%d", time.Since(start).Milliseconds()))
	})
}

func zerologStack(s *site) []mw {
	return []mw{
		hlog.NewHandler(zerolog.New(&s.log)),
		hlog.AccessHandler(func(r *http.Request, status, size int, _ time.Duration) {
			hlog.FromRequest(r).Info().Int("status", status).Send()
		}),
		hlog.RemoteAddrHandler("ip"),
		hlog.UserAgentHandler("agent"),
		hlog.RequestIDHandler("id", "Request-Id"),
		hlog.ResponseHeaderHandler("vary", "Vary"),
	}
}

var sentryClient = func() *sentry.Hub {
	client := must(sentry.NewClient(sentry.ClientOptions{EnableTracing: true, TracesSampleRate: 1}))
	return sentry.NewHub(client, sentry.NewScope())
}()

func withSentry(next http.Handler) http.Handler {
	h := sentryhttp.New(sentryhttp.Options{Repanic: true}).Handle(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(sentry.SetHubOnContext(r.Context(), sentryClient.Clone())))
	})
}

func withNewRelic(next http.Handler) http.Handler {
	app := must(newrelic.NewApplication(newrelic.ConfigAppName("app"), newrelic.ConfigEnabled(false)))
	_, h := newrelic.WrapHandle(app, "/ws", next)
	return h
}

var observeRows = []row{
	{name: "otelhttp", build: behind(otel)},
	{name: "otelchi", build: func(s *site) http.Handler {
		r := chi.NewRouter()
		r.Use(otelchi.Middleware("app", otelchi.WithChiRoutes(r)))
		r.Get("/ws", s.route)
		return r
	}},
	{name: "promhttp, all wrappers", bare: "works; logged with another status", build: behindWith(func(s *site) []mw { return []mw{promMetrics(s)} }), logged: `value:"101"`},
	{name: "slok/go-http-metrics", build: behind(slokstd.HandlerProvider("", slok.New(slok.Config{Recorder: slokmetrics.Dummy})))},
	{name: "sentry-go/http", build: behind(withSentry)},
	{name: "newrelic", build: behind(withNewRelic)},
	{name: "zerolog hlog: Access, RemoteAddr, UserAgent, RequestID, ResponseHeader", bare: "works; logged with another status", build: behindWith(zerologStack), headers: []string{"Request-Id"}, logged: `"status":101`},
	{name: "samber/slog-http", bare: "works; logged with another status", build: behindWith(func(s *site) []mw {
		return []mw{sloghttp.Recovery, sloghttp.New(slogTo(s))}
	}), logged: "response.status=101"},
	{name: "samber/slog-http, bodies and headers", bare: "works; logged with another status", build: behindWith(func(s *site) []mw {
		return []mw{sloghttp.NewWithConfig(slogTo(s), sloghttp.Config{
			WithRequestID: true, WithRequestBody: true, WithResponseBody: true, WithRequestHeader: true, WithResponseHeader: true,
		})}
	}), logged: "response.status=101"},
	{name: "httpsnoop logger", build: behindWith(func(s *site) []mw { return []mw{snoop(s)} })},
	{name: "a hand-written logger that hides http.Hijacker", plain: "fails with 501", bare: "fails with 501", refused: "*matrix.statusRecorder hides http.Hijacker", build: behindWith(func(s *site) []mw { return []mw{handRolled(s)} }), logged: " 101"},
	{name: "gorilla/handlers Logging", bare: "works; logged with another status", build: behindWith(func(s *site) []mw {
		return []mw{func(next http.Handler) http.Handler { return handlers.LoggingHandler(&s.log, next) }}
	}), logged: " 101 "},
	{name: "gorilla/handlers CombinedLogging, ProxyHeaders, Recovery", bare: "works; logged with another status", build: behindWith(func(s *site) []mw {
		return []mw{
			func(next http.Handler) http.Handler { return handlers.CombinedLoggingHandler(&s.log, next) },
			handlers.ProxyHeaders,
			handlers.RecoveryHandler(),
		}
	}), request: http.Header{"X-Forwarded-For": {"192.0.2.1"}}, logged: " 101 "},
}
