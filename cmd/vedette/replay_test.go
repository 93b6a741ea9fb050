package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/event/recording"
)

// recordingOf writes a recording of batches of one agent.
func recordingOf(t *testing.T, batches ...[]event.Event) string {
	t.Helper()
	var b bytes.Buffer
	w, err := recording.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	e := event.NewEncoder()
	for i, events := range batches {
		data, err := e.Encode(nil, &event.Batch{AgentID: "a", Epoch: "e", Sequence: uint64(2*i + 1), Host: event.Host{ID: "h", Name: "host"}, Events: events})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(recording.Record{Time: time.Unix(1_700_000_100, 0), AgentID: "a", Batch: data}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "recording")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// attack is a reverse shell: a shell whose streams are a socket of the outside.
func attack() []event.Event {
	c := &event.Container{ID: strings.Repeat("ab", 32), Name: "web", Image: "shop/web:1", Runtime: "docker", Cluster: "host", StartedAt: 1_699_000_000e9}
	peer := event.Stdio{Kind: event.StdioSocket, Inode: 5, Local: netip.MustParseAddrPort("10.0.0.2:40000"), Remote: netip.MustParseAddrPort("198.51.100.7:4444")}
	server := &event.Process{PID: 100, UUID: event.UUID{1}, Name: "nginx", ExePath: "/usr/sbin/nginx", Args: []string{"nginx"}, IsContainer: true}
	shell := &event.Process{
		PID: 101, UUID: event.UUID{2}, Name: "sh", ExePath: "/bin/sh", Args: []string{"sh", "-i"}, Stdin: peer, Stdout: peer, Parent: server, ParentUUID: server.UUID,
		StartTime: 1_700_000_000e9,
	}
	return []event.Event{{Kind: event.KindExec, Time: 1_700_000_000e9, Count: 1, Process: shell, Container: c, Exec: &event.Exec{PreviousExe: "/usr/sbin/nginx"}}}
}

func vedette(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), append([]string{"--data", t.TempDir()}, args...), &o, &e)
	return code, o.String(), e.String()
}

func TestReplayFindsAgain(t *testing.T) {
	path := recordingOf(t, attack(), attack())
	code, out, errs := vedette(t, "replay", path)
	if code != 0 || !strings.Contains(out, "Execution:Runtime/ReverseShell") || !strings.Contains(out, "web") || !strings.Contains(errs, "events: 2, findings: ") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if !strings.Contains(errs, "missing from the recording: 1") {
		t.Errorf("the gap between batch 1 and 3 is not told of:\n%s", errs)
	}
	code, out, _ = vedette(t, "replay", path, "--output", "json")
	var f struct {
		Type    string
		Service struct {
			Count          int
			EventFirstSeen string
		}
	}
	for lines := json.NewDecoder(strings.NewReader(out)); f.Type != "Execution:Runtime/ReverseShell"; {
		if err := lines.Decode(&f); err != nil || code != 0 {
			t.Fatalf("exit %d, %v:\n%s", code, err, out)
		}
	}
	if f.Service.Count != 2 || !strings.HasPrefix(f.Service.EventFirstSeen, "2023-11-14T22:13:20") {
		t.Errorf("got %+v", f)
	}
}

func TestReplayShowsEvents(t *testing.T) {
	path := recordingOf(t, attack())
	if code, out, _ := vedette(t, "replay", path, "--events", "--kind", "exec"); code != 0 || !strings.Contains(out, "sh -i") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out, _ := vedette(t, "replay", path, "--events", "--kind", "dns"); code != 0 || out != "" {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestReplayAsksLists(t *testing.T) {
	c := attack()[0].Container
	p := &event.Process{PID: 200, UUID: event.UUID{3}, Name: "curl", ExePath: "/usr/bin/curl"}
	path := recordingOf(t, []event.Event{{
		Kind: event.KindConnect, Time: 1_700_000_000e9, Count: 1, Process: p, Container: c,
		Connect: &event.Socket{Family: 2, Type: 1, Protocol: 6, Remote: netip.MustParseAddrPort("203.0.113.66:443")},
	}})
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("203.0.113.66\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := vedette(t, "replay", path); code != 0 || out != "" {
		t.Errorf("without the list: exit %d\n%s", code, out)
	}
	code, out, errs := vedette(t, "replay", path, "--list", "command-and-control="+list)
	if code != 0 || !strings.Contains(out, "Backdoor:Runtime/C&CActivity.B ") {
		t.Errorf("with the list: exit %d\n%s%s", code, out, errs)
	}
	if code, _, errs := vedette(t, "replay", path, "--list", "bad="+list); code != exitUsage || !strings.Contains(errs, "tor-relay") {
		t.Errorf("an unknown category: exit %d\n%s", code, errs)
	}
}

func TestReplayMistakes(t *testing.T) {
	good := recordingOf(t, attack())
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(t.TempDir(), "torn")
	if err := os.WriteFile(torn, append(text, "rest"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no file", []string{"replay", "/nonexistent"}, exitFailure, "no such file"},
		{"another file", []string{"replay", "replay_test.go"}, exitFailure, "not a recording"},
		{"unknown kind", []string{"replay", good, "--events", "--kind", "x"}, exitUsage, `"x"`},
		{"no rules", []string{"replay", good, "--rules", "/nonexistent"}, exitFailure, "/nonexistent"},
		{"record over a file", []string{"record", good}, exitFailure, "no server has run"},
	} {
		if code, _, errs := vedette(t, test.args...); code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%s: exit %d, want %d with %q:\n%s", test.name, code, test.code, test.want, errs)
		}
	}
	// What came before the damage is shown, and the damage told.
	code, out, errs := vedette(t, "replay", torn)
	if code != exitFailure || !strings.Contains(out, "ReverseShell") || !strings.Contains(errs, "ends within record 2") {
		t.Errorf("torn: exit %d\n%s%s", code, out, errs)
	}
}
