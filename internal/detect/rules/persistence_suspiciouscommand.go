package rules

import (
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/finding"
)

// persistenceCommand is Persistence:Runtime/SuspiciousCommand: a service or a scheduled task is installed, a user or a key is
// added, or what starts with a shell or a login is changed.
func persistenceCommand() detect.Rule {
	return suspiciousCommand("Persistence:Runtime/SuspiciousCommand", persistenceCommands,
		"That is how an intruder comes back after a restart or a change of passwords. If nobody of yours did it, look at what was added and "+
			"remove it, and look at how the process was started (its lineage).")
}

var persistenceCommands = []suspicion{
	{
		id: "service", names: []string{"systemctl", "update-rc.d", "chkconfig", "rc-update"}, example: "systemctl enable SERVICE", quiet: withoutProof | byManager, service: true,
		what: "installs a service that starts with the system",
		match: func(l *line, c *command.Command) bool {
			l.shown = serviceName(c)
			return (c.Has("enable", "link", "reenable") && c.Name == "systemctl" || c.Has("defaults", "--add", "add", "on")) && !c.Has("is-enabled")
		},
	},
	{
		id: "scheduled task", names: []string{"crontab"}, example: "crontab FILE", quiet: withoutProof,
		what: "installs scheduled tasks",
		match: func(l *line, c *command.Command) bool {
			if c.Flag('l') || c.Flag('r') || c.Has("-h", "--help", "-V") {
				return false
			}
			return len(c.Args) > 0 || c.Input >= 0 || pipe(l.m.Process.Stdin) != 0 && !c.Nested
		},
	},
	{
		id: "scheduled task", names: []string{"at", "batch", "systemd-run"}, example: "systemd-run --on-calendar=hourly COMMAND", quiet: withoutProof,
		what: "schedules a command",
		match: func(l *line, c *command.Command) bool {
			if c.Name == "systemd-run" {
				return c.Contains("--on-")
			}
			return !c.Flag('l') && !c.Flag('r') && !c.Flag('d') && !c.Has("-V") && (c.Name == "batch" || len(c.Args) > 0)
		},
	},
	{
		id: "user", names: []string{"useradd", "adduser", "newusers"}, example: "useradd USER", quiet: withoutProof | byManager,
		what: "adds a user",
		match: func(l *line, c *command.Command) bool {
			if c.Has("-D", "--defaults", "--help", "-h") {
				return false
			}
			if c.Flag('o', "non-unique") && c.Has("0") {
				l.source = finding.SeverityHigh
			}
			return true
		},
	},
	{
		id: "login", names: append([]string{""}, writers...), example: "echo KEY >> ~/.ssh/authorized_keys", quiet: inSetup | byBuild | byManager,
		what: "adds a key or an account with which to log in",
		match: func(l *line, c *command.Command) bool {
			return written(l, c, func(p string) bool {
				return strings.HasSuffix(p, "/.ssh/authorized_keys") || strings.HasSuffix(p, "/.ssh/authorized_keys2") || p == "/etc/passwd" || p == "/etc/group" || p == "/etc/ssh/sshd_config"
			})
		},
	},
	{
		id: "start-up file", names: append([]string{""}, writers...), example: "echo '* * * * * root COMMAND' >> /etc/crontab", quiet: inSetup | byBuild | byOperator,
		what:  "changes what is run on a schedule, at start or at login",
		match: func(l *line, c *command.Command) bool { return written(l, c, startsSomething) },
	},
	{
		id: "web shell", names: append([]string{""}, writers...), example: "echo CODE > /var/www/html/FILE.php", quiet: inSetup | byBuild | byOperator,
		what: "writes a script into the folder of a web server",
		match: func(l *line, c *command.Command) bool {
			return written(l, c, func(p string) bool {
				return (strings.HasPrefix(p, "/var/www/") || strings.Contains(p, "/htdocs/") || strings.HasPrefix(p, "/usr/share/nginx/") || strings.Contains(p, "/webapps/")) &&
					(strings.HasSuffix(p, ".php") || strings.HasSuffix(p, ".jsp") || strings.HasSuffix(p, ".phtml") || strings.HasSuffix(p, ".jspx") || strings.HasSuffix(p, ".cgi"))
			})
		},
	},
}

// startsSomething reports whether a file decides what is run on a schedule, at start or at login.
func startsSomething(p string) bool {
	for _, prefix := range [...]string{"/etc/cron", "/var/spool/cron", "/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/", "/etc/init.d/", "/etc/profile.d/", "/etc/rc", "/etc/update-motd.d/", "/etc/xdg/autostart/", "/etc/udev/rules.d/"} {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	switch p {
	case "/etc/profile", "/etc/bash.bashrc", "/etc/inittab", "/etc/anacrontab", "/etc/at.allow":
		return true
	}
	switch command.Base(p) {
	case ".bashrc", ".bash_profile", ".profile", ".zshrc", ".zprofile", ".bash_login", ".bash_logout":
		return true
	}
	return strings.Contains(p, "/.config/systemd/user/") || strings.Contains(p, "/.config/autostart/")
}
