package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	idA = strings.Repeat("a1", 32)
	idB = strings.Repeat("b2", 32)
)

func TestIDs(t *testing.T) {
	for _, test := range []struct {
		path    string
		ids     []string
		runtime string
	}{
		{"/", nil, ""},
		{"", nil, ""},
		{"/system.slice/ssh.service", nil, ""},
		{"/docker/" + idA, []string{idA}, "docker"},
		{"/docker/" + idA + "/sub/tree", []string{idA}, "docker"},
		{"/system.slice/docker-" + idA + ".scope", []string{idA}, "docker"},
		{"/ecs/0123456789abcdef/" + idA, []string{idA}, "docker"},
		{"/kubepods.slice/kubepods-besteffort.slice/kubepods-pod1.slice/cri-containerd-" + idA + ".scope", []string{idA}, "containerd"},
		{"/kubepods/besteffort/pod1/crio-" + idA, []string{idA}, "cri-o"},
		{"/machine.slice/libpod-" + idA + ".scope/container", []string{idA}, "podman"},
		{"/machine.slice/libpod-conmon-" + idA + ".scope", nil, ""},
		{"/libpod_parent/libpod-" + idA, []string{idA}, "podman"},
		{"/kubepods/pod1:cri-containerd:" + idA, []string{idA}, "containerd"},
		{"/docker/" + idA + "/docker/" + idB, []string{idB, idA}, "docker"},
		{"/docker/" + strings.ToUpper(idA), nil, ""},
		{"/docker/" + idA[1:], nil, ""},
		{"/docker/0" + idA, nil, ""},
		{"/docker/" + strings.Repeat("a", 4000), nil, ""},
	} {
		ids, runtime := IDs(test.path)
		if diff := cmp.Diff(test.ids, ids); diff != "" || runtime != test.runtime {
			t.Errorf("IDs(%q) = %v, %q; want %v, %q", test.path, ids, runtime, test.ids, test.runtime)
		}
	}
}

func FuzzIDs(f *testing.F) {
	f.Add("/docker/" + idA)
	f.Add("//x/docker-" + idB + ".scope")
	f.Fuzz(func(t *testing.T, path string) {
		ids, _ := IDs(path)
		for _, id := range ids {
			if len(id) != 64 || !strings.Contains(path, id) || strings.Trim(id, "0123456789abcdef") != "" {
				t.Fatalf("IDs(%q) = %q", path, ids)
			}
		}
	})
}

