/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * DNS messages as they leave and reach sockets. A packet is a process's business when it goes to or comes from port 53, or when its socket addressed
 * port 53 before NAT (Docker's resolver at 127.0.0.11 moves to another port on the way). Whose it is says the socket, on which
 * connect and sendmsg noted the process: an arriving packet runs in whatever task was interrupted.
 */
#pragma once
#include "socket.h"

struct packet {
	u32 payload; /* offset of the transport's payload */
	u16 source, dest;
	u8 protocol;
	u8 family4;
	u8 addresses[32]; /* source, destination */
};

/* Finds the transport header. Packets of a cgroup's hook begin with the IP header. */
INLINE bool parse(struct __sk_buff *skb, struct packet *p)
{
	u8 ip[40];
	u8 tcp[14];
	u32 off, i;
	u8 next;

	__builtin_memset(p->addresses, 0, sizeof(p->addresses));
	p->protocol = 0;
	if (bpf_skb_load_bytes(skb, 0, ip, 20))
		return false;
	if (ip[0] >> 4 == 4) {
		if (((ip[6] & 0x1f) | ip[7]) != 0) /* not the first fragment */
			return false;
		p->family4 = 1;
		next = ip[9];
		off = (ip[0] & 0xf) * 4;
		__builtin_memcpy(p->addresses, ip + 12, 4);
		__builtin_memcpy(p->addresses + 16, ip + 16, 4);
	} else {
		if (bpf_skb_load_bytes(skb, 20, ip + 20, 20))
			return false;
		p->family4 = 0;
		next = ip[6];
		off = 40;
		__builtin_memcpy(p->addresses, ip + 8, 32);
#pragma unroll
		for (i = 0; i < 4; i++) { /* hop-by-hop, routing, destination options */
			if (next != 0 && next != 43 && next != 60)
				break;
			if (bpf_skb_load_bytes(skb, off, tcp, 2))
				return false;
			next = tcp[0];
			off += (tcp[1] + 1) * 8;
		}
	}
	p->protocol = next;
	p->source = p->dest = 0;
	if (next == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, off, tcp, 8))
			return false;
		p->payload = off + 8;
	} else if (next == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, off, tcp, 14))
			return false;
		p->payload = off + (tcp[12] >> 4) * 4;
	} else {
		return false;
	}
	p->source = tcp[0] << 8 | tcp[1];
	p->dest = tcp[2] << 8 | tcp[3];
	return true;
}

/*
 * A packet that a process made itself, with a raw or a ping socket. The first one to a destination counts as a connect: it
 * is the only sign that the process speaks to it.
 */
INLINE void crafted(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = bpf_skb_cgroup_id(skb);
	struct destination d = {};
	struct socket_record *r;
	struct packet p;
	struct sent *s;

	/* The kernel answers from raw sockets of its own, in whatever task was interrupted; they are in the root cgroup. */
	if (cgroup <= 1 || !task->mm || task->cgroups->dfl_cgrp->kn->id != cgroup)
		return;
	parse(skb, &p);
	if (!p.protocol)
		return;
	__builtin_memcpy(d.address, p.addresses + 16, 16);
	d.port = p.dest;
	d.pid = bpf_get_current_pid_tgid() >> 32;
	s = bpf_sk_storage_get(&sents, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s || sent_already(s, &d))
		return;
	r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
	if (!r) {
		lose(KIND_CONNECT, LOSS_RING);
		return;
	}
	__builtin_memset(&r->ends, 0, sizeof(*r) - sizeof(r->header));
	r->ends.family = p.family4 ? AF_INET : AF_INET6;
	r->type = sk->type;
	r->protocol = p.protocol;
	__builtin_memcpy(r->ends.local, p.addresses, 16);
	__builtin_memcpy(r->ends.remote, p.addresses + 16, 16);
	r->ends.local_port = p.source;
	r->ends.remote_port = p.dest;
	fill(&r->header, KIND_CONNECT, sizeof(*r), 0, task);
	bpf_ringbuf_submit(r, activity_flags());
}

