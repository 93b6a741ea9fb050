package outbox

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"vedette.dev/vedette/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func enqueue(t testing.TB, db *store.DB, d *Dispatcher, lanes ...string) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		for _, lane := range lanes {
			if err := d.Enqueue(tx, store.Delivery{Lane: lane, Payload: []byte(lane)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func stats(t testing.TB, db *store.DB) (s store.QueueStats) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *store.Tx) (err error) { s, err = tx.QueueStats("q"); return err }); err != nil {
		t.Fatal(err)
	}
	s.Oldest = time.Time{}
	return s
}

// bubble runs f with a dispatcher whose clock is the bubble's.
func bubble(t *testing.T, o Options, f func(t *testing.T, db *store.DB, d *Dispatcher)) {
	path := filepath.Join(t.TempDir(), "vedette.db")
	synctest.Test(t, func(t *testing.T) {
		db := open(t, path)
		o.Store, o.Queue, o.Log = db, "q", slog.New(slog.DiscardHandler)
		d := New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		f(t, db, d)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		db.Close()
	})
}

func TestRetriesUntilDone(t *testing.T) {
	var at []time.Duration
	var attempts []int
	start := time.Time{}
	reg := prometheus.NewRegistry()
	bubble(t, Options{Registerer: reg, Handle: func(_ context.Context, item store.Delivery) Outcome {
		at = append(at, time.Since(start))
		attempts = append(attempts, item.Attempts)
		if len(at) < 4 {
			return Retry(time.Duration(len(at))*time.Hour, "BUSY", errors.New("busy"))
		}
		return Done(func(tx *store.Tx) error { return tx.SetCursor("done", 1) })
	}}, func(t *testing.T, db *store.DB, d *Dispatcher) {
		start = time.Now()
		enqueue(t, db, d, "a")
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		want := []time.Duration{0, time.Hour, 3 * time.Hour, 6 * time.Hour}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("attempts at (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{0, 1, 2, 3}, attempts); diff != "" {
			t.Errorf("attempts:\n%s", diff)
		}
		if s := stats(t, db); s != (store.QueueStats{}) {
			t.Errorf("left: %+v", s)
		}
		db.View(t.Context(), func(tx *store.Tx) error {
			if v, ok, err := tx.Cursor("done"); v != 1 || !ok || err != nil {
				t.Errorf("the effect was not stored: %v", err)
			}
			return nil
		})
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if m.GetCounter() != nil {
					for _, l := range m.GetLabel() {
						got[l.GetName()+"="+l.GetValue()] += m.GetCounter().GetValue()
					}
				}
			}
		}
		if got["outcome=retried"] != 3 || got["outcome=delivered"] != 1 {
			t.Errorf("counted %v", got)
		}
	})
}

func TestAHungLaneHoldsUpNobodyElse(t *testing.T) {
	var mu sync.Mutex
	count := map[string]int{}
	bubble(t, Options{Workers: 8, PerLane: 2, Timeout: time.Minute, Handle: func(ctx context.Context, item store.Delivery) Outcome {
		if item.Lane == "hung" {
			<-ctx.Done()
			return Retry(time.Hour, "TIMEOUT", ctx.Err())
		}
		mu.Lock()
		defer mu.Unlock()
		count[item.Lane]++
		return Done(nil)
	}}, func(t *testing.T, db *store.DB, d *Dispatcher) {
		lanes := make([]string, 0, 300)
		for range 100 {
			lanes = append(lanes, "hung")
		}
		for range 100 {
			lanes = append(lanes, "a", "b")
		}
		start := time.Now()
		enqueue(t, db, d, lanes...)
		synctest.Wait()
		if time.Since(start) != 0 {
			t.Error("time passed")
		}
		if diff := cmp.Diff(map[string]int{"a": 100, "b": 100}, count); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}
		if s := stats(t, db); s.Pending != 100 {
			t.Errorf("%d are pending", s.Pending)
		}
		// Deliveries that come while the lane hangs go out at once too.
		enqueue(t, db, d, "c")
		synctest.Wait()
		if count["c"] != 1 {
			t.Error("a new lane was not served")
		}
		// The hung lane is worked on at its own pace.
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		if s := stats(t, db); s.Pending != 100 {
			t.Errorf("%d are pending", s.Pending)
		}
	})
}

func TestMoreLanesThanWorkersAreServedInTurn(t *testing.T) {
	var mu sync.Mutex
	var order []string
	bubble(t, Options{Workers: 1, PerLane: 1, Handle: func(_ context.Context, item store.Delivery) Outcome {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, item.Lane)
		return Done(nil)
	}}, func(t *testing.T, db *store.DB, d *Dispatcher) {
		enqueue(t, db, d, "a", "a", "a", "b", "b", "c")
		synctest.Wait()
		if got := strings.Join(order, ""); got != "abcaba" {
			t.Errorf("served %s", got)
		}
	})
}

