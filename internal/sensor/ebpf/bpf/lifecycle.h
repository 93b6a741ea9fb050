/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Fork, exec and exit, from the scheduler's tracepoints, which cost nothing while a process only runs; and the snapshot of what runs already. */
#pragma once
#include "path.h"

SEC("tp_btf/sched_process_fork")
int on_fork(u64 *ctx)
{
	struct task_struct *child = (void *)ctx[1];
	struct fork_record *r;

	if (child->pid != child->tgid) /* a thread */
		return 0;
	if (child->tgid == control.self || !in_scope(child))
		return 0;
	r = bpf_ringbuf_reserve(&lifecycle, sizeof(*r), 0);
	if (!r) {
		lose(KIND_FORK, LOSS_RING);
		return 0;
	}
	fill(&r->header, KIND_FORK, sizeof(*r), 0, child);
	bpf_ringbuf_submit(r, lifecycle_flags());
	return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct signal_struct *signal = task->signal;
	struct exit_record *r;
	u32 status;

	if (bpf_core_field_exists(struct trace_event_raw_sched_process_exit___dead, group_dead)) {
		if (!(ctx[1] & 1))
			return 0;
	} else if (signal->live.counter != 0) { /* other threads live on */
		return 0;
	}
	if (outside(task))
		return 0;
	status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->group_leader->exit_code;
	r = bpf_ringbuf_reserve(&lifecycle, sizeof(*r), 0);
	if (!r) {
		lose(KIND_EXIT, LOSS_RING);
		return 0;
	}
	fill(&r->header, KIND_EXIT, sizeof(*r), 0, task);
	r->status = status;
	r->reserved = 0;
	bpf_ringbuf_submit(r, lifecycle_flags());
	return 0;
}

INLINE void fill_stdio(struct stdio *out, struct task_struct *task, u32 fd)
{
	struct file *file = file_of(task, fd);
	struct inode *inode;
	struct sock *sk;
	u32 mode, major;

	__builtin_memset(out, 0, sizeof(*out));
	if (!file)
		return; /* STDIO_CLOSED */
	inode = BPF_CORE_READ(file, f_inode);
	out->inode = BPF_CORE_READ(inode, i_ino);
	mode = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	out->kind = STDIO_OTHER;
	if (mode == S_IFREG) {
		out->kind = STDIO_FILE;
	} else if (mode == S_IFIFO) {
		out->kind = STDIO_PIPE;
	} else if (mode == S_IFCHR) {
		major = BPF_CORE_READ(inode, i_rdev) >> 20;
		/* Consoles and serial lines, /dev/tty, pseudo terminals, and the serial lines of ARM and of virtual machines. */
		if (major == 4 || major == 5 || (major >= 136 && major <= 143) || major == 204 || major == 229)
			out->kind = STDIO_TTY;
	} else if (mode == S_IFSOCK) {
		sk = sock_of(file);
		fill_endpoints(&out->ends, sk);
		if (out->ends.family == AF_INET || out->ends.family == AF_INET6)
			out->kind = STDIO_SOCKET;
		else if (out->ends.family == AF_UNIX)
			out->kind = STDIO_UNIX;
	}
}

/* Everything of an exec record but the strings of the new memory. Returns the record's length so far. */
INLINE u32 fill_exec(struct exec_record *r, struct scratch *s, struct task_struct *task)
{
	struct file *exe = task->mm->exe_file;
	struct inode *inode = BPF_CORE_READ(exe, f_inode), *upper;
	struct fs_struct *fs = task->fs;
	u32 off = sizeof(*r);
	u8 form;

	fill_process(&r->header.process, task);
	r->flags = 0;
	r->inode = BPF_CORE_READ(inode, i_ino);
	r->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	if (exe && !BPF_CORE_READ(inode, i_nlink))
		r->flags |= EXEC_MEMORY;
	upper = upper_inode(inode);
	if (upper) {
		r->flags |= EXEC_UPPER;
		inode = upper; /* the overlay's own copy of times and size can be stale */
	}
	r->file_size = BPF_CORE_READ(inode, i_size);
	r->mtime = mtime_of(inode);
	r->ctime = ctime_of(inode);
	fill_stdio(&r->in, task, 0);
	fill_stdio(&r->out, task, 1);
	r->script_len = 0;
	r->args_len = 0;
	r->env_len = 0;
	r->reserved = 0;

	r->exe_len = append_path(s, off, PATH_MAX, &exe->f_path, task, &form);
	r->exe_form = form;
	off += r->exe_len;
	r->cwd_len = append_path(s, off, CWD_MAX, &fs->pwd, task, &form);
	r->cwd_form = form;
	return off + r->cwd_len;
}

