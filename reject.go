package ws

import (
	"errors"
	"fmt"
	"net/http"
)

// Factory makes the callbacks of one connection: its closure is the
// connection's state. It runs when the handshake is known to be good and before
// any byte of the answer. What it sets on w's header goes out with the 101. It
// chooses a subprotocol by setting Sec-WebSocket-Protocol to one that the client
// offered (see [Subprotocols]), and none by deleting it.
//
// It refuses with [Reject]; any other error is a 500 that tells the client
// nothing more. If it answers the request itself, that answer stands. The
// handshake may still fail after it, and then its Events are dropped: acquire
// resources in OnOpen.
type Factory func(w http.ResponseWriter, r *http.Request) (Events, error)

// Reject returns an error with which a Factory refuses a handshake. status (300
// to 599, others become a 500) and reason reach the client, with the headers that
// were set. Browsers hide both from the page, unless Upgrader.RejectWithClose is set.
func Reject(status int, reason string) error {
	return &HandshakeError{Status: status, Err: errors.New(reason), kind: rejection}
}

// HandshakeError is the error of a handshake that failed or was refused, on either end.
type HandshakeError struct {
	Status int         // of the answer; 0 if there was none
	Err    error       // why
	Header http.Header // of the answer, when dialling; nil on the server

	kind handshakeErrorKind
	hint string // for the log, once for each route: what to do about it
	from error  // what the Factory returned, if it refused
}

// handshakeErrorKind tells what a HandshakeError means: an upstream's, which a
// Factory passes on, is no refusal, and one that a callback returns is a
// callback's error.
type handshakeErrorKind int

const (
	dialled    handshakeErrorKind = iota // or made by somebody else
	rejection                            // Reject's
	refusal                              // what a handshake on this server ended with
	impossible                           // the browser does not even try
)

func (e *HandshakeError) Error() string {
	s := "ws: the handshake failed"
	if e.Status != 0 {
		s = fmt.Sprintf("ws: the handshake was refused with %d", e.Status)
	}
	if e.Err == nil || e.Err.Error() == "" {
		return s
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns what the Factory returned, if it refused, and else Err.
func (e *HandshakeError) Unwrap() error {
	if e.from != nil {
		return e.from
	}
	return e.Err
}
