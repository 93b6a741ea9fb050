package simulate

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/simulate/actor"
	"vedette.dev/vedette/internal/simulate/rootfs"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// The finding types that can be reproduced.
const (
	typeCandC        = "Backdoor:Runtime/C&CActivity.B"
	typeCandCDNS     = "Backdoor:Runtime/C&CActivity.B!DNS"
	typeDockerSocket = "PrivilegeEscalation:Runtime/DockerSocketAccessed"
	typeNewBinary    = "Execution:Runtime/NewBinaryExecuted"
	typeReverseShell = "Execution:Runtime/ReverseShell"
	typePtraceInject = "DefenseEvasion:Runtime/ProcessInjection.Ptrace"
)

// What the attacks are aimed at inside the container.
const (
	dockerSocket = "/var/run/docker.sock"
	memoryFolder = "/mnt/memory"
	resolver     = "127.0.0.1:53"
	resolver6    = "[::1]:53"
	shellAddress = "127.0.0.1:0"
	servedPort   = 8443
	closedPort   = 4444
)

// Reserved documentation addresses (RFC 5737, RFC 3849), and the name that AWS keeps for testing this finding type.
const (
	defaultAddress  = "198.51.100.23"
	defaultAddress6 = "2001:db8::c2"
	defaultDomain   = "c2.guarddutyc2activityb.com"
)

// Target says what the user's lists call hostile. Empty fields take the defaults: reserved documentation addresses and AWS's
// test name. Whatever is given is bound inside the container, so that no packet leaves it.
type Target struct {
	Address  netip.Addr // IPv4
	Address6 netip.Addr
	Domain   string
}

// Complete fills in the defaults and checks the rest.
func (t Target) Complete() (Target, error) {
	if !t.Address.IsValid() {
		t.Address = netip.MustParseAddr(defaultAddress)
	}
	if !t.Address6.IsValid() {
		t.Address6 = netip.MustParseAddr(defaultAddress6)
	}
	if t.Domain == "" {
		t.Domain = defaultDomain
	}
	if !t.Address.Is4() || !t.Address6.Is6() || t.Address6.Is4In6() || t.Address6.Zone() != "" {
		return t, fmt.Errorf("hostile addresses %v and %v: one IPv4 and one IPv6 address are needed", t.Address, t.Address6)
	}
	if len(t.Domain) > 253 || strings.ContainsFunc(t.Domain, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return t, fmt.Errorf("hostile domain %q is no domain name", t.Domain)
	}
	return t, nil
}

// Spec returns the container that the attacks happen in: a quiet application that also plays the far end of every attack,
// and a network that holds the hostile addresses and reaches nothing. The caller may add labels, mounts and a name.
func Spec(t Target) (sandbox.Spec, error) {
	t, err := t.Complete()
	if err != nil {
		return sandbox.Spec{}, err
	}
	return sandbox.Spec{
		Command: []string{
			rootfs.Executable, actor.Argument, "serve", "--dns", resolver, "--dns", resolver6, "--unix", dockerSocket,
			"--tcp", fmt.Sprintf(":%d", servedPort),
		},
		Tmpfs: []string{memoryFolder},
		Addresses: []netip.Prefix{
			netip.PrefixFrom(t.Address, 32), netip.PrefixFrom(t.Address6, 128), netip.MustParsePrefix("::1/128"),
		},
		Nameservers: []netip.Addr{netip.MustParseAddrPort(resolver).Addr()},
	}, nil
}

// Ready waits until the application in a container made from Spec is ready to be attacked.
func Ready(ctx context.Context, c sandbox.Container) error {
	result, err := c.Exec(ctx, rootfs.Executable, actor.Argument, "ready")
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("waiting for container %s: %s", c.Info().Name, strings.TrimSpace(string(result.Output)))
	}
	return err
}

// Reproduction is how to provoke one finding type.
type Reproduction struct {
	Type       string
	Summary    string
	Techniques []Technique
}

// Technique is one way to do it.
type Technique struct {
	Type    string
	Name    string
	Summary string
	// Evades says what a detection must not rely on to see this technique; "" for an ordinary one.
	Evades string
	// Needs are tools that the image must hold.
	Needs []string

	argv func(Target) []string
	want int // exit code
}

// Result is what a technique did.
type Result struct {
	Type      string        `json:"type"`
	Technique string        `json:"technique"`
	Evades    string        `json:"evades,omitempty"`
	Container string        `json:"containerId"`
	Skipped   string        `json:"skipped,omitempty"` // why it was not tried
	Calls     []actor.Call  `json:"calls"`             // in the order they were made
	Started   time.Time     `json:"startedAt"`
	Took      time.Duration `json:"tookNanos"`
}

// First returns when the first of the attack's system calls was made, and false where none was reported.
func (r Result) First() (time.Time, bool) {
	if len(r.Calls) == 0 {
		return time.Time{}, false
	}
	return r.Calls[0].Time(), true
}

