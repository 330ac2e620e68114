module github.com/seed412db446/ws/examples/msgpack

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/seed412db446/ws v0.0.0
	github.com/vmihailenco/msgpack/v5 v5.4.1
)

require (
	github.com/klauspost/compress v1.20.4 // indirect
	github.com/vmihailenco/tagparser/v2 v2.0.0 // indirect
)

replace github.com/seed412db446/ws => ../..
