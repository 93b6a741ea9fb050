package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("VEDETTE_STORE_CRASH"); path != "" {
		crash(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens a new database that is closed when the test ends.
func open(t testing.TB) *DB {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "vedette.db"))
}

func openAt(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func update(t testing.TB, db *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, db *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := db.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

type note struct {
	Text string `json:"text"`
}

const notes Documents[note] = "note"

func TestDocuments(t *testing.T) {
	db := open(t)
	update(t, db, func(tx *Tx) error {
		for _, k := range []string{"a/2", "a/1", "b/1", "a/\xff", "a0"} {
			if err := notes.Put(tx, k, note{"first " + k}); err != nil {
				return err
			}
		}
		if err := notes.Put(tx, "a/2", note{"second"}); err != nil {
			return err
		}
		other := Documents[note]("other")
		return other.Put(tx, "a/3", note{"of another kind"})
	})
	view(t, db, func(tx *Tx) error {
		got, ok, err := notes.Get(tx, "a/2")
		if err != nil || !ok || got.Text != "second" {
			t.Errorf("Get = %v, %v, %v", got, ok, err)
		}
		if _, ok, err := notes.Get(tx, "a/3"); ok || err != nil {
			t.Errorf("a document of another kind was found: %v", err)
		}
		keys := func(prefix, after string, limit int) []string {
			list, err := notes.List(tx, prefix, after, limit)
			if err != nil {
				t.Error(err)
			}
			var keys []string
			for _, e := range list {
				keys = append(keys, e.Key)
			}
			return keys
		}
		for _, c := range []struct {
			prefix, after string
			limit         int
			want          []string
		}{
			{"", "", 0, []string{"a/1", "a/2", "a/\xff", "a0", "b/1"}},
			{"a/", "", 0, []string{"a/1", "a/2", "a/\xff"}},
			{"a/", "a/1", 1, []string{"a/2"}},
			{"a/\xff", "", 0, []string{"a/\xff"}},
			{"c", "", 0, nil},
		} {
			if diff := cmp.Diff(c.want, keys(c.prefix, c.after, c.limit)); diff != "" {
				t.Errorf("List(%q, %q, %d) (-want +got):\n%s", c.prefix, c.after, c.limit, diff)
			}
		}
		return nil
	})
	update(t, db, func(tx *Tx) error {
		if ok, err := notes.Delete(tx, "a/1"); !ok || err != nil {
			t.Errorf("Delete = %v, %v", ok, err)
		}
		if ok, err := notes.Delete(tx, "a/1"); ok || err != nil {
			t.Errorf("second Delete = %v, %v", ok, err)
		}
		return nil
	})
}

func TestRollbackAndNested(t *testing.T) {
	db := open(t)
	stop := errors.New("stop")
	called := 0
	err := db.Update(t.Context(), func(tx *Tx) error {
		tx.AfterCommit(func() { called++ })
		notes.Put(tx, "gone", note{})
		return stop
	})
	if err != stop || called != 0 {
		t.Fatalf("Update = %v, hooks ran %d times", err, called)
	}
	func() {
		defer func() { recover() }()
		db.Update(t.Context(), func(tx *Tx) error { notes.Put(tx, "gone", note{}); panic("x") })
	}()
	update(t, db, func(tx *Tx) error {
		tx.AfterCommit(func() { called++ })
		if err := notes.Put(tx, "outer", note{}); err != nil {
			return err
		}
		if err := tx.Nested(func() error {
			tx.AfterCommit(func() { called += 10 })
			notes.Put(tx, "inner", note{})
			return stop
		}); err != stop {
			t.Errorf("Nested = %v", err)
		}
		return tx.Nested(func() error {
			return tx.Nested(func() error { return notes.Put(tx, "innermost", note{}) })
		})
	})
	if called != 1 {
		t.Errorf("hooks ran %d times, want only the outer one", called)
	}
	view(t, db, func(tx *Tx) error {
		list, err := notes.List(tx, "", "", 0)
		if err != nil || len(list) != 2 || list[0].Key != "innermost" || list[1].Key != "outer" {
			t.Errorf("stored %v, %v", list, err)
		}
		return nil
	})
}

func TestViewCannotWriteAndSeesASnapshot(t *testing.T) {
	db := open(t)
	update(t, db, func(tx *Tx) error { return tx.SetCursor("c", 1) })
	view(t, db, func(tx *Tx) error {
		if v, _, _ := tx.Cursor("c"); v != 1 {
			t.Errorf("cursor %d", v)
		}
		update(t, db, func(tx *Tx) error { return tx.SetCursor("c", 2) })
		if v, _, _ := tx.Cursor("c"); v != 1 {
			t.Errorf("the snapshot moved: %d", v)
		}
		if err := tx.SetCursor("c", 3); err == nil {
			t.Error("a View could write")
		}
		return nil
	})
}

// TestCommitsAreDurable checks the setting that a power cut depends on, which no test can bring about.
func TestCommitsAreDurable(t *testing.T) {
	db := open(t)
	update(t, db, func(tx *Tx) error {
		var mode string
		var synchronous int
		if _, err := tx.scanOne("PRAGMA journal_mode", nil, &mode); err != nil {
			return err
		}
		_, err := tx.scanOne("PRAGMA synchronous", nil, &synchronous)
		if mode != "wal" || synchronous != 2 {
			t.Errorf("journal mode %s, synchronous %d; want wal and 2 (FULL)", mode, synchronous)
		}
		return err
	})
}

func TestUpdatesAreSerial(t *testing.T) {
	db := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if err := db.Update(context.Background(), func(tx *Tx) error {
					v, _, err := tx.Cursor("n")
					if err != nil {
						return err
					}
					return tx.SetCursor("n", v+1)
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	view(t, db, func(tx *Tx) error {
		if v, ok, err := tx.Cursor("n"); v != 80 || !ok || err != nil {
			t.Errorf("cursor = %d, %v, %v", v, ok, err)
		}
		return nil
	})
	// A caller that gives up while it waits for its turn leaves the database usable.
	update(t, db, func(tx *Tx) error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := db.Update(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("Update with an ended context = %v", err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error { return tx.SetCursor("n", 1<<63+5) })
	view(t, db, func(tx *Tx) error {
		if v, _, _ := tx.Cursor("n"); v != 1<<63+5 {
			t.Errorf("a large cursor came back as %d", v)
		}
		return nil
	})
}

func TestFindings(t *testing.T) {
	db := open(t)
	at := func(s int) time.Time { return time.Unix(int64(1_700_000_000+s), 123).UTC() }
	row := func(id, typ string, severity float64, updated int) FindingRow {
		return FindingRow{ID: id, DetectorID: "d", Type: typ, ResourceKey: "k-" + typ, Severity: severity, CreatedAt: at(0), UpdatedAt: at(updated),
			FirstSeen: at(0), LastSeen: at(updated), Count: 2, JSON: []byte(`{"id":"` + id + `"}`), State: []byte(`{}`)}
	}
	rows := []FindingRow{row("a", "T1", 8, 5), row("b", "T2", 5, 5), row("c", "T1", 2, 9)}
	rows[1].Archived = true
	rows[2].NextPublish = at(20)
	rows[2].Sample = true
	update(t, db, func(tx *Tx) error {
		for _, r := range rows {
			if err := tx.PutFinding(r); err != nil {
				return err
			}
		}
		rows[0].Count = 3
		return tx.PutFinding(rows[0])
	})
	no := false
	view(t, db, func(tx *Tx) error {
		got, ok, err := tx.Finding("a")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if diff := cmp.Diff(rows[0], got); diff != "" {
			t.Errorf("row (-want +got):\n%s", diff)
		}
		for _, c := range []struct {
			name string
			q    FindingQuery
			want string
		}{
			{"all by update", FindingQuery{}, "abc"},
			{"descending", FindingQuery{Descending: true}, "cba"},
			{"severity", FindingQuery{Order: OrderSeverity}, "cba"},
			{"id limit", FindingQuery{Order: OrderID, Limit: 2}, "ab"},
			{"not archived", FindingQuery{Archived: &no}, "ac"},
			{"no samples", FindingQuery{Sample: &no}, "ab"},
			{"types", FindingQuery{Types: []string{"T1", "T9"}}, "ac"},
			{"severe", FindingQuery{MinSeverity: 5}, "ab"},
			{"since", FindingQuery{UpdatedSince: at(6)}, "c"},
			{"key", FindingQuery{DetectorID: "d", ResourceKey: "k-T2"}, "b"},
			{"other detector", FindingQuery{DetectorID: "e"}, ""},
			{"hostile type", FindingQuery{Types: []string{"T1') OR 1=1 --"}}, ""},
		} {
			list, err := tx.Findings(c.q)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			var ids strings.Builder
			for _, r := range list {
				ids.WriteString(r.ID)
			}
			if ids.String() != c.want {
				t.Errorf("%s: %q, want %q", c.name, ids.String(), c.want)
			}
			if n, err := tx.CountFindings(c.q); err != nil || (c.q.Limit == 0 && n != int64(len(list))) {
				t.Errorf("%s: counted %d, %v", c.name, n, err)
			}
		}
		// Paging in every order visits every row once.
		for _, order := range []FindingOrder{OrderUpdatedAt, OrderCreatedAt, OrderSeverity, OrderID} {
			for _, descending := range []bool{false, true} {
				seen, after := map[string]int{}, ""
				for {
					page, err := tx.Findings(FindingQuery{Order: order, Descending: descending, After: after, Limit: 1})
					if err != nil {
						t.Fatal(err)
					}
					if len(page) == 0 {
						break
					}
					seen[page[0].ID]++
					after = page[0].Position(order)
					if len(seen) > 3 {
						t.Fatal("paging does not end")
					}
				}
				if diff := cmp.Diff(map[string]int{"a": 1, "b": 1, "c": 1}, seen); diff != "" {
					t.Errorf("paging by %s, descending %v:\n%s", order, descending, diff)
				}
			}
		}
		if _, err := tx.Findings(FindingQuery{After: "torn"}); err == nil {
			t.Error("a torn position was accepted")
		}
		if due, err := tx.DueFindings(at(19), 0); err != nil || len(due) != 0 {
			t.Errorf("due too early: %v, %v", due, err)
		}
		if due, err := tx.DueFindings(at(20), 0); err != nil || len(due) != 1 || due[0].ID != "c" {
			t.Errorf("due: %v, %v", due, err)
		}
		if next, ok, err := tx.NextPublish(); !next.Equal(at(20)) || !ok || err != nil {
			t.Errorf("NextPublish = %v, %v, %v", next, ok, err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error {
		if ok, err := tx.DeleteFinding("a"); !ok || err != nil {
			t.Errorf("DeleteFinding = %v, %v", ok, err)
		}
		if n, err := tx.DeleteFindings("d"); n != 2 || err != nil {
			t.Errorf("DeleteFindings = %v, %v", n, err)
		}
		if _, ok, err := tx.NextPublish(); ok || err != nil {
			t.Errorf("something is pending: %v", err)
		}
		return nil
	})
}

func TestDeliveries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vedette.db")
	db := openAt(t, path)
	now := time.Unix(1_700_000_000, 0).UTC()
	var ids []int64
	update(t, db, func(tx *Tx) error {
		for i, lane := range []string{"x", "x", "x", "y"} {
			id, err := tx.Enqueue(Delivery{Queue: "q", Lane: lane, Payload: []byte{byte(i)}, CreatedAt: now})
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		_, err := tx.Enqueue(Delivery{Queue: "other", Lane: "z", CreatedAt: now})
		return err
	})
	var claimed []Delivery
	update(t, db, func(tx *Tx) error {
		lanes, err := tx.Lanes("q")
		if diff := cmp.Diff([]Lane{{"x", now}, {"y", now}}, lanes); diff != "" || err != nil {
			t.Errorf("lanes %s %v", diff, err)
		}
		if claimed, err = tx.Claim("q", "x", now, time.Minute, 2); err != nil || len(claimed) != 2 {
			t.Fatalf("claimed %v, %v", claimed, err)
		}
		if again, err := tx.Claim("q", "x", now, time.Minute, 9); err != nil || len(again) != 1 || again[0].ID != ids[2] {
			t.Errorf("second claim %v, %v", again, err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error {
		if ok, err := tx.Finish(claimed[0]); !ok || err != nil {
			t.Errorf("Finish = %v, %v", ok, err)
		}
		if ok, err := tx.Finish(claimed[0]); ok || err != nil {
			t.Errorf("second Finish = %v, %v", ok, err)
		}
		if ok, err := tx.Retry(claimed[1], now.Add(time.Hour), "E", strings.Repeat("long ", 1000)); !ok || err != nil {
			t.Errorf("Retry = %v, %v", ok, err)
		}
		if ok, err := tx.Bury(claimed[1], now, "E", ""); ok || err != nil {
			t.Errorf("Bury of a lost lease = %v, %v", ok, err)
		}
		again, err := tx.Claim("q", "x", now.Add(2*time.Minute), time.Minute, 9)
		if err != nil || len(again) != 1 || again[0].ID != ids[2] || again[0].Attempts != 0 {
			t.Errorf("after the lease ran out: %v, %v", again, err)
		}
		return nil
	})
	// A new process finds leases of a dead one and takes them over at once.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path)
	update(t, db, func(tx *Tx) error {
		again, err := tx.Claim("q", "x", now, time.Minute, 9)
		if err != nil || len(again) != 1 || again[0].ID != ids[2] {
			t.Fatalf("after a restart: %v, %v", again, err)
		}
		if ok, err := tx.Bury(again[0], now, "GONE", "no such topic"); !ok || err != nil {
			t.Errorf("Bury = %v, %v", ok, err)
		}
		late, err := tx.Claim("q", "x", now.Add(time.Hour), time.Minute, 9)
		if err != nil || len(late) != 1 || late[0].Attempts != 1 || late[0].ErrorCode != "E" || len(late[0].Error) > maxErrorText+10 {
			t.Errorf("retried: %+v, %v", late, err)
		}
		if ok, err := tx.Release(late[0], now); !ok || err != nil {
			t.Errorf("Release = %v, %v", ok, err)
		}
		return nil
	})
	view(t, db, func(tx *Tx) error {
		dead, err := tx.DeadLetters("q", 0, 10)
		want := []Delivery{{ID: ids[2], Queue: "q", Lane: "x", Payload: []byte{2}, CreatedAt: now, RunAt: now, Attempts: 1, ErrorCode: "GONE", Error: "no such topic", Dead: true}}
		if diff := cmp.Diff(want, dead, cmpopts.IgnoreUnexported(Delivery{})); diff != "" || err != nil {
			t.Errorf("dead letters %s %v", diff, err)
		}
		stats, err := tx.QueueStats("q")
		if diff := cmp.Diff(QueueStats{Pending: 2, Dead: 1, Oldest: now}, stats); diff != "" || err != nil {
			t.Errorf("stats %s %v", diff, err)
		}
		if next, ok, err := tx.NextDelivery("q"); !ok || !next.Equal(now) || err != nil {
			t.Errorf("NextDelivery = %v, %v, %v", next, ok, err)
		}
		if _, ok, err := tx.NextDelivery("none"); ok || err != nil {
			t.Errorf("NextDelivery of an empty queue: %v, %v", ok, err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error {
		if ok, err := tx.Redrive("q", ids[2], now); !ok || err != nil {
			t.Errorf("Redrive = %v, %v", ok, err)
		}
		if ok, err := tx.Redrive("q", ids[2], now); ok || err != nil {
			t.Errorf("second Redrive = %v, %v", ok, err)
		}
		for range 5 {
			list, err := tx.Claim("q", "y", now, time.Minute, 1)
			if err != nil {
				return err
			}
			for _, d := range list {
				tx.Bury(d, now, "", "")
			}
			if _, err := tx.Enqueue(Delivery{Queue: "q", Lane: "y", CreatedAt: now}); err != nil {
				return err
			}
		}
		if n, err := tx.TrimDeadLetters("q", 2); n != 3 || err != nil {
			t.Errorf("trimmed %d, %v", n, err)
		}
		stats, err := tx.QueueStats("q")
		if stats.Dead != 2 {
			t.Errorf("%d dead letters are left", stats.Dead)
		}
		return err
	})
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used.db")
	openAt(t, used)
	for name, c := range map[string]struct{ url, want string }{
		"scheme":    {"mysql:/x", `unsupported database "mysql"`},
		"no path":   {"sqlite:", "path is empty"},
		"no folder": {"sqlite:" + dir + "/none/x.db", "does not exist"},
		"garbage":   {"sqlite:" + garbage, "damaged or not a database"},
		"in use":    {"sqlite:" + used, "in use by another process"},
		"a folder":  {"sqlite:" + dir, "opening the database"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), c.url, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Open(%q) = %v, want one line with %q", c.url, err, c.want)
			}
		})
	}
	t.Run("newer", func(t *testing.T) {
		path := filepath.Join(dir, "newer.db")
		db := openAt(t, path)
		update(t, db, func(tx *Tx) error {
			_, err := tx.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
			return err
		})
		db.Close()
		if _, err := Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("Open = %v", err)
		}
	})
	t.Run("permissions", func(t *testing.T) {
		info, err := os.Stat(used)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the database's mode is %v, %v", info.Mode(), err)
		}
	})
}

// crash is the other half of TestKilledWriterLosesNothing: it commits numbers and prints each once it is committed, until
// it is killed.
func crash(path string) {
	db, err := Open(context.Background(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := uint64(1); ; n++ {
		if err := db.Update(context.Background(), func(tx *Tx) error {
			if _, err := tx.Enqueue(Delivery{Queue: "q", CreatedAt: time.Now()}); err != nil {
				return err
			}
			return tx.SetCursor("n", n)
		}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

func TestKilledWriterLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vedette.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VEDETTE_STORE_CRASH="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for last < 20 {
		if _, err := fmt.Fscanln(out, &last); err != nil {
			t.Fatalf("after %d: %v", last, err)
		}
	}
	cmd.Process.Kill()
	for {
		if _, err := fmt.Fscanln(out, &last); err != nil {
			break
		}
	}
	cmd.Wait()
	db := openAt(t, path)
	view(t, db, func(tx *Tx) error {
		v, _, err := tx.Cursor("n")
		if err != nil || v < last {
			t.Errorf("%d was acknowledged, %d is stored, %v", last, v, err)
		}
		if s, err := tx.QueueStats("q"); err != nil || uint64(s.Pending) != v {
			t.Errorf("cursor %d but %d deliveries, %v", v, s.Pending, err)
		}
		return nil
	})
}

func BenchmarkUpdate(b *testing.B) {
	db := open(b)
	var n uint64
	for b.Loop() {
		n++
		if err := db.Update(b.Context(), func(tx *Tx) error { return tx.SetCursor("n", n) }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClaimBehindABacklog(b *testing.B) {
	db := open(b)
	now := time.Now()
	if err := db.Update(b.Context(), func(tx *Tx) error {
		for range 50_000 {
			if _, err := tx.Enqueue(Delivery{Queue: "q", Lane: "hung", CreatedAt: now}); err != nil {
				return err
			}
		}
		_, err := tx.Enqueue(Delivery{Queue: "q", Lane: "quick", CreatedAt: now})
		return err
	}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := db.Update(b.Context(), func(tx *Tx) error {
			lanes, err := tx.Lanes("q")
			if err != nil || len(lanes) != 2 {
				return fmt.Errorf("lanes %v: %w", lanes, err)
			}
			list, err := tx.Claim("q", "quick", now, time.Minute, 1)
			if err != nil || len(list) != 1 {
				return fmt.Errorf("claimed %v: %w", list, err)
			}
			_, err = tx.Release(list[0], now)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
