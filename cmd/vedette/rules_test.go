package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/event/recording"
)

const (
	netcat = `rules:
  - name: Netcat
    severity: high
    pattern: {kind: [exec], process: {name: [nc, ncat]}}
    message: "{process.name} with {process.args}"
`
	netcatTest = `tests:
  - name: nc is found
    events:
      - {kind: exec, process: {executablePath: /bin/nc, args: [nc, -l]}}
    findings:
      - {type: Custom:Runtime/Netcat, message: nc with nc -l}
  - name: ls is not
    events:
      - {kind: exec, process: {executablePath: /bin/ls}}
    findings: []
`
)

// rulesFolder returns a folder with the given files.
func rulesFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// vedetteRules runs 'vedette rules …' and checks the exit code and what it says.
func vedetteRules(t *testing.T, code int, want []string, args ...string) {
	t.Helper()
	var out, errs bytes.Buffer
	got := run(t.Context(), append([]string{"rules"}, args...), &out, &errs)
	all := out.String() + errs.String()
	if got != code {
		t.Errorf("%q: exit code %d, want %d:\n%s", args, got, code, all)
	}
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("%q does not say %q:\n%s", args, w, all)
		}
	}
}

func TestRules(t *testing.T) {
	good := rulesFolder(t, map[string]string{"nc.yaml": netcat, "nc_test.yaml": netcatTest})
	bad := rulesFolder(t, map[string]string{"nc.yaml": strings.Replace(netcat, "process.args", "process.arg", 1), "nc_test.yaml": netcatTest})
	wrong := rulesFolder(t, map[string]string{"nc.yaml": netcat, "nc_test.yaml": strings.Replace(netcatTest, "nc with nc -l}", "nc with nc -e}", 1)})
	torn := rulesFolder(t, map[string]string{"nc.yaml": netcat, "nc_test.yaml": strings.Replace(netcatTest, "events:", "event:", 1)})

	vedetteRules(t, 0, []string{"Custom:Runtime/Netcat", "HIGH 8", "nc.yaml:2", "Execution:Runtime/ReverseShell", "built in"}, "list", good)
	vedetteRules(t, 0, []string{`"type": "Custom:Runtime/Netcat"`, `"exec"`}, "list", good, "--output", "json")
	vedetteRules(t, 0, []string{"1 rules and 0 exceptions for all rules in 1 files: no mistakes"}, "lint", good)
	vedetteRules(t, 1, []string{"nc.yaml:5:", "rules[0].message: there is no field {process.arg}; did you mean process.args?", "1 mistakes in "}, "lint", bad)
	vedetteRules(t, 1, []string{"nc_test.yaml:3:", "tests[0].event: there is no such key; did you mean events?"}, "lint", torn)
	vedetteRules(t, 1, []string{"no-such-folder"}, "lint", filepath.Join(good, "no-such-folder"))
	vedetteRules(t, 2, []string{"no folder of rules is configured"}, "lint")

	vedetteRules(t, 0, []string{"2 tests passed"}, "test", good)
	vedetteRules(t, 1, []string{"FAIL  nc is found", "want nc with nc -e", "got  nc with nc -l", "1 of 2 tests failed"}, "test", wrong)
	vedetteRules(t, 1, []string{"did you mean process.args?"}, "test", bad)
	vedetteRules(t, 0, []string{"2 tests passed"}, "test", filepath.Join(good, "nc.yaml"))
	alone := rulesFolder(t, map[string]string{"nc.yaml": netcat})
	vedetteRules(t, 1, []string{"has no tests"}, "test", alone)
	vedetteRules(t, 1, []string{"has no tests"}, "test", filepath.Join(alone, "nc.yaml"))
}

