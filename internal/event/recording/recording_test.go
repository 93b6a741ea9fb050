package recording

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func written(t testing.TB, records ...Record) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// all reads a recording to its end or the first error.
func all(data []byte) (list []Record, err error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		rec.Batch = bytes.Clone(rec.Batch)
		list = append(list, rec)
	}
}

var sample = []Record{
	{time.Unix(1_700_000_000, 5).UTC(), "agent-1", []byte("a batch")},
	{time.Unix(1_700_000_001, 0).UTC(), "", []byte{}},
	{time.Unix(-1, 0).UTC(), strings.Repeat("x", 255), bytes.Repeat([]byte("large "), 50_000)},
}

func TestRoundTrip(t *testing.T) {
	got, err := all(written(t, sample...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := all(written(t)); err != nil || len(got) != 0 {
		t.Errorf("an empty recording: %d records, %v", len(got), err)
	}
}

func TestDamage(t *testing.T) {
	data := written(t, sample[:2]...)
	ends := map[int]int{8: 0, len(written(t, sample[0])): 1, len(data): 2} // whole records, where the file may end
	for i := range len(data) {
		got, err := all(data[:i])
		if n, ok := ends[i]; ok {
			if err != nil || len(got) != n {
				t.Errorf("cut at %d: %d records, %v", i, len(got), err)
			}
			continue
		}
		want := ErrTorn
		if i < 8 {
			want = ErrFormat
		}
		if !errors.Is(err, want) {
			t.Errorf("cut at %d: %v, want %v", i, err, want)
		}
	}
	for i := range data {
		damaged := bytes.Clone(data)
		damaged[i] ^= 0x40
		if _, err := all(damaged); err == nil {
			t.Errorf("byte %d turned: no error", i)
		}
	}
}

func TestErrors(t *testing.T) {
	for name, test := range map[string]struct {
		data string
		want error
	}{
		"empty":         {"", ErrFormat},
		"another file":  {"#!/bin/sh\nexit\n", ErrFormat},
		"newer version": {magic + "\x02", ErrFormat},
		"lying length":  {magic + "\x01\x00\xff\xff\xff\x00\x00\x00\x00abc", ErrTorn},
		"huge length":   {magic + "\x01\xff\xff\xff\xff\x00\x00\x00\x00abc", ErrTorn},
	} {
		if _, err := all([]byte(test.data)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	w, err := NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Record{AgentID: strings.Repeat("x", 256)}); err == nil {
		t.Error("an agent's id of 256 bytes was written")
	}
	if err := w.Write(Record{Batch: make([]byte, maxRecord)}); err == nil {
		t.Error("a record over the bound was written")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(written(f, sample[:2]...))
	f.Add([]byte(magic + "\x01\x00\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := all(data)
		if err == nil && !bytes.Equal(written(t, list...), data) {
			t.Fatal("what was read whole is written otherwise")
		}
	})
}
