//go:build !unix && !js

package ws

import "errors"

// writeNow writes nothing where a socket can't be written to without waiting.
func (o *outbox) writeNow(b []byte) ([]byte, error) { return b, nil }

const canReadNow = false

func (c *Conn) readNow() error { return errors.ErrUnsupported }
