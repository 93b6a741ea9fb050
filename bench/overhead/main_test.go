package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// subjectVariable makes this test binary a program to be measured, which listens on the address that is its last argument.
const subjectVariable = "VEDETTE_TEST_SUBJECT"

func TestMain(m *testing.M) {
	if os.Getenv(subjectVariable) != "" {
		fmt.Fprintln(os.Stderr, standIn(os.Args[len(os.Args)-1], os.Args[1] != "--watch-nothing"))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// standIn claims to have seen 100 events and lost 2 at each look at its metrics.
func standIn(address string, watching bool) error {
	var looks atomic.Int64
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		n, hooks := looks.Add(1), 0
		if watching && n > 1 {
			hooks = 1
		}
		fmt.Fprintf(w, "# TYPE vedette_sensor_events_total counter\nvedette_sensor_events_total{kind=\"exec\"} %d\n"+
			"# TYPE vedette_sensor_events_lost_total counter\nvedette_sensor_events_lost_total{kind=\"open\"} %d\n"+
			"# TYPE vedette_sensor_hooks_attached gauge\nvedette_sensor_hooks_attached %d\n", n*100, n*2, hooks)
	})
	return http.ListenAndServe(address, nil)
}

// TestMeasures runs the whole measurement on a stand-in, with loops that are too short to mean anything.
func TestMeasures(t *testing.T) {
	t.Setenv(subjectVariable, "1")
	load := filepath.Join(t.TempDir(), "load")
	if out, err := exec.Command("go", "build", "-o", load, "../load").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{
		"--pairs", "3", "--detect=false", "--scale", "0.001", "--settle", "1ms", "--output", "json", "--load", load,
		"--vedette", os.Args[0], "--command", "{vedette} {api}",
	}, &out)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Loops) != len(loops) || r.Pairs != 3 || r.PeakRSS < 1<<20 || r.Machine == "" {
		t.Errorf("report %+v", r)
	}
	for _, l := range r.Loops {
		if len(l.Ratios) != 3 || l.Ratio <= 0 || l.Without <= 0 || l.With <= 0 || l.Noise <= 0 {
			t.Errorf("loop %+v", l)
		}
		if l.SeenEach != 100 || l.LostTotal != 6 {
			t.Errorf("loop %s: %v events seen, %v lost; the stand-in claims 100 each and 2 each", l.Name, l.SeenEach, l.LostTotal)
		}
	}
	if r.Lost == 0 || r.Seen == 0 {
		t.Errorf("seen %v, lost %v", r.Seen, r.Lost)
	}
	var table bytes.Buffer
	if err := r.write(&table); err != nil || !strings.Contains(table.String(), "getppid") {
		t.Errorf("table %q, %v", table.String(), err)
	}
}

func TestProgramThatEndsIsAnError(t *testing.T) {
	t.Setenv(subjectVariable, "1")
	for command, want := range map[string]string{"false": "it ended", "/no/such/program": "no such file", "sleep 60": "not ready",
		"{vedette} --watch-nothing {api}": "watches nothing",
	} {
		o, err := parse([]string{"--detect=false", "--command", command, "--vedette", os.Args[0]})
		if err != nil {
			t.Fatal(err)
		}
		o.subject.Patience = time.Second
		m := measurement{options: o}
		if err := m.halfWith(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", command, err)
		}
	}
}

func TestBadCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{"--pairs", "0"}, {"--scale", "0"}, {"--output", "xml"}, {"--seen", "("}, {"--lost", "("}, {"more"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	o, err := parse([]string{"--loops", "exec,none"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.chosen(); err == nil {
		t.Error("an unknown loop was accepted")
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 2: {3, 1, 2}, 2.5: {4, 1, 3, 2}} {
		if got := median(values); got != want {
			t.Errorf("median of %v is %v", values, got)
		}
	}
}

func TestMachine(t *testing.T) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	if got := machine(); !strings.Contains(got, unix.ByteSliceToString(name.Release[:])) {
		t.Errorf("machine %q", got)
	}
}
