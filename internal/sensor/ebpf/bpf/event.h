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
	KIND_RENAME = 9,
	KIND_LINK = 10,
	KIND_SYMLINK = 11,
	KIND_UNLINK = 12,
	KIND_CHMOD = 13,
	KIND_MMAP = 14,
	KIND_MPROTECT = 15,
	KIND_MOUNT = 16,
	KIND_UMOUNT = 17,
	KIND_MODULE = 18,
	KIND_SOCKET = 19,
	KIND_LISTEN = 20,
	KIND_ACCEPT = 21,
	KIND_DUP = 22,
	KIND_VM_READ = 23,
	KIND_VM_WRITE = 24,
	KIND_SETUID = 25,
	KIND_MEMFD = 26,
	KIND_USERFAULTFD = 27,
	KIND_SETNS = 28,
	KIND_UNSHARE = 29,
	KIND_CAPSET = 30,
	KIND_KILL = 31,
	KIND_BPF = 32,
	KIND_PIVOT_ROOT = 33,
	KIND_CHROOT = 34,
	KIND_KEYCTL = 35,
	KIND_IO_URING = 36,
	KIND_ALERT = 37, /* the agent's own: no program makes it */
	KIND_COUNT = 38,
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
	u16 base_len; /* the folder that a given path is relative to */
	u8 path_form, base_form;
	u8 read; /* for reading only: reported because its name may be one that matters */
	u8 reserved;
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
	u32 new_fd, old_fd; /* dup only */
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
	u32 request; /* or the signal, or the type of the namespace */
	u32 target;
};

/*
 * What was done to a file. A path that is given and relative is followed by the folder that it is relative to: the strings
 * are path, base, target, target_base.
 */
struct file_record {
	struct header header;
	u64 inode;
	u64 file_size;
	s64 mtime;
	s64 ctime;
	u32 dev;
	u32 flags;      /* of the call */
	u32 mode;
	u32 file_flags; /* enum exec_flag */
	u16 path_len, base_len, target_len, target_base_len;
	u8 path_form, base_form, target_form, target_base_form;
	u32 reserved;
};

enum region { REGION_ANONYMOUS, REGION_STACK, REGION_HEAP, REGION_FILE, REGION_MEMFD };

struct memory_record {
	struct header header;
	u64 start, length;
	u32 protection;
	u32 region;
	u16 path_len;
	u8 path_form;
	u8 reserved[5];
};

/* The strings are source, source_base, target, target_base, type. */
struct mount_record {
	struct header header;
	u64 flags;
	u16 source_len, source_base_len, target_len, target_base_len, type_len;
	u8 source_form, source_base_form, target_form, target_base_form;
	u8 reserved[2];
};

struct creds_record {
	struct header header;
	u64 capabilities;
	u32 uid, euid;
	u32 setuid_exe;
	u32 reserved;
};

struct call_record {
	struct header header;
	u64 flags;
	u32 command;
	u32 reserved;
};
