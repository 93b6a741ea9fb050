// Package bundle describes containers from what their runtime keeps on the disk while they run: the OCI bundle, whose
// config.json says how the container was made (the OCI runtime specification), and for Podman and CRI-O the list of containers in
// their storage. So it describes the containers of containerd (also under Kubernetes, k3s and nerdctl), of CRI-O and of Podman, needs
// no client of theirs, and goes on when their daemon is away.
//
// What goes in is a container's id; what comes out is the container with its image, mounts, whether it is privileged, and a name,
// which under Kubernetes is NAMESPACE/POD/CONTAINER.
//
// Safe for concurrent use. The package only reads, bounded amounts, below folders that only runtimes can write to. The texts
// in there are chosen by whoever starts containers, and hostile.
package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

// Folders are where runtimes keep what they know of their containers.
type Folders struct {
	// Tasks hold bundles as NAMESPACE/ID: those of containerd.
	Tasks []string
	// Storage hold bundles as overlay-containers/ID/userdata, and one of them the list overlay-containers/containers.json: those
	// of Podman and CRI-O.
	Storage []string
	// Docker says that Docker's containers are described, too, for hosts whose engine must not be asked. Their bundles know
	// neither name nor image.
	Docker bool
}

// moby is the containerd namespace of Docker.
const moby = "moby"

// DefaultFolders are those of the runtimes' standard configurations.
var DefaultFolders = Folders{
	Tasks: []string{
		"/run/containerd/io.containerd.runtime.v2.task",
		"/run/k3s/containerd/io.containerd.runtime.v2.task",
		"/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
	},
	Storage: []string{"/run/containers/storage", "/var/lib/containers/storage"},
}

const (
	maxConfig = 4 << 20  // bytes of a config.json
	maxList   = 16 << 20 // bytes of a containers.json
	maxMounts = 64
	maxSpaces = 64 // namespaces of a containerd
)

// Runtime reads bundles. It implements [container.Runtime].
type Runtime struct {
	folders Folders
	host    string
}

var _ container.Runtime = (*Runtime)(nil)

// New returns a runtime that looks in the given folders; host is the cluster of containers that are part of nothing else. It
// returns nil when none of the folders exists.
func New(folders Folders, host string) *Runtime {
	exists := func(dir string) bool { st, err := os.Stat(dir); return err == nil && st.IsDir() }
	if !slices.ContainsFunc(folders.Tasks, exists) && !slices.ContainsFunc(folders.Storage, exists) {
		return nil
	}
	return &Runtime{folders: folders, host: host}
}

// Watch implements [container.Runtime]. Bundles exist before the first process of their container runs, so there is nothing
// to announce.
func (r *Runtime) Watch(ctx context.Context, _ func(string)) error {
	<-ctx.Done()
	return ctx.Err()
}

// Describe implements [container.Runtime].
func (r *Runtime) Describe(_ context.Context, id string) (*event.Container, error) {
	if !plain(id) {
		return nil, container.ErrNotFound
	}
	dir, storage := r.find(id)
	if dir == "" {
		return nil, container.ErrNotFound
	}
	var s spec
	if err := readJSON(filepath.Join(dir, "config.json"), maxConfig, &s); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, container.ErrNotFound // It has gone meanwhile.
		}
		return nil, fmt.Errorf("reading the bundle of container %s: %w", id, err)
	}
	c := &event.Container{ID: id, Privileged: s.privileged(), Mounts: s.mounts(), StartedAt: started(dir)}
	if storage {
		r.stored(c, &s)
	} else {
		c.Runtime = "containerd"
		if filepath.Base(filepath.Dir(dir)) == moby {
			c.Runtime = "docker"
		}
		c.Name = kubernetesName(s.Annotations["io.kubernetes.cri.sandbox-namespace"], s.Annotations["io.kubernetes.cri.sandbox-name"],
			s.Annotations["io.kubernetes.cri.container-name"], s.Annotations["io.kubernetes.cri.container-type"])
		c.Image = s.Annotations["io.kubernetes.cri.image-name"]
		if c.Name == "" {
			c.Name = s.Annotations["nerdctl/name"]
		}
	}
	c.Name, c.Image, c.ImageID = container.Bounded(c.Name), container.Bounded(c.Image), container.Bounded(c.ImageID)
	container.Place(c, s.Annotations, r.host)
	return c, nil
}

// plain reports whether an id is only letters and digits, so that it is a name within a folder.
func plain(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(id) >= 12 && len(id) <= 128
}

