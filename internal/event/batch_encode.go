package event

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"

	"github.com/klauspost/compress/zstd"
)

// Encoder builds batches. Its buffers are reused from batch to batch, so that encoding in the steady state allocates
// nothing. It is for one goroutine.
//
// Add may be called while events happen: each process, container and string is written once per batch, however many events
// share it. Sharing is by pointer, so a process must not change between two Adds.
type Encoder struct {
	strings    []byte
	containers []byte
	processes  []byte
	events     []byte

	stringIDs    map[string]uint64
	containerIDs map[*Container]uint64
	processIDs   map[*Process]uint64 // id+1 of the finished ones
	depths       []uint8             // of each process
	args         int
	count        int
	lastTime     int64

	payload []byte
	frame   []byte
	zstd    *zstd.Encoder
}

// NewEncoder returns an empty encoder.
func NewEncoder() *Encoder {
	e := &Encoder{
		stringIDs:    make(map[string]uint64),
		containerIDs: make(map[*Container]uint64),
		processIDs:   make(map[*Process]uint64),
	}
	var err error
	e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // The options above are constants.
	}
	e.Reset()
	return e
}

// Reset forgets the events added so far.
func (e *Encoder) Reset() {
	e.strings, e.containers, e.processes, e.events = e.strings[:0], e.containers[:0], e.processes[:0], e.events[:0]
	clear(e.stringIDs)
	clear(e.containerIDs)
	clear(e.processIDs)
	e.depths = e.depths[:0]
	e.args, e.count, e.lastTime = 0, 0, 0
}

// Count returns how many events were added since the last Reset.
func (e *Encoder) Count() int { return e.count }

// Size returns about how many bytes the batch has before compression.
func (e *Encoder) Size() int {
	return len(e.strings) + len(e.containers) + len(e.processes) + len(e.events)
}

// Full reports whether another event may no longer fit into the batch.
func (e *Encoder) Full() bool {
	const processes = 2 * maxChain
	return e.count >= MaxBatchEvents || len(e.depths)+processes > MaxBatchProcesses || len(e.containerIDs) >= MaxBatchContainers ||
		e.args+processes*maxArgs > maxBatchArgs || len(e.stringIDs)+processes*(maxArgs+16) > MaxBatchStrings || e.Size()+roomPerEvent > MaxBatchPayload
}

