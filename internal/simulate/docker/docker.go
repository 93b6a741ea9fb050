// Package docker makes the simulation's containers in a Docker engine on this machine, over its socket.
//
// The image is imported from the machine's own files (package rootfs) when the first container is made, and removed by
// Close. The containers have no network but their own loopback interface. See package sandbox for the contract.
package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/simulate/netns"
	"vedette.dev/vedette/internal/simulate/rootfs"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// Image is the name under which the simulation's image is imported. Each process has a tag of its own, so that two at the
// same time do not take the image from under each other.
const Image = "vedette-sim"

// Options configure a Runtime.
type Options struct {
	Host  string        // for instance unix:///var/run/docker.sock; "" takes DOCKER_HOST or the default
	Files *rootfs.Image // what the containers are made of
	Log   *slog.Logger
}

// Runtime implements sandbox.Runtime.
type Runtime struct {
	engine *client.Client
	files  *rootfs.Image
	log    *slog.Logger
	owner  string
	image  string

	mu         sync.Mutex
	imageID    string // "" until the image is imported
	containers map[string]*Container
	closed     bool
}

var _ sandbox.Runtime = (*Runtime)(nil)

// Open connects to the engine. It fails when none answers within ctx.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	options := []client.Opt{client.FromEnv}
	if o.Host != "" {
		options = append(options, client.WithHost(o.Host))
	}
	engine, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Docker engine: %w", err)
	}
	if _, err := engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		engine.Close()
		return nil, fmt.Errorf("connecting to Docker engine: %w", err)
	}
	owner, err := sandbox.Owner()
	if err != nil {
		engine.Close()
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Runtime{
		engine: engine, files: o.Files, log: log, owner: owner, containers: map[string]*Container{},
		image: Image + ":" + strings.ReplaceAll(owner, ":", "-"),
	}, nil
}

// Name returns "docker".
func (r *Runtime) Name() string { return "docker" }

// Run makes a container. See sandbox.Runtime.
func (r *Runtime) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	var random [4]byte
	rand.Read(random[:])
	spec, err := spec.Validate(hex.EncodeToString(random[:]))
	if err != nil {
		return nil, err
	}
	imageID, err := r.importImage(ctx)
	if err != nil {
		return nil, err
	}
	image := spec.Image
	if image == "" {
		image = r.image
	}
	created, err := r.engine.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: spec.Name, Config: r.config(spec, image), HostConfig: r.hostConfig(spec),
	})
	if err != nil {
		return nil, fmt.Errorf("creating container %s: %w", spec.Name, err)
	}
	c := &Container{runtime: r, info: sandbox.Info{
		ID: created.ID, Name: spec.Name, Image: image, ImageID: imageID, Runtime: r.Name(), Privileged: spec.Privileged,
		Labels: spec.Labels, Mounts: spec.Mounts,
	}}
	if err = r.keep(c); err == nil {
		err = c.start(ctx, spec)
	}
	if err != nil {
		// The caller's context may be what ended it, and the container must go all the same.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("starting container %s: %w", spec.Name, err), c.Remove(undo))
	}
	return c, nil
}

// removeTimeout bounds how long the removal of one container may take when nobody waits for it with a context of his own.
const removeTimeout = 30 * time.Second

func (r *Runtime) config(spec sandbox.Spec, image string) *container.Config {
	labels := map[string]string{sandbox.Label: r.owner}
	for k, v := range spec.Labels {
		labels[k] = v
	}
	return &container.Config{Image: image, Cmd: spec.Command, Env: spec.Env, Labels: labels, Hostname: spec.Name[:min(len(spec.Name), 63)]}
}

func (r *Runtime) hostConfig(spec sandbox.Spec) *container.HostConfig {
	h := &container.HostConfig{NetworkMode: "none", Privileged: spec.Privileged, DNS: spec.Nameservers}
	for _, folder := range spec.Tmpfs {
		if h.Tmpfs == nil {
			h.Tmpfs = map[string]string{}
		}
		h.Tmpfs[folder] = "exec"
	}
	for _, m := range spec.Mounts {
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return h
}

func (r *Runtime) keep(c *Container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[c.info.ID] = c
	if r.closed {
		return errors.New("the runtime is closed")
	}
	return nil
}

// importImage imports the image unless that has been done, and returns its id.
func (r *Runtime) importImage(ctx context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return "", errors.New("the runtime is closed")
	}
	if r.imageID != "" {
		return r.imageID, nil
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(r.files.WriteTar(writer)) }()
	defer reader.Close()
	answer, err := r.engine.ImageImport(ctx,
		client.ImageImportSource{Source: reader, SourceName: "-"}, r.image,
		client.ImageImportOptions{Changes: []string{
			"ENV PATH=/usr/local/bin:/usr/bin:/bin", fmt.Sprintf("LABEL %s=%s", sandbox.Label, r.owner),
		}})
	if err != nil {
		return "", fmt.Errorf("importing image %s: %w", r.image, err)
	}
	defer answer.Close()
	if err := readProgress(answer); err != nil {
		return "", fmt.Errorf("importing image %s: %w", r.image, err)
	}
	inspected, err := r.engine.ImageInspect(ctx, r.image)
	if err != nil {
		return "", fmt.Errorf("importing image %s: %w", r.image, err)
	}
	r.imageID = inspected.ID
	return r.imageID, nil
}

