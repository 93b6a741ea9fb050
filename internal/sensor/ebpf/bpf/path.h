/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Paths and files as the kernel holds them, so that no thread can change them between the check and the report. */
#pragma once
#include "sensor.h"

INLINE struct mount *real_mount(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

static long step(u64 i, struct scratch **ctx)
{
	struct scratch *s = *ctx;
	struct walk *w = &s->walk;
	struct dentry *dentry = w->dentry, *parent;
	struct mount *mount = w->mount;
	const unsigned char *name;
	u32 len, off;

	if (dentry == w->root_dentry && mount == w->root_mount) {
		w->form = PATH_WALKED;
		return 1;
	}
	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *up = BPF_CORE_READ(mount, mnt_parent);
		if (up == mount) { /* the root of all mounts, or of a mount that hangs nowhere */
			w->form = PATH_WALKED;
			return 1;
		}
		w->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		w->mount = up;
		return 0;
	}

	len = BPF_CORE_READ(dentry, d_name.len);
	name = BPF_CORE_READ(dentry, d_name.name);
	if (len > 255)
		len = 255;
	off = w->off;
	if (off + len + 1 > w->end)
		return 1;
	off &= SCRATCH_MASK;
	OPAQUE(len);
	len &= 255;
	if (bpf_probe_read_kernel(&s->data[off], len, name))
		return 1;
	off += len;
	s->data[off] = '/';
	w->off = off + 1;

	parent = BPF_CORE_READ(dentry, d_parent);
	if (parent == dentry) { /* no directory holds it: a memfd, a pipe */
		w->form = PATH_WALKED;
		return 1;
	}
	w->dentry = parent;
	return 0;
}

/* The walk itself: s->walk holds where the root is. */
INLINE u32 append_walked(struct scratch *s, u32 off, u32 max, struct path *path, u8 *form)
{
	struct walk *w = &s->walk;

	w->dentry = BPF_CORE_READ(path, dentry);
	w->mount = real_mount(BPF_CORE_READ(path, mnt));
	w->off = off;
	w->end = off + max;
	w->form = PATH_CUT;
	if (!w->dentry) {
		*form = PATH_GIVEN;
		return 0;
	}
	bpf_loop(2 * PATH_MAX, step, &s, 0);
	*form = w->form;
	return w->off - off;
}

/* Appends the path to scratch at off, at most max bytes; returns the length and sets how it is written. */
INLINE u32 append_path(struct scratch *s, u32 off, u32 max, struct path *path, struct task_struct *task, u8 *form)
{
	struct fs_struct *fs = task->fs;
	struct walk *w = &s->walk;

	w->root_dentry = BPF_CORE_READ(fs, root.dentry);
	w->root_mount = real_mount(BPF_CORE_READ(fs, root.mnt));
	return append_walked(s, off, max, path, form);
}

/* The same up to the root of the mounts: for who has just changed its own root. */
INLINE u32 append_mounted_path(struct scratch *s, u32 off, u32 max, struct path *path, u8 *form)
{
	s->walk.root_dentry = NULL;
	s->walk.root_mount = NULL;
	return append_walked(s, off, max, path, form);
}

/* A path as a call gave it: from which folder, and the string in the program's memory, or the kernel's copy of it. */
struct given {
	u64 name;
	s32 dirfd;
	bool kernel;
};

#define GIVEN(dirfd, name) ((struct given){name, dirfd, false})
#define KEPT(dirfd, name) ((struct given){(u64)(name), dirfd, true})

/* Appends the string without its terminator; returns its length. */
INLINE u32 append_given(struct scratch *s, u32 off, struct given g)
{
	long got;

	if (!g.name)
		return 0;
	off &= SCRATCH_MASK;
	if (g.kernel)
		got = bpf_probe_read_kernel_str(&s->data[off], PATH_MAX, (void *)g.name);
	else
		got = bpf_probe_read_user_str(&s->data[off], PATH_MAX, (void *)g.name);
	return got > 0 ? got - 1 : 0;
}

