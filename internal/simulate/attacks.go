package simulate

import (
	"net/netip"
	"strings"

	"vedette.dev/vedette/internal/simulate/actor"
	"vedette.dev/vedette/internal/simulate/rootfs"
)

// The finding types of attacks.
const (
	typeCandC        = "Backdoor:Runtime/C&CActivity.B"
	typeCandCDNS     = "Backdoor:Runtime/C&CActivity.B!DNS"
	typeDockerSocket = "PrivilegeEscalation:Runtime/DockerSocketAccessed"
	typeNewBinary    = "Execution:Runtime/NewBinaryExecuted"
	typeReverseShell = "Execution:Runtime/ReverseShell"
	typePtraceInject = "DefenseEvasion:Runtime/ProcessInjection.Ptrace"
)

// attacks are the reproductions of the demo's story.
func attacks() []Reproduction {
	return []Reproduction{
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
				return []string{"getent", "ahostsv4", t.Domain}
			}},
			{Name: "nslookup", Summary: "busybox's nslookup", Needs: []string{"nslookup"}, argv: func(t Target) []string {
				return []string{"nslookup", "-type=a", t.Domain, "127.0.0.1"}
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