func TestDeadLetters(t *testing.T) {
	bubble(t, Options{KeepDead: 3, Handle: func(_ context.Context, item store.Delivery) Outcome {
		switch item.Lane {
		case "panic":
			panic("at the disco")
		case "old":
			return Done(func(tx *store.Tx) error { return &Failure{Dead("OLD", errors.New("too old"))} })
		case "panic later":
			return Done(func(tx *store.Tx) error { tx.SetCursor("half", 1); panic("at the disco") })
		case "apply":
			return Done(func(tx *store.Tx) error {
				if err := tx.SetCursor("half", 1); err != nil {
					return err
				}
				return errors.New("no room")
			})
		}
		return Dead("NO_RESOURCE", errors.New("no such topic"))
	}}, func(t *testing.T, db *store.DB, d *Dispatcher) {
		enqueue(t, db, d, "old")
		synctest.Wait()
		db.View(t.Context(), func(tx *store.Tx) error {
			if list, err := tx.DeadLetters("q", 0, 0); err != nil || len(list) != 1 || list[0].ErrorCode != "OLD" {
				t.Errorf("dead letters %+v, %v", list, err)
			}
			return nil
		})
		enqueue(t, db, d, "panic later", "x", "panic", "apply")
		synctest.Wait()
		db.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.DeadLetters("q", 0, 0)
			if err != nil || len(list) != 3 || !strings.Contains(list[0].Error, "disco") || list[1].ErrorCode != "NO_RESOURCE" || list[1].Error != "no such topic" || !strings.Contains(list[2].Error, "disco") {
				t.Errorf("dead letters %+v, %v", list, err)
			}
			if _, ok, _ := tx.Cursor("half"); ok {
				t.Error("half of an effect was stored")
			}
			pending, err := tx.PendingDeliveries("q", 0, 0)
			if err != nil || len(pending) != 1 || pending[0].Attempts != 1 || !strings.Contains(pending[0].Error, "no room") {
				t.Errorf("pending %+v, %v", pending, err)
			}
			return nil
		})
	})
}

func TestRedrive(t *testing.T) {
	tried := 0
	bubble(t, Options{Handle: func(context.Context, store.Delivery) Outcome {
		if tried++; tried == 1 {
			return Dead("NO_RESOURCE", errors.New("no such topic"))
		}
		return Done(nil)
	}}, func(t *testing.T, db *store.DB, d *Dispatcher) {
		enqueue(t, db, d, "a")
		synctest.Wait()
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			list, err := d.DeadLetters(tx, 0, 0)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v %v", list, err)
			}
			if ok, err := d.Redrive(tx, list[0].ID+1); ok || err != nil {
				t.Errorf("redrove nothing: %v", err)
			}
			ok, err := d.Redrive(tx, list[0].ID)
			if !ok {
				t.Error("nothing was redriven")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := stats(t, db); tried != 2 || s != (store.QueueStats{}) {
			t.Errorf("tried %d times, left %+v", tried, s)
		}
	})
}

func TestStopWaitsAndReleases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vedette.db")
	synctest.Test(t, func(t *testing.T) {
		db := open(t, path)
		defer db.Close()
		d := New(Options{Store: db, Queue: "q", Log: slog.New(slog.DiscardHandler), Grace: 10 * time.Second, Handle: func(ctx context.Context, item store.Delivery) Outcome {
			wait := 3 * time.Second
			if strings.HasPrefix(item.Lane, "slow") {
				wait = time.Hour
			}
			select {
			case <-time.After(wait):
				return Done(nil)
			case <-ctx.Done():
				if item.Lane == "slow, last try" {
					return Dead("EXHAUSTED", ctx.Err())
				}
				return Retry(time.Hour, "TIMEOUT", ctx.Err())
			}
		}})
		enqueue(t, db, d, "quick", "slow", "slow, last try")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		synctest.Wait()
		cancel()
		start := time.Now()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
		db.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.PendingDeliveries("q", 0, 0)
			if err != nil || len(list) != 2 || list[0].Lane != "slow" || list[0].Attempts != 0 || list[1].Attempts != 0 {
				t.Errorf("left %+v, %v", list, err)
			}
			return nil
		})
	})
}

func BenchmarkHandOver(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "vedette.db"))
	defer db.Close()
	done := make(chan struct{}, 1)
	d := New(Options{Store: db, Queue: "q", Log: slog.New(slog.DiscardHandler), Handle: func(context.Context, store.Delivery) Outcome {
		done <- struct{}{}
		return Done(nil)
	}})
	ctx, cancel := context.WithCancel(b.Context())
	stopped := make(chan error)
	go func() { stopped <- d.Run(ctx) }()
	for b.Loop() {
		enqueue(b, db, d, "a")
		<-done
	}
	cancel()
	<-stopped
}
