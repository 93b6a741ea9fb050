package ebpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// tracefs is the kernel's directory of tracepoints, which tells the number under which each is attached.
type tracefs struct{ dir *os.File }

// openTracefs opens tracefs where it is mounted, or else makes a mount of it that no other process sees and that ends with
// the descriptor: containers and small systems do not have it mounted.
func openTracefs() (*tracefs, error) {
	for _, name := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(name + "/events/syscalls"); err == nil {
			dir, err := os.Open(name)
			if err != nil {
				return nil, fmt.Errorf("opening tracefs: %w", err)
			}
			return &tracefs{dir}, nil
		}
	}
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("tracefs is not mounted and cannot be opened: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("tracefs is not mounted and cannot be created: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, fmt.Errorf("tracefs is not mounted and cannot be: %w", err)
	}
	return &tracefs{os.NewFile(uintptr(mount), "tracefs")}, nil
}

func (t *tracefs) close() error { return t.dir.Close() }

// id returns the number of a tracepoint. The error is fs.ErrNotExist where the kernel has no such tracepoint.
func (t *tracefs) id(group, name string) (uint64, error) {
	path := "events/" + group + "/" + name + "/id"
	fd, err := unix.Openat(int(t.dir.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// perfLink is a program attached to a tracepoint: the perf event and the link that ties the program to it.
type perfLink struct {
	event int
	link  *link.RawLink
}

// Close implements [io.Closer].
func (l *perfLink) Close() error {
	return errors.Join(l.link.Close(), unix.Close(l.event))
}

func attachTracepoint(t *tracefs, group, name string, p *ebpf.Program) (io.Closer, error) {
	id, err := t.id(group, name)
	if err != nil {
		return nil, err
	}
	attr := unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_TRACEPOINT,
		Config:      id,
		Sample_type: unix.PERF_SAMPLE_RAW,
		Sample:      1,
		Wakeup:      1,
	}
	// The program runs on every CPU, whichever one the event is opened for.
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("opening the perf event: %w", err)
	}
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: p, Attach: ebpf.AttachPerfEvent})
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("linking the perf event: %w", err)
	}
	pl := &perfLink{event: fd, link: l}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("enabling the perf event: %w", err), pl.Close())
	}
	return pl, nil
}
