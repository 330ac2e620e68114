package matrix

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/gorilla/sessions"
	"github.com/labstack/echo-contrib/echoprometheus"
	"github.com/labstack/echo-contrib/session"
	"github.com/labstack/echo/v4"
	echomw "github.com/labstack/echo/v4/middleware"
	echo5 "github.com/labstack/echo/v5"
	echo5mw "github.com/labstack/echo/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
)

// echoWith puts middlewares into an echo v4.
func echoWith(mws func(s *site) []echo.MiddlewareFunc) func(*site) http.Handler {
	return func(s *site) http.Handler {
		e := echo.New()
		e.Logger.SetOutput(&s.log)
		e.Use(mws(s)...)
		e.GET("/ws", echo.WrapHandler(s.route))
		return e
	}
}

func echoUse(mws ...echo.MiddlewareFunc) func(*site) http.Handler {
	return echoWith(func(*site) []echo.MiddlewareFunc { return mws })
}

func echo5With(mws func(s *site) []echo5.MiddlewareFunc) func(*site) http.Handler {
	return func(s *site) http.Handler {
		e := echo5.New()
		e.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
		e.Use(mws(s)...)
		e.GET("/ws", echo5.WrapHandler(s.route))
		return e
	}
}

func echo5Use(mws ...echo5.MiddlewareFunc) func(*site) http.Handler {
	return echo5With(func(*site) []echo5.MiddlewareFunc { return mws })
}

func echoCORS() echo.MiddlewareFunc {
	return echomw.CORSWithConfig(echomw.CORSConfig{AllowOrigins: []string{origin}, AllowCredentials: true})
}

func echoLogger(s *site) echo.MiddlewareFunc {
	return echomw.RequestLoggerWithConfig(echomw.RequestLoggerConfig{
		LogStatus: true,
		LogValuesFunc: func(_ echo.Context, v echomw.RequestLoggerValues) error {
			_, err := fmt.Fprintln(&s.log, v.Status)
			return err
		},
	})
}

// echoVisit changes the session and saves it, which sets its cookie at once.
func echoVisit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		s, err := session.Get("sid", c)
		if err != nil {
			return err
		}
		s.Values["seen"] = true
		if err := s.Save(c.Request(), c.Response()); err != nil {
			return err
		}
		return next(c)
	}
}

// echoBefore sets a header in the moment in which the answer is written.
func echoBefore(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Before(func() { c.Response().Header().Set("X-Before", "yes") })
		return next(c)
	}
}

// echoFails returns an error when the others are done, for echo to answer.
func echoFails(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := next(c); err != nil {
			return err
		}
		return io.ErrUnexpectedEOF
	}
}

