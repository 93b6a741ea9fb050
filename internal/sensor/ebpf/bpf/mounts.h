/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Mounts, by mount(2) and by the calls that split it up. What move_mount and fsmount leave behind is a descriptor, and it knows the mount. */
#pragma once
#include "path.h"

INLINE struct scratch *begin_mount(u32 kind, struct task_struct *task, u64 flags)
{
	struct mount_record *r;
	struct scratch *s;

	if (outside(task))
		return NULL;
	s = claim();
	if (!s) {
		lose(kind, LOSS_SCRATCH);
		return NULL;
	}
	r = (void *)s->data;
	__builtin_memset(r, 0, sizeof(*r));
	r->flags = flags;
	return s;
}

INLINE u32 append_source_at(struct scratch *s, u32 off, s32 dirfd, u64 name, struct task_struct *task)
{
	struct mount_record *r = (void *)s->data;
	u32 start = off;
	u8 form;

	r->source_len = append_given(s, off, GIVEN(dirfd, name));
	off += r->source_len;
	r->source_base_len = append_base(s, off, start, r->source_len, dirfd, task, &form);
	r->source_base_form = form;
	return off + r->source_base_len;
}

INLINE u32 append_mount_target_at(struct scratch *s, u32 off, s32 dirfd, u64 name, struct task_struct *task)
{
	struct mount_record *r = (void *)s->data;
	u32 start = off;
	u8 form;

	r->target_len = append_given(s, off, GIVEN(dirfd, name));
	off += r->target_len;
	r->target_base_len = append_base(s, off, start, r->target_len, dirfd, task, &form);
	r->target_base_form = form;
	return off + r->target_base_len;
}

#define MOUNT_NAME_MAX 256

INLINE u32 append_kernel(struct scratch *s, u32 off, const char *name, u32 max)
{
	long got;

	off &= SCRATCH_MASK;
	got = bpf_probe_read_kernel_str(&s->data[off], max, name);
	return got > 0 ? got - 1 : 0;
}

/* The source of the mount behind a descriptor. */
INLINE u32 append_mount_source(struct scratch *s, u32 off, struct file *file)
{
	struct mount_record *r = (void *)s->data;
	struct mount *mount = real_mount(BPF_CORE_READ(file, f_path.mnt));

	r->source_len = append_kernel(s, off, BPF_CORE_READ(mount, mnt_devname), CWD_MAX);
	return off + r->source_len;
}

INLINE u32 append_mount_type(struct scratch *s, u32 off, struct file *file)
{
	struct mount_record *r = (void *)s->data;

	r->type_len = append_kernel(s, off, BPF_CORE_READ(file, f_path.mnt, mnt_sb, s_type, name), MOUNT_NAME_MAX);
	return off + r->type_len;
}

INLINE int end_mount(struct scratch *s, u32 kind, u32 off, s64 result, struct task_struct *task)
{
	fill((void *)s->data, kind, off, error_of(result), task);
	return ship(s, kind, off);
}

ON_EXIT(mount, KIND_MOUNT)
{
	struct scratch *s = begin_mount(KIND_MOUNT, task, ARG4(args));
	struct mount_record *r;
	u32 off = sizeof(*r);
	long got;

	if (!s)
		return 0;
	r = (void *)s->data;
	r->source_len = append_given(s, off, GIVEN(0, ARG1(args))); /* a device, a folder or any word: not made absolute */
	off += r->source_len;
	off = append_mount_target_at(s, off, AT_FDCWD, ARG2(args), task);
	off &= SCRATCH_MASK;
	got = bpf_probe_read_user_str(&s->data[off], MOUNT_NAME_MAX, (void *)ARG3(args));
	if (got > 0)
		r->type_len = got - 1;
	return end_mount(s, KIND_MOUNT, off + r->type_len, result, task);
}

ON_EXIT(move_mount, KIND_MOUNT)
{
	struct scratch *s = begin_mount(KIND_MOUNT, task, ARG5(args));
	struct file *file = NULL;
	struct mount_record *r;
	u32 off = sizeof(*r);
	u8 form;

	if (!s)
		return 0;
	r = (void *)s->data;
	if (ARG5(args) & MOVE_MOUNT_F_EMPTY_PATH)
		file = file_of(task, ARG1(args));
	if (file)
		off = append_mount_source(s, off, file);
	else
		off = append_source_at(s, off, ARG1(args), ARG2(args), task);
	if (file && result >= 0) { /* the mount hangs where it was moved to */
		r->target_len = append_path(s, off, PATH_MAX, &file->f_path, task, &form);
		r->target_form = form;
		off += r->target_len;
	} else {
		off = append_mount_target_at(s, off, ARG3(args), ARG4(args), task);
	}
	if (file)
		off = append_mount_type(s, off, file);
	return end_mount(s, KIND_MOUNT, off, result, task);
}

/* A mount that hangs nowhere yet: there is no target. */
ON_EXIT(fsmount, KIND_MOUNT)
{
	struct scratch *s = begin_mount(KIND_MOUNT, task, ARG3(args));
	struct file *file;
	u32 off = sizeof(struct mount_record);

	if (!s)
		return 0;
	file = result >= 0 ? file_of(task, result) : NULL;
	if (file) {
		off = append_mount_source(s, off, file);
		off = append_mount_type(s, off, file);
	}
	return end_mount(s, KIND_MOUNT, off, result, task);
}

/* A copy of a mount is the first half of a bind mount; opening one is nothing. */
ON_EXIT(open_tree, KIND_MOUNT)
{
	struct scratch *s;
	u32 off = sizeof(struct mount_record);

	if (!(ARG3(args) & OPEN_TREE_CLONE))
		return 0;
	s = begin_mount(KIND_MOUNT, task, ARG3(args));
	if (!s)
		return 0;
	off = append_source_at(s, off, ARG1(args), ARG2(args), task);
	return end_mount(s, KIND_MOUNT, off, result, task);
}

ON_EXIT(umount, KIND_UMOUNT)
{
	struct scratch *s = begin_mount(KIND_UMOUNT, task, ARG2(args));
	u32 off = sizeof(struct mount_record);

	if (!s)
		return 0;
	off = append_mount_target_at(s, off, AT_FDCWD, ARG1(args), task);
	return end_mount(s, KIND_UMOUNT, off, result, task);
}
