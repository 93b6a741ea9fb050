package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSample(t *testing.T) {
	for line, want := range map[string]sample{
		`a 1`:                         {"a", map[string]string{}, 1},
		`a{x="1"} 2.5e3`:              {"a", map[string]string{"x": "1"}, 2500},
		`a{x="}, y=\"z\\",y="b"} 3 4`: {"a", map[string]string{"x": `}, y="z\`, "y": "b"}, 3},
		`a{} 5`:                       {"a", map[string]string{}, 5},
	} {
		got, ok := parseSample(line)
		if !ok {
			t.Errorf("%s: no sample", line)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	for _, line := range []string{"", "a", "a{", `a{x`, `a{x="1"`, `a{x=1} 2`, "a{} ", "a{} x", `a{x="1"}`} {
		if got, ok := parseSample(line); ok {
			t.Errorf("%q gave %+v", line, got)
		}
	}
}

func FuzzParseSample(f *testing.F) {
	f.Add(`a{x="1",y="\n"} 2`)
	f.Fuzz(func(_ *testing.T, line string) { parseSample(line) })
}

// TestDoctorReadsTheLedgers runs the command against a server that shows two agents: one that is well and lost some, and one
// that is silent.
func TestDoctorReadsTheLedgers(t *testing.T) {
	now := time.Now()
	page := fmt.Sprintf(`# HELP vedette_link_agent_ledger x
vedette_link_agent_heartbeat_seconds{agent="a1",host="web"} %d
vedette_link_agent_ledger{agent="a1",counter="events.made"} 1000
vedette_link_agent_ledger{agent="a1",counter="events.folded"} 300
vedette_link_agent_ledger{agent="a1",counter="events.shipped"} 600
vedette_link_agent_ledger{agent="a1",counter="events.recovered"} 10
vedette_link_agent_ledger{agent="a1",counter="events.spooled"} 40
vedette_link_agent_ledger{agent="a1",counter="dropped.queue.open"} 50
vedette_link_agent_ledger{agent="a1",counter="dropped.spool"} 5
vedette_link_agent_ledger{agent="a1",counter="dropped.kernel.open"} 7
vedette_link_agent_heartbeat_seconds{agent="a2",host="db"} %d
vedette_link_agent_ledger{agent="a2",counter="events.made"} 1
vedette_ingest_events_total 600
other 1
`, now.Unix(), now.Add(-time.Hour).Unix())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprint(w, page)
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	text, err := json.Marshal(map[string]any{"api": server.URL, "pid": 7})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "server.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := vedette(t, "--data", dir, "doctor", "--no-hooks", "--output", "json")
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v in %s%s", err, out, errs)
	}
	if code != exitFailure || !strings.Contains(errs, "bad") {
		t.Errorf("exit %d, want %d because an agent is silent\n%s", code, exitFailure, errs)
	}
	if len(d.Agents) != 2 || d.Agents[0].Host != "db" {
		t.Fatalf("agents %+v", d.Agents)
	}
	got := d.Agents[1]
	want := agentLedger{
		Agent: "a1", Host: "web", Heartbeat: now.UTC().Truncate(time.Second), Made: 1000, Stored: 600, Folded: 300, Spooled: 40, Recovered: 10, UnderWay: 15,
		KernelLost: 7, Dropped: 55, Drops: map[string]uint64{"queue.open": 50, "spool": 5, "kernel.open": 7},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	states := map[string]string{}
	for _, c := range d.Checks {
		states[c.What] = c.State + " " + c.Text
	}
	if s := states["agent on web"]; s != "note 62 events were lost: queue.open 50, kernel.open 7, spool 5" {
		t.Errorf("the agent that lost some: %s", s)
	}
	if s := states["agent on db"]; !strings.HasPrefix(s, "bad silent for 1h") {
		t.Errorf("the silent agent: %s", s)
	}
	if d.Server == nil || d.Server.Events != 600 {
		t.Errorf("server %+v", d.Server)
	}
	if _, out, _ = vedette(t, "--data", dir, "doctor", "--no-hooks"); !strings.Contains(out, "UNDER WAY") || !strings.Contains(out, "1000") {
		t.Errorf("as a table:\n%s", out)
	}
}

func TestDoctorLooksAtTheDisk(t *testing.T) {
	var d diagnosis
	d.space(filepath.Join(t.TempDir(), "not", "yet", "there"))
	d.space("/proc/1") // a file system without any room
	if d.Checks[0].State == "" || !strings.Contains(d.Checks[0].Text, "MiB are free for ") || !strings.Contains(d.Checks[0].Text, "there") {
		t.Errorf("a folder to be made: %+v", d.Checks[0])
	}
	if d.Checks[1].State != "bad" || !strings.Contains(d.Checks[1].Text, "only 0 MiB") {
		t.Errorf("a full disk: %+v", d.Checks[1])
	}
}

func TestDoctorWithoutAServer(t *testing.T) {
	code, out, _ := vedette(t, "doctor", "--no-hooks", "--output", "json")
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	last := d.Checks[len(d.Checks)-1]
	if last.What != "server" || last.State != "note" || !strings.Contains(last.Text, "vedette up") {
		t.Errorf("exit %d, %+v", code, last)
	}
}
