package matrix

import (
	"net/http"
	"time"

	"filippo.io/csrf"
	"github.com/alexedwards/scs/v2"
	"github.com/didip/tollbooth/v7"
	gorillacsrf "github.com/gorilla/csrf"
	"github.com/gorilla/handlers"
	"github.com/gorilla/sessions"
	"github.com/justinas/nosurf"
	"github.com/rs/cors"
	"github.com/ulule/limiter/v3"
	limitstd "github.com/ulule/limiter/v3/drivers/middleware/stdlib"
	"github.com/ulule/limiter/v3/drivers/store/memory"
	"github.com/unrolled/secure"
)

func rsCORS() mw {
	return cors.New(cors.Options{AllowedOrigins: []string{origin}, AllowCredentials: true}).Handler
}

// scsVisit puts a session that has changed before the route: scs sets its
// cookie in the moment in which the answer is written.
func scsVisit(next http.Handler) http.Handler {
	manager := scs.New()
	return manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "seen", true)
		next.ServeHTTP(w, r)
	}))
}

func gorillaVisit(next http.Handler) http.Handler {
	store := sessions.NewCookieStore([]byte("secret"))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, "sid")
		s.Values["seen"] = true
		if err := s.Save(r, w); err != nil {
			panic(err)
		}
		next.ServeHTTP(w, r)
	})
}

func secured() mw {
	return secure.New(secure.Options{FrameDeny: true, ContentTypeNosniff: true, ContentSecurityPolicy: "default-src $NONCE"}).Handler
}

func tollboothed(next http.Handler) http.Handler {
	return tollbooth.LimitHandler(tollbooth.NewLimiter(1e6, nil), next)
}

func limited() mw {
	return limitstd.NewMiddleware(limiter.New(memory.NewStore(), limiter.Rate{Period: time.Minute, Limit: 1e6})).Handler
}

func noSurf(next http.Handler) http.Handler { return nosurf.New(next) }

var securityRows = []row{
	{name: "rs/cors", build: behind(rsCORS()), headers: []string{allowOrigin, "Vary: Origin"}},
	{
		name:    "gorilla/handlers CORS",
		build:   behind(handlers.CORS(handlers.AllowedOrigins([]string{origin}), handlers.AllowCredentials())),
		headers: []string{allowOrigin},
	},
	{name: "gorilla/handlers ContentType, MethodOverride", build: behind(
		func(next http.Handler) http.Handler { return handlers.ContentTypeHandler(next, "application/json") },
		handlers.HTTPMethodOverrideHandler,
	)},
	{name: "gorilla/csrf", build: behind(gorillacsrf.Protect(make([]byte, 32))), headers: []string{"Set-Cookie", "Vary: Cookie"}},
	{name: "justinas/nosurf", build: behind(noSurf), headers: []string{"Set-Cookie", "Vary: Cookie"}},
	{name: "filippo.io/csrf", build: behind(csrf.New().Handler)},
	{name: "scs, session changed before", bare: "works; without Set-Cookie", build: behind(scsVisit), headers: []string{"Set-Cookie", "Vary: Cookie"}},
	{name: "gorilla/sessions, saved before", build: behind(gorillaVisit), headers: []string{"Set-Cookie"}},
	{name: "unrolled/secure", build: behind(secured()), headers: []string{"X-Frame-Options: DENY", "Content-Security-Policy"}},
	{name: "didip/tollbooth", build: behind(tollboothed), headers: []string{"X-Rate-Limit-Limit"}},
	{name: "ulule/limiter", build: behind(limited()), headers: []string{"X-Ratelimit-Limit: 1000000", "X-Ratelimit-Remaining"}},
}
