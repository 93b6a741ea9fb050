/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connect and bind. IPv4 and IPv6 come from the cgroup's socket hooks: they see the kernel's own copy of the address, also for TCP fast
 * open, for datagrams sent without connecting and for calls through io_uring. Unix sockets come from the system calls' exits and
 * from io_uring's completions (uring.h). Raw and ping sockets send without any such hook; their packets are looked at (dns.h).
 */
#pragma once
#include "path.h"

/* A socket that speaks to a name server, and for whom. */
struct resolver {
	struct process owner;
	u8 server[16]; /* as the process addressed it, before any NAT */
	u16 port;
	u16 family;
	u32 active; /* its last destination was port 53 */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct resolver);
} resolvers SEC(".maps");

/* The last destinations of an unconnected datagram socket: each is reported once while it stays among them. */
#define SENT_MAX 4
struct destination {
	u8 address[16];
	u32 port;
	u32 pid;
};
struct sent {
	u32 next;
	u32 reserved;
	struct destination to[SENT_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sent);
} sents SEC(".maps");

INLINE void user_address(struct bpf_sock_addr *ctx, u16 family, u8 *to)
{
	u32 *words = (u32 *)to;

	words[0] = words[1] = words[2] = words[3] = 0;
	if (family == AF_INET) {
		words[0] = ctx->user_ip4;
	} else {
		words[0] = ctx->user_ip6[0];
		words[1] = ctx->user_ip6[1];
		words[2] = ctx->user_ip6[2];
		words[3] = ctx->user_ip6[3];
	}
}

INLINE void report_inet(struct bpf_sock_addr *ctx, u32 kind, u16 family)
{
	struct socket_record *r;
	struct bpf_sock *sk;
	u32 *local;

	r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
	if (!r) {
		lose(kind, LOSS_RING);
		return;
	}
	__builtin_memset(&r->ends, 0, sizeof(*r) - sizeof(r->header));
	r->ends.family = family;
	r->type = ctx->type;
	r->protocol = ctx->protocol;
	if (kind == KIND_BIND) {
		user_address(ctx, family, r->ends.local);
		r->ends.local_port = bpf_ntohs(ctx->user_port);
	} else {
		user_address(ctx, family, r->ends.remote);
		r->ends.remote_port = bpf_ntohs(ctx->user_port);
		sk = ctx->sk;
		if (sk) {
			local = (u32 *)r->ends.local;
			r->ends.local_port = sk->src_port;
			if (family == AF_INET) {
				local[0] = sk->src_ip4;
			} else {
				local[0] = sk->src_ip6[0];
				local[1] = sk->src_ip6[1];
				local[2] = sk->src_ip6[2];
				local[3] = sk->src_ip6[3];
			}
		}
	}
	fill(&r->header, kind, sizeof(*r), 0, bpf_get_current_task_btf());
	bpf_ringbuf_submit(r, activity_flags());
}

/* Remembers on the socket that the process speaks to a name server through it, or that it no longer does. */
INLINE void note_server(struct bpf_sock_addr *ctx, u16 family)
{
	struct bpf_sock *sk = ctx->sk;
	struct resolver *r;
	bool dns = bpf_ntohs(ctx->user_port) == 53;

	if (!sk)
		return;
	r = bpf_sk_storage_get(&resolvers, sk, NULL, dns ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!r)
		return;
	r->active = dns;
	if (!dns)
		return;
	fill_process(&r->owner, bpf_get_current_task_btf());
	user_address(ctx, family, r->server);
	r->port = 53;
	r->family = family;
}

INLINE int connecting(struct bpf_sock_addr *ctx, u16 family)
{
	if (is_self())
		return 1;
	if (wants(KIND_CONNECT))
		report_inet(ctx, KIND_CONNECT, family);
	if (wants(KIND_DNS))
		note_server(ctx, family);
	return 1;
}

/* Whether the destination is among the last ones; it is from now on. */
INLINE bool sent_already(struct sent *s, struct destination *d)
{
	u64 *a = (u64 *)d, *b;
	u32 i;

#pragma unroll
	for (i = 0; i < SENT_MAX; i++) {
		b = (u64 *)&s->to[i];
		if (a[0] == b[0] && a[1] == b[1] && a[2] == b[2])
			return true;
	}
	i = s->next++ & (SENT_MAX - 1);
	s->to[i] = *d;
	return false;
}

INLINE bool sent_before(struct bpf_sock_addr *ctx, u16 family)
{
	struct bpf_sock *sk = ctx->sk;
	struct destination d = {};
	struct sent *s;

	if (!sk)
		return false;
	s = bpf_sk_storage_get(&sents, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s)
		return false;
	user_address(ctx, family, d.address);
	d.port = ctx->user_port;
	d.pid = bpf_get_current_pid_tgid() >> 32;
	return sent_already(s, &d);
}

INLINE int sending(struct bpf_sock_addr *ctx, u16 family)
{
	if (is_self())
		return 1;
	if (wants(KIND_CONNECT) && !sent_before(ctx, family))
		report_inet(ctx, KIND_CONNECT, family);
	if (wants(KIND_DNS))
		note_server(ctx, family);
	return 1;
}

SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	return connecting(ctx, AF_INET);
}

SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	return connecting(ctx, AF_INET6);
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	return sending(ctx, AF_INET);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	return sending(ctx, AF_INET6);
}

SEC("cgroup/bind4")
int on_bind4(struct bpf_sock_addr *ctx)
{
	if (!is_self() && wants(KIND_BIND))
		report_inet(ctx, KIND_BIND, AF_INET);
	return 1;
}

SEC("cgroup/bind6")
int on_bind6(struct bpf_sock_addr *ctx)
{
	if (!is_self() && wants(KIND_BIND))
		report_inet(ctx, KIND_BIND, AF_INET6);
	return 1;
}

