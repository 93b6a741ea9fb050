package rules

import (
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/finding"
)

// privilegeEscalationCommand is PrivilegeEscalation:Runtime/SuspiciousCommand: a command that gives a program or a user more
// rights, leaves the container for the host's namespaces, or abuses a program that has them.
func privilegeEscalationCommand() detect.Rule {
	return suspiciousCommand("PrivilegeEscalation:Runtime/SuspiciousCommand", privilegeEscalationCommands,
		"If nobody of yours did it, find out whether it worked (is a process of this lineage root, or on the host, now?), take the rights "+
			"back, and look at how the process was started.")
}

var privilegeEscalationCommands = []suspicion{
	{
		id: "setuid", names: []string{"chmod"}, example: "chmod u+s FILE", quiet: withoutProof,
		what: "makes a program run as its owner, whoever starts it (set-user-id)",
		match: func(l *line, c *command.Command) bool {
			mode := c.Operand(0)
			l.shown = c.Operand(1)
			if strings.Trim(mode, "01234567") == "" && mode != "" {
				mode = strings.TrimLeft(mode, "0")
				return len(mode) == 4 && (mode[0]-'0')&4 != 0
			}
			for clause := range strings.SplitSeq(mode, ",") {
				who, what, ok := strings.Cut(clause, "+")
				if !ok {
					who, what, ok = strings.Cut(clause, "=")
				}
				if ok && strings.Contains(what, "s") && (who == "" || strings.ContainsAny(who, "ua")) {
					return true
				}
			}
			return false
		},
	},
	{
		id: "capabilities", names: []string{"setcap"}, example: "setcap cap_setuid+ep FILE", quiet: withoutProof,
		what: "gives a program capabilities that amount to being root",
		match: func(l *line, c *command.Command) bool {
			for _, a := range c.Args {
				a = strings.ToLower(a)
				if strings.HasPrefix(a, "=") || strings.HasPrefix(a, "all") {
					return true
				}
				for _, name := range [...]string{"cap_setuid", "cap_setgid", "cap_sys_admin", "cap_dac_override", "cap_dac_read_search", "cap_sys_ptrace", "cap_sys_module", "cap_chown", "cap_fowner", "cap_setfcap", "cap_bpf"} {
					if strings.Contains(a, name) {
						return true
					}
				}
			}
			return false
		},
	},
	{
		id: "namespaces", names: []string{"nsenter"}, example: "nsenter -t 1 -m -u -i -n -p sh", quiet: onHost, severity: finding.SeverityHigh,
		what: "enters the namespaces of the first process, which may be the host's",
		match: func(l *line, c *command.Command) bool {
			for i, a := range c.Args {
				if (a == "-t" || a == "--target") && i+1 < len(c.Args) && c.Args[i+1] == "1" || a == "-t1" || a == "--target=1" || strings.HasPrefix(strings.TrimLeft(a, "-abcdefghijklmnopqrstuvwxyz="), "/proc/1/ns") {
					return true
				}
			}
			return false
		},
	},
	{
		id: "user namespace", names: []string{"unshare"}, example: "unshare -Urm", quiet: withoutProof | onHost,
		what: "makes itself root of a user namespace of its own, from where exploits of the kernel start",
		match: func(l *line, c *command.Command) bool {
			return c.Flag('U', "user") || c.Flag('r', "map-root-user")
		},
	},
	{
		id: "chroot", names: []string{"chroot"}, example: "chroot /host sh", quiet: onHost | byBuild, severity: finding.SeverityHigh,
		what: "changes into the host's file system",
		match: func(l *line, c *command.Command) bool {
			root := c.Operand(0)
			l.shown = root
			return root != "" && (hostFolder(root, l.m.Event.Container) || root == "/host" || root == "/rootfs" || root == "/hostfs" || strings.HasPrefix(root, "/host/"))
		},
	},
	{
		id: "container", names: []string{"docker", "podman", "nerdctl", "ctr"}, example: "docker run --privileged -v /:/host IMAGE", quiet: onHost | byBuild, severity: finding.SeverityHigh,
		what: "starts a container that has the host's rights or files",
		match: func(l *line, c *command.Command) bool {
			return c.Has("run", "create") && (c.Has("--privileged", "--pid=host") || c.Contains("/:/") || c.Contains("source=/,") || c.Contains("src=/,") || c.Contains("docker.sock"))
		},
	},
	{
		id: "sudo", names: []string{"sudo", "sudoedit"}, example: "sudoedit -s '\\'",
		severity: finding.SeverityHigh,
		what:     "uses a known fault of sudo",
		match: func(l *line, c *command.Command) bool {
			if c.Has("-u#-1", "-u#4294967295", "#-1", "#4294967295") {
				return true
			}
			if c.Name == "sudoedit" || c.Has("-e") {
				for _, a := range c.Args {
					if strings.HasSuffix(a, `\`) {
						return true
					}
				}
			}
			return c.Has("-R", "--chroot") && c.Contains("/tmp")
		},
	},
	{
		id: "sudo shell", names: []string{"sudo", "doas"}, example: "sudo find . -exec sh ;", quiet: withoutProof,
		what: "makes a program that it may run as root start a shell",
		match: func(l *line, c *command.Command) bool {
			direct := false
			for i := range l.commands {
				d := &l.commands[i]
				if d.Name == "sudo" || d.Name == "doas" {
					continue
				}
				if command.Shell(d.Name) {
					return direct && d.Interpreter == "" && !d.Flag('c')
				}
				switch d.Name {
				case "find", "awk", "gawk", "mawk", "perl", "python", "python3", "ruby", "lua", "env", "nmap", "vim", "vi", "less", "more", "man", "ftp", "gdb", "tar", "zip", "git", "xargs", "php", "node", "ed":
					direct = true
				}
				if (d.Name == "vim" || d.Name == "vi") && has(d, ":!", "shell") || d.Name == "tar" && d.Contains("--checkpoint-action=exec") || d.Name == "nmap" && d.Has("--interactive") ||
					(d.Name == "python3" || d.Name == "python") && d.Contains("pty.spawn") || d.Name == "perl" && d.Contains("exec \"/bin/") {
					return true
				}
			}
			return false
		},
	},
	{
		id: "sudoers", names: append([]string{""}, writers...), example: "echo 'USER ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers", quiet: inSetup | byBuild,
		what: "changes who may become root",
		match: func(l *line, c *command.Command) bool {
			return written(l, c, func(p string) bool {
				return p == "/etc/sudoers" || strings.HasPrefix(p, "/etc/sudoers.d/") || strings.HasPrefix(p, "/etc/pam.d/") || p == "/etc/doas.conf" || p == "/etc/shadow"
			})
		},
	},
	{
		id: "group", names: []string{"usermod", "gpasswd", "adduser", "addgroup", "useradd"}, example: "usermod -aG sudo USER", quiet: withoutProof,
		what: "makes a user a member of a group that may become root",
		match: func(l *line, c *command.Command) bool {
			if c.Name == "useradd" && !c.Has("-G", "--groups", "-g") || c.Name == "gpasswd" && !c.Has("-a", "-M") {
				return false
			}
			for _, a := range c.Args {
				for g := range strings.SplitSeq(a, ",") {
					switch strings.TrimPrefix(g, "-aG") {
					case "sudo", "wheel", "docker", "root", "admin", "shadow", "disk", "lxd":
						return c.Operand(0) != g || c.Name == "usermod"
					}
				}
			}
			return false
		},
	},
	{
		id: "root password", names: []string{"chpasswd", "passwd"}, example: "echo root:PASSWORD | chpasswd", quiet: withoutProof | onHost,
		what: "changes the password of root",
		match: func(l *line, c *command.Command) bool {
			if c.Name == "passwd" {
				return c.Operand(0) == "root" && !c.Flag('l', "lock") && !c.Flag('S', "status")
			}
			in := l.input(c)
			return in != nil && (in.Contains("root:"))
		},
	},
	{
		id: "privileged shell", names: []string{"bash", "sh", "dash", "ksh", "zsh"}, example: "bash -p",
		what: "keeps the rights of a set-user-id shell",
		match: func(l *line, c *command.Command) bool {
			p := l.m.Process
			return !c.Nested && p.EUID == 0 && p.UID != 0
		},
	},
	{
		id: "core pattern", names: append([]string{""}, writers...), example: "echo '|PROGRAM' > /proc/sys/kernel/core_pattern", quiet: onHost, severity: finding.SeverityHigh,
		what: "names a program that the kernel runs as root on the host",
		match: func(l *line, c *command.Command) bool {
			return written(l, c, func(p string) bool {
				return strings.HasSuffix(p, "/kernel/core_pattern") || strings.HasSuffix(p, "/kernel/modprobe") || strings.HasSuffix(p, "/uevent_helper") || strings.HasSuffix(p, "/release_agent") ||
					strings.Contains(p, "/binfmt_misc/register")
			})
		},
	},
	{
		id: "device", names: []string{"mknod", "debugfs"}, example: "mknod /tmp/DISK b 8 0", quiet: onHost | byBuild,
		what: "opens the host's disk directly",
		match: func(l *line, c *command.Command) bool {
			return c.Name == "mknod" && c.Operand(1) == "b" || c.Name == "debugfs" && c.Contains("/dev/")
		},
	},
}
