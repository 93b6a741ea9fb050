package ebpf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"github.com/cilium/ebpf/link"

	"vedette.dev/vedette/internal/sensor"
)

// Snapshot delivers one record of KindExec for every process that runs now, within the scope: what its exec record would
// say, as far as the kernel still knows. (PID, Start) equals that of the process's later events to the nanosecond, because a
// kernel iterator reads it where the events read it; /proc knows the start only to 10 ms. Only the arguments and the
// loader's variables are read from /proc, and left out where the process is gone by then; they are what the program
// shows now, which it may have changed. Boottime is the time of the snapshot. Kernel threads are left out.
//
// It returns when all are delivered. Call it after New and before Run, so that no process falls between the two; a process that
// started in between is in both.
func (s *Source) Snapshot(ctx context.Context, sink func(*sensor.Record)) error {
	s.snapshotsMu.Lock() // the program has one buffer per CPU
	defer s.snapshotsMu.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return errClosed
	}
	it, err := link.AttachIter(link.IterOptions{Program: s.kernel.snapshot})
	if err != nil {
		return fmt.Errorf("attaching the process iterator: %w", err)
	}
	defer it.Close()
	f, err := it.Open()
	if err != nil {
		return fmt.Errorf("opening the process iterator: %w", err)
	}
	defer f.Close()

	var d decoder
	stream := recordStream{r: bufio.NewReaderSize(f, 64<<10)}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw, err := stream.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the process iterator: %w", err)
		}
		rec, err := d.record(raw)
		if err != nil {
			return fmt.Errorf("process snapshot: %w", err)
		}
		describeFromProc("/proc", rec)
		sink(rec)
	}
}

// recordStream cuts a byte stream into records by the size that each begins with.
type recordStream struct {
	r   io.Reader
	buf []uint64 // uint64 for the alignment that the decoder needs
}

const maxRecord = 32 << 10

func (s *recordStream) next() ([]byte, error) {
	if s.buf == nil {
		s.buf = make([]uint64, maxRecord/8)
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s.buf[0])), maxRecord)
	if _, err := io.ReadFull(s.r, b[:4]); err != nil {
		return nil, err
	}
	size := binary.NativeEndian.Uint32(b)
	if size < 4 || size > maxRecord {
		return nil, fmt.Errorf("record of %d bytes", size)
	}
	if _, err := io.ReadFull(s.r, b[4:size]); err != nil {
		return nil, fmt.Errorf("record of %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	return b[:size], nil
}

const (
	maxArgs = 4096 // as in the kernel's records
	maxEnv  = 64 << 10
)

// describeFromProc adds what only the process's memory knows, if it still is the same process.
func describeFromProc(root string, rec *sensor.Record) {
	dir := filepath.Join(root, strconv.FormatUint(uint64(rec.PID), 10))
	args, cut := readBounded(filepath.Join(dir, "cmdline"), maxArgs)
	env, _ := readBounded(filepath.Join(dir, "environ"), maxEnv)
	ticks, err := startTicks(dir)
	// The kernel rounds down to USER_HZ, which is 100 on all architectures that we build for.
	if err != nil || ticks != rec.Start/1e7 {
		return
	}
	rec.Exec.Args, rec.Exec.ArgsCut = bytes.TrimSuffix(args, []byte{0}), cut
	rec.Exec.Preload, rec.Exec.LibPath = loaderVariables(env)
}

// readBounded returns at most limit bytes of a file, and whether there were more. It returns nothing of what it cannot read.
func readBounded(name string, limit int) (data []byte, cut bool) {
	f, err := os.Open(name)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	data, err = io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, false
	}
	if len(data) > limit {
		return data[:limit], true
	}
	return data, false
}

// startTicks returns the start time in /proc/PID/stat, in units of 10 ms since boot.
func startTicks(dir string) (uint64, error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	return parseStartTicks(stat)
}

// parseStartTicks finds field 22 of a line of /proc/PID/stat. The second field is the name in parentheses, which may hold anything.
func parseStartTicks(stat []byte) (uint64, error) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, errors.New("no name in parentheses")
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) < 20 {
		return 0, errors.New("too few fields")
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}
