package ebpf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// decoder turns the kernel's binary records into sensor records. It allocates nothing in the steady state: a decoded record
// points into the ring and into the decoder's buffers, and is valid until the next call.
type decoder struct {
	rec  sensor.Record
	read bool   // the record is an open for reading, to be delivered only if its path matters
	peer []byte // of a unix connect: the peer's own name, where it differs from the name that was given

	first, second, third []byte // paths put together, reused
}

var (
	errShort   = errors.New("record is cut short")
	errUnknown = errors.New("record of an unknown kind")
)

// fixed returns the fixed part of a record, and what follows it. The memory must be aligned to 8 bytes, as the ring's is.
func fixed[T any](raw []byte) (*T, []byte, error) {
	size := unsafe.Sizeof(*(*T)(nil))
	if uintptr(len(raw)) < size {
		return nil, nil, errShort
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(raw))), raw[size:], nil
}

// parts cuts the variable parts off a record, one after the other.
type parts struct {
	rest  []byte
	short bool
}

func (p *parts) take(n uint16) []byte {
	if int(n) > len(p.rest) {
		p.short = true
		return nil
	}
	part := p.rest[:n:n]
	p.rest = p.rest[n:]
	return part
}

// record decodes one record. The result is valid until the next call.
func (d *decoder) record(raw []byte) (*sensor.Record, error) {
	h, _, err := fixed[bpfHeader](raw)
	if err != nil {
		return nil, err
	}
	if int(h.Size) > len(raw) || h.Size < uint32(unsafe.Sizeof(*h)) {
		return nil, fmt.Errorf("%w: says %d bytes, has %d", errShort, h.Size, len(raw))
	}
	raw = raw[:h.Size]
	d.rec = sensor.Record{
		Kind:        event.Kind(h.Kind),
		Boottime:    h.Time,
		Errno:       int32(h.Error),
		PID:         h.Process.Pid,
		TID:         h.Process.Tid,
		NSPID:       h.Process.Nspid,
		PPID:        h.Process.Ppid,
		Start:       h.Process.Start,
		ParentStart: h.Process.ParentStart,
		CgroupID:    h.Process.Cgroup,
		MntNS:       h.Process.Mntns,
		PIDNS:       h.Process.Pidns,
		UID:         h.Process.Uid,
		EUID:        h.Process.Euid,
		GID:         h.Process.Gid,
		EGID:        h.Process.Egid,
		Comm:        comm(&h.Process.Comm),
	}
	d.peer, d.read = nil, false
	switch bpfKind(h.Kind) {
	case bpfKindKIND_FORK:
		_, _, err = fixed[bpfForkRecord](raw)
	case bpfKindKIND_EXEC:
		err = d.exec(raw)
	case bpfKindKIND_EXIT:
		err = d.exit(raw)
	case bpfKindKIND_OPEN:
		err = d.open(raw)
	case bpfKindKIND_CONNECT, bpfKindKIND_BIND:
		err = d.socket(raw)
	case bpfKindKIND_DNS:
		err = d.dns(raw)
	case bpfKindKIND_PTRACE, bpfKindKIND_VM_READ, bpfKindKIND_VM_WRITE, bpfKindKIND_KILL, bpfKindKIND_SETNS:
		err = d.ptrace(raw)
	case bpfKindKIND_RENAME, bpfKindKIND_LINK, bpfKindKIND_SYMLINK, bpfKindKIND_UNLINK, bpfKindKIND_CHMOD, bpfKindKIND_MMAP,
		bpfKindKIND_MODULE, bpfKindKIND_MEMFD, bpfKindKIND_CHROOT, bpfKindKIND_PIVOT_ROOT:
		err = d.file(raw)
	case bpfKindKIND_MPROTECT:
		err = d.memory(raw)
	case bpfKindKIND_MOUNT, bpfKindKIND_UMOUNT:
		err = d.mount(raw)
	case bpfKindKIND_SOCKET, bpfKindKIND_LISTEN, bpfKindKIND_ACCEPT:
		err = d.socket(raw)
	case bpfKindKIND_DUP:
		err = d.dup(raw)
	case bpfKindKIND_SETUID, bpfKindKIND_CAPSET:
		err = d.creds(raw)
	case bpfKindKIND_USERFAULTFD, bpfKindKIND_UNSHARE, bpfKindKIND_BPF, bpfKindKIND_KEYCTL, bpfKindKIND_IO_URING:
		err = d.call(raw)
	default:
		err = fmt.Errorf("%w %d", errUnknown, h.Kind)
	}
	if err != nil {
		return nil, err
	}
	return &d.rec, nil
}

