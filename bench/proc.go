//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what the system has charged to the process so far, in both user and
// kernel mode. It is the process' own clock, see clock_getcpuclockid(3):
// /proc/PID/stat has the same time, but cut to 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// memory is the process' resident memory without files, in bytes. Pages of the
// program itself come and go as they are touched and say nothing about connections.
func memory(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "RssAnon:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no RssAnon", pid)
}

// raiseFileLimit allows this process, and those it starts, as many open files as
// the system lets it have.
func raiseFileLimit() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("raising the limit of open files: %w", err)
	}
	return nil
}

// needFiles says early, and in words, that the limit is too low for n connections.
func needFiles(n int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if need := uint64(n + 100); l.Cur < need {
		return fmt.Errorf("%d connections need %d open files, but the limit is %d: raise it with ulimit -Hn", n, need, l.Cur)
	}
	return nil
}

// exhausted says in words what has run out on this machine, if that is what err is about.
func exhausted(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("no file descriptor is left: raise the limit with ulimit -Hn, or fs.file-max: %w", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("no local port is left: widen net.ipv4.ip_local_port_range: %w", err)
	}
	return err
}
