// Package dockertest makes tiny containers in a real Docker engine for tests, and removes them. It pulls no image.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"vedette.dev/vedette/internal/container/docker"
)

// program is what the containers run: "sleep" waits to be killed, "exit" ends with status 7 at once, "copy" copies itself to
// /copy and runs that; both live for half a second.
const program = `package main

import (
	"os"
	"os/exec"
	"time"
)

func main() {
	switch os.Args[1] {
	case "exit":
		os.Exit(7)
	case "copy":
		text, err := os.ReadFile("/main")
		if err == nil {
			err = os.WriteFile("/copy", text, 0o755)
		}
		if err != nil {
			panic(err)
		}
		_ = exec.Command("/copy", "linger").Run()
		fallthrough
	case "linger":
		time.Sleep(500 * time.Millisecond)
		return
	}
	time.Sleep(time.Hour)
}
`

// Docker is an engine with an image of one file in it.
type Docker struct {
	*docker.Engine
	t     testing.TB
	image string
}

// Open returns the engine of this machine. Without one, the test is skipped, unless VEDETTE_REQUIRE_PRIVILEGED is 1.
func Open(t testing.TB) *Docker {
	t.Helper()
	engine, err := docker.Open(docker.Options{Host: "host"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := engine.Client().Ping(ctx, client.PingOptions{}); err != nil {
		if os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1" {
			t.Fatalf("no Docker engine: %v", err)
		}
		t.Skipf("no Docker engine: %v", err)
	}
	d := &Docker{Engine: engine, t: t, image: "vedette-dockertest:" + strings.ToLower(rand.Text()[:12])}
	imported, err := engine.Client().ImageImport(t.Context(), client.ImageImportSource{Source: d.layer(), SourceName: "-"}, d.image, client.ImageImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, imported)
	_ = imported.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := engine.Client().ImageRemove(context.Background(), d.image, client.ImageRemoveOptions{Force: true}); err != nil {
			t.Errorf("removing the test's image: %v", err)
		}
	})
	return d
}

// layer returns the image's files as a tar archive.
func (d *Docker) layer() io.Reader {
	d.t.Helper()
	dir := d.t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "main")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		d.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		d.t.Fatalf("building the container's program: %v\n%s", err, out)
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		d.t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err = w.WriteHeader(&tar.Header{Name: "main", Mode: 0o755, Size: int64(len(text))})
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return &b
}

// Start starts a container with the given labels that runs the program with one argument, and returns its id. It is removed at
// the end of the test.
func (d *Docker) Start(labels map[string]string, arg string) string {
	d.t.Helper()
	created, err := d.Client().ContainerCreate(d.t.Context(), client.ContainerCreateOptions{
		Config:     &container.Config{Image: d.image, Cmd: []string{"/main", arg}, Labels: labels},
		HostConfig: &container.HostConfig{NetworkMode: "none", Binds: []string{d.t.TempDir() + ":/data"}},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { d.Remove(created.ID) })
	if _, err := d.Client().ContainerStart(d.t.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
		d.t.Fatal(err)
	}
	return created.ID
}

// Kill ends a container with SIGKILL.
func (d *Docker) Kill(id string) {
	d.t.Helper()
	if _, err := d.Client().ContainerKill(d.t.Context(), id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		d.t.Fatal(err)
	}
}

// Remove removes a container, if it is still there.
func (d *Docker) Remove(id string) {
	_, _ = d.Client().ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true})
}
