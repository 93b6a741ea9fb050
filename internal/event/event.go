// Package event defines the runtime event, the one thing that travels from the sensor through the agent and the link to
// detection: what happened, which process did it, in which container and task.
//
// An event is self-contained: detection needs no second lookup to describe it. Values are plain data; whoever builds an
// event owns it until it is handed over, and nobody changes it afterwards. Several events of a batch share the same
// *Process and *Container.
//
// Everything textual in an event (paths, arguments, names, DNS names, labels) is chosen by the watched workload and is
// hostile: it may hold any byte, control characters and invalid UTF-8 included. Show it only through [Printable].
package event

import (
	"net/netip"
	"time"
)

// Kind says what happened. The values are part of the batch encoding and of the kernel programs: never renumber them.
type Kind uint8

// The kinds of event.
const (
	KindFork    Kind = 1 // a process was made; stays in the agent
	KindExec    Kind = 2 // a process replaced its program
	KindExit    Kind = 3 // a process ended
	KindOpen    Kind = 4 // a file was opened for writing, or the attempt failed
	KindConnect Kind = 5 // connect(2) on an IPv4, IPv6 or unix socket
	KindBind    Kind = 6 // bind(2) on an IPv4, IPv6 or unix socket
	KindDNS     Kind = 7 // a DNS question was sent or an answer received
	KindPtrace  Kind = 8 // ptrace(2) on another process, or PTRACE_TRACEME

	KindRename      Kind = 9  // a file was renamed
	KindLink        Kind = 10 // a hard link was made
	KindSymlink     Kind = 11 // a symbolic link was made
	KindUnlink      Kind = 12 // a file was removed
	KindChmod       Kind = 13 // a file's mode was changed
	KindMmap        Kind = 14 // a file was mapped executable: a library was loaded
	KindMprotect    Kind = 15 // memory was made executable, or writable where it was executable
	KindMount       Kind = 16 // a file system was mounted (mount, move_mount, fsmount)
	KindUmount      Kind = 17 // a file system was unmounted
	KindModule      Kind = 18 // a kernel module was loaded (init_module, finit_module)
	KindSocket      Kind = 19 // a raw, packet or netlink socket was made
	KindListen      Kind = 20 // a socket began to listen
	KindAccept      Kind = 21 // a connection was accepted
	KindDup         Kind = 22 // a socket or pipe became a standard stream by dup, dup2, dup3 or fcntl
	KindVMRead      Kind = 23 // process_vm_readv on another process
	KindVMWrite     Kind = 24 // process_vm_writev on another process
	KindSetuid      Kind = 25 // user ids were changed (setuid, setreuid, setresuid, setfsuid)
	KindMemfd       Kind = 26 // an in-memory file was made (memfd_create)
	KindUserfaultfd Kind = 27 // userfaultfd(2)
	KindSetns       Kind = 28 // another namespace was entered
	KindUnshare     Kind = 29 // namespaces were made (unshare; clone with namespace flags)
	KindCapset      Kind = 30 // capabilities were changed
	KindKill        Kind = 31 // a signal was sent to a process of another container
	KindBPF         Kind = 32 // bpf(2): a program was loaded or attached, or a map was made
	KindPivotRoot   Kind = 33 // the root file system was changed
	KindChroot      Kind = 34 // the root folder was changed
	KindKeyctl      Kind = 35 // keyctl(2), add_key(2), request_key(2)
	KindIOUring     Kind = 36 // an io_uring was set up; operations on it that replace the above are events of those kinds
	KindAlert       Kind = 37 // the agent itself has something to say: events were lost

	// KindCount is one more than the highest kind.
	KindCount = 38
)

var kindNames = [KindCount]string{
	"unknown", "fork", "exec", "exit", "open", "connect", "bind", "dns", "ptrace", "rename", "link", "symlink", "unlink", "chmod", "mmap",
	"mprotect", "mount", "umount", "module", "socket", "listen", "accept", "dup", "vm_read", "vm_write", "setuid", "memfd", "userfaultfd",
	"setns", "unshare", "capset", "kill", "bpf", "pivot_root", "chroot", "keyctl", "io_uring", "alert",
}

// String returns the kind's name as patterns and output spell it.
func (k Kind) String() string {
	if k < KindCount {
		return kindNames[k]
	}
	return kindNames[0]
}