// readProgress reads the engine's stream of progress messages, in which an error comes with status 200.
func readProgress(stream io.Reader) error {
	for d := json.NewDecoder(io.LimitReader(stream, 1<<20)); ; {
		var message struct {
			Error string `json:"error"`
		}
		if err := d.Decode(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if message.Error != "" {
			return errors.New(message.Error)
		}
	}
}

// Cleanup removes containers and images whose maker is dead.
func (r *Runtime) Cleanup(ctx context.Context) error {
	marked := client.Filters{}.Add("label", sandbox.Label)
	list, err := r.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: marked})
	if err != nil {
		return fmt.Errorf("listing leftover containers: %w", err)
	}
	var failed []error
	for _, c := range list.Items {
		if !sandbox.OwnerAlive(c.Labels[sandbox.Label]) {
			r.log.Info("removing a container that an earlier run left behind", "id", c.ID, "names", c.Names)
			failed = append(failed, r.remove(ctx, c.ID))
		}
	}
	images, err := r.engine.ImageList(ctx, client.ImageListOptions{All: true, Filters: marked})
	if err != nil {
		return errors.Join(append(failed, fmt.Errorf("listing leftover images: %w", err))...)
	}
	for _, i := range images.Items {
		if !sandbox.OwnerAlive(i.Labels[sandbox.Label]) {
			failed = append(failed, r.removeImage(ctx, i.ID))
		}
	}
	return errors.Join(failed...)
}

// Close removes every container and the image.
func (r *Runtime) Close() error {
	r.mu.Lock()
	wasClosed := r.closed
	r.closed = true
	var containers []*Container
	for _, c := range r.containers {
		containers = append(containers, c)
	}
	imported := r.imageID != ""
	r.mu.Unlock()
	if wasClosed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
	defer cancel()
	var failed []error
	for _, c := range containers {
		failed = append(failed, c.Remove(ctx))
	}
	if imported {
		failed = append(failed, r.removeImage(ctx, r.image))
	}
	return errors.Join(append(failed, r.engine.Close())...)
}

func (r *Runtime) remove(ctx context.Context, id string) error {
	_, err := r.engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	if errdefs.IsConflict(err) { // A removal is already under way: wait for its end.
		wait := r.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
		select {
		case <-wait.Result:
			return nil
		case err = <-wait.Error:
			if errdefs.IsNotFound(err) {
				return nil
			}
		}
	}
	return fmt.Errorf("removing container %s: %w", id, err)
}

func (r *Runtime) removeImage(ctx context.Context, image string) error {
	_, err := r.engine.ImageRemove(ctx, image, client.ImageRemoveOptions{Force: true, PruneChildren: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing image %s: %w", image, err)
	}
	return nil
}

// Container implements sandbox.Container.
type Container struct {
	runtime *Runtime
	info    sandbox.Info

	mu       sync.Mutex
	exitCode *int // set by Remove, which takes the engine's memory of it away
	removed  bool
}

var _ sandbox.Container = (*Container)(nil)

// Info identifies the container.
func (c *Container) Info() sandbox.Info { return c.info }

func (c *Container) start(ctx context.Context, spec sandbox.Spec) error {
	if _, err := c.runtime.engine.ContainerStart(ctx, c.info.ID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	inspected, err := c.runtime.engine.ContainerInspect(ctx, c.info.ID, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	state := inspected.Container.State
	if state == nil || state.Pid == 0 {
		// A command that ends at once is a container all the same; it only has no process any more.
		if state != nil && !state.Running {
			return nil
		}
		return errors.New("the engine does not say which process was started")
	}
	c.info.InitPID = state.Pid
	if c.info.StartedAt, err = time.Parse(time.RFC3339Nano, state.StartedAt); err != nil {
		return fmt.Errorf("reading when it started: %w", err)
	}
	if c.info.CgroupPath, err = cgroupPath(state.Pid, c.info.ID); err != nil {
		return err
	}
	if len(spec.Addresses) == 0 {
		return nil
	}
	return netns.Configure(state.Pid, spec.Addresses)
}

// cgroupPath returns a container's place in the v2 hierarchy, "" on a host that has none. It makes sure that the process is
// the container's: an engine on another machine would name a pid that is somebody else's here.
func cgroupPath(pid int, id string) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err == nil && !bytes.Contains(data, []byte(id)) {
		err = fmt.Errorf("process %d is not the container's: the engine must run on this machine", pid)
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(p, "\n"), nil
		}
	}
	return "", nil
}

// Exec runs a command. The engine cannot kill a command alone, so one whose ctx ends is killed by its pid.
func (c *Container) Exec(ctx context.Context, argv ...string) (sandbox.Result, error) {
	if len(argv) == 0 {
		return sandbox.Result{}, fmt.Errorf("container %s: no command", c.info.Name)
	}
	fail := func(err error) (sandbox.Result, error) {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return sandbox.Result{}, fmt.Errorf("running %s in %s: %w", argv[0], c.info.Name, err)
	}
	engine := c.runtime.engine
	made, err := engine.ExecCreate(ctx, c.info.ID, client.ExecCreateOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return fail(err)
	}
	// An attach that is given up half-way may start the command all the same, so it is always finished.
	attach, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	attached, err := engine.ExecAttach(attach, made.ID, client.ExecAttachOptions{})
	if err != nil {
		return fail(err)
	}
	defer attached.Close()
	defer func() {
		if ctx.Err() != nil {
			c.killExec(made.ID)
		}
	}()
	stop := context.AfterFunc(ctx, attached.Close)
	defer stop()
	var output sandbox.BoundedOutput
	if _, err := stdcopy.StdCopy(&output, &output, attached.Reader); err != nil {
		return fail(err)
	}
	// The stream ends a moment before the engine knows the exit code.
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		state, err := engine.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
		if err != nil {
			return fail(err)
		}
		if !state.Running {
			return notFound(argv[0], output.Result(state.ExitCode))
		}
		select {
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-time.After(wait):
		}
	}
}

