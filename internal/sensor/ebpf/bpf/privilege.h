/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Calls by which a process changes its own rights and namespaces, or reaches into another process or the kernel. */
#pragma once
#include "ptrace.h"

INLINE int report_creds(u32 kind, struct task_struct *task, s64 result, u32 uid, u32 euid, u64 capabilities, bool setuid_exe)
{
	struct creds_record *r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);

	if (!r) {
		lose(kind, LOSS_RING);
		return 0;
	}
	fill(&r->header, kind, sizeof(*r), error_of(result), task);
	r->capabilities = capabilities;
	r->uid = uid;
	r->euid = euid;
	r->setuid_exe = setuid_exe;
	r->reserved = 0;
	bpf_ringbuf_submit(r, activity_flags());
	return 0;
}

#define SAME_ID 0xffffffff

ON_EXIT(setuid, KIND_SETUID)
{
	return outside(task) ? 0 : report_creds(KIND_SETUID, task, result, ARG1(args), ARG1(args), 0, false);
}

ON_EXIT(setreuid, KIND_SETUID)
{
	return outside(task) ? 0 : report_creds(KIND_SETUID, task, result, ARG1(args), ARG2(args), 0, false);
}

ON_EXIT(setresuid, KIND_SETUID)
{
	return outside(task) ? 0 : report_creds(KIND_SETUID, task, result, ARG1(args), ARG2(args), 0, false);
}

/* It answers with the id before and never fails; -1 only asks. The id for files is reported as the effective one. */
ON_EXIT(setfsuid, KIND_SETUID)
{
	u32 uid = ARG1(args);

	return uid == SAME_ID || outside(task) ? 0 : report_creds(KIND_SETUID, task, 0, SAME_ID, uid, 0, false);
}

/* Ids that came with the file that was executed. */
SEC("tp_btf/sched_process_exec")
int on_exec_setuid(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	const struct cred *cred = task->cred;
	u32 uid = cred->uid.val, euid = cred->euid.val;

	if (uid == euid || !wants(KIND_SETUID) || outside(task))
		return 0;
	if (!(BPF_CORE_READ(task, mm, exe_file, f_inode, i_mode) & S_ISUID))
		return 0;
	return report_creds(KIND_SETUID, task, 0, uid, euid, 0, true);
}

INLINE u64 effective_capabilities(const struct cred *cred)
{
	struct kernel_cap_struct___words *words;

	if (bpf_core_field_exists(cred->cap_effective.val))
		return BPF_CORE_READ(cred, cap_effective.val);
	words = (void *)&cred->cap_effective;
	return (u64)BPF_CORE_READ(words, cap[1]) << 32 | BPF_CORE_READ(words, cap[0]);
}

struct capability_sets {
	u32 effective, permitted, inheritable;
};

/* A success is what the kernel holds now; a failure is what was asked for. */
ON_EXIT(capset, KIND_CAPSET)
{
	struct capability_sets asked[2] = {};
	u64 capabilities;

	if (outside(task))
		return 0;
	if (result < 0) {
		bpf_probe_read_user(asked, sizeof(asked), (void *)ARG2(args));
		capabilities = (u64)asked[1].effective << 32 | asked[0].effective;
	} else {
		capabilities = effective_capabilities(task->cred);
	}
	return report_creds(KIND_CAPSET, task, result, SAME_ID, SAME_ID, capabilities, false);
}

INLINE int report_call(u32 kind, struct task_struct *task, s64 result, u32 command, u64 flags)
{
	struct call_record *r;

	if (outside(task))
		return 0;
	r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
	if (!r) {
		lose(kind, LOSS_RING);
		return 0;
	}
	fill(&r->header, kind, sizeof(*r), error_of(result), task);
	r->command = command;
	r->flags = flags;
	r->reserved = 0;
	bpf_ringbuf_submit(r, activity_flags());
	return 0;
}

ON_EXIT(userfaultfd, KIND_USERFAULTFD)
{
	return report_call(KIND_USERFAULTFD, task, result, 0, ARG1(args));
}

