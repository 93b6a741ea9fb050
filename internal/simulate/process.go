package simulate

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/actor"
)

// The finding types about files that are on a list.
const (
	typeMaliciousFile = "Execution:Runtime/MaliciousFileExecuted"
	typeCustomFile    = "Execution:Runtime/MaliciousFileExecuted.Custom"
)

// intrusions are the reproductions of what processes load and execute, and of what they do to each other.
func intrusions() []Reproduction {
	return []Reproduction{
		{"Execution:Runtime/NewLibraryLoaded", "A library that was written after the container started is loaded.", []Technique{
			act("preload", "LD_PRELOAD", "library", "preload", "/tmp/libvedette.so"),
			act("map", "mmap(2) of the file as executable, without the loader", "library", "map", "/tmp/vedette.plugin").evading("the loader and the file's name"),
			act("rename", "written under another name, then renamed, and LD_PRELOAD", "library", "rename", "/usr/local/lib/libvedette.so"),
			act("preload-file", "/etc/ld.so.preload", "library", "preload-file", "/usr/local/lib/libhook.so").evading("the environment"),
			act("removed", "LD_PRELOAD of a file that is removed at once", "library", "removed", "/tmp/libonce.so").evading("the file"),
			act("protect", "mmap(2) for reading, mprotect(2) as executable", "library", "protect", "/tmp/vedette.data").evading("mmap(2)"),
			act("memory", "a file on a memory file system, which is no layer of the image", "library", "preload", memoryFolder+"/libvedette.so").evading("the root file system's layers"),
		}},
		{"DefenseEvasion:Runtime/ProcessInjection.Proc", "A process writes to another one's memory through /proc.", []Technique{
			act("mem", "/proc/PID/mem", "inject", "mem"),
			act("task", "/proc/PID/task/TID/mem", "inject", "mem-task").evading("the usual path"),
			act("link", "a symbolic link to /proc/PID/mem", "inject", "mem-link").evading("the path"),
			act("dd", "dd", "inject", "mem-dd").needs("dd"),
			act("perl", "perl", "inject", "mem-perl").needs("perl"),
			act("denied", "an ordinary user tries it on a process of root", "inject", "mem-denied").evading("the call's success"),
		}},
		{"DefenseEvasion:Runtime/ProcessInjection.VirtualMemoryWrite", "A process writes to another one's memory with process_vm_writev(2).", []Technique{
			act("write", "process_vm_writev(2)", "inject", "vm"),
			act("nowhere", "to an address where nothing is", "inject", "vm-nowhere").evading("the call's success"),
			act("perl", "perl", "inject", "vm-perl").needs("perl"),
			act("denied", "an ordinary user tries it on a process of root", "inject", "vm-denied").evading("the call's success"),
		}},
		{"DefenseEvasion:Runtime/FilelessExecution", "A program that is in no folder is executed.", []Technique{
			act("memfd", "memfd_create(2) and execveat(2) of the descriptor", "fileless", "memfd").exits(actor.DropExit),
			act("proc", "memfd_create(2) and execve(2) of /proc/self/fd/N", "fileless", "proc").exits(actor.DropExit),
			act("shell", "sh executes /proc/PID/fd/N", "fileless", "shell").exits(actor.DropExit),
			act("deleted", "a file is opened, removed and executed", "fileless", "deleted").evading("memfd_create(2)").exits(actor.DropExit),
			act("unnamed", "open(2) with O_TMPFILE and execveat(2)", "fileless", "unnamed").evading("memfd_create(2)").exits(actor.DropExit),
			act("kernel-thread", "the new program calls itself [kworker/0:1]", "fileless", "sealed").evading("the process's name").exits(actor.DropExit),
			act("script", "the in-memory file is a script of sh", "fileless", "script").evading("the executable").exits(actor.DropExit),
			perl("perl", "perl", fmt.Sprintf(`$n="cache"; $f=syscall(%d,$n,0); $f>=0 or die "$!\n"; open(S,"<","/bin/true") or die; `+
				`open(D,">&=",$f); select(D); $|=1; print D $_ while read(S,$_,65536); exec {"/proc/self/fd/$f"} "true" or die "$!\n"`, unix.SYS_MEMFD_CREATE)).exits(0),
		}},
		{"DefenseEvasion:Runtime/PtraceAntiDebugging", "A process asks to be traced, to find out whether it is.", []Technique{
			act("trace-me", "PTRACE_TRACEME", "antidebug", "tiny"),
			act("twice", "PTRACE_TRACEME twice, of which the second must fail", "antidebug", "twice"),
			act("perl", "perl", "antidebug", "perl").needs("perl"),
			act("compat", "PTRACE_TRACEME by the entry for 32-bit programs", "antidebug", "compat").evading("the system call's number").on("amd64"),
		}},
		{"Execution:Runtime/SuspiciousShellCreated", "A service that is reached over the network starts a shell.", []Technique{
			act("socket", "the shell's streams are the connection", "service", "socket"),
			act("pipes", "the service copies between the connection and the shell's pipes", "service", "pipes"),
			act("terminal", "the shell has a terminal of its own", "service", "terminal"),
			act("bash", "bash", "service", "bash").needs("bash"),
			act("perl", "a service in perl", "service", "perl").needs("perl"),
			act("exec", "the service's process becomes the shell", "service", "exec").evading("fork(2)"),
		}},
		{typeMaliciousFile, "A file that a list of malware knows by its hash is executed.", samples(actor.Malicious)},
		{typeCustomFile, "A file that the user's own list knows by its hash is executed.", samples(actor.CustomMalicious)},
	}
}

