package ebpf

import (
	"errors"
	"io"
	"runtime"

	"github.com/cilium/ebpf"

	"vedette.dev/vedette/internal/event"
)

// compatCalls are the numbers of system calls of 32-bit x86 code, by the name of the program that sees the call's end.
var compatCalls = []struct {
	name    string
	kind    event.Kind
	numbers []uint32
}{
	{"open", event.KindOpen, []uint32{5}}, {"creat", event.KindOpen, []uint32{8}}, {"openat", event.KindOpen, []uint32{295}},
	{"open_by_handle_at", event.KindOpen, []uint32{342}}, {"openat2", event.KindOpen, []uint32{437}},
	{"rename", event.KindRename, []uint32{38}}, {"renameat", event.KindRename, []uint32{302}}, {"renameat2", event.KindRename, []uint32{353}},
	{"link", event.KindLink, []uint32{9}}, {"linkat", event.KindLink, []uint32{303}},
	{"symlink", event.KindSymlink, []uint32{83}}, {"symlinkat", event.KindSymlink, []uint32{304}},
	{"unlink", event.KindUnlink, []uint32{10}}, {"unlinkat", event.KindUnlink, []uint32{301}},
	{"chmod", event.KindChmod, []uint32{15}}, {"fchmod", event.KindChmod, []uint32{94}}, {"fchmodat", event.KindChmod, []uint32{306}}, {"fchmodat2", event.KindChmod, []uint32{452}},
	{"mmap", event.KindMmap, []uint32{192}}, {"old_mmap", event.KindMmap, []uint32{90}},
	{"mprotect", event.KindMprotect, []uint32{125}}, {"pkey_mprotect", event.KindMprotect, []uint32{380}},
	{"mount", event.KindMount, []uint32{21}}, {"move_mount", event.KindMount, []uint32{429}}, {"fsmount", event.KindMount, []uint32{432}}, {"open_tree", event.KindMount, []uint32{428}},
	{"umount", event.KindUmount, []uint32{22, 52}},
	{"init_module", event.KindModule, []uint32{128}}, {"finit_module", event.KindModule, []uint32{350}},
	{"socket", event.KindSocket, []uint32{359}}, {"bind", event.KindBind, []uint32{361}}, {"connect", event.KindConnect, []uint32{362}},
	{"listen", event.KindListen, []uint32{363}}, {"accept4", event.KindAccept, []uint32{364}},
	{"dup", event.KindDup, []uint32{41}}, {"dup2", event.KindDup, []uint32{63}}, {"dup3", event.KindDup, []uint32{330}}, {"fcntl", event.KindDup, []uint32{55, 221}},
	{"ptrace", event.KindPtrace, []uint32{26}},
	{"process_vm_readv", event.KindVMRead, []uint32{347}}, {"process_vm_writev", event.KindVMWrite, []uint32{348}},
	{"setuid", event.KindSetuid, []uint32{23, 213}}, {"setreuid", event.KindSetuid, []uint32{70, 203}},
	{"setresuid", event.KindSetuid, []uint32{164, 208}}, {"setfsuid", event.KindSetuid, []uint32{138, 215}},
	{"memfd_create", event.KindMemfd, []uint32{356}},
	{"userfaultfd", event.KindUserfaultfd, []uint32{374}},
	{"setns", event.KindSetns, []uint32{346}},
	{"unshare", event.KindUnshare, []uint32{310}},
	{"capset", event.KindCapset, []uint32{185}},
	{"kill", event.KindKill, []uint32{37}}, {"tkill", event.KindKill, []uint32{238}}, {"tgkill", event.KindKill, []uint32{270}},
	{"bpf", event.KindBPF, []uint32{357}},
	{"pivot_root", event.KindPivotRoot, []uint32{217}},
	{"chroot", event.KindChroot, []uint32{61}},
	{"keyctl", event.KindKeyctl, []uint32{288}}, {"add_key", event.KindKeyctl, []uint32{286}}, {"request_key", event.KindKeyctl, []uint32{287}},
	{"io_uring_setup", event.KindIOUring, []uint32{425}},
}

const (
	compatMap        = "compat_calls"
	socketcallNumber = 102
	whyCompat        = "32-bit code reaches no tracepoint of a call; asked for, although it costs every call of the host"
)

// compatHooks are the program that picks 32-bit code out of all system calls, and those that it hands over to.
func compatHooks() []hook {
	if runtime.GOARCH != "amd64" {
		return nil
	}
	sockets := event.Kinds(0).With(event.KindSocket).With(event.KindBind).With(event.KindConnect).With(event.KindListen).With(event.KindAccept)
	all := sockets
	hooks := []hook{{program: "on32_socketcall", kinds: sockets, why: whyCompat, attach: handOver(socketcallNumber)}}
	for _, c := range compatCalls {
		kinds := event.Kinds(0).With(c.kind)
		all |= kinds
		hooks = append(hooks, hook{program: "on32_" + c.name, kinds: kinds, why: whyCompat, attach: handOver(c.numbers...)})
	}
	return append(hooks, hook{program: "on_compat", kinds: all, why: whyCompat, attach: tracing})
}

// handOver attaches a program by entering it under the numbers of its calls.
func handOver(numbers ...uint32) func(*kernel, *ebpf.Program) (io.Closer, error) {
	return func(k *kernel, p *ebpf.Program) (io.Closer, error) {
		m := k.maps[compatMap]
		entered := &handedOver{m: m}
		for _, n := range numbers {
			if err := m.Put(n, p); err != nil {
				return nil, errors.Join(err, entered.Close())
			}
			entered.numbers = append(entered.numbers, n)
		}
		return entered, nil
	}
}

type handedOver struct {
	m       *ebpf.Map
	numbers []uint32
}

// Close implements [io.Closer].
func (h *handedOver) Close() error {
	var errs []error
	for _, n := range h.numbers {
		errs = append(errs, h.m.Delete(n))
	}
	return errors.Join(errs...)
}
