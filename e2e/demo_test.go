package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemo runs the README's first command in both ways to make containers, and looks for anything it left behind.
func TestDemo(t *testing.T) {
	for _, runtime := range []string{"docker", "native"} {
		t.Run(runtime, func(t *testing.T) {
			privileged(t, "docker", "bpftool")
			before := leftovers(t)
			temporary := t.TempDir()
			cmd := exec.Command(binary, "demo", "--once", "--runtime", runtime)
			cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if code := exitCode(t, cmd, &out, &errs); code != 0 {
				t.Fatalf("exit code %d\n%s\n%s", code, out.String(), errs.String())
			}
			for _, said := range []string{
				"$ aws guardduty create-detector", "confirmed through the link in the mail", "is HEALTHY",
				"finding Backdoor:Runtime/C&CActivity.B,", "finding PrivilegeEscalation:Runtime/DockerSocketAccessed,",
				"finding Execution:Runtime/NewBinaryExecuted,", "finding Execution:Runtime/ReverseShell,",
				"finding Backdoor:Runtime/C&CActivity.B!DNS,", "finding DefenseEvasion:Runtime/ProcessInjection.Ptrace,",
				"time from system call to mail", "UNHEALTHY: Agent not reporting", "UNHEALTHY: Agent exited:ExitCode: 137",
				"$ aws guardduty create-sample-findings", "All 6 steps really happened",
			} {
				if !strings.Contains(out.String(), said) {
					t.Errorf("the story does not say %q:\n%s", said, out.String())
				}
			}
			after := leftovers(t)
			for what, list := range after {
				for _, entry := range list {
					if !contains(before[what], entry) {
						t.Errorf("the demo left a %s behind: %s", what, entry)
					}
				}
			}
			if entries, _ := os.ReadDir(temporary); len(entries) > 0 {
				t.Errorf("the demo left %s in the temporary folder", entries[0].Name())
			}
		})
	}
}

// leftovers lists what a demo could forget, of everything that is on the machine.
func leftovers(t *testing.T) map[string][]string {
	t.Helper()
	lines := func(name string, args ...string) []string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	found := map[string][]string{
		"container": lines("docker", "ps", "-aq"),
		"image":     lines("docker", "images", "-q"),
		"namespace": lines("ip", "netns", "list"),
	}
	for _, line := range lines("bpftool", "-j", "prog", "show") {
		for _, part := range strings.Split(line, "},{") {
			if i := strings.Index(part, `"id":`); i >= 0 {
				found["BPF program"] = append(found["BPF program"], part[i:min(len(part), i+80)])
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, "vedette") {
			found["mount"] = append(found["mount"], line)
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), "vedette") {
			found["cgroup"] = append(found["cgroup"], path)
		}
		return nil
	})
	processes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range processes {
		if target, err := os.Readlink(exe); err == nil && strings.HasPrefix(target, binary) {
			found["process"] = append(found["process"], exe+" "+target)
		}
	}
	return found
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
