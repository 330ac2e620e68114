package matrix

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/dimfeld/httptreemux/v5"
	"github.com/emicklei/go-restful/v3"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/julienschmidt/httprouter"
	"github.com/labstack/echo/v4"
	echo5 "github.com/labstack/echo/v5"
	"github.com/uptrace/bunrouter"
	"github.com/urfave/negroni/v3"
)

type mw = func(http.Handler) http.Handler

// behind puts middlewares, outermost first, before an http.ServeMux.
func behind(mws ...mw) func(*site) http.Handler {
	return func(s *site) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /ws", s.route)
		return chain(mux, mws...)
	}
}

func chain(h http.Handler, mws ...mw) http.Handler {
	for i := len(mws) - 1; i >= 0; i-- {
		h = mws[i](h)
	}
	return h
}

// short is a timeout that every connection outlives, long is one that none
// does. handlerTimeout is one within which a handshake is done and that no
// connection of a row that waits for it survives.
const (
	short          = 5 * time.Millisecond
	handlerTimeout = 500 * time.Millisecond
	long           = time.Hour
)

func humaRoute(s *site, api huma.API, unwrap func(huma.Context) (*http.Request, http.ResponseWriter)) {
	huma.Register(api, huma.Operation{
		Method: "GET", Path: "/ws",
		Middlewares: huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
			r, w := unwrap(ctx)
			s.route(w, r)
		}},
	}, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
}

func proxyTo(_ *site, back *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(back)
		r.SetXForwarded()
	}}
}

