//go:build js && wasm

// Command page is the client in Go, in the browser. The server builds it.
package main

import (
	"context"
	"fmt"
	"syscall/js"

	"github.com/seed412db446/ws/examples/rpc"
)

func main() {
	document := js.Global().Get("document")
	log := document.Call("getElementById", "log")
	leave := document.Call("getElementById", "leave")
	print := func(s string) { log.Call("append", s+"\n") }

	ctx, cancel := context.WithCancel(context.Background())
	click := js.FuncOf(func(js.Value, []js.Value) any {
		leave.Set("disabled", true)
		cancel()
		return nil
	})
	leave.Call("addEventListener", "click", click)
	leave.Set("disabled", false)

	err := rpc.Run(ctx, js.Global().Get("location").Get("origin").String(), print)
	leave.Set("disabled", true)
	print(fmt.Sprint("ended: ", err))
}
