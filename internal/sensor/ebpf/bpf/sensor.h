/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What all programs share: the maps, the switches, who is acting, scratch memory and the way into the rings. */
#pragma once
#include "kernel.h"
#include "event.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define INLINE static __always_inline

/* Keep the compiler from merging a bound with code that the verifier then cannot follow. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20); /* set by the loader */
} lifecycle SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* set by the loader */
} activity SEC(".maps");

/* Lost events: index kind * LOSS_COUNT + reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KIND_COUNT * LOSS_COUNT);
	__type(key, u32);
	__type(value, u64);
} lost SEC(".maps");

/* The one cgroup whose processes are watched, when scoped is set. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} scope SEC(".maps");

const volatile bool scoped = false;
const volatile u64 scope_id = 0; /* the cgroup's id, for tasks other than the current one */
const volatile u64 lifecycle_mark = 512 << 10; /* fill at which the reader is woken early */
const volatile u64 activity_mark = 1 << 20;
const volatile bool inet_by_syscall = false; /* there is no cgroup v2 hierarchy: take connect and bind from the calls */

#define READ_WORDS 64

/* The switches that user space changes while the programs run; mapped into the sensor's memory. */
struct switches {
	u64 wanted;   /* bit 1 << kind */
	u32 self;     /* the sensor's own tgid: never reported */
	u32 sleeping; /* the reader waits and may be woken */
	u32 reading;  /* opens for reading matter too: 1 by the file's name, 2 also by the names of the two folders above it */
	u32 reserved;
	u64 read_names[READ_WORDS];   /* a bit for each hash of a name that matters: see name_bit */
	u64 read_folders[READ_WORDS];
};
volatile struct switches control SEC(".data.control") = {};

/* ---- scratch memory --------------------------------------------------------------------------------------------- */

/*
 * Records of variable length are built here and copied into a ring. A program can be preempted, or interrupted by another, on its
 * CPU; so buffers are claimed by compare-and-swap and not by CPU alone. The slack behind the mask is what one bounded write
 * at the last masked offset can reach.
 */
#define SCRATCH_SIZE 16384
#define SCRATCH_MASK (SCRATCH_SIZE - 1)
#define SCRATCH_SLACK 4352
#define SCRATCH_SLOTS 2

/* Where a loop stands. It is here and not on the stack so that the verifier does not follow its values through every turn. */
struct walk {
	struct dentry *dentry;
	struct mount *mount;
	struct dentry *root_dentry;
	struct mount *root_mount;
	u32 off; /* where the next component goes */
	u32 end; /* where the room ends */
	u32 form;
	u32 reserved;
};

struct environment {
	u64 at, end; /* in the process's memory */
	u32 off, limit;
	u32 inside; /* at is in the middle of a string */
	u32 reserved;
};

struct scratch {
	u64 busy;
	struct walk walk;
	struct environment environment;
	u8 data[SCRATCH_SIZE + SCRATCH_SLACK];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS + 1); /* the last is the snapshot's */
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

INLINE struct scratch *claim_slot(u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &slot);
	if (s && __sync_val_compare_and_swap(&s->busy, 0, 1) == 0)
		return s;
	return NULL;
}

INLINE struct scratch *claim(void)
{
	struct scratch *s = claim_slot(0);
	return s ? s : claim_slot(1);
}

