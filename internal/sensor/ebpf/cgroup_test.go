package ebpf

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMountinfo(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"pure", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw", "/sys/fs/cgroup"},
		{"hybrid", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw", "/sys/fs/cgroup/unified"},
		{"v1", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", ""},
		{"root preferred", "1 2 0:38 /docker/1 /a rw - cgroup2 cgroup2 rw\n3 2 0:38 / /b rw - cgroup2 cgroup2 rw", "/b"},
		{"only a part", "1 2 0:38 /docker/1 /a rw - cgroup2 cgroup2 rw", "/a"},
		{"escaped", `1 2 0:38 / /a\040b rw - cgroup2 cgroup2 rw`, "/a b"},
		{"junk", "x\n - \n1 2 3 4 5 6 - ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseMountinfo(strings.NewReader(c.text))
			if err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add("41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw")
	f.Fuzz(func(t *testing.T, text string) { parseMountinfo(strings.NewReader(text)) })
}

func TestMissingCapabilities(t *testing.T) {
	for _, c := range []struct {
		name string
		set  uint64
		want []string
	}{
		{"root", 1<<21 | 1<<12, nil},
		{"enough", 1<<39 | 1<<38 | 1<<12, nil},
		{"none", 0, []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"}},
		{"one missing", 1<<39 | 1<<12, []string{"CAP_PERFMON"}},
	} {
		if diff := cmp.Diff(c.want, missingCapabilities(c.set)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestRingSize(t *testing.T) {
	for _, c := range []struct {
		n    int
		want uint32
		ok   bool
	}{{0, 1 << 20, true}, {1, 4096, true}, {4097, 8192, true}, {1 << 16, 1 << 16, true}, {-1, 0, false}, {1<<30 + 1, 0, false}} {
		got, err := ringSize(c.n, 1<<20)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("ringSize(%d) = %d, %v", c.n, got, err)
		}
	}
}