func (d *decoder) exec(raw []byte) error {
	r, rest, err := fixed[bpfExecRecord](raw)
	if err != nil {
		return err
	}
	p := parts{rest: rest}
	exe, cwd := p.take(r.ExeLen), p.take(r.CwdLen)
	script, args, env := p.take(r.ScriptLen), p.take(r.ArgsLen), p.take(r.EnvLen)
	if p.short {
		return errShort
	}
	d.first = appendPath(d.first[:0], exe, r.ExeForm)
	d.second = appendPath(d.second[:0], cwd, r.CwdForm)
	e := &d.rec.Exec
	e.Exe, e.Cwd, e.Script = d.first, d.second, script
	e.Args = bytes.TrimSuffix(args, []byte{0})
	e.ArgsCut = r.Flags&uint32(bpfExecFlagEXEC_ARGS_CUT) != 0
	e.Preload, e.LibPath = loaderVariables(env)
	e.File = event.File{
		Dev:        device(r.Dev),
		Inode:      r.Inode,
		MTime:      r.Mtime,
		CTime:      r.Ctime,
		Size:       int64(r.FileSize),
		UpperLayer: r.Flags&uint32(bpfExecFlagEXEC_UPPER) != 0,
	}
	if r.Flags&uint32(bpfExecFlagEXEC_MEMORY) != 0 {
		e.File.Origin = event.OriginMemory
	}
	e.Stdin, e.Stdout = standardStream(&r.In), standardStream(&r.Out)
	return nil
}

func (d *decoder) exit(raw []byte) error {
	r, _, err := fixed[bpfExitRecord](raw)
	if err != nil {
		return err
	}
	d.rec.Exit = event.Exit{Code: int32(r.Status >> 8 & 0xff), Signal: int32(r.Status & 0x7f)}
	return nil
}

func (d *decoder) open(raw []byte) error {
	r, rest, err := fixed[bpfOpenRecord](raw)
	if err != nil {
		return err
	}
	p := parts{rest: rest}
	path, base := p.take(r.PathLen), p.take(r.BaseLen)
	if p.short {
		return errShort
	}
	d.first = appendJoined(d.first[:0], path, r.PathForm, base, r.BaseForm)
	d.read = r.Read != 0
	d.rec.Open = sensor.OpenRecord{Path: d.first, Flags: r.Flags, Inode: r.Inode}
	if r.Inode != 0 {
		d.rec.Open.Dev = device(r.Dev)
	}
	return nil
}

func (d *decoder) socket(raw []byte) error {
	r, rest, err := fixed[bpfSocketRecord](raw)
	if err != nil {
		return err
	}
	p := parts{rest: rest}
	path, peer, cwd := p.take(r.PathLen), p.take(r.PeerLen), p.take(r.CwdLen)
	if p.short {
		return errShort
	}
	s := &d.rec.Socket
	s.Family, s.Type, s.Protocol = r.Ends.Family, r.Type, r.Protocol
	if r.Ends.Family != unix.AF_UNIX {
		if r.Ends.Family != unix.AF_INET && r.Ends.Family != unix.AF_INET6 {
			return nil
		}
		s.Local, s.Remote = endpoints(&r.Ends)
		return nil
	}
	given := unixName(path)
	d.first = d.first[:0]
	if len(given) > 0 && given[0] != '/' && given[0] != 0 {
		d.first = append(appendPath(d.first, cwd, r.CwdForm), '/')
	}
	d.first = appendUnixName(d.first, given)
	s.Path = d.first
	d.third = appendUnixName(d.third[:0], unixName(peer))
	// A relative name is relative to the directory of whoever bound it, which is not known.
	if len(d.third) > 0 && (d.third[0] == '/' || d.third[0] == '@' && peer[0] == 0) && !bytes.Equal(d.third, d.first) {
		d.peer = d.third
	}
	return nil
}

func (d *decoder) dns(raw []byte) error {
	r, rest, err := fixed[bpfDnsRecord](raw)
	if err != nil {
		return err
	}
	p := parts{rest: rest}
	payload := p.take(r.PayloadLen)
	if p.short {
		return errShort
	}
	d.rec.DNS = sensor.DNSRecord{Egress: r.Egress != 0, Protocol: r.Protocol, Payload: payload, PayloadCut: r.Cut != 0}
	d.rec.DNS.Local, d.rec.DNS.Remote = endpoints(&r.Ends)
	return nil
}

func (d *decoder) ptrace(raw []byte) error {
	r, _, err := fixed[bpfPtraceRecord](raw)
	if err != nil {
		return err
	}
	d.rec.PtraceRequest, d.rec.PtraceTarget, d.rec.PtraceStart = r.Request, r.Target, r.TargetStart
	return nil
}

