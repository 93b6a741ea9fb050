package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// The flags of mount(2) that matter here.
const (
	msRemount = 32
	msBind    = 4096
	msMove    = 8192
	// msPropagation are MS_SHARED, MS_PRIVATE, MS_SLAVE and MS_UNBINDABLE.
	msPropagation = 1<<20 | 1<<18 | 1<<19 | 1<<17
)

// containerMounts is PrivilegeEscalation:Runtime/ContainerMountsHostDirectory: a process in a container mounts, or tries to
// mount, a file system of the host: a block device, a disk's kind of file system, or a folder of the host that it can see (through
// /proc/PID/root, or one that was mounted into it) at another place.
//
// What a container may well do within itself is left out: proc, sysfs, tmpfs, overlay, FUSE, loop devices, changes of
// propagation, and everything that the container engine does while it sets the container up.
func containerMounts() detect.Rule {
	return detect.Rule{
		Type:    "PrivilegeEscalation:Runtime/ContainerMountsHostDirectory",
		Pattern: `{"kind":["mount"],"container":{"id":[{"exists":true}]}}`,
		Detect: func(m *detect.Match) bool {
			mount := m.Event.Mount
			if mount == nil || starting(m.Process) || !hostMount(mount, m.Event.Container) {
				return false
			}
			m.Object = mount.Source + " " + mount.Target
			m.Context = finding.Context{MountSource: mount.Source, MountTarget: mount.Target, FileSystemType: mount.FSType, Flags: mountFlags(mount.Flags)}
			kind := ""
			if mount.FSType != "" {
				kind = " as " + finding.Quote(mount.FSType)
			}
			m.Description = fmt.Sprintf("The %s %s '%s' on '%s'%s%s. Who mounts a file system of the host in a container can read and change everything "+
				"on it, and so take the host over. Find out how the process came to run, look at what it changed there, and take the right "+
				"to mount (CAP_SYS_ADMIN) from the container.", m.Who(m.Process), m.Did("mounted", "tried to mount"),
				event.PrintableN(mount.Source, 200), event.PrintableN(mount.Target, 200), kind, m.Outcome())
			return true
		},
	}
}

// diskTypes are file systems that live on disks or on other machines.
var diskTypes = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "jfs": true, "reiserfs": true, "vfat": true, "exfat": true, "ntfs": true, "ntfs3": true,
	"zfs": true, "bcachefs": true, "virtiofs": true, "9p": true, "ocfs2": true, "gfs2": true, "erofs": true,
}

func hostMount(mount *event.MountChange, c *event.Container) bool {
	if mount.Flags&(msRemount|msPropagation|msMove) != 0 && mount.Flags&msBind == 0 {
		return false
	}
	source := mount.Source
	switch {
	case mount.Flags&msBind != 0:
		return mount.Flags&msRemount == 0 && hostFolder(source, c)
	case strings.HasPrefix(source, "/dev/loop"), strings.HasPrefix(source, "/dev/fuse"), strings.HasPrefix(source, "/dev/shm"):
		return false
	case strings.HasPrefix(source, "/dev/"):
		return true
	case diskTypes[mount.FSType]:
		return true
	}
	// Without a type and flags (open_tree and move_mount) only the folder tells.
	return mount.FSType == "" && hostFolder(source, c)
}

// hostFolder reports whether a path in a container is a folder of the host's own: reached through another process's root, or
// below a mount of one of the host's system folders. Data that was mounted into the container to be used there is not.
func hostFolder(path string, c *event.Container) bool {
	if rest, ok := strings.CutPrefix(path, "/proc/"); ok {
		pid, rest, _ := strings.Cut(rest, "/")
		return pid != "self" && pid != "thread-self" && (rest == "root" || strings.HasPrefix(rest, "root/") || rest == "cwd" || strings.HasPrefix(rest, "cwd/"))
	}
	if c == nil {
		return false
	}
	for i := range c.Mounts {
		mount := &c.Mounts[i]
		if below(path, mount.Target) && hostSystem(mount.Source) {
			return true
		}
	}
	return false
}

// hostSystem reports whether a path of the host is one of its system folders.
func hostSystem(path string) bool {
	switch path {
	case "/", "/etc", "/root", "/home", "/boot", "/usr", "/var", "/var/lib", "/proc", "/sys", "/dev", "/bin", "/sbin", "/lib", "/opt", "/run", "/var/run":
		return true
	}
	return false
}

// below reports whether path is folder or in it.
func below(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(folder, "/"))
	return folder != "" && ok && (rest == "" || rest[0] == '/')
}

func mountFlags(flags uint64) (names []string) {
	for _, f := range [...]struct {
		bit  uint64
		name string
	}{{1, "MS_RDONLY"}, {2, "MS_NOSUID"}, {4, "MS_NODEV"}, {8, "MS_NOEXEC"}, {msRemount, "MS_REMOUNT"}, {msBind, "MS_BIND"}, {msMove, "MS_MOVE"}, {16384, "MS_REC"},
		{1 << 17, "MS_UNBINDABLE"}, {1 << 18, "MS_PRIVATE"}, {1 << 19, "MS_SLAVE"}, {1 << 20, "MS_SHARED"}} {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}
