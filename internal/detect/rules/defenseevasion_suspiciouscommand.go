package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// defenseEvasionCommand is DefenseEvasion:Runtime/SuspiciousCommand: the firewall, auditing, protection or another service is
// switched off, scheduled tasks or traces are removed, or a library is forced into programs (LD_PRELOAD).
func defenseEvasionCommand() detect.Rule {
	rule := suspiciousCommand("DefenseEvasion:Runtime/SuspiciousCommand", defenseEvasionCommands, defenseEvasionAdvice)
	commands := rule.Detect
	// A library that everybody may write is forced into a program: by the environment it has, or the one a shell's text gives.
	rule.Pattern = strings.Replace(rule.Pattern, `"command":`, `"$or":[
		{"process":{"ldPreload":[{"prefix":"/tmp/"},{"prefix":"/var/tmp/"},{"prefix":"/dev/shm/"},{"prefix":"/run/shm/"}]}},
		{"process":{"args":[{"wildcard":"*LD_PRELOAD=*"}]}},
		{"command":`, 1)
	rule.Pattern = strings.TrimSuffix(rule.Pattern, "}") + "}]}"
	rule.Detect = func(m *detect.Match) bool {
		if commands(m) {
			return true
		}
		p := m.Process
		library := p.LDPreload
		if !temporary(library) || p.Parent != nil && p.Parent.LDPreload == library {
			// Children inherit it: the first one has been found.
			library = ""
			for _, c := range m.Facts.Commands() {
				for _, e := range c.Env {
					if v, ok := strings.CutPrefix(e, "LD_PRELOAD="); ok && temporary(v) {
						library = v
					}
				}
			}
		}
		if l := (line{m: m}); library == "" || l.excused(byBuild) {
			return false
		}
		m.Object = "preload " + library
		m.Context = finding.Context{CommandLineExample: "LD_PRELOAD=/tmp/LIBRARY COMMAND", LDPreloadValue: library, ScriptPath: p.ScriptPath}
		m.Description = fmt.Sprintf("The %s forces the library '%s', which is in a folder where everybody may write, into a program (LD_PRELOAD). Such a library can "+
			"replace any function of the program, and so hide files, processes and connections from it. %s", m.Who(p), event.PrintableN(library, 200), defenseEvasionAdvice)
		return true
	}
	return rule
}

const defenseEvasionAdvice = "That takes away what would keep an intruder out or show what was done. If nobody of yours did it, take it back, and look at " +
	"how the process was started (its lineage) and at what it did before and after."

// protections are services that protect or watch a system.
var protections = map[string]bool{
	"firewalld": true, "ufw": true, "iptables": true, "ip6tables": true, "nftables": true, "netfilter-persistent": true, "auditd": true, "rsyslog": true, "rsyslogd": true, "syslog": true,
	"syslog-ng": true, "apparmor": true, "selinux": true, "fail2ban": true, "fail2ban-server": true, "crowdsec": true, "falco": true, "tetragon": true, "sysdig": true, "wazuh-agent": true, "wazuh-agentd": true,
	"ossec": true, "clamav-daemon": true, "clamd": true, "clamav-freshclam": true, "osqueryd": true, "vedette": true, "vedette-agent": true, "aide": true, "auditbeat": true, "filebeat": true,
	"datadog-agent": true, "amazon-guardduty-agent": true, "amazon-cloudwatch-agent": true, "amazon-ssm-agent": true, "aliyun-service": true, "aegis": true, "aliyundun": true, "cloudmonitor": true,
	"falcon-sensor": true, "cbagentd": true, "ds_agent": true, "sentinelone": true, "mdatp": true, "systemd-journald": true, "journald": true, "sysmon": true,
}

func protection0(name string) bool {
	return protections[strings.ToLower(strings.TrimSuffix(name, ".service"))]
}

