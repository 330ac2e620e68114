// Package stream runs golang.org/x/net/nettest's TestConn on ws.Stream.
package stream
