package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServerKilled kills the server (SIGKILL) while events flow from an agent, starts it again, and counts: each event is in
// the finding exactly once.
func TestServerKilled(t *testing.T) {
	privileged(t, "aws")
	s := serve(t, "server", "--no-docker")
	detector := s.aws("guardduty", "create-detector", "--enable", "--features", "Name=RUNTIME_MONITORING,Status=ENABLED")["DetectorId"].(string)
	list := filepath.Join(s.data, "lists", "list.txt")
	if err := os.WriteFile(list, []byte("203.0.113.77\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.aws("guardduty", "create-threat-intel-set", "--detector-id", detector, "--name", "kill", "--format", "TXT", "--location", "file://"+list, "--activate")
	link := ""
	for i, a := range s.args {
		if a == "--link" {
			link = "nats://" + s.args[i+1]
		}
	}
	token, err := exec.Command(binary, "--data", s.data, "token").Output()
	if err != nil {
		t.Fatal(err)
	}
	// A scope of its own: nothing else that this machine does is counted.
	scope := makeCgroup(t, "vedette-e2e-kill")
	agent := start(t, []string{"VEDETTE_ENROLMENT_TOKEN=" + strings.TrimSpace(string(token))},
		"agent", "--server", link, "--state", t.TempDir(), "--scope", scope.path, "--docker", "", "--heartbeat", "1s")
	eventually(t, 20*time.Second, "the agent", func() error {
		if !strings.Contains(agent.output.String(), "agent runs") {
			return fmt.Errorf("it does not run yet")
		}
		return nil
	})

	const times = 600
	attack := connects(t, scope, "203.0.113.77:443", times, 10*time.Millisecond) // 6 s
	time.Sleep(1500 * time.Millisecond)
	for range 2 {
		s.stop(syscall.SIGKILL)
		time.Sleep(500 * time.Millisecond)
		s.start()
		time.Sleep(time.Second)
	}
	if err := attack.Wait(); err != nil {
		t.Fatal(err)
	}
	count := func() float64 {
		ids, _ := s.aws("guardduty", "list-findings", "--detector-id", detector)["FindingIds"].([]any)
		total := 0.0
		for _, id := range ids {
			f := s.aws("guardduty", "get-findings", "--detector-id", detector, "--finding-ids", id.(string))
			if n, ok := at(f, "Findings", 0, "Service", "Count").(float64); ok {
				total += n
			}
		}
		return total
	}
	var seen float64
	eventually(t, 30*time.Second, "all events", func() error {
		if seen = count(); seen < times {
			return fmt.Errorf("%.0f of %d", seen, times)
		}
		return nil
	})
	time.Sleep(2 * time.Second) // a redelivery would come now
	if again := count(); again != seen || seen > times {
		t.Errorf("%d connections were counted as %.0f, then as %.0f", times, seen, again)
	}
}

// TestWithoutPrivileges checks that one clear line says what is missing.
func TestWithoutPrivileges(t *testing.T) {
	privileged(t)
	for _, args := range [][]string{{"demo", "--once"}, {"up"}, {"agent"}, {"simulate"}} {
		cmd := exec.Command(binary, append([]string{"--data", t.TempDir()}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		code := exitCode(t, cmd, &out, &errs)
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if code != 1 || len(lines) != 1 || !strings.Contains(lines[0], "root") {
			t.Errorf("vedette %s as nobody: exit code %d, %q", strings.Join(args, " "), code, errs.String())
		}
	}
}

// TestUsage checks that a user's mistake gets exit code 2 and a line that names it.
func TestUsage(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yml")
	if err := os.WriteFile(bad, []byte("server:\n  lisen: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ args, said string }{
		{"nosuch", "nosuch"},
		{"up --listen 8420", "server.listen"},
		{"--config " + bad + " server", "lisen"},
		{"events --kind dance --follow", "dance"},
		{"simulate No:Such/Type --list", "No:Such/Type"},
	} {
		_, errs, code := run(t, append([]string{"--data", t.TempDir()}, strings.Fields(test.args)...)...)
		if code != 2 || !strings.Contains(errs, test.said) {
			t.Errorf("vedette %s: exit code %d, %q", test.args, code, errs)
		}
	}
	for _, args := range []string{"findings", "coverage", "env", "mail", "events --follow"} {
		_, errs, code := run(t, append([]string{"--data", t.TempDir()}, strings.Fields(args)...)...)
		if code != 1 || !strings.Contains(errs, "no server has run") {
			t.Errorf("vedette %s without a server: exit code %d, %q", args, code, errs)
		}
	}
}

// cgroup is a cgroup v2 of a test's own.
type cgroup struct {
	path string   // in the hierarchy
	dir  *os.File // processes can be started in it
}

func makeCgroup(t *testing.T, name string) cgroup {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/unified/cgroup.procs"); err == nil {
		root += "/unified"
	}
	dir := filepath.Join(root, name)
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, 10*time.Second, "removing the cgroup", func() error { return os.Remove(dir) })
	})
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return cgroup{path: "/" + name, dir: f}
}
