/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sockets that can see or forge packets, that listen, that are accepted, and that become a process's standard streams. */
#pragma once
#include "socket.h"

INLINE int made_socket(struct task_struct *task, s64 result, u16 family, u16 type, u16 protocol)
{
	struct socket_record *r;

	type &= 0xf;
	/* The ordinary ones, and netlink, by which half of a system's programs ask the kernel about the network. */
	if (family == AF_NETLINK || family == AF_UNIX || ((family == AF_INET || family == AF_INET6) && type != SOCK_RAW && type != SOCK_PACKET))
		return 0;
	if (outside(task))
		return 0;
	r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
	if (!r) {
		lose(KIND_SOCKET, LOSS_RING);
		return 0;
	}
	__builtin_memset(&r->ends, 0, sizeof(*r) - sizeof(r->header));
	r->ends.family = family;
	r->type = type;
	r->protocol = protocol;
	fill(&r->header, KIND_SOCKET, sizeof(*r), error_of(result), task);
	bpf_ringbuf_submit(r, activity_flags());
	return 0;
}

ON_EXIT(socket, KIND_SOCKET)
{
	return made_socket(task, result, ARG1(args), ARG2(args), ARG3(args));
}

/* Reports a socket as the kernel has it; file may be a pipe for dup. */
INLINE int report_socket(u32 kind, struct task_struct *task, s64 result, struct file *file, u32 new_fd, u32 old_fd)
{
	u32 off = sizeof(struct socket_record);
	struct socket_record *r;
	struct scratch *s;
	struct sock *sk;

	s = claim();
	if (!s) {
		lose(kind, LOSS_SCRATCH);
		return 0;
	}
	r = (void *)s->data;
	__builtin_memset(r, 0, sizeof(*r));
	r->new_fd = new_fd;
	r->old_fd = old_fd;
	sk = sock_of(file);
	if (sk) {
		fill_endpoints(&r->ends, sk);
		r->type = BPF_CORE_READ(sk, sk_type);
		if (r->ends.family == AF_UNIX) {
			r->path_len = append_name(s, off, sk);
			off += r->path_len;
		} else {
			r->protocol = BPF_CORE_READ(sk, sk_protocol);
		}
	}
	fill(&r->header, kind, off, error_of(result), task);
	return ship(s, kind, off);
}

INLINE int listened(struct task_struct *task, s64 result, u32 fd)
{
	struct file *file = file_of(task, fd);

	if (!file || !sock_of(file) || outside(task))
		return 0;
	return report_socket(KIND_LISTEN, task, result, file, 0, 0);
}

ON_EXIT(listen, KIND_LISTEN)
{
	return listened(task, result, ARG1(args));
}

/* Nobody waiting is no attempt; any other failure is told with the socket that listens. */
INLINE int accepted(struct task_struct *task, s64 result, u32 fd)
{
	struct file *file;

	if (result == -EAGAIN || outside(task))
		return 0;
	file = file_of(task, result >= 0 ? result : fd);
	if (!file || !sock_of(file))
		return 0;
	return report_socket(KIND_ACCEPT, task, result, file, 0, 0);
}

ON_EXIT(accept, KIND_ACCEPT)
{
	return accepted(task, result, ARG1(args));
}

ON_EXIT(accept4, KIND_ACCEPT)
{
	return accepted(task, result, ARG1(args));
}

/* Sockets and pipes that become standard input, output or error. */
INLINE int duplicated(struct task_struct *task, s64 result, u32 old_fd)
{
	struct file *file;
	u32 mode;

	if (result < 0 || result > 2)
		return 0;
	file = file_of(task, result);
	mode = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
	if ((mode != S_IFSOCK && mode != S_IFIFO) || old_fd == result || outside(task))
		return 0;
	return report_socket(KIND_DUP, task, 0, file, result, old_fd);
}

ON_EXIT(dup, KIND_DUP)
{
	return duplicated(task, result, ARG1(args));
}

ON_EXIT(dup3, KIND_DUP)
{
	return duplicated(task, result, ARG1(args));
}

ON_EXIT(fcntl, KIND_DUP)
{
	u32 command = ARG2(args);

	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(task, result, ARG1(args)) : 0;
}

#if defined(__TARGET_ARCH_x86)
ON_EXIT(dup2, KIND_DUP)
{
	return duplicated(task, result, ARG1(args));
}
#endif
