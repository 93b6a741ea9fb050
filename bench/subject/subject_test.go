package subject

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCounters(t *testing.T) {
	got, err := parseCounters(`# HELP vedette_x_total X.
# TYPE vedette_x_total counter
vedette_x_total{kind="exec",reason="full"} 3
vedette_x_total{kind="open",reason="full"} 4.5
# TYPE vedette_g gauge
vedette_g 7
# TYPE vedette_h histogram
vedette_h_bucket{le="+Inf"} 2
vedette_h_sum 2
vedette_h_count 2
untyped 1
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Counters{`vedette_x_total{kind="exec",reason="full"}`: 3, `vedette_x_total{kind="open",reason="full"}`: 4.5, "vedette_g": 7, "untyped": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if sum := got.Sum(func(s string) bool { return strings.HasPrefix(s, "vedette_x_total") }); sum != 7.5 {
		t.Errorf("sum %v", sum)
	}
	grown := got.Since(Counters{"vedette_g": 5, "untyped": 1})
	if grown["vedette_g"] != 2 || len(grown) != 3 {
		t.Errorf("grown %v", grown)
	}
	if _, err := parseCounters("{{{"); err == nil {
		t.Error("a damaged page was accepted")
	}
}

func FuzzParseCounters(f *testing.F) {
	f.Add("a 1\n")
	f.Add("# TYPE a histogram\na_bucket{le=\"1\"} 1\n")
	f.Fuzz(func(t *testing.T, page string) { parseCounters(page) })
}

func TestCPUSeconds(t *testing.T) {
	// A name may hold spaces and parentheses.
	got, err := cpuSeconds("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 50 7 3 20 0 1 0 99")
	if err != nil || got != 1.6 {
		t.Errorf("%v CPU seconds, %v", got, err)
	}
	if _, err := cpuSeconds("12 (a) S 1"); err == nil {
		t.Error("a short line was accepted")
	}
}

func TestPeakRSS(t *testing.T) {
	got, err := peakRSS("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n")
	if err != nil || got != 2<<20 {
		t.Errorf("%d bytes, %v", got, err)
	}
	if _, err := peakRSS("Name:\tx\n"); err == nil {
		t.Error("a status without the line was accepted")
	}
}
