package event

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/klauspost/compress/zstd"
)

// Decoder holds the memory that decoded batches live in, so that decoding in the steady state allocates one piece of text
// per batch. It is for one goroutine.
type Decoder struct {
	batch      Batch
	version    byte // of the batch being read
	raw        []byte
	strings    []string
	containers []Container
	tasks      []Task
	mounts     []Mount
	processes  []Process
	depths     []uint8
	args       []string
	addrs      []netip.Addr
	execs      []Exec
	exits      []Exit
	opens      []Open
	sockets    []Socket
	dns        []DNS
	ptraces    []Ptrace
	files      []FileChange
	memories   []Memory
	mountings  []MountChange
	creds      []Creds
	calls      []Call
	alerts     []Alert
	zstd       *zstd.Decoder
}

// NewDecoder returns a decoder.
func NewDecoder() *Decoder {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxBatchPayload),
		zstd.WithDecoderMaxWindow(MaxBatchPayload), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // The options above are constants.
	}
	return &Decoder{zstd: z}
}

// Decode reads one batch. The data is hostile: whatever it holds, Decode uses bounded memory and returns a batch that is
// well formed (indexes resolved, details set as Kind says, chains of parents finite) or an error that wraps one of
// [ErrBatchTorn], [ErrBatchVersion] and [ErrBatchInvalid].
//
// With a nil decoder the batch is the caller's to keep. Otherwise the batch and all it points to are valid until the
// decoder's next use; strings in it stay valid but keep the text of the whole batch in memory (see [strings.Clone]).
// data is not kept.
func Decode(data []byte, d *Decoder) (*Batch, error) {
	if d == nil {
		d = NewDecoder()
		defer d.zstd.Close()
	}
	d.reset()
	payload, err := d.open(data)
	if err != nil {
		return nil, err
	}
	d.version = data[4]
	r := reader{b: payload}
	d.read(&r)
	if r.err == "" && r.i != len(r.b) {
		r.fail("%d bytes follow the last event", len(r.b)-r.i)
	}
	if r.err != "" {
		return nil, fmt.Errorf("%w: at byte %d of the payload: %s", ErrBatchInvalid, r.i, r.err)
	}
	return &d.batch, nil
}

// open checks the frame and returns the payload.
func (d *Decoder) open(data []byte) (string, error) {
	if len(data) < batchHeaderSize || string(data[:4]) != batchMagic {
		return "", fmt.Errorf("%w: %d bytes that do not start as a batch", ErrBatchTorn, len(data))
	}
	if data[4] < firstBatchVersion || data[4] > batchVersion {
		return "", fmt.Errorf("%w: %d, this is version %d", ErrBatchVersion, data[4], batchVersion)
	}
	if len(data) > batchHeaderSize+MaxBatchPayload {
		return "", fmt.Errorf("%w: %d bytes are too many", ErrBatchInvalid, len(data))
	}
	if got, want := batchSum(data), binary.BigEndian.Uint32(data[12:]); got != want {
		return "", fmt.Errorf("%w: checksum is %08x, want %08x", ErrBatchTorn, got, want)
	}
	if data[5]&^flagZstd != 0 || data[6] != 0 || data[7] != 0 {
		return "", fmt.Errorf("%w: unknown flags", ErrBatchInvalid)
	}
	size := binary.BigEndian.Uint32(data[8:])
	if size > MaxBatchPayload {
		return "", fmt.Errorf("%w: a payload of %d bytes is over the bound of %d", ErrBatchInvalid, size, MaxBatchPayload)
	}
	body := data[batchHeaderSize:]
	if data[5]&flagZstd != 0 {
		var err error
		if d.raw, err = d.zstd.DecodeAll(body, d.raw[:0]); err != nil {
			return "", fmt.Errorf("%w: decompressing: %w", ErrBatchInvalid, err)
		}
		body = d.raw
	}
	if len(body) != int(size) {
		return "", fmt.Errorf("%w: the payload has %d bytes, not %d", ErrBatchInvalid, len(body), size)
	}
	return string(body), nil
}

