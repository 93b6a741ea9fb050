package thread

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSacrificeNeverTakesTheMainThread floods the scheduler, so that some goroutines do start on the main thread.
func TestSacrificeNeverTakesTheMainThread(t *testing.T) {
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			err := Sacrifice(func() error {
				if unix.Gettid() == os.Getpid() {
					return errors.New("ran on the main thread")
				}
				// What is done to the thread must not be seen by anybody else.
				return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 200 {
		wg.Go(func() {
			v, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
			if err != nil || v != 0 {
				t.Errorf("a sacrificed thread is used again (%d, %v)", v, err)
			}
		})
	}
	wg.Wait()
}

func TestSacrificeReturnsTheError(t *testing.T) {
	want := errors.New("no")
	if err := Sacrifice(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
}
