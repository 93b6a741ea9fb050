package container

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
)

// ErrNotFound is what a runtime answers about a container that it does not know.
var ErrNotFound = errors.New("no such container")

// Runtime is something that starts containers and can describe them.
type Runtime interface {
	// Describe returns what the runtime knows about a container, or an error that is [ErrNotFound].
	Describe(ctx context.Context, id string) (*event.Container, error)
	// Watch calls changed with the id of each container that was started or renamed, until ctx ends. It reconnects by itself.
	Watch(ctx context.Context, changed func(id string)) error
}

// Claimer knows containers by the path of their cgroup, without having to ask anybody.
type Claimer interface {
	// Claim returns the container that the cgroup at path (in the v2 hierarchy) belongs to, and whether there is one.
	Claim(path string) (*event.Container, bool)
}

// Options configures a [Resolver].
type Options struct {
	CgroupRoot string        // where the v2 hierarchy is mounted; "" looks for it
	Scope      string        // the cgroup path that [Resolver.Live] is limited to; "" is the whole host
	Host       string        // the host's name: the cluster of containers that are part of nothing else
	Runtimes   []Runtime     // asked in this order
	Claimers   []Claimer     // asked before the runtimes
	Grace      time.Duration // how long an entry may stay unsettled; default 250 ms
	MaxEntries int           // bound of the table; default 16384
	Log        *slog.Logger
}

// Resolver maps cgroups to containers.
type Resolver struct {
	opts  Options
	root  string
	mount int // the root's file descriptor
	log   *slog.Logger

	mu      sync.Mutex
	entries map[uint64]*list.Element // of *Entry
	recent  *list.List               // most recently used first
	byID    map[string][]*Entry      // by each of the container ids in its path
	queue   chan *Entry
}

// Entry is what is known about one cgroup. It stays valid for ever; only its container changes, and only to a better one.
type Entry struct {
	cgroup    uint64
	path      string
	ids       []string
	runtime   string
	seen      time.Time
	claimed   time.Time // when the claimers were last asked
	attempts  atomic.Int32
	settled   atomic.Bool
	described atomic.Bool
	began     atomic.Int64 // when its first process started; 0 if unknown
	container atomic.Pointer[event.Container]
}

// Path returns the cgroup's path in the v2 hierarchy, or "" if it was gone before it could be read.
func (e *Entry) Path() string { return e.path }

// Container returns the container, as far as it is known at the moment; nil for the host itself.
func (e *Entry) Container() *event.Container { return e.container.Load() }

// Began says that a process which is the first of its pid namespace started in the cgroup at a time, in nanoseconds since 1970.
// The earliest counts as the container's start where the runtime gives none or a later one: a runtime writes the start down
// only when the first process already runs, and what that has written until then is new all the same. Safe at any time.
func (e *Entry) Began(at int64) {
	for {
		old := e.began.Load()
		if old != 0 && old <= at {
			return
		}
		if e.began.CompareAndSwap(old, at) {
			break
		}
	}
	e.backdate()
}

// backdate gives the container the start that Began has found.
func (e *Entry) backdate() {
	for {
		began, c := e.began.Load(), e.container.Load()
		if began == 0 || c == nil || c.StartedAt != 0 && c.StartedAt <= began {
			return
		}
		earlier := *c
		earlier.StartedAt = began
		if e.container.CompareAndSwap(c, &earlier) {
			return
		}
	}
}

// Settled reports whether waiting cannot make the container known any better, or has lasted long enough.
func (e *Entry) Settled() bool { return e.settled.Load() }

// Open returns a resolver. Close it when done.
func Open(opts Options) (*Resolver, error) {
	if opts.Grace == 0 {
		opts.Grace = 250 * time.Millisecond
	}
	if opts.MaxEntries == 0 {
		opts.MaxEntries = 16384
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	r := &Resolver{
		opts: opts, root: opts.CgroupRoot, mount: -1, log: opts.Log, entries: make(map[uint64]*list.Element), recent: list.New(),
		byID: make(map[string][]*Entry), queue: make(chan *Entry, 4096),
	}
	if r.root == "" {
		r.root = FindRoot()
	}
	if rel, ok := r.relative(opts.Scope); ok && r.root != "" {
		r.opts.Scope = rel
	}
	if r.root != "" {
		fd, err := unix.Open(r.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening the cgroup hierarchy %s: %w", r.root, err)
		}
		r.mount = fd
	}
	return r, nil
}

// Close frees what Open took.
func (r *Resolver) Close() {
	if r.mount >= 0 {
		_ = unix.Close(r.mount)
		r.mount = -1
	}
}

// FindRoot returns where the cgroup v2 hierarchy is mounted, or "" if it is not.
func FindRoot() string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(line, " - ")
		if f := strings.Fields(before); ok && len(f) > 4 && f[3] == "/" && strings.HasPrefix(after, "cgroup2 ") {
			return f[4]
		}
	}
	return ""
}