var echoRows = []row{
	{name: "echo v4 BasicAuth", build: echoUse(echomw.BasicAuth(func(user, password string, _ echo.Context) (bool, error) {
		return user == "ann" && password == "secret", nil
	})), request: http.Header{"Authorization": {"Basic YW5uOnNlY3JldA=="}}},
	{name: "echo v4 BodyDump", build: echoUse(echomw.BodyDump(func(echo.Context, []byte, []byte) {}))},
	{name: "echo v4 BodyLimit", build: echoUse(echomw.BodyLimit("1K"))},
	{name: "echo v4 ContextTimeout", build: echoUse(echomw.ContextTimeout(long))},
	{name: "echo v4 ContextTimeout, outlived", plain: "upgrades, then drops the connection", build: echoUse(echomw.ContextTimeout(short)), waits: forContext},
	{name: "echo v4 CORS", build: echoUse(echoCORS()), headers: []string{allowOrigin, "Vary: Origin"}},
	{name: "echo v4 CSRF", build: echoUse(echomw.CSRF()), headers: []string{"Set-Cookie", "Vary: Cookie"}},
	{name: "echo v4 Decompress", build: echoUse(echomw.Decompress())},
	{name: "echo v4 Gzip", plain: "hangs; server log: response.WriteHeader on hijacked connection", build: echoUse(echomw.Gzip()), headers: []string{"Vary: Accept-Encoding"}},
	{name: "echo v4 Gzip: MinLength", plain: "hangs; server log: response.WriteHeader on hijacked connection", build: echoUse(echomw.GzipWithConfig(echomw.GzipConfig{MinLength: 1024})), headers: []string{"Vary: Accept-Encoding"}},
	{name: "echo v4 Logger", bare: "works; logged with another status", build: echoWith(func(s *site) []echo.MiddlewareFunc {
		return []echo.MiddlewareFunc{echomw.LoggerWithConfig(echomw.LoggerConfig{Format: "${status}\n", Output: &s.log})}
	}), logged: "101\n"},
	{name: "echo v4 MethodOverride", build: echoUse(echomw.MethodOverride())},
	{name: "echo v4 RateLimiter", build: echoUse(echomw.RateLimiter(echomw.NewRateLimiterMemoryStore(1e6)))},
	{name: "echo v4 Recover", build: echoUse(echomw.Recover())},
	{name: "echo v4 RequestID", build: echoUse(echomw.RequestID()), headers: []string{"X-Request-Id"}},
	{name: "echo v4 RequestLogger", bare: "works; logged with another status", build: echoWith(func(s *site) []echo.MiddlewareFunc {
		return []echo.MiddlewareFunc{echoLogger(s)}
	}), logged: "101\n"},
	{name: "echo v4 Secure", build: echoUse(echomw.Secure()), headers: []string{"X-Frame-Options: SAMEORIGIN", "X-Content-Type-Options: nosniff"}},
	{name: "echo v4 Timeout", plain: "upgrades, then hangs", bare: "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker", build: echoUse(echomw.TimeoutWithConfig(echomw.TimeoutConfig{Timeout: long}))},
	{name: "echo v4 Timeout, outlived", plain: "upgrades, then hangs", bare: "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker", build: echoUse(echomw.TimeoutWithConfig(echomw.TimeoutConfig{Timeout: handlerTimeout})), waits: forHandler, reports: timedOut},
	{name: "echo v4 sessions, saved before", build: echoUse(session.Middleware(sessions.NewCookieStore([]byte("secret"))), echoVisit), headers: []string{"Set-Cookie"}},
	{name: "echo v4 prometheus", build: echoWith(func(*site) []echo.MiddlewareFunc {
		return []echo.MiddlewareFunc{echoprometheus.NewMiddlewareWithConfig(echoprometheus.MiddlewareConfig{
			Registerer: prometheus.NewRegistry(),
		})}
	})},
	{name: "echo v4 Response().Before", bare: "works; without X-Before", build: echoUse(echoBefore), headers: []string{"X-Before: yes"}},
	{
		name:  "echo v4: an error after next",
		bare:  "works; server log: response.WriteHeader on hijacked connection; server log: response.Write on hijacked connection",
		build: echoUse(echoFails),
	},
	{
		name:  "echo v4 stack: RequestID, RequestLogger, Recover, CORS, Secure, BodyLimit, Gzip",
		plain: "hangs; server log: response.WriteHeader on hijacked connection",
		bare:  "works; logged with another status",
		build: echoWith(func(s *site) []echo.MiddlewareFunc {
			return []echo.MiddlewareFunc{
				echomw.RequestID(), echoLogger(s), echomw.Recover(), echoCORS(), echomw.Secure(), echomw.BodyLimit("1M"), echomw.Gzip(),
			}
		}),
		headers: []string{"X-Request-Id", allowOrigin, "X-Frame-Options: SAMEORIGIN", "Vary: Accept-Encoding"},
		logged:  "101\n",
	},
	{name: "echo v5 BodyDump", build: echo5Use(echo5mw.BodyDump(func(*echo5.Context, []byte, []byte, error) {}))},
	{name: "echo v5 CORS", build: echo5Use(echo5mw.CORS(origin)), headers: []string{allowOrigin}},
	{name: "echo v5 CSRF", build: echo5Use(echo5mw.CSRF()), request: http.Header{"Sec-Fetch-Site": {"same-origin"}}},
	{name: "echo v5 ContextTimeout, outlived", plain: "upgrades, then drops the connection", build: echo5Use(echo5mw.ContextTimeout(short)), waits: forContext},
	{name: "echo v5 Gzip", plain: "hangs; server log: response.WriteHeader on hijacked connection", build: echo5Use(echo5mw.Gzip()), headers: []string{"Vary: Accept-Encoding"}},
	{
		name:  "echo v5 stack: RequestID, RequestLogger, Recover, CORS, Secure, BodyLimit, Gzip, RateLimiter",
		plain: "hangs; server log: response.WriteHeader on hijacked connection",
		bare:  "works; logged with another status",
		build: echo5With(func(s *site) []echo5.MiddlewareFunc {
			return []echo5.MiddlewareFunc{
				echo5mw.RequestID(), echo5mw.RequestLogger(), echo5mw.Recover(), echo5mw.CORS(origin), echo5mw.Secure(),
				echo5mw.BodyLimit(1 << 20), echo5mw.Gzip(), echo5mw.RateLimiter(echo5mw.NewRateLimiterMemoryStore(1e6)),
			}
		}),
		headers: []string{"X-Request-Id", allowOrigin, "X-Frame-Options: SAMEORIGIN", "Vary: Accept-Encoding"},
		logged:  "status=101",
	},
}