// comm returns the name up to its NUL.
func comm(c *[16]int8) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(c)), len(c))
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i:i]
	}
	return b[:15:15]
}

// device makes the device number that stat(2) gives out of the kernel's own.
func device(dev uint32) uint64 { return unix.Mkdev(dev>>20, dev&0xfffff) }

// unixName drops what follows the terminator of a path name; an abstract name is all of its bytes, its leading NUL included.
func unixName(b []byte) []byte {
	if len(b) > 0 && b[0] != 0 {
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return b[:i]
		}
	}
	return b
}

// appendUnixName appends a socket's name and returns the whole: abstract ones with @ for their NUL, paths cleaned.
func appendUnixName(dst, name []byte) []byte {
	start := len(dst)
	dst = append(dst, name...)
	if len(name) > 0 && name[0] == 0 {
		dst[start] = '@'
		return dst
	}
	return clean(dst)
}

func endpoints(e *bpfEndpoints) (local, remote netip.AddrPort) {
	address := func(b [16]byte, port uint16) netip.AddrPort {
		if e.Family == unix.AF_INET {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
		}
		return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), port)
	}
	local, remote = address(e.Local, e.LocalPort), address(e.Remote, e.RemotePort)
	if local.Port() == 0 && local.Addr().IsUnspecified() {
		local = netip.AddrPort{} // not bound yet
	}
	if remote.Port() == 0 && remote.Addr().IsUnspecified() {
		remote = netip.AddrPort{} // not connected
	}
	return local, remote
}

func standardStream(s *bpfStdio) event.Stdio {
	out := event.Stdio{Kind: event.StdioOther, Inode: s.Inode}
	switch bpfStdioKind(s.Kind) {
	case bpfStdioKindSTDIO_CLOSED:
		out.Kind = event.StdioClosed
	case bpfStdioKindSTDIO_FILE:
		out.Kind = event.StdioFile
	case bpfStdioKindSTDIO_TTY:
		out.Kind = event.StdioTTY
	case bpfStdioKindSTDIO_PIPE:
		out.Kind = event.StdioPipe
	case bpfStdioKindSTDIO_SOCKET:
		out.Kind = event.StdioSocket
		out.Local, out.Remote = endpoints(&s.Ends)
	case bpfStdioKindSTDIO_UNIX:
		out.Kind = event.StdioUnix
	}
	return out
}

var (
	preloadPrefix = []byte("LD_PRELOAD=")
	libPathPrefix = []byte("LD_LIBRARY_PATH=")
)

// loaderVariables finds the two variables among the NUL-terminated strings that the kernel kept. The last of several
// counts, as it does for the dynamic loader.
func loaderVariables(env []byte) (preload, libPath []byte) {
	for len(env) > 0 {
		variable := env
		if i := bytes.IndexByte(env, 0); i >= 0 {
			variable, env = env[:i], env[i+1:]
		} else {
			env = nil
		}
		if v, ok := bytes.CutPrefix(variable, preloadPrefix); ok {
			preload = v
		} else if v, ok := bytes.CutPrefix(variable, libPathPrefix); ok {
			libPath = v
		}
	}
	return preload, libPath
}

// appendPath appends a path as the kernel wrote it. A walked one is its components, the last first, each followed by a slash:
// "passwd/etc/" is /etc/passwd. One that is cut lacks its first components and begins with "..." in their place.
func appendPath(dst, path []byte, form uint8) []byte {
	if bpfPathForm(form) == bpfPathFormPATH_GIVEN {
		return append(dst, path...)
	}
	if bpfPathForm(form) == bpfPathFormPATH_CUT {
		dst = append(dst, "..."...)
	} else if len(path) == 0 {
		return append(dst, '/')
	}
	for len(path) > 0 {
		path = path[:len(path)-1] // the slash
		i := bytes.LastIndexByte(path, '/') + 1
		dst = append(append(dst, '/'), path[i:]...)
		path = path[:i]
	}
	return dst
}

// clean removes empty, "." and ".." elements of an absolute path in place, by the text alone.
func clean(path []byte) []byte {
	if len(path) == 0 || path[0] != '/' {
		return path
	}
	out := path[:0]
	for rest := path; len(rest) > 0; {
		rest = rest[1:] // the slash
		i := bytes.IndexByte(rest, '/')
		if i < 0 {
			i = len(rest)
		}
		element := rest[:i]
		rest = rest[i:]
		switch {
		case len(element) == 0 || len(element) == 1 && element[0] == '.':
		case len(element) == 2 && element[0] == '.' && element[1] == '.':
			out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
		default:
			out = append(append(out, '/'), element...)
		}
	}
	if len(out) == 0 {
		out = append(out, '/')
	}
	return out
}
