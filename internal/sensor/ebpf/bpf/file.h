/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Files opened for writing, and for reading where the name matters, when the call returns. A success is described by the file that the kernel opened, never by the string
 * that the program passed; a failure has only that string.
 */
#pragma once
#include "path.h"

struct open_how {
	u64 flags, mode, resolve;
};

/* Devices that hold nothing: writing to them is no event. The kernel's dev_t. */
INLINE bool is_sink(struct inode *inode)
{
	u32 rdev;

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFCHR)
		return false;
	rdev = BPF_CORE_READ(inode, i_rdev);
	return rdev == (1 << 20 | 3) || rdev == (1 << 20 | 5) || rdev == (1 << 20 | 7) || rdev == (5 << 20 | 0); /* null, zero, full, tty */
}

INLINE bool intends_to_write(u64 flags)
{
	return flags & (O_ACCMODE | O_CREAT | O_TRUNC);
}

/* Where a name stands in the tables of names that matter; readpaths.go computes the same. */
INLINE u32 name_bit(struct dentry *dentry)
{
	u32 len = BPF_CORE_READ(dentry, d_name.len);
	u64 head = 0;

	bpf_probe_read_kernel(&head, sizeof(head), BPF_CORE_READ(dentry, d_name.name));
	if (len < 8)
		head &= (1ULL << (len * 8)) - 1;
	return ((head ^ (u64)len << 56) * 0x9e3779b97f4a7c15ULL) >> 52;
}

/* Whether a file that was opened for reading may matter. User space has the last word. */
INLINE bool may_matter(struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	u32 bit = name_bit(dentry);

	if (control.read_names[bit >> 6 & (READ_WORDS - 1)] & 1ULL << (bit & 63))
		return true;
	if (control.reading < 2)
		return false;
	dentry = BPF_CORE_READ(dentry, d_parent);
	bit = name_bit(dentry);
	if (control.read_folders[bit >> 6 & (READ_WORDS - 1)] & 1ULL << (bit & 63))
		return true;
	bit = name_bit(BPF_CORE_READ(dentry, d_parent));
	return control.read_folders[bit >> 6 & (READ_WORDS - 1)] & 1ULL << (bit & 63);
}

/* Whether the call's flags alone say that it is no event. */
INLINE bool is_idle(u64 flags)
{
	return !intends_to_write(flags) && !control.reading;
}

/* The flags are known for sure where the call takes them in a register; in memory they may have been changed since. */
INLINE int opened_file(struct task_struct *task, s64 result, struct file *file, struct given name, u64 flags, bool sure)
{
	struct open_record *r;
	struct scratch *s;
	struct inode *inode = NULL;
	u32 mode, off = sizeof(*r);
	u8 form = PATH_GIVEN;
	bool read = !intends_to_write(flags);

	if (result >= 0) {
		mode = BPF_CORE_READ(file, f_mode);
		if (mode & FMODE_PATH)
			return 0;
		if (!file || (sure && (flags & O_ACCMODE) && !(mode & FMODE_WRITE))) {
			/* Another thread has closed or replaced the descriptor already. What is left is what was asked for. */
			file = NULL;
		} else if (!(mode & (FMODE_WRITE | FMODE_CREATED)) && !(flags & O_TRUNC)) {
			if (!control.reading || !may_matter(file))
				return 0;
			read = true;
			inode = BPF_CORE_READ(file, f_inode);
		} else {
			read = false;
			inode = BPF_CORE_READ(file, f_inode);
			if (is_sink(inode))
				return 0;
		}
	} else if (restarts(result) || (read && result != -EACCES && result != -EPERM)) {
		return 0;
	}
	if (read && !control.reading)
		return 0;
	s = claim();
	if (!s) {
		lose(KIND_OPEN, LOSS_SCRATCH);
		return 0;
	}
	r = (void *)s->data;
	__builtin_memset(r, 0, sizeof(*r));
	r->flags = flags;
	r->read = read;
	if (file) {
		r->inode = BPF_CORE_READ(inode, i_ino);
		r->dev = BPF_CORE_READ(inode, i_sb, s_dev);
		r->path_len = append_path(s, off, PATH_MAX, &file->f_path, task, &form);
		r->path_form = form;
		off += r->path_len;
	} else if (name.name) {
		r->path_len = append_given(s, off, name);
		off += r->path_len;
		r->base_len = append_base(s, off, sizeof(*r), r->path_len, name.dirfd, task, &form);
		r->base_form = form;
		off += r->base_len;
	}
	fill(&r->header, KIND_OPEN, off, error_of(result), task);
	return ship(s, KIND_OPEN, off);
}

INLINE int opened(struct task_struct *task, s64 result, struct given name, u64 flags, bool sure)
{
	if (outside(task))
		return 0;
	return opened_file(task, result, result >= 0 ? file_of(task, result) : NULL, name, flags, sure);
}

ON_EXIT(openat, KIND_OPEN)
{
	u64 flags = ARG3(args);

	return is_idle(flags) ? 0 : opened(task, result, GIVEN(ARG1(args), ARG2(args)), flags, true);
}

/* The flags are in memory that the program may have changed since, so a success is judged by the file alone. */
ON_EXIT(openat2, KIND_OPEN)
{
	struct open_how how = {};

	bpf_probe_read_user(&how, sizeof(how), (void *)ARG3(args));
	if (result < 0 && is_idle(how.flags))
		return 0;
	return opened(task, result, GIVEN(ARG1(args), ARG2(args)), how.flags, false);
}

ON_EXIT(open_by_handle_at, KIND_OPEN)
{
	u64 flags = ARG3(args);

	return is_idle(flags) ? 0 : opened(task, result, GIVEN(0, 0), flags, true);
}

#if defined(__TARGET_ARCH_x86)
ON_EXIT(open, KIND_OPEN)
{
	u64 flags = ARG2(args);

	return is_idle(flags) ? 0 : opened(task, result, GIVEN(AT_FDCWD, ARG1(args)), flags, true);
}

ON_EXIT(creat, KIND_OPEN)
{
	return opened(task, result, GIVEN(AT_FDCWD, ARG1(args)), O_WRONLY | O_CREAT | O_TRUNC, true);
}
#endif