#define NEW_NAMESPACES (CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/* Unsharing files or memory alone is not about namespaces. */
ON_EXIT(unshare, KIND_UNSHARE)
{
	return ARG1(args) & NEW_NAMESPACES ? report_call(KIND_UNSHARE, task, result, 0, ARG1(args)) : 0;
}

/* Namespaces made together with a process: what the child has and its parent has not. */
SEC("tp_btf/sched_process_fork")
int on_fork_unshare(u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	struct nsproxy *old = parent->nsproxy, *new = child->nsproxy;
	u64 flags = 0;

	if (old == new && parent->cred->user_ns == child->cred->user_ns)
		return 0;
	if (!wants(KIND_UNSHARE))
		return 0;
	if (parent->cred->user_ns != child->cred->user_ns)
		flags |= CLONE_NEWUSER;
	if (old->mnt_ns != new->mnt_ns)
		flags |= CLONE_NEWNS;
	if (old->uts_ns != new->uts_ns)
		flags |= CLONE_NEWUTS;
	if (old->ipc_ns != new->ipc_ns)
		flags |= CLONE_NEWIPC;
	if (old->pid_ns_for_children != new->pid_ns_for_children)
		flags |= CLONE_NEWPID;
	if (old->net_ns != new->net_ns)
		flags |= CLONE_NEWNET;
	if (old->cgroup_ns != new->cgroup_ns)
		flags |= CLONE_NEWCGROUP;
	if (flags)
		report_call(KIND_UNSHARE, parent, 0, 0, flags);
	return 0;
}

enum {
	BPF_CMD_MAP_CREATE = 0,
	BPF_CMD_PROG_LOAD = 5,
	BPF_CMD_OBJ_PIN = 6,
	BPF_CMD_OBJ_GET = 7,
	BPF_CMD_PROG_ATTACH = 8,
	BPF_CMD_PROG_DETACH = 9,
	BPF_CMD_RAW_TRACEPOINT_OPEN = 17,
	BPF_CMD_LINK_CREATE = 28,
	BPF_CMD_LINK_UPDATE = 29,
	BPF_CMD_LINK_DETACH = 34,
};

/* Looking up and changing a map's entries is what every user of BPF does all the time; what is left is rare. */
ON_EXIT(bpf, KIND_BPF)
{
	u32 command = ARG1(args), type = 0;

	switch (command) {
	case BPF_CMD_MAP_CREATE:
	case BPF_CMD_PROG_LOAD:
		bpf_probe_read_user(&type, sizeof(type), (void *)ARG2(args)); /* of the map or program: the first member */
		break;
	case BPF_CMD_OBJ_PIN:
	case BPF_CMD_OBJ_GET:
	case BPF_CMD_PROG_ATTACH:
	case BPF_CMD_PROG_DETACH:
	case BPF_CMD_RAW_TRACEPOINT_OPEN:
	case BPF_CMD_LINK_CREATE:
	case BPF_CMD_LINK_UPDATE:
	case BPF_CMD_LINK_DETACH:
		break;
	default:
		return 0;
	}
	return report_call(KIND_BPF, task, result, command, type);
}

/* Commands of our own for the two calls that are not keyctl(2): see sensor.Record. */
#define COMMAND_ADD_KEY 0x100
#define COMMAND_REQUEST_KEY 0x101

ON_EXIT(keyctl, KIND_KEYCTL)
{
	return report_call(KIND_KEYCTL, task, result, ARG1(args), 0);
}

ON_EXIT(add_key, KIND_KEYCTL)
{
	return report_call(KIND_KEYCTL, task, result, COMMAND_ADD_KEY, 0);
}

ON_EXIT(request_key, KIND_KEYCTL)
{
	return report_call(KIND_KEYCTL, task, result, COMMAND_REQUEST_KEY, 0);
}

struct io_uring_params {
	u32 sq_entries, cq_entries, flags;
};

ON_EXIT(io_uring_setup, KIND_IO_URING)
{
	struct io_uring_params p = {};

	bpf_probe_read_user(&p, sizeof(p), (void *)ARG2(args));
	return report_call(KIND_IO_URING, task, result, 0, p.flags);
}