// Entry returns what is known about a cgroup. pid is a process in it, for the case that the cgroup cannot be found by its
// id. The first call for a cgroup makes a few system calls; later ones make none.
func (r *Resolver) Entry(cgroup uint64, pid uint32) *Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if el, ok := r.entries[cgroup]; ok {
		r.recent.MoveToFront(el)
		e := el.Value.(*Entry)
		r.claimLate(e)
		return e
	}
	return r.add(cgroup, r.pathOf(cgroup, pid))
}

// claimLate asks the claimers again about a cgroup that is new and nobody's: it may be seen before it is claimed. The caller
// holds r.mu.
func (r *Resolver) claimLate(e *Entry) {
	if len(r.opts.Claimers) == 0 || e.container.Load() != nil {
		return
	}
	now := time.Now()
	if now.Sub(e.seen) > claimWindow || now.Sub(e.claimed) < claimPause {
		return
	}
	e.claimed = now
	for _, c := range r.opts.Claimers {
		if found, ok := c.Claim(e.path); ok {
			r.settle(e, found)
			return
		}
	}
}

// A cgroup can be claimed for claimWindow after it was first seen; the claimers are asked every claimPause.
const (
	claimWindow = 30 * time.Second
	claimPause  = 100 * time.Millisecond
)

// add makes an entry. The caller holds r.mu.
func (r *Resolver) add(cgroup uint64, path string) *Entry {
	e := &Entry{cgroup: cgroup, path: path, seen: time.Now()}
	r.describeNow(e)
	r.entries[cgroup] = r.recent.PushFront(e)
	for _, id := range e.ids {
		r.byID[id] = append(r.byID[id], e)
	}
	for r.recent.Len() > r.opts.MaxEntries {
		r.remove(r.recent.Back())
	}
	if !e.settled.Load() {
		select {
		case r.queue <- e:
		default: // Too many new containers at once: this one goes without a description.
			e.settled.Store(true)
		}
	}
	return e
}

func (r *Resolver) remove(el *list.Element) {
	e := el.Value.(*Entry)
	r.recent.Remove(el)
	delete(r.entries, e.cgroup)
	for _, id := range e.ids {
		rest := r.byID[id][:0]
		for _, other := range r.byID[id] {
			if other != e {
				rest = append(rest, other)
			}
		}
		if len(rest) == 0 {
			delete(r.byID, id)
		} else {
			r.byID[id] = rest
		}
	}
}

// describeNow fills in what the path alone tells.
func (r *Resolver) describeNow(e *Entry) {
	for _, c := range r.opts.Claimers {
		if found, ok := c.Claim(e.path); ok {
			r.settle(e, found)
			return
		}
	}
	e.ids, e.runtime = IDs(e.path)
	if len(e.ids) == 0 {
		e.settled.Store(true)
		return
	}
	e.container.Store(&event.Container{ID: e.ids[0], Runtime: e.runtime, Cluster: r.opts.Host})
	if len(r.opts.Runtimes) == 0 {
		e.settled.Store(true)
	}
}

// settle gives an entry its description.
func (r *Resolver) settle(e *Entry, c *event.Container) {
	if c.StartedAt == 0 {
		// The runtime writes down the start only after the first process runs.
		started := *c
		started.StartedAt = e.seen.UnixNano()
		c = &started
	}
	e.container.Store(c)
	e.backdate()
	e.described.Store(true)
	e.settled.Store(true)
}

// kernfsHandle is the type of a file handle that holds a cgroup's id (FILEID_KERNFS in the kernel).
const kernfsHandle = 0xfe

// pathOf finds the path of a cgroup: by opening it by its id, which needs CAP_DAC_READ_SEARCH, else through a process in it.
// On a host without a v2 hierarchy all processes have the same id, and it says nothing.
func (r *Resolver) pathOf(cgroup uint64, pid uint32) string {
	if r.mount < 0 || cgroup == 0 {
		return ""
	}
	handle := unix.NewFileHandle(kernfsHandle, binary.NativeEndian.AppendUint64(nil, cgroup))
	if fd, err := unix.OpenByHandleAt(r.mount, handle, unix.O_PATH|unix.O_CLOEXEC); err == nil {
		path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		_ = unix.Close(fd)
		if rel, ok := r.relative(path); err == nil && ok {
			return rel
		}
	}
	if path := cgroupOf(pid); path != "" {
		return path
	}
	return r.walkFor(cgroup)
}

// relative takes the mount point off a path.
func (r *Resolver) relative(path string) (string, bool) {
	rel, ok := strings.CutPrefix(path, r.root)
	if !ok {
		return "", false
	}
	if rel = strings.TrimSuffix(rel, " (deleted)"); rel == "" {
		rel = "/"
	}
	return rel, true
}