/* Looks at one string of the environment; keeps it if it is one that changes what the dynamic loader loads. */
static long look_at_env(u64 i, struct scratch **ctx)
{
	struct scratch *s = *ctx;
	struct environment *e = &s->environment;
	u32 off = e->off;
	bool keep;
	u64 head;
	long n;

	if (e->at >= e->end || off + ENV_STRING_MAX > e->limit)
		return 1;
	off &= SCRATCH_MASK;
	n = bpf_probe_read_user_str(&s->data[off], ENV_STRING_MAX, (void *)e->at);
	if (n <= 0)
		return 1;
	__builtin_memcpy(&head, &s->data[off], sizeof(head));
	/* "LD_PRELO" and "LD_LIBRA" */
	keep = !e->inside && n > 8 && (head == 0x4f4c4552505f444cULL || head == 0x415242494c5f444cULL);
	e->inside = n == ENV_STRING_MAX;
	e->at += e->inside ? n - 1 : n;
	if (keep)
		e->off = off + (u32)n;
	return 0;
}

SEC("tp_btf/sched_process_exec")
int on_exec(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct linux_binprm *bprm = (void *)ctx[2];
	struct mm_struct *mm = task->mm;
	struct environment *e;
	struct exec_record *r;
	struct scratch *s;
	u64 start, len;
	u32 off, n;
	long got;

	if (outside(task))
		return 0;
	s = claim();
	if (!s) {
		lose(KIND_EXEC, LOSS_SCRATCH);
		return 0;
	}
	r = (void *)s->data;
	off = fill_exec(r, s, task);

	if (bprm->filename != bprm->interp) {
		off &= SCRATCH_MASK;
		got = bpf_probe_read_kernel_str(&s->data[off], SCRIPT_MAX, bprm->filename);
		if (got > 0) {
			r->script_len = got - 1;
			off += got - 1;
		}
	}

	start = mm->arg_start;
	len = mm->arg_end - start;
	if (len > ARGS_MAX) {
		len = ARGS_MAX;
		r->flags |= EXEC_ARGS_CUT;
	}
	n = len;
	off &= SCRATCH_MASK;
	OPAQUE(n);
	if (n > ARGS_MAX)
		n = ARGS_MAX;
	if (n && bpf_probe_read_user(&s->data[off], n, (void *)start)) {
		lose(KIND_EXEC, LOSS_READ);
		r->flags |= EXEC_ARGS_CUT;
		n = 0;
	}
	r->args_len = n;
	off += n;

	e = &s->environment;
	e->at = mm->env_start;
	e->end = mm->env_end;
	e->off = off;
	e->limit = off + ENV_MAX;
	e->inside = false;
	bpf_loop(1 << 14, look_at_env, &s, 0);
	r->env_len = e->off - off;
	off = e->off;

	fill_header(&r->header, KIND_EXEC, off, 0);
	if (off > SCRATCH_SIZE)
		off = SCRATCH_SIZE;
	if (bpf_ringbuf_output(&lifecycle, s->data, off, lifecycle_flags()))
		lose(KIND_EXEC, LOSS_RING);
	release(s);
	return 0;
}

SEC("iter/task")
int snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct exec_record *r;
	struct scratch *s;
	u32 off;

	if (!task || task->pid != task->tgid || !task->mm || task->tgid == control.self || !in_scope(task))
		return 0;
	s = claim_slot(SCRATCH_SLOTS);
	if (!s) {
		lose(KIND_EXEC, LOSS_SCRATCH);
		return 0;
	}
	r = (void *)s->data;
	off = fill_exec(r, s, task);
	r->flags |= EXEC_SNAPSHOT;
	fill_header(&r->header, KIND_EXEC, off, 0);
	if (off > SCRATCH_SIZE)
		off = SCRATCH_SIZE;
	bpf_seq_write(ctx->meta->seq, s->data, off);
	release(s);
	return 0;
}
