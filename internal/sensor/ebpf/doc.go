// Package ebpf is the sensor that watches a Linux kernel with BPF programs.
//
// In comes whatever processes do: programs of ours at the scheduler's tracepoints, at a few system calls' exits and in the
// cgroup's socket hooks write one binary record per event into two ring buffers. Out come [sensor.Record] values, decoded in
// place. The lifecycle ring holds fork, exec and exit and nothing else, so that a flood of file or network activity cannot
// take a process's identity away; the activity ring holds all other kinds.
//
// One goroutine (the caller of Run) reads both rings, merged by time. The kernel does not wake it for an event: it polls, after 2 ms
// while events come and backing off to 20 ms, and is woken early only when a ring is a quarter full. A slow sink makes
// a ring fill; the kernel then drops the new event and counts it per kind and reason, and never blocks the workload.
//
// What a kind costs is paid only while it is wanted: its programs are loaded and attached then, and detached afterwards. A call's
// exit tells both its arguments and how it ended, so that failed attempts are events too. Opens for reading are events for the
// paths given to [Source.SetReadPaths]; 32-bit x86 code is watched where [Options].Compat asks for it. Operations of io_uring
// are events of the kinds that they replace.
//
// What the kernel leaves behind names a file truly: open, exec, mmap, mprotect, memfd_create, fchmod, chroot, fsmount and
// move_mount cannot be fooled by a thread that rewrites a path, nor by symbolic links. Rename, link, symlink, unlink, chmod,
// mount, umount and pivot_root by name, and whatever failed, leave nothing: they are told with the path that stands in the
// program's memory when the call returns, made absolute by text. A second thread can have rewritten it. Through io_uring these
// names are the kernel's own copy.
//
// What it never does: refuse or change an operation of the workload, send anything, read a file's content, look up
// containers or users, or parse the DNS messages that it hands over.
//
// The first packet of a raw or ping socket to a destination counts as a connect, with port 0 where the protocol has none. A connect to a
// unix socket whose peer is bound under another name than the one that was given (a symbolic link, a bind mount) is delivered
// twice, once with each name, and counted once.
//
// Known limits: an IPv4 or IPv6 connect or bind is reported when it is tried and so never has an errno; packets of packet sockets
// (AF_PACKET) are not seen, their making is; a DNS message over TCP is seen only as far as it fits one segment; the environment is
// searched for the loader's variables in its first 16,384 strings; if a second thread swaps the new descriptor for another
// file opened for writing before the call returns, that file is reported; loading a module is seen only by kernels that can.
//
// Kernels: BTF and tracing programs are needed, which means Linux 5.17 or newer with CONFIG_DEBUG_INFO_BTF, and a cgroup v2
// hierarchy (pure or hybrid) for network events. [Check] says in one line what is missing; [Source.Hooks] lists what was chosen.
package ebpf