// reset forgets the last batch, so that nothing of it is kept alive by unused slots.
func (d *Decoder) reset() {
	events := d.batch.Events
	clear(events)
	d.batch = Batch{Events: events[:0]}
	d.strings = wipe(d.strings)
	d.containers = wipe(d.containers)
	d.tasks = wipe(d.tasks)
	d.mounts = wipe(d.mounts)
	d.processes = wipe(d.processes)
	d.depths = d.depths[:0]
	d.args = wipe(d.args)
	d.addrs = d.addrs[:0]
	d.execs = wipe(d.execs)
	d.exits = d.exits[:0]
	d.opens = wipe(d.opens)
	d.sockets = wipe(d.sockets)
	d.dns = wipe(d.dns)
	d.ptraces = wipe(d.ptraces)
	d.files = wipe(d.files)
	d.memories = wipe(d.memories)
	d.mountings = wipe(d.mountings)
	d.creds = d.creds[:0]
	d.calls = d.calls[:0]
	d.alerts = wipe(d.alerts)
}

func wipe[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// grow makes room for n elements in an empty arena, so that pointers into it stay together.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, 0, n)
	}
	return s
}

// push adds a zero element to an arena. When the arena moves, pointers taken before go on pointing at the old memory, which
// is complete and never changes again; so they stay right.
func push[T any](s *[]T) *T {
	var zero T
	*s = append(*s, zero)
	return &(*s)[len(*s)-1]
}

func (d *Decoder) read(r *reader) {
	b := &d.batch
	for _, s := range [...]*string{&b.AgentID, &b.Epoch, &b.AgentVersion, &b.Host.ID, &b.Host.Name, &b.Host.Kernel, &b.Host.Arch} {
		*s = r.bytes(MaxBatchText)
	}
	b.Sequence = r.uint()

	n := r.count(MaxBatchStrings, 2, "strings")
	d.strings = grow(d.strings, n)
	for range n {
		s := r.bytes(MaxBatchText)
		if r.err != "" {
			return
		}
		d.strings = append(d.strings, s)
	}
	n = r.count(MaxBatchContainers, 11, "containers")
	d.containers = grow(d.containers, n)
	for range n {
		d.readContainer(r, push(&d.containers))
		if r.err != "" {
			return
		}
	}
	n = r.count(MaxBatchProcesses, 50, "processes")
	d.processes = grow(d.processes, n)
	for range n {
		d.readProcess(r)
		if r.err != "" {
			return
		}
	}
	n = r.count(MaxBatchEvents, 5, "events")
	b.Events = grow(b.Events, n)
	var last int64
	for range n {
		last = d.readEvent(r, push(&b.Events), last)
		if r.err != "" {
			return
		}
	}
}

func (d *Decoder) text(r *reader) string {
	id := r.uint()
	if id == 0 {
		return ""
	}
	if id > uint64(len(d.strings)) {
		r.fail("string %d of %d", id, len(d.strings))
		return ""
	}
	return d.strings[id-1]
}

func (d *Decoder) readContainer(r *reader, c *Container) {
	c.ID = d.text(r)
	c.Name = d.text(r)
	c.Image = d.text(r)
	c.ImageID = d.text(r)
	c.Runtime = d.text(r)
	c.Cluster = d.text(r)
	c.Service = d.text(r)
	c.Privileged = r.bool()
	task := r.bool()
	c.StartedAt = r.int()
	if n := r.count(maxMounts, 3, "mounts"); n > 0 {
		start := len(d.mounts)
		for range n {
			m := push(&d.mounts)
			m.Name = d.text(r)
			m.Source = d.text(r)
			m.Target = d.text(r)
		}
		c.Mounts = d.mounts[start:len(d.mounts):len(d.mounts)]
	}
	if task {
		t := push(&d.tasks)
		t.ARN = d.text(r)
		t.ClusterARN = d.text(r)
		t.Family = d.text(r)
		t.Revision = d.text(r)
		t.DefinitionARN = d.text(r)
		t.Service = d.text(r)
		t.LaunchType = d.text(r)
		t.StartedBy = d.text(r)
		t.ContainerName = d.text(r)
		t.CreatedAt = r.int()
		t.StartedAt = r.int()
		c.Task = t
	}
}