var defenseEvasionCommands = []suspicion{
	{
		id: "firewall", names: []string{"iptables", "ip6tables", "iptables-legacy", "iptables-nft", "xtables-nft-multi", "xtables-legacy-multi"}, example: "iptables -F", quiet: inSetup | byManager,
		what: "changes the rules of the firewall",
		match: func(l *line, c *command.Command) bool {
			return c.Has("-F", "--flush", "-X", "--delete-chain", "-D", "--delete", "-P", "--policy", "-A", "--append", "-I", "--insert", "-Z") && !c.Has("-h", "--help")
		},
	},
	{
		id: "firewall", names: []string{"nft", "ufw", "firewall-cmd", "iptables-restore"}, example: "nft flush ruleset", quiet: inSetup | byManager,
		what: "changes the rules of the firewall or switches it off",
		match: func(l *line, c *command.Command) bool {
			switch c.Name {
			case "nft":
				return c.Has("flush", "delete")
			case "ufw":
				return c.Has("disable", "reset") || c.Operand(0) == "default" && c.Has("allow")
			case "iptables-restore":
				return !c.Flag('t', "test")
			}
			return c.Contains("--remove") || c.Contains("--panic-off") || c.Contains("--set-default-zone=trusted")
		},
	},
	{
		id: "protection", names: []string{"systemctl", "service", "rc-service", "update-rc.d", "chkconfig", "rc-update", "initctl", "stop"}, example: "systemctl stop auditd", quiet: byManager, service: true,
		what: "stops or disables a service that protects or watches the system",
		match: func(l *line, c *command.Command) bool {
			if !stops(c) {
				return false
			}
			for _, a := range c.Args {
				if protection0(a) {
					l.shown = a
					return true
				}
			}
			return false
		},
	},
	{
		id: "service", names: []string{"systemctl", "service", "rc-service", "update-rc.d", "rc-update"}, example: "systemctl disable SERVICE", quiet: withoutProof | byManager | onHost, service: true,
		severity: finding.SeverityLow, what: "stops or disables a service",
		match: func(l *line, c *command.Command) bool {
			l.shown = serviceName(c)
			return stops(c) && l.shown != ""
		},
	},
	{
		id: "protection killed", names: []string{"kill", "pkill", "killall"}, example: "pkill auditd", quiet: byManager,
		what: "ends a program that protects or watches the system",
		match: func(l *line, c *command.Command) bool {
			for _, a := range c.Args {
				if protection0(a) {
					l.shown = a
					return true
				}
			}
			return false
		},
	},
	{
		id: "mandatory access control", names: []string{"setenforce", "aa-teardown", "aa-disable", "aa-complain", "apparmor_parser"}, example: "setenforce 0", quiet: byManager | inSetup,
		what: "switches mandatory access control (SELinux, AppArmor) off",
		match: func(l *line, c *command.Command) bool {
			switch c.Name {
			case "setenforce":
				return c.Has("0", "Permissive", "permissive")
			case "apparmor_parser":
				return c.Flag('R', "remove")
			}
			return true
		},
	},
	{
		id: "audit", names: []string{"auditctl"}, example: "auditctl -e 0", quiet: byManager,
		what: "switches the kernel's auditing off or deletes its rules",
		match: func(l *line, c *command.Command) bool {
			return c.Has("-D", "-d", "-W") || c.Has("-e") && c.Has("0") || c.Has("-e0")
		},
	},
	{
		id: "kernel", names: []string{"sysctl"}, example: "sysctl -w kernel.randomize_va_space=0", quiet: inSetup | byManager,
		what: "weakens the kernel's protection",
		match: func(l *line, c *command.Command) bool {
			for _, a := range c.Args {
				if weakens(strings.ReplaceAll(a, " ", "")) {
					l.shown = a
					return true
				}
			}
			return false
		},
	},
	{
		id: "kernel", names: writers, example: "echo 0 > /proc/sys/kernel/randomize_va_space", quiet: inSetup | byManager,
		what: "weakens the kernel's protection",
		match: func(l *line, c *command.Command) bool {
			return written(l, c, func(p string) bool {
				k, ok := strings.CutPrefix(p, "/proc/sys/")
				return ok && weakens(strings.ReplaceAll(k, "/", ".")+"="+c.Operand(0)) || p == "/sys/fs/selinux/enforce"
			})
		},
	},
	{
		id: "crontab", names: []string{"crontab"}, example: "crontab -r", quiet: inSetup,
		what:  "removes all scheduled tasks of a user",
		match: func(l *line, c *command.Command) bool { return c.Flag('r') },
	},
	{
		id: "crontab", names: []string{"rm", "shred", "unlink", "truncate"}, example: "rm -f /etc/cron.d/FILE", quiet: withoutProof,
		what: "removes scheduled tasks",
		match: func(l *line, c *command.Command) bool {
			return removes(l, c, func(p string) bool {
				return strings.HasPrefix(p, "/etc/cron") || strings.HasPrefix(p, "/var/spool/cron")
			})
		},
	},
	{
		id: "traces", names: []string{"rm", "shred", "unlink", "truncate", "ln", "wipe", "srm"}, example: "rm -f ~/.bash_history", quiet: inSetup | byBuild,
		what: "removes logs or a history of commands",
		match: func(l *line, c *command.Command) bool {
			if c.Name == "ln" {
				return c.Contains("/dev/null") && c.Contains("_history")
			}
			return removes(l, c, func(p string) bool {
				base := command.Base(p)
				if strings.HasSuffix(base, "_history") || base == ".history" {
					return true
				}
				switch base {
				case "wtmp", "btmp", "utmp", "lastlog", "auth.log", "secure", "audit.log", "syslog", "messages", "faillog":
					return strings.HasPrefix(p, "/var/") || strings.HasPrefix(p, "/run/")
				}
				return p == "/var/log" || p == "/var/log/" || p == "/var/log/*" || p == "/var/log/audit" || p == "/var/log/audit/*"
			})
		},
	},
	{
		id: "traces", names: append([]string{"", ":", "true"}, writers...), example: "> /var/log/auth.log", quiet: inSetup | byBuild,
		what: "empties logs or a history of commands",
		match: func(l *line, c *command.Command) bool {
			for _, r := range c.Redirects {
				base := command.Base(r.Path)
				if r.Op == ">" && (strings.HasSuffix(base, "_history") || strings.HasPrefix(r.Path, "/var/log/") &&
					(base == "auth.log" || base == "secure" || base == "wtmp" || base == "btmp" || base == "lastlog" || base == "audit.log" || base == "syslog" || base == "messages")) {
					l.shown = r.Path
					return true
				}
			}
			return false
		},
	},
	{
		id: "traces", names: []string{"history", "unset", "journalctl", "dmesg", "export", "set"}, example: "unset HISTFILE", quiet: inSetup | byBuild,
		what: "keeps commands out of the history or empties the system's journal",
		match: func(l *line, c *command.Command) bool {
			switch c.Name {
			case "history":
				return c.Flag('c')
			case "unset":
				return c.Has("HISTFILE", "HISTSIZE", "HISTFILESIZE")
			case "export":
				return c.Has("HISTFILE=/dev/null", "HISTFILE=", "HISTSIZE=0", "HISTFILESIZE=0")
			case "set":
				return c.Has("+o") && c.Has("history")
			case "dmesg":
				return c.Flag('C', "clear") || c.Flag('c', "read-clear")
			}
			return c.Has("--vacuum-time=1s", "--vacuum-size=1", "--vacuum-time=0") || c.Contains("--vacuum-files=0")
		},
	},
	{
		id: "preload", names: append([]string{""}, writers...), example: "echo LIBRARY > /etc/ld.so.preload", quiet: inSetup,
		what: "forces a library into every program (ld.so.preload)",
		match: func(l *line, c *command.Command) bool {
			return written(l, c, func(p string) bool { return strings.HasSuffix(p, "/etc/ld.so.preload") })
		},
	},
	{
		id: "hidden process", names: []string{"mount"}, example: "mount -o bind /tmp/EMPTY /proc/PID",
		what: "hides a process by mounting something over it",
		match: func(l *line, c *command.Command) bool {
			if len(c.Args) == 0 {
				return false
			}
			rest, ok := strings.CutPrefix(c.Args[len(c.Args)-1], "/proc/")
			return ok && rest != "" && strings.Trim(rest, "0123456789/") == ""
		},
	},
	{
		id: "immutable", names: []string{"chattr"}, example: "chattr +i FILE", quiet: withoutProof | onHost, severity: finding.SeverityMedium,
		what: "makes a file impossible to change or remove",
		match: func(l *line, c *command.Command) bool {
			return strings.HasPrefix(c.Operand(0), "+") && strings.Contains(c.Operand(0), "i")
		},
	},
}

func stops(c *command.Command) bool {
	return c.Has("stop", "disable", "mask", "off", "remove", "del", "delete") || c.Name == "stop"
}

// weakens reports whether a kernel setting, key=value, takes protection away.
func weakens(setting string) bool {
	key, value, ok := strings.Cut(setting, "=")
	if !ok || value != "0" && value != "-1" {
		return ok && key == "kernel.core_pattern" && strings.HasPrefix(value, "|")
	}
	switch key {
	case "kernel.randomize_va_space", "kernel.yama.ptrace_scope", "kernel.kptr_restrict", "kernel.dmesg_restrict", "kernel.unprivileged_bpf_disabled", "kernel.perf_event_paranoid",
		"vm.mmap_min_addr", "fs.protected_symlinks", "fs.protected_hardlinks", "kernel.nmi_watchdog":
		return true
	}
	return false
}

// removes reports whether one of the files that a command removes is one for which ok holds.
func removes(l *line, c *command.Command, ok func(string) bool) bool {
	for _, a := range c.Args {
		if !strings.HasPrefix(a, "-") && ok(a) {
			l.shown = a
			return true
		}
	}
	return false
}
