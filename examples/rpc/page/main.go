//go:build js && wasm

// Command page is the client in the browser. The server builds it.
package main

import (
	"context"
	"syscall/js"

	"github.com/seed412db446/ws/examples/rpc"
)

func main() {
	document := js.Global().Get("document")
	log := document.Call("getElementById", "log")
	bye := document.Call("getElementById", "bye")

	ctx, cancel := context.WithCancel(context.Background())
	click := js.FuncOf(func(js.Value, []js.Value) any {
		bye.Set("disabled", true)
		cancel()
		return nil
	})
	bye.Call("addEventListener", "click", click)
	bye.Set("disabled", false)

	rpc.Run(ctx, js.Global().Get("location").Get("origin").String(), func(s string) {
		log.Call("append", s+"\n")
	})
}