// before returns the process that a reference names: nil for 0. Only processes that are already read can be named.
func (d *Decoder) before(r *reader, depth *uint8) *Process {
	id := r.uint()
	if id == 0 {
		return nil
	}
	if id > uint64(len(d.depths)) {
		r.fail("process %d of %d", id, len(d.depths))
		return nil
	}
	if depth != nil {
		if *depth = max(*depth, d.depths[id-1]+1); *depth >= maxChain {
			r.fail("a chain of %d processes", maxChain+1)
			return nil
		}
	}
	return &d.processes[id-1]
}

func (d *Decoder) readProcess(r *reader) {
	var depth uint8
	p := push(&d.processes)
	bits := r.byte()
	if bits&^(procExe|procStdio|procContainer|procArgsCut|procUpper) != 0 {
		r.fail("process with unknown bits %02x", bits)
	}
	p.IsContainer = bits&procContainer != 0
	p.ArgsCut = bits&procArgsCut != 0
	p.UUID = r.uuid()
	p.ParentUUID = r.uuid()
	p.Parent = d.before(r, &depth)
	p.PID = r.uint32()
	p.NSPID = r.uint32()
	p.StartTime = r.int()
	p.UID = r.uint32()
	p.EUID = r.uint32()
	p.GID = r.uint32()
	p.EGID = r.uint32()
	p.Name = d.text(r)
	p.User = d.text(r)
	p.ExePath = d.text(r)
	p.SHA256 = d.text(r)
	p.Cwd = d.text(r)
	p.ScriptPath = d.text(r)
	p.LDPreload = d.text(r)
	p.LDLibPath = d.text(r)
	if n := r.count(min(maxArgs, maxBatchArgs-len(d.args)), 1, "arguments"); n > 0 {
		start := len(d.args)
		for range n {
			d.args = append(d.args, d.text(r))
		}
		p.Args = d.args[start:len(d.args):len(d.args)]
	}
	if bits&procExe != 0 {
		f := &p.Exe
		f.Origin = FileOrigin(r.below(byte(len(originNames)), "origin"))
		f.UpperLayer = bits&procUpper != 0
		f.Dev = r.uint()
		f.Inode = r.uint()
		f.MTime = r.int()
		f.CTime = r.int()
		f.Size = r.int()
		f.Writer = d.before(r, &depth)
		f.WrittenAt = r.int()
	}
	if bits&procStdio != 0 {
		readStdio(r, &p.Stdin)
		readStdio(r, &p.Stdout)
	}
	d.depths = append(d.depths, depth)
}

