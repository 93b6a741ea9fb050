package custom

import (
	"net/netip"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

var probeHost = finding.Host{ID: "probe-host", Name: "probe-host", AgentID: "probe-agent"}

// probes are two ordinary events of a kind, in containers, that have nothing in common but their kind and that nothing
// failed. A pattern that matches both is about the kind alone.
func probes(k event.Kind) []event.Event {
	a := probe{
		user: 0, text: "alpha", folder: "/usr/lib/alpha/", number: 3, flag: true, origin: event.OriginImage, stdio: event.StdioPipe,
		peer: netip.MustParseAddrPort("10.1.2.3:443"), own: netip.MustParseAddrPort("10.0.0.2:40000"), family: 2, kind: 1, protocol: 6,
	}
	b := probe{
		user: 1000, text: "omega", folder: "/var/opt/omega/", number: 5, origin: event.OriginWritten, stdio: event.StdioTTY,
		peer: netip.MustParseAddrPort("[2001:db8::7]:53"), own: netip.MustParseAddrPort("[2001:db8::2]:50001"), family: 10, kind: 2, protocol: 17,
	}
	return []event.Event{a.event(k), b.event(k)}
}

type probe struct {
	user         uint32
	text, folder string
	number       uint32
	flag         bool
	origin       event.FileOrigin
	stdio        event.StdioKind
	peer, own    netip.AddrPort
	family, kind uint16
	protocol     uint16
}

func (p probe) event(k event.Kind) event.Event {
	path, other := p.folder+"file-"+p.text, p.folder+"target-"+p.text
	process := func(role string, parent *event.Process) *event.Process {
		stdio := event.Stdio{Kind: p.stdio, Local: p.own, Remote: p.peer}
		name := role + "-" + p.text
		return &event.Process{
			PID: 4000 + p.number, NSPID: 40 + p.number, UID: p.user, EUID: p.user, GID: p.user, EGID: p.user, Name: name, User: p.text,
			ExePath: p.folder + name, SHA256: "0" + p.text, Args: []string{name, "--" + p.text}, Cwd: p.folder, ScriptPath: p.folder + name + ".s",
			LDPreload: other, LDLibPath: p.folder, Exe: event.File{Origin: p.origin, UpperLayer: p.flag, Size: int64(p.number)},
			Stdin: stdio, Stdout: stdio, Parent: parent,
		}
	}
	actor := process("actor", process("parent", process("ancestor", nil)))
	actor.Exe.Writer = process("writer", nil)
	actor.IsContainer = p.flag
	c := &event.Container{
		ID: p.text, Name: p.text, Image: p.text, ImageID: p.text, Runtime: p.text, Privileged: p.flag, StartedAt: 1, Cluster: p.text, Service: p.text,
		Mounts: []event.Mount{{Name: p.text, Source: path, Target: other}},
		Task: &event.Task{ARN: p.text, ClusterARN: p.text, Family: p.text, Revision: p.text, DefinitionARN: p.text, Service: p.text, LaunchType: p.text,
			StartedBy: p.text, ContainerName: p.text},
	}
	e := event.Event{Kind: k, Time: 1e18, Count: 1, Process: actor, Container: c}
	socket := &event.Socket{Family: p.family, Type: p.kind, Protocol: p.protocol, Local: p.own, Remote: p.peer, Path: path}
	target := &event.Ptrace{Request: p.number, Target: process("target", nil), TargetPID: p.number}
	file := &event.FileChange{Path: path, Target: other, Flags: p.number, Mode: p.number, Origin: p.origin, Writer: process("writer", nil)}
	call := &event.Call{Command: p.number, Flags: uint64(p.number)}
	switch k {
	case event.KindExec:
		e.Exec = &event.Exec{PreviousExe: path}
	case event.KindExit:
		e.Exit = &event.Exit{Code: int32(p.number), Signal: int32(p.number)}
	case event.KindOpen:
		e.Open = &event.Open{Path: path, Flags: p.number}
	case event.KindConnect:
		e.Connect = socket
	case event.KindBind:
		e.Bind = socket
	case event.KindDNS:
		e.DNS = &event.DNS{Response: p.flag, Protocol: p.protocol, Server: p.peer, Local: p.own, Name: p.text + ".example", Type: p.kind, Answers: []netip.Addr{p.peer.Addr()}}
	case event.KindPtrace:
		e.Ptrace = target
	case event.KindRename, event.KindLink, event.KindSymlink, event.KindUnlink, event.KindChmod, event.KindMmap, event.KindModule, event.KindMemfd,
		event.KindChroot, event.KindPivotRoot:
		e.File = file
	case event.KindMprotect:
		e.Memory = &event.Memory{Length: uint64(p.number), Protection: p.number, Region: p.text, Path: path}
	case event.KindMount, event.KindUmount:
		e.Mount = &event.MountChange{Source: path, Target: other, FSType: p.text, Flags: uint64(p.number)}
	case event.KindSocket, event.KindListen, event.KindAccept:
		e.Socket = socket
	case event.KindDup:
		e.Socket, e.Call = socket, call
	case event.KindVMRead, event.KindVMWrite, event.KindKill, event.KindSetns:
		e.Target = target
	case event.KindSetuid, event.KindCapset:
		e.Creds = &event.Creds{UID: p.user, EUID: p.user, Capabilities: uint64(p.number), SetuidExe: p.flag}
	case event.KindUserfaultfd, event.KindUnshare, event.KindBPF, event.KindKeyctl, event.KindIOUring:
		e.Call = call
	case event.KindAlert:
		e.Alert = &event.Alert{Reason: p.text, Lost: uint64(p.number), Where: p.text}
	}
	return e
}
