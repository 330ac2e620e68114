//go:build (!unix && !js) || aix

package ws

import "errors"

const canNotWait = false

var eagain = errors.ErrUnsupported

// Here a socket can't be written to or read without waiting: plainSocket finds none.
func send(uintptr, []byte, []byte) (int, error) { return 0, eagain }
func recv(uintptr, []byte) (int, error)         { return 0, eagain }
func unsent(uintptr) (int, bool)                { return 0, false }
func hungUp(uintptr) bool                       { return false }

// freeRoom is not told.
func freeRoom(uintptr) int { return 0 }