/* The file behind a descriptor of the current process, or NULL. */
INLINE struct file *file_of(struct task_struct *task, u32 fd)
{
	struct fdtable *table = task->files->fdt;
	struct file **slot = table->fd;
	struct file *file = NULL;

	if (fd >= table->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), slot + fd);
	return file;
}

/* Appends the folder that a call's relative path starts from, unless the path given at name is absolute. */
INLINE u32 append_base(struct scratch *s, u32 off, u32 name, u32 name_len, s32 dirfd, struct task_struct *task, u8 *form)
{
	struct fs_struct *fs = task->fs;
	struct file *dir;

	*form = PATH_GIVEN;
	name &= SCRATCH_MASK;
	if (name_len && s->data[name] == '/')
		return 0;
	if (dirfd == AT_FDCWD)
		return append_path(s, off, CWD_MAX, &fs->pwd, task, form);
	dir = file_of(task, dirfd);
	if (!dir)
		return 0;
	return append_path(s, off, CWD_MAX, &dir->f_path, task, form);
}

INLINE struct sock *sock_of(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

INLINE void fill_endpoints(struct endpoints *e, struct sock *sk)
{
	struct sock_common *c = &sk->__sk_common;

	e->family = BPF_CORE_READ(c, skc_family);
	e->local_port = BPF_CORE_READ(c, skc_num);
	e->remote_port = bpf_ntohs(BPF_CORE_READ(c, skc_dport));
	if (e->family == AF_INET) {
		*(__be32 *)e->local = BPF_CORE_READ(c, skc_rcv_saddr);
		*(__be32 *)e->remote = BPF_CORE_READ(c, skc_daddr);
	} else if (e->family == AF_INET6) {
		bpf_core_read(e->local, 16, &c->skc_v6_rcv_saddr);
		bpf_core_read(e->remote, 16, &c->skc_v6_daddr);
	}
}

INLINE u64 nanoseconds(s64 sec, s64 nsec)
{
	return sec * 1000000000 + (nsec & 0x7fffffff); /* the top bit is a flag of multigrain timestamps */
}

INLINE s64 mtime_of(struct inode *inode)
{
	if (bpf_core_field_exists(inode->i_mtime_sec))
		return nanoseconds(BPF_CORE_READ(inode, i_mtime_sec), BPF_CORE_READ(inode, i_mtime_nsec));
	struct inode___timespec *old = (void *)inode;
	if (bpf_core_field_exists(old->i_mtime))
		return nanoseconds(BPF_CORE_READ(old, i_mtime.tv_sec), BPF_CORE_READ(old, i_mtime.tv_nsec));
	struct inode___accessor *mid = (void *)inode;
	if (bpf_core_field_exists(mid->__i_mtime))
		return nanoseconds(BPF_CORE_READ(mid, __i_mtime.tv_sec), BPF_CORE_READ(mid, __i_mtime.tv_nsec));
	return 0;
}

INLINE s64 ctime_of(struct inode *inode)
{
	if (bpf_core_field_exists(inode->i_ctime_sec))
		return nanoseconds(BPF_CORE_READ(inode, i_ctime_sec), BPF_CORE_READ(inode, i_ctime_nsec));
	struct inode___timespec *old = (void *)inode;
	if (bpf_core_field_exists(old->i_ctime))
		return nanoseconds(BPF_CORE_READ(old, i_ctime.tv_sec), BPF_CORE_READ(old, i_ctime.tv_nsec));
	struct inode___accessor *mid = (void *)inode;
	if (bpf_core_field_exists(mid->__i_ctime))
		return nanoseconds(BPF_CORE_READ(mid, __i_ctime.tv_sec), BPF_CORE_READ(mid, __i_ctime.tv_nsec));
	return 0;
}

/*
 * The inode of the upper layer of an overlay file system, or NULL. The overlay's own inode is embedded in struct ovl_inode, whose
 * next member has been the upper dentry since Linux 4.13; overlay may be a module whose types are not at hand, so the offset is that of the size.
 */
INLINE struct inode *upper_inode(struct inode *inode)
{
	struct dentry *upper = NULL;

	if (BPF_CORE_READ(inode, i_sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return NULL;
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	return upper ? BPF_CORE_READ(upper, d_inode) : NULL;
}
