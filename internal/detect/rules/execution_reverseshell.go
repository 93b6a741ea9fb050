package rules

import (
	"fmt"
	"net/netip"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// reverseShell is Execution:Runtime/ReverseShell: a shell that takes its commands from a TCP or UDP connection that was made
// from inside. Four shapes are recognised:
//
//  1. A shell, or an interpreter without a script, is executed with the connection as its standard input or output
//     (bash -i >& /dev/tcp/…, nc -e, dup2 and exec in any language). So is any other program that has the connection as both,
//     if it or an ancestor was seen to connect there.
//  2. A shell that has itself connected starts programs that answer into the connection
//     (exec 5<>/dev/tcp/…; while read l; do $l >&5 2>&5; done).
//  3. A shell reads from and writes to pipes that lead, in a circle, through a process that has connected
//     (mkfifo f; sh <f | nc … >f, and telnet | sh | telnet).
//  4. A process that has connected starts, or has just started, a shell that reads its commands from a new pseudo-terminal, pipe
//     or socket pair (pty.spawn, socat exec:…,pty, ncat -e, a shell driven by a thread), also when it forks twice for it.
//
// What stays quiet: a shell on a connection that came in (a bind shell, inetd, rshd: the local port was bound to listen, or
// looks like it where nobody saw it), a script that tests a port with /dev/tcp, `curl | sh`, a pipeline that ends in nc,
// sessions of sshd and of ECS Exec, docker exec, and a shell that inherits the terminal of the program that starts it.
//
// State per place: the last 128 processes that connected, the last 32 shells that shapes 3 and 4 could still complete, the
// last 256 ports bound; 2048 places.
func reverseShell() detect.Rule {
	places := newPlaces()
	return detect.Rule{
		Type: "Execution:Runtime/ReverseShell",
		Pattern: `{"$or":[
			{"kind":["exec"],"errno":[0]},
			{"kind":["connect"],"connect":{"addressFamily":[2,10]}},
			{"kind":["bind"],"errno":[0],"bind":{"addressFamily":[2,10]}}]}`,
		Detect: func(m *detect.Match) bool {
			switch m.Event.Kind {
			case event.KindBind:
				if port := m.Event.Bind.Local.Port(); port != 0 {
					places.of(m, true).bind(port)
				}
			case event.KindConnect:
				return places.connected(m)
			case event.KindExec:
				return places.executed(m)
			}
			return false
		},
	}
}

// freshness is how long shape 4 looks back: the time between a process connecting and its starting a shell, or the other
// way round. Intruders do both at once; servers that live for days and once start a shell do not.
const freshness = 60e9

// executed looks at a program that was started.
func (ps *places) executed(m *detect.Match) bool {
	p := m.Process
	shell := m.Facts.Shell(p)
	commands := (shell || interpreter(p)) && readsCommands(p, shell)
	onSocket := connected(p.Stdin) || connected(p.Stdout)
	parentShell := connected(p.Stdout) && p.Parent != nil && m.Facts.Shell(p.Parent)
	if !onSocket && !commands {
		return false
	}
	s := ps.of(m, commands)
	if s == nil {
		s = &nowhere
	}
	switch {
	case connected(p.Stdin) && (shell || commands):
		// The shell inside a shell on the same connection is not a second reverse shell.
		if p.Parent != nil && m.Facts.Shell(p.Parent) && sameSocket(p.Stdin, p.Parent.Stdin) || !s.outbound(p.Stdin) {
			return false
		}
		describeShell(m, p, p.Stdin.Local, p.Stdin.Remote, s.protocol(p.Stdin.Remote), "Its standard input is the connection itself.")
		return true
	case connected(p.Stdout) && commands && p.Stdin.Kind != event.StdioTTY && p.Stdin.Kind != event.StdioFile:
		if !s.outbound(p.Stdout) {
			return false
		}
		describeShell(m, p, p.Stdout.Local, p.Stdout.Remote, s.protocol(p.Stdout.Remote), "Its standard output is the connection itself.")
		return true
	case connected(p.Stdin) && sameSocket(p.Stdin, p.Stdout):
		for a := range p.Ancestors {
			if sameSocket(a.Stdin, p.Stdin) {
				return false // A command typed into a shell that was reported when it started.
			}
		}
		if !s.dialledBy(p, p.Stdin.Remote) {
			return false
		}
		describeShell(m, p, p.Stdin.Local, p.Stdin.Remote, s.protocol(p.Stdin.Remote), "Its standard input and output are the connection itself.")
		return true
	case parentShell && !dataMover(p):
		d := s.dialer(p.Parent.UUID)
		if d == nil || !d.reached(p.Stdout.Remote) || sameSocket(p.Parent.Stdin, p.Stdout) {
			return false
		}
		m.Process = p.Parent
		describeShell(m, p.Parent, p.Stdout.Local, p.Stdout.Remote, d.protocol,
			"It made the connection itself and starts programs, such as "+detect.Name(p)+", that answer into it.")
		return true
	}
	if !commands || p.Stdin.Kind == event.StdioFile || p.Stdin.Kind == event.StdioClosed {
		return false
	}
	if d, how := s.match(p, m.Event.Time); d != nil {
		describeShell(m, p, d.local, d.remote(), d.protocol, how)
		return true
	}
	s.remember(p, m.Event.Time)
	return false
}

// connected looks at a process that has connected, or is doing so. Nobody sends commands over an attempt that failed.
func (ps *places) connected(m *detect.Match) bool {
	if m.Failed() {
		return false
	}
	c := m.Event.Connect
	protocol := detect.Protocol(c)
	if protocol != protocolTCP && !(protocol == protocolUDP && m.Facts.Shell(m.Process)) || c.Remote.Port() == 0 {
		return false // Resolver libraries connect UDP sockets all day.
	}
	s := ps.of(m, true)
	d := s.dial(m.Process, c, protocol, m.Event.Time)
	if protocol != protocolTCP {
		return false
	}
	for i := range s.shells {
		shell := &s.shells[i]
		how := s.drives(d, shell.process, shell.at, m.Event.Time)
		if how == "" {
			continue
		}
		m.Process = shell.process
		s.shells = append(s.shells[:i], s.shells[i+1:]...)
		describeShell(m, m.Process, d.local, d.remote(), protocol, how)
		return true
	}
	return false
}

func describeShell(m *detect.Match, p *event.Process, local, remote netip.AddrPort, protocol uint16, how string) {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	m.Object = remote.Addr().String()
	m.Action = detect.Connection(local, remote, protocol, "OUTBOUND")
	m.Context = finding.Context{AddressFamily: detect.FamilyName(remote.Addr()), IANAProtocolNumber: int(protocol)}
	m.Description = fmt.Sprintf("The %s takes commands over a connection that was made from inside to %s. %s Whoever is at the "+
		"other end can run anything that this user may, and firewalls that stop connections from outside do not stop this. "+
		"Look at the process that started it (its lineage) for the way in, and isolate the container.",
		m.Who(p), remote, how)
}

// match returns the dialer that drives the shell p, if one is known, and how.
func (s *shellPlace) match(p *event.Process, at int64) (*dialer, string) {
	for i := range s.dialers {
		if how := s.drives(&s.dialers[i], p, at, at); how != "" {
			return &s.dialers[i], how
		}
	}
	return nil, ""
}

// drives says how the process behind d drives the shell p, which started at the time started; "" if it does not.
func (s *shellPlace) drives(d *dialer, p *event.Process, started, now int64) string {
	in, out := pipe(p.Stdin), pipe(p.Stdout)
	if in != 0 && out != 0 && d.stdin == out && d.stdout != 0 {
		switch {
		case d.stdout == in, d.stdout != d.parentStdout && d.parentKnown:
			return "It is tied to the connection by pipes in a circle."
		}
	}
	if in != 0 && out != 0 && (d.stdin == out || d.stdout == in) {
		for i := range s.dialers {
			if o := &s.dialers[i]; o != d && (d.stdin == out && o.stdout == in || d.stdout == in && o.stdin == out) {
				return "It reads from one connection and writes to another, by pipes."
			}
		}
	}
	if !startedBy(p, d.uuid) || d.shell || d.session || abs(now-d.at) > freshness || abs(now-started) > freshness {
		return ""
	}
	if p.Stdout.Kind == event.StdioFile || p.Stdout.Kind == event.StdioClosed || inherited(p) {
		return ""
	}
	return "The process that started it, " + finding.Quote(d.name) + ", made the connection and gave the shell a " + stdioWord(p.Stdin.Kind) + " of its own."
}

func stdioWord(k event.StdioKind) string {
	switch k {
	case event.StdioTTY:
		return "terminal"
	case event.StdioPipe:
		return "pipe"
	}
	return "channel"
}

// inherited reports whether p has its standard input from its parent rather than having been given a new one. Where that
// cannot be told, it is taken for inherited.
func inherited(p *event.Process) bool {
	if p.Parent == nil {
		return p.Stdin.Kind == event.StdioTTY
	}
	if p.Stdin.Kind != p.Parent.Stdin.Kind {
		return false
	}
	return p.Stdin.Inode == p.Parent.Stdin.Inode
}

// maxForks is how many generations may lie between a process that has connected and the shell it starts.
const maxForks = 3

// startedBy reports whether the process u started p: itself, or by copies of itself that changed no program in between, as
// who forks twice to be rid of its child does.
func startedBy(p *event.Process, u event.UUID) bool {
	if parentOf(p) == u {
		return true
	}
	a := p.Parent
	for n := 0; a != nil && n < maxForks; n++ {
		next := a.Parent
		if next == nil || next.ExePath == "" || next.ExePath != a.ExePath || next.Exe.Inode != a.Exe.Inode {
			return false
		}
		if next.UUID == u {
			return true
		}
		a = next
	}
	return false
}

func parentOf(p *event.Process) event.UUID {
	if p.ParentUUID.IsZero() && p.Parent != nil {
		return p.Parent.UUID
	}
	return p.ParentUUID
}

// connected reports whether a stream is an internet socket with a peer.
func connected(s event.Stdio) bool {
	return s.Kind == event.StdioSocket && s.Remote.IsValid() && s.Remote.Port() != 0 && !s.Remote.Addr().IsUnspecified()
}

func sameSocket(a, b event.Stdio) bool {
	return connected(a) && connected(b) && a.Remote == b.Remote && a.Local == b.Local
}

// pipe returns the inode of the pipe or FIFO that a stream is, or 0.
func pipe(s event.Stdio) uint64 {
	if s.Kind == event.StdioPipe {
		return s.Inode
	}
	return 0
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

// interpreters run what they read from standard input when they are given no script.
var interpreters = []string{"python", "perl", "ruby", "lua", "php", "node", "nodejs", "tclsh", "expect", "irb"}

func interpreter(p *event.Process) bool {
	name := p.ExePath[strings.LastIndexByte(p.ExePath, '/')+1:]
	for _, i := range interpreters {
		if rest, ok := strings.CutPrefix(name, i); ok && strings.Trim(rest, "0123456789.-") == "" {
			return true
		}
	}
	return false
}

// readsCommands reports whether a shell or interpreter takes its commands from standard input: it was given neither a
// script nor, with -c or the like, the commands themselves.
func readsCommands(p *event.Process, shell bool) bool {
	if p.ScriptPath != "" || p.ArgsCut {
		return false
	}
	args := p.Args
	if len(args) > 1 && (strings.HasSuffix(args[0], "busybox") || strings.HasSuffix(args[0], "toybox")) {
		args = args[1:]
	}
	inline := "cemrEp" // of interpreters
	if shell {
		inline = "c"
	}
	for i := 1; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-s" && shell, a == "-" && len(args) == i+1:
			return true
		case a == "--rcfile", a == "--init-file", a == "-o", a == "+o", a == "-O", a == "+O":
			i++
		case strings.HasPrefix(a, "--"):
			if strings.HasPrefix(a, "--command") || strings.HasPrefix(a, "--eval") || strings.HasPrefix(a, "--print") {
				return false
			}
		case len(a) > 1 && (a[0] == '-' || a[0] == '+'):
			if strings.ContainsAny(a[1:], inline) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// dataMovers only pass data on: a script that writes a request into a connection with one of them is no shell.
var dataMovers = map[string]bool{
	"cat": true, "echo": true, "printf": true, "tee": true, "dd": true, "head": true, "tail": true, "gzip": true, "base64": true,
	"sed": true, "awk": true, "mawk": true, "gawk": true, "grep": true, "tr": true, "cut": true, "date": true, "sleep": true,
	"timeout": true, "jq": true, "true": true,
}

func dataMover(p *event.Process) bool {
	name := p.ExePath[strings.LastIndexByte(p.ExePath, '/')+1:]
	if (name == "busybox" || name == "toybox" || name == "coreutils") && len(p.Args) > 0 {
		name = p.Args[0][strings.LastIndexByte(p.Args[0], '/')+1:]
	}
	return dataMovers[name] && p.Exe.Origin != event.OriginWritten && p.Exe.Origin != event.OriginMemory
}

// sessions give people a shell on purpose, and make connections of their own for other reasons: to a directory service, or,
// as ECS Exec does, to fetch the session.
var sessions = map[string]bool{
	"sshd": true, "sshd-session": true, "dropbear": true, "login": true, "su": true, "sudo": true, "in.telnetd": true,
	"ssm-session-worker": true, "ssm-agent-worker": true, "amazon-ssm-agent": true, "teleport": true, "tailscaled": true,
	"containerd-shim": true, "containerd-shim-runc-v2": true, "runc": true, "crun": true, "conmon": true, "dockerd": true,
}

// session reports whether p is one of those, and not a program that was written into the container later.
func session(p *event.Process) bool {
	return sessions[p.ExePath[strings.LastIndexByte(p.ExePath, '/')+1:]] &&
		p.Exe.Origin != event.OriginWritten && p.Exe.Origin != event.OriginMemory
}
