//go:build unix

package ws

import (
	"io"
	"syscall"
)

const canReadNow = true

// writeNow writes what the socket takes without waiting, and returns the rest.
func (o *outbox) writeNow(b []byte) ([]byte, error) {
	if o.writeRaw == nil {
		o.writeRaw = func(fd uintptr) bool {
			for len(o.rawBuf) > 0 {
				n, err := syscall.Write(int(fd), o.rawBuf)
				switch err {
				case nil:
					o.rawBuf = o.rawBuf[n:]
				case syscall.EINTR:
				case syscall.EAGAIN:
					return true
				default:
					o.rawErr = err
					return true
				}
			}
			return true
		}
	}
	o.rawBuf, o.rawErr = b, nil
	err := o.raw.Write(o.writeRaw)
	left := o.rawBuf
	o.rawBuf = nil
	if err == nil {
		err = o.rawErr
	}
	return left, err
}

// readNow waits for input without a buffer, and reads it into a pooled one.
func (c *Conn) readNow() error {
	in := &c.in
	if in.readRaw == nil {
		in.readRaw = func(fd uintptr) bool {
			b := buffers.Get().(*[]byte)
			n, err := syscall.Read(int(fd), (*b)[:cap(*b)])
			for err == syscall.EINTR {
				n, err = syscall.Read(int(fd), (*b)[:cap(*b)])
			}
			switch {
			case n > 0:
				in.early, in.pooled, in.rawErr = (*b)[:n], b, nil
				return true
			case err == syscall.EAGAIN:
				putBuffer(b)
				return false
			case err == nil:
				err = io.EOF
			}
			putBuffer(b)
			in.rawErr = err
			return true
		}
	}
	if err := c.out.raw.Read(in.readRaw); err != nil {
		return err
	}
	return in.rawErr
}
