// Package sensor defines what every source of runtime events delivers: one Record per thing the kernel saw, before any
// enrichment. The sources are in the folders below: ebpf (kernel programs) and, later, sidecar and replay.
//
// A Source calls its sink from one goroutine, in the order in which the kernel saw the events of one CPU (between CPUs the
// order may be off by the polling interval). A sink that is slow makes the kernel's ring fill and events be dropped; the
// source counts them per kind and never blocks the workload.
package sensor

import (
	"context"
	"net/netip"

	"vedette.dev/vedette/internal/event"
)

// Record is one event as the kernel saw it. It and all slices in it are valid only during the call of the sink.
type Record struct {
	Kind     event.Kind
	Boottime uint64 // CLOCK_BOOTTIME, nanoseconds
	Errno    int32  // 0, or the positive errno of a failed attempt

	// The acting process. For KindFork it is the new process.
	PID, TID      uint32 // tgid and thread id in the host's pid namespace
	NSPID         uint32 // tgid in its own pid namespace
	PPID          uint32 // tgid of the real parent
	Start         uint64 // group leader's start_boottime, nanoseconds: (PID, Start) identifies the process
	ParentStart   uint64
	CgroupID      uint64 // id of its cgroup in the v2 hierarchy
	MntNS, PIDNS  uint32 // inode numbers
	UID, EUID     uint32
	GID, EGID     uint32
	Comm          []byte // at most 15 bytes
	Exec          ExecRecord
	Exit          event.Exit
	Open          OpenRecord
	Socket        SocketRecord // connect, bind, socket, listen, accept, dup
	DNS           DNSRecord
	PtraceRequest uint32
	File          FileRecord   // rename, link, symlink, unlink, chmod, mmap, module, memfd, chroot, pivot_root
	Memory        event.Memory // mprotect, without Path: that is in File
	Mount         MountRecord  // mount, umount
	Creds         event.Creds  // setuid, capset
	Call          event.Call   // userfaultfd, unshare, bpf, keyctl (0x100 stands for add_key(2), 0x101 for request_key(2)), io_uring, dup
	PtraceTarget  uint32       // also of vm_read, vm_write, kill, setns: tgid in the host's pid namespace, 0 if unknown
	PtraceStart   uint64       // the target's start_boottime
}

// ExecRecord describes a new program.
type ExecRecord struct {
	Exe      []byte // absolute path of the executable in the process's mount namespace
	Script   []byte // path of the script as given, when Exe is its interpreter; else empty
	Cwd      []byte
	Args     []byte // NUL-separated, cut at the sensor's bound
	ArgsCut  bool
	Preload  []byte     // value of LD_PRELOAD
	LibPath  []byte     // value of LD_LIBRARY_PATH
	File     event.File // Dev, Inode, MTime, CTime, Size, UpperLayer; Origin only OriginMemory or OriginUnknown
	Stdin    event.Stdio
	Stdout   event.Stdio
	Previous []byte // path of the program before, if known
}

// OpenRecord describes a file opened for writing, or for reading where the source was told that its path matters.
type OpenRecord struct {
	Path       []byte
	Flags      uint32
	Dev, Inode uint64
}

// FileRecord describes what was done to a file; see event.FileChange.
type FileRecord struct {
	Path, Target []byte
	Flags, Mode  uint32
	Dev, Inode   uint64
	File         event.File // mmap, module: times, size, upper layer, OriginMemory
}

// MountRecord describes a mount or unmount.
type MountRecord struct {
	Source, Target, FSType []byte
	Flags                  uint64
}

// SocketRecord describes a connect, bind, socket, listen, accept or dup.
type SocketRecord struct {
	Family, Type, Protocol uint16
	Local, Remote          netip.AddrPort
	Path                   []byte // unix; abstract names start with '@'
}

// DNSRecord is one DNS message.
type DNSRecord struct {
	Egress        bool
	Protocol      uint16
	Local, Remote netip.AddrPort
	Payload       []byte // the DNS message, possibly cut; hostile
	PayloadCut    bool
}

// Source is where events come from.
type Source interface {
	// Run delivers records to sink until ctx ends, and returns nil then. It may be called once.
	Run(ctx context.Context, sink func(*Record)) error
	// SetKinds tells the source which kinds are wanted; fork, exec and exit are always delivered. Safe at any time.
	SetKinds(event.Kinds) error
	// Stats returns what was made and lost so far. Safe at any time.
	Stats() Stats
	// Close detaches everything from the kernel.
	Close() error
}

// Stats counts events per kind.
type Stats struct {
	Delivered [event.KindCount]uint64 // handed to the sink
	Dropped   [event.KindCount]uint64 // lost in the kernel: no room in a ring or a table
}