// Add appends an event. An error means that the event cannot be encoded and was left out; the batch stays valid. The
// caller keeps ev.
func (e *Encoder) Add(ev *Event) error {
	switch {
	case ev.Process == nil:
		return fmt.Errorf("encoding %s event: no process", ev.Kind)
	case !AllKinds.Has(ev.Kind):
		return fmt.Errorf("encoding event: kind %d does not travel", ev.Kind)
	case !ev.detailed():
		return fmt.Errorf("encoding %s event: its details are missing", ev.Kind)
	case e.Full():
		return fmt.Errorf("encoding %s event: the batch is full", ev.Kind)
	}

	// The tables first: they may grow while the event's own bytes are being written otherwise.
	process := e.process(ev.Process) + 1
	var container, target uint64
	if ev.Container != nil {
		container = e.container(ev.Container)
	}
	if other := ev.other(); other != nil {
		target = e.process(other) + 1
	}

	var bits byte
	if ev.Container != nil {
		bits |= eventContainer
	}
	if ev.Errno != 0 {
		bits |= eventErrno
	}
	if ev.Count > 1 {
		bits |= eventCount
	}
	b := append(e.events, byte(ev.Kind), bits)
	b = binary.AppendVarint(b, ev.Time-e.lastTime)
	e.lastTime = ev.Time
	b = binary.AppendUvarint(b, process)
	if bits&eventContainer != 0 {
		b = binary.AppendUvarint(b, container)
	}
	if bits&eventErrno != 0 {
		b = binary.AppendVarint(b, int64(ev.Errno))
	}
	if bits&eventCount != 0 {
		b = binary.AppendUvarint(b, uint64(ev.Count))
	}
	switch ev.Kind {
	case KindExec:
		b = e.text(b, ev.Exec.PreviousExe)
	case KindExit:
		b = binary.AppendVarint(b, int64(ev.Exit.Code))
		b = binary.AppendVarint(b, int64(ev.Exit.Signal))
	case KindOpen:
		b = e.text(b, ev.Open.Path)
		b = binary.AppendUvarint(b, uint64(ev.Open.Flags))
		b = binary.AppendUvarint(b, ev.Open.Dev)
		b = binary.AppendUvarint(b, ev.Open.Inode)
	case KindConnect:
		b = e.socket(b, ev.Connect)
	case KindBind:
		b = e.socket(b, ev.Bind)
	case KindDNS:
		d := ev.DNS
		b = append(b, boolByte(d.Response), d.RCode)
		b = binary.AppendUvarint(b, uint64(d.Protocol))
		b = appendAddrPort(b, d.Server)
		b = appendAddrPort(b, d.Local)
		b = e.text(b, d.Name)
		b = binary.AppendUvarint(b, uint64(d.Type))
		answers := d.Answers[:min(len(d.Answers), maxAnswers)]
		b = binary.AppendUvarint(b, uint64(len(answers)))
		for _, a := range answers {
			b = appendAddr(b, a)
		}
	case KindPtrace:
		b = appendPtrace(b, ev.Ptrace, target)
	case KindRename, KindLink, KindSymlink, KindUnlink, KindChmod, KindMmap, KindModule, KindMemfd, KindChroot, KindPivotRoot:
		b = e.fileChange(b, ev.File, target)
	case KindMprotect:
		m := ev.Memory
		b = binary.AppendUvarint(b, m.Start)
		b = binary.AppendUvarint(b, m.Length)
		b = binary.AppendUvarint(b, uint64(m.Protection))
		b = e.text(b, m.Region)
		b = e.text(b, m.Path)
	case KindMount, KindUmount:
		m := ev.Mount
		b = e.text(b, m.Source)
		b = e.text(b, m.Target)
		b = e.text(b, m.FSType)
		b = binary.AppendUvarint(b, m.Flags)
	case KindSocket, KindListen, KindAccept:
		b = e.socket(b, ev.Socket)
	case KindDup:
		b = e.socket(b, ev.Socket)
		b = appendCall(b, ev.Call)
	case KindVMRead, KindVMWrite, KindKill, KindSetns:
		b = appendPtrace(b, ev.Target, target)
	case KindSetuid, KindCapset:
		c := ev.Creds
		b = binary.AppendUvarint(b, uint64(c.UID))
		b = binary.AppendUvarint(b, uint64(c.EUID))
		b = binary.AppendUvarint(b, c.Capabilities)
		b = append(b, boolByte(c.SetuidExe))
	case KindUserfaultfd, KindUnshare, KindBPF, KindKeyctl, KindIOUring:
		b = appendCall(b, ev.Call)
	case KindAlert:
		b = e.text(b, ev.Alert.Reason)
		b = e.text(b, ev.Alert.Where)
		b = binary.AppendUvarint(b, ev.Alert.Lost)
	}
	e.events = b
	e.count++
	return nil
}

// detailed reports whether the struct that the kind calls for is set.
func (e *Event) detailed() bool {
	switch e.Kind {
	case KindExec:
		return e.Exec != nil
	case KindExit:
		return e.Exit != nil
	case KindOpen:
		return e.Open != nil
	case KindConnect:
		return e.Connect != nil
	case KindBind:
		return e.Bind != nil
	case KindDNS:
		return e.DNS != nil
	case KindPtrace:
		return e.Ptrace != nil
	case KindRename, KindLink, KindSymlink, KindUnlink, KindChmod, KindMmap, KindModule, KindMemfd, KindChroot, KindPivotRoot:
		return e.File != nil
	case KindMprotect:
		return e.Memory != nil
	case KindMount, KindUmount:
		return e.Mount != nil
	case KindSocket, KindListen, KindAccept:
		return e.Socket != nil
	case KindDup:
		return e.Socket != nil && e.Call != nil
	case KindVMRead, KindVMWrite, KindKill, KindSetns:
		return e.Target != nil
	case KindSetuid, KindCapset:
		return e.Creds != nil
	case KindUserfaultfd, KindUnshare, KindBPF, KindKeyctl, KindIOUring:
		return e.Call != nil
	case KindAlert:
		return e.Alert != nil
	}
	return false
}

