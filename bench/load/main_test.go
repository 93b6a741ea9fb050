package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoops builds the program and runs every loop: in the test binary itself, fork(2) would copy the test runner.
func TestLoops(t *testing.T) {
	load := filepath.Join(t.TempDir(), "load")
	if out, err := exec.Command("go", "build", "-o", load, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	temporary := t.TempDir()
	for name := range loops {
		c := exec.Command(load, name, "50")
		c.Env = append(os.Environ(), "TMPDIR="+temporary)
		out, err := c.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), `{"wall":`) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, args := range [][]string{nil, {"exec"}, {"none", "1"}, {"exec", "0"}, {"exec", "x"}, {"exec", "1", "2"}} {
		if err := exec.Command(load, args...).Run(); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