/* Fills a reserved record but for the payload. */
INLINE void fill_dns(struct dns_record *r, struct packet *p, struct resolver *who, bool egress)
{
	u8 *local = egress ? p->addresses : p->addresses + 16;
	u8 *remote = egress ? p->addresses + 16 : p->addresses;

	__builtin_memcpy(&r->header.process, &who->owner, sizeof(who->owner));
	__builtin_memcpy(r->ends.local, local, 16);
	r->ends.local_port = egress ? p->source : p->dest;
	if (who->active) {
		__builtin_memcpy(r->ends.remote, who->server, 16);
		r->ends.remote_port = who->port;
		r->ends.family = who->family;
	} else {
		__builtin_memcpy(r->ends.remote, remote, 16);
		r->ends.remote_port = egress ? p->dest : p->source;
		r->ends.family = p->family4 ? AF_INET : AF_INET6;
	}
	r->ends.reserved = 0;
	r->protocol = p->protocol;
	r->egress = egress;
	r->reserved[0] = r->reserved[1] = 0;
}

struct dns_small {
	struct dns_record r;
	u8 payload[DNS_SMALL];
};

struct dns_large {
	struct dns_record r;
	u8 payload[DNS_MAX];
};

/* A reservation needs a constant size, so there is one for the common message and one for the largest. */
#define SHIP(type) ({ \
	type *m = bpf_ringbuf_reserve(&activity, sizeof(type), 0); \
	u32 n = len; \
	OPAQUE(n); \
	if (!m) { \
		lose(KIND_DNS, LOSS_RING); \
	} else if (n == 0 || n > sizeof(m->payload) || bpf_skb_load_bytes(skb, off, m->payload, n)) { \
		bpf_ringbuf_discard(m, BPF_RB_NO_WAKEUP); \
		lose(KIND_DNS, LOSS_READ); \
	} else { \
		fill_header(&m->r.header, KIND_DNS, sizeof(m->r) + n, 0); \
		fill_dns(&m->r, &p, who, egress); \
		m->r.payload_len = n; \
		m->r.cut = cut; \
		bpf_ringbuf_submit(m, activity_flags()); \
	} \
})

INLINE int packet(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;
	struct resolver *who;
	struct packet p;
	u8 head[6];
	u32 len, off;
	u16 framed;
	bool cut = false;

	if (!wants(KIND_DNS) || !sk || !parse(skb, &p))
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	who = bpf_sk_storage_get(&resolvers, sk, NULL, 0);
	if ((egress ? p.dest : p.source) != 53 && !(who && who->active))
		return 1;

	if (skb->len <= p.payload)
		return 1;
	len = skb->len - p.payload;
	off = p.payload;
	if (p.protocol == IPPROTO_TCP) {
		if (len < 14 || bpf_skb_load_bytes(skb, off, head, 6))
			return 1;
		framed = head[0] << 8 | head[1];
		if (framed >= 12) { /* two bytes of length, unless they went ahead in a segment of their own */
			off += 2;
			len -= 2;
			if (framed < len)
				len = framed;
			else if (framed > len)
				cut = true;
		}
	}
	if (len < 12 || bpf_skb_load_bytes(skb, off, head, 6))
		return 1;
	if ((head[2] >> 7) == egress) /* a server's side of the conversation */
		return 1;
	if (head[4] != 0 || head[5] != 1) /* exactly one question; else it is the middle of a stream */
		return 1;

	if (!who && egress) {
		/* A socket that was there before us. The sender is running if the packet is its own and not forwarded or sent again. */
		struct task_struct *task = bpf_get_current_task_btf();
		if (task->mm && task->cgroups->dfl_cgrp->kn->id == bpf_skb_cgroup_id(skb) && task->tgid != control.self) {
			who = bpf_sk_storage_get(&resolvers, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
			if (who) {
				fill_process(&who->owner, task);
				who->active = 0;
			}
		}
	}
	if (!who) {
		if (!is_self())
			lose(KIND_DNS, LOSS_OWNER);
		return 1;
	}

	if (len > DNS_MAX) {
		len = DNS_MAX;
		cut = true;
	}
	if (len <= DNS_SMALL)
		SHIP(struct dns_small);
	else
		SHIP(struct dns_large);
	return 1;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk && wants(KIND_CONNECT) && !is_self()) {
		sk = bpf_sk_fullsock(sk);
		if (sk && (sk->type == SOCK_RAW || (sk->type == SOCK_DGRAM && (sk->protocol == IPPROTO_ICMP || sk->protocol == IPPROTO_ICMPV6))))
			crafted(skb, sk);
	}
	return packet(skb, true);
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	return packet(skb, false);
}
