package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
)

// maxUsers bounds how many processes of ordinary users a place remembers.
const maxUsers = 1024

// elevationToRoot is PrivilegeEscalation:Runtime/ElevationToRoot: a process of an ordinary user is root now, and not by one of the
// programs that are made for it. Two ways are seen:
//
//  1. A set-user-id program other than the usual ones (sudo, su, passwd …) was started by an ordinary user. The usual ones
//     count only where they came with the image, and pkexec without any argument never does (CVE-2021-4034).
//  2. A process that was started by an ordinary user, or a child it made since, is root without having run a set-user-id
//     program: it used a capability of its file, or an exploit.
func elevationToRoot() detect.Rule {
	type users struct {
		index map[event.UUID]int64 // when it was started as an ordinary user
		order [maxUsers]event.UUID // ring
		next  int
	}
	places := newMemory[users](256)
	return detect.Rule{
		Type:    "PrivilegeEscalation:Runtime/ElevationToRoot",
		Pattern: `{"kind":["exec","setuid"],"errno":[0]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if m.Event.Kind == event.KindSetuid {
				c := m.Event.Creds
				if c == nil || c.SetuidExe || c.UID != 0 && c.EUID != 0 {
					return false
				}
				u := places.known(m)
				if u == nil || u.index[p.UUID] == 0 {
					return false
				}
				delete(u.index, p.UUID)
				return elevated(m, "It changed its user id to root without having been started as a set-user-id program.")
			}
			switch {
			case p.EUID != 0 && p.UID != 0:
				if p.UUID.IsZero() {
					return false
				}
				u := places.of(m)
				if u.index == nil {
					u.index = make(map[event.UUID]int64)
				}
				if _, ok := u.index[p.UUID]; !ok {
					delete(u.index, u.order[u.next])
					u.order[u.next] = p.UUID
					u.next = (u.next + 1) % maxUsers
				}
				u.index[p.UUID] = max(1, m.Event.Time)
			case p.EUID == 0 && p.UID != 0:
				if u := places.known(m); u != nil {
					delete(u.index, p.UUID)
				}
				if usualSetuid(p) {
					return false
				}
				return elevated(m, fmt.Sprintf("The file '%s' makes whoever starts it root (set-user-id), and is not one of the programs that are meant to.",
					event.PrintableN(p.ExePath, 200)))
			default: // It is root.
				u := places.known(m)
				if u == nil || len(u.index) == 0 {
					return false
				}
				self := u.index[p.UUID] != 0
				parent := u.index[parentOf(p)]
				delete(u.index, p.UUID)
				if self || parent != 0 && p.StartTime > parent {
					return elevated(m, "It was started by an ordinary user, and nothing that it ran since is a set-user-id program.")
				}
			}
			return false
		},
	}
}

func elevated(m *detect.Match, how string) bool {
	p := m.Process
	m.Object = p.ExePath
	m.Description = fmt.Sprintf("The %s became root in an unusual way. %s Whoever is root in a container is one fault of the kernel away from the host. "+
		"Look at what started it (its lineage), at who made the program and its rights, and at everything it did since.", m.Who(p), how)
	return true
}

// usualSetuids are set-user-id programs that distributions ship.
var usualSetuids = map[string]bool{
	"sudo": true, "sudoedit": true, "su": true, "doas": true, "passwd": true, "chsh": true, "chfn": true, "newgrp": true, "sg": true, "gpasswd": true, "chage": true, "expiry": true,
	"mount": true, "umount": true, "fusermount": true, "fusermount3": true, "ping": true, "ping6": true, "traceroute": true, "traceroute6": true, "mtr-packet": true,
	"pkexec": true, "polkit-agent-helper-1": true, "dbus-daemon-launch-helper": true, "ssh-keysign": true, "unix_chkpwd": true, "pam_extrausers_chkpwd": true,
	"pam_timestamp_check": true, "userhelper": true, "usernetctl": true, "crontab": true, "at": true, "newuidmap": true, "newgidmap": true, "Xorg.wrap": true, "chrome-sandbox": true,
	"snap-confine": true, "staprun": true, "exim4": true, "exim": true, "sendmail": true, "postdrop": true, "postqueue": true, "procmail": true, "ntfs-3g": true, "mount.nfs": true,
	"mount.cifs": true, "mount.ecryptfs_private": true, "pppd": true, "bwrap": true, "ksu": true, "starter-suid": true, "nvidia-modprobe": true, "firejail": true,
	"suexec": true, "screen": true, "utempter": true, "cockpit-session": true, "bbsuid": true, "arping": true, "clockdiff": true, "vmware-user-suid-wrapper": true, "kismet_cap_linux_wifi": true,
	"gst-ptp-helper": true, "ubuntu-core-launcher": true, "lxc-user-nic": true, "incus-user": true, "doas.real": true, "sudo-rs": true, "su-rs": true, "run0": true, "wall": true, "bsd-write": true,
}

func usualSetuid(p *event.Process) bool {
	name := command.Base(p.ExePath)
	if name == "pkexec" && len(p.Args) == 0 {
		return false
	}
	folder := strings.HasPrefix(p.ExePath, "/usr/") || strings.HasPrefix(p.ExePath, "/bin/") || strings.HasPrefix(p.ExePath, "/sbin/") || strings.HasPrefix(p.ExePath, "/opt/") ||
		strings.HasPrefix(p.ExePath, "/snap/") || strings.HasPrefix(p.ExePath, "/nix/store/") || strings.HasPrefix(p.ExePath, "/run/wrappers/")
	return original(p) && folder && usualSetuids[name]
}
