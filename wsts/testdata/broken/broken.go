// Package broken does not compile.
package broken

import "github.com/seed412db446/ws"

var Chat = ws.Route[string, Missing]{Path: "/"}
