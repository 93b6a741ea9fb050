// Package static describes containers from a file, for runtimes that have no interface to ask: whoever makes a container
// by hand says in the file which cgroup it is. The file is JSON:
//
//	{"containers": [{
//	  "cgroup": "/vedette/web",          required: the path in the cgroup v2 hierarchy; cgroups below it belong to the container
//	  "id": "…", "name": "web",          id defaults to the cgroup path
//	  "image": "shop/web:3", "imageId": "sha256:…", "runtime": "native", "privileged": false,
//	  "startedAt": "2026-01-02T15:04:05Z",
//	  "cluster": "shop", "service": "web",
//	  "labels": {"com.amazonaws.ecs.task-arn": "…"},   the labels of ECS and Compose, which place the container as there
//	  "mounts": [{"name": "", "source": "/srv", "target": "/data"}],
//	  "launchType": "FARGATE", "startedBy": "ecs-svc/1"
//	}]}
//
// It is read again when it changes. A file that is missing names no containers; one that cannot be read leaves those of the last good
// one in place. Like every file of an agent's configuration it must be writable by root only.
package static

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
)

// The bounds of a file.
const (
	maxFile       = 16 << 20
	maxContainers = 16384
)

// File is a container file. It implements [container.Claimer].
type File struct {
	path string
	host string
	log  *slog.Logger

	mu         sync.Mutex
	version    version
	containers map[string]*event.Container // by cgroup path
}

var _ container.Claimer = (*File)(nil)

// version tells one content of the file from the next.
type version struct {
	modified time.Time
	size     int64
}

type wireFile struct {
	Containers []wireContainer `json:"containers"`
}

type wireContainer struct {
	Cgroup     string            `json:"cgroup"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Image      string            `json:"image"`
	ImageID    string            `json:"imageId"`
	Runtime    string            `json:"runtime"`
	Privileged bool              `json:"privileged"`
	StartedAt  time.Time         `json:"startedAt"`
	Cluster    string            `json:"cluster"`
	Service    string            `json:"service"`
	Labels     map[string]string `json:"labels"`
	Mounts     []struct {
		Name   string `json:"name"`
		Source string `json:"source"`
		Target string `json:"target"`
	} `json:"mounts"`
	LaunchType string `json:"launchType"`
	StartedBy  string `json:"startedBy"`
}

// Open returns the file's containers. host is the cluster of those that are part of nothing else. The file need not
// exist yet, but if it does it must be right.
func Open(name, host string, log *slog.Logger) (*File, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &File{path: name, host: host, log: log}
	if err := f.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return f, nil
}

// Claim implements [container.Claimer]. It looks whether the file has changed each time; it is asked once per cgroup.
func (f *File) Claim(cgroup string) (*event.Container, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(); errors.Is(err, fs.ErrNotExist) {
		f.containers, f.version = nil, version{}
	} else if err != nil {
		f.log.Warn("keeping the containers read before", "err", err)
	}
	for at := cgroup; at != "" && at != "/" && at != "."; at = path.Dir(at) {
		if c, ok := f.containers[at]; ok {
			return c, true
		}
	}
	return nil, false
}

// load reads the file if it has changed.
func (f *File) load() error {
	st, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("reading containers: %w", err)
	}
	now := version{st.ModTime(), st.Size()}
	// A file that changed within the last moment may change again without its time showing it.
	if now == f.version && time.Since(now.modified) > 50*time.Millisecond {
		return nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("reading containers: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return fmt.Errorf("reading containers: %w", err)
	}
	containers, err := parse(text, f.host)
	if err != nil {
		return fmt.Errorf("reading containers from %s: %w", f.path, err)
	}
	f.containers, f.version = containers, now
	return nil
}

// parse reads the text of a container file.
func parse(text []byte, host string) (map[string]*event.Container, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	var w wireFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return nil, err
	}
	if len(w.Containers) > maxContainers {
		return nil, fmt.Errorf("%d containers are more than %d", len(w.Containers), maxContainers)
	}
	out := make(map[string]*event.Container, len(w.Containers))
	for i, in := range w.Containers {
		if !strings.HasPrefix(in.Cgroup, "/") || path.Clean(in.Cgroup) != in.Cgroup || in.Cgroup == "/" {
			return nil, fmt.Errorf("container %d: cgroup %q is not a clean absolute path", i+1, in.Cgroup)
		}
		if _, twice := out[in.Cgroup]; twice {
			return nil, fmt.Errorf("container %d: cgroup %q is listed twice", i+1, in.Cgroup)
		}
		c := &event.Container{
			ID: container.Bounded(in.ID), Name: container.Bounded(in.Name), Image: container.Bounded(in.Image), ImageID: container.Bounded(in.ImageID),
			Runtime: container.Bounded(in.Runtime), Privileged: in.Privileged, Cluster: container.Bounded(in.Cluster), Service: container.Bounded(in.Service),
		}
		if c.ID == "" {
			c.ID = container.Bounded(in.Cgroup)
		}
		if c.Runtime == "" {
			c.Runtime = "native"
		}
		if !in.StartedAt.IsZero() {
			c.StartedAt = in.StartedAt.UnixNano()
		}
		for _, m := range in.Mounts[:min(len(in.Mounts), 64)] {
			c.Mounts = append(c.Mounts, event.Mount{Name: container.Bounded(m.Name), Source: container.Bounded(m.Source), Target: container.Bounded(m.Target)})
		}
		container.Place(c, in.Labels, host)
		if c.Task != nil {
			c.Task.Service = c.Service
			c.Task.StartedBy = container.Bounded(in.StartedBy)
			c.Task.StartedAt = c.StartedAt
			if in.LaunchType != "" {
				c.Task.LaunchType = container.Bounded(in.LaunchType)
			}
		}
		out[in.Cgroup] = c
	}
	return out, nil
}
