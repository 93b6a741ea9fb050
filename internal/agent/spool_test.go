package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func openTestSpool(t testing.TB, dir string, limit int64) (*spool, int) {
	t.Helper()
	s, torn, err := openSpool(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s, torn
}

func put(t testing.TB, s *spool, n uint64, size int) uint64 {
	t.Helper()
	dropped, err := s.append(spooled{epoch: "epoch", sequence: n, events: 2, data: bytes.Repeat([]byte{byte(n)}, size)})
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

// drain takes all records out.
func drain(t testing.TB, s *spool) (sequences []uint64, lost uint64) {
	t.Helper()
	for {
		r, l, ok := s.first()
		lost += l
		if !ok {
			return sequences, lost
		}
		if r.epoch != "epoch" || r.events != 2 || len(r.data) == 0 || r.data[0] != byte(r.sequence) {
			t.Fatalf("record %d is %q, %d events, %d bytes", r.sequence, r.epoch, r.events, len(r.data))
		}
		sequences = append(sequences, r.sequence)
		s.advance(r)
	}
}

func inOrder(t *testing.T, got []uint64, from, to uint64) {
	t.Helper()
	if want := int(to - from + 1); len(got) != want {
		t.Fatalf("got %d records (%v), want %d to %d", len(got), got, from, to)
	}
	for i, n := range got {
		if n != from+uint64(i) {
			t.Fatalf("record %d is %d, want %d", i, n, from+uint64(i))
		}
	}
}

func TestSpoolKeepsOrderOverRestarts(t *testing.T) {
	dir := t.TempDir()
	s, _ := openTestSpool(t, dir, 1<<20)
	for n := uint64(1); n <= 100; n++ {
		put(t, s, n, 1000)
	}
	for range 10 {
		r, _, _ := s.first()
		s.advance(r)
	}
	s.close()
	s, torn := openTestSpool(t, dir, 1<<20)
	if torn != 0 {
		t.Errorf("%d torn files", torn)
	}
	for n := uint64(101); n <= 120; n++ {
		put(t, s, n, 1000)
	}
	got, lost := drain(t, s)
	inOrder(t, got, 1, 120) // What was read of a file that is not yet used up comes again; the server counts it once.
	if lost != 0 || !s.empty() || s.size != 0 {
		t.Errorf("lost %d, empty %v, size %d", lost, s.empty(), s.size)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}

func TestSpoolDropsTheOldest(t *testing.T) {
	dir := t.TempDir()
	s, _ := openTestSpool(t, dir, 100_000)
	var dropped uint64
	for n := uint64(1); n <= 1000; n++ {
		dropped += put(t, s, n, 1000)
		if s.size > 100_000 {
			t.Fatalf("the spool has %d bytes", s.size)
		}
	}
	var onDisk int64
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, _ := e.Info()
		onDisk += info.Size()
	}
	if onDisk > 100_000 {
		t.Errorf("the folder has %d bytes", onDisk)
	}
	got, _ := drain(t, s)
	inOrder(t, got, 1001-uint64(len(got)), 1000)
	if dropped != 2*(1000-uint64(len(got))) || len(got) < 60 {
		t.Errorf("%d records are left and %d events are counted as dropped", len(got), dropped)
	}
}

func TestSpoolToleratesDamage(t *testing.T) {
	for name, damage := range map[string]func(text []byte) []byte{
		"torn in a record":   func(b []byte) []byte { return b[:len(b)-10] },
		"torn in a header":   func(b []byte) []byte { return b[:len(b)-1000-5] },
		"a bit":              func(b []byte) []byte { b[len(b)-500] ^= 1; return b },
		"a length":           func(b []byte) []byte { b[len(b)-1000-len("epoch")-spoolHeader+4] = 0xff; return b },
		"zeros at the end":   func(b []byte) []byte { return append(b[:len(b)-1000], make([]byte, 1000)...) },
		"something appended": func(b []byte) []byte { return append(b[:len(b)-1000-len("epoch")-spoolHeader], "garbage"...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := openTestSpool(t, dir, 1<<20)
			for n := uint64(1); n <= 10; n++ {
				put(t, s, n, 1000)
			}
			s.close()
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			text, err := os.ReadFile(files[len(files)-1])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(files[len(files)-1], damage(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, torn := openTestSpool(t, dir, 1<<20)
			if torn != 1 {
				t.Errorf("%d torn files, want 1", torn)
			}
			put(t, s, 10, 1000)
			got, _ := drain(t, s)
			inOrder(t, got, 1, 10)
		})
	}
}

func TestSpoolDamageWhileRunning(t *testing.T) {
	dir := t.TempDir()
	s, _ := openTestSpool(t, dir, 1<<20)
	for n := uint64(1); n <= 500; n++ {
		put(t, s, n, 1000)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) < 2 {
		t.Fatalf("%d files; the test needs two", len(files))
	}
	if err := os.Truncate(files[0], 5000); err != nil {
		t.Fatal(err)
	}
	got, lost := drain(t, s)
	if uint64(len(got))*2+lost != 1000 || lost == 0 {
		t.Errorf("%d records and %d lost events of 1000", len(got), lost)
	}
	if got[len(got)-1] != 500 {
		t.Errorf("the last record is %d", got[len(got)-1])
	}
}

func TestSpoolFolderIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, _ := openTestSpool(t, dir, 1<<20)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.append(spooled{epoch: "epoch", sequence: 1, events: 2, data: []byte{1}}); err == nil {
		t.Fatal("no error")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, s, 2, 10)
	got, _ := drain(t, s)
	inOrder(t, got, 2, 2)
}

func FuzzSpool(f *testing.F) {
	dir := f.TempDir()
	s, _ := openTestSpool(f, dir, 1<<20)
	put(f, s, 1, 10)
	put(f, s, 2, 20)
	s.close()
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	text, _ := os.ReadFile(files[0])
	f.Add(text)
	f.Add(text[:len(text)-3])
	f.Add([]byte("VSP1"))
	n := 0
	f.Fuzz(func(t *testing.T, text []byte) {
		n++
		dir := filepath.Join(t.TempDir(), fmt.Sprint(n))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%020d.spool", 7)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, torn := openTestSpool(t, dir, 1<<20)
		var bytes int64
		for {
			r, lost, ok := s.first()
			if lost > 0 {
				t.Fatal("what was good when opened is not good when read")
			}
			if !ok {
				break
			}
			bytes += int64(spoolHeader + len(r.epoch) + len(r.data))
			s.advance(r)
		}
		if torn == 0 && bytes != int64(len(text)) {
			t.Fatalf("%d of %d bytes were read without a complaint", bytes, len(text))
		}
	})
}
