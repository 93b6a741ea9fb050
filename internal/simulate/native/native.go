// Package native makes the simulation's containers without any container engine: namespaces of their own (mount, pid, uts,
// ipc, net), a cgroup of their own in the v2 hierarchy, and an overlay of the image's folder and a tmpfs as root.
//
// It starts the running program again as the container's first process; for that, main must call [MaybeInit] before
// anything else. A container dies with the process that made it, however that ends: the kernel kills its first process and
// with it the pid namespace, and its mounts and network go with the namespaces. Only the image's folder and the empty
// cgroup can outlive a killed maker; Cleanup of a later one removes them. See package sandbox for the contract.
//
// It needs root, Linux 5.7 or later (clone3 into a cgroup) and overlayfs; without overlayfs the image is copied.
package native

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/rootfs"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// Image is the name that containers state as theirs.
const Image = "vedette-sim:native"

// DefaultStateDir is where the image's folder is kept while containers run.
const DefaultStateDir = "/var/lib/vedette-sim"

// cgroupParent is the cgroup below which containers get theirs, under the root of the v2 hierarchy.
const cgroupParent = "vedette-sim"

// Options configure a Runtime.
type Options struct {
	StateDir string // "" takes DefaultStateDir
	Files    *rootfs.Image
	Log      *slog.Logger
}

// Runtime implements sandbox.Runtime.
type Runtime struct {
	stateDir string
	runDir   string // of this process, in stateDir
	files    *rootfs.Image
	log      *slog.Logger
	cgroups  string // where the v2 hierarchy is mounted
	imageID  string

	mu         sync.Mutex
	written    bool // the image's folder is there
	containers map[string]*Container
	closed     bool
}

var _ sandbox.Runtime = (*Runtime)(nil)

// Open checks that containers can be made here.
func Open(_ context.Context, o Options) (*Runtime, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("making containers without an engine needs root")
	}
	cgroups, err := cgroupMount()
	if err != nil {
		return nil, err
	}
	owner, err := sandbox.Owner()
	if err != nil {
		return nil, err
	}
	r := &Runtime{stateDir: o.StateDir, files: o.Files, log: o.Log, cgroups: cgroups, containers: map[string]*Container{}}
	if r.stateDir == "" {
		r.stateDir = DefaultStateDir
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	random := randomHex(4)
	r.runDir = filepath.Join(r.stateDir, owner+"."+random)
	r.imageID = "sha256:" + randomHex(32)
	return r, nil
}

// cgroupMount finds the v2 hierarchy in this process's mount table.
func cgroupMount() (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("looking for the cgroup v2 hierarchy: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		if fields := strings.Fields(before); ok && len(fields) > 4 && strings.HasPrefix(after, "cgroup2 ") {
			return fields[4], nil
		}
	}
	return "", errors.New("no cgroup v2 hierarchy is mounted; mount one with: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

// Name returns "native".
func (r *Runtime) Name() string { return "native" }

// Run makes a container. See sandbox.Runtime.
func (r *Runtime) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	spec, err := spec.Validate(randomHex(4))
	if err != nil {
		return nil, err
	}
	if spec.Image != "" && spec.Image != Image {
		return nil, fmt.Errorf("container %s: no image %q: there is only %s", spec.Name, spec.Image, Image)
	}
	if err := r.writeImage(); err != nil {
		return nil, err
	}
	id := randomHex(32)
	c := &Container{
		runtime: r, ended: make(chan struct{}),
		info: sandbox.Info{
			ID: id, Name: spec.Name, Image: Image, ImageID: r.imageID, Runtime: r.Name(), Privileged: spec.Privileged,
			CgroupPath: path.Join("/", cgroupParent, id), Labels: spec.Labels, Mounts: spec.Mounts,
		},
		environment: append([]string{"PATH=" + searchPath, "HOME=/root", "HOSTNAME=" + spec.Name}, spec.Env...),
	}
	if err := r.keep(c); err != nil {
		return nil, err
	}
	if err := c.start(ctx, spec); err != nil {
		return nil, errors.Join(fmt.Errorf("starting container %s: %w", spec.Name, err), c.Remove(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// searchPath is PATH in containers.
const searchPath = "/usr/local/bin:/usr/bin:/bin"

// keep enters a container in the runtime's list, unless another one has the name.
func (r *Runtime) keep(c *Container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the runtime is closed")
	}
	for _, other := range r.containers {
		if other.info.Name == c.info.Name {
			return fmt.Errorf("container %s exists already", c.info.Name)
		}
	}
	r.containers[c.info.ID] = c
	return nil
}

func (r *Runtime) writeImage() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the runtime is closed")
	}
	if r.written {
		return nil
	}
	folder := filepath.Join(r.runDir, "image")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("writing image: %w", err)
	}
	if err := r.files.WriteFolder(folder); err != nil {
		return errors.Join(err, os.RemoveAll(r.runDir), removeIfEmpty(r.stateDir))
	}
	r.written = true
	return nil
}

