package simulate_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/docker"
	"vedette.dev/vedette/internal/simulate/sandbox"
	"vedette.dev/vedette/internal/simulate/sandbox/sandboxtest"
)

// makerVariable makes this test binary a process that makes a container and waits to be killed; its value is the runtime's
// name and the state folder.
const makerVariable = "VEDETTE_TEST_MAKER"

func maybeMaker() {
	value := os.Getenv(makerVariable)
	if value == "" {
		return
	}
	name, state, _ := strings.Cut(value, ":")
	r, err := simulate.Open(context.Background(), simulate.Options{Runtime: name, StateDir: state})
	if err == nil {
		var c sandbox.Container
		if c, err = r.Run(context.Background(), sandbox.Spec{Command: []string{"sleep", "600"}}); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(c.Info())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {} // The test kills this process.
}

// TestKilledMakerLeavesNothing kills a process that made a container, in the one way that lets it clean nothing up.
func TestKilledMakerLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Unavailable(t, "making containers needs root")
	}
	for _, name := range []string{"docker", "native"} {
		t.Run(name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			options := simulate.Options{Runtime: name, StateDir: state}
			living, err := simulate.Open(t.Context(), options)
			if err != nil {
				sandboxtest.Unavailable(t, err.Error())
			}
			t.Cleanup(func() {
				if err := living.Close(); err != nil {
					t.Error(err)
				}
			})
			mine, err := living.Run(t.Context(), sandbox.Spec{Command: []string{"sleep", "600"}})
			if err != nil {
				t.Fatal(err)
			}
			info, owner := killedMaker(t, name+":"+state)
			if name == "native" {
				waitGone(t, info.InitPID)
			}
			if err := living.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			waitGone(t, info.InitPID)
			for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				if _, err := os.Stat(mount + info.CgroupPath); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the dead maker's cgroup is still there (%v)", err)
				}
			}
			if folders, err := filepath.Glob(filepath.Join(state, owner+".*")); err != nil || len(folders) > 0 {
				t.Errorf("the dead maker's folders are still there: %v, %v", folders, err)
			}
			if name == "docker" {
				noImage(t, docker.Image+":"+strings.ReplaceAll(owner, ":", "-"))
			}
			if got, err := mine.Exec(t.Context(), "true"); err != nil || got.ExitCode != 0 {
				t.Errorf("the living process's container was touched: %v, %v", got, err)
			}
		})
	}
}

// killedMaker runs a maker, kills it once it has made its container, and returns that and the maker's mark.
func killedMaker(t *testing.T, value string) (sandbox.Info, string) {
	t.Helper()
	maker := exec.Command("/proc/self/exe")
	maker.Env = append(os.Environ(), makerVariable+"="+value)
	maker.Stderr = os.Stderr
	out, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	var info sandbox.Info
	err = json.NewDecoder(bufio.NewReader(out)).Decode(&info)
	start, statErr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", maker.Process.Pid))
	maker.Process.Kill()
	maker.Wait()
	if err = errors.Join(err, statErr); err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(start[strings.LastIndexByte(string(start), ')')+1:]))
	return info, fmt.Sprintf("%d:%s", maker.Process.Pid, fields[19])
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err := unix.Kill(pid, 0); err == unix.ESRCH {
			return
		}
	}
	t.Errorf("process %d of the dead maker's container still runs", pid)
}

func noImage(t *testing.T, image string) {
	t.Helper()
	engine, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	if _, err := engine.ImageInspect(t.Context(), image); err == nil {
		t.Errorf("image %s is still there", image)
	}
}

// TestHostIsAsBefore compares what could be left on the host before and after a native runtime's whole life.
func TestHostIsAsBefore(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Unavailable(t, "making containers needs root")
	}
	state := filepath.Join(t.TempDir(), "state")
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	r, err := simulate.Open(t.Context(), simulate.Options{Runtime: "native", StateDir: state})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Run(t.Context(), sandbox.Spec{Command: []string{"sleep", "600"}})
	if err != nil {
		t.Fatal(err)
	}
	during, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	// Other processes may mount things in the meantime; ours carry the state folder's name.
	if strings.Contains(string(during), state) && !strings.Contains(string(before), state) {
		t.Errorf("a mount of the container shows on the host:\n%s", during)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state folder is still there (%v)", err)
	}
	waitGone(t, c.Info().InitPID)
}
