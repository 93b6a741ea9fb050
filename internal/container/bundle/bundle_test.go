package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

var id = strings.Repeat("0a", 32)

// write makes a file with its folders, whose time is a minute ago.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const config = `{"ociVersion":"1.1.0","process":{"capabilities":{"bounding":["CAP_CHOWN"]}},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/etc/hosts","type":"bind","source":"/x/hosts","options":["rbind"]},
{"destination":"/var/run/docker.sock","type":"bind","source":"/run/docker.sock","options":["rbind","ro"]}],
"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO"},"maskedPaths":["/proc/kcore"]},"annotations":{ANNOTATIONS}}`

func TestDescribe(t *testing.T) {
	mounts := []event.Mount{{Source: "/run/docker.sock", Target: "/var/run/docker.sock"}}
	for _, test := range []struct {
		name        string
		bundle      string // below the root
		annotations string
		list        string // containers.json
		want        event.Container
	}{
		{
			"containerd under Kubernetes", "tasks/k8s.io/" + id,
			`"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"web-7d4","io.kubernetes.cri.container-name":"nginx","io.kubernetes.cri.image-name":"docker.io/library/nginx:1.29"`,
			"", event.Container{Name: "shop/web-7d4/nginx", Image: "docker.io/library/nginx:1.29", Runtime: "containerd", Mounts: mounts, Cluster: "host"},
		},
		{
			"a pod's sandbox", "tasks/k8s.io/" + id,
			`"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"web-7d4"`,
			"", event.Container{Name: "shop/web-7d4/(sandbox)", Runtime: "containerd", Mounts: mounts, Cluster: "host"},
		},
		{
			"nerdctl", "tasks/default/" + id, `"nerdctl/name":"web"`, "",
			event.Container{Name: "web", Runtime: "containerd", Mounts: mounts, Cluster: "host"},
		},
		{
			"podman", "storage/overlay-containers/" + id + "/userdata", `"io.container.manager":"libpod"`,
			`[{"id":"other","names":["x"]},{"id":"` + id + `","names":["web"],"image":"abc","metadata":"{\"image-name\":\"docker.io/library/alpine:3\",\"image-id\":\"abc\",\"name\":\"web\"}"}]`,
			event.Container{Name: "web", Image: "docker.io/library/alpine:3", ImageID: "sha256:abc", Runtime: "podman", Mounts: mounts, Cluster: "host"},
		},
		{
			"podman whose list is broken", "storage/overlay-containers/" + id + "/userdata", `"io.container.manager":"libpod"`, "{",
			event.Container{Runtime: "podman", Mounts: mounts, Cluster: "host"},
		},
		{
			"CRI-O", "storage/overlay-containers/" + id + "/userdata",
			`"io.container.manager":"cri-o","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web","io.kubernetes.container.name":"app","io.kubernetes.cri-o.ImageName":"quay.io/shop/web:1"`,
			`[{"id":"` + id + `","names":["k8s_app_web_shop"],"image":"sha256:abc","metadata":"not json"}]`,
			event.Container{Name: "shop/web/app", Image: "quay.io/shop/web:1", ImageID: "sha256:abc", Runtime: "cri-o", Mounts: mounts, Cluster: "host"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, test.bundle)
			write(t, filepath.Join(dir, "config.json"), strings.Replace(config, "ANNOTATIONS", test.annotations, 1))
			write(t, filepath.Join(dir, "init.pid"), "7")
			at := time.Unix(1_700_000_000, 0)
			if err := os.Chtimes(filepath.Join(dir, "init.pid"), at, at); err != nil {
				t.Fatal(err)
			}
			if test.list != "" {
				write(t, filepath.Join(root, "storage/overlay-containers/containers.json"), test.list)
			}
			r := New(Folders{Tasks: []string{"/nonexistent", filepath.Join(root, "tasks")}, Storage: []string{filepath.Join(root, "storage")}}, "host")
			got, err := r.Describe(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			test.want.ID, test.want.StartedAt = id, at.UnixNano()
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrivileged(t *testing.T) {
	for text, want := range map[string]bool{
		`{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},"linux":{}}`:                              true,
		`{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},"linux":{"seccomp":{}}}`:                  false,
		`{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},"linux":{"maskedPaths":["/proc/kcore"]}}`: false,
		`{"process":{"capabilities":{"bounding":["CAP_CHOWN"]}},"linux":{}}`:                                  false,
		`{}`: false,
	} {
		var s spec
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if got := s.privileged(); got != want {
			t.Errorf("%s: privileged %v, want %v", text, got, want)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	if New(Folders{Tasks: []string{"/nonexistent"}, Storage: []string{"/nonexistent"}}, "host") != nil {
		t.Error("a host without runtimes has a runtime")
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "ns", id, "config.json"), "{")
	write(t, filepath.Join(root, "secret", "config.json"), "{}")
	r := New(Folders{Tasks: []string{root}}, "host")
	for _, unknown := range []string{strings.Repeat("0b", 32), "", "../../secret", "../secret/aaaaaaaaaaaa", strings.Repeat("a", 200)} {
		if c, err := r.Describe(context.Background(), unknown); !errors.Is(err, container.ErrNotFound) {
			t.Errorf("%q: %v, %v", unknown, c, err)
		}
	}
	if _, err := r.Describe(context.Background(), id); err == nil || errors.Is(err, container.ErrNotFound) {
		t.Errorf("a broken bundle: %v", err)
	}
	write(t, filepath.Join(root, moby, strings.Repeat("0c", 32), "config.json"), "{}")
	if c, err := r.Describe(context.Background(), strings.Repeat("0c", 32)); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("a container of Docker's: %v, %v", c, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Watch(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v", err)
	}
}

func FuzzSpec(f *testing.F) {
	f.Add(strings.Replace(config, "ANNOTATIONS", `"a":"b"`, 1))
	f.Fuzz(func(t *testing.T, text string) {
		var s spec
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		s.privileged()
		if n := len(s.mounts()); n > maxMounts {
			t.Fatalf("%d mounts", n)
		}
	})
}

// TestRealBundle describes a container that runs on this machine now, if there is one.
func TestRealBundle(t *testing.T) {
	for _, dir := range DefaultFolders.Tasks {
		list, _ := filepath.Glob(filepath.Join(dir, "*", "*", "config.json"))
		for _, name := range list {
			real := filepath.Base(filepath.Dir(name))
			folders := DefaultFolders
			folders.Docker = true
			c, err := New(folders, "host").Describe(context.Background(), real)
			if errors.Is(err, container.ErrNotFound) {
				continue // It has gone meanwhile, or its id is a name.
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.ID != real || c.Runtime == "" || c.StartedAt == 0 {
				t.Errorf("got %+v", c)
			}
			return
		}
	}
	t.Skip("no container runs here whose runtime keeps bundles")
}
