package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	if actor() {
		return
	}
	os.Exit(build(m))
}

func build(m *testing.M) int {
	folder, err := os.MkdirTemp("", "vedette-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	os.Chmod(folder, 0o755) // a test runs the binary as another user
	binary = filepath.Join(folder, "vedette")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/vedette").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building vedette: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// privileged skips the test where it cannot run, or fails it where it must.
func privileged(t *testing.T, tools ...string) {
	t.Helper()
	missing := ""
	if os.Geteuid() != 0 {
		missing = "not root"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool + " is not installed"
		}
	}
	switch {
	case missing == "":
	case os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1":
		t.Fatalf("this test must run, but: %s", missing)
	default:
		t.Skip(missing)
	}
}

// process is a running vedette.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output *output
	ended  chan struct{}
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs vedette in the background; the test's end stops it.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), output: &output{}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop(os.Interrupt)
		if t.Failed() {
			t.Logf("output of vedette %s:\n%s", strings.Join(args, " "), p.output)
		}
	})
	return p
}

// stop signals the process and waits until it is gone.
func (p *process) stop(signal os.Signal) {
	p.t.Helper()
	p.cmd.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("vedette did not end 20 s after %v", signal)
	}
}

// run runs vedette to its end and returns its outputs and exit code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	code = exitCode(t, cmd, &out, &errs)
	return out.String(), errs.String(), code
}

func exitCode(t *testing.T, cmd *exec.Cmd, out, errs *bytes.Buffer) int {
	t.Helper()
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// server is a vedette server with a data folder of its own.
type server struct {
	*process
	t    *testing.T
	data string
	args []string
	env  []string // points the aws client at it
}

// serve starts `vedette up` or `vedette server` on free ports and waits until it answers.
func serve(t *testing.T, mode string, args ...string) *server {
	t.Helper()
	data := t.TempDir()
	all := append([]string{"--data", data, mode, "--listen", freeAddress(t), "--link", freeAddress(t)}, args...)
	s := &server{t: t, data: data, args: all}
	s.start()
	return s
}

// start starts the server, again if it ran before, with the same arguments.
func (s *server) start() {
	s.t.Helper()
	os.Remove(filepath.Join(s.data, "server.json"))
	s.process = start(s.t, nil, s.args...)
	var variables map[string]string
	eventually(s.t, 20*time.Second, "the server", func() error {
		select {
		case <-s.ended:
			return fmt.Errorf("it ended")
		default:
		}
		out, err := exec.Command(binary, "--data", s.data, "env", "--output", "json").Output()
		if err != nil {
			return err
		}
		if err := json.Unmarshal(out, &variables); err != nil {
			return err
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(variables["AWS_ENDPOINT_URL_SNS"], "http://"))
		if err == nil {
			c.Close()
		}
		return err
	})
	s.env = nil
	for name, value := range variables {
		s.env = append(s.env, name+"="+value)
	}
	s.env = append(s.env, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_MAX_ATTEMPTS=1")
}

// try runs the real aws client and returns its outputs and exit code.
func (s *server) try(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	var out, errs bytes.Buffer
	ctx, done := context.WithTimeout(context.Background(), 60*time.Second)
	defer done()
	cmd := exec.CommandContext(ctx, "aws", append(args, "--output", "json")...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, s.env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	code = exitCode(s.t, cmd, &out, &errs)
	return out.String(), errs.String(), code
}

// aws runs the real aws client, which must succeed, and decodes what it printed.
func (s *server) aws(args ...string) map[string]any {
	s.t.Helper()
	out, errs, code := s.try(args...)
	if code != 0 {
		s.t.Fatalf("aws %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	var v map[string]any
	if strings.TrimSpace(out) != "" {
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			s.t.Fatalf("aws %s printed no JSON: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return v
}

// detector returns the id of the one detector.
func (s *server) detector() string {
	s.t.Helper()
	ids, _ := s.aws("guardduty", "list-detectors")["DetectorIds"].([]any)
	if len(ids) != 1 {
		s.t.Fatalf("%d detectors, want 1", len(ids))
	}
	return ids[0].(string)
}

// mails returns the subjects and texts of the kept mails.
func (s *server) mails() []keptMail {
	s.t.Helper()
	out, err := exec.Command(binary, "--data", s.data, "mail", "--limit", "0", "--output", "json").Output()
	if err != nil {
		s.t.Fatalf("vedette mail: %v", err)
	}
	var list []keptMail
	if err := json.Unmarshal(out, &list); err != nil {
		s.t.Fatalf("vedette mail: %v", err)
	}
	for i := range list {
		out, err := exec.Command(binary, "--data", s.data, "mail", list[i].ID, "--output", "json").Output()
		if err != nil {
			s.t.Fatalf("vedette mail %s: %v", list[i].ID, err)
		}
		if err := json.Unmarshal(out, &list[i]); err != nil {
			s.t.Fatalf("vedette mail %s: %v", list[i].ID, err)
		}
	}
	return list
}

type keptMail struct{ ID, Subject, Text, HTML string }

// eventually repeats ask until it returns nil, or fails the test after the limit.
func eventually(t *testing.T, limit time.Duration, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// at returns the value at a path of names and indexes in decoded JSON, or nil.
func at(v any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			l, _ := v.([]any)
			if s >= len(l) {
				return nil
			}
			v = l[s]
		}
	}
	return v
}
