/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Operations of io_uring that replace system calls. When one is submitted, the kernel has copied its names already; they are kept until it
 * completes, so that the record tells how it ended. An operation that completes without a word (the program can ask for that), or whose
 * names find no room, is reported when it is submitted. Addresses of IPv4 and IPv6 need nothing here: the cgroup's hooks see them.
 */
#pragma once
#include "file.h"
#include "change.h"
#include "stream.h"

/* Of the user interface; they do not change. */
enum {
	IORING_OP_ACCEPT = 13,
	IORING_OP_CONNECT = 16,
	IORING_OP_OPENAT = 18,
	IORING_OP_OPENAT2 = 28,
	IORING_OP_RENAMEAT = 35,
	IORING_OP_UNLINKAT = 36,
	IORING_OP_SYMLINKAT = 38,
	IORING_OP_LINKAT = 39,
	IORING_OP_SOCKET = 45,
	IORING_OP_BIND = 56,
	IORING_OP_LISTEN = 57,
};
#define REQ_F_CQE_SKIP (1 << 6) /* IOSQE_CQE_SKIP_SUCCESS */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct io_cqe {
	s32 res;
};

struct io_rsrc_node {
	unsigned long file_ptr;
};

struct io_rsrc_data {
	u32 nr;
	struct io_rsrc_node **nodes;
};

struct io_file_table {
	struct io_rsrc_data data;
};

struct io_ring_ctx {
	struct io_file_table file_table;
};

struct io_kiocb {
	struct file *file;
	u8 opcode;
	u64 flags;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
};

struct io_kiocb___narrow { /* up to 6.8 */
	u32 flags;
};

struct filename {
	const char *name;
};

/* An operation's own data begins where the request does. */
struct io_open {
	int dfd;
	u32 file_slot;
	struct filename *filename;
	struct open_how how;
};

struct io_rename {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};

struct io_unlink {
	int dfd, flags;
	struct filename *filename;
};

struct io_link {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};

struct io_connect {
	void *addr;
	int addr_len;
};

struct io_socket {
	int domain, type, protocol;
};

#pragma clang attribute pop

#define URING_NAME_MAX 1024

struct kept {
	char first[URING_NAME_MAX]; /* or the address of a connect */
	char second[URING_NAME_MAX];
};

/* The names of the operations that are under way, by the address of the request. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct kept);
} uring_names SEC(".maps");

INLINE bool is_silent(struct io_kiocb *req)
{
	if (bpf_core_field_size(req->flags) == 8)
		return BPF_CORE_READ(req, flags) & REQ_F_CQE_SKIP;
	return BPF_CORE_READ((struct io_kiocb___narrow *)req, flags) & REQ_F_CQE_SKIP;
}

/* What a file operation did or is about to do; names are the kernel's. */
INLINE int uring_file(struct io_kiocb *req, u8 opcode, struct task_struct *task, s64 result, const char *first, const char *second)
{
	struct io_rename *rename = (void *)req;
	struct io_unlink *unlink = (void *)req;
	struct io_link *link = (void *)req;

	switch (opcode) {
	case IORING_OP_RENAMEAT:
		return two_names(KIND_RENAME, task, result, KEPT(BPF_CORE_READ(rename, old_dfd), first), KEPT(BPF_CORE_READ(rename, new_dfd), second), BPF_CORE_READ(rename, flags));
	case IORING_OP_LINKAT:
		return two_names(KIND_LINK, task, result, KEPT(BPF_CORE_READ(link, new_dfd), second), KEPT(BPF_CORE_READ(link, old_dfd), first), BPF_CORE_READ(link, flags));
	case IORING_OP_SYMLINKAT:
		return symlinked(task, result, KEPT(BPF_CORE_READ(link, new_dfd), second), KEPT(0, first));
	case IORING_OP_UNLINKAT:
		if (BPF_CORE_READ(unlink, flags) & AT_REMOVEDIR)
			return 0;
		return one_name(KIND_UNLINK, task, result, KEPT(BPF_CORE_READ(unlink, dfd), first), BPF_CORE_READ(unlink, flags), 0);
	}
	return 0;
}

