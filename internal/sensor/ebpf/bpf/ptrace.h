/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The ptrace requests that can change another process, when the call returns. */
#pragma once
#include "sensor.h"

enum {
	PTRACE_TRACEME = 0,
	PTRACE_POKETEXT = 4,
	PTRACE_POKEDATA = 5,
	PTRACE_POKEUSR = 6,
	PTRACE_SETREGS = 13,
	PTRACE_SETFPREGS = 15,
	PTRACE_ATTACH = 16,
	PTRACE_SETFPXREGS = 19,
	PTRACE_SET_THREAD_AREA = 26,
	PTRACE_ARCH_PRCTL = 30,
	PTRACE_SETSIGINFO = 0x4203,
	PTRACE_SETREGSET = 0x4205,
	PTRACE_SEIZE = 0x4206,
	PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG = 0x4210,
	PTRACE_SET_SYSCALL_INFO = 0x4212,
};

INLINE bool changes_target(u64 request)
{
	switch (request) {
	case PTRACE_TRACEME:
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
	case PTRACE_POKEUSR:
	case PTRACE_SETREGS:
	case PTRACE_SETFPREGS:
	case PTRACE_ATTACH:
	case PTRACE_SETFPXREGS:
	case PTRACE_SET_THREAD_AREA:
	case PTRACE_ARCH_PRCTL:
	case PTRACE_SETSIGINFO:
	case PTRACE_SETREGSET:
	case PTRACE_SEIZE:
	case PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG:
	case PTRACE_SET_SYSCALL_INFO:
		return true;
	}
	return false;
}

/* The namespace in which the task's pid arguments are meant: that of its own pid. */
INLINE struct pid_namespace *pid_namespace_of(struct task_struct *task, u32 *level)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid upid = {};

	*level = BPF_CORE_READ(pid, level);
	bpf_probe_read_kernel(&upid, bpf_core_type_size(struct upid), (void *)&pid->numbers[0] + *level * bpf_core_type_size(struct upid));
	return upid.ns;
}

/*
 * The task with a pid in a namespace, or NULL. A namespace holds its pids in a radix tree with 6 bits (or 4) a level; an entry
 * whose two lowest bits are 10 is an inner node. The kernel's own look-up for BPF knows only the caller's
 * namespace, and only since Linux 6.14.
 */
INLINE struct task_struct *task_of(struct pid_namespace *ns, u32 nr, u32 level)
{
	u32 mask = bpf_core_field_size(struct xa_node, slots) / 8 - 1;
	u64 entry = (u64)BPF_CORE_READ(ns, idr.idr_rt.xa_head);
	struct upid upid = {};
	struct hlist_node *first;
	struct pid *pid;
	struct xa_node *node;
	u32 i, shift, slot;

	for (i = 0; i < 8; i++) {
		if ((entry & 3) != 2 || entry < 4096)
			break;
		node = (void *)(entry - 2);
		shift = BPF_CORE_READ(node, shift);
		slot = (nr >> (shift & 31)) & mask;
		bpf_probe_read_kernel(&entry, sizeof(entry), (void *)node + bpf_core_field_offset(struct xa_node, slots) + slot * 8);
	}
	pid = (void *)entry;
	if (!pid || (entry & 3))
		return NULL;
	bpf_probe_read_kernel(&upid, bpf_core_type_size(struct upid), (void *)&pid->numbers[0] + level * bpf_core_type_size(struct upid));
	if (upid.nr != nr || upid.ns != ns) /* the tree changed underneath, or the pid is not there */
		return NULL;
	first = BPF_CORE_READ(pid, tasks[0].first);
	if (!first)
		return NULL;
	return (void *)first - bpf_core_field_offset(struct task_struct, pid_links);
}

ON_EXIT(ptrace, KIND_PTRACE)
{
	struct task_struct *target = NULL, *leader;
	struct pid_namespace *ns;
	struct ptrace_record *r;
	u64 request = ARG1(args);
	u32 level;

	if (!changes_target(request) || outside(task))
		return 0;
	if (request == PTRACE_TRACEME) {
		target = task->real_parent;
	} else {
		ns = pid_namespace_of(task, &level);
		target = task_of(ns, ARG2(args), level);
	}
	r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
	if (!r) {
		lose(KIND_PTRACE, LOSS_RING);
		return 0;
	}
	fill(&r->header, KIND_PTRACE, sizeof(*r), error_of(result), task);
	r->request = request;
	r->target = 0;
	r->target_start = 0;
	if (target) {
		leader = BPF_CORE_READ(target, group_leader);
		r->target = BPF_CORE_READ(leader, tgid);
		r->target_start = BPF_CORE_READ(leader, start_boottime);
	}
	bpf_ringbuf_submit(r, activity_flags());
	return 0;
}
