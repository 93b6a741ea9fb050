package agent

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// clock turns the kernel's time since boot into wall-clock time.
type clock struct{ offset atomic.Int64 }

// sync takes the difference between the two clocks anew, because the wall clock can be set.
func (c *clock) sync() {
	var boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) == nil {
		c.offset.Store(time.Now().UnixNano() - boot.Nano())
	}
}

// wall returns the wall-clock time of a time since boot, both in nanoseconds. An unknown time stays 0.
func (c *clock) wall(boot uint64) int64 {
	if boot == 0 {
		return 0
	}
	return int64(boot) + c.offset.Load()
}