// Close removes all containers and the image's folder.
func (r *Runtime) Close() error {
	r.mu.Lock()
	wasClosed := r.closed
	r.closed = true
	var containers []*Container
	for _, c := range r.containers {
		containers = append(containers, c)
	}
	r.mu.Unlock()
	if wasClosed {
		return nil
	}
	var failed []error
	for _, c := range containers {
		failed = append(failed, c.Remove(context.Background()))
	}
	return errors.Join(append(failed, os.RemoveAll(r.runDir), removeIfEmpty(r.stateDir), removeIfEmpty(filepath.Join(r.cgroups, cgroupParent)))...)
}

// Cleanup removes the folders and cgroups of dead processes.
func (r *Runtime) Cleanup(context.Context) error {
	var failed []error
	folders, err := os.ReadDir(r.stateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing leftovers: %w", err)
	}
	for _, folder := range folders {
		owner, _, ok := strings.Cut(folder.Name(), ".")
		if ok && !sandbox.OwnerAlive(owner) {
			r.log.Info("removing a folder that an earlier run left behind", "name", folder.Name())
			failed = append(failed, os.RemoveAll(filepath.Join(r.stateDir, folder.Name())))
		}
	}
	// A cgroup of a dead run has no process any more, because the kernel killed them with their maker. One that has
	// processes cannot be removed, and is somebody's.
	groups, err := os.ReadDir(filepath.Join(r.cgroups, cgroupParent))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		failed = append(failed, fmt.Errorf("listing leftover cgroups: %w", err))
	}
	for _, group := range groups {
		if group.IsDir() && !r.mine(group.Name()) {
			err := unix.Rmdir(filepath.Join(r.cgroups, cgroupParent, group.Name()))
			if err != nil && err != unix.EBUSY && err != unix.ENOENT {
				failed = append(failed, fmt.Errorf("removing leftover cgroup %s: %w", group.Name(), err))
			}
		}
	}
	return errors.Join(append(failed, removeIfEmpty(filepath.Join(r.cgroups, cgroupParent)), removeIfEmpty(r.stateDir))...)
}

func (r *Runtime) mine(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.containers[id]
	return ok
}

// removeIfEmpty removes a folder that may be missing, or shared with another process that still needs it.
func removeIfEmpty(folder string) error {
	err := unix.Rmdir(folder)
	if err == nil || err == unix.ENOENT || err == unix.ENOTEMPTY || err == unix.EEXIST || err == unix.EBUSY {
		return nil
	}
	return fmt.Errorf("removing %s: %w", folder, err)
}

// Container implements sandbox.Container.
type Container struct {
	runtime     *Runtime
	info        sandbox.Info
	environment []string

	ended    chan struct{} // closed when the first process has ended; exitCode is set then
	exitCode int

	mu      sync.Mutex
	init    *os.Process // set before Run returns
	started bool
	removed bool
}

var _ sandbox.Container = (*Container)(nil)

// Info identifies the container.
func (c *Container) Info() sandbox.Info { return c.info }

func (c *Container) cgroupFolder() string { return filepath.Join(c.runtime.cgroups, c.info.CgroupPath) }

// start makes the cgroup and the first process, and returns when that runs the specification's command.
func (c *Container) start(ctx context.Context, spec sandbox.Spec) error {
	if err := os.MkdirAll(c.cgroupFolder(), 0o755); err != nil {
		return fmt.Errorf("making cgroup: %w", err)
	}
	cgroup, err := os.Open(c.cgroupFolder())
	if err != nil {
		return fmt.Errorf("opening cgroup: %w", err)
	}
	defer cgroup.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	// The first pipe carries the configuration in, the second one an error out; the second closes when the command runs.
	configOut, configIn, err := os.Pipe()
	if err != nil {
		return err
	}
	defer configIn.Close()
	errorOut, errorIn, err := os.Pipe()
	if err != nil {
		configOut.Close()
		return err
	}
	defer errorOut.Close()
	result := make(chan error, 1)
	go c.run(cgroup, []*os.File{null, null, null, configOut, errorIn}, result)
	err = <-result
	configOut.Close()
	errorIn.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.init.Kill() })
	defer stop()
	settings := initSettings{
		Image: filepath.Join(c.runtime.runDir, "image"), Name: spec.Name, Command: spec.Command, Env: c.environment,
		Mounts: spec.Mounts, Tmpfs: spec.Tmpfs, Privileged: spec.Privileged, Addresses: spec.Addresses, Nameservers: spec.Nameservers,
	}
	c.info.StartedAt = time.Now() // Whatever the command writes is written later.
	if err := json.NewEncoder(configIn).Encode(settings); err != nil {
		return fmt.Errorf("configuring it: %w", err)
	}
	configIn.Close()
	text, err := io.ReadAll(io.LimitReader(errorOut, 4096))
	if err == nil && len(text) > 0 {
		err = errors.New(string(text))
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return err
}

