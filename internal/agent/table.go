package agent

import (
	"bytes"
	"os"
	"strings"
	"time"

	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// The bounds of the process table.
const (
	maxProcesses = 16384
	// exitedLifetime is how long a process that has ended stays, for events that another CPU delivers late.
	exitedLifetime = 10 * time.Second
	// maxDepth is the length of a chain of parents at which it is cut to event.MaxLineage.
	maxDepth = 2 * event.MaxLineage
	// writerLineage bounds the ancestors of a file's writer.
	writerLineage = 8
	maxWriters    = 16384
)

// snapshot is a process between two changes of it. The table's goroutine makes it and does not touch it afterwards; it
// makes another one when the process changes, so that events under way keep the right picture. Four fields of proc are
// filled in later, by the shipper only, and must not be read by anybody before: SHA256, User, IsContainer and Exe.Origin.
type snapshot struct {
	proc   event.Process
	id     uint64    // tells the table's snapshots apart
	parent *snapshot // of proc.Parent
	writer *snapshot // of proc.Exe.Writer
	depth  int       // ancestors
	cell   *cell     // where SHA256 and User come from; nil if nowhere
	entry  *container.Entry
	memory bool // the executable has no path
	final  bool // the shipper has nothing more to fill in
}

// clone returns a copy with the late fields empty.
func (s *snapshot) clone() *snapshot {
	p := &s.proc
	return &snapshot{
		parent: s.parent, writer: s.writer, depth: s.depth, cell: s.cell, entry: s.entry, memory: s.memory,
		proc: event.Process{
			UUID: p.UUID, PID: p.PID, NSPID: p.NSPID, StartTime: p.StartTime, UID: p.UID, EUID: p.EUID, GID: p.GID, EGID: p.EGID,
			Name: p.Name, ExePath: p.ExePath, Args: p.Args, ArgsCut: p.ArgsCut, Cwd: p.Cwd, ScriptPath: p.ScriptPath,
			LDPreload: p.LDPreload, LDLibPath: p.LDLibPath, Stdin: p.Stdin, Stdout: p.Stdout, Parent: p.Parent, ParentUUID: p.ParentUUID,
			Exe: event.File{
				Dev: p.Exe.Dev, Inode: p.Exe.Inode, MTime: p.Exe.MTime, CTime: p.Exe.CTime, Size: p.Exe.Size, UpperLayer: p.Exe.UpperLayer,
				Writer: p.Exe.Writer, WrittenAt: p.Exe.WrittenAt,
			},
		},
	}
}

// setParent hangs s below parent.
func (s *snapshot) setParent(parent *snapshot) {
	if parent != nil && parent.depth >= maxDepth {
		parent = parent.cut(event.MaxLineage, true)
	}
	s.parent, s.proc.Parent, s.depth = parent, nil, 0
	if parent != nil {
		s.proc.Parent, s.proc.ParentUUID, s.depth = &parent.proc, parent.proc.UUID, parent.depth+1
	}
}

// cut returns a copy of s with at most n ancestors, so that the older ones can be forgotten.
func (s *snapshot) cut(n int, writers bool) *snapshot {
	c := s.clone()
	if !writers {
		c.setWriter(nil, 0)
	}
	c.parent, c.proc.Parent, c.depth = nil, nil, 0
	if n > 0 && s.parent != nil {
		c.setParent(s.parent.cut(n-1, writers))
	}
	return c
}

func (s *snapshot) setWriter(w *snapshot, at int64) {
	s.writer, s.proc.Exe.Writer, s.proc.Exe.WrittenAt = w, nil, at
	if w != nil {
		s.proc.Exe.Writer = &w.proc
	}
}

// processKey identifies a process on this host until the next boot.
type processKey struct {
	pid   uint32
	start uint64
}

type exited struct {
	key processKey
	at  time.Time
}

// fileKey identifies a file within a container.
type fileKey struct {
	container  string
	dev, inode uint64
}

type writing struct {
	by *snapshot // cut to writerLineage and without writers of its own
	at int64
}

// table knows the processes. It is for the sensor's goroutine.
type table struct {
	host    string // identifies host and boot
	clock   *clock
	byKey   *lru[processKey, *snapshot]
	byPID   *lru[uint32, uint64] // the start of the latest process with a pid
	exited  []exited             // oldest first
	writers *lru[fileKey, writing]
	lastID  uint64
	proc    string // "/proc", or a folder that tests made; "" for none
}

func newTable(host string, c *clock, proc string) *table {
	return &table{
		host: host, clock: c, byKey: newLRU[processKey, *snapshot](maxProcesses), byPID: newLRU[uint32, uint64](maxProcesses),
		writers: newLRU[fileKey, writing](maxWriters), proc: proc,
	}
}

func (t *table) put(pid uint32, start uint64, s *snapshot) {
	t.lastID++
	s.id = t.lastID
	t.byKey.put(processKey{pid, start}, s)
	t.byPID.put(pid, start)
}

// parentOf returns the process that a record names as the parent, or nil.
func (t *table) parentOf(r *sensor.Record) *snapshot {
	if r.PPID == 0 {
		return nil
	}
	key := processKey{r.PPID, r.ParentStart}
	if s, ok := t.byKey.get(key); ok {
		return s
	}
	s := &snapshot{proc: event.Process{
		UUID: event.ProcessUUID(t.host, r.PPID, r.ParentStart), PID: r.PPID, StartTime: t.clock.wall(r.ParentStart),
	}}
	if !t.read(&s.proc, r.ParentStart) {
		return nil
	}
	t.put(r.PPID, r.ParentStart, s)
	return s
}

// acting returns the process that a record is from, brought up to date with what the record says about it.
func (t *table) acting(r *sensor.Record, entry *container.Entry) *snapshot {
	s, ok := t.byKey.get(processKey{r.PID, r.Start})
	if !ok {
		s = t.fresh(r, entry)
		t.read(&s.proc, r.Start)
		s.setParent(t.parentOf(r))
		t.put(r.PID, r.Start, s)
		return s
	}
	p := &s.proc
	if p.UID == r.UID && p.EUID == r.EUID && p.GID == r.GID && p.EGID == r.EGID && p.Name == string(r.Comm) && s.entry == entry && p.NSPID == r.NSPID {
		return s
	}
	c := s.clone()
	if c.proc.UID != r.UID {
		c.cell = nil // The name is that of the old user; the next exec looks it up.
		if s.cell.done() && s.cell != nil {
			c.cell = &cell{sha: s.cell.sha}
			c.cell.ready.Store(true)
		}
	}
	c.identify(r)
	c.entry = entry
	t.put(r.PID, r.Start, c)
	return c
}

// fresh returns a snapshot with what every record says about its process.
func (t *table) fresh(r *sensor.Record, entry *container.Entry) *snapshot {
	s := &snapshot{entry: entry}
	s.proc.UUID = event.ProcessUUID(t.host, r.PID, r.Start)
	s.proc.PID, s.proc.StartTime = r.PID, t.clock.wall(r.Start)
	if r.PPID != 0 {
		s.proc.ParentUUID = event.ProcessUUID(t.host, r.PPID, r.ParentStart)
	}
	s.identify(r)
	return s
}

func (s *snapshot) identify(r *sensor.Record) {
	s.proc.NSPID, s.proc.UID, s.proc.EUID, s.proc.GID, s.proc.EGID = r.NSPID, r.UID, r.EUID, r.GID, r.EGID
	if s.proc.Name != string(r.Comm) {
		s.proc.Name = string(r.Comm)
	}
}

// fork adds the new process of a fork record: it is what its parent was, under a new identity.
func (t *table) fork(r *sensor.Record, entry *container.Entry) {
	parent := t.parentOf(r)
	var s *snapshot
	if parent == nil {
		s = t.fresh(r, entry)
		t.read(&s.proc, r.Start)
	} else {
		s = parent.clone()
		s.entry = entry
		s.proc.UUID = event.ProcessUUID(t.host, r.PID, r.Start)
		s.proc.PID, s.proc.StartTime = r.PID, t.clock.wall(r.Start)
		s.identify(r)
		s.setParent(parent)
	}
	t.put(r.PID, r.Start, s)
}

// exec replaces the program of the acting process. It returns the process and the path of its program before.
func (t *table) exec(r *sensor.Record, entry *container.Entry) (*snapshot, string) {
	x := &r.Exec
	s := t.fresh(r, entry)
	previous := string(x.Previous)
	if old, ok := t.byKey.get(processKey{r.PID, r.Start}); ok {
		s.setParent(old.parent)
		if old.parent == nil {
			s.setParent(t.parentOf(r))
		}
		if previous == "" {
			previous = old.proc.ExePath
		}
	} else {
		s.setParent(t.parentOf(r))
	}
	p := &s.proc
	p.ExePath, p.ScriptPath, p.Cwd = string(x.Exe), string(x.Script), string(x.Cwd)
	p.LDPreload, p.LDLibPath = string(x.Preload), string(x.LibPath)
	p.Args, p.ArgsCut = splitArgs(x.Args), x.ArgsCut
	p.Stdin, p.Stdout = x.Stdin, x.Stdout
	p.Exe = event.File{Dev: x.File.Dev, Inode: x.File.Inode, MTime: x.File.MTime, CTime: x.File.CTime, Size: x.File.Size, UpperLayer: x.File.UpperLayer}
	s.memory = x.File.Origin == event.OriginMemory
	if w, ok := t.writers.get(fileKey{containerID(entry), p.Exe.Dev, p.Exe.Inode}); ok && p.Exe.Inode != 0 {
		s.setWriter(w.by, w.at)
	}
	t.put(r.PID, r.Start, s)
	return s, previous
}

// splitArgs takes the arguments of a process apart. They share one piece of memory.
func splitArgs(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	text := string(bytes.TrimSuffix(b, []byte{0}))
	return strings.Split(text, "\x00")
}

func containerID(e *container.Entry) string {
	if e == nil {
		return ""
	}
	// The path, because the id may become known between two events.
	return e.Path()
}

// wrote remembers who wrote a file.
func (t *table) wrote(r *sensor.Record, s *snapshot, dev, inode uint64) {
	if r.Errno != 0 || inode == 0 {
		return
	}
	key := fileKey{containerID(s.entry), dev, inode}
	at := t.clock.wall(r.Boottime)
	if w := t.writers.use(key); w != nil && w.by.proc.UUID == s.proc.UUID && w.by.proc.Name == s.proc.Name && w.by.proc.ExePath == s.proc.ExePath {
		w.at = at
		return
	}
	t.writers.put(key, writing{s.cut(writerLineage, false), at})
}

// touched remembers who renamed, linked or changed the mode of a file whose writer is not known. Each of these makes a file of
// the image one that was written after the container started, on an overlay file system by copying it up, and elsewhere by
// its change time; so this is who did it. A known writer stays: the content is still his.
func (t *table) touched(r *sensor.Record, s *snapshot) {
	if _, ok := t.writers.get(fileKey{containerID(s.entry), r.File.Dev, r.File.Inode}); !ok {
		t.wrote(r, s, r.File.Dev, r.File.Inode)
	}
}

// exit marks a process as ended and forgets those that ended long ago.
func (t *table) exit(r *sensor.Record) {
	now := time.Now()
	t.exited = append(t.exited, exited{processKey{r.PID, r.Start}, now})
	n := 0
	for n < len(t.exited) && (now.Sub(t.exited[n].at) > exitedLifetime || len(t.exited)-n > maxProcesses) {
		key := t.exited[n].key
		t.byKey.delete(key)
		if start, ok := t.byPID.get(key.pid); ok && start == key.start {
			t.byPID.delete(key.pid)
		}
		n++
	}
	if n > 0 {
		t.exited = append(t.exited[:0], t.exited[n:]...)
	}
}

// find returns a process by its pid, and by its start if that is known.
func (t *table) find(pid uint32, start uint64) *snapshot {
	if pid == 0 {
		return nil
	}
	if start == 0 {
		start, _ = t.byPID.get(pid)
	}
	s, _ := t.byKey.get(processKey{pid, start})
	return s
}

// read fills in what /proc says about a running process that no record has described. It reports whether the process is
// still there; a process that has taken over the pid meanwhile is told apart by its start.
func (t *table) read(p *event.Process, start uint64) bool {
	if t.proc == "" {
		return false
	}
	dir := t.proc + "/" + pidText(p.PID)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil || !startedAt(stat, start) {
		return false
	}
	if p.Name == "" {
		if i, j := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')'); i >= 0 && j > i {
			p.Name = string(stat[i+1 : j])
		}
	}
	if exe, err := os.Readlink(dir + "/exe"); err == nil {
		p.ExePath = strings.TrimSuffix(exe, " (deleted)")
	}
	if cwd, err := os.Readlink(dir + "/cwd"); err == nil {
		p.Cwd = cwd
	}
	if f, err := os.Open(dir + "/cmdline"); err == nil {
		buf := make([]byte, 4096)
		n, _ := f.Read(buf)
		_ = f.Close()
		p.Args, p.ArgsCut = splitArgs(buf[:n]), n == len(buf)
	}
	return true
}

// startedAt compares the start in the text of /proc/PID/stat, which is in hundredths of a second, with that of a record.
func startedAt(stat []byte, start uint64) bool {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return false
	}
	f := bytes.Fields(stat[i+1:])
	if len(f) < 20 {
		return false
	}
	var ticks uint64
	for _, c := range f[19] {
		if c < '0' || c > '9' {
			return false
		}
		ticks = ticks*10 + uint64(c-'0')
	}
	const tick = uint64(10 * time.Millisecond)
	return start == 0 || start/tick == ticks || start/tick+1 == ticks || start/tick == ticks+1
}