// Run does the attack in a container made from Spec. A technique that needs what the container does not have is skipped and
// says so; an error means that the attack did not really happen.
func (t Technique) Run(ctx context.Context, c sandbox.Container, target Target) (Result, error) {
	r := Result{Type: t.Type, Technique: t.Name, Evades: t.Evades, Container: c.Info().ID, Started: time.Now()}
	target, err := target.Complete()
	if err != nil {
		return r, err
	}
	for _, tool := range t.Needs {
		if got, err := c.Exec(ctx, "sh", "-c", "command -v "+tool); err != nil {
			return r, err
		} else if got.ExitCode != 0 {
			r.Skipped = "the machine has no " + tool
			return r, nil
		}
	}
	got, err := c.Exec(ctx, t.argv(target)...)
	r.Took = time.Since(r.Started)
	r.Calls = actor.ParseCalls(got.Output)
	if err == nil && got.ExitCode != t.want {
		err = fmt.Errorf("exit code %d: %s", got.ExitCode, tail(got.Output))
	}
	if err == nil && len(r.Calls) == 0 {
		err = fmt.Errorf("it reports no system call: %s", tail(got.Output))
	}
	if err != nil {
		return r, fmt.Errorf("%s by %s: %w", t.Type, t.Name, err)
	}
	return r, nil
}

// tail returns the last line or so of an output, for an error message.
func tail(output []byte) string {
	const most = 300
	text := strings.TrimSpace(string(output))
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}

// For returns the reproduction of a finding type.
func For(findingType string) (Reproduction, bool) {
	all := All()
	i := slices.IndexFunc(all, func(r Reproduction) bool { return r.Type == findingType })
	if i < 0 {
		return Reproduction{}, false
	}
	return all[i], true
}

