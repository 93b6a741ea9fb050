// Package sandbox is the port through which Vedette makes containers of its own for the demo, `vedette simulate` and the
// tests. The adapters are the sibling folders docker (an engine on this machine) and native (namespaces and a cgroup made
// without any engine).
//
// In go the specification of a container and commands to run in it; out come the identity that the agent needs (id, cgroup,
// first process) and the results of the commands. A Runtime and its Containers are safe for concurrent use. Everything that
// a Runtime makes is marked as Vedette's, disappears with [Runtime.Close], and can be removed by [Runtime.Cleanup] of a
// later process when the maker died before. It never touches a container that it did not make, and never pulls an image.
package sandbox

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"time"
)

// NamePrefix starts the name of every container that Vedette makes.
const NamePrefix = "vedette-sim-"

// Label is on everything made in an engine that has labels; its value is the pid of the process that made it, a colon and
// that process's start time, so that a living maker's things are told from a dead one's.
const Label = "dev.vedette.simulate"

// Spec is what to make.
type Spec struct {
	Name       string            // NamePrefix is put in front where it is missing; "" takes a random name
	Image      string            // must be an image that Runtime.Image knows; "" takes the simulation image
	Command    []string          // argv of the first process; the first element is looked up in PATH
	Env        []string          // NAME=value, added to the image's
	Labels     map[string]string // as an orchestrator would set them
	Mounts     []Mount
	Privileged bool
	Tmpfs      []string // folders on memory file systems of their own, from which programs may be executed
	// Addresses are bound to the loopback interface of the container's own network, which reaches nothing else: a
	// connection to them is answered inside the container or refused. They are bound when Run returns, but the first process
	// may start before. At most MaxAddresses.
	Addresses []netip.Prefix
	// Nameservers are written to /etc/resolv.conf.
	Nameservers []netip.Addr
}

// MaxAddresses bounds Spec.Addresses.
const MaxAddresses = 16

// Mount is a file or folder of the host shown in the container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Info identifies a running container.
type Info struct {
	ID         string // 64 hex digits
	Name       string
	Image      string
	ImageID    string
	Runtime    string // docker or native
	CgroupPath string // in the v2 hierarchy, from its root, for instance /docker/<id>; the scope of an agent of its own
	InitPID    int    // the first process, in the pid namespace of the caller
	Privileged bool
	StartedAt  time.Time
	Labels     map[string]string
	Mounts     []Mount
}

// Result is how a command ended.
type Result struct {
	ExitCode int    // 128 + n when signal n ended it
	Output   []byte // standard output and error in the order they were written, cut at MaxOutput
	Cut      bool
}

// MaxOutput bounds what is kept of the output of a command.
const MaxOutput = 1 << 20

// Runtime makes containers.
type Runtime interface {
	// Name is the adapter's name: docker or native.
	Name() string
	// Run makes a container and returns when its first process runs. The container outlives ctx, which bounds only the
	// making; nothing is left behind when Run fails.
	Run(ctx context.Context, spec Spec) (Container, error)
	// Cleanup removes what dead processes left behind. It does not touch what living ones made.
	Cleanup(ctx context.Context) error
	// Close removes everything this Runtime made. It is safe to call twice.
	Close() error
}

// Container is one container.
type Container interface {
	Info() Info
	// Exec runs a command in the container as a further process and waits for it. When ctx ends first, the command is
	// killed where the runtime can do that and ctx's error is returned. The exit code is no error.
	Exec(ctx context.Context, argv ...string) (Result, error)
	// Stop asks the first process to end (SIGTERM), kills it after grace, and returns when it has ended.
	Stop(ctx context.Context, grace time.Duration) error
	// Kill ends every process of the container at once (SIGKILL) and returns when the first one has ended.
	Kill(ctx context.Context) error
	// Wait returns the exit code of the first process once it has ended (128 + n for signal n). Output is not kept.
	Wait(ctx context.Context) (int, error)
	// Remove kills what still runs and removes the container and everything it had. It is safe to call twice.
	Remove(ctx context.Context) error
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

// Validate checks a specification and returns it with its name completed; random is the name's end where none is given.
func (s Spec) Validate(random string) (Spec, error) {
	if s.Name == "" {
		s.Name = random
	}
	if !strings.HasPrefix(s.Name, NamePrefix) {
		s.Name = NamePrefix + s.Name
	}
	if !validName.MatchString(s.Name) {
		return s, fmt.Errorf("container name %q: only letters, digits, '_', '.' and '-', at most 128", s.Name)
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return s, fmt.Errorf("container %s: no command", s.Name)
	}
	for _, e := range s.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return s, fmt.Errorf("container %s: environment %q is not NAME=value", s.Name, e)
		}
	}
	for _, text := range append(append([]string(nil), s.Command...), s.Env...) {
		if strings.ContainsRune(text, 0) {
			return s, fmt.Errorf("container %s: an argument or variable holds a NUL byte", s.Name)
		}
	}
	for _, m := range s.Mounts {
		if !path.IsAbs(m.Source) || !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" || strings.Contains(m.Source+m.Target, ":") {
			return s, fmt.Errorf("container %s: mount %q on %q: both must be absolute, the target not the root, without colons", s.Name, m.Source, m.Target)
		}
	}
	for _, folder := range s.Tmpfs {
		if !path.IsAbs(folder) || path.Clean(folder) == "/" {
			return s, fmt.Errorf("container %s: memory file system on %q: must be absolute and not the root", s.Name, folder)
		}
	}
	if len(s.Addresses) > MaxAddresses {
		return s, fmt.Errorf("container %s: %d addresses, at most %d", s.Name, len(s.Addresses), MaxAddresses)
	}
	for _, a := range s.Addresses {
		if !a.IsValid() || a.Addr().Zone() != "" {
			return s, fmt.Errorf("container %s: address %v is not valid", s.Name, a)
		}
	}
	return s, nil
}

// BoundedOutput is an io.Writer that keeps the first MaxOutput bytes. It is not safe for concurrent use.
type BoundedOutput struct {
	data []byte
	cut  bool
}

// Write keeps what still fits and never fails.
func (b *BoundedOutput) Write(p []byte) (int, error) {
	n := len(p)
	if room := MaxOutput - len(b.data); n > room {
		p, b.cut = p[:room], true
	}
	b.data = append(b.data, p...)
	return n, nil
}

// Result returns what was kept together with the exit code.
func (b *BoundedOutput) Result(code int) Result {
	return Result{ExitCode: code, Output: b.data, Cut: b.cut}
}