var routers = []row{
	{
		name:  "http.ServeMux",
		build: behind(),
	}, {
		name:  "http.HandlerFunc alone",
		build: func(s *site) http.Handler { return s.route },
	}, {
		name: "http.StripPrefix",
		path: "/api/ws",
		build: func(s *site) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/api/", http.StripPrefix("/api", behind()(s)))
			return mux
		},
	}, {
		name:  "http.MaxBytesHandler",
		build: behind(func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, 1024) }),
	}, {
		name:  "http.CrossOriginProtection",
		build: behind(http.NewCrossOriginProtection().Handler),
	}, {
		name:  "http.TimeoutHandler",
		plain: "fails with 501",
		bare:  "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker",
		build: behind(func(next http.Handler) http.Handler { return http.TimeoutHandler(next, long, "") }),
	}, {
		name:  "http.TimeoutHandler, outlived",
		plain: "fails with 501",
		bare:  "fails with 501", refused: "*http.timeoutWriter hides http.Hijacker",
		build:   behind(func(next http.Handler) http.Handler { return http.TimeoutHandler(next, handlerTimeout, "") }),
		waits:   forHandler,
		reports: timedOut,
	}, {
		name:  "httputil.ReverseProxy in front",
		build: behind(),
		front: proxyTo,
	}, {
		name: "chi",
		build: func(s *site) http.Handler {
			r := chi.NewRouter()
			r.Get("/ws", s.route)
			return r
		},
	}, {
		name: "chi: Mount, Group, With and URL parameters",
		path: "/api/rooms/7/ws",
		build: func(s *site) http.Handler {
			r, sub := chi.NewRouter(), chi.NewRouter()
			sub.Group(func(g chi.Router) {
				g.With(setHeader("X-With", "chi")).Get("/rooms/{room}/ws", s.route)
			})
			r.Mount("/api", sub)
			return r
		},
		headers: []string{"X-With: chi"},
	}, {
		name: "gorilla/mux: subrouter",
		path: "/api/ws",
		build: func(s *site) http.Handler {
			r := mux.NewRouter().StrictSlash(true)
			api := r.PathPrefix("/api").Subrouter()
			api.Use(mux.CORSMethodMiddleware(api))
			api.HandleFunc("/ws", s.route).Methods("GET", "OPTIONS")
			return r
		},
		headers: []string{"Access-Control-Allow-Methods"},
	}, {
		name: "httprouter",
		path: "/rooms/7/ws",
		build: func(s *site) http.Handler {
			r := httprouter.New()
			r.Handler("GET", "/rooms/:room/ws", s.route)
			return r
		},
	}, {
		name: "httptreemux",
		path: "/rooms/7/ws",
		build: func(s *site) http.Handler {
			r := httptreemux.NewContextMux()
			r.GET("/rooms/:room/ws", s.route)
			return r
		},
	}, {
		name: "bunrouter",
		path: "/rooms/7/ws",
		build: func(s *site) http.Handler {
			r := bunrouter.New()
			r.GET("/rooms/:room/ws", bunrouter.HTTPHandlerFunc(s.route))
			return r
		},
	}, {
		name: "gin: WrapF",
		build: func(s *site) http.Handler {
			r := gin.New()
			r.GET("/ws", gin.WrapF(s.route))
			return r
		},
	}, {
		name: "gin: handler with c.Writer",
		path: "/rooms/7/ws",
		build: func(s *site) http.Handler {
			r := gin.New()
			r.GET("/rooms/:room/ws", func(c *gin.Context) {
				c.Header("X-Room", c.Param("room"))
				s.route(c.Writer, c.Request)
			})
			return r
		},
		headers: []string{"X-Room: 7"},
	}, {
		name: "gin inside http.ServeMux",
		path: "/api/ws",
		build: func(s *site) http.Handler {
			r := gin.New()
			r.Group("/api").GET("/ws", gin.WrapF(s.route))
			mux := http.NewServeMux()
			mux.Handle("/api/", r)
			return mux
		},
	}, {
		name: "echo v4: WrapHandler",
		build: func(s *site) http.Handler {
			e := echo.New()
			e.GET("/ws", echo.WrapHandler(s.route))
			return e
		},
	}, {
		name: "echo v4: handler with c.Response()",
		path: "/rooms/7/ws",
		build: func(s *site) http.Handler {
			e := echo.New()
			e.GET("/rooms/:room/ws", func(c echo.Context) error {
				c.Response().Header().Set("X-Room", c.Param("room"))
				s.route(c.Response(), c.Request())
				return nil
			})
			return e
		},
		headers: []string{"X-Room: 7"},
	}, {
		name: "echo v5: WrapHandler",
		path: "/rooms/7/ws",
		build: func(s *site) http.Handler {
			e := echo5.New()
			e.GET("/rooms/:room/ws", echo5.WrapHandler(s.route))
			return e
		},
	}, {
		name: "huma on chi",
		build: func(s *site) http.Handler {
			r := chi.NewRouter()
			humaRoute(s, humachi.New(r, huma.DefaultConfig("", "")), humachi.Unwrap)
			return r
		},
	}, {
		name: "huma on http.ServeMux",
		build: func(s *site) http.Handler {
			mux := http.NewServeMux()
			humaRoute(s, humago.New(mux, huma.DefaultConfig("", "")), humago.Unwrap)
			return mux
		},
	}, {
		name: "go-restful",
		build: func(s *site) http.Handler {
			return restfulContainer(s, false)
		},
	}, {
		name:  "go-restful: content encoding",
		plain: "works; server log: response.Write on hijacked connection",
		bare:  "works; server log: response.Write on hijacked connection",
		build: func(s *site) http.Handler {
			return restfulContainer(s, true)
		},
		reports: []report{{"Write", "", "restful/v3.(*CompressingResponseWriter).Close"}},
	}, {
		name: "negroni: Recovery, Logger",
		bare: "works; logged with another status",
		build: func(s *site) http.Handler {
			logger := negroni.NewLogger()
			logger.ALogger = printer{s}
			n := negroni.New(negroni.NewRecovery(), logger)
			n.UseHandler(behind()(s))
			return n
		},
		logged: "| 101 |",
	},
}

func restfulContainer(s *site, encode bool) http.Handler {
	container := restful.NewContainer()
	container.EnableContentEncoding(encode)
	service := new(restful.WebService)
	service.Route(service.GET("/ws").To(func(r *restful.Request, w *restful.Response) {
		s.route(w, r.Request)
	}))
	return container.Add(service)
}

func setHeader(k, v string) mw {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(k, v)
			next.ServeHTTP(w, r)
		})
	}
}
