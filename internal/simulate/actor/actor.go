// Package actor is what the running program becomes inside a simulation's container: the quiet application, or one attack.
//
// In goes an argument vector; out come, on standard output, one line per interesting system call with the time just before
// it (see [Call]). An actor touches only the container it runs in, and refuses to run outside of one.
package actor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Argument is the first argument of an actor's command line.
const Argument = "simulate-actor"

// marker is the file that shows an actor that it is in a simulation's container.
const marker = "/etc/vedette-sim"

// Call is one system call that an attack made.
type Call struct {
	At     int64  `json:"at"`     // CLOCK_REALTIME just before the call, nanoseconds since 1970
	Name   string `json:"call"`   // connect, execve, ptrace …
	Object string `json:"object"` // what it was aimed at
	Error  string `json:"error,omitempty"`
	PID    int    `json:"pid"` // in the container's pid namespace
}

// Time returns when the call was made.
func (c Call) Time() time.Time { return time.Unix(0, c.At).UTC() }

// callPrefix starts the lines of output that hold a Call.
const callPrefix = "@call "

// ParseCalls finds the calls in an actor's output. Other lines, and lines that are damaged, are left out.
func ParseCalls(output []byte) []Call {
	var calls []Call
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<16)
	for lines.Scan() {
		text, ok := bytes.CutPrefix(lines.Bytes(), []byte(callPrefix))
		var c Call
		if ok && json.Unmarshal(text, &c) == nil && c.At > 0 {
			calls = append(calls, c)
		}
	}
	return calls
}

// now returns CLOCK_REALTIME.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &t); err != nil {
		panic(err) // It cannot fail with these arguments.
	}
	return t.Nano()
}

// report prints what was done at the given time. It is one write, so that lines of several processes do not mix.
func report(at int64, name, object string, err error) {
	c := Call{At: at, Name: name, Object: object, PID: os.Getpid()}
	var errno unix.Errno
	if errors.As(err, &errno) {
		c.Error = unix.ErrnoName(errno)
	} else if err != nil {
		c.Error = err.Error()
	}
	os.Stdout.Write(c.line())
}

// line returns how a Call is printed.
func (c Call) line() []byte {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // A struct of numbers and strings can be marshalled.
	}
	return []byte(callPrefix + string(text) + "\n")
}

// roles are the actors.
var roles = map[string]func(args []string) error{
	"serve": serve, "ready": ready, "ask": askApplication,
	"connect": connect, "unix": connectUnix, "say": say, "tor": tor, "dns": lookup, "dga": generated,
	"drop": drop, "sample": sample, "stand-in": standIn, "fileless": fileless, "library": library,
	"reverse-shell": reverseShell, "shell": shellOnSocket, "netcat": netcat, "service": service,
	"inject": inject, "victim": victim, "tracer": tracer, "antidebug": antidebug,
	"kernel": kernel, "escape": escape, "setuid": setuid, "intruder": intruder,
}

// MaybeRun runs the actor that the command line names, and does not return then. Otherwise it does nothing.
func MaybeRun() {
	if len(os.Args) < 2 || os.Args[1] != Argument {
		return
	}
	if err := run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "vedette:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(args []string) error {
	if _, err := os.Stat(marker); err != nil {
		return errors.New("an attack runs only in a container that `vedette simulate` made")
	}
	if len(args) == 0 {
		return errors.New("no attack is named")
	}
	role, ok := roles[args[0]]
	if !ok {
		var names []string
		for name := range roles {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("no attack %q: there are %s", args[0], strings.Join(names, ", "))
	}
	return role(args[1:])
}
