/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * System calls made by 32-bit code, and by 64-bit code through int $0x80. The kernel keeps them from the calls' own tracepoints, so what is left
 * is the exit of all system calls: this program runs for every one of them and hands the few on. Its cost is why it must be asked for.
 */
#pragma once
#include "sensor.h"

#if defined(__TARGET_ARCH_x86)

#define COMPAT_CALLS 512
#define TS_COMPAT 2

struct task_struct___x86 {
	struct thread_info thread_info;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, COMPAT_CALLS);
	__type(key, u32);
	__type(value, u32);
} compat_calls SEC(".maps");

SEC("tp_btf/sys_exit")
int on_compat(u64 *ctx)
{
	struct task_struct___x86 *task = (void *)bpf_get_current_task_btf();
	struct pt_regs *saved = (void *)ctx[0];

	if (!(task->thread_info.status & TS_COMPAT))
		return 0;
	bpf_tail_call(ctx, &compat_calls, (u32)saved->orig_ax);
	return 0;
}

/* Most socket calls of old 32-bit programs come through one number, with the arguments in memory. */
SEC("tp_btf/sys_exit")
int on32_socketcall(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *saved = (void *)ctx[0];
	s64 result = ctx[1];
	u32 call = saved->bx, a[4] = {};

	if (restarts(result))
		return 0;
	bpf_probe_read_user(a, sizeof(a), (void *)(u64)(u32)saved->cx);
	switch (call) {
	case 1:
		return wants(KIND_SOCKET) ? made_socket(task, result, a[0], a[1], a[2]) : 0;
	case 2:
		return wants(KIND_BIND) ? socket_call(KIND_BIND, task, result, a[0], (void *)(u64)a[1], a[2]) : 0;
	case 3:
		return wants(KIND_CONNECT) ? socket_call(KIND_CONNECT, task, result, a[0], (void *)(u64)a[1], a[2]) : 0;
	case 4:
		return wants(KIND_LISTEN) ? listened(task, result, a[0]) : 0;
	case 5:
	case 18:
		return wants(KIND_ACCEPT) ? accepted(task, result, a[0]) : 0;
	}
	return 0;
}

/* The first mmap of 32-bit code has its arguments in memory, too. */
SEC("tp_btf/sys_exit")
int on32_old_mmap(u64 *ctx)
{
	struct pt_regs *saved = (void *)ctx[0];
	u32 a[5] = {};

	if (!wants(KIND_MMAP) || restarts(ctx[1]))
		return 0;
	bpf_probe_read_user(a, sizeof(a), (void *)(u64)(u32)saved->bx);
	struct args args = {{a[0], a[1], a[2], a[3], a[4]}};
	return exit_mmap(bpf_get_current_task_btf(), &args, ctx[1]);
}
#endif
