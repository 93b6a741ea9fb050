/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The sensor's programs, one object. The loader loads each by itself, so that a kernel that lacks one keeps the others. */
#include "lifecycle.h"
#include "file.h"
#include "dns.h"
#include "ptrace.h"
#include "change.h"
#include "memory.h"
#include "mounts.h"
#include "privilege.h"
#include "stream.h"
#include "uring.h"
#include "compat.h"

/* Who is asking: run once by the loader, which may live in a pid namespace and then does not know its own number here. */
SEC("raw_tp")
int whoami(void *ctx)
{
	control.self = bpf_get_current_pid_tgid() >> 32;
	return 0;
}

/* The records' types, for the generator of the Go side. */
const struct fork_record *unused_fork __attribute__((unused));
const struct exec_record *unused_exec __attribute__((unused));
const struct exit_record *unused_exit __attribute__((unused));
const struct open_record *unused_open __attribute__((unused));
const struct socket_record *unused_socket __attribute__((unused));
const struct dns_record *unused_dns __attribute__((unused));
const struct ptrace_record *unused_ptrace __attribute__((unused));
const struct file_record *unused_file __attribute__((unused));
const struct memory_record *unused_memory __attribute__((unused));
const struct mount_record *unused_mount __attribute__((unused));
const struct creds_record *unused_creds __attribute__((unused));
const struct call_record *unused_call __attribute__((unused));
const enum region *unused_region __attribute__((unused));
const enum kind *unused_kind __attribute__((unused));
const enum loss *unused_loss __attribute__((unused));
const enum path_form *unused_path_form __attribute__((unused));
const enum exec_flag *unused_exec_flag __attribute__((unused));
const enum stdio_kind *unused_stdio_kind __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