/* ---- from the system calls ---------------------------------------------------------------------------------------- */

struct sockaddr_un {
	u16 family;
	char path[UNIX_PATH_MAX];
};

struct sockaddr_in6 {
	u16 family;
	__be16 port;
	__be32 address4; /* the flow label in IPv6 */
	u8 address6[16];
	u32 scope;
};

/* Appends the name under which a unix socket is bound to scratch; returns its length, 0 if it has none. */
INLINE u32 append_name(struct scratch *s, u32 off, struct sock *sk)
{
	struct unix_address *a = BPF_CORE_READ((struct unix_sock *)sk, addr);
	u32 len = BPF_CORE_READ(a, len);

	if (len <= 2) /* none, or only the family */
		return 0;
	len -= 2;
	if (len > UNIX_PATH_MAX)
		len = UNIX_PATH_MAX;
	OPAQUE(len);
	len &= 127;
	off &= SCRATCH_MASK;
	if (bpf_probe_read_kernel(&s->data[off], len, (void *)a + bpf_core_field_offset(struct unix_address, name) + 2))
		return 0;
	return len;
}

/* Appends the name in a sockaddr_un of the given length, the program's or the kernel's copy. */
INLINE u32 append_given_name(struct scratch *s, u32 off, const struct sockaddr_un *given, u32 len, bool kernel)
{
	long err;

	if (len <= 2 || len > sizeof(*given))
		return 0;
	len -= 2;
	OPAQUE(len);
	len &= 127;
	off &= SCRATCH_MASK;
	if (kernel)
		err = bpf_probe_read_kernel(&s->data[off], len, &given->path);
	else
		err = bpf_probe_read_user(&s->data[off], len, &given->path);
	return err ? 0 : len;
}

/* The fallback without cgroup hooks: the address as it stands in the program's memory. */
INLINE int inet_call(u32 kind, struct sock *sk, const void *given, s64 error, struct task_struct *task)
{
	struct sockaddr_in6 a = {};
	struct socket_record *r;
	u8 *address;

	if (bpf_probe_read_user(&a, 16, given))
		return 0;
	if (a.family != AF_INET && a.family != AF_INET6)
		return 0;
	r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
	if (!r) {
		lose(kind, LOSS_RING);
		return 0;
	}
	__builtin_memset(&r->ends, 0, sizeof(*r) - sizeof(r->header));
	r->ends.family = a.family;
	r->type = BPF_CORE_READ(sk, sk_type);
	r->protocol = BPF_CORE_READ(sk, sk_protocol);
	address = kind == KIND_BIND ? r->ends.local : r->ends.remote;
	if (a.family == AF_INET)
		*(u32 *)address = a.address4;
	else
		bpf_probe_read_user(address, 16, given + __builtin_offsetof(struct sockaddr_in6, address6));
	if (kind == KIND_BIND)
		r->ends.local_port = bpf_ntohs(a.port);
	else
		r->ends.remote_port = bpf_ntohs(a.port);
	fill(&r->header, kind, sizeof(*r), error, task);
	bpf_ringbuf_submit(r, activity_flags());
	return 0;
}

/* Connect or bind of a unix socket. */
INLINE int unix_call(u32 kind, struct task_struct *task, s64 result, struct sock *sk, const struct sockaddr_un *given, u32 len, bool kernel)
{
	u32 off = sizeof(struct socket_record);
	struct fs_struct *fs = task->fs;
	struct socket_record *r;
	struct scratch *s;
	struct sock *peer;
	u8 form = 0;
	char first;

	s = claim();
	if (!s) {
		lose(kind, LOSS_SCRATCH);
		return 0;
	}
	r = (void *)s->data;
	__builtin_memset(r, 0, sizeof(*r));
	r->ends.family = AF_UNIX;
	r->type = BPF_CORE_READ(sk, sk_type);
	if (kind == KIND_BIND && result >= 0)
		r->path_len = append_name(s, off, sk); /* what the kernel bound */
	else
		r->path_len = append_given_name(s, off, given, len, kernel);
	off += r->path_len;

	/*
	 * The name that was given can be a symbolic link, a bind mount or a lie told by a second thread. The name under which
	 * the peer's owner bound it is nothing that the caller can choose.
	 */
	if (kind == KIND_CONNECT && result >= 0) {
		peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
		if (peer)
			r->peer_len = append_name(s, off, peer);
		off += r->peer_len;
	}
	first = s->data[sizeof(*r)];
	if (r->path_len && first != '/' && first != 0) {
		r->cwd_len = append_path(s, off, CWD_MAX, &fs->pwd, task, &form);
		r->cwd_form = form;
		off += r->cwd_len;
	}
	fill(&r->header, kind, off, error_of(result), task);
	return ship(s, kind, off);
}

INLINE int socket_call(u32 kind, struct task_struct *task, s64 result, u32 fd, const void *given, u32 len)
{
	struct file *file = file_of(task, fd);
	struct sock *sk;
	u16 family;

	if (!file)
		return 0;
	sk = sock_of(file);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_UNIX && !(inet_by_syscall && (family == AF_INET || family == AF_INET6)))
		return 0;
	if (outside(task))
		return 0;
	if (family != AF_UNIX)
		return inet_call(kind, sk, given, error_of(result), task);
	return unix_call(kind, task, result, sk, given, len, false);
}

ON_EXIT(connect, KIND_CONNECT)
{
	return socket_call(KIND_CONNECT, task, result, ARG1(args), (void *)ARG2(args), ARG3(args));
}

ON_EXIT(bind, KIND_BIND)
{
	return socket_call(KIND_BIND, task, result, ARG1(args), (void *)ARG2(args), ARG3(args));
}
