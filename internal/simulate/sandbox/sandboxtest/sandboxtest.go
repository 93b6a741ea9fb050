// Package sandboxtest is the contract that every adapter of package sandbox must pass.
package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"vedette.dev/vedette/internal/simulate/rootfs"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// Unavailable skips the test, or fails it where the tests must not skip.
func Unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Files plans the image once.
func Files(t *testing.T) *rootfs.Image {
	t.Helper()
	files, err := rootfs.Plan()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Run checks the runtimes that open returns, one for each test.
func Run(t *testing.T, open func(t *testing.T) sandbox.Runtime) {
	tests := map[string]func(*testing.T, sandbox.Runtime){
		"identity": identity, "isolation": isolation, "exec": exec, "exec ends with its context": execContext,
		"environment and arguments": environment, "mounts": mounts, "addresses": addresses, "capabilities": capabilities,
		"first process ends": firstProcessEnds, "stop": stop, "kill": kill, "remove": remove, "close removes all": closeRemoves,
		"bad specifications": badSpecs, "cleanup leaves the living alone": cleanupLiving, "many at once": manyAtOnce,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := open(t)
			t.Cleanup(func() {
				if err := r.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
			})
			test(t, r)
		})
	}
}

// forever is a first process that ends only by a signal, at once by SIGTERM.
var forever = []string{"sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"}

func start(t *testing.T, r sandbox.Runtime, spec sandbox.Spec) sandbox.Container {
	t.Helper()
	if spec.Command == nil {
		spec.Command = forever
	}
	c, err := r.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sh(t *testing.T, c sandbox.Container, script string) string {
	t.Helper()
	got, err := c.Exec(t.Context(), "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	if got.ExitCode != 0 {
		t.Errorf("%s: exit code %d: %s", script, got.ExitCode, got.Output)
	}
	return strings.TrimSpace(string(got.Output))
}

var hexID = regexp.MustCompile(`^[0-9a-f]{64}$`)

func identity(t *testing.T, r sandbox.Runtime) {
	before := time.Now().Add(-time.Second)
	c := start(t, r, sandbox.Spec{Name: "who", Labels: map[string]string{"com.example": "x"}})
	i := c.Info()
	if !hexID.MatchString(i.ID) {
		t.Errorf("id %q is not 64 hex digits", i.ID)
	}
	if i.Name != sandbox.NamePrefix+"who" || i.Runtime != r.Name() || i.Image == "" || i.ImageID == "" || i.Labels["com.example"] != "x" {
		t.Errorf("info %+v", i)
	}
	if i.StartedAt.Before(before) || i.StartedAt.After(time.Now().Add(time.Second)) {
		t.Errorf("started at %v", i.StartedAt)
	}
	if !strings.Contains(i.CgroupPath, i.ID) {
		t.Errorf("cgroup %q does not hold the id", i.CgroupPath)
	}
	// The first process, and a further one, are in that cgroup.
	membership, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", i.InitPID))
	if err != nil || !strings.Contains(string(membership), "0::"+i.CgroupPath+"\n") {
		t.Errorf("the first process is in %q, not in %s (%v)", membership, i.CgroupPath, err)
	}
	if got := sh(t, c, "cat /proc/self/cgroup"); !strings.Contains(got+"\n", "0::"+i.CgroupPath+"\n") && !strings.Contains(got, "0::/") {
		t.Errorf("a command is in %q", got)
	}
	if _, err := r.Run(t.Context(), sandbox.Spec{Name: "who", Command: forever}); err == nil {
		t.Error("a second container got the same name")
	}
}

func isolation(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "alone"})
	for _, ns := range []string{"mnt", "pid", "uts", "ipc", "net"} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.Info().InitPID, ns))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		if theirs == ours {
			t.Errorf("the %s namespace is the host's", ns)
		}
		if inside := sh(t, c, "ls -l /proc/self/ns/"+ns); !strings.HasSuffix(inside, theirs) {
			t.Errorf("a command has the %s namespace %q, not %q", ns, inside, theirs)
		}
	}
	if got := sh(t, c, "cat /etc/hostname"); !strings.HasPrefix(got, sandbox.NamePrefix) {
		t.Errorf("host name %q", got)
	}
	// Nothing of the host's root shows, and what is written inside stays inside.
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Exec(t.Context(), "sh", "-c", "test -e "+secret); err != nil || got.ExitCode == 0 {
		t.Errorf("a file of the host is visible inside (%v, %v)", got, err)
	}
	sh(t, c, "echo x >/vedette-sim-was-here")
	if _, err := os.Stat("/vedette-sim-was-here"); err == nil {
		t.Error("a file written inside shows on the host")
	}
	other := start(t, r, sandbox.Spec{Name: "alone2"})
	if got, err := other.Exec(t.Context(), "sh", "-c", "test -e /vedette-sim-was-here"); err != nil || got.ExitCode == 0 {
		t.Errorf("a file written in one container shows in another (%v)", err)
	}
	// The only way out of the network is the loopback interface.
	if got := sh(t, c, "cat /proc/net/dev"); strings.Count(got, ":") != 1 || !strings.Contains(got, "lo:") {
		t.Errorf("network interfaces: %s", got)
	}
}

