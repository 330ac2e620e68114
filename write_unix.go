//go:build unix

package ws

import "syscall"

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
