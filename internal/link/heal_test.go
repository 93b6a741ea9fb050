package link

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDiskHealsItself fills the disk of the stream: batches are refused, not lost, and taken again once there is room.
func TestFullDiskHealsItself(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		if os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1" {
			t.Fatalf("mounting a small file system: %v", err)
		}
		t.Skipf("mounting a small file system needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s := serve(t, func(o *ServerOptions) { o.Dir = dir })
	c := dial(t, s.URL(), nil)
	var got consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 0, got.handle) })

	sequence := uint64(0)
	publish := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return c.Publish(ctx, "epoch", sequence, append(fmt.Appendf(nil, "%06d", sequence), bytes.Repeat([]byte("x"), 50_000)...))
	}
	accepted := 0
	next := func() error {
		sequence++
		err := publish()
		if err == nil {
			accepted++
		}
		return err
	}
	if err := next(); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := f.Write(make([]byte, 16<<10)); err != nil {
			break
		}
	}
	f.Close()
	within(t, "a batch is refused", func() bool { return next() != nil })
	if !s.refused.Load() {
		t.Error("the server did not notice")
	}
	time.Sleep(2 * healInterval)
	if err := publish(); err == nil {
		t.Fatal("the disk is full, and yet a batch was stored")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	within(t, "the batch is taken", func() bool { return publish() == nil })
	accepted++
	if err := next(); err != nil {
		t.Fatal(err)
	}
	within(t, "all are consumed", func() bool { return got.count() >= accepted })
	seen := map[uint64]bool{}
	for _, m := range got.got {
		seen[m.BatchSequence] = true
	}
	for n := uint64(1); n <= sequence; n++ {
		if !seen[n] {
			t.Errorf("batch %d was accepted but never consumed", n)
		}
	}
}