func TestRulesExplain(t *testing.T) {
	dir := rulesFolder(t, map[string]string{
		"nc.yaml": netcat, "ls.json": `{"kind":"exec","process":{"executablePath":"/bin/ls"}}`, "nc.json": `{"kind":"exec","process":{"name":"nc","args":["nc","-l"]}}`,
		"bad.json": `{"kind":"exec","proces":{}}`, "type.json": `{"kind":"exec","process":{"pid":"x"}}`,
	})
	at := func(name string) string { return filepath.Join(dir, name) }
	vedetteRules(t, 0, []string{"no match  Custom:Runtime/Netcat", `process.name: want ["nc","ncat"]; the event has ls`, "This event alone makes no finding."}, "explain", at("ls.json"), "--rules", dir, "--rule", "Netcat")
	vedetteRules(t, 0, []string{"matches   Custom:Runtime/Netcat", "finding   Custom:Runtime/Netcat, severity 8", "nc with nc -l"}, "explain", at("nc.json"), "--rules", dir)
	vedetteRules(t, 0, []string{"no match  Execution:Runtime/NewBinaryExecuted", "process.executable.origin"}, "explain", at("ls.json"))
	vedetteRules(t, 1, []string{"proces"}, "explain", at("bad.json"))
	vedetteRules(t, 1, []string{"process.pid: want a whole number, got a string"}, "explain", at("type.json"))
	vedetteRules(t, 2, []string{"there is no rule Nope"}, "explain", at("nc.json"), "--rules", dir, "--rule", "Nope")
}

func TestRulesBacktest(t *testing.T) {
	dir := rulesFolder(t, map[string]string{
		"nc.yaml":   netcat,
		"rec.jsonl": `{"time":"2026-01-01T00:00:00Z","kind":"exec","process":{"name":"nc"}}` + "\n" + `{"kind":"exec","process":{"name":"ls"}}` + "\n\n" + `{"time":"2026-01-01T00:00:01Z","kind":"exec","process":{"name":"nc"}}` + "\n",
		"bad.jsonl": `{"kind":"exec","process":{"name":"nc"}}` + "\n{\n",
	})
	at := func(name string) string { return filepath.Join(dir, name) }

	var recorded bytes.Buffer
	w, err := recording.NewWriter(&recorded)
	if err != nil {
		t.Fatal(err)
	}
	batch := &event.Batch{AgentID: "a", Epoch: "e", Sequence: 1, Host: event.Host{ID: "h"}, Events: []event.Event{
		{Kind: event.KindExec, Time: 1e18, Count: 3, Process: &event.Process{Name: "ncat"}, Exec: &event.Exec{}},
		{Kind: event.KindExec, Time: 1e18, Count: 1, Process: &event.Process{Name: "ls"}, Exec: &event.Exec{}},
	}}
	text, err := event.NewEncoder().Encode(nil, batch)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(recording.Record{Time: time.Now(), AgentID: "a", Batch: text}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("day.rec"), recorded.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("torn.rec"), recorded.Bytes()[:recorded.Len()-1], 0o600); err != nil {
		t.Fatal(err)
	}

	vedetteRules(t, 0, []string{"Custom:Runtime/Netcat", "1 findings from 3 events"}, "backtest", at("nc.yaml"), at("rec.jsonl"))
	vedetteRules(t, 0, []string{`"count": 2`, `"eventLastSeen": "2026-01-01T00:00:01.000Z"`}, "backtest", at("nc.yaml"), at("rec.jsonl"), "--output", "json")
	vedetteRules(t, 1, []string{"bad.jsonl:2: "}, "backtest", at("nc.yaml"), at("bad.jsonl"))
	vedetteRules(t, 0, []string{"ncat with ?", "1 findings from 2 events"}, "backtest", at("nc.yaml"), at("day.rec"))
	vedetteRules(t, 0, []string{"not whole", "0 findings from 0 events"}, "backtest", at("nc.yaml"), at("torn.rec"))
	vedetteRules(t, 2, []string{"no folder of rules is configured"}, "backtest", "Netcat", at("rec.jsonl"))

	config := filepath.Join(t.TempDir(), "vedette.yml")
	if err := os.WriteFile(config, []byte("rules: "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vedetteRules(t, 0, []string{"1 findings from 3 events"}, "backtest", "Netcat", at("rec.jsonl"), "--config", config)
	vedetteRules(t, 2, []string{"Nope is neither a file nor the name of a rule"}, "backtest", "Nope", at("rec.jsonl"), "--config", config)
}
