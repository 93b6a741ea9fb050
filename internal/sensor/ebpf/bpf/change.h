/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Changes of files and folders, when the call returns. Where the kernel leaves a descriptor or a root behind, the path is the
 * kernel's own. Where it leaves nothing (rename, link, symlink, unlink and chmod by name), the path is what stands in the
 * program's memory at that moment, after the folder that a relative one starts from: symbolic links in it are not followed.
 */
#pragma once
#include "path.h"

/* Starts a record in scratch; NULL if the process is outside or no scratch is free. */
INLINE struct scratch *begin_file(u32 kind, struct task_struct *task)
{
	struct scratch *s;

	if (outside(task))
		return NULL;
	s = claim();
	if (!s) {
		lose(kind, LOSS_SCRATCH);
		return NULL;
	}
	__builtin_memset(s->data, 0, sizeof(struct file_record));
	return s;
}

INLINE void describe_file(struct file_record *r, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode), *upper;

	r->inode = BPF_CORE_READ(inode, i_ino);
	r->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	r->mode = BPF_CORE_READ(inode, i_mode);
	if (!BPF_CORE_READ(inode, i_nlink))
		r->file_flags |= EXEC_MEMORY;
	upper = upper_inode(inode);
	if (upper) {
		r->file_flags |= EXEC_UPPER;
		inode = upper;
	}
	r->file_size = BPF_CORE_READ(inode, i_size);
	r->mtime = mtime_of(inode);
	r->ctime = ctime_of(inode);
}

INLINE u32 append_file(struct scratch *s, u32 off, struct file *file, struct task_struct *task)
{
	struct file_record *r = (void *)s->data;
	u8 form;

	r->path_len = append_path(s, off, PATH_MAX, &file->f_path, task, &form);
	r->path_form = form;
	return off + r->path_len;
}

INLINE u32 append_name_at(struct scratch *s, u32 off, struct given g, struct task_struct *task)
{
	struct file_record *r = (void *)s->data;
	u32 start = off;
	u8 form;

	r->path_len = append_given(s, off, g);
	off += r->path_len;
	r->base_len = append_base(s, off, start, r->path_len, g.dirfd, task, &form);
	r->base_form = form;
	return off + r->base_len;
}

INLINE u32 append_target_at(struct scratch *s, u32 off, struct given g, struct task_struct *task)
{
	struct file_record *r = (void *)s->data;
	u32 start = off;
	u8 form;

	r->target_len = append_given(s, off, g);
	off += r->target_len;
	r->target_base_len = append_base(s, off, start, r->target_len, g.dirfd, task, &form);
	r->target_base_form = form;
	return off + r->target_base_len;
}

INLINE int end_file(struct scratch *s, u32 kind, u32 off, s64 result, struct task_struct *task)
{
	fill((void *)s->data, kind, off, error_of(result), task);
	return ship(s, kind, off);
}

/* A call that names two files. */
INLINE int two_names(u32 kind, struct task_struct *task, s64 result, struct given path, struct given target, u32 flags)
{
	struct scratch *s = begin_file(kind, task);
	u32 off = sizeof(struct file_record);

	if (!s)
		return 0;
	((struct file_record *)s->data)->flags = flags;
	off = append_name_at(s, off, path, task);
	off = append_target_at(s, off, target, task);
	return end_file(s, kind, off, result, task);
}

/* A call that names one. */
INLINE int one_name(u32 kind, struct task_struct *task, s64 result, struct given path, u32 flags, u32 mode)
{
	struct scratch *s = begin_file(kind, task);
	struct file_record *r;
	u32 off = sizeof(*r);

	if (!s)
		return 0;
	r = (void *)s->data;
	r->flags = flags;
	r->mode = mode;
	off = append_name_at(s, off, path, task);
	return end_file(s, kind, off, result, task);
}

ON_EXIT(renameat2, KIND_RENAME)
{
	return two_names(KIND_RENAME, task, result, GIVEN(ARG1(args), ARG2(args)), GIVEN(ARG3(args), ARG4(args)), ARG5(args));
}

ON_EXIT(renameat, KIND_RENAME)
{
	return two_names(KIND_RENAME, task, result, GIVEN(ARG1(args), ARG2(args)), GIVEN(ARG3(args), ARG4(args)), 0);
}

/* The path is the new link, the target what it leads to. */
ON_EXIT(linkat, KIND_LINK)
{
	return two_names(KIND_LINK, task, result, GIVEN(ARG3(args), ARG4(args)), GIVEN(ARG1(args), ARG2(args)), ARG5(args));
}

/* The target is the text of the link: it is not relative to anything yet. */
INLINE int symlinked(struct task_struct *task, s64 result, struct given path, struct given text)
{
	struct scratch *s = begin_file(KIND_SYMLINK, task);
	struct file_record *r;
	u32 off = sizeof(*r);

	if (!s)
		return 0;
	r = (void *)s->data;
	off = append_name_at(s, off, path, task);
	r->target_len = append_given(s, off, text);
	return end_file(s, KIND_SYMLINK, off + r->target_len, result, task);
}

