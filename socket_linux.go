//go:build !386 && !s390x

package ws

import (
	"syscall"
	"unsafe"
)

const (
	canNotWait = true
	eagain     = syscall.EAGAIN
)

// send writes of a and then b what the socket takes without waiting, whether its descriptor is a blocking one or not.
func send(fd uintptr, a, b []byte) (int, error) {
	const flags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
	released(fd)
	for {
		var n uintptr
		var err syscall.Errno
		if len(b) == 0 {
			n, _, err = syscall.Syscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(a))), uintptr(len(a)), flags, 0, 0)
		} else {
			n, err = sendBoth(fd, a, b, flags)
		}
		switch err {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, err
		}
	}
}

// sendBoth is not part of send, to keep that one's frame small.
//
//go:noinline
func sendBoth(fd uintptr, a, b []byte, flags uintptr) (uintptr, syscall.Errno) {
	v := [2]syscall.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	v[0].SetLen(len(a))
	v[1].SetLen(len(b))
	m := syscall.Msghdr{Iov: &v[0], Iovlen: 2}
	n, _, err := syscall.Syscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&m)), flags)
	return n, err
}

// recv reads what has come without waiting.
func recv(fd uintptr, p []byte) (int, error) {
	for {
		n, _, err := syscall.Syscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
		switch err {
		case 0:
			acquired(fd)
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, err
		}
	}
}

// unsent returns how many bytes the peer has not acknowledged.
func unsent(fd uintptr) (int, bool) {
	var n int32
	_, _, err := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n))) // SIOCOUTQ
	return int(n), err == 0
}

// freeRoom returns how many bytes the socket certainly takes without waiting, with the system's overhead.
func freeRoom(fd uintptr) int {
	const soMeminfo, sndbuf, wmemQueued = 55, 3, 5 // linux/sock_diag.h
	var m [9]uint32
	size := uint32(unsafe.Sizeof(m))
	_, _, err := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soMeminfo, uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&size)), 0)
	if err != 0 || m[wmemQueued] >= m[sndbuf] || poll(fd, pollOut) != pollOut {
		return 0
	}
	return int(m[sndbuf] - m[wmemQueued])
}

// hungUp reports whether the peer has closed its end or reset the connection.
func hungUp(fd uintptr) bool { return poll(fd, pollRDHup) != 0 }

const pollOut, pollRDHup = 0x4, 0x2000

// poll returns which of events, or an error or a hang-up, there are now.
func poll(fd uintptr, events int16) int16 {
	p := struct {
		fd              int32
		events, revents int16
	}{int32(fd), events, 0}
	var now syscall.Timespec
	if _, _, err := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0); err != 0 {
		return 0
	}
	return p.revents
}
