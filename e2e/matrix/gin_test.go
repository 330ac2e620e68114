package matrix

import (
	"io"
	"net/http"

	"github.com/NYTimes/gziphandler"
	gincors "github.com/gin-contrib/cors"
	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-contrib/requestid"
	ginsecure "github.com/gin-contrib/secure"
	ginsessions "github.com/gin-contrib/sessions"
	gincookie "github.com/gin-contrib/sessions/cookie"
	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/gzhttp"
	"github.com/ulule/limiter/v3"
	limitgin "github.com/ulule/limiter/v3/drivers/middleware/gin"
	"github.com/ulule/limiter/v3/drivers/store/memory"
)

func init() {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultErrorWriter = io.Discard
}

// ginWith puts middlewares into a gin engine.
func ginWith(mws func(s *site) []gin.HandlerFunc) func(*site) http.Handler {
	return func(s *site) http.Handler {
		r := gin.New()
		r.Use(mws(s)...)
		r.GET("/ws", gin.WrapF(s.route))
		return r
	}
}

func ginUse(mws ...gin.HandlerFunc) func(*site) http.Handler {
	return ginWith(func(*site) []gin.HandlerFunc { return mws })
}

func ginCORS() gin.HandlerFunc {
	return gincors.New(gincors.Config{AllowOrigins: []string{origin}, AllowMethods: []string{"GET"}, AllowCredentials: true})
}

// One for all: requestid.New writes to a package variable.
var ginRequestID = requestid.New()

// ginVisit changes the session and saves it, which sets its cookie at once.
func ginVisit(c *gin.Context) {
	s := ginsessions.Default(c)
	s.Set("seen", true)
	if err := s.Save(); err != nil {
		panic(err)
	}
}

// ginLate is a middleware that sets a header when the others are done.
func ginLate(c *gin.Context) {
	c.Next()
	c.Header("X-Late", "yes")
}

// ginErrors is the error handler of gin's documentation.
func ginErrors(c *gin.Context) {
	c.Next()
	if len(c.Errors) > 0 {
		c.AbortWithStatusJSON(http.StatusInternalServerError, gin.H{"error": c.Errors.Last().Error()})
	}
}

func ginFails(c *gin.Context) {
	c.Next()
	_ = c.Error(io.ErrUnexpectedEOF)
}

var ginRows = []row{
	{name: "gin Logger", bare: "works; logged with another status", build: ginWith(func(s *site) []gin.HandlerFunc {
		return []gin.HandlerFunc{gin.LoggerWithWriter(&s.log)}
	}), logged: "| 101 |"},
	{name: "gin Recovery", build: ginUse(gin.Recovery())},
	{name: "gin BasicAuth", build: ginUse(gin.BasicAuth(gin.Accounts{"ann": "secret"})), request: http.Header{"Authorization": {"Basic YW5uOnNlY3JldA=="}}},
	{name: "gin-contrib/cors", build: ginUse(ginCORS()), headers: []string{allowOrigin}},
	{name: "gin-contrib/gzip", build: ginUse(gingzip.Gzip(gingzip.DefaultCompression))},
	{name: "gin-contrib/requestid", build: ginUse(ginRequestID), headers: []string{"X-Request-Id"}},
	{
		name:    "gin-contrib/secure",
		build:   ginUse(ginsecure.New(ginsecure.Config{FrameDeny: true, ContentTypeNosniff: true})),
		headers: []string{"X-Frame-Options: DENY", "X-Content-Type-Options: nosniff"},
	},
	{
		name:    "gin-contrib/sessions, saved before",
		build:   ginUse(ginsessions.Sessions("sid", gincookie.NewStore([]byte("secret"))), ginVisit),
		headers: []string{"Set-Cookie"},
	},
	{
		name:    "ulule/limiter for gin",
		build:   ginUse(limitgin.NewMiddleware(limiter.New(memory.NewStore(), must(limiter.NewRateFromFormatted("1000000-M"))))),
		headers: []string{"X-Ratelimit-Limit: 1000000"},
	},
	{
		name:    "gin: a header after Next",
		build:   ginUse(ginLate),
		reports: []report{{"set", "X-Late", "ginLate"}},
	},
	{
		name:    "gin: an error page after Next",
		plain:   "works; server log: response.Write on hijacked connection",
		bare:    "works; server log: response.Write on hijacked connection",
		build:   ginUse(ginErrors, ginFails),
		reports: []report{{"set", "Content-Type", "gin"}, {"Write", "", "gin"}},
	},
	{
		name:    "gin behind NYTimes/gziphandler",
		plain:   "hangs; server log: response.WriteHeader on hijacked connection",
		build:   func(s *site) http.Handler { return gziphandler.GzipHandler(ginUse(gin.Recovery())(s)) },
		headers: []string{"Vary: Accept-Encoding"},
	}, {
		name:    "gin behind gzhttp",
		build:   func(s *site) http.Handler { return gzhttp.GzipHandler(ginUse(gin.Recovery())(s)) },
		headers: []string{"Vary: Accept-Encoding"},
	},
	{
		name: "gin stack: Logger, Recovery, requestid, cors, gzip, sessions, secure",
		bare: "works; logged with another status",
		build: ginWith(func(s *site) []gin.HandlerFunc {
			return []gin.HandlerFunc{
				gin.LoggerWithWriter(&s.log), gin.Recovery(), ginRequestID, ginCORS(),
				gingzip.Gzip(gingzip.DefaultCompression),
				ginsessions.Sessions("sid", gincookie.NewStore([]byte("secret"))), ginVisit,
				ginsecure.New(ginsecure.Config{FrameDeny: true}),
			}
		}),
		headers: []string{"X-Request-Id", allowOrigin, "Set-Cookie", "X-Frame-Options: DENY"},
		logged:  "| 101 |",
	},
}
