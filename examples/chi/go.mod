module github.com/seed412db446/ws/examples/chi

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/go-chi/chi/v5 v5.5.0
	github.com/seed412db446/ws v0.0.0
)

require github.com/klauspost/compress v1.20.4 // indirect

replace github.com/seed412db446/ws => ../..
