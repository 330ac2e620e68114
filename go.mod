module github.com/seed412db446/ws

go 1.25.0

require github.com/coder/websocket v1.8.15

require github.com/klauspost/compress v1.20.4
