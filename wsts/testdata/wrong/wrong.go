// Package wrong has a mistake in each line with a comment that begins with want.
package wrong

import (
	"os"
	"time"
	"unsafe"

	"github.com/seed412db446/ws"
)

// In is received.
type In struct {
	Deep  []map[string]*Deep
	Done  chan int           // want the route Chat: wrong.In.Done: chan int can't be JSON: leave it out by the tag `json:"-"`
	Off   func()             `json:"-"`
	Keys  map[bool]int       // want the route Chat: wrong.In.Keys: a map with keys of type bool can't be JSON
	Keys2 map[float64]string // want the route Chat: wrong.In.Keys2: a map with keys of type float64 can't be JSON
	Keys3 map[any]string     // want the route Chat: wrong.In.Keys3: a map with keys of type any can't be JSON
	Own   chan int           `tstype:"number"` // want the route Chat: wrong.In.Own: chan int can't be JSON
	Inner struct {
		F func(int) error // want the route Chat: wrong.In.Inner.F: func(int) error can't be JSON
	}
	Timer *time.Timer
	Page  Page[func()] // want the route Chat: wrong.In.Page: func() can't be JSON
}

// Page is generic.
type Page[T any] struct{ V T }

// Deep is below.
type Deep struct {
	Number  complex128     // want the route Chat: wrong.In.Deep.Number: complex128 can't be JSON
	Pointer unsafe.Pointer // want the route Chat: wrong.In.Deep.Pointer: unsafe.Pointer can't be JSON
	Again   *Deep
}

// Move is a command.
type Move struct{}

// Command is implemented by nothing.
type Command interface{ command() }

var (
	path = "/" + os.Args[0]
	key  = path
	list = []any{Move{}}

	Chat    = ws.Route[In, string]{Path: "/chat"}
	Dynamic = ws.Route[string, string]{Path: path}                                 // want the Path of the route Dynamic is no constant expression
	Zero    ws.Route[string, string]                                               // want the route Zero is no literal
	Made    = make()                                                               // want the route Made is no literal
	A, B    = pair()                                                               // want the route A is no literal // want the route B is no literal
	Empty   = ws.Route[string, string]{}                                           // want the route Empty has no Path
	Open    = ws.Route[string, string]{Path: "/{a"}                                // want the Path of the route Open: a wildcard of "/{a" does not end
	Method  = ws.Route[string, string]{Path: "GET /"}                              // want the Path of the route Method: "GET /" does not begin with a slash
	Key     = ws.Route[Move, Move]{Path: "/", Codec: ws.Tagged(key, Move{})}       // want Tagged of the route Key: the key must be a constant
	Spread  = ws.Route[Move, Move]{Path: "/", Codec: ws.Tagged("type", list...)}   // want Tagged of the route Spread: the key must be a constant
	None    = ws.Route[Move, Command]{Path: "/", Codec: ws.Tagged("type", Move{})} // want the route None: none of the types given to Tagged is a wrong.Command
	Nobody  = ws.Route[Move, Move]{Path: "/", Codec: ws.Tagged("type")}            // want the route Nobody: none of the types given to Tagged is a wrong.Move
	Good    = ws.Route[chan<- int, string]{Path: "/"}                              // want the route Good: In: chan<- int can't be JSON
)

func make() ws.Route[string, string] { return ws.Route[string, string]{Path: "/made"} }

func pair() (a, b ws.Route[string, string]) { return make(), make() }