// find returns the bundle of a container, and whether it is in a storage; "" if there is none.
func (r *Runtime) find(id string) (dir string, storage bool) {
	has := func(dir string) bool { _, err := os.Stat(filepath.Join(dir, "config.json")); return err == nil }
	for _, tasks := range r.folders.Tasks {
		f, err := os.Open(tasks)
		if err != nil {
			continue
		}
		spaces, _ := f.Readdirnames(maxSpaces)
		_ = f.Close()
		for _, space := range spaces {
			if space == moby && !r.folders.Docker {
				continue
			}
			if dir := filepath.Join(tasks, space, id); has(dir) {
				return dir, false
			}
		}
	}
	for _, s := range r.folders.Storage {
		if dir := filepath.Join(s, "overlay-containers", id, "userdata"); has(dir) {
			return dir, true
		}
	}
	return "", false
}

// started returns when a container was started, as far as its bundle tells: when its first process's id was written down.
func started(dir string) int64 {
	for _, name := range []string{"init.pid", "pidfile", "config.json"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return st.ModTime().UnixNano()
		}
	}
	return 0
}

// stored fills in what the storage of Podman and CRI-O says.
func (r *Runtime) stored(c *event.Container, s *spec) {
	a := s.Annotations
	c.Runtime = "podman"
	if a["io.container.manager"] == "cri-o" || a["io.kubernetes.cri-o.ContainerID"] != "" {
		c.Runtime = "cri-o"
	}
	for _, dir := range r.folders.Storage {
		var list []struct {
			ID       string   `json:"id"`
			Names    []string `json:"names"`
			Image    string   `json:"image"`
			Metadata string   `json:"metadata"`
		}
		if err := readJSON(filepath.Join(dir, "overlay-containers", "containers.json"), maxList, &list); err != nil {
			continue
		}
		for i := range list {
			if list[i].ID != c.ID {
				continue
			}
			if len(list[i].Names) > 0 {
				c.Name = list[i].Names[0]
			}
			c.ImageID = list[i].Image
			var meta struct {
				Image   string `json:"image-name"`
				ImageID string `json:"image-id"`
				Name    string `json:"name"`
			}
			if json.Unmarshal([]byte(list[i].Metadata), &meta) == nil {
				c.Image = meta.Image
				if c.Name == "" {
					c.Name = meta.Name
				}
				if c.ImageID == "" {
					c.ImageID = meta.ImageID
				}
			}
			break
		}
	}
	if c.ImageID != "" && !strings.Contains(c.ImageID, ":") {
		c.ImageID = "sha256:" + c.ImageID
	}
	if name := a["io.kubernetes.cri-o.ImageName"]; name != "" {
		c.Image = name
	}
	if name := kubernetesName(a["io.kubernetes.pod.namespace"], a["io.kubernetes.pod.name"], a["io.kubernetes.container.name"],
		a["io.kubernetes.cri-o.ContainerType"]); name != "" {
		c.Name = name
	}
}

// kubernetesName makes one name of the parts; the sandbox of a pod has no container's name. It returns "" outside of Kubernetes.
func kubernetesName(namespace, pod, name, kind string) string {
	if pod == "" {
		return ""
	}
	if kind == "sandbox" || name == "" {
		name = "(sandbox)"
	}
	return namespace + "/" + pod + "/" + name
}

// spec is the part of an OCI runtime specification that says what a container is.
type spec struct {
	Annotations map[string]string `json:"annotations"`
	Process     struct {
		Capabilities struct {
			Bounding []string `json:"bounding"`
		} `json:"capabilities"`
	} `json:"process"`
	Mounts []struct {
		Destination string   `json:"destination"`
		Source      string   `json:"source"`
		Type        string   `json:"type"`
		Options     []string `json:"options"`
	} `json:"mounts"`
	Linux struct {
		Seccomp     *struct{} `json:"seccomp"`
		MaskedPaths []string  `json:"maskedPaths"`
	} `json:"linux"`
}

// privileged reports whether the container is what all runtimes mean by it: every capability, no seccomp filter, and nothing
// of /proc hidden.
func (s *spec) privileged() bool {
	return s.Linux.Seccomp == nil && len(s.Linux.MaskedPaths) == 0 && slices.Contains(s.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
}

// mounts returns what is mounted from the host. The files that every runtime mounts are left out.
func (s *spec) mounts() (list []event.Mount) {
	for _, m := range s.Mounts {
		bound := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		switch {
		case !bound, !strings.HasPrefix(m.Source, "/"):
			continue
		case m.Destination == "/etc/hosts", m.Destination == "/etc/hostname", m.Destination == "/etc/resolv.conf", m.Destination == "/dev/shm",
			m.Destination == "/dev/termination-log", m.Destination == "/run/.containerenv", m.Destination == "/run/secrets":
			continue
		}
		list = append(list, event.Mount{Source: container.Bounded(m.Source), Target: container.Bounded(m.Destination)})
		if len(list) == maxMounts {
			break
		}
	}
	return list
}

// readJSON reads a file of at most limit bytes.
func readJSON(name string, limit int64, v any) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > limit {
		return fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return json.Unmarshal(text, v)
}
