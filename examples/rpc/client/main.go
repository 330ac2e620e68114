// Command client sends its time to the server every second. Ctrl-C says bye.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/seed412db446/ws/examples/rpc"
)

func main() {
	url := flag.String("url", "http://127.0.0.1:8787", "the server's address")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	rpc.Run(ctx, *url, func(s string) { fmt.Println(s) })
}
