package actor

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAskHidesTheCommand(t *testing.T) {
	args := Ask([]string{"sh", "-c", "iptables -F"})
	if len(args) != 3 || args[0] != Argument || strings.Contains(strings.Join(args, " "), "iptables") {
		t.Fatalf("arguments %q", args)
	}
	line, err := hex.DecodeString(args[2])
	if err != nil {
		t.Fatal(err)
	}
	if a, err := parseAsked(line); err != nil || len(a.Argv) != 3 || a.Argv[2] != "iptables -F" {
		t.Errorf("decoded %v, %v", a, err)
	}
}

// tell sends a command line to a control socket and returns the answer.
func tell(t *testing.T, line string) told {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control")
	l, err := serveControl(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
	var answer told
	if err := json.NewDecoder(c).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestControl starts commands in this test's own process: they are harmless.
func TestControl(t *testing.T) {
	for name, c := range map[string]struct {
		line, output, err string
		code              int
	}{
		"output and code": {line: `{"argv":["sh","-c","echo out; echo err >&2; exit 3"]}`, output: "out\nerr\n", code: 3},
		"signal":          {line: `{"argv":["sh","-c","kill -9 $$"]}`, code: 137},
		"child lingers":   {line: `{"argv":["sh","-c","sleep 3 & echo out"]}`, output: "out\n"},
		"missing":         {line: `{"argv":["no-such-command"]}`, err: "not found", code: 127},
		"no command":      {line: `{"argv":[]}`, err: "no command"},
		"damaged":         {line: `{`, err: "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tell(t, c.line)
			calls := ParseCalls(got.Output)
			_, output, _ := strings.Cut(string(got.Output), "}\n")
			if output != c.output || got.Code != c.code || !strings.Contains(got.Error, c.err) || (got.Error == "") != (c.err == "") {
				t.Errorf("answer %d, %q, %q", got.Code, got.Output, got.Error)
			}
			if c.err == "" && (len(calls) != 1 || calls[0].Name != "execve" || !strings.HasSuffix(calls[0].Object, "/sh") || calls[0].PID == os.Getpid()) {
				t.Errorf("calls %+v", calls)
			}
		})
	}
}

// TestControlKillsWhatNobodyWaitsFor closes the connection while the command runs.
func TestControlKillsWhatNobodyWaitsFor(t *testing.T) {
	folder := t.TempDir()
	l, err := serveControl(filepath.Join(folder, "control"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", filepath.Join(folder, "control"))
	if err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(folder, "pid")
	if _, err := io.WriteString(c, `{"argv":["sh","-c","echo $$ > `+pidFile+`.part; mv `+pidFile+`.part `+pidFile+`; exec sleep 60"]}`+"\n"); err != nil {
		t.Fatal(err)
	}
	var pid int
	for deadline := time.Now().Add(10 * time.Second); pid == 0; time.Sleep(2 * time.Millisecond) {
		if text, err := os.ReadFile(pidFile); err == nil {
			if err := json.Unmarshal(text, &pid); err != nil {
				t.Fatal(err)
			}
		} else if time.Now().After(deadline) {
			t.Fatal("the command does not start")
		}
	}
	c.Close()
	for deadline := time.Now().Add(10 * time.Second); unix.Kill(pid, 0) == nil; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			unix.Kill(pid, unix.SIGKILL)
			t.Fatal("the command still runs")
		}
	}
}

func FuzzParseAsked(f *testing.F) {
	f.Add([]byte(`{"argv":["true"]}`))
	f.Add([]byte(`{"argv":[""]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if a, err := parseAsked(line); err == nil && (len(a.Argv) == 0 || a.Argv[0] == "") {
			t.Errorf("command %q", a.Argv)
		}
	})
}