// readEvent reads one event; last is the time of the event before, and the result this one's.
func (d *Decoder) readEvent(r *reader, ev *Event, last int64) int64 {
	ev.Kind = Kind(r.byte())
	bits := r.byte()
	if bits&^(eventContainer|eventErrno|eventCount) != 0 {
		r.fail("event with unknown bits %02x", bits)
	}
	ev.Time = last + r.int()
	ev.Process = d.before(r, nil)
	if ev.Process == nil {
		r.fail("event without a process")
	}
	if bits&eventContainer != 0 {
		if id := r.uint(); id < uint64(len(d.containers)) {
			ev.Container = &d.containers[id]
		} else {
			r.fail("container %d of %d", id, len(d.containers))
		}
	}
	if bits&eventErrno != 0 {
		ev.Errno = r.int32()
	}
	ev.Count = 1
	if bits&eventCount != 0 {
		ev.Count = max(1, r.uint32())
	}
	switch ev.Kind {
	case KindExec:
		ev.Exec = push(&d.execs)
		ev.Exec.PreviousExe = d.text(r)
	case KindExit:
		ev.Exit = push(&d.exits)
		ev.Exit.Code = r.int32()
		ev.Exit.Signal = r.int32()
	case KindOpen:
		o := push(&d.opens)
		o.Path = d.text(r)
		o.Flags = r.uint32()
		o.Dev = r.uint()
		o.Inode = r.uint()
		ev.Open = o
	case KindConnect:
		ev.Connect = d.readSocket(r)
	case KindBind:
		ev.Bind = d.readSocket(r)
	case KindDNS:
		q := push(&d.dns)
		q.Response = r.bool()
		q.RCode = r.byte()
		q.Protocol = r.uint16()
		q.Server = r.addrPort()
		q.Local = r.addrPort()
		q.Name = d.text(r)
		q.Type = r.uint16()
		if n := r.count(maxAnswers, 5, "answers"); n > 0 {
			start := len(d.addrs)
			for range n {
				a := r.addr()
				if !a.IsValid() {
					r.fail("an answer without an address")
				}
				d.addrs = append(d.addrs, a)
			}
			q.Answers = d.addrs[start:len(d.addrs):len(d.addrs)]
		}
		ev.DNS = q
	case KindPtrace:
		ev.Ptrace = d.readPtrace(r)
	default:
		d.readLater(r, ev)
	}
	return ev.Time
}

// readLater reads the details of the kinds that came with version 2.
func (d *Decoder) readLater(r *reader, ev *Event) {
	if d.version < 2 {
		r.fail("event of kind %d in a batch of version %d", ev.Kind, d.version)
		return
	}
	switch ev.Kind {
	case KindRename, KindLink, KindSymlink, KindUnlink, KindChmod, KindMmap, KindModule, KindMemfd, KindChroot, KindPivotRoot:
		f := push(&d.files)
		f.Path = d.text(r)
		f.Target = d.text(r)
		f.Flags = r.uint32()
		f.Mode = r.uint32()
		f.Dev = r.uint()
		f.Inode = r.uint()
		f.Origin = FileOrigin(r.below(byte(len(originNames)), "origin"))
		f.Writer = d.before(r, nil)
		f.WrittenAt = r.int()
		ev.File = f
	case KindMprotect:
		m := push(&d.memories)
		m.Start = r.uint()
		m.Length = r.uint()
		m.Protection = r.uint32()
		m.Region = d.text(r)
		m.Path = d.text(r)
		ev.Memory = m
	case KindMount, KindUmount:
		m := push(&d.mountings)
		m.Source = d.text(r)
		m.Target = d.text(r)
		m.FSType = d.text(r)
		m.Flags = r.uint()
		ev.Mount = m
	case KindSocket, KindListen, KindAccept:
		ev.Socket = d.readSocket(r)
	case KindDup:
		ev.Socket = d.readSocket(r)
		ev.Call = d.readCall(r)
	case KindVMRead, KindVMWrite, KindKill, KindSetns:
		ev.Target = d.readPtrace(r)
	case KindSetuid, KindCapset:
		c := push(&d.creds)
		c.UID = r.uint32()
		c.EUID = r.uint32()
		c.Capabilities = r.uint()
		c.SetuidExe = r.bool()
		ev.Creds = c
	case KindUserfaultfd, KindUnshare, KindBPF, KindKeyctl, KindIOUring:
		ev.Call = d.readCall(r)
	case KindAlert:
		a := push(&d.alerts)
		a.Reason = d.text(r)
		a.Where = d.text(r)
		a.Lost = r.uint()
		ev.Alert = a
	default:
		r.fail("event of kind %d", ev.Kind)
	}
}