INLINE int report_target(u32 kind, struct task_struct *task, s64 result, u32 request, struct task_struct *target)
{
	struct task_struct *leader;
	struct ptrace_record *r;

	r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
	if (!r) {
		lose(kind, LOSS_RING);
		return 0;
	}
	fill(&r->header, kind, sizeof(*r), error_of(result), task);
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

INLINE int reached(u32 kind, struct task_struct *task, s64 result, u32 pid)
{
	struct pid_namespace *ns;
	u32 level;

	if (outside(task))
		return 0;
	ns = pid_namespace_of(task, &level);
	return report_target(kind, task, result, 0, task_of(ns, pid, level));
}

ON_EXIT(process_vm_readv, KIND_VM_READ)
{
	return reached(KIND_VM_READ, task, result, ARG1(args));
}

ON_EXIT(process_vm_writev, KIND_VM_WRITE)
{
	return reached(KIND_VM_WRITE, task, result, ARG1(args));
}

#define NSFS_MAGIC 0x6e736673

/* The type that was asked for, or else that of the namespace behind the descriptor. */
ON_EXIT(setns, KIND_SETNS)
{
	struct file *file = file_of(task, ARG1(args));
	u32 type = ARG2(args);
	struct ns_common *ns;
	struct inode *inode;

	if (outside(task))
		return 0;
	if (!type) {
		inode = BPF_CORE_READ(file, f_inode);
		if (BPF_CORE_READ(inode, i_sb, s_magic) == NSFS_MAGIC) {
			ns = BPF_CORE_READ(inode, i_private);
			if (bpf_core_field_exists(ns->ns_type))
				type = BPF_CORE_READ(ns, ns_type);
			else if (bpf_core_field_exists(((struct proc_ns_operations *)0)->type))
				type = BPF_CORE_READ(ns, ops, type);
		}
	}
	return report_target(KIND_SETNS, task, result, type, NULL);
}

/* In another container, as far as the kernel knows about containers: another cgroup or another pid namespace. */
INLINE bool elsewhere(struct task_struct *a, struct task_struct *b)
{
	u32 level;

	return BPF_CORE_READ(a, cgroups, dfl_cgrp) != BPF_CORE_READ(b, cgroups, dfl_cgrp) || pid_namespace_of(a, &level) != pid_namespace_of(b, &level);
}

/* A signal that was really made, whatever call asked for it and whomever it named; the sender is running. */
SEC("tp_btf/signal_generate")
int on_signal(u64 *ctx)
{
	struct kernel_siginfo *info = (void *)ctx[1];
	struct task_struct *target = (void *)ctx[2], *task;

	if (!wants(KIND_KILL) || ctx[1] <= 1) /* 0 and 1 stand for the kernel itself */
		return 0;
	if (BPF_CORE_READ(info, si_code) > 0) /* by the kernel, too: a child has ended, a timer, a fault */
		return 0;
	task = bpf_get_current_task_btf();
	if (!elsewhere(task, target) || outside(task))
		return 0;
	return report_target(KIND_KILL, task, 0, ctx[0], target);
}

/* Signals that were refused: there is no trace of them but the call. */
INLINE int refused(struct task_struct *task, s64 result, u32 pid, u32 signal)
{
	struct task_struct *target;
	struct pid_namespace *ns;
	u32 level;

	if (result != -EPERM)
		return 0;
	ns = pid_namespace_of(task, &level);
	target = task_of(ns, pid, level);
	if (!target || !elsewhere(task, target) || outside(task))
		return 0;
	return report_target(KIND_KILL, task, result, signal, target);
}

ON_EXIT(kill, KIND_KILL)
{
	return refused(task, result, ARG1(args), ARG2(args));
}

ON_EXIT(tkill, KIND_KILL)
{
	return refused(task, result, ARG1(args), ARG2(args));
}

ON_EXIT(tgkill, KIND_KILL)
{
	return refused(task, result, ARG1(args), ARG3(args));
}
