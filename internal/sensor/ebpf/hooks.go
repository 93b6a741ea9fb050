package ebpf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"vedette.dev/vedette/internal/event"
)

// hook is one program, the place where it is attached, and the kinds that need it there.
type hook struct {
	program string
	section string
	kinds   event.Kinds
	why     string
	attach  func(*kernel, *ebpf.Program) (io.Closer, error)
	renamed bool // kernels have it under one of two names, with a hook for each

	prog *ebpf.Program
	link io.Closer
	err  error // why it could not be loaded or attached
}

var (
	errNoCgroup2 = errors.New("there is no cgroup v2 hierarchy")
	errNoCall    = errors.New("there is no such system call here")
	errRenamed   = errors.New("this kernel has it under another name")
)

const (
	whyLifecycle = "costs nothing while processes only run"
	whySyscall   = "exit only: arguments are still in the registers, and entry hooks would add to every system call"
	whyCgroup    = "sees the kernel's copy of the address, whatever call brought it"
	whyPackets   = "messages as they leave and reach the socket"
	whyOut       = "messages as they leave, and packets that no other hook sees: those of raw and ping sockets"
	whyUring     = "operations of io_uring replace system calls"
)

// hookTable lists all hooks of this kernel's architecture, with those for 32-bit code if they are asked for.
func hookTable(compat bool) []hook {
	only := func(ks ...event.Kind) (set event.Kinds) {
		for _, k := range ks {
			set = set.With(k)
		}
		return set
	}
	network := only(event.KindConnect, event.KindDNS)
	hooks := []hook{
		{program: bpfProgOnFork, kinds: only(event.KindFork), why: whyLifecycle, attach: tracing},
		{program: bpfProgOnExec, kinds: only(event.KindExec), why: whyLifecycle, attach: tracing},
		{program: bpfProgOnExit, kinds: only(event.KindExit), why: whyLifecycle, attach: tracing},
		{program: bpfProgOnConnect4, kinds: network, why: whyCgroup, attach: onCgroup(ebpf.AttachCGroupInet4Connect)},
		{program: bpfProgOnConnect6, kinds: network, why: whyCgroup, attach: onCgroup(ebpf.AttachCGroupInet6Connect)},
		{program: bpfProgOnSendmsg4, kinds: network, why: whyCgroup, attach: onCgroup(ebpf.AttachCGroupUDP4Sendmsg)},
		{program: bpfProgOnSendmsg6, kinds: network, why: whyCgroup, attach: onCgroup(ebpf.AttachCGroupUDP6Sendmsg)},
		{program: bpfProgOnBind4, kinds: only(event.KindBind), why: whyCgroup, attach: onCgroup(ebpf.AttachCGroupInet4Bind)},
		{program: bpfProgOnBind6, kinds: only(event.KindBind), why: whyCgroup, attach: onCgroup(ebpf.AttachCGroupInet6Bind)},
		{program: bpfProgOnEgress, kinds: network, why: whyOut, attach: onCgroup(ebpf.AttachCGroupInetEgress)},
		{program: bpfProgOnIngress, kinds: only(event.KindDNS), why: whyPackets, attach: onCgroup(ebpf.AttachCGroupInetIngress)},
		{program: bpfProgOnConnect, kinds: only(event.KindConnect), why: whySyscall, attach: tracepoint("sys_exit_connect")},
		{program: bpfProgOnBind, kinds: only(event.KindBind), why: whySyscall, attach: tracepoint("sys_exit_bind")},
		{program: bpfProgOnOpenat, kinds: only(event.KindOpen), why: whySyscall, attach: tracepoint("sys_exit_openat")},
		{program: bpfProgOnOpenat2, kinds: only(event.KindOpen), why: whySyscall, attach: tracepoint("sys_exit_openat2")},
		{program: bpfProgOnOpenByHandleAt, kinds: only(event.KindOpen), why: whySyscall, attach: tracepoint("sys_exit_open_by_handle_at")},
		{program: "on_open", kinds: only(event.KindOpen), why: whySyscall, attach: tracepoint("sys_exit_open")},
		{program: "on_creat", kinds: only(event.KindOpen), why: whySyscall, attach: tracepoint("sys_exit_creat")},
		{program: bpfProgOnPtrace, kinds: only(event.KindPtrace), why: whySyscall, attach: tracepoint("sys_exit_ptrace")},
		{program: bpfProgOnForkUnshare, kinds: only(event.KindUnshare), why: whyLifecycle, attach: tracing},
		{program: bpfProgOnExecSetuid, kinds: only(event.KindSetuid), why: whyLifecycle, attach: tracing},
		{program: bpfProgOnSignal, kinds: only(event.KindKill), why: "runs for each signal, whatever call sent it", attach: tracing},
	}
	files := only(event.KindOpen, event.KindRename, event.KindLink, event.KindSymlink, event.KindUnlink)
	sockets := only(event.KindConnect, event.KindBind, event.KindSocket, event.KindListen, event.KindAccept)
	for _, u := range []struct {
		program string
		kinds   event.Kinds
		renamed bool
	}{
		{bpfProgOnUringSubmit, files, true}, {bpfProgOnUringSubmitOld, files, true}, {bpfProgOnUringComplete, files, false},
		{bpfProgOnUringSubmitSocket, sockets, true}, {bpfProgOnUringSubmitSocketOld, sockets, true}, {bpfProgOnUringCompleteSocket, sockets, false},
	} {
		hooks = append(hooks, hook{program: u.program, kinds: u.kinds, why: whyUring, renamed: u.renamed, attach: tracing})
	}
	for _, c := range exitCalls {
		hooks = append(hooks, hook{program: "on_" + c.name, kinds: only(c.kind), why: whySyscall, attach: tracepoint("sys_exit_" + c.name)})
	}
	if compat {
		hooks = append(hooks, compatHooks()...)
	}
	return hooks
}