/* The file in a slot of the ring's own table, where this kernel's table is known. */
INLINE struct file *slot_file(struct io_kiocb *req, u32 slot)
{
	struct io_ring_ctx *ring = BPF_CORE_READ(req, ctx);
	struct io_rsrc_node **nodes, *node = NULL;

	if (!bpf_core_field_exists(ring->file_table.data.nodes))
		return NULL;
	if (slot >= BPF_CORE_READ(ring, file_table.data.nr))
		return NULL;
	nodes = BPF_CORE_READ(ring, file_table.data.nodes);
	bpf_probe_read_kernel(&node, sizeof(node), nodes + slot);
	return (void *)(BPF_CORE_READ(node, file_ptr) & ~7UL); /* the low bits are flags */
}

INLINE int uring_open(struct io_kiocb *req, struct task_struct *task, s64 result, bool done, const char *name)
{
	struct io_open *open = (void *)req;
	u32 slot = BPF_CORE_READ(open, file_slot);
	struct file *file = NULL;

	if (outside(task))
		return 0;
	if (done && result >= 0)
		file = slot ? slot_file(req, slot == 0xffffffff ? result : slot - 1) : file_of(task, result);
	return opened_file(task, result, file, KEPT(BPF_CORE_READ(open, dfd), name), BPF_CORE_READ(open, how.flags) & ~O_LARGEFILE, true); /* which the kernel adds */
}

INLINE int uring_submitted(struct io_kiocb *req)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u8 opcode = BPF_CORE_READ(req, opcode);
	struct filename *first = NULL, *second = NULL;
	struct io_open *open = (void *)req;
	struct io_rename *rename = (void *)req;
	struct io_unlink *unlink = (void *)req;
	struct io_link *link = (void *)req;
	u64 key = (u64)req;
	struct scratch *s;
	struct kept *kept;
	u32 kind;
	long err;

	switch (opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		kind = KIND_OPEN;
		first = BPF_CORE_READ(open, filename);
		if (is_idle(BPF_CORE_READ(open, how.flags)))
			return 0;
		break;
	case IORING_OP_RENAMEAT:
		kind = KIND_RENAME;
		first = BPF_CORE_READ(rename, oldpath);
		second = BPF_CORE_READ(rename, newpath);
		break;
	case IORING_OP_LINKAT:
	case IORING_OP_SYMLINKAT:
		kind = opcode == IORING_OP_LINKAT ? KIND_LINK : KIND_SYMLINK;
		first = BPF_CORE_READ(link, oldpath);
		second = BPF_CORE_READ(link, newpath);
		break;
	case IORING_OP_UNLINKAT:
		kind = KIND_UNLINK;
		first = BPF_CORE_READ(unlink, filename);
		break;
	default:
		return 0;
	}
	if (!wants(kind) || outside(task))
		return 0;
	if (!is_silent(req)) {
		s = claim();
		if (!s) {
			lose(kind, LOSS_SCRATCH);
			return 0;
		}
		kept = (void *)s->data;
		kept->first[0] = kept->second[0] = 0;
		bpf_probe_read_kernel_str(kept->first, URING_NAME_MAX, BPF_CORE_READ(first, name));
		bpf_probe_read_kernel_str(kept->second, URING_NAME_MAX, BPF_CORE_READ(second, name));
		err = bpf_map_update_elem(&uring_names, &key, kept, 0);
		release(s);
		if (!err)
			return 0;
	}
	if (kind == KIND_OPEN)
		return uring_open(req, task, 0, false, BPF_CORE_READ(first, name));
	return uring_file(req, opcode, task, 0, BPF_CORE_READ(first, name), BPF_CORE_READ(second, name));
}

SEC("tp_btf/io_uring_submit_req")
int on_uring_submit(u64 *ctx)
{
	return uring_submitted((void *)ctx[0]);
}