// cgroupOf reads a process's cgroup from /proc: that in the v2 hierarchy, or on a host without one that in a v1 hierarchy.
func cgroupOf(pid uint32) string {
	text, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/cgroup")
	if pid == 0 || err != nil {
		return ""
	}
	return parseCgroups(string(text))
}

// parseCgroups picks the path out of the text of /proc/PID/cgroup.
func parseCgroups(text string) string {
	best := ""
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) < 3 {
			continue
		}
		path := strings.TrimSuffix(f[2], " (deleted)")
		ids, _ := IDs(path)
		switch {
		case f[0] == "0" && (len(ids) > 0 || best == ""):
			best = path
		case len(ids) > 0:
			if known, _ := IDs(best); len(known) == 0 {
				best = path
			}
		}
	}
	return best
}

// walkFor looks for a cgroup's directory by its inode number, which is its id.
func (r *Resolver) walkFor(cgroup uint64) string {
	found := ""
	r.walk(func(path string, inode uint64) bool {
		if inode == cgroup {
			found = path
		}
		return found == ""
	})
	return found
}

// maxWalk bounds how many cgroups a walk looks at.
const maxWalk = 65536

// walk calls visit for each cgroup below the scope, until it returns false.
func (r *Resolver) walk(visit func(path string, inode uint64) bool) {
	if r.root == "" {
		return
	}
	n := 0
	_ = filepath.WalkDir(filepath.Join(r.root, r.opts.Scope), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // Gone meanwhile, or one of the control files.
		}
		if n++; n > maxWalk {
			return fs.SkipAll
		}
		var st unix.Stat_t
		rel, ok := r.relative(path)
		if ok && unix.Lstat(path, &st) == nil && !visit(rel, st.Ino) {
			return fs.SkipAll
		}
		return nil
	})
}

// Live returns the containers within the scope that have a cgroup at the moment, each once. Those it sees for the first
// time are described in the background.
func (r *Resolver) Live() []*event.Container {
	type cgroup struct {
		path  string
		inode uint64
	}
	var all []cgroup
	r.walk(func(path string, inode uint64) bool {
		all = append(all, cgroup{path, inode})
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	var live []*event.Container
	seen := make(map[string]bool)
	for _, g := range all {
		var e *Entry
		if el, ok := r.entries[g.inode]; ok {
			e = el.Value.(*Entry)
			r.claimLate(e)
		} else {
			e = r.add(g.inode, g.path)
		}
		if c := e.Container(); c != nil && !seen[c.ID] {
			seen[c.ID] = true
			live = append(live, c)
		}
	}
	return live
}

// Run asks the runtimes until ctx ends. Without it no container is described.
func (r *Resolver) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, rt := range r.opts.Runtimes {
		wg.Go(func() {
			if err := rt.Watch(ctx, r.refresh); err != nil && ctx.Err() == nil {
				r.log.Error("watching containers", "err", err)
			}
		})
	}
	const workers = 4
	for range workers {
		wg.Go(func() {
			for {
				select {
				case e := <-r.queue:
					if !e.Settled() {
						wg.Go(func() { r.graceOver(ctx, e) })
					}
					r.describe(ctx, e)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	<-ctx.Done()
	return nil
}

// graceOver settles an entry that nobody could describe in time.
func (r *Resolver) graceOver(ctx context.Context, e *Entry) {
	t := time.NewTimer(r.opts.Grace)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	e.settled.Store(true)
}

// maxAttempts bounds how often a container that no runtime knows is asked for.
const maxAttempts = 6

// describe asks the runtimes. The innermost container that one of them knows is the answer: a container within a container may be
// unknown to all, and a workload that may write to its cgroup can make one up.
func (r *Resolver) describe(ctx context.Context, e *Entry) {
	for _, id := range e.ids {
		for _, rt := range r.opts.Runtimes {
			ask, cancel := context.WithTimeout(ctx, 5*time.Second)
			c, err := rt.Describe(ask, id)
			cancel()
			if err == nil {
				r.settle(e, c)
				return
			}
			if !errors.Is(err, ErrNotFound) && ctx.Err() == nil {
				r.log.Debug("describing container", "id", id, "err", err)
			}
		}
	}
	if e.runtime == "" {
		// Nothing in the path says that one of the runtimes made it, and none knows it: its events need not wait. Asking goes on.
		e.settled.Store(true)
	}
	attempt := e.attempts.Add(1)
	if attempt >= maxAttempts || ctx.Err() != nil {
		return
	}
	// Asking again soon meets a runtime that has not written the container down yet; asking later, one that was away.
	wait := 20 * time.Millisecond << (2 * (attempt - 1))
	time.AfterFunc(wait, func() {
		select {
		case r.queue <- e:
		default:
		}
	})
}

// refresh describes a container anew.
func (r *Resolver) refresh(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.byID[id] {
		e.attempts.Store(0)
		select {
		case r.queue <- e:
		default:
		}
	}
}
