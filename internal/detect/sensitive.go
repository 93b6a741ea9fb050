package detect

import (
	"strings"

	"vedette.dev/vedette/internal/event"
)

// What a sensitive file decides.
const (
	SensitivePersistence = "persistence"          // what starts by itself, who may log in
	SensitivePrivilege   = "privilege-escalation" // who may become root
	SensitiveEvasion     = "defense-evasion"      // what is recorded
)

// The operations on files that GuardDuty names.
const (
	FileWrite   = "Write"
	FileDelete  = "Delete"
	FileRename  = "Rename"
	FileLink    = "Link"
	FileSymlink = "Symlink"
)

// truncate is O_TRUNC.
const truncate = 0x200

// Sensitive returns what the file that an event changes decides, its path, and what is done to it; "" where it decides
// nothing. A path in a container below a mount of the host is read as the host's.
func Sensitive(e *event.Event) (category, path, operation string) {
	switch {
	case e.Open != nil:
		path = e.Open.Path
		category = sensitive(path, e.Container)
		if category == SensitiveEvasion && record(path) && e.Open.Flags&truncate == 0 {
			return "", "", "" // Records grow: only making them shorter hides anything.
		}
		return category, path, FileWrite
	case e.File == nil:
		return "", "", ""
	}
	f := e.File
	switch e.Kind {
	case event.KindUnlink:
		return sensitive(f.Path, e.Container), f.Path, FileDelete
	case event.KindSymlink:
		return sensitive(f.Path, e.Container), f.Path, FileSymlink
	case event.KindLink:
		if c := sensitive(f.Path, e.Container); c != "" {
			return c, f.Path, FileLink
		}
		return sensitive(f.Target, e.Container), f.Target, FileLink
	case event.KindRename:
		if c := sensitive(f.Target, e.Container); c != "" {
			return c, f.Target, FileRename
		}
		return sensitive(f.Path, e.Container), f.Path, FileRename
	}
	return "", "", ""
}

// sensitive returns what a file decides. It allocates nothing, unless the file is below a mount of one of the host's folders.
func sensitive(path string, c *event.Container) string {
	if rest, ok := strings.CutPrefix(path, "/proc/"); ok {
		if _, rest, ok := strings.Cut(rest, "/root/"); ok {
			path = path[len(path)-len(rest)-1:]
		}
	} else if c != nil {
		for i := range c.Mounts {
			m := &c.Mounts[i]
			rest, ok := strings.CutPrefix(path, m.Target)
			if !ok || rest == "" || rest[0] != '/' {
				continue
			}
			switch m.Source {
			case "/":
				path = rest
			case "/etc", "/root", "/home", "/var", "/var/log", "/var/spool/cron", "/etc/cron.d", "/usr", "/lib":
				path = m.Source + rest
			}
		}
	}
	switch {
	case strings.HasPrefix(path, "/etc/"):
		return sensitiveEtc(path[len("/etc/"):])
	case strings.HasPrefix(path, "/var/spool/cron"), strings.HasPrefix(path, "/usr/lib/systemd/system/"), strings.HasPrefix(path, "/lib/systemd/system/"), strings.HasPrefix(path, "/var/spool/at/"):
		return SensitivePersistence
	case strings.HasPrefix(path, "/var/log/"), strings.HasPrefix(path, "/run/utmp"), strings.HasPrefix(path, "/var/run/utmp"):
		if record(path) {
			return SensitiveEvasion
		}
		return ""
	case strings.Contains(path, "/security/pam_"):
		return SensitivePrivilege
	}
	if strings.HasPrefix(path, "/tmp/") || strings.HasPrefix(path, "/var/tmp/") || strings.HasPrefix(path, "/dev/shm/") {
		return "" // Nobody lives there: a copy of somebody's files, such as a backup.
	}
	name := base(path)
	switch {
	case WebScript(path):
		return SensitivePersistence
	case strings.HasSuffix(name, "_history"):
		return SensitiveEvasion
	case strings.Contains(path, "/.ssh/"):
		if name == "known_hosts" || strings.HasPrefix(name, "known_hosts.") {
			return ""
		}
		return SensitivePersistence
	case strings.Contains(path, "/.config/systemd/user/"), strings.Contains(path, "/.config/autostart/"):
		return SensitivePersistence
	}
	switch name {
	case ".bashrc", ".bash_profile", ".profile", ".zshrc", ".zprofile", ".bash_login", ".bash_logout":
		return SensitivePersistence
	}
	return ""
}

// WebScript reports whether a file is a script that a web server runs.
func WebScript(path string) bool {
	if !strings.HasPrefix(path, "/var/www/") && !strings.HasPrefix(path, "/usr/share/nginx/") && !strings.HasPrefix(path, "/srv/www/") && !strings.Contains(path, "/htdocs/") && !strings.Contains(path, "/webapps/") {
		return false
	}
	switch path[strings.LastIndexByte(path, '.')+1:] {
	case "php", "phtml", "php5", "php7", "phar", "jsp", "jspx", "cgi", "asp", "aspx":
		return true
	}
	return false
}

func sensitiveEtc(name string) string {
	first, _, _ := strings.Cut(name, "/")
	switch first {
	case "sudoers", "sudoers.d", "pam.d", "pam.conf", "security", "nsswitch.conf", "polkit-1", "doas.conf", "login.defs", "krb5.conf", "krb5.keytab", "securetty":
		return SensitivePrivilege
	case "passwd", "shadow", "group", "gshadow", "crontab", "cron.d", "cron.hourly", "cron.daily", "cron.weekly", "cron.monthly", "anacrontab", "init.d", "rc.local", "rc.d", "inittab",
		"profile", "profile.d", "bash.bashrc", "bashrc", "zshrc", "ssh", "ld.so.preload", "update-motd.d", "at.allow", "cron.allow":
		return SensitivePersistence
	case "systemd":
		if strings.HasPrefix(name, "systemd/system/") || strings.HasPrefix(name, "systemd/user/") {
			return SensitivePersistence
		}
		if strings.HasPrefix(name, "systemd/journald") {
			return SensitiveEvasion
		}
	case "audit", "audisp", "rsyslog.conf", "rsyslog.d", "syslog.conf", "syslog-ng", "selinux", "apparmor.d", "logrotate.conf", "logrotate.d":
		return SensitiveEvasion
	}
	return ""
}

// record reports whether a file is one that records what happened and only grows, apart from being rotated.
func record(path string) bool {
	switch base(path) {
	case "auth.log", "secure", "wtmp", "btmp", "utmp", "lastlog", "faillog", "audit.log", "syslog", "messages", "kern.log", "cron", "cron.log", "user.log", "daemon.log", "tallylog":
		return true
	}
	return strings.HasSuffix(path, "_history")
}
