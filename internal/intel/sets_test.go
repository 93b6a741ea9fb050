package intel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vedette.dev/vedette/internal/store"
)

// bench is a running Sets.
type bench struct {
	t      *testing.T
	db     *store.DB
	folder string // of copies
	files  string // that locations may name
	lists  *Lists
	sets   *Sets
	log    lockedBuffer
	stop   context.CancelFunc
	done   chan struct{}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "v.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, db: db, folder: filepath.Join(t.TempDir(), "lists"), files: t.TempDir()}
	b.open()
	t.Cleanup(func() {
		b.close()
		db.Close()
	})
	return b
}

func (b *bench) open() {
	b.t.Helper()
	b.lists = NewLists()
	var err error
	b.sets, err = OpenSets(context.Background(), SetsOptions{Store: b.db, Folder: b.folder, Folders: []string{b.files}, Lists: b.lists, Log: slog.New(slog.NewTextHandler(&b.log, nil))})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop, b.done = cancel, make(chan struct{})
	go func() {
		defer close(b.done)
		b.sets.Run(ctx)
	}()
}

func (b *bench) close() {
	b.stop()
	<-b.done
}

// logged waits for a line of the log that holds all the words.
func (b *bench) logged(words ...string) {
	b.t.Helper()
	for range 500 {
		for line := range strings.Lines(b.log.String()) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Errorf("no line with %q in the log:\n%s", words, b.log.String())
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// kind returns what kind of set an id is of.
func (b *bench) kind(id string) Kind {
	b.t.Helper()
	sets, err := b.sets.All(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, set := range sets {
		if set.ID == id {
			return set.Kind
		}
	}
	return ThreatIntelSet
}

// write makes a file that locations may name, and returns its location.
func (b *bench) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.files, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return "file://" + path
}

// settled waits until the set is no longer being activated.
func (b *bench) settled(id string) Set {
	b.t.Helper()
	for range 500 {
		set, ok, err := b.sets.Get(context.Background(), b.kind(id), id)
		if err != nil || !ok {
			b.t.Fatalf("set %s: %v, %v", id, ok, err)
		}
		if set.Status != StatusActivating {
			return set
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatal("the set is being activated for ever")
	return Set{}
}

func (b *bench) create(name, location string) Set {
	b.t.Helper()
	return b.createAs(ThreatIntelSet, name, FormatTXT, location, map[string]string{"team": "a"})
}

func (b *bench) createAs(kind Kind, name, format, location string, tags map[string]string) Set {
	b.t.Helper()
	set, err := b.sets.Create(context.Background(), Set{Kind: kind, Name: name, Format: format, Location: location, Tags: tags}, true)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.settled(set.ID)
}

func (b *bench) listed(address string) bool {
	return len(b.lists.Address(nil, netip.MustParseAddr(address))) > 0
}

func TestSetLifeCycle(t *testing.T) {
	b := newBench(t)
	source := filepath.Join(b.files, "list.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("192.0.2.1\nnonsense\n")
	set := b.create("mine", "file://"+source)
	if set.Status != StatusActive || set.Entries != 1 || !strings.Contains(set.ErrorDetails, `line 2: no address`) || set.Tags["team"] != "a" {
		t.Errorf("%+v", set)
	}
	// The API has no member for this: the log is where an operator learns of it.
	b.logged("level=WARN", "list=mine", "line 2")
	b.create("gone", "file://"+source+".none")
	b.logged("level=WARN", "list=gone", "no such file")
	if !b.listed("192.0.2.1") {
		t.Error("the address is not listed")
	}

	// A restart works while the source is away.
	b.close()
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	b.open()
	if !b.listed("192.0.2.1") {
		t.Error("the address is not listed after a restart")
	}
	if got := b.settled(set.ID); got.Status != StatusActive {
		t.Errorf("after a restart: %+v", got)
	}

	// Reading it again fails and keeps what there was.
	on := true
	if err := b.sets.Update(t.Context(), ThreatIntelSet, set.ID, Change{Activate: &on}); err != nil {
		t.Fatal(err)
	}
	if got := b.settled(set.ID); got.Status != StatusError || !strings.Contains(got.ErrorDetails, "no such file") || !strings.Contains(got.ErrorDetails, "stays in use") {
		t.Errorf("after the source went: %+v", got)
	}
	if !b.listed("192.0.2.1") {
		t.Error("the address is not listed while the source is away")
	}

	write("192.0.2.2\n")
	if err := b.sets.Update(t.Context(), ThreatIntelSet, set.ID, Change{Activate: &on}); err != nil {
		t.Fatal(err)
	}
	if got := b.settled(set.ID); got.Status != StatusActive || got.ErrorDetails != "" || b.listed("192.0.2.1") || !b.listed("192.0.2.2") {
		t.Errorf("after the source changed: %+v", got)
	}

	// A damaged copy is not used.
	b.close()
	if err := os.WriteFile(filepath.Join(b.folder, set.ID+".list"), []byte("192.0.2.99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	if got := b.settled(set.ID); got.Status != StatusActive || b.listed("192.0.2.99") || !b.listed("192.0.2.2") {
		t.Errorf("after the copy was damaged: %+v", got)
	}

	off := false
	if err := b.sets.Update(t.Context(), ThreatIntelSet, set.ID, Change{Activate: &off}); err != nil {
		t.Fatal(err)
	}
	if got := b.settled(set.ID); got.Status != StatusInactive || b.listed("192.0.2.2") {
		t.Errorf("switched off: %+v", got)
	}
	if err := b.sets.Update(t.Context(), ThreatIntelSet, set.ID, Change{Activate: &on}); err != nil {
		t.Fatal(err)
	}
	b.settled(set.ID)
	if err := b.sets.Delete(t.Context(), ThreatIntelSet, set.ID); err != nil {
		t.Fatal(err)
	}
	if b.listed("192.0.2.2") {
		t.Error("still listed after it was deleted")
	}
	if left, err := os.ReadDir(b.folder); err != nil || len(left) != 0 {
		t.Errorf("copies left: %v, %v", left, err)
	}
	if err := b.sets.Delete(t.Context(), ThreatIntelSet, set.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting twice: %v", err)
	}
}

func TestSetSources(t *testing.T) {
	b := newBench(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			io.WriteString(w, "203.0.113.5\n")
		case "/moved":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/empty":
		case "/html":
			io.WriteString(w, "<html>\n<body>\n")
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	folder := b.files
	for _, c := range []struct{ location, status, details string }{
		{server.URL + "/good", StatusActive, ""},
		{server.URL + "/moved", StatusActive, ""},
		{server.URL + "/loop", StatusError, "too many redirects"},
		{server.URL + "/file", StatusError, ""},
		{server.URL + "/none", StatusError, "the server answered 404 Not Found"},
		{server.URL + "/empty", StatusError, "the list has no entry"},
		{server.URL + "/html", StatusError, `line 1: no address`},
		{"http://127.0.0.1:1/x", StatusError, "connection refused"},
		{"file://" + folder, StatusError, "no regular file"},
		{"file://" + folder + "/none", StatusError, "no such file"},
	} {
		set := b.create(c.location, c.location)
		if set.Status != c.status || !strings.Contains(set.ErrorDetails, c.details) {
			t.Errorf("%s: status %s, details %q; want %s, %q", c.location, set.Status, set.ErrorDetails, c.status, c.details)
		}
	}
	if left, err := filepath.Glob(filepath.Join(b.folder, "*.new")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestFilesOutsideTheFolders checks that no way leads from a location to other files of the server.
func TestFilesOutsideTheFolders(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(outside, []byte("192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(b.files, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(b.files, "folder")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(b.files, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, details := range map[string]string{"link": "escapes", "folder/secret.txt": "escapes", "fifo": "no regular file"} {
		set := b.create(name, "file://"+b.files+"/"+name)
		if set.Status != StatusError || !strings.Contains(set.ErrorDetails, details) {
			t.Errorf("%s: %s, %q; want %q", name, set.Status, set.ErrorDetails, details)
		}
	}
	if b.listed("192.0.2.1") {
		t.Error("a file outside was read")
	}
	// A link that stays inside is fine.
	b.write("good.txt", "192.0.2.1\n")
	if err := os.Symlink("good.txt", filepath.Join(b.files, "alias")); err != nil {
		t.Fatal(err)
	}
	if set := b.create("alias", "file://"+b.files+"/alias"); set.Status != StatusActive {
		t.Errorf("%+v", set)
	}
}

// TestTrustedWins checks that what is trusted is on no list, whatever order the sets come in.
func TestTrustedWins(t *testing.T) {
	b := newBench(t)
	threats := b.createAs(ThreatEntitySet, "threats", FormatTXT, b.write("threats", "192.0.2.0/24\nevil.example\n"+aHash+"\n"), map[string]string{CategoryTag: Miner})
	trusted := b.createAs(TrustedEntitySet, "trusted", FormatTXT, b.write("trusted", "192.0.2.7\nok.evil.example\n"), nil)
	if threats.Status != StatusActive || threats.Entries != 3 || trusted.Status != StatusActive {
		t.Fatalf("%+v, %+v", threats, trusted)
	}
	for _, c := range []struct {
		address, name   string
		listed, trusted bool
	}{
		{"192.0.2.1", "evil.example", true, false}, {"192.0.2.7", "a.OK.evil.example.", false, true}, {"::ffff:192.0.2.7", "ok.evil.example", false, true},
		{"192.0.3.1", "example", false, false},
	} {
		a := netip.MustParseAddr(c.address)
		if holds(b.lists, c.address) != c.listed || b.lists.TrustedAddress(a) != c.trusted {
			t.Errorf("%s: listed %v, trusted %v", a, !c.listed, b.lists.TrustedAddress(a))
		}
		if holds(b.lists, c.name) != c.listed || b.lists.TrustedDomain(c.name) != c.trusted {
			t.Errorf("%s: listed %v, trusted %v", c.name, !c.listed, b.lists.TrustedDomain(c.name))
		}
	}
	if got := b.lists.File(nil, aHash); len(got) != 1 || got[0].Category != Miner {
		t.Errorf("%v", got)
	}
	if got := b.lists.Address(nil, netip.MustParseAddr("192.0.2.1")); got[0].Category != CommandAndControl {
		t.Errorf("%v", got[0])
	}
	// All of it is there after a restart.
	b.close()
	b.open()
	if !holds(b.lists, "evil.example") || holds(b.lists, "ok.evil.example") || len(b.lists.File(nil, aHash)) != 1 {
		t.Error("sets are lost")
	}
	var invalid *InvalidError
	_, err := b.sets.Create(t.Context(), Set{Kind: IPSet, Name: "x", Format: FormatTXT, Location: "http://x", Tags: map[string]string{CategoryTag: Miner}}, false)
	if !errors.As(err, &invalid) || !strings.Contains(invalid.Reason, "no category") {
		t.Errorf("%v", err)
	}
	_, err = b.sets.Create(t.Context(), Set{Kind: ThreatIntelSet, Name: "x", Format: FormatTXT, Location: "http://x", Tags: map[string]string{CategoryTag: Miner}}, false)
	if !errors.As(err, &invalid) || !strings.Contains(invalid.Reason, "must be one of command-and-control") {
		t.Errorf("%v", err)
	}
}

func TestInvalidSets(t *testing.T) {
	b := newBench(t)
	b.create("taken", "http://127.0.0.1:1/")
	for _, c := range []struct{ name, format, location, reason string }{
		{"a", "XLS", "http://x", `no format "XLS"`},
		{"a", "TXT", "file:///etc/passwd", "only files in"},
		{"a", "TXT", "file://" + b.files + "/../x", "only files in"},
		{"a", "TXT", "file://" + b.files + "/%2e%2e/x", "only files in"},
		{"", "TXT", "http://x", "1 to 300"},
		{strings.Repeat("n", 301), "TXT", "http://x", "1 to 300"},
		{"a", "TXT", "s3://bucket/key", "reading from S3 with credentials is not supported yet"},
		{"a", "TXT", "gopher://x", "scheme not supported"},
		{"a", "TXT", "/etc/list", "scheme not supported"},
		{"a", "TXT", "file://otherhost/x", "want file:///absolute/path"},
		{"a", "TXT", "http:///x", "no host"},
		{"a", "TXT", "file:///" + strings.Repeat("x", 300), "at most 300"},
		{"taken", "TXT", "http://x", "exists already"},
	} {
		var invalid *InvalidError
		if _, err := b.sets.Create(t.Context(), Set{Kind: ThreatIntelSet, Name: c.name, Format: c.format, Location: c.location}, true); !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%.20s %s %.30s: %v, want %q", c.name, c.format, c.location, err, c.reason)
		}
	}
	name := "x"
	if err := b.sets.Update(t.Context(), ThreatIntelSet, "nonexistent", Change{Name: &name}); !errors.Is(err, ErrNotFound) {
		t.Errorf("updating what is not there: %v", err)
	}
}