// killExec kills a command that the engine runs, if it still does.
func (c *Container) killExec(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	state, err := c.runtime.engine.ExecInspect(ctx, id, client.ExecInspectOptions{})
	for err == nil && state.PID == 0 { // It is about to start.
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
		state, err = c.runtime.engine.ExecInspect(ctx, id, client.ExecInspectOptions{})
	}
	if err != nil || !state.Running {
		return
	}
	// The descriptor is taken before the pid is checked, so that a pid that is used again cannot be hit.
	fd, err := unix.PidfdOpen(state.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if _, err := cgroupPath(state.PID, c.info.ID); err != nil {
		return
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		c.runtime.log.Warn("killing a command", "container", c.info.Name, "err", err)
	}
}

// notFound turns the engine's way of saying that a command could not be started into an error, as the native runtime does.
func notFound(command string, r sandbox.Result) (sandbox.Result, error) {
	if (r.ExitCode == 126 || r.ExitCode == 127) && bytes.Contains(r.Output, []byte("OCI runtime exec failed")) {
		return sandbox.Result{}, fmt.Errorf("running %s: %s", command, bytes.TrimSpace(r.Output))
	}
	return r, nil
}

// Stop asks the first process to end. Grace is rounded up to seconds, the engine's unit.
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	seconds := int((max(grace, 0) + time.Second - 1) / time.Second)
	_, err := c.runtime.engine.ContainerStop(ctx, c.info.ID, client.ContainerStopOptions{Timeout: &seconds})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("stopping container %s: %w", c.info.Name, err)
	}
	return nil
}

// Kill ends every process at once.
func (c *Container) Kill(ctx context.Context) error {
	_, err := c.runtime.engine.ContainerKill(ctx, c.info.ID, client.ContainerKillOptions{Signal: "KILL"})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // It has ended already.
		err = nil
	}
	if err == nil {
		_, err = c.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("killing container %s: %w", c.info.Name, err)
	}
	return nil
}

// Wait returns the exit code of the first process.
func (c *Container) Wait(ctx context.Context) (int, error) {
	c.mu.Lock()
	code := c.exitCode
	c.mu.Unlock()
	if code != nil {
		return *code, nil
	}
	wait := c.runtime.engine.ContainerWait(ctx, c.info.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case answer := <-wait.Result:
		if answer.Error != nil {
			return 0, fmt.Errorf("waiting for container %s: %s", c.info.Name, answer.Error.Message)
		}
		return int(answer.StatusCode), nil
	case err := <-wait.Error:
		return 0, fmt.Errorf("waiting for container %s: %w", c.info.Name, err)
	}
}

// Remove removes the container.
func (c *Container) Remove(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed {
		return nil
	}
	_, err := c.runtime.engine.ContainerKill(ctx, c.info.ID, client.ContainerKillOptions{Signal: "KILL"})
	if err == nil || errdefs.IsConflict(err) {
		c.exitCode = c.readExitCode(ctx)
	}
	if err := c.runtime.remove(ctx, c.info.ID); err != nil {
		return err
	}
	c.removed = true
	c.runtime.mu.Lock()
	delete(c.runtime.containers, c.info.ID)
	c.runtime.mu.Unlock()
	return nil
}

// readExitCode waits for the end of a container that was killed. One that was only created has no exit code.
func (c *Container) readExitCode(ctx context.Context) *int {
	wait := c.runtime.engine.ContainerWait(ctx, c.info.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case answer := <-wait.Result:
		code := int(answer.StatusCode)
		return &code
	case <-wait.Error:
		return nil
	}
}
