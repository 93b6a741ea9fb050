package ebpf

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/sensor"
)

// fakeRing is a ring in ordinary memory whose kernel side the test plays. It does not wrap.
type fakeRing struct{ *ring }

func newFakeRing() fakeRing {
	words := make([]uint64, 1<<13)
	var consumer, producer uint64
	data := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	return fakeRing{&ring{consumer: &consumer, producer: &producer, data: data, size: uint64(len(data) / 2), mask: uint64(len(data)/2) - 1}}
}

func (f fakeRing) put(record []byte, flags uint32) (at uint64) {
	at = *f.producer
	binary.NativeEndian.PutUint32(f.data[at:], uint32(len(record))|flags)
	copy(f.data[at+ringHeader:], record)
	*f.producer += (uint64(len(record)) + ringHeader + 7) &^ 7
	return at
}

func fork(pid uint32, time uint64) []byte {
	r := bpfForkRecord{Header: header(bpfKindKIND_FORK)}
	r.Header.Process.Pid, r.Header.Time = pid, time
	return build(&r, "")
}

func connect(pid uint32, time uint64) []byte {
	r := bpfSocketRecord{Header: header(bpfKindKIND_CONNECT)}
	r.Header.Process.Pid, r.Header.Time = pid, time
	return build(&r, "")
}

func fakeReader() (*reader, fakeRing, fakeRing) {
	lifecycle, activity := newFakeRing(), newFakeRing()
	return &reader{source: &Source{log: slog.New(slog.DiscardHandler)}, rings: [2]*ring{lifecycle.ring, activity.ring}}, lifecycle, activity
}

func drained(r *reader) (string, bool) {
	var got []string
	_, more := r.drain(func(rec *sensor.Record) { got = append(got, fmt.Sprintf("%s %d", rec.Kind, rec.PID)) })
	return strings.Join(got, ", "), more
}

func TestDrainMergesRingsByTime(t *testing.T) {
	r, lifecycle, activity := fakeReader()
	lifecycle.put(fork(1, 10), 0)
	activity.put(connect(1, 11), 0)
	activity.put(connect(2, 12), ringDiscard)
	activity.put(connect(1, 13), 0)
	lifecycle.put(fork(3, 12), 0)
	lifecycle.put(fork(4, 14), 0)
	got, more := drained(r)
	if diff := cmp.Diff("fork 1, connect 1, fork 3, connect 1, fork 4", got); diff != "" || more {
		t.Errorf("more %v (-want +got):\n%s", more, diff)
	}
	if *lifecycle.consumer != *lifecycle.producer || *activity.consumer != *activity.producer {
		t.Error("room was not given back")
	}
}

func TestDrainStopsAtUnfinishedRecord(t *testing.T) {
	r, lifecycle, activity := fakeReader()
	lifecycle.put(fork(1, 10), 0)
	at := lifecycle.put(fork(2, 11), ringBusy)
	activity.put(connect(2, 12), 0)
	if got, _ := drained(r); got != "fork 1" {
		t.Errorf("got %q before the record is finished", got)
	}
	binary.NativeEndian.PutUint32(lifecycle.data[at:], uint32(len(fork(2, 11))))
	if got, _ := drained(r); got != "fork 2, connect 2" {
		t.Errorf("got %q after the record is finished", got)
	}
}

func TestDrainLeavesTheFuture(t *testing.T) {
	r, lifecycle, activity := fakeReader()
	lifecycle.put(fork(1, boottime()+uint64(1e12)), 0)
	activity.put(connect(1, 5), 0)
	got, more := drained(r)
	if got != "connect 1" || !more {
		t.Errorf("got %q, more %v", got, more)
	}
}

func TestMalformedRecordIsCounted(t *testing.T) {
	r, _, activity := fakeReader()
	torn := connect(1, 5)
	(*bpfHeader)(unsafe.Pointer(&torn[0])).Size = 1 << 20
	activity.put(torn, 0)
	activity.put(connect(2, 6), 0)
	if got, _ := drained(r); got != "connect 2" {
		t.Errorf("got %q", got)
	}
	if n := r.source.malformed[5].Load(); n != 1 {
		t.Errorf("%d malformed records counted, want 1", n)
	}
}

func BenchmarkDrain(b *testing.B) {
	r, _, activity := fakeReader()
	record := connect(1, 5)
	for range 100 {
		activity.put(record, 0)
	}
	sink := func(*sensor.Record) {}
	b.ReportAllocs()
	for b.Loop() {
		activity.at, activity.released = 0, 0
		r.drain(sink)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
}