// run starts the first process, reports how that went, and waits for its end. It keeps its thread all that time, because
// the kernel kills the process when the thread that started it ends, not only when this process does.
func (c *Container) run(cgroup *os.File, files []*os.File, result chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.mu.Lock() // Remove, called by Close, may be faster.
	if c.removed {
		c.mu.Unlock()
		result <- errors.New("the runtime is closed")
		return
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"vedette", initArgument}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: files,
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
			Setsid:     true, Pdeathsig: unix.SIGKILL, UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
		},
	})
	if err != nil {
		c.mu.Unlock()
		result <- fmt.Errorf("starting first process: %w", err)
		return
	}
	c.init, c.info.InitPID, c.started = p, p.Pid, true
	c.mu.Unlock()
	result <- nil
	state, err := p.Wait()
	if err == nil {
		c.exitCode = exitCode(state)
	} else {
		c.exitCode = -1
	}
	close(c.ended)
}

// exitCode returns the code, or 128 + n for a process that signal n ended, as a shell says it.
func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// Exec runs a command. See sandbox.Container.
func (c *Container) Exec(ctx context.Context, argv ...string) (sandbox.Result, error) {
	fail := func(err error) (sandbox.Result, error) {
		return sandbox.Result{}, fmt.Errorf("running a command in %s: %w", c.info.Name, err)
	}
	if len(argv) == 0 {
		return fail(errors.New("no command"))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer out.Close()
	p, err := c.enter(argv, in)
	in.Close()
	if err != nil {
		return fail(err)
	}
	// A command's children may keep the pipe open after its end; when ctx ends, nobody waits for them.
	stop := context.AfterFunc(ctx, func() {
		p.Kill()
		out.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	var output sandbox.BoundedOutput
	_, copyErr := io.Copy(&output, out)
	state, err := p.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err = errors.Join(err, copyErr); err != nil {
		return fail(err)
	}
	return output.Result(exitCode(state)), nil
}

// Stop asks the first process to end and kills it after grace.
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	if err := c.init.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping container %s: %w", c.info.Name, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-timer.C:
		return c.Kill(ctx)
	case <-ctx.Done():
		return fmt.Errorf("stopping container %s: %w", c.info.Name, ctx.Err())
	}
}

// Kill ends every process: the kernel kills a pid namespace with its first process.
func (c *Container) Kill(ctx context.Context) error {
	if err := c.init.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing container %s: %w", c.info.Name, err)
	}
	_, err := c.Wait(ctx)
	return err
}

// Wait returns the exit code of the first process.
func (c *Container) Wait(ctx context.Context) (int, error) {
	select {
	case <-c.ended:
		return c.exitCode, nil
	default:
	}
	select {
	case <-c.ended:
		return c.exitCode, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for container %s: %w", c.info.Name, ctx.Err())
	}
}

// removeTimeout bounds how long the kernel may take to empty the cgroup of a killed container.
const removeTimeout = 10 * time.Second

// Remove kills the container and removes its cgroup. Everything else went with its namespaces.
func (c *Container) Remove(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed {
		return nil
	}
	if c.started {
		if err := c.Kill(ctx); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(removeTimeout)
	for {
		err := unix.Rmdir(c.cgroupFolder())
		if err == nil || err == unix.ENOENT {
			break
		}
		if err != unix.EBUSY || time.Now().After(deadline) {
			return fmt.Errorf("removing cgroup of %s: %w", c.info.Name, err)
		}
		select { // A killed process leaves its cgroup a moment after its parent was told.
		case <-ctx.Done():
			return fmt.Errorf("removing cgroup of %s: %w", c.info.Name, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	c.removed = true
	c.runtime.mu.Lock()
	delete(c.runtime.containers, c.info.ID)
	c.runtime.mu.Unlock()
	return nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// initSettings travel to the container's first process over a pipe.
type initSettings struct {
	Image       string
	Name        string
	Command     []string
	Env         []string
	Mounts      []sandbox.Mount
	Tmpfs       []string
	Privileged  bool
	Addresses   []netip.Prefix
	Nameservers []netip.Addr
}
