//go:build unix && (!linux || 386 || s390x) && !aix

package ws

import "syscall"

const (
	canNotWait = true
	eagain     = syscall.EAGAIN
)

// send writes of a and then b what the socket takes without waiting, whether its descriptor is a blocking one or not.
func send(fd uintptr, a, b []byte) (int, error) {
	if len(a) == 0 {
		a = b
	}
	for {
		n, err := syscall.SendmsgN(int(fd), a, nil, nil, syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// recv reads what has come without waiting.
func recv(fd uintptr, p []byte) (int, error) {
	for {
		n, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// unsent is not told.
func unsent(uintptr) (int, bool) { return 0, false }

// hungUp reports whether the peer has closed its end or reset the connection, as far as unread input does not hide it.
func hungUp(fd uintptr) bool {
	n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
	return n == 0 && err == nil || err == syscall.ECONNRESET
}

// freeRoom is not told.
func freeRoom(uintptr) int { return 0 }