ON_EXIT(symlinkat, KIND_SYMLINK)
{
	return symlinked(task, result, GIVEN(ARG2(args), ARG3(args)), GIVEN(0, ARG1(args)));
}

ON_EXIT(unlinkat, KIND_UNLINK)
{
	if (ARG3(args) & AT_REMOVEDIR)
		return 0;
	return one_name(KIND_UNLINK, task, result, GIVEN(ARG1(args), ARG2(args)), ARG3(args), 0);
}

#define MODE_BITS 07777

ON_EXIT(fchmodat, KIND_CHMOD)
{
	return one_name(KIND_CHMOD, task, result, GIVEN(ARG1(args), ARG2(args)), 0, ARG3(args) & MODE_BITS);
}

ON_EXIT(fchmodat2, KIND_CHMOD)
{
	return one_name(KIND_CHMOD, task, result, GIVEN(ARG1(args), ARG2(args)), ARG4(args), ARG3(args) & MODE_BITS);
}

ON_EXIT(fchmod, KIND_CHMOD)
{
	struct file *file = file_of(task, ARG1(args));
	struct scratch *s;
	struct file_record *r;
	u32 off = sizeof(*r);

	if (!file)
		return 0;
	s = begin_file(KIND_CHMOD, task);
	if (!s)
		return 0;
	r = (void *)s->data;
	describe_file(r, file);
	r->mode = ARG2(args) & MODE_BITS;
	off = append_file(s, off, file, task);
	return end_file(s, KIND_CHMOD, off, result, task);
}

#if defined(__TARGET_ARCH_x86)
ON_EXIT(rename, KIND_RENAME)
{
	return two_names(KIND_RENAME, task, result, GIVEN(AT_FDCWD, ARG1(args)), GIVEN(AT_FDCWD, ARG2(args)), 0);
}

ON_EXIT(link, KIND_LINK)
{
	return two_names(KIND_LINK, task, result, GIVEN(AT_FDCWD, ARG2(args)), GIVEN(AT_FDCWD, ARG1(args)), 0);
}

ON_EXIT(symlink, KIND_SYMLINK)
{
	return symlinked(task, result, GIVEN(AT_FDCWD, ARG2(args)), GIVEN(0, ARG1(args)));
}

ON_EXIT(unlink, KIND_UNLINK)
{
	return one_name(KIND_UNLINK, task, result, GIVEN(AT_FDCWD, ARG1(args)), 0, 0);
}

ON_EXIT(chmod, KIND_CHMOD)
{
	return one_name(KIND_CHMOD, task, result, GIVEN(AT_FDCWD, ARG1(args)), 0, ARG2(args) & MODE_BITS);
}
#endif

/* The new file knows its name; only a failure leaves nothing but what was given. */
ON_EXIT(memfd_create, KIND_MEMFD)
{
	struct file *file = result >= 0 ? file_of(task, result) : NULL;
	struct scratch *s = begin_file(KIND_MEMFD, task);
	struct file_record *r;
	u32 off = sizeof(*r);

	if (!s)
		return 0;
	r = (void *)s->data;
	r->flags = ARG2(args);
	if (file) {
		describe_file(r, file);
		off = append_file(s, off, file, task);
	} else {
		r->path_len = append_given(s, off, GIVEN(AT_FDCWD, ARG1(args)));
		off += r->path_len;
	}
	return end_file(s, KIND_MEMFD, off, result, task);
}

ON_EXIT(chroot, KIND_CHROOT)
{
	struct scratch *s;
	struct fs_struct *fs = task->fs;
	struct file_record *r;
	u32 off = sizeof(*r);
	u8 form;

	if (result < 0)
		return one_name(KIND_CHROOT, task, result, GIVEN(AT_FDCWD, ARG1(args)), 0, 0);
	s = begin_file(KIND_CHROOT, task);
	if (!s)
		return 0;
	r = (void *)s->data;
	r->path_len = append_mounted_path(s, off, PATH_MAX, &fs->root, &form);
	r->path_form = form;
	return end_file(s, KIND_CHROOT, off + r->path_len, result, task);
}

ON_EXIT(pivot_root, KIND_PIVOT_ROOT)
{
	return two_names(KIND_PIVOT_ROOT, task, result, GIVEN(AT_FDCWD, ARG1(args)), GIVEN(AT_FDCWD, ARG2(args)), 0);
}

/* Kernels that load modules have these calls; others have not even the hook. */
ON_EXIT(finit_module, KIND_MODULE)
{
	struct file *file = file_of(task, ARG1(args));
	struct scratch *s = begin_file(KIND_MODULE, task);
	struct file_record *r;
	u32 off = sizeof(*r);

	if (!s)
		return 0;
	r = (void *)s->data;
	r->flags = ARG3(args);
	if (file) {
		describe_file(r, file);
		off = append_file(s, off, file, task);
	}
	return end_file(s, KIND_MODULE, off, result, task);
}

ON_EXIT(init_module, KIND_MODULE)
{
	struct scratch *s = begin_file(KIND_MODULE, task);

	return s ? end_file(s, KIND_MODULE, sizeof(struct file_record), result, task) : 0;
}
