package agent

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/container/docker/dockertest"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/sensor/ebpf"
)

// TestRealKernelAndContainer runs the agent on the machine's own kernel and watches a Docker container that writes a program and
// runs it.
func TestRealKernelAndContainer(t *testing.T) {
	if err := ebpf.Check(); err != nil {
		if os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	d := dockertest.Open(t)
	source, err := ebpf.New(ebpf.Options{Kinds: event.AllKinds})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	containers, err := container.Open(container.Options{Runtimes: []container.Runtime{d}, Host: "host"})
	if err != nil {
		t.Fatal(err)
	}
	defer containers.Close()
	srv := &server{up: true, configs: make(chan link.AgentConfig)}
	a, err := New(Options{Source: source, Link: srv, Containers: containers, SpoolDir: t.TempDir(), HeartbeatInterval: time.Second, HashWait: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = containers.Run(ctx) })
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		srv.mu.Lock()
		n := len(srv.beats)
		srv.mu.Unlock()
		if n > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no heartbeat within 30 s")
		}
	}

	id := d.Start(map[string]string{container.LabelProject: "shop", container.LabelService: "web"}, "copy")
	find := func(exe string) *event.Event {
		for _, ev := range srv.events() {
			if ev.Kind == event.KindExec && ev.Process.ExePath == exe && ev.Container != nil && ev.Container.ID == id {
				return ev
			}
		}
		return nil
	}
	for end := time.Now().Add(30 * time.Second); find("/copy") == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no exec of /copy within 30 s")
		}
	}
	first, second := find("/main"), find("/copy")
	if first == nil {
		t.Fatal("no exec of /main")
	}
	for name, ev := range map[string]*event.Event{"main": first, "copy": second} {
		if c := ev.Container; c.Name == "" || c.Cluster != "shop" || c.Service != "web" || c.StartedAt == 0 {
			t.Errorf("%s: container %+v", name, c)
		}
		if d := time.Since(ev.At()); d < 0 || d > time.Minute {
			t.Errorf("%s: the event's time is %v ago", name, d)
		}
	}
	if p := first.Process; p.Exe.Origin != event.OriginImage || !p.IsContainer || p.SHA256 == "" || len(p.Args) != 2 || p.Args[1] != "copy" {
		t.Errorf("the container's program: origin %v, first %v, hash %q, arguments %q", p.Exe.Origin, p.IsContainer, p.SHA256, p.Args)
	}
	p := second.Process
	if p.Exe.Origin != event.OriginWritten || p.IsContainer || p.SHA256 != first.Process.SHA256 || p.NSPID < 2 {
		t.Errorf("the written program: origin %v, first %v, hash %q, pid %d", p.Exe.Origin, p.IsContainer, p.SHA256, p.NSPID)
	}
	if p.Parent == nil || p.Parent.ExePath != "/main" || p.Parent.UUID != first.Process.UUID {
		t.Errorf("its parent: %+v", p.Parent)
	}
	if w := p.Exe.Writer; w == nil || w.ExePath != "/main" || w.UUID != first.Process.UUID || p.Exe.WrittenAt == 0 {
		t.Errorf("its writer: %+v", w)
	}
	for _, ev := range srv.events() {
		if ev.Process.PID == uint32(os.Getpid()) {
			t.Errorf("the agent reports itself: %v %+v", ev.Kind, ev.Open)
		}
	}
}
