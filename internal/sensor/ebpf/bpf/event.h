/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The records in the rings. Each begins with a header whose size says where the record ends; strings follow the fixed part in
 * the order of their length members, without terminators. decode.go is the other side; the Go structures are generated from these.
 */
#pragma once
#include "kernel.h"

/* The kinds, numbered as in internal/event. */
enum kind {
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_EXIT = 3,
	KIND_OPEN = 4,
	KIND_CONNECT = 5,
	KIND_BIND = 6,
	KIND_DNS = 7,
	KIND_PTRACE = 8,
	KIND_COUNT = 9,
};

/* Why an event was lost. */
enum loss {
	LOSS_RING = 0,    /* the ring was full */
	LOSS_SCRATCH = 1, /* no scratch buffer was free on this CPU */
	LOSS_OWNER = 2,   /* a DNS message of a socket whose process is not known */
	LOSS_READ = 3,    /* memory that describes the event could not be read */
	LOSS_COUNT = 4,
};

#define PATH_MAX 4096
#define ARGS_MAX 4096
#define CWD_MAX 2048
#define SCRIPT_MAX 1024
#define ENV_MAX 2048
#define ENV_STRING_MAX 1024
#define UNIX_PATH_MAX 108
#define DNS_SMALL 256
#define DNS_MAX 1232

/* How a path is written. A walked path is a list of components, the last one first, each followed by a slash. */
enum path_form {
	PATH_GIVEN = 0,    /* as the program gave it */
	PATH_WALKED = 1,   /* up to the root of the process, or of the mounts */
	PATH_CUT = 2,      /* walked, and the leading components are missing */
};

enum exec_flag {
	EXEC_MEMORY = 1,   /* the file has no name: a memfd, or unlinked */
	EXEC_UPPER = 2,    /* on the upper layer of an overlay file system */
	EXEC_ARGS_CUT = 4,
	EXEC_SNAPSHOT = 8, /* not an exec: the process was running already */
};

struct process {
	u64 start; /* of the group leader, CLOCK_BOOTTIME, nanoseconds */
	u64 parent_start;
	u64 cgroup;
	u32 pid, tid, nspid, ppid;
	u32 mntns, pidns;
	u32 uid, euid, gid, egid;
	char comm[16];
};

struct header {
	u32 size; /* of the whole record */
	u32 kind;
	u64 time; /* CLOCK_BOOTTIME, nanoseconds */
	u32 error;
	u32 reserved;
	struct process process;
};

struct fork_record {
	struct header header;
};

struct exit_record {
	struct header header;
	u32 status; /* as wait(2) gives it */
	u32 reserved;
};

/* Addresses in network byte order, IPv4 in the first four bytes; ports in host byte order. */
struct endpoints {
	u8 local[16];
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	u16 family;
	u16 reserved;
};

enum stdio_kind { STDIO_CLOSED, STDIO_FILE, STDIO_TTY, STDIO_PIPE, STDIO_SOCKET, STDIO_UNIX, STDIO_OTHER };

struct stdio {
	u64 inode;
	struct endpoints ends;
	u32 kind;
	u32 reserved;
};

struct exec_record {
	struct header header;
	u64 inode;
	u64 file_size;
	s64 mtime;
	s64 ctime;
	u32 dev; /* the kernel's dev_t */
	u32 flags;
	struct stdio in, out;
	u16 exe_len, cwd_len, script_len, args_len, env_len;
	u8 exe_form, cwd_form;
	u32 reserved;
};

struct open_record {
	struct header header;
	u64 inode;
	u32 dev;
	u32 flags;
	u16 path_len;
	u8 path_form;
	u8 reserved[5];
};

struct socket_record {
	struct header header;
	struct endpoints ends;
	u16 type;
	u16 protocol;
	u16 path_len; /* unix only; the first byte of an abstract name is NUL */
	u16 peer_len; /* unix connect only: the name under which the peer is bound */
	u16 cwd_len;  /* the walked working directory, when the path is relative */
	u8 cwd_form;
	u8 reserved[5];
};

struct dns_record {
	struct header header;
	struct endpoints ends;
	u16 protocol;
	u16 payload_len;
	u8 egress;
	u8 cut;
	u8 reserved[2];
};

struct ptrace_record {
	struct header header;
	u64 target_start;
	u32 request;
	u32 target;
};
