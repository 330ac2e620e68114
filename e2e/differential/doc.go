// Package differential gives the same bytes to ws and to other WebSocket servers and compares what they make of them.
package differential