func TestParseCgroups(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"pure v2":     {"0::/docker/" + idA + "\n", "/docker/" + idA},
		"hybrid":      {"5:cpu:/x\n1:name=systemd:/docker/" + idA + "\n0::/docker/" + idA + "\n", "/docker/" + idA},
		"v1 only":     {"5:cpu,cpuacct:/docker/" + idA + "\n1:name=systemd:/\n", "/docker/" + idA},
		"v2 is empty": {"5:cpu:/docker/" + idA + "\n0::/\n", "/docker/" + idA},
		"host":        {"1:cpu:/user\n0::/user.slice\n", "/user.slice"},
		"deleted":     {"0::/docker/" + idA + " (deleted)\n", "/docker/" + idA},
		"garbage":     {"x\n0\n::\n", ""},
	} {
		if got := parseCgroups(test.text); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestPlace(t *testing.T) {
	const task = "arn:aws:ecs:eu-west-1:111122223333:task/shop/0123456789abcdef"
	ecs := map[string]string{LabelECSTask: task, LabelECSCluster: "shop", LabelECSContainer: "web", LabelECSFamily: "shop-web", LabelECSRevision: "42",
		LabelProject: "other"}
	want := event.Container{Cluster: "shop", Task: &event.Task{
		ARN: task, ClusterARN: "arn:aws:ecs:eu-west-1:111122223333:cluster/shop", Family: "shop-web", Revision: "42",
		DefinitionARN: "arn:aws:ecs:eu-west-1:111122223333:task-definition/shop-web:42", LaunchType: "EC2", ContainerName: "web",
	}}
	if diff := cmp.Diff(want, Placed(ecs, "host")); diff != "" {
		t.Errorf("ECS (-want +got):\n%s", diff)
	}
	ecs[LabelECSCluster] = "arn:aws:ecs:eu-west-1:111122223333:cluster/shop"
	if diff := cmp.Diff(want, Placed(ecs, "host")); diff != "" {
		t.Errorf("ECS with the cluster's ARN (-want +got):\n%s", diff)
	}
	if got := Placed(map[string]string{LabelProject: "p", LabelService: "s"}, "host"); got.Cluster != "p" || got.Service != "s" || got.Task != nil {
		t.Errorf("Compose: %+v", got)
	}
	if got := Placed(nil, "host"); got.Cluster != "host" || got.Service != "" {
		t.Errorf("neither: %+v", got)
	}
	if got := Placed(map[string]string{LabelECSTask: strings.Repeat("x", 1<<20)}, "host"); len(got.Task.ARN) != MaxText {
		t.Errorf("a label of 1 MiB became a text of %d bytes", len(got.Task.ARN))
	}
}

// fake is a runtime that knows what a test puts into it.
type fake struct {
	mu      sync.Mutex
	known   map[string]*event.Container
	asked   int
	block   chan struct{} // when set, Describe waits for it
	changed chan func(string)
}

func (f *fake) Describe(ctx context.Context, id string) (*event.Container, error) {
	f.mu.Lock()
	f.asked++
	block := f.block
	f.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.known[id]; ok {
		return c, nil
	}
	return nil, ErrNotFound
}

func (f *fake) Watch(ctx context.Context, changed func(string)) error {
	select {
	case f.changed <- changed:
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

func (f *fake) set(id string, c *event.Container) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[id] = c
}

// tree makes a folder that looks like a cgroup hierarchy and returns the ids of its cgroups.
func tree(t *testing.T, paths ...string) (string, []uint64) {
	t.Helper()
	root := t.TempDir()
	var ids []uint64
	for _, p := range paths {
		var st unix.Stat_t
		if err := os.MkdirAll(filepath.Join(root, p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(filepath.Join(root, p), &st); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, st.Ino)
	}
	return root, ids
}

func open(t *testing.T, o Options) *Resolver {
	t.Helper()
	o.Host = "host"
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.Close()
	})
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestResolver(t *testing.T) {
	root, ids := tree(t, "/docker/"+idA, "/system.slice/ssh.service")
	rt := &fake{known: map[string]*event.Container{idA: {ID: idA, Name: "web", Cluster: "shop", StartedAt: 5}}, changed: make(chan func(string), 1)}
	r := open(t, Options{CgroupRoot: root, Runtimes: []Runtime{rt}})

	host := r.Entry(ids[1], 0)
	if !host.Settled() || host.Container() != nil || host.Path() != "/system.slice/ssh.service" {
		t.Errorf("a cgroup of the host: settled %v, %+v, %q", host.Settled(), host.Container(), host.Path())
	}
	e := r.Entry(ids[0], 0)
	if c := e.Container(); c == nil || c.ID != idA {
		t.Errorf("before the runtime answers: %+v, want the id", c)
	}
	eventually(t, "the description", e.Settled)
	if c := e.Container(); c.Name != "web" || c.Cluster != "shop" {
		t.Errorf("after the runtime has answered: %+v", c)
	}
	if r.Entry(ids[0], 0) != e {
		t.Error("the same cgroup has two entries")
	}
	// What was found outlives the container.
	if err := os.RemoveAll(filepath.Join(root, "docker")); err != nil {
		t.Fatal(err)
	}
	rt.set(idA, nil)
	if c := r.Entry(ids[0], 0).Container(); c.Name != "web" {
		t.Errorf("after the container's end: %+v", c)
	}
}

func TestResolverRefreshes(t *testing.T) {
	root, ids := tree(t, "/docker/"+idA)
	rt := &fake{known: map[string]*event.Container{idA: {ID: idA, Name: "old"}}, changed: make(chan func(string), 1)}
	r := open(t, Options{CgroupRoot: root, Runtimes: []Runtime{rt}})
	e := r.Entry(ids[0], 0)
	eventually(t, "the first name", func() bool { return e.Container().Name == "old" })
	if at := e.Container().StartedAt; at == 0 {
		t.Error("a container that has not been written down as started has no time at all")
	}
	rt.set(idA, &event.Container{ID: idA, Name: "new", StartedAt: 7})
	changed := <-rt.changed
	changed(idA)
	changed("unknown")
	eventually(t, "the second name", func() bool { return e.Container().Name == "new" && e.Container().StartedAt == 7 })
}

func TestResolverGrace(t *testing.T) {
	root, ids := tree(t, "/docker/"+idA)
	rt := &fake{known: map[string]*event.Container{idA: {ID: idA, Name: "late"}}, block: make(chan struct{}), changed: make(chan func(string), 1)}
	r := open(t, Options{CgroupRoot: root, Runtimes: []Runtime{rt}, Grace: 20 * time.Millisecond})
	e := r.Entry(ids[0], 0)
	eventually(t, "the end of the grace", e.Settled)
	if c := e.Container(); c == nil || c.ID != idA || c.Name != "" || c.Runtime != "docker" || c.Cluster != "host" {
		t.Errorf("a runtime that hangs: %+v, want what the path tells", c)
	}
	close(rt.block)
	eventually(t, "the late description", func() bool { return e.Container().Name == "late" })
}

// TestForeignContainerDoesNotWait: a container of no runtime is settled as soon as the runtimes have said that they do not know it.
func TestForeignContainerDoesNotWait(t *testing.T) {
	root, ids := tree(t, "/sandbox/"+idA, "/docker/"+idB)
	rt := &fake{known: map[string]*event.Container{}, changed: make(chan func(string), 1)}
	r := open(t, Options{CgroupRoot: root, Runtimes: []Runtime{rt}, Grace: time.Hour})
	foreign, docker := r.Entry(ids[0], 0), r.Entry(ids[1], 0)
	eventually(t, "the answer", foreign.Settled)
	if docker.Settled() {
		t.Error("what the path says is Docker's did not wait for Docker to know it")
	}
}

// TestBegan: the first process of a container is older than the start that the runtime writes down, if it writes down any.
func TestBegan(t *testing.T) {
	root, ids := tree(t, "/sandbox/"+idA, "/docker/"+idB)
	rt := &fake{known: map[string]*event.Container{idB: {ID: idB, Name: "web", StartedAt: 900}}, changed: make(chan func(string), 1)}
	r := open(t, Options{CgroupRoot: root, Runtimes: []Runtime{rt}})
	foreign, docker := r.Entry(ids[0], 0), r.Entry(ids[1], 0)
	foreign.Began(700)
	foreign.Began(800) // a second pid namespace in the container
	docker.Began(800)
	eventually(t, "the description", func() bool { return docker.Container().Name == "web" })
	if at := foreign.Container().StartedAt; at != 700 {
		t.Errorf("a container of no runtime started at %d, want 700", at)
	}
	if at := docker.Container().StartedAt; at != 800 {
		t.Errorf("a container that was written down late started at %d, want 800", at)
	}
	docker.Began(850)
	if at := docker.Container().StartedAt; at != 800 {
		t.Errorf("a later process moved the start to %d", at)
	}
}

// TestMadeUpContainer: a workload that may write to its cgroup can make one below that looks like another container's.
func TestMadeUpContainer(t *testing.T) {
	root, ids := tree(t, "/docker/"+idA+"/"+idB)
	rt := &fake{known: map[string]*event.Container{idA: {ID: idA, Name: "outer"}}, changed: make(chan func(string), 1)}
	r := open(t, Options{CgroupRoot: root, Runtimes: []Runtime{rt}})
	e := r.Entry(ids[0], 0)
	eventually(t, "the description", func() bool { return e.Container() != nil && e.Container().Name == "outer" })
}

func TestUnknownContainerIsAskedForAFewTimes(t *testing.T) {
	root, ids := tree(t, "/docker/"+idA)
	rt := &fake{known: map[string]*event.Container{}, changed: make(chan func(string), 1)}
	r := open(t, Options{CgroupRoot: root, Runtimes: []Runtime{rt}, Grace: time.Millisecond})
	e := r.Entry(ids[0], 0)
	time.Sleep(150 * time.Millisecond)
	rt.set(idA, &event.Container{ID: idA, Name: "written down late"})
	eventually(t, "the description", func() bool { return e.Container().Name != "" })
}

func TestResolverIsBounded(t *testing.T) {
	root, _ := tree(t, "/x")
	r := open(t, Options{CgroupRoot: root, MaxEntries: 100})
	for i := range 10_000 {
		r.mu.Lock()
		r.add(uint64(1_000_000_000+i), "/docker/"+strings.Repeat("0", 58)+[]string{"aaaaaa", "bbbbbb"}[i%2])
		r.mu.Unlock()
	}
	if len(r.entries) != 100 || r.recent.Len() != 100 {
		t.Errorf("%d entries and %d in order, want 100", len(r.entries), r.recent.Len())
	}
	n := 0
	for _, list := range r.byID {
		n += len(list)
	}
	if n != 100 || len(r.byID) != 2 {
		t.Errorf("%d entries under %d ids, want 100 under 2", n, len(r.byID))
	}
}

// TestLateClaim: a cgroup may be seen before whoever made it has said what it is.
func TestLateClaim(t *testing.T) {
	root, ids := tree(t, "/demo/web")
	known := claims{}
	r := open(t, Options{CgroupRoot: root, Claimers: []Claimer{known}})
	if e := r.Entry(ids[0], 0); e.Container() != nil || !e.Settled() {
		t.Errorf("before the claim: %+v", e.Container())
	}
	r.mu.Lock()
	known["/demo/web"] = &event.Container{ID: "w", Name: "web"}
	r.mu.Unlock()
	eventually(t, "the claim counts", func() bool { c := r.Entry(ids[0], 0).Container(); return c != nil && c.Name == "web" })
	if live := r.Live(); len(live) != 1 {
		t.Errorf("live: %+v", live)
	}
}

type claims map[string]*event.Container

func (c claims) Claim(path string) (*event.Container, bool) { f, ok := c[path]; return f, ok }

func TestClaimers(t *testing.T) {
	root, ids := tree(t, "/demo/web")
	r := open(t, Options{CgroupRoot: root, Claimers: []Claimer{claims{"/demo/web": {ID: "w", Name: "web"}}}})
	e := r.Entry(ids[0], 0)
	if !e.Settled() || e.Container() == nil || e.Container().Name != "web" || e.Container().StartedAt == 0 {
		t.Errorf("a claimed cgroup: %+v", e.Container())
	}
}

func TestLive(t *testing.T) {
	root, _ := tree(t, "/docker/"+idA+"/init", "/docker/"+idB, "/other")
	r := open(t, Options{CgroupRoot: root})
	if live := r.Live(); len(live) != 2 {
		t.Errorf("%d containers, want 2: %+v", len(live), live)
	}
	if err := os.RemoveAll(filepath.Join(root, "docker", idB)); err != nil {
		t.Fatal(err)
	}
	if live := r.Live(); len(live) != 1 || live[0].ID != idA {
		t.Errorf("after one has gone: %+v", live)
	}
	scoped := open(t, Options{CgroupRoot: root, Scope: filepath.Join(root, "docker", idA)})
	if live := scoped.Live(); len(live) != 1 {
		t.Errorf("within the scope: %+v", live)
	}
	if live := open(t, Options{CgroupRoot: root, Scope: "/other"}).Live(); len(live) != 0 {
		t.Errorf("within another scope: %+v", live)
	}
}

// TestRealHierarchy uses the kernel's: a cgroup is found by the id that BPF programs see.
func TestRealHierarchy(t *testing.T) {
	root := FindRoot()
	dir := filepath.Join(root, "vedette-container-test-"+idA)
	if root == "" || os.Mkdir(dir, 0o755) != nil {
		skip(t, "needs root and a cgroup v2 hierarchy")
	}
	defer os.Remove(dir)
	child := filepath.Join(dir, "docker-"+idB+".scope")
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(child)
	var st unix.Stat_t
	if err := unix.Stat(child, &st); err != nil {
		t.Fatal(err)
	}
	r := open(t, Options{})
	if e := r.Entry(st.Ino, 0); e.Path() != strings.TrimPrefix(child, root) || e.Container() == nil || e.Container().ID != idB {
		t.Errorf("path %q, container %+v", e.Path(), e.Container())
	}
	// A cgroup that was removed before anyone asked: a process that was in it may still tell.
	if self := r.Entry(1<<62, uint32(os.Getpid())); self.Path() == "" {
		t.Error("the test's own cgroup is not found by its pid")
	}
	if none := r.Entry(0, uint32(os.Getpid())); none.Path() != "" || none.Container() != nil || !none.Settled() {
		t.Errorf("without an id, a process is in %q", none.Path())
	}
}

// skip skips a test that needs privileges, unless they were promised.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func TestOpenErrors(t *testing.T) {
	if _, err := Open(Options{CgroupRoot: "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

func BenchmarkEntry(b *testing.B) {
	r, err := Open(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		r.Entry(1, 1)
	}
}