SEC("tp_btf/io_uring_submit_sqe") /* up to 6.3 */
int on_uring_submit_old(u64 *ctx)
{
	return uring_submitted((void *)ctx[0]);
}

SEC("tp_btf/io_uring_complete")
int on_uring_complete(u64 *ctx)
{
	struct io_kiocb *req = (void *)ctx[1];
	struct task_struct *task = bpf_get_current_task_btf();
	u64 key = (u64)req;
	struct kept *kept;
	s64 result;
	u8 opcode;

	if (!req)
		return 0;
	opcode = BPF_CORE_READ(req, opcode);
	switch (opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
	case IORING_OP_SYMLINKAT:
	case IORING_OP_UNLINKAT:
		break;
	default:
		return 0;
	}
	kept = bpf_map_lookup_elem(&uring_names, &key);
	if (!kept)
		return 0;
	result = BPF_CORE_READ(req, cqe.res);
	if (opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2)
		uring_open(req, task, result, true, kept->first);
	else
		uring_file(req, opcode, task, result, kept->first, kept->second);
	bpf_map_delete_elem(&uring_names, &key);
	return 0;
}

/* Sockets: what is needed is there when the operation has completed, and before it if it completes without a word. */
INLINE int uring_socket(struct io_kiocb *req, s64 result, bool done)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u8 opcode = BPF_CORE_READ(req, opcode);
	struct io_connect *connect = (void *)req;
	struct io_socket *made = (void *)req;
	struct file *file;
	struct sock *sk;

	if (opcode == IORING_OP_SOCKET) {
		if (!wants(KIND_SOCKET))
			return 0;
		return made_socket(task, result, BPF_CORE_READ(made, domain), BPF_CORE_READ(made, type), BPF_CORE_READ(made, protocol));
	}
	if (opcode != IORING_OP_CONNECT && opcode != IORING_OP_BIND && opcode != IORING_OP_LISTEN && opcode != IORING_OP_ACCEPT)
		return 0;
	file = BPF_CORE_READ(req, file);
	sk = sock_of(file);
	if (!sk || outside(task))
		return 0;
	if (opcode == IORING_OP_ACCEPT) {
		if (!wants(KIND_ACCEPT) || !done || result == -EAGAIN)
			return 0;
		if (result > 0)
			file = file_of(task, result);
		if (!file || !sock_of(file))
			return 0;
		return report_socket(KIND_ACCEPT, task, result, file, 0, 0);
	}
	if (opcode == IORING_OP_LISTEN)
		return wants(KIND_LISTEN) ? report_socket(KIND_LISTEN, task, result, file, 0, 0) : 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX) {
		if (inet_by_syscall && opcode == IORING_OP_CONNECT && wants(KIND_CONNECT))
			return inet_call(KIND_CONNECT, sk, BPF_CORE_READ(connect, addr), error_of(result), task);
		return 0;
	}
	if (opcode == IORING_OP_CONNECT)
		return wants(KIND_CONNECT) ? unix_call(KIND_CONNECT, task, result, sk, BPF_CORE_READ(connect, addr), BPF_CORE_READ(connect, addr_len), false) : 0;
	return wants(KIND_BIND) && done ? unix_call(KIND_BIND, task, result, sk, NULL, 0, false) : 0;
}

SEC("tp_btf/io_uring_submit_req")
int on_uring_submit_socket(u64 *ctx)
{
	struct io_kiocb *req = (void *)ctx[0];

	return is_silent(req) ? uring_socket(req, 0, false) : 0;
}

SEC("tp_btf/io_uring_submit_sqe") /* up to 6.3 */
int on_uring_submit_socket_old(u64 *ctx)
{
	struct io_kiocb *req = (void *)ctx[0];

	return is_silent(req) ? uring_socket(req, 0, false) : 0;
}

SEC("tp_btf/io_uring_complete")
int on_uring_complete_socket(u64 *ctx)
{
	struct io_kiocb *req = (void *)ctx[1];

	/* One that was to complete without a word, and did, does not come here. */
	return req ? uring_socket(req, BPF_CORE_READ(req, cqe.res), true) : 0;
}