func samples(name string) []Technique {
	return []Technique{
		act("write", "written to /tmp and executed", "sample", name, "write", "/tmp/payload"),
		act("child", "written by one process, executed by another one's shell", "sample", name, "child", "/usr/local/bin/agent"),
		act("rename", "written under another name, then renamed", "sample", name, "rename", "/usr/local/bin/java").evading("the name"),
		act("execveat", "execveat(2) of a descriptor", "sample", name, "execveat", "/tmp/fonts.cache").exits(actor.DropExit).evading("the path"),
		act("memory", "from an in-memory file", "sample", name, "memory", "notes").exits(actor.DropExit).evading("the file"),
	}
}

// escapes are the reproductions of what reaches for the host and for its kernel.
func escapes() []Reproduction {
	const agent = "/sys/fs/cgroup/rdma/release_agent"
	return []Reproduction{
		{"PrivilegeEscalation:Runtime/RuncContainerEscape", "A process in a container changes the runtime's program, or works in a folder that the runtime has left open.", []Technique{
			act("write", "open(2) of runc for writing", "escape", "write", runc),
			act("descriptor", "the same through /proc/self/fd, as CVE-2019-5736 does", "escape", "descriptor", runc).evading("the path"),
			act("replace", "rename(2) over runc", "escape", "replace", runc),
			shell("shell", "a shell's redirection", ": >> "+runc),
			act("working-folder", "a shell whose working folder is /proc/self/fd/N, as CVE-2024-21626 does", "escape", "working-folder").exits(0),
			shell("working-folder-shell", "cd /proc/self/fd/8", "exec 8</; cd /proc/self/fd/8 && cat ../../../../etc/hostname"),
		}},
		{"PrivilegeEscalation:Runtime/CGroupsReleaseAgentModified", "A process tries to change what the kernel runs when a cgroup is empty.", []Technique{
			act("write", "open(2) of a release_agent", "escape", "write", agent),
			shell("shell", "a shell's redirection", "echo /tmp/payload > "+agent),
			act("relative", "chdir(2) and open(2) of release_agent", "escape", "relative", agent[:len("/sys/fs/cgroup")]+"/release_agent").evading("the absolute path"),
			perl("perl", "perl", `open(F,">","`+agent+`"); print "$!\n"`),
			act("mounted", "a hierarchy is mounted, and its release_agent written to", "escape", "release-agent").privileged(),
		}},
		{"PrivilegeEscalation:Runtime/ContainerMountsHostDirectory", "A process in a container tries to mount a file system of the host.", []Technique{
			act("mount", "mount(2) of a device", "kernel", "mount", "mount", "/dev/sdq1", "/mnt/host", "ext4"),
			act("fsmount", "fsopen(2), fsmount(2) and move_mount(2)", "kernel", "mount", "new", "/dev/sdq1", "/mnt/host", "ext4").evading("mount(2)"),
			act("bind", "mount(2) of a folder as another one", "kernel", "mount", "bind", "/proc/1/root", "/mnt/host", ""),
			command("busybox", "busybox's mount", "busybox", "mount", "-t", "ext4", "/dev/sdq1", "/mnt").needs("busybox"),
			perl("perl", "perl", fmt.Sprintf(`mkdir "/mnt/host"; ($a,$b,$c)=("/dev/sdq1","/mnt/host","ext4"); syscall(%d,$a,$b,$c,0,0)`, unix.SYS_MOUNT)),
			act("tree", "open_tree(2) and move_mount(2)", "kernel", "mount", "tree", "/proc/1/root", "/mnt/host", "").evading("mount(2)"),
			act("device", "mknod(2) of a block device and mount(2), with all capabilities", "kernel", "mount", "device", "hostdisk", "/mnt/host", "ext4").privileged(),
		}},
		{"PrivilegeEscalation:Runtime/UserfaultfdUsage", "A process handles page faults itself.", []Technique{
			act("any", "userfaultfd(2), faults of the kernel included", "kernel", "userfaultfd", "any"),
			act("user-mode", "userfaultfd(2) with UFFD_USER_MODE_ONLY", "kernel", "userfaultfd", "user-mode"),
			perl("perl", "perl", fmt.Sprintf(`syscall(%d,1)`, unix.SYS_USERFAULTFD)),
			act("tiny", "a program without any library", "kernel", "userfaultfd", "tiny"),
			act("user", "an ordinary user tries it", "kernel", "userfaultfd", "user"),
			act("compat", "by the entry for 32-bit programs", "kernel", "userfaultfd", "compat").evading("the system call's number").on("amd64"),
			act("privileged", "with all capabilities", "kernel", "userfaultfd", "any").privileged(),
		}},
		{"DefenseEvasion:Runtime/KernelModuleLoaded", "A process tries to load a kernel module (here a file that no kernel takes).", []Technique{
			act("init", "init_module(2)", "kernel", "module", "init"),
			act("finit", "finit_module(2)", "kernel", "module", "finit"),
			act("forced", "finit_module(2) that asks for no checks", "kernel", "module", "forced"),
			act("memory", "finit_module(2) of an in-memory file", "kernel", "module", "memory").evading("the file"),
			command("insmod", "busybox's insmod", "sh", "-c", "echo none > /tmp/net.ko; busybox insmod /tmp/net.ko").needs("busybox"),
			perl("perl", "perl", fmt.Sprintf(`$m="none"; $a=""; syscall(%d,$m,4,$a)`, unix.SYS_INIT_MODULE)),
			act("compat", "by the entry for 32-bit programs", "kernel", "module", "compat").evading("the system call's number").on("amd64"),
			act("privileged", "finit_module(2) with all capabilities", "kernel", "module", "finit").privileged(),
		}},
	}
}

// runc is the container runtime's program in the image; it is not the host's.
const runc = "/usr/bin/runc"

// escalations are the reproductions of how an ordinary user becomes root.
func escalations() []Reproduction {
	return []Reproduction{
		{"PrivilegeEscalation:Runtime/ElevationToRoot", "An ordinary user becomes root by a file that should not be able to do it.", []Technique{
			act("setuid", "a set-user-id program and setuid(2)", "setuid", "setuid"),
			act("setresuid", "a set-user-id program and setresuid(2)", "setuid", "setresuid").evading("setuid(2)"),
			act("sh", "a set-user-id copy of sh", "setuid", "sh"),
			act("bash", "a set-user-id copy of bash", "setuid", "bash").needs("bash"),
			act("capability", "a program with CAP_SETUID and setuid(2)", "setuid", "capability").evading("the set-user-id bit"),
			act("compat", "a set-user-id program and setuid32 of 32-bit programs", "setuid", "compat").evading("the system call's number").on("amd64"),
		}},
	}
}
