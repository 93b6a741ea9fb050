package agent

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
)

// The bounds of lookups.
const (
	maxExecutable  = 256 << 20 // bytes; larger ones are not hashed
	hashRate       = 256 << 20 // bytes a second that hashing may read in the long run
	maxHashes      = 8192      // cached
	maxNamespaces  = 256       // cached passwd files
	maxPasswd      = 1 << 20
	maxUserName    = 64
	passwdLifetime = time.Minute
	lookupQueue    = 512
	lookupWorkers  = 2
)

// exeKey identifies the content of an executable. The change time cannot be set back by a workload.
type exeKey struct {
	dev, inode          uint64
	mtime, ctime, bytes int64
}

func keyOf(f *event.File) exeKey { return exeKey{f.Dev, f.Inode, f.MTime, f.CTime, f.Size} }

// userKey identifies a user of a mount namespace.
type userKey struct {
	mntNS uint32
	uid   uint32
}

// cell is the result of a lookup. The fields may be read once done reports true.
type cell struct {
	ready atomic.Bool
	sha   string
	user  string
}

func (c *cell) done() bool { return c == nil || c.ready.Load() }

// job is a lookup that waits for a worker.
type job struct {
	cell      *cell
	pid       uint32
	parent    uint32 // a process that likely shares the root, when pid is gone
	path      string // of the executable, in the process's root
	file      event.File
	mntNS     uint32
	uid       uint32
	contained bool

	// The executable and the process's root, held since the record came, because the process may be gone when a worker
	// has time. They are opened with O_PATH: that asks nothing of their file system, which may be one that a workload serves
	// and lets hang. -1 is none.
	exe, root int
}

