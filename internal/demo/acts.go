package demo

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// threatAddress is on the demo's list: an address that RFC 5737 reserves for documentation, so that it is nobody's.
const threatAddress = "198.51.100.23"

// act is one attack of the story: a technique of a reproduction.
type act struct {
	findingType string
	what        string
	run         func(ctx context.Context, c sandbox.Container) (at time.Time, err error)
}

// acts returns the attacks of the story, in its order: the first technique of each type that this machine's image can do.
func (s *story) acts() []act {
	story := []struct{ findingType, what string }{
		{"Backdoor:Runtime/C&CActivity.B", "A process connects to " + threatAddress + "."},
		{"PrivilegeEscalation:Runtime/DockerSocketAccessed", "A process connects to /var/run/docker.sock."},
		{"Execution:Runtime/NewBinaryExecuted", "A binary that was written after the container started is executed."},
		{"Execution:Runtime/ReverseShell", "A shell is opened on an outbound connection, over loopback."},
		{"Backdoor:Runtime/C&CActivity.B!DNS", "A process asks for the address of a command-and-control name."},
		{"DefenseEvasion:Runtime/ProcessInjection.Ptrace", "A process attaches to another one and writes its memory."},
	}
	acts := make([]act, len(story))
	for i, a := range story {
		acts[i] = act{findingType: a.findingType, what: a.what, run: func(ctx context.Context, c sandbox.Container) (time.Time, error) {
			return attackOnce(ctx, c, a.findingType)
		}}
	}
	return acts
}

// target is what the demo's lists call hostile.
func target() simulate.Target {
	return simulate.Target{Address: netip.MustParseAddr(threatAddress)}
}

// attackOnce does the first technique for the type that can be done, and returns the time of its first system call.
func attackOnce(ctx context.Context, c sandbox.Container, findingType string) (time.Time, error) {
	r, ok := simulate.For(findingType)
	if !ok {
		return time.Time{}, fmt.Errorf("there is no reproduction")
	}
	skipped := ""
	for _, t := range r.Techniques {
		result, err := t.Run(ctx, c, target())
		if err != nil {
			return time.Time{}, fmt.Errorf("attacking by %s: %w", t.Name, err)
		}
		if result.Skipped != "" {
			skipped = result.Skipped
			continue
		}
		at, ok := result.First()
		if !ok {
			return time.Time{}, fmt.Errorf("attacking by %s: no system call was reported", t.Name)
		}
		return at, nil
	}
	return time.Time{}, fmt.Errorf("no technique can be done here: %s", skipped)
}
