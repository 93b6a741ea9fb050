package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine finds an occurrence in each connect event; the key is the remote address.
type fakeEngine struct{}

func (fakeEngine) Process(b *event.Batch, emit func(*finding.Occurrence)) {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Kind != event.KindConnect {
			continue
		}
		emit(&finding.Occurrence{Type: "Backdoor:Runtime/C&CActivity.B", Key: e.Connect.Remote.String(), Time: e.At(), Count: int64(e.Count),
			Host: finding.Host{ID: b.Host.ID, AgentID: b.AgentID}, Process: e.Process, Container: e.Container})
	}
}

// rig is an Ingester on a real store.
type rig struct {
	t      testing.TB
	db     *store.DB
	i      *Ingester
	now    time.Time
	mu     sync.Mutex
	events []bus.Event
	refuse error // of publishing
	seq    uint64
}

func newRig(t testing.TB) *rig {
	t.Helper()
	db, err := store.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "v.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r := &rig{t: t, db: db, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	r.detector("d", finding.Enabled, "FIFTEEN_MINUTES")
	r.restart()
	return r
}

// restart makes a new Ingester on the store, as after a crash.
func (r *rig) restart() {
	r.t.Helper()
	var err error
	r.i, err = New(context.Background(), Options{
		Store: r.db, Engine: fakeEngine{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), AccountID: "111122223333", Region: "us-east-1",
		Registry: prometheus.NewRegistry(), Now: func() time.Time { return r.now },
		Publish: func(tx *store.Tx, name string, ev bus.Event) error {
			if r.refuse != nil {
				return r.refuse
			}
			tx.AfterCommit(func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.events = append(r.events, ev)
			})
			return nil
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) detector(id, status, frequency string) {
	r.t.Helper()
	err := r.db.Update(context.Background(), func(tx *store.Tx) error {
		return detectors.Put(tx, id, finding.Detector{ID: id, Status: status, FindingPublishingFrequency: frequency,
			Features: []finding.Feature{{Name: finding.RuntimeMonitoring, Status: finding.Enabled}}})
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// batch is an encoded batch of connections to the given addresses.
func (r *rig) batch(epoch string, sequence uint64, addresses ...string) []byte {
	r.t.Helper()
	b := &event.Batch{AgentID: "agent", Epoch: epoch, Sequence: sequence, Host: event.Host{ID: "host"}}
	for _, a := range addresses {
		b.Events = append(b.Events, event.Event{Kind: event.KindConnect, Time: r.now.UnixNano(), Count: 1,
			Process: &event.Process{UUID: event.UUID{1}, PID: 1, Name: "x", ExePath: "/bin/x"},
			Connect: &event.Socket{Family: 2, Type: 1, Protocol: 6, Remote: netip.MustParseAddrPort(a)}})
	}
	data, err := event.NewEncoder().Encode(nil, b)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

func (r *rig) message(data []byte, pending uint64) link.Message {
	r.seq++
	return link.Message{Sequence: r.seq, Pending: pending, AgentID: "agent", Data: data}
}

func (r *rig) handle(msg link.Message) {
	r.t.Helper()
	if err := r.i.Handle(context.Background(), msg); err != nil {
		r.t.Fatal(err)
	}
}

// counts returns the count of each stored finding, summed, and how many there are.
func (r *rig) counts() (findings int, occurrences int64) {
	r.t.Helper()
	for _, row := range r.rows() {
		f, err := finding.Parse(row.JSON)
		if err != nil {
			r.t.Fatal(err)
		}
		if f.Service.Count != row.Count || f.ID != row.ID || f.Service.Archived != row.Archived {
			r.t.Errorf("the row and its finding differ: %+v", row)
		}
		findings++
		occurrences += row.Count
	}
	return findings, occurrences
}

func (r *rig) rows() (rows []store.FindingRow) {
	r.t.Helper()
	err := r.db.View(context.Background(), func(tx *store.Tx) (err error) {
		rows, err = tx.Findings(store.FindingQuery{})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return rows
}

func (r *rig) want(findings int, occurrences int64, events int) {
	r.t.Helper()
	f, o := r.counts()
	if f != findings || o != occurrences || len(r.events) != events {
		r.t.Errorf("%d findings, %d occurrences, %d events; want %d, %d, %d", f, o, len(r.events), findings, occurrences, events)
	}
}

// value is what a counter stands at.
func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

const a, b = "192.0.2.1:80", "192.0.2.2:80"

func TestFindingIsStoredAndPublished(t *testing.T) {
	r := newRig(t)
	r.handle(r.message(r.batch("e", 1, a, a, b), 0))
	r.want(2, 3, 2)
	ev := r.events[0]
	var detail struct {
		ID, Type string
		Service  struct {
			Count          int
			AdditionalInfo struct{ AgentDetails struct{ AgentID string } }
		}
	}
	if err := json.Unmarshal(ev.Detail, &detail); err != nil {
		t.Fatal(err)
	}
	if ev.Source != "aws.guardduty" || ev.DetailType != "GuardDuty Finding" || ev.Resources == nil || detail.Type != "Backdoor:Runtime/C&CActivity.B" ||
		detail.Service.Count != 2 || detail.Service.AdditionalInfo.AgentDetails.AgentID != "agent" {
		t.Errorf("%+v %s", ev, ev.Detail)
	}
}

// TestCountedOnce delivers everything twice in every way it can happen.
func TestCountedOnce(t *testing.T) {
	r := newRig(t)
	first := r.message(r.batch("e", 1, a), 0)
	r.handle(first)
	r.handle(first)                            // the link was not told
	r.handle(r.message(r.batch("e", 1, a), 0)) // the agent was not told
	r.handle(r.message(r.batch("e", 2, a), 0))
	r.handle(r.message(r.batch("e", 1, a), 0))
	r.want(1, 2, 1)
	if got := value(t, r.i.metrics.duplicates); got != 2 {
		t.Errorf("%v duplicates", got)
	}
	// The same after a crash. The last message had no effect, so its position was not worth a transaction.
	r.restart()
	if r.i.Position() != r.seq-1 {
		t.Errorf("position %d, want %d", r.i.Position(), r.seq-1)
	}
	r.handle(r.message(r.batch("e", 2, a), 0))
	r.want(1, 2, 1)
	// A new start of the agent counts from 1 again; the spool of the old one may still come.
	r.handle(r.message(r.batch("f", 1, a), 0))
	r.handle(r.message(r.batch("e", 3, a), 0))
	r.handle(r.message(r.batch("f", 1, a), 0))
	r.want(1, 4, 1)
}

// TestCrashInAGroup loses what was handled and not yet stored, and gets it again.
func TestCrashInAGroup(t *testing.T) {
	r := newRig(t)
	r.handle(r.message(r.batch("e", 1, a), 0))
	second, third := r.message(r.batch("e", 2, a, b), 2), r.message(r.batch("e", 3, a), 1)
	r.handle(second)
	r.handle(third)
	r.want(1, 1, 1)
	r.restart()
	if r.i.Position() != 1 {
		t.Fatalf("position %d", r.i.Position())
	}
	r.handle(second)
	r.handle(third)
	r.handle(r.message(r.batch("e", 4, b), 0))
	r.want(2, 5, 2)
}

// TestFailedTransaction has the store refuse; nothing may be lost or counted twice.
func TestFailedTransaction(t *testing.T) {
	r := newRig(t)
	r.handle(r.message(r.batch("e", 1, b), 0))
	r.refuse = errors.New("the disk is full")
	r.handle(r.message(r.batch("e", 2, a), 1))
	failing := r.message(r.batch("e", 3, a), 0)
	for range 3 {
		if err := r.i.Handle(context.Background(), failing); !errors.Is(err, r.refuse) {
			t.Fatalf("Handle: %v", err)
		}
	}
	r.want(1, 1, 1)
	r.refuse = nil
	r.handle(failing)
	r.want(2, 3, 2)
	r.restart()
	if r.i.Position() != r.seq {
		t.Errorf("position %d, want %d", r.i.Position(), r.seq)
	}
}

func TestUndecodableIsSkipped(t *testing.T) {
	r := newRig(t)
	good := r.batch("e", 1, a)
	for _, data := range [][]byte{nil, []byte("nonsense"), good[:len(good)-1], append([]byte{}, append(good[:20:20], make([]byte, len(good)-20)...)...)} {
		r.handle(r.message(data, 0))
	}
	r.handle(r.message(good, 0))
	r.want(1, 1, 1)
	if got := value(t, r.i.metrics.undecodable); got != 4 {
		t.Errorf("%v undecodable", got)
	}
	r.handle(r.message(r.batch("e", 5, a), 0))
	if got := value(t, r.i.metrics.missing); got != 3 {
		t.Errorf("%v missing", got)
	}
}

func TestWithoutDetector(t *testing.T) {
	r := newRig(t)
	r.detector("d", finding.Disabled, "")
	r.handle(r.message(r.batch("e", 1, a), 0))
	r.want(0, 0, 0)
	r.detector("d", finding.Enabled, "")
	r.handle(r.message(r.batch("e", 2, a), 0))
	r.want(1, 1, 1)
	// What was found under a detector that is gone when it would be stored is dropped.
	r.handle(r.message(r.batch("e", 3, b), 1))
	r.detector("d", finding.Disabled, "")
	r.handle(r.message(r.batch("e", 4, b), 0))
	r.want(1, 1, 1)
}

func TestRepeatsArePublishedTogether(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.handle(r.message(r.batch("e", 1, a), 0))
	r.want(1, 1, 1)
	r.now = r.now.Add(5 * time.Minute)
	r.handle(r.message(r.batch("e", 2, a), 0))
	r.handle(r.message(r.batch("e", 3, a), 0))
	if next, err := r.i.publishDue(ctx); err != nil || !next.Equal(r.now.Add(10*time.Minute)) {
		t.Errorf("next %v, %v", next, err)
	}
	r.want(1, 3, 1)
	// Archived by hand, it is published all the same, and stays archived.
	row := r.rows()[0]
	f, _ := finding.Parse(row.JSON)
	f.Service.Archived, row.Archived = true, true
	row.JSON, _ = f.JSON()
	if err := r.db.Update(ctx, func(tx *store.Tx) error { return tx.PutFinding(row) }); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(11 * time.Minute)
	if next, err := r.i.publishDue(ctx); err != nil || !next.IsZero() {
		t.Errorf("next %v, %v", next, err)
	}
	r.want(1, 3, 2)
	if !strings.Contains(string(r.events[1].Detail), `"count":3`) || !strings.Contains(string(r.events[1].Detail), `"archived":true`) {
		t.Errorf("published %s", r.events[1].Detail)
	}
	if _, err := r.i.publishDue(ctx); err != nil {
		t.Fatal(err)
	}
	r.handle(r.message(r.batch("e", 4, a), 0))
	r.want(1, 4, 2)
	if !r.rows()[0].Archived {
		t.Error("a repeat took it out of the archive")
	}
	// Long after the last publication a repeat need not wait.
	r.now = r.now.Add(24 * time.Hour)
	if _, err := r.i.publishDue(ctx); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(24 * time.Hour)
	r.handle(r.message(r.batch("e", 5, a), 0))
	if _, err := r.i.publishDue(ctx); err != nil {
		t.Fatal(err)
	}
	r.want(1, 5, 4)
}

func TestSamples(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	if err := r.i.CreateSamples(ctx, []string{"Backdoor:Runtime/C&CActivity.B"}); err != nil {
		t.Fatal(err)
	}
	if err := r.i.CreateSamples(ctx, []string{"Backdoor:Runtime/C&CActivity.B"}); err != nil {
		t.Fatal(err)
	}
	r.want(1, 2, 2)
	if !r.rows()[0].Sample {
		t.Error("the row is no sample")
	}
	var unknown *finding.UnknownTypeError
	if err := r.i.CreateSamples(ctx, []string{"Execution:Runtime/ReverseShell", "no"}); !errors.As(err, &unknown) {
		t.Errorf("unknown type: %v", err)
	}
	r.want(1, 2, 2)
	if err := r.i.CreateSamples(ctx, nil); err != nil {
		t.Fatal(err)
	}
	r.want(46, 48, 48)
}

// TestHostileTimes has an agent claim impossible times.
func TestHostileTimes(t *testing.T) {
	r := newRig(t)
	for n, at := range []int64{1<<63 - 1, -1 << 63, 0, r.now.Add(24 * time.Hour).UnixNano()} {
		b := &event.Batch{AgentID: "x", Epoch: "e", Sequence: uint64(n + 1), Events: []event.Event{{Kind: event.KindConnect, Time: at, Count: 1,
			Process: &event.Process{UUID: event.UUID{1}, StartTime: at}, Connect: &event.Socket{Family: 2, Remote: netip.MustParseAddrPort(a)}}}}
		data, err := event.NewEncoder().Encode(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		r.handle(r.message(data, 0))
	}
	r.want(1, 4, 1)
	if row := r.rows()[0]; !row.LastSeen.Equal(r.now) || !row.FirstSeen.Equal(r.now) {
		t.Errorf("seen from %v to %v", row.FirstSeen, row.LastSeen)
	}
}

// TestUnreadableRow puts nonsense in place of a finding.
func TestUnreadableRow(t *testing.T) {
	r := newRig(t)
	r.handle(r.message(r.batch("e", 1, a), 0))
	row := r.rows()[0]
	row.JSON = []byte("{")
	if err := r.db.Update(context.Background(), func(tx *store.Tx) error { return tx.PutFinding(row) }); err != nil {
		t.Fatal(err)
	}
	r.handle(r.message(r.batch("e", 2, a), 0))
	r.want(1, 2, 1)
}

func TestOldFindingsAreDeleted(t *testing.T) {
	r := newRig(t)
	if err := r.i.CreateSamples(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(Retention - time.Hour)
	r.handle(r.message(r.batch("e", 1, a), 0))
	if err := r.i.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.want(47, 47, 47)
	r.now = r.now.Add(time.Hour)
	if err := r.i.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.want(1, 1, 47)
}

func TestManyEpochs(t *testing.T) {
	r := newRig(t)
	for n := range 3 * maxEpochs {
		r.handle(r.message(r.batch(fmt.Sprint("e", n), 1, a), 0))
	}
	r.want(1, 3*maxEpochs, 1)
	if n := len(r.i.agents["agent"].Epochs); n != maxEpochs {
		t.Errorf("%d epochs are remembered", n)
	}
}

// TestRun publishes what is due, writes positions that have no effect, and stores what is in memory at the end.
func TestRun(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.i.Run(ctx) }()
	r.handle(r.message(r.batch("e", 1), 0)) // nothing in it
	stored := func() (v uint64) {
		r.db.View(context.Background(), func(tx *store.Tx) (err error) {
			v, _, err = tx.Cursor(streamCursor)
			return err
		})
		return v
	}
	for range 100 {
		if stored() == 1 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if stored() != 1 {
		t.Error("the position of an empty message was never stored")
	}
	r.handle(r.message(r.batch("e", 2, a), 1)) // more is said to wait behind it
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.want(1, 1, 1)
}

func BenchmarkHandle(bm *testing.B) {
	for _, c := range []struct {
		name      string
		addresses []string
		pending   uint64
	}{{"quiet", nil, 1}, {"quiet-live", nil, 0}, {"finding-backlog", []string{a}, 1}, {"finding-live", []string{a}, 0}} {
		bm.Run(c.name, func(bm *testing.B) {
			r := newRig(bm)
			n := uint64(0)
			for bm.Loop() {
				n++
				r.handle(r.message(r.batch("e", n, c.addresses...), c.pending))
			}
		})
	}
}