// other returns the process besides the acting one that the details name: the target, or the writer of a file.
func (e *Event) other() *Process {
	switch e.Kind {
	case KindPtrace:
		return e.Ptrace.Target
	case KindVMRead, KindVMWrite, KindKill, KindSetns:
		return e.Target.Target
	case KindRename, KindLink, KindSymlink, KindUnlink, KindChmod, KindMmap, KindModule, KindMemfd, KindChroot, KindPivotRoot:
		return e.File.Writer
	}
	return nil
}

// Finish appends the batch to dst. head gives everything but the events, which are those that were added. The encoder
// keeps them until Reset.
func (e *Encoder) Finish(dst []byte, head *Batch) []byte {
	p := e.payload[:0]
	for _, s := range [...]string{head.AgentID, head.Epoch, head.AgentVersion, head.Host.ID, head.Host.Name, head.Host.Kernel, head.Host.Arch} {
		s = cut(s)
		p = binary.AppendUvarint(p, uint64(len(s)))
		p = append(p, s...)
	}
	p = binary.AppendUvarint(p, head.Sequence)
	p = binary.AppendUvarint(p, uint64(len(e.stringIDs)))
	p = append(p, e.strings...)
	p = binary.AppendUvarint(p, uint64(len(e.containerIDs)))
	p = append(p, e.containers...)
	p = binary.AppendUvarint(p, uint64(len(e.depths)))
	p = append(p, e.processes...)
	p = binary.AppendUvarint(p, uint64(e.count))
	p = append(p, e.events...)
	e.payload = p

	start := len(dst)
	dst = append(dst, batchMagic...)
	dst = append(dst, batchVersion, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(p)))
	dst = binary.BigEndian.AppendUint32(dst, 0)
	body := p
	if len(p) >= compressAbove {
		e.frame = e.zstd.EncodeAll(p, e.frame[:0])
		if len(e.frame) < len(p) {
			body = e.frame
			dst[start+5] |= flagZstd
		}
	}
	dst = append(dst, body...)
	binary.BigEndian.PutUint32(dst[start+12:], batchSum(dst[start:]))
	return dst
}

// Encode appends the encoding of a whole batch to dst. It is the convenient form of Add and Finish.
func (e *Encoder) Encode(dst []byte, b *Batch) ([]byte, error) {
	e.Reset()
	for i := range b.Events {
		if err := e.Add(&b.Events[i]); err != nil {
			return dst, err
		}
	}
	return e.Finish(dst, b), nil
}

// batchSum returns the checksum of a whole batch, its own field left out.
func batchSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:12])
	return crc32.Update(sum, castagnoli, b[batchHeaderSize:])
}

// cut bounds a text to what a decoder accepts.
func cut(s string) string {
	if len(s) > MaxBatchText {
		return s[:MaxBatchText]
	}
	return s
}

// fitting returns how many of a process's arguments stay within the bounds.
func fitting(args []string) int {
	text := 0
	for i, a := range args {
		if text += min(len(a), MaxBatchText); i == maxArgs || text > maxArgsText {
			return i
		}
	}
	return len(args)
}