// exitCalls are the system calls whose program is the only one of its call, named on_ and the call.
var exitCalls = []struct {
	name string
	kind event.Kind
}{
	{"rename", event.KindRename}, {"renameat", event.KindRename}, {"renameat2", event.KindRename},
	{"link", event.KindLink}, {"linkat", event.KindLink},
	{"symlink", event.KindSymlink}, {"symlinkat", event.KindSymlink},
	{"unlink", event.KindUnlink}, {"unlinkat", event.KindUnlink},
	{"chmod", event.KindChmod}, {"fchmod", event.KindChmod}, {"fchmodat", event.KindChmod}, {"fchmodat2", event.KindChmod},
	{"mmap", event.KindMmap},
	{"mprotect", event.KindMprotect}, {"pkey_mprotect", event.KindMprotect},
	{"mount", event.KindMount}, {"move_mount", event.KindMount}, {"fsmount", event.KindMount}, {"open_tree", event.KindMount},
	{"umount", event.KindUmount},
	{"init_module", event.KindModule}, {"finit_module", event.KindModule},
	{"socket", event.KindSocket},
	{"listen", event.KindListen},
	{"accept", event.KindAccept}, {"accept4", event.KindAccept},
	{"dup", event.KindDup}, {"dup2", event.KindDup}, {"dup3", event.KindDup}, {"fcntl", event.KindDup},
	{"process_vm_readv", event.KindVMRead},
	{"process_vm_writev", event.KindVMWrite},
	{"setuid", event.KindSetuid}, {"setreuid", event.KindSetuid}, {"setresuid", event.KindSetuid}, {"setfsuid", event.KindSetuid},
	{"memfd_create", event.KindMemfd},
	{"userfaultfd", event.KindUserfaultfd},
	{"setns", event.KindSetns},
	{"unshare", event.KindUnshare},
	{"capset", event.KindCapset},
	{"kill", event.KindKill}, {"tkill", event.KindKill}, {"tgkill", event.KindKill},
	{"bpf", event.KindBPF},
	{"pivot_root", event.KindPivotRoot},
	{"chroot", event.KindChroot},
	{"keyctl", event.KindKeyctl}, {"add_key", event.KindKeyctl}, {"request_key", event.KindKeyctl},
	{"io_uring_setup", event.KindIOUring},
}

func tracing(_ *kernel, p *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

func tracepoint(name string) func(*kernel, *ebpf.Program) (io.Closer, error) {
	return func(k *kernel, p *ebpf.Program) (io.Closer, error) {
		if k.tracefs == nil {
			t, err := openTracefs()
			if err != nil {
				return nil, err
			}
			k.tracefs = t
		}
		l, err := attachTracepoint(k.tracefs, "syscalls", name, p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errNoCall
		}
		return l, err
	}
}

func onCgroup(at ebpf.AttachType) func(*kernel, *ebpf.Program) (io.Closer, error) {
	return func(k *kernel, p *ebpf.Program) (io.Closer, error) {
		if k.cgroup == "" {
			return nil, errNoCgroup2
		}
		return link.AttachCgroup(link.CgroupOptions{Path: k.cgroup, Attach: at, Program: p})
	}
}

// attach makes the attached hooks those that serve one of the kinds. It fails only for the hooks that every source needs.
func (k *kernel) attach(kinds event.Kinds) error {
	if err := k.loadHooks(nil, kinds); err != nil {
		return err
	}
	var errs []error
	for i := range k.hooks {
		h := &k.hooks[i]
		switch wanted := h.kinds&kinds != 0; {
		case wanted && h.link == nil && h.prog != nil:
			h.link, h.err = h.attach(k, h.prog)
			if h.err != nil {
				h.link = nil
				h.err = fmt.Errorf("attaching %s: %w", h.section, h.err)
			}
		case !wanted && h.link != nil:
			if err := h.link.Close(); err != nil {
				errs = append(errs, fmt.Errorf("detaching %s: %w", h.section, err))
			}
			h.link = nil
		}
		if h.kinds&always != 0 && h.err != nil {
			errs = append(errs, h.err)
		}
	}
	return errors.Join(errs...)
}
