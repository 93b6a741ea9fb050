package custom

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
)

// folder is a rules folder and an engine that follows it.
type folder struct {
	t      *testing.T
	dir    string
	log    bytes.Buffer
	engine *detect.Engine
	rules  *Rules
	told   int
	refuse error
}

func newFolder(t *testing.T, files map[string]string) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir()}
	for name, text := range files {
		f.write(name, text)
	}
	var err error
	if f.engine, err = detect.New(detect.Options{}); err != nil {
		t.Fatal(err)
	}
	f.rules, err = Open(Options{Dir: f.dir, Engine: f.engine, Log: slog.New(slog.NewTextHandler(&f.log, nil)), Changed: func() error { f.told++; return f.refuse }})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var tick = time.Now()

func (f *folder) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	tick = tick.Add(time.Second) // each writing has its own time, however coarse the file system's clock
	if err := os.Chtimes(path, tick, tick); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) want(kinds ...event.Kind) {
	f.t.Helper()
	var set event.Kinds
	for _, k := range kinds {
		set = set.With(k)
	}
	if got := f.engine.Kinds(); got != set {
		f.t.Errorf("kinds %b, want %b\n%s", got, set, f.log.String())
	}
}

const (
	execRule = "rules: [{name: E, severity: low, pattern: {kind: [exec], process: {name: [nc]}}}]\n"
	dnsRule  = "rules: [{name: D, severity: low, pattern: {kind: [dns], dns: {name: [a.example]}}}]\n"
	badRule  = "rules: [{name: B, severity: low, pattern: {kind: [bind]}}]\n"
)

func TestReload(t *testing.T) {
	f := newFolder(t, map[string]string{"a.yaml": execRule, "a_test.yaml": "not: rules", "notes.txt": "x", ".b.yaml": badRule})
	f.want(event.KindExec)
	f.rules.look()
	if f.told != 1 {
		t.Errorf("told %d times", f.told)
	}
	f.rules.look()
	if f.told != 1 {
		t.Errorf("told %d times though nothing changed", f.told)
	}

	f.write("d.yml", dnsRule)
	f.rules.look()
	f.want(event.KindExec, event.KindDNS)

	// A mistake keeps the last good set, and is told once.
	f.write("d.yml", badRule)
	f.log.Reset()
	f.rules.look()
	f.rules.look()
	f.want(event.KindExec, event.KindDNS)
	if n := strings.Count(f.log.String(), "d.yml:1:"); n != 1 {
		t.Errorf("the mistake was logged %d times:\n%s", n, f.log.String())
	}

	// What tells agents may fail for a while.
	f.refuse = errors.New("no link")
	f.write("d.yml", dnsRule+"\n")
	f.rules.look()
	f.refuse = nil
	told := f.told
	f.rules.look()
	f.rules.look()
	if f.told != told+1 {
		t.Errorf("told %d times after an error", f.told-told)
	}

	// A folder that is away keeps the rules; when it is back they are read again.
	if err := os.Rename(f.dir, f.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	f.rules.look()
	f.want(event.KindExec, event.KindDNS)
	if err := os.Rename(f.dir+"-away", f.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	f.rules.look()
	f.want(event.KindDNS)
	if err := os.Remove(filepath.Join(f.dir, "d.yml")); err != nil {
		t.Fatal(err)
	}
	f.rules.look()
	f.want()
}

// TestOpenWithAMistake: a server that starts again must not be without the other rules because of one.
func TestOpenWithAMistake(t *testing.T) {
	f := newFolder(t, map[string]string{"a.yaml": execRule, "b.yaml": badRule, "c.yaml": ":"})
	f.want(event.KindExec)
	for _, want := range []string{"b.yaml:1:", "c.yaml"} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log does not name %s:\n%s", want, f.log.String())
		}
	}
	if _, err := Open(Options{Dir: f.dir + "/none", Engine: f.engine, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a folder that does not exist was opened")
	}
}

func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "large.yaml"), bytes.Repeat([]byte("#"), maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty.yaml"), []byte("# nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Load(dir)
	if s == nil || err == nil || !strings.Contains(err.Error(), "folder.yaml: is not a regular file") || !strings.Contains(err.Error(), "large.yaml: has more than") ||
		strings.Contains(err.Error(), "empty") || strings.Contains(err.Error(), "dangling") {
		t.Errorf("%v", err)
	}
}

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFolder(t, map[string]string{"a.yaml": execRule})
	f.rules.o.Interval = time.Millisecond
	changed := make(chan struct{}, 100)
	f.rules.o.Changed = func() error { changed <- struct{}{}; return nil }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.rules.Run(ctx) }()
	<-changed
	f.write("d.yaml", dnsRule)
	for f.engine.Kinds() != event.Kinds(0).With(event.KindExec).With(event.KindDNS) {
		<-changed
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