// text appends a reference to s: 0 for the empty string, else one more than its index in the table.
func (e *Encoder) text(b []byte, s string) []byte {
	if s == "" {
		return append(b, 0)
	}
	s = cut(s)
	id, ok := e.stringIDs[s]
	if !ok {
		id = uint64(len(e.stringIDs)) + 1
		e.stringIDs[s] = id
		e.strings = binary.AppendUvarint(e.strings, uint64(len(s)))
		e.strings = append(e.strings, s...)
	}
	return binary.AppendUvarint(b, id)
}

func (e *Encoder) container(c *Container) uint64 {
	if id, ok := e.containerIDs[c]; ok {
		return id
	}
	id := uint64(len(e.containerIDs))
	e.containerIDs[c] = id
	b := e.containers
	b = e.text(b, c.ID)
	b = e.text(b, c.Name)
	b = e.text(b, c.Image)
	b = e.text(b, c.ImageID)
	b = e.text(b, c.Runtime)
	b = e.text(b, c.Cluster)
	b = e.text(b, c.Service)
	b = append(b, boolByte(c.Privileged), boolByte(c.Task != nil))
	b = binary.AppendVarint(b, c.StartedAt)
	mounts := c.Mounts[:min(len(c.Mounts), maxMounts)]
	b = binary.AppendUvarint(b, uint64(len(mounts)))
	for _, m := range mounts {
		b = e.text(b, m.Name)
		b = e.text(b, m.Source)
		b = e.text(b, m.Target)
	}
	if t := c.Task; t != nil {
		b = e.text(b, t.ARN)
		b = e.text(b, t.ClusterARN)
		b = e.text(b, t.Family)
		b = e.text(b, t.Revision)
		b = e.text(b, t.DefinitionARN)
		b = e.text(b, t.Service)
		b = e.text(b, t.LaunchType)
		b = e.text(b, t.StartedBy)
		b = e.text(b, t.ContainerName)
		b = binary.AppendVarint(b, t.CreatedAt)
		b = binary.AppendVarint(b, t.StartedAt)
	}
	e.containers = b
	return id
}

// process makes sure that p and everything it refers to is in the table, and returns p's index. A chain of more than
// maxChain processes is cut at its far end, and so is one that leads back to itself.
func (e *Encoder) process(p *Process) uint64 {
	id, _ := e.processAt(p, 0)
	return id
}

// processAt works depth-first, so that a process's references are already in the table when it is written. A process that
// is being written is marked 0 in processIDs; one that is done has its index plus 1.
func (e *Encoder) processAt(p *Process, level int) (uint64, bool) {
	if id, ok := e.processIDs[p]; ok {
		if id == 0 || int(e.depths[id-1])+level >= maxChain {
			return 0, false
		}
		return id - 1, true
	}
	if level >= maxChain || len(e.depths) >= MaxBatchProcesses {
		return 0, false
	}
	e.processIDs[p] = 0
	var parent, writer uint64
	depth := uint8(0)
	if p.Parent != nil {
		if id, ok := e.processAt(p.Parent, level+1); ok {
			parent, depth = id+1, e.depths[id]+1
		}
	}
	if p.Exe.Writer != nil {
		if id, ok := e.processAt(p.Exe.Writer, level+1); ok {
			writer, depth = id+1, max(depth, e.depths[id]+1)
		}
	}

	var bits byte
	if p.Exe != (File{}) {
		bits |= procExe
	}
	if p.Stdin != (Stdio{}) || p.Stdout != (Stdio{}) {
		bits |= procStdio
	}
	if p.IsContainer {
		bits |= procContainer
	}
	args := p.Args
	if n := fitting(args); n < len(args) {
		args = args[:n]
		bits |= procArgsCut
	}
	e.args += len(args)
	if p.ArgsCut {
		bits |= procArgsCut
	}
	if p.Exe.UpperLayer {
		bits |= procUpper
	}
	b := append(e.processes, bits)
	b = append(b, p.UUID[:]...)
	b = append(b, p.ParentUUID[:]...)
	b = binary.AppendUvarint(b, parent)
	b = binary.AppendUvarint(b, uint64(p.PID))
	b = binary.AppendUvarint(b, uint64(p.NSPID))
	b = binary.AppendVarint(b, p.StartTime)
	b = binary.AppendUvarint(b, uint64(p.UID))
	b = binary.AppendUvarint(b, uint64(p.EUID))
	b = binary.AppendUvarint(b, uint64(p.GID))
	b = binary.AppendUvarint(b, uint64(p.EGID))
	b = e.text(b, p.Name)
	b = e.text(b, p.User)
	b = e.text(b, p.ExePath)
	b = e.text(b, p.SHA256)
	b = e.text(b, p.Cwd)
	b = e.text(b, p.ScriptPath)
	b = e.text(b, p.LDPreload)
	b = e.text(b, p.LDLibPath)
	b = binary.AppendUvarint(b, uint64(len(args)))
	for _, a := range args {
		b = e.text(b, a)
	}
	if bits&procExe != 0 {
		f := &p.Exe
		b = append(b, byte(f.Origin))
		b = binary.AppendUvarint(b, f.Dev)
		b = binary.AppendUvarint(b, f.Inode)
		b = binary.AppendVarint(b, f.MTime)
		b = binary.AppendVarint(b, f.CTime)
		b = binary.AppendVarint(b, f.Size)
		b = binary.AppendUvarint(b, writer)
		b = binary.AppendVarint(b, f.WrittenAt)
	}
	if bits&procStdio != 0 {
		b = appendStdio(b, &p.Stdin)
		b = appendStdio(b, &p.Stdout)
	}
	e.processes = b

	id := uint64(len(e.depths))
	e.depths = append(e.depths, depth)
	e.processIDs[p] = id + 1
	return id, true
}