func (d *Decoder) readPtrace(r *reader) *Ptrace {
	p := push(&d.ptraces)
	p.Request = r.uint32()
	p.TargetPID = r.uint32()
	p.Target = d.before(r, nil)
	return p
}

func (d *Decoder) readCall(r *reader) *Call {
	c := push(&d.calls)
	c.Command = r.uint32()
	c.Flags = r.uint()
	return c
}

func (d *Decoder) readSocket(r *reader) *Socket {
	s := push(&d.sockets)
	s.Family = r.uint16()
	s.Type = r.uint16()
	s.Protocol = r.uint16()
	s.Local = r.addrPort()
	s.Remote = r.addrPort()
	s.Path = d.text(r)
	return s
}

func readStdio(r *reader, s *Stdio) {
	s.Kind = StdioKind(r.below(byte(len(stdioNames)), "stdio kind"))
	s.Inode = r.uint()
	s.Local = r.addrPort()
	s.Remote = r.addrPort()
}

// reader takes values off a payload. After the first error it returns zero values only.
type reader struct {
	b   string
	i   int
	err string
}

func (r *reader) fail(format string, args ...any) {
	if r.err == "" {
		r.err = fmt.Sprintf(format, args...)
	}
}

// take returns the next n bytes.
func (r *reader) take(n int) string {
	if r.err != "" {
		return ""
	}
	if len(r.b)-r.i < n {
		r.err = "unexpected end"
		return ""
	}
	r.i += n
	return r.b[r.i-n : r.i]
}

func (r *reader) byte() byte {
	if s := r.take(1); s != "" {
		return s[0]
	}
	return 0
}

func (r *reader) bool() bool { return r.below(2, "flag") == 1 }

// below reads a byte that must be less than n.
func (r *reader) below(n byte, what string) byte {
	v := r.byte()
	if v >= n {
		r.fail("%s %d", what, v)
		return 0
	}
	return v
}

func (r *reader) uint() uint64 {
	if r.err != "" {
		return 0
	}
	var v uint64
	for shift := 0; shift < 70; shift += 7 {
		if r.i == len(r.b) {
			r.err = "unexpected end"
			return 0
		}
		c := r.b[r.i]
		r.i++
		if shift == 63 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.err = "a number of more than 64 bits"
	return 0
}

func (r *reader) int() int64 {
	v := r.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *reader) uint32() uint32 { return uint32(r.atMost(1<<32 - 1)) }

func (r *reader) uint16() uint16 { return uint16(r.atMost(1<<16 - 1)) }

func (r *reader) atMost(limit uint64) uint64 {
	v := r.uint()
	if v > limit {
		r.fail("number %d over %d", v, limit)
		return 0
	}
	return v
}

func (r *reader) int32() int32 {
	v := r.int()
	if int64(int32(v)) != v {
		r.fail("number %d of more than 32 bits", v)
		return 0
	}
	return int32(v)
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(limit, size int, what string) int {
	n := r.uint()
	if n > uint64(limit) || n > uint64((len(r.b)-r.i)/size) {
		r.fail("%d %s", n, what)
		return 0
	}
	return int(n)
}

func (r *reader) bytes(limit int) string {
	n := r.uint()
	if n > uint64(limit) {
		r.fail("a text of %d bytes", n)
		return ""
	}
	return r.take(int(n))
}

func (r *reader) uuid() (u UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

func (r *reader) addr() netip.Addr {
	switch n := r.byte(); n {
	case 0:
	case 4:
		var v [4]byte
		copy(v[:], r.take(4))
		return netip.AddrFrom4(v)
	case 16:
		var v [16]byte
		copy(v[:], r.take(16))
		return netip.AddrFrom16(v)
	default:
		r.fail("an address of %d bytes", n)
	}
	return netip.Addr{}
}

func (r *reader) addrPort() netip.AddrPort {
	a := r.addr()
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	s := r.take(2)
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16([]byte(s)))
}
