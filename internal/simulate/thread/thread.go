// Package thread runs a function on an operating system thread that is thrown away afterwards, so that the function may
// enter namespaces and drop capabilities without any other part of the program being affected.
package thread

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Sacrifice runs f on a thread of its own, waits for it, and returns its error. The thread ends with f.
//
// The function never runs on the program's main thread: that one cannot be ended, and what it is in shows as /proc/self.
func Sacrifice(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// While this goroutine holds the main thread, the next one gets another.
			err := Sacrifice(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		// A goroutine that ends without unlocking takes its thread along.
		done <- f()
	}()
	return <-done
}