// All returns every reproduction, in the order of the finding types' names.
func All() []Reproduction {
	all := []Reproduction{
		{typePtraceInject, "A process attaches to another one that it did not start, and writes into it.", []Technique{
			{Name: "attach", Summary: "PTRACE_ATTACH and PTRACE_POKEDATA", argv: role("inject", "attach")},
			{Name: "seize", Summary: "PTRACE_SEIZE and PTRACE_POKETEXT", argv: role("inject", "seize")},
			{Name: "registers", Summary: "PTRACE_ATTACH and PTRACE_SETREGSET", argv: role("inject", "registers")},
			{Name: "denied", Summary: "an ordinary user tries PTRACE_ATTACH on a process of root", Evades: "the call's success", argv: role("inject", "denied")},
		}},
		{typeCandC, "A process connects to an address that a threat list holds.", []Technique{
			{Name: "tcp", Summary: "connect(2) that is answered", argv: toAddress("tcp", servedPort)},
			{Name: "tcp-refused", Summary: "connect(2) to a closed port", Evades: "the call's success", argv: toAddress("tcp", closedPort)},
			{Name: "tcp-nonblocking", Summary: "connect(2) on a non-blocking socket", argv: toAddress("nonblock", servedPort)},
			{Name: "tcp6", Summary: "connect(2) over IPv6", argv: toAddress6("tcp", servedPort)},
			{Name: "udp", Summary: "connect(2) on a datagram socket", argv: toAddress("udp", 53)},
			{Name: "tcp-mapped", Summary: "connect(2) to ::ffff:a.b.c.d", Evades: "the address family", argv: toAddress("mapped", servedPort)},
			{Name: "udp-sendto", Summary: "sendto(2) without connect(2)", Evades: "connect(2)", argv: toAddress("sendto", 53)},
			{Name: "tcp-fastopen", Summary: "sendto(2) with MSG_FASTOPEN", Evades: "connect(2)", argv: toAddress("fastopen", servedPort)},
		}},
		{typeCandCDNS, "A process looks up a name that a threat list holds.", []Technique{
			{Name: "udp", Summary: "a question on a connected datagram socket", argv: lookup("udp", resolver, same)},
			{Name: "udp-sendto", Summary: "a question by sendto(2)", argv: lookup("sendto", resolver, same)},
			{Name: "udp6", Summary: "a question over IPv6", argv: lookup("udp", resolver6, same)},
			{Name: "tcp", Summary: "a question over TCP", argv: lookup("tcp", resolver, same)},
			{Name: "getent", Summary: "the C library's resolver", Needs: []string{"getent"}, argv: func(t Target) []string {
				return do("exec", "getent", "ahostsv4", t.Domain)
			}},
			{Name: "nslookup", Summary: "busybox's nslookup", Needs: []string{"nslookup"}, argv: func(t Target) []string {
				return do("exec", "nslookup", "-type=a", t.Domain, netip.MustParseAddrPort(resolver).Addr().String())
			}},
			{Name: "mixed-case", Summary: "a question in mixed case", Evades: "the spelling of the name", argv: lookup("udp", resolver, mixCase)},
			{Name: "subdomain", Summary: "a question for a name below the listed one", Evades: "the exact name", argv: lookup("udp", resolver, func(d string) string { return "x9." + d })},
		}},
		{typeNewBinary, "A file that was written after the container started is executed.", []Technique{
			{Name: "write", Summary: "open(2), write(2), execve(2) in /tmp", argv: role("drop", "write", "/tmp/vedette-drop")},
			{Name: "copy", Summary: "a copy of the image's shell", argv: role("drop", "copy", "/usr/local/bin/updater")},
			{Name: "memory", Summary: "a file on a memory file system, which is no layer of the image", Evades: "the root file system's layers", argv: role("drop", "write", memoryFolder+"/vedette-drop")},
			{Name: "rename", Summary: "written under another name, then renamed", argv: role("drop", "rename", "/tmp/vedette-renamed")},
			{Name: "overwrite", Summary: "a file of the image with another content", argv: role("drop", "overwrite", rootfs.Overwritable)},
			{Name: "execveat", Summary: "execveat(2) of a descriptor, with no path", Evades: "the path", argv: role("drop", "execveat", "/tmp/vedette-execveat"), want: actor.DropExit},
			{Name: "hard-link", Summary: "written under another name, then linked", Evades: "the path", argv: role("drop", "link", "/tmp/vedette-linked")},
		}},
		{typeReverseShell, "A shell takes its commands from a connection that it made itself.", []Technique{
			{Name: "dup", Summary: "connect(2), dup2(2) on all three streams, execve(2) of sh", argv: role("reverse-shell", "dup", shellAddress)},
			{Name: "dup6", Summary: "the same over IPv6", argv: role("reverse-shell", "dup", "[::1]:0")},
			{Name: "bash-tcp", Summary: "bash -i >& /dev/tcp/…", Needs: []string{"bash"}, argv: role("reverse-shell", "bash-tcp", shellAddress)},
			{Name: "bash-descriptor", Summary: "exec 5<>/dev/tcp/…; sh <&5 >&5", Needs: []string{"bash"}, argv: role("reverse-shell", "bash-descriptor", shellAddress)},
			{Name: "fifo-nc", Summary: "sh -i <fifo | nc >fifo", Needs: []string{"nc"}, Evades: "a socket as the shell's standard stream", argv: role("reverse-shell", "fifo-nc", shellAddress)},
			{Name: "fifo-relay", Summary: "the same with a program that is not called nc", Evades: "a socket as the shell's standard stream", argv: role("reverse-shell", "fifo-relay", shellAddress)},
			{Name: "pipes", Summary: "a parent copies between a connection and the shell's pipes", Evades: "a socket as the shell's standard stream", argv: role("reverse-shell", "pipes", shellAddress)},
			{Name: "renamed", Summary: "a copy of sh under another name", Evades: "the shell's name", argv: role("reverse-shell", "renamed", shellAddress)},
		}},
		{typeDockerSocket, "A process in a container connects to the Docker engine's socket (here one that the simulation made).", []Technique{
			{Name: "connect", Summary: "connect(2) to /var/run/docker.sock", argv: role("unix", "plain", dockerSocket)},
			{Name: "run", Summary: "connect(2) to /run/docker.sock", argv: role("unix", "plain", "/run/docker.sock")},
			{Name: "missing", Summary: "connect(2) to a containerd socket that is not there", Evades: "the call's success", argv: role("unix", "plain", "/run/containerd/containerd.sock")},
			{Name: "relative", Summary: "chdir(2) and connect(2) to docker.sock", Evades: "the absolute path", argv: role("unix", "relative", dockerSocket)},
			{Name: "proc-root", Summary: "connect(2) to /proc/self/root/var/run/docker.sock", Evades: "the start of the path", argv: role("unix", "root", dockerSocket)},
			{Name: "symbolic-link", Summary: "connect(2) to a link to the socket", Evades: "the path", argv: role("unix", "link", dockerSocket)},
		}},
	}
	for _, r := range all {
		for i := range r.Techniques {
			r.Techniques[i].Type = r.Type
		}
	}
	slices.SortFunc(all, func(a, b Reproduction) int { return strings.Compare(a.Type, b.Type) })
	return all
}

func do(args ...string) []string {
	return append([]string{rootfs.Executable, actor.Argument}, args...)
}

func role(args ...string) func(Target) []string {
	return func(Target) []string { return do(args...) }
}

func toAddress(how string, port int) func(Target) []string {
	return func(t Target) []string {
		return do("connect", how, netip.AddrPortFrom(t.Address, uint16(port)).String())
	}
}

func toAddress6(how string, port int) func(Target) []string {
	return func(t Target) []string {
		return do("connect", how, netip.AddrPortFrom(t.Address6, uint16(port)).String())
	}
}

func lookup(how, server string, spell func(string) string) func(Target) []string {
	return func(t Target) []string { return do("dns", how, spell(t.Domain), server) }
}

func same(s string) string { return s }

// mixCase writes every other letter large, as resolvers do to make forged answers harder.
func mixCase(s string) string {
	b := []byte(strings.ToLower(s))
	for i := 0; i < len(b); i += 2 {
		if b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}
