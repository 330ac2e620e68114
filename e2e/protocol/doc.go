// Package protocol holds the protocol's rules as a table of cases, written from RFC 6455 (the
// WebSocket protocol), RFC 7692 (permessage-deflate) and RFC 3629 (UTF-8). Every case sends bytes
// and says what must come back. It has tests only; package raw is the frame client that they use.
package protocol
