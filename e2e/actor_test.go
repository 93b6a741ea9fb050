package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// actor is what the test binary does when a test runs it again as an attacker: connect to an address a number of times.
func actor() bool {
	address := os.Getenv("VEDETTE_E2E_CONNECT")
	if address == "" {
		return false
	}
	times, _ := strconv.Atoi(os.Getenv("VEDETTE_E2E_TIMES"))
	pause, _ := time.ParseDuration(os.Getenv("VEDETTE_E2E_PAUSE"))
	for range times {
		if c, err := net.DialTimeout("udp", address, time.Second); err == nil {
			c.Close()
		}
		time.Sleep(pause)
	}
	return true
}

// connects starts a process that connects to a listed address. It runs in a network namespace of its own without any
// interface, so no packet can leave: the attempts fail at once with ENETUNREACH. It starts inside the cgroup.
func connects(t *testing.T, scope cgroup, address string, times int, pause time.Duration) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "VEDETTE_E2E_CONNECT="+address, fmt.Sprintf("VEDETTE_E2E_TIMES=%d", times), "VEDETTE_E2E_PAUSE="+pause.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(scope.dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}