func exec(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "exec"})
	got, err := c.Exec(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 42")
	if err != nil {
		t.Fatal(err)
	}
	if out := string(got.Output); got.ExitCode != 42 || !strings.Contains(out, "out\n") || !strings.Contains(out, "err\n") {
		t.Errorf("result %d %q", got.ExitCode, got.Output)
	}
	if got, err := c.Exec(t.Context(), "sh", "-c", "kill -9 $$"); err != nil || got.ExitCode != 137 {
		t.Errorf("killed command: %d, %v", got.ExitCode, err)
	}
	if _, err := c.Exec(t.Context(), "no-such-command"); err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("a missing command: %v", err)
	}
	if _, err := c.Exec(t.Context()); err == nil {
		t.Error("no command was accepted")
	}
	got, err = c.Exec(t.Context(), "sh", "-c", "i=0; while [ $i -lt 1200 ]; do echo "+strings.Repeat("x", 1023)+"; i=$((i+1)); done")
	if err != nil || len(got.Output) != sandbox.MaxOutput || !got.Cut {
		t.Errorf("%d bytes of output kept, cut %v, %v", len(got.Output), got.Cut, err)
	}
}

func execContext(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "exec-context"})
	// The shorter ones end while the command is being started.
	for _, patience := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := c.Exec(ctx, "sleep", "61.25"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: error %v", patience, err)
		}
	}
	// The command is gone, and the container still usable.
	const find = `for p in /proc/[0-9]*; do case "$(cat $p/cmdline 2>/dev/null)" in sleep61.25) echo $p;; esac; done`
	for deadline := time.Now().Add(10 * time.Second); sh(t, c, find) != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the command still runs")
		}
	}
}

func environment(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "env", Env: []string{"A=b c", "EMPTY="}})
	if got := sh(t, c, `echo "$A:${EMPTY-unset}:$PATH"`); got != "b c::/usr/local/bin:/usr/bin:/bin" {
		t.Errorf("environment %q", got)
	}
	if got, err := c.Exec(t.Context(), "sh", "-c", `printf '<%s>' "$@"`, "sh", "two words", "", "a\nb", "*"); err != nil || string(got.Output) != "<two words><><a\nb><*>" {
		t.Errorf("arguments %q %v", got.Output, err)
	}
}

func mounts(t *testing.T, r sandbox.Runtime) {
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "file"), []byte("from host"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := start(t, r, sandbox.Spec{Name: "mounts", Mounts: []sandbox.Mount{
		{Source: host, Target: "/mnt/rw"}, {Source: host, Target: "/mnt/ro", ReadOnly: true},
		{Source: filepath.Join(host, "file"), Target: "/var/run/deep/file"},
	}})
	if got := sh(t, c, "cat /mnt/rw/file /mnt/ro/file /run/deep/file; echo inside >/mnt/rw/new"); got != strings.Repeat("from host", 3) {
		t.Errorf("content %q", got)
	}
	if got, err := os.ReadFile(filepath.Join(host, "new")); err != nil || string(got) != "inside\n" {
		t.Errorf("written %q, %v", got, err)
	}
	if got, err := c.Exec(t.Context(), "sh", "-c", "echo no >/mnt/ro/new"); err != nil || got.ExitCode == 0 {
		t.Errorf("a read-only mount was written to (%v)", err)
	}
}

func addresses(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{
		Name: "net",
		Addresses: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::c2/128"),
		},
		Nameservers: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	})
	table := sh(t, c, "cat /proc/net/fib_trie /proc/net/if_inet6")
	for _, want := range []string{"192.0.2.7", "198.51.100.0", "20010db80000000000000000000000c2", "127.0.0.1"} {
		if !strings.Contains(table, want) {
			t.Errorf("%s is not bound: %s", want, table)
		}
	}
	if got := sh(t, c, "cat /etc/resolv.conf"); !strings.Contains(got, "nameserver 127.0.0.1") {
		t.Errorf("resolv.conf: %s", got)
	}
}

func capabilities(t *testing.T, r sandbox.Runtime) {
	read := func(c sandbox.Container, file string) string {
		for line := range strings.Lines(sh(t, c, "cat "+file)) {
			if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
				return strings.TrimSpace(v)
			}
		}
		t.Fatal("no CapEff line")
		return ""
	}
	plain := start(t, r, sandbox.Spec{Name: "plain"})
	for _, file := range []string{"/proc/1/status", "/proc/self/status"} {
		if got := read(plain, file); got != "00000000a80425fb" {
			t.Errorf("%s of an ordinary container: capabilities %s", file, got)
		}
	}
	privileged, err := r.Run(t.Context(), sandbox.Spec{Name: "privileged", Privileged: true, Command: forever})
	if err != nil && !fullyCapable(t) {
		t.Logf("no privileged container, because this process itself lacks capabilities: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/proc/1/status", "/proc/self/status"} {
		if got := read(privileged, file); got == "00000000a80425fb" || strings.Trim(got, "0") == "" {
			t.Errorf("%s of a privileged container: capabilities %s", file, got)
		}
	}
	if !privileged.Info().Privileged {
		t.Error("info does not say that it is privileged")
	}
}

