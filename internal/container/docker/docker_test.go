package docker_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/container/docker"
	"vedette.dev/vedette/internal/container/docker/dockertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

var ecs = map[string]string{
	container.LabelECSTask: "arn:aws:ecs:eu-west-1:111122223333:task/shop/0123456789abcdef", container.LabelECSCluster: "shop",
	container.LabelECSContainer: "web", container.LabelECSFamily: "shop-web", container.LabelECSRevision: "42",
}

func TestDescribe(t *testing.T) {
	d := dockertest.Open(t)
	began := time.Now().Add(-time.Second)
	id := d.Start(ecs, "sleep")
	c, err := d.Describe(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != id || c.Name == "" || strings.HasPrefix(c.Name, "/") || !strings.HasPrefix(c.Image, "vedette-dockertest:") || !strings.HasPrefix(c.ImageID, "sha256:") ||
		c.Runtime != "docker" || c.Privileged || c.Cluster != "shop" {
		t.Errorf("got %+v", c)
	}
	if at := time.Unix(0, c.StartedAt); at.Before(began) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("started at %v, which is not now", at)
	}
	if c.Task == nil || c.Task.ContainerName != "web" || c.Task.ClusterARN != "arn:aws:ecs:eu-west-1:111122223333:cluster/shop" || c.Task.StartedAt != c.StartedAt {
		t.Errorf("task %+v", c.Task)
	}
	if len(c.Mounts) != 1 || c.Mounts[0].Target != "/data" {
		t.Errorf("mounts %+v", c.Mounts)
	}
	if _, err := d.Describe(t.Context(), strings.Repeat("0", 64)); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("of no container: %v, want %v", err, container.ErrNotFound)
	}
}

// TestShortLivedContainer: a container that ends at once and is removed is named all the same. What the sensor does, the test
// does by looking at the hierarchy: it asks for the cgroup when it first sees it.
func TestShortLivedContainer(t *testing.T) {
	d := dockertest.Open(t)
	root := container.FindRoot()
	if root == "" {
		t.Skip("there is no cgroup v2 hierarchy")
	}
	r, err := container.Open(container.Options{Runtimes: []container.Runtime{d}, Host: "host"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	defer wg.Wait()
	defer cancel()

	var mu sync.Mutex
	entries := map[string]*container.Entry{}
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.IsDir() {
					return nil
				}
				var st unix.Stat_t
				if ids, _ := container.IDs(path); len(ids) > 0 && unix.Stat(path, &st) == nil {
					mu.Lock()
					entries[ids[0]] = r.Entry(st.Ino, 0)
					mu.Unlock()
				}
				return nil
			})
			time.Sleep(time.Millisecond)
		}
	})
	time.Sleep(200 * time.Millisecond) // Let the watch begin.
	for range 3 {
		id := d.Start(ecs, "exit")
		d.Remove(id)
		find := func() *container.Entry { mu.Lock(); defer mu.Unlock(); return entries[id] }
		eventually(t, "the cgroup is seen", func() bool { return find() != nil })
		eventually(t, "the container is described", func() bool {
			c := find().Container()
			return c != nil && c.Name != "" && c.Task != nil && c.ID == id
		})
	}
}

func TestWatch(t *testing.T) {
	d := dockertest.Open(t)
	before := d.Start(nil, "sleep")
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen := map[string]int{}
	done := make(chan error, 1)
	go func() {
		done <- d.Watch(ctx, func(id string) { mu.Lock(); defer mu.Unlock(); seen[id]++ })
	}()
	count := func(id string) int { mu.Lock(); defer mu.Unlock(); return seen[id] }
	eventually(t, "what ran before", func() bool { return count(before) > 0 })
	after := d.Start(nil, "sleep")
	eventually(t, "create and start", func() bool { return count(after) >= 2 })
	n := count(after)
	d.Kill(after)
	eventually(t, "die", func() bool { return count(after) > n })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("after its context ended: %v", err)
	}
}

func TestEngineIsAway(t *testing.T) {
	e, err := docker.Open(docker.Options{Socket: filepath.Join(t.TempDir(), "none.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	began := time.Now()
	if _, err := e.Describe(t.Context(), "x"); err == nil || errors.Is(err, container.ErrNotFound) {
		t.Errorf("got %v, want an error that does not say the container is unknown", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := e.Watch(ctx, func(string) {}); err != nil {
		t.Errorf("Watch: %v", err)
	}
}

func TestNanoseconds(t *testing.T) {
	for text, want := range map[string]int64{
		"2026-01-02T03:04:05.000000006Z": time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano(), "0001-01-01T00:00:00Z": 0, "": 0, "soon": 0,
	} {
		if got := docker.Nanoseconds(text); got != want {
			t.Errorf("Nanoseconds(%q) = %d, want %d", text, got, want)
		}
	}
}