func (e *Encoder) socket(b []byte, s *Socket) []byte {
	b = binary.AppendUvarint(b, uint64(s.Family))
	b = binary.AppendUvarint(b, uint64(s.Type))
	b = binary.AppendUvarint(b, uint64(s.Protocol))
	b = appendAddrPort(b, s.Local)
	b = appendAddrPort(b, s.Remote)
	return e.text(b, s.Path)
}

// fileChange appends what was done to a file; writer is a reference to its writer.
func (e *Encoder) fileChange(b []byte, f *FileChange, writer uint64) []byte {
	b = e.text(b, f.Path)
	b = e.text(b, f.Target)
	b = binary.AppendUvarint(b, uint64(f.Flags))
	b = binary.AppendUvarint(b, uint64(f.Mode))
	b = binary.AppendUvarint(b, f.Dev)
	b = binary.AppendUvarint(b, f.Inode)
	b = append(b, byte(f.Origin))
	b = binary.AppendUvarint(b, writer)
	return binary.AppendVarint(b, f.WrittenAt)
}

func appendPtrace(b []byte, p *Ptrace, target uint64) []byte {
	b = binary.AppendUvarint(b, uint64(p.Request))
	b = binary.AppendUvarint(b, uint64(p.TargetPID))
	return binary.AppendUvarint(b, target)
}

func appendCall(b []byte, c *Call) []byte {
	b = binary.AppendUvarint(b, uint64(c.Command))
	return binary.AppendUvarint(b, c.Flags)
}

func appendStdio(b []byte, s *Stdio) []byte {
	b = append(b, byte(s.Kind))
	b = binary.AppendUvarint(b, s.Inode)
	b = appendAddrPort(b, s.Local)
	return appendAddrPort(b, s.Remote)
}

// appendAddr writes an address as its length in bytes (0 when invalid) and its bytes. Zones are not kept.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v := a.As4()
		return append(append(b, 4), v[:]...)
	case a.Is6():
		v := a.As16()
		return append(append(b, 16), v[:]...)
	}
	return append(b, 0)
}

func appendAddrPort(b []byte, ap netip.AddrPort) []byte {
	b = appendAddr(b, ap.Addr())
	if ap.Addr().IsValid() {
		b = binary.BigEndian.AppendUint16(b, ap.Port())
	}
	return b
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}