func (j *job) close() {
	for _, fd := range [...]int{j.exe, j.root} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// lookups finds out what the kernel did not say about a process: the hash of its executable and its user's name. A process
// that has ended, together with its container, before the sensor's next poll (at most 20 ms) has neither, unless they are cached.
type lookups struct {
	ledger     *ledger
	host       chan job
	containers chan job // first

	mu     sync.Mutex
	hashes *lru[exeKey, string]
	users  *lru[uint32, passwd] // by mount namespace
	budget float64              // bytes that may be read now
	filled time.Time
}

type passwd struct {
	names map[uint32]string
	read  time.Time
}

func newLookups(l *ledger) *lookups {
	return &lookups{
		ledger: l, host: make(chan job, lookupQueue), containers: make(chan job, lookupQueue),
		hashes: newLRU[exeKey, string](maxHashes), users: newLRU[uint32, passwd](maxNamespaces),
		budget: hashRate, filled: time.Now(),
	}
}

// start begins a lookup, which may be done at once. It never waits.
func (l *lookups) start(j job) *cell {
	c := new(cell)
	j.cell = c
	l.mu.Lock()
	sha, hashed := l.hashes.get(keyOf(&j.file))
	user, named := l.user(j.mntNS, j.uid)
	l.mu.Unlock()
	if hashed && named {
		c.sha, c.user = sha, user
		c.ready.Store(true)
		return c
	}
	j.exe, j.root = -1, -1
	dir := "/proc/" + pidText(j.pid)
	const flags = unix.O_PATH | unix.O_CLOEXEC
	if !hashed {
		// The link is the file that was executed, wherever its path leads by now.
		if fd, err := unix.Open(dir+"/exe", flags, 0); err == nil {
			j.exe = fd
		}
	}
	if fd, err := unix.Open(dir+"/root", flags, 0); err == nil {
		j.root = fd
	} else if j.exe < 0 && !hashed && j.parent != 0 {
		// The process is gone. Its parent's root is likely its own; whether the file there is the same is checked.
		if fd, err := unix.Open("/proc/"+pidText(j.parent)+"/root", flags, 0); err == nil {
			j.root, j.mntNS = fd, 0
		}
	}
	queue := l.host
	if j.contained {
		queue = l.containers
	}
	select {
	case queue <- j:
	default:
		j.close()
		l.ledger.unhashed.Add(1)
		c.sha, c.user = sha, user
		c.ready.Store(true)
	}
	return c
}

// user returns a cached name. The caller holds l.mu.
func (l *lookups) user(mntNS, uid uint32) (string, bool) {
	p, ok := l.users.get(mntNS)
	if !ok || time.Since(p.read) > passwdLifetime {
		return "", false
	}
	return p.names[uid], true
}

// run works until ctx ends.
func (l *lookups) run(ctx context.Context) {
	var wg sync.WaitGroup
	for n := range lookupWorkers {
		host := l.host
		if n == 0 {
			host = nil // One worker is for containers alone, so that a large program of the host delays none of them.
		}
		wg.Go(func() {
			buf := make([]byte, 128<<10)
			for {
				var j job
				select {
				case j = <-l.containers:
				default:
					select {
					case j = <-l.containers:
					case j = <-host:
					case <-ctx.Done():
						return
					}
				}
				l.work(&j, buf)
			}
		})
	}
	wg.Wait()
	for {
		select {
		case j := <-l.containers:
			j.close()
		case j := <-l.host:
			j.close()
		default:
			return
		}
	}
}

func (l *lookups) work(j *job, buf []byte) {
	defer j.cell.ready.Store(true)
	defer j.close()
	key := keyOf(&j.file)
	l.mu.Lock()
	sha, hashed := l.hashes.get(key)
	user, named := l.user(j.mntNS, j.uid)
	l.mu.Unlock()
	if !hashed {
		var err error
		if sha, err = l.hash(j, buf); err != nil {
			l.ledger.unhashed.Add(1)
		} else if key.inode != 0 {
			l.mu.Lock()
			l.hashes.put(key, sha)
			l.mu.Unlock()
		}
	}
	// Without a namespace, the root is perhaps another process's.
	if !named && j.mntNS != 0 {
		if names, err := readPasswd(j.root); err == nil {
			user = names[j.uid]
			l.mu.Lock()
			l.users.put(j.mntNS, passwd{names, time.Now()})
			l.mu.Unlock()
		}
	}
	j.cell.sha, j.cell.user = sha, user
}

// hash reads the executable: through the process itself while it lives, else through its parent's root.
func (l *lookups) hash(j *job, buf []byte) (string, error) {
	if j.file.Size > maxExecutable {
		return "", errors.New("executable is too large")
	}
	f, err := openExecutable(j)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	// One byte more than expected shows that the file has grown and is not what was executed.
	limited := io.LimitReader(f, j.file.Size+1)
	var total int64
	for {
		n, err := limited.Read(buf)
		l.pay(n)
		total += int64(n)
		_, _ = h.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("reading executable: %w", err)
		}
	}
	if total != j.file.Size {
		return "", errors.New("executable has changed")
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// pay waits until n bytes are within the rate.
func (l *lookups) pay(n int) {
	l.mu.Lock()
	now := time.Now()
	l.budget = min(hashRate, l.budget+now.Sub(l.filled).Seconds()*hashRate)
	l.filled = now
	l.budget -= float64(n)
	wait := time.Duration(-l.budget / hashRate * float64(time.Second))
	l.mu.Unlock()
	if wait > 0 {
		time.Sleep(wait)
	}
}

func openExecutable(j *job) (*os.File, error) {
	var f *os.File
	var err error
	switch {
	case j.exe >= 0:
		f, err = reopen(j.exe)
	case j.path != "":
		f, err = openInRoot(j.root, j.path)
	default:
		err = os.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	if !sameFile(f, &j.file) {
		_ = f.Close()
		return nil, errors.New("executable is another file by now")
	}
	return f, nil
}

// sameFile compares what stat says with what the kernel said at exec. Device and inode are left out, because on overlay
// file systems stat does not show those of the kernel's inode.
func sameFile(f *os.File, want *event.File) bool {
	st, err := f.Stat()
	return err == nil && st.Size() == want.Size && (want.MTime == 0 || st.ModTime().UnixNano() == want.MTime)
}

// reopen opens for reading what was opened with O_PATH, if it is a regular file.
func reopen(fd int) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(fd))
}

// openInRoot opens a regular file for reading below a root. Symbolic links stay within that root, and neither a pipe nor a
// device can make it wait or do anything.
func openInRoot(root int, path string) (*os.File, error) {
	if root < 0 {
		return nil, os.ErrNotExist
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	at, err := unix.Openat2(root, path, &how)
	if err != nil {
		return nil, err
	}
	defer unix.Close(at)
	return reopen(at)
}

// readPasswd returns the names of the users below a root.
func readPasswd(root int) (map[uint32]string, error) {
	f, err := openInRoot(root, "/etc/passwd")
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // A container without users; it need not be looked at again.
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parsePasswd(io.LimitReader(f, maxPasswd)), nil
}

// parsePasswd reads the text of /etc/passwd. The first line for a user counts, as it does in libc.
func parsePasswd(r io.Reader) map[uint32]string {
	names := make(map[uint32]string)
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(names) < 4096 {
		f := strings.SplitN(lines.Text(), ":", 4)
		if len(f) < 4 || f[0] == "" || len(f[0]) > maxUserName {
			continue
		}
		uid, err := strconv.ParseUint(f[2], 10, 32)
		if _, known := names[uint32(uid)]; err == nil && !known {
			names[uint32(uid)] = f[0]
		}
	}
	return names
}

func pidText(pid uint32) string { return strconv.FormatUint(uint64(pid), 10) }
