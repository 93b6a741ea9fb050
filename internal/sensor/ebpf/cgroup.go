package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot returns where the cgroup v2 hierarchy is mounted, or "" if it is not: on a pure v2 host /sys/fs/cgroup, on a
// hybrid one often /sys/fs/cgroup/unified.
func cgroupRoot() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("looking for the cgroup v2 hierarchy: %w", err)
	}
	defer f.Close()
	return parseMountinfo(f)
}

// parseMountinfo returns the mount point of the first cgroup2 mount that shows the hierarchy from its root, or else of the first.
func parseMountinfo(r io.Reader) (string, error) {
	first := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// 41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
		fields := strings.Fields(lines.Text())
		dash := -1
		for i, f := range fields {
			if f == "-" {
				dash = i
				break
			}
		}
		if dash < 6 || len(fields) < dash+2 || fields[dash+1] != "cgroup2" {
			continue
		}
		point := unescapeMount(fields[4])
		if fields[3] == "/" {
			return point, nil
		}
		if first == "" {
			first = point
		}
	}
	return first, lines.Err()
}

// unescapeMount undoes mountinfo's octal escapes of space, tab, newline and backslash.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// findCgroup returns the directory and the id of the cgroup that a scope names.
func findCgroup(root, scope string) (dir string, id uint64, err error) {
	if root == "" {
		return "", 0, fmt.Errorf("scope %s: %w", scope, errNoCgroup2)
	}
	dir = filepath.Clean("/" + scope)
	if dir != root && !strings.HasPrefix(dir, root+"/") {
		dir = filepath.Join(root, dir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return "", 0, fmt.Errorf("scope %s: there is no cgroup %s", scope, dir)
		}
		return "", 0, fmt.Errorf("scope %s: %w", scope, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", 0, fmt.Errorf("scope %s: %s is not in the cgroup v2 hierarchy", scope, dir)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", 0, fmt.Errorf("scope %s: %w", scope, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", 0, fmt.Errorf("scope %s: %s is not a directory", scope, dir)
	}
	return dir, st.Ino, nil
}