// fullyCapable reports whether this process has every capability the kernel knows; an engine can give away only what the
// machine has.
func fullyCapable(t *testing.T) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(status), fmt.Sprintf("CapBnd:\t%016x", uint64(1)<<(n+1)-1))
}

func firstProcessEnds(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "short", Command: []string{"sh", "-c", "sleep 0.2; exit 3"}})
	for range 2 {
		if code, err := c.Wait(t.Context()); err != nil || code != 3 {
			t.Errorf("exit code %d, %v", code, err)
		}
	}
	if _, err := c.Exec(t.Context(), "true"); err == nil {
		t.Error("a command ran in a container that had ended")
	}
	for what, do := range map[string]func(context.Context) error{"kill": c.Kill, "remove": c.Remove} {
		if err := do(t.Context()); err != nil {
			t.Errorf("%s after the end: %v", what, err)
		}
	}
}

func stop(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "polite"})
	// The shell must have set its trap, or the signal finds the default, which a first process ignores.
	for caught := uint64(0); caught&(1<<14) == 0; time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(sh(t, c, "cat /proc/1/status")) {
			if mask, ok := strings.CutPrefix(line, "SigCgt:"); ok {
				caught, _ = strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			}
		}
	}
	if err := c.Stop(t.Context(), 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if code, err := c.Wait(t.Context()); err != nil || code != 7 {
		t.Errorf("a stopped container: exit code %d, %v", code, err)
	}
	stubborn := start(t, r, sandbox.Spec{Name: "stubborn", Command: []string{"sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"}})
	if err := stubborn.Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if code, err := stubborn.Wait(t.Context()); err != nil || code != 137 {
		t.Errorf("a stubborn container: exit code %d, %v", code, err)
	}
}

func kill(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "killed"})
	sh(t, c, "sleep 600 >/dev/null 2>&1 & :")
	if err := c.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, err := c.Wait(t.Context()); err != nil || code != 137 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", c.Info().InitPID)); err == nil {
		t.Error("the first process is still there")
	}
}

func remove(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "removed"})
	for range 2 {
		if err := c.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if code, err := c.Wait(t.Context()); err != nil || code != 137 {
		t.Errorf("exit code after removal %d, %v", code, err)
	}
	start(t, r, sandbox.Spec{Name: "removed"}) // The name is free again.
}

func closeRemoves(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "last"})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", c.Info().InitPID)); err == nil {
		t.Error("the first process is still there")
	}
	if _, err := r.Run(t.Context(), sandbox.Spec{Command: forever}); err == nil {
		t.Error("a closed runtime made a container")
	}
}

func badSpecs(t *testing.T, r sandbox.Runtime) {
	for name, spec := range map[string]sandbox.Spec{
		"no command":       {},
		"missing command":  {Command: []string{"no-such-command"}},
		"no executable":    {Command: []string{"/etc/passwd"}},
		"bad name":         {Name: "a/b", Command: forever},
		"bad environment":  {Env: []string{"novalue"}, Command: forever},
		"NUL":              {Command: []string{"sh", "-c", "a\x00b"}},
		"relative mount":   {Mounts: []sandbox.Mount{{Source: "tmp", Target: "/x"}}, Command: forever},
		"mount on root":    {Mounts: []sandbox.Mount{{Source: "/tmp", Target: "/x/.."}}, Command: forever},
		"missing source":   {Mounts: []sandbox.Mount{{Source: "/no/such/folder", Target: "/x"}}, Command: forever},
		"missing image":    {Image: "vedette-sim-no-such-image:none", Command: forever},
		"invalid address":  {Addresses: []netip.Prefix{{}}, Command: forever},
		"too many of them": {Addresses: make([]netip.Prefix, sandbox.MaxAddresses+1), Command: forever},
	} {
		if c, err := r.Run(t.Context(), spec); err == nil {
			t.Errorf("%s: made %s", name, c.Info().Name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Run(ctx, sandbox.Spec{Command: forever}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
}

func cleanupLiving(t *testing.T, r sandbox.Runtime) {
	c := start(t, r, sandbox.Spec{Name: "living"})
	if err := r.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh(t, c, "true")
}

func manyAtOnce(t *testing.T, r sandbox.Runtime) {
	const n = 4
	failed := make(chan error, n)
	for i := range n {
		go func() {
			c, err := r.Run(t.Context(), sandbox.Spec{Command: forever})
			if err != nil {
				failed <- err
				return
			}
			want := fmt.Sprint("number ", i)
			got, err := c.Exec(t.Context(), "sh", "-c", "echo "+want)
			if err == nil && string(got.Output) != want+"\n" {
				err = fmt.Errorf("output %q", got.Output)
			}
			failed <- errors.Join(err, c.Remove(t.Context()))
		}()
	}
	for range n {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