INLINE void release(struct scratch *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

/* ---- counting and shipping -------------------------------------------------------------------------------------- */

INLINE void lose(u32 kind, u32 reason)
{
	u32 key = kind * LOSS_COUNT + reason;
	u64 *n = bpf_map_lookup_elem(&lost, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
}

/* The reader polls. Only a ring that fills up wakes it, and only once for each time it went to sleep. */
INLINE u64 wakeup(void *ring, u64 mark)
{
	if (!control.sleeping || bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < mark)
		return BPF_RB_NO_WAKEUP;
	control.sleeping = 0;
	return BPF_RB_FORCE_WAKEUP;
}

#define lifecycle_flags() wakeup(&lifecycle, lifecycle_mark)
#define activity_flags() wakeup(&activity, activity_mark)

/* ---- who ---------------------------------------------------------------------------------------------------------- */

INLINE bool wants(u32 kind)
{
	return control.wanted & (1ULL << kind);
}

/* Whether the current process is to be left out. */
INLINE bool outside(struct task_struct *task)
{
	if (task->tgid == control.self)
		return true;
	return scoped && bpf_current_task_under_cgroup(&scope, 0) != 1;
}

/* The same for the programs in a cgroup's own hooks, which run only for the scope anyway. */
INLINE bool is_self(void)
{
	return bpf_get_current_pid_tgid() >> 32 == control.self;
}

/* Whether the call did not end but will be started again. */
INLINE bool restarts(s64 result)
{
	return result <= -ERESTARTSYS && result > -4096;
}

/* The arguments of a system call. */
struct args {
	u64 a[5];
};

#define ARG1(args) ((args)->a[0])
#define ARG2(args) ((args)->a[1])
#define ARG3(args) ((args)->a[2])
#define ARG4(args) ((args)->a[3])
#define ARG5(args) ((args)->a[4])

#define NATIVE_EXIT(name, kind) \
	SEC("tracepoint/syscalls/sys_exit_" #name) \
	int on_##name(struct sys_exit *ctx) \
	{ \
		struct task_struct *task; \
		struct pt_regs *saved; \
		if (!wants(kind) || restarts(ctx->result)) \
			return 0; \
		task = bpf_get_current_task_btf(); \
		saved = (void *)bpf_task_pt_regs(task); \
		struct args args = {{SAVED1(saved), SAVED2(saved), SAVED3(saved), SAVED4(saved), SAVED5(saved)}}; \
		return exit_##name(task, &args, ctx->result); \
	}

#if defined(__TARGET_ARCH_x86)
/* The same call made by 32-bit code, on which no tracepoint of the call is hit: see compat.h. */
#define COMPAT_EXIT(name, kind) \
	SEC("tp_btf/sys_exit") \
	int on32_##name(u64 *ctx) \
	{ \
		struct pt_regs *saved = (void *)ctx[0]; \
		s64 result = ctx[1]; \
		if (!wants(kind) || restarts(result)) \
			return 0; \
		struct args args = {{(u32)saved->bx, (u32)saved->cx, (u32)saved->dx, (u32)saved->si, (u32)saved->di}}; \
		return exit_##name(bpf_get_current_task_btf(), &args, result); \
	}
#else
#define COMPAT_EXIT(name, kind)
#endif

/*
 * The programs at the exit of one system call: name(task, args, result) follows. They run only if the kind is wanted and the call has ended.
 * An argument is as wide as a register: what the call takes as 32 bits must be cut to that.
 */
#define ON_EXIT(name, kind) \
	INLINE int exit_##name(struct task_struct *task, const struct args *args, s64 result); \
	NATIVE_EXIT(name, kind) \
	COMPAT_EXIT(name, kind) \
	INLINE int exit_##name(struct task_struct *task, const struct args *args, s64 result)

struct ancestry {
	u64 cgroup;
	u64 inside;
};

static long climb(u64 i, struct ancestry *a)
{
	struct cgroup *cgroup = (void *)a->cgroup;

	if (!cgroup)
		return 1;
	if (BPF_CORE_READ(cgroup, kn, id) == scope_id) {
		a->inside = 1;
		return 1;
	}
	/* A cgroup begins with its css; the parent's css is the parent. */
	a->cgroup = (u64)BPF_CORE_READ(cgroup, self.parent);
	return 0;
}

/* Whether any task, not just the current one, belongs to the scope. */
INLINE bool in_scope(struct task_struct *task)
{
	struct ancestry a = {};

	if (!scoped)
		return true;
	a.cgroup = (u64)BPF_CORE_READ(task, cgroups, dfl_cgrp);
	bpf_loop(1 << 16, climb, &a, 0);
	return a.inside;
}

INLINE void fill_process(struct process *p, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = leader->real_parent;
	const struct cred *cred = task->cred;
	struct pid *pid = leader->thread_pid;
	u32 level = pid->level;
	struct upid upid = {};

	p->start = leader->start_boottime;
	p->parent_start = parent->group_leader->start_boottime;
	p->cgroup = task->cgroups->dfl_cgrp->kn->id;
	p->pid = task->tgid;
	p->tid = task->pid;
	p->ppid = parent->tgid;
	bpf_probe_read_kernel(&upid, bpf_core_type_size(struct upid), (void *)&pid->numbers[0] + level * bpf_core_type_size(struct upid));
	p->nspid = upid.nr;
	p->pidns = BPF_CORE_READ(upid.ns, ns.inum);
	p->mntns = task->nsproxy->mnt_ns->ns.inum;
	p->uid = cred->uid.val;
	p->euid = cred->euid.val;
	p->gid = cred->gid.val;
	p->egid = cred->egid.val;
	bpf_probe_read_kernel(p->comm, sizeof(p->comm), &task->comm);
}

INLINE void fill_header(struct header *h, u32 kind, u32 size, s64 error)
{
	h->size = size;
	h->kind = kind;
	h->time = bpf_ktime_get_boot_ns();
	h->error = error;
	h->reserved = 0;
}

INLINE u32 error_of(s64 result)
{
	return result < 0 && result > -4096 ? -result : 0;
}

INLINE void fill(struct header *h, u32 kind, u32 size, s64 error, struct task_struct *task)
{
	fill_header(h, kind, size, error);
	fill_process(&h->process, task);
}

/* Ships what is in scratch as one activity record of len bytes, whose header is filled, and gives scratch back. */
INLINE int ship(struct scratch *s, u32 kind, u32 len)
{
	if (len > SCRATCH_SIZE)
		len = SCRATCH_SIZE;
	if (bpf_ringbuf_output(&activity, s->data, len, activity_flags()))
		lose(kind, LOSS_RING);
	release(s);
	return 0;
}
