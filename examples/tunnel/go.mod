module github.com/seed412db446/ws/examples/tunnel

go 1.25.0

require (
	github.com/hashicorp/yamux v0.1.2
	github.com/seed412db446/ws v0.0.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
)

replace github.com/seed412db446/ws => ../..
