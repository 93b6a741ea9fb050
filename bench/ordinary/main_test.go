package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, args := range [][]string{{"--where", "moon"}, {"--output", "xml"}, {"--only", "("}, {"stray"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
	if o, err := parse([]string{"--short", "--only", "^git$"}); err != nil || !o.short || !o.only.MatchString("git") || o.only.MatchString("digit") {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestWorkloads checks the scripts without running them.
func TestWorkloads(t *testing.T) {
	all, err := workloads()
	if err != nil {
		t.Fatal(err)
	}
	short := 0
	for _, w := range all {
		if w.short {
			short++
		}
		check := exec.Command("sh", "-n")
		check.Stdin = strings.NewReader(w.script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", w.name, err, out)
		}
	}
	if len(all) < 20 || short < 10 {
		t.Errorf("%d workloads, %d of them short", len(all), short)
	}
}

func TestParseWorkload(t *testing.T) {
	w, err := parseWorkload("x", "#: where host container\n#: needs a b\n#: short\n# words\ntrue\n")
	if err != nil || len(w.where) != 2 || len(w.needs) != 2 || !w.short || w.operator {
		t.Errorf("%+v, %v", w, err)
	}
	for _, script := range []string{"true\n", "#: where moon\n", "#: where host host\n", "#: where host\n#: quick\n"} {
		if _, err := parseWorkload("x", script); err == nil {
			t.Errorf("%q was accepted", script)
		}
	}
	if missing := (workload{needs: []string{"sh", "no-such-tool"}}).missing(); missing != "no-such-tool" {
		t.Errorf("missing %q", missing)
	}
}

func TestVerdict(t *testing.T) {
	quiet := line{Workload: "git", Where: host, Seconds: 1800, Events: 5}
	for name, c := range map[string]struct {
		report report
		err    string
	}{
		"quiet":           {report{Lines: []line{quiet, {Workload: "redis", NotRun: "no redis"}}, Control: true}, ""},
		"nothing ran":     {report{Lines: []line{{Workload: "redis", NotRun: "no redis"}}, Control: true}, "no workload"},
		"finding":         {report{Lines: []line{{Workload: "git", Events: 1, Findings: []finding{{Type: "x"}}}}, Control: true}, "1 findings"},
		"failed":          {report{Lines: []line{{Workload: "git", Events: 1, Failed: "exit code 1"}}, Control: true}, "exit code 1"},
		"blind":           {report{Lines: []line{{Workload: "git"}}, Control: true}, "saw nothing"},
		"finds no attack": {report{Lines: []line{quiet}}, "attack at the end"},
	} {
		if err := c.report.verdict(); (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := perHour([]line{quiet, {Seconds: 1800, Findings: make([]finding, 3)}}); got != 3 {
		t.Errorf("%v findings an hour", got)
	}
	if got := perHour(nil); got != 0 {
		t.Errorf("%v findings an hour without work", got)
	}
	var out strings.Builder
	r := report{Lines: []line{{Workload: "git", Where: host, Events: 1, Findings: []finding{{Type: "A:B/C", Severity: 5, Process: "/bin/git"}}}}}
	if err := r.print(&out, "table"); err != nil || !strings.Contains(out.String(), "A:B/C, severity 5.0: /bin/git") {
		t.Errorf("%s, %v", &out, err)
	}
}