// ParseKind returns the kind with the given name, and whether there is one.
func ParseKind(name string) (Kind, bool) {
	for k := KindFork; k < KindCount; k++ {
		if kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// Kinds is a set of kinds: bit 1<<k stands for kind k.
type Kinds uint64

// Has reports whether the set holds k.
func (s Kinds) Has(k Kind) bool { return s&(1<<k) != 0 }

// With returns the set with k added.
func (s Kinds) With(k Kind) Kinds { return s | 1<<k }

// AllKinds is every kind that can travel to the server: all but fork.
const AllKinds Kinds = 1<<KindCount - 1<<KindExec

// Event is one runtime event. Exactly one of the kind's structs is set, the one that Kind names.
type Event struct {
	Kind      Kind
	Time      int64      // wall clock, nanoseconds since 1970 (when the kernel saw it)
	Errno     int32      // 0, or the positive errno with which the attempt failed
	Count     uint32     // how many identical occurrences this event stands for; at least 1
	Process   *Process   // who did it; never nil after decoding
	Container *Container // where; nil for a process of the host itself

	Exec    *Exec
	Exit    *Exit
	Open    *Open
	Connect *Socket // connect: Remote or Path is the peer
	Bind    *Socket // bind: Local or Path is the own address
	DNS     *DNS
	Ptrace  *Ptrace

	File   *FileChange  // rename, link, symlink, unlink, chmod, mmap, module, memfd, chroot, pivot_root
	Memory *Memory      // mprotect
	Mount  *MountChange // mount, umount
	Socket *Socket      // socket, listen, accept, dup
	Target *Ptrace      // vm_read, vm_write, kill (Request is the signal), setns (Request is the namespace type)
	Creds  *Creds       // setuid, capset
	Call   *Call        // userfaultfd, unshare, bpf, keyctl, io_uring, dup
	Alert  *Alert       // alert
}

// Process is a process at the time of an event. Its identity is UUID, never the pid alone.
type Process struct {
	UUID      UUID
	PID       uint32 // in the host's pid namespace
	NSPID     uint32 // in the process's own pid namespace
	StartTime int64  // wall clock, nanoseconds since 1970
	UID, EUID uint32
	GID, EGID uint32

	Name        string // the kernel's comm, at most 15 bytes
	User        string // name of UID in the container's own passwd; "" if unknown
	ExePath     string // absolute, as seen in the process's mount namespace
	SHA256      string // lower-case hex of the executable; "" if it could not be read or was too large
	Args        []string
	ArgsCut     bool // Args was longer than the sensor's bound and is cut
	Cwd         string
	ScriptPath  string // the script, when ExePath is the interpreter of a #! line
	LDPreload   string
	LDLibPath   string
	Exe         File  // the executable file itself
	Stdin       Stdio // as they were at the last exec
	Stdout      Stdio
	Parent      *Process // nearest ancestor first; nil at the top of what is known
	ParentUUID  UUID     // set even where Parent is not
	IsContainer bool     // it is its container's first process
}

// UUID identifies a process on all hosts and over pid reuse. The zero value means unknown.
type UUID [16]byte

// FileOrigin says where the content of a file comes from.
type FileOrigin uint8

// The origins of a file.
const (
	OriginUnknown FileOrigin = 0
	OriginImage   FileOrigin = 1 // from the container's image (lower layers), or older than the container on other file systems
	OriginWritten FileOrigin = 2 // written after the container started
	OriginMemory  FileOrigin = 3 // no path: memfd or an unlinked file
)

var originNames = [...]string{"unknown", "image", "written", "memory"}

// String returns the origin's name as patterns spell it.
func (o FileOrigin) String() string {
	if int(o) < len(originNames) {
		return originNames[o]
	}
	return originNames[0]
}

// File is an executable file as the kernel had it at exec.
type File struct {
	Origin     FileOrigin
	Dev        uint64
	Inode      uint64
	MTime      int64 // nanoseconds since 1970
	CTime      int64
	Size       int64
	UpperLayer bool     // on the writable layer of an overlay file system
	Writer     *Process // who wrote it last, where the agent saw that; nil otherwise
	WrittenAt  int64    // when; 0 if unknown
}

// StdioKind says what a standard stream is connected to.
type StdioKind uint8

// The kinds of a standard stream.
const (
	StdioClosed StdioKind = 0
	StdioFile   StdioKind = 1
	StdioTTY    StdioKind = 2
	StdioPipe   StdioKind = 3
	StdioSocket StdioKind = 4 // AF_INET or AF_INET6
	StdioUnix   StdioKind = 5
	StdioOther  StdioKind = 6
)

var stdioNames = [...]string{"closed", "file", "tty", "pipe", "socket", "unix", "other"}

// String returns the kind's name as patterns spell it.
func (k StdioKind) String() string {
	if int(k) < len(stdioNames) {
		return stdioNames[k]
	}
	return stdioNames[6]
}

// Stdio describes what one standard stream of a process is connected to.
type Stdio struct {
	Kind   StdioKind
	Inode  uint64         // of the pipe or socket; the two ends of a pipe share it
	Local  netip.AddrPort // StdioSocket only
	Remote netip.AddrPort // StdioSocket only; invalid if not connected
}

// Container is the container an event happened in.
type Container struct {
	ID         string // 64 hex digits for Docker and containerd; the cgroup's path where nothing else is known
	Name       string
	Image      string // as the runtime names it
	ImageID    string
	Runtime    string // docker, containerd, podman, cri-o, native; "" if unknown
	Privileged bool
	StartedAt  int64   // nanoseconds since 1970; 0 if unknown
	Mounts     []Mount // bound
	Cluster    string  // the coverage row's cluster: ECS cluster, Compose project, or the host's name
	Service    string  // ECS or Compose service; "" if none
	Task       *Task   // nil unless the container belongs to an ECS task
}

// Mount is one host path or volume mounted into a container.
type Mount struct {
	Name, Source, Target string
}

// Task is the ECS task a container belongs to.
type Task struct {
	ARN           string
	ClusterARN    string
	Family        string
	Revision      string
	DefinitionARN string
	Service       string
	LaunchType    string // EC2 or FARGATE
	StartedBy     string
	CreatedAt     int64
	StartedAt     int64
	ContainerName string // the container's name in the task definition
}

// Exec is the change of a process's program. The new program is described by Event.Process.
type Exec struct {
	// PreviousExe is the program's path before, "" if unknown.
	PreviousExe string
}

// Exit is the end of a process.
type Exit struct {
	Code   int32 // exit status, 0..255
	Signal int32 // the signal that ended it, or 0
}

// Open is a file opened for writing.
type Open struct {
	Path  string // absolute, resolved by the kernel; as given when the attempt failed
	Flags uint32 // open(2) flags
	Dev   uint64
	Inode uint64
}

// Socket is the object of connect and bind.
type Socket struct {
	Family   uint16 // AF_UNIX 1, AF_INET 2, AF_INET6 10
	Type     uint16 // SOCK_STREAM 1, SOCK_DGRAM 2 …
	Protocol uint16 // IANA: 6 TCP, 17 UDP; 0 for unix
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Path     string // unix only; "@name" for abstract sockets
}

// DNS is one DNS message seen on the wire of a process.
type DNS struct {
	Response bool
	Protocol uint16 // 17 UDP, 6 TCP
	Server   netip.AddrPort
	Local    netip.AddrPort
	Name     string // the question, lower case, without the final dot
	Type     uint16 // of the question: 1 A, 28 AAAA …
	RCode    uint8  // responses only
	Answers  []netip.Addr
}

// Ptrace is one ptrace(2) call that can change another process (or PTRACE_TRACEME).
type Ptrace struct {
	Request uint32
	Target  *Process // nil if unknown; the caller's parent for PTRACE_TRACEME
	// TargetPID is in the host's pid namespace; 0 if unknown.
	TargetPID uint32
}

// FileChange is what was done to a file or folder.
type FileChange struct {
	// Path is the file: absolute, as seen in the container, resolved by the kernel where it can be (rename: the old name; link
	// and symlink: the new link; mmap: the mapped file; module: the module's file; memfd: the name given; pivot_root: the new
	// root).
	Path string
	// Target is the other path (rename: the new name; link: the file linked to; symlink: the text of the link; module: the
	// module's name; pivot_root: where the old root is put).
	Target string
	Flags  uint32 // of the call (renameat2, mmap protection, memfd_create, finit_module …)
	Mode   uint32 // chmod: the new mode; else the file's own
	Dev    uint64
	Inode  uint64
	Origin FileOrigin // mmap and module: where the file's content comes from
	// Writer and WrittenAt: mmap and module, as in File.
	Writer    *Process
	WrittenAt int64
}

// Memory is a change of the protection of memory.
type Memory struct {
	Start, Length uint64
	Protection    uint32 // PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4
	Region        string // stack, heap, file, memfd or anonymous
	Path          string // of the mapped file, if any
}

// MountChange is a mount or unmount.
type MountChange struct {
	Source, Target, FSType string
	Flags                  uint64 // mount(2) flags
}

// Creds are the ids and capabilities that a process asked for.
type Creds struct {
	UID, EUID    uint32 // 0xffffffff: left alone
	Capabilities uint64 // capset: the new effective set
	// SetuidExe says that the process got its ids by executing a set-user-id file.
	SetuidExe bool
}

// Call is a system call whose numbers say all.
type Call struct {
	Command uint32 // bpf, keyctl: the command; dup: the new descriptor; io_uring: the opcode
	Flags   uint64 // unshare: the namespaces; userfaultfd and io_uring_setup: the flags; dup: the old descriptor
}

// Alert is something the agent says about itself.
type Alert struct {
	Reason string // loss
	Lost   uint64 // events lost since the last alert of this kind
	Where  string // kernel, queue or spool
}

// At returns the event's time.
func (e *Event) At() time.Time { return time.Unix(0, e.Time).UTC() }

// Ancestors calls yield for each known ancestor of p, nearest first.
func (p *Process) Ancestors(yield func(*Process) bool) {
	for a, n := p.Parent, 0; a != nil && n < MaxLineage; a, n = a.Parent, n+1 {
		if !yield(a) {
			return
		}
	}
}

// MaxLineage bounds how many ancestors an event carries.
const MaxLineage = 16
