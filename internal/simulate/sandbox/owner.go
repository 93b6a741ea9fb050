package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Owner returns the mark of this process for what it makes: its pid and start time, so that a pid used again by another
// process is not taken for the owner.
func Owner() (string, error) {
	pid := os.Getpid()
	start, err := startTicks(pid)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", pid, start), nil
}

// OwnerAlive reports whether the process that owner names still runs. A mark it cannot read counts as dead.
func OwnerAlive(owner string) bool {
	p, s, ok := strings.Cut(owner, ":")
	if !ok {
		return false
	}
	pid, err := strconv.Atoi(p)
	if err != nil || pid <= 0 {
		return false
	}
	want, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return false
	}
	got, err := startTicks(pid)
	return err == nil && got == want
}

// startTicks reads field 22 of /proc/PID/stat (proc_pid_stat(5)). The name in field 2 may hold spaces and parentheses.
func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("reading start time of process %d: short stat line", pid)
	}
	if fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}
