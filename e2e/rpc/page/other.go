//go:build !(js && wasm)

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "page runs in the browser: build it with GOOS=js GOARCH=wasm")
	os.Exit(1)
}
