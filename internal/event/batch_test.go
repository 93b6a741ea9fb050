package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

var cmpOptions = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

// generator draws batches whose events share processes and containers, as real ones do.
type generator struct {
	t          *rapid.T
	processes  []*Process
	containers []*Container
}

func (g *generator) text(name string) string {
	return rapid.OneOf(rapid.SampledFrom([]string{"", "/bin/sh", "web", "\x1b[31m", "\xff\xfe"}), rapid.StringN(0, 30, 120)).Draw(g.t, name)
}

func (g *generator) texts(name string) []string {
	n := rapid.IntRange(0, 4).Draw(g.t, name+" count")
	var out []string
	for range n {
		out = append(out, g.text(name))
	}
	return out
}

func (g *generator) addr(name string) netip.Addr {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(g.t, name)
	switch rapid.IntRange(0, 3).Draw(g.t, name+" form") {
	case 0:
		return netip.AddrFrom4([4]byte(b[:4]))
	case 1:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte(b[:4])).As16()) // ::ffff:a.b.c.d stays what it is.
	}
	return netip.AddrFrom16([16]byte(b))
}

func (g *generator) addrPort(name string) netip.AddrPort {
	if rapid.Bool().Draw(g.t, name+" unset") {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(g.addr(name), rapid.Uint16().Draw(g.t, name+" port"))
}

func (g *generator) stdio(name string) Stdio {
	return Stdio{Kind: StdioKind(rapid.IntRange(0, 6).Draw(g.t, name)), Inode: rapid.Uint64().Draw(g.t, name), Local: g.addrPort(name), Remote: g.addrPort(name)}
}

func (g *generator) earlier(name string) *Process {
	if len(g.processes) == 0 || rapid.IntRange(0, 3).Draw(g.t, name+" set") == 0 {
		return nil
	}
	return rapid.SampledFrom(g.processes).Draw(g.t, name)
}

func (g *generator) process() *Process {
	var u, pu UUID
	copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(g.t, "uuid"))
	copy(pu[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(g.t, "parent uuid"))
	num := rapid.Uint32()
	p := &Process{
		UUID: u, ParentUUID: pu, PID: num.Draw(g.t, "pid"), NSPID: num.Draw(g.t, "nspid"), StartTime: rapid.Int64().Draw(g.t, "start"),
		UID: num.Draw(g.t, "uid"), EUID: num.Draw(g.t, "euid"), GID: num.Draw(g.t, "gid"), EGID: num.Draw(g.t, "egid"),
		Name: g.text("name"), User: g.text("user"), ExePath: g.text("exe"), SHA256: g.text("sha"), Args: g.texts("arg"),
		ArgsCut: rapid.Bool().Draw(g.t, "cut"), Cwd: g.text("cwd"), ScriptPath: g.text("script"), LDPreload: g.text("preload"),
		LDLibPath: g.text("libpath"), Stdin: g.stdio("stdin"), Stdout: g.stdio("stdout"), Parent: g.earlier("parent"),
		IsContainer: rapid.Bool().Draw(g.t, "is container"),
	}
	if rapid.Bool().Draw(g.t, "has exe") {
		p.Exe = File{
			Origin: FileOrigin(rapid.IntRange(0, 3).Draw(g.t, "origin")), Dev: rapid.Uint64().Draw(g.t, "dev"), Inode: rapid.Uint64().Draw(g.t, "inode"),
			MTime: rapid.Int64().Draw(g.t, "mtime"), CTime: rapid.Int64().Draw(g.t, "ctime"), Size: rapid.Int64().Draw(g.t, "size"),
			UpperLayer: rapid.Bool().Draw(g.t, "upper"), Writer: g.earlier("writer"), WrittenAt: rapid.Int64().Draw(g.t, "written"),
		}
	}
	return p
}

func (g *generator) container() *Container {
	c := &Container{
		ID: g.text("id"), Name: g.text("name"), Image: g.text("image"), ImageID: g.text("image id"), Runtime: g.text("runtime"),
		Privileged: rapid.Bool().Draw(g.t, "privileged"), StartedAt: rapid.Int64().Draw(g.t, "started"), Cluster: g.text("cluster"), Service: g.text("service"),
	}
	for range rapid.IntRange(0, 2).Draw(g.t, "mounts") {
		c.Mounts = append(c.Mounts, Mount{Name: g.text("name"), Source: g.text("source"), Target: g.text("target")})
	}
	if rapid.Bool().Draw(g.t, "task") {
		c.Task = &Task{
			ARN: g.text("arn"), ClusterARN: g.text("cluster arn"), Family: g.text("family"), Revision: g.text("revision"), DefinitionARN: g.text("def"),
			Service: g.text("service"), LaunchType: g.text("type"), StartedBy: g.text("by"), CreatedAt: rapid.Int64().Draw(g.t, "created"),
			StartedAt: rapid.Int64().Draw(g.t, "started"), ContainerName: g.text("cname"),
		}
	}
	return c
}

func (g *generator) socket() *Socket {
	return &Socket{
		Family: rapid.Uint16().Draw(g.t, "family"), Type: rapid.Uint16().Draw(g.t, "type"), Protocol: rapid.Uint16().Draw(g.t, "proto"),
		Local: g.addrPort("local"), Remote: g.addrPort("remote"), Path: g.text("path"),
	}
}

func (g *generator) ptrace() *Ptrace {
	return &Ptrace{Request: rapid.Uint32().Draw(g.t, "request"), Target: g.earlier("target"), TargetPID: rapid.Uint32().Draw(g.t, "target pid")}
}

func (g *generator) call() *Call {
	return &Call{Command: rapid.Uint32().Draw(g.t, "command"), Flags: rapid.Uint64().Draw(g.t, "flags")}
}

func (g *generator) event() Event {
	ev := Event{
		Kind: Kind(rapid.IntRange(int(KindExec), KindCount-1).Draw(g.t, "kind")), Time: rapid.Int64().Draw(g.t, "time"),
		Errno: rapid.Int32().Draw(g.t, "errno"), Count: rapid.Uint32Min(1).Draw(g.t, "count"),
		Process: rapid.SampledFrom(g.processes).Draw(g.t, "process"),
	}
	if rapid.Bool().Draw(g.t, "contained") {
		ev.Container = rapid.SampledFrom(g.containers).Draw(g.t, "container")
	}
	switch ev.Kind {
	case KindExec:
		ev.Exec = &Exec{PreviousExe: g.text("previous")}
	case KindExit:
		ev.Exit = &Exit{Code: rapid.Int32().Draw(g.t, "code"), Signal: rapid.Int32().Draw(g.t, "signal")}
	case KindOpen:
		ev.Open = &Open{Path: g.text("path"), Flags: rapid.Uint32().Draw(g.t, "flags"), Dev: rapid.Uint64().Draw(g.t, "dev"), Inode: rapid.Uint64().Draw(g.t, "inode")}
	case KindConnect:
		ev.Connect = g.socket()
	case KindBind:
		ev.Bind = g.socket()
	case KindDNS:
		ev.DNS = &DNS{
			Response: rapid.Bool().Draw(g.t, "response"), Protocol: rapid.Uint16().Draw(g.t, "proto"), Server: g.addrPort("server"), Local: g.addrPort("local"),
			Name: g.text("name"), Type: rapid.Uint16().Draw(g.t, "type"), RCode: rapid.Byte().Draw(g.t, "rcode"),
		}
		for range rapid.IntRange(0, 3).Draw(g.t, "answers") {
			ev.DNS.Answers = append(ev.DNS.Answers, g.addr("answer"))
		}
	case KindPtrace:
		ev.Ptrace = g.ptrace()
	case KindRename, KindLink, KindSymlink, KindUnlink, KindChmod, KindMmap, KindModule, KindMemfd, KindChroot, KindPivotRoot:
		ev.File = &FileChange{
			Path: g.text("path"), Target: g.text("target"), Flags: rapid.Uint32().Draw(g.t, "flags"), Mode: rapid.Uint32().Draw(g.t, "mode"),
			Dev: rapid.Uint64().Draw(g.t, "dev"), Inode: rapid.Uint64().Draw(g.t, "inode"), Origin: FileOrigin(rapid.IntRange(0, 3).Draw(g.t, "origin")),
			Writer: g.earlier("writer"), WrittenAt: rapid.Int64().Draw(g.t, "written"),
		}
	case KindMprotect:
		ev.Memory = &Memory{
			Start: rapid.Uint64().Draw(g.t, "start"), Length: rapid.Uint64().Draw(g.t, "length"), Protection: rapid.Uint32().Draw(g.t, "protection"),
			Region: g.text("region"), Path: g.text("path"),
		}
	case KindMount, KindUmount:
		ev.Mount = &MountChange{Source: g.text("source"), Target: g.text("target"), FSType: g.text("type"), Flags: rapid.Uint64().Draw(g.t, "flags")}
	case KindSocket, KindListen, KindAccept:
		ev.Socket = g.socket()
	case KindDup:
		ev.Socket, ev.Call = g.socket(), g.call()
	case KindVMRead, KindVMWrite, KindKill, KindSetns:
		ev.Target = g.ptrace()
	case KindSetuid, KindCapset:
		ev.Creds = &Creds{
			UID: rapid.Uint32().Draw(g.t, "uid"), EUID: rapid.Uint32().Draw(g.t, "euid"), Capabilities: rapid.Uint64().Draw(g.t, "capabilities"),
			SetuidExe: rapid.Bool().Draw(g.t, "set-user-id"),
		}
	case KindUserfaultfd, KindUnshare, KindBPF, KindKeyctl, KindIOUring:
		ev.Call = g.call()
	case KindAlert:
		ev.Alert = &Alert{Reason: g.text("reason"), Where: g.text("where"), Lost: rapid.Uint64().Draw(g.t, "lost")}
	}
	return ev
}

func TestBatchRoundTrip(t *testing.T) {
	encoder, decoder := NewEncoder(), NewDecoder()
	rapid.Check(t, func(t *rapid.T) {
		g := &generator{t: t}
		for range rapid.IntRange(1, 6).Draw(t, "processes") {
			g.processes = append(g.processes, g.process())
		}
		for range rapid.IntRange(1, 3).Draw(t, "containers") {
			g.containers = append(g.containers, g.container())
		}
		want := &Batch{
			AgentID: g.text("agent"), Epoch: g.text("epoch"), Sequence: rapid.Uint64().Draw(t, "sequence"), AgentVersion: g.text("version"),
			Host: Host{ID: g.text("host"), Name: g.text("host"), Kernel: g.text("kernel"), Arch: g.text("arch")},
		}
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			want.Events = append(want.Events, g.event())
		}
		data, err := encoder.Encode(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data, decoder)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpOptions); diff != "" {
			t.Fatalf("after a round trip (-want +got):\n%s", diff)
		}
	})
}

// TestOldBatchDecodes reads a batch as version 1 wrote it, as it may lie in the spool of an agent that was updated.
func TestOldBatchDecodes(t *testing.T) {
	old, err := os.ReadFile("testdata/batch_v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	if old[4] != 1 {
		t.Fatalf("the file is of version %d", old[4])
	}
	b, err := Decode(old, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleBatch(8), b, cmpOptions); diff != "" {
		t.Errorf("a batch of version 1 (-want +got):\n%s", diff)
	}
}

// TestEveryKindTravels makes sure that no kind was forgotten in the encoder, the decoder or the generator above.
func TestEveryKindTravels(t *testing.T) {
	for k := KindExec; k < KindCount; k++ {
		e := NewEncoder()
		if err := e.Add(&Event{Kind: k, Process: &Process{}}); err == nil {
			t.Errorf("a %s event without details was taken", k)
		}
		ev := Event{
			Kind: k, Process: &Process{PID: 1}, Exec: &Exec{}, Exit: &Exit{}, Open: &Open{}, Connect: &Socket{}, Bind: &Socket{}, DNS: &DNS{}, Ptrace: &Ptrace{},
			File: &FileChange{}, Memory: &Memory{}, Mount: &MountChange{}, Socket: &Socket{}, Target: &Ptrace{}, Creds: &Creds{}, Call: &Call{}, Alert: &Alert{},
		}
		if err := e.Add(&ev); err != nil {
			t.Errorf("%s: %v", k, err)
			continue
		}
		b, err := Decode(e.Finish(nil, &Batch{}), nil)
		if err != nil {
			t.Errorf("%s: %v", k, err)
			continue
		}
		if got := &b.Events[0]; got.Kind != k || !got.detailed() {
			t.Errorf("%s arrived as %+v", k, got)
		}
	}
}

func TestBatchSharesProcesses(t *testing.T) {
	parent := &Process{PID: 1, Name: "init"}
	p := &Process{PID: 2, Name: "sh", Parent: parent}
	c := &Container{ID: "c"}
	b := &Batch{Events: []Event{
		{Kind: KindExec, Process: p, Container: c, Exec: &Exec{}},
		{Kind: KindExit, Process: p, Container: c, Exit: &Exit{}},
		{Kind: KindExit, Process: parent, Container: c, Exit: &Exit{}},
	}}
	data, err := NewEncoder().Encode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Events[0].Process != got.Events[1].Process || got.Events[0].Process.Parent != got.Events[2].Process || got.Events[0].Container != got.Events[2].Container {
		t.Error("what was shared before encoding is not shared after decoding")
	}
	if got.Events[0].Count != 1 {
		t.Errorf("Count = %d, want 1 where none was given", got.Events[0].Count)
	}
}

func TestBatchBoundsWhatItEncodes(t *testing.T) {
	deep := &Process{PID: 1}
	for i := range 500 {
		deep = &Process{PID: uint32(i + 2), Parent: deep}
	}
	loop := &Process{PID: 7, Name: "ouroboros"}
	loop.Parent = &Process{PID: 8, Parent: loop}
	huge := &Process{PID: 9, ExePath: strings.Repeat("x", 1<<20)}
	for range 100_000 {
		huge.Args = append(huge.Args, "a")
	}
	b := &Batch{Events: []Event{
		{Kind: KindExit, Process: deep, Exit: &Exit{}},
		{Kind: KindExit, Process: loop, Exit: &Exit{}},
		{Kind: KindExit, Process: huge, Exit: &Exit{}},
	}}
	data, err := NewEncoder().Encode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for p := got.Events[0].Process; p != nil; p = p.Parent {
		n++
	}
	if n != maxChain {
		t.Errorf("a lineage of 501 arrived as %d processes, want %d", n, maxChain)
	}
	if p := got.Events[1].Process; p.Name != "ouroboros" || p.Parent == nil || p.Parent.Parent != nil {
		t.Errorf("a lineage that leads back to itself arrived as %+v", p)
	}
	p := got.Events[2].Process
	if len(p.Args) != maxArgs || !p.ArgsCut || len(p.ExePath) != MaxBatchText {
		t.Errorf("got %d arguments (cut %v) and a path of %d bytes, want %d, true, %d", len(p.Args), p.ArgsCut, len(p.ExePath), maxArgs, MaxBatchText)
	}
}

// TestFullBatchDecodes fills a batch with the largest events there can be, all different, until it says it is full. What
// it then holds must still be within the decoder's bounds.
func TestFullBatchDecodes(t *testing.T) {
	for name, make := range map[string]func(i int) *Process{
		"texts": func(i int) *Process {
			var p *Process
			for k := range maxChain {
				text := func(s string) string { return fmt.Sprint(i, k, s) + strings.Repeat("x", MaxBatchText) }
				p = &Process{Name: text("n"), User: text("u"), ExePath: text("e"), SHA256: text("s"), Cwd: text("c"), ScriptPath: text("p"),
					LDPreload: text("l"), LDLibPath: text("b"), Args: []string{text("a"), text("b"), text("c")}, Parent: p}
			}
			return p
		},
		"arguments": func(i int) *Process {
			p := &Process{}
			for k := range maxArgs {
				p.Args = append(p.Args, fmt.Sprint(i*maxArgs+k))
			}
			return p
		},
		"small": func(i int) *Process { return &Process{PID: uint32(i)} },
	} {
		t.Run(name, func(t *testing.T) {
			e := NewEncoder()
			for i := 0; !e.Full(); i++ {
				if err := e.Add(&Event{Kind: KindExit, Process: make(i), Exit: &Exit{}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Add(&Event{Kind: KindExit, Process: &Process{}, Exit: &Exit{}}); err == nil {
				t.Error("a full batch took another event")
			}
			b, err := Decode(e.Finish(nil, &Batch{}), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Events) != e.Count() {
				t.Errorf("got %d events, want %d", len(b.Events), e.Count())
			}
		})
	}
}

func TestEncoderRefusesWhatCannotTravel(t *testing.T) {
	p := &Process{}
	for name, ev := range map[string]Event{
		"no process":    {Kind: KindExit, Exit: &Exit{}},
		"no details":    {Kind: KindOpen, Process: p},
		"a fork":        {Kind: KindFork, Process: p},
		"no kind":       {Process: p},
		"unknown kinds": {Kind: 63, Process: p},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewEncoder()
			if err := e.Add(&ev); err == nil {
				t.Error("no error")
			}
			if b, err := Decode(e.Finish(nil, &Batch{}), nil); err != nil || len(b.Events) != 0 {
				t.Errorf("after a refused event: %v, %v; want an empty batch", b, err)
			}
		})
	}
}

func sampleBatch(n int) *Batch {
	root := &Process{PID: 1, Name: "init", ExePath: "/sbin/init", Args: []string{"/sbin/init"}, UUID: ProcessUUID("h", 1, 1)}
	c := &Container{ID: strings.Repeat("ab", 32), Name: "web", Image: "web:1", Runtime: "docker", Cluster: "shop", Task: &Task{ARN: "arn:aws:ecs:eu-west-1:1:task/shop/1"}}
	b := &Batch{AgentID: "agent", Epoch: "epoch", Sequence: 1, AgentVersion: "0.1", Host: Host{ID: "host", Name: "host"}}
	for i := range n {
		p := &Process{
			PID: uint32(i), UUID: ProcessUUID("h", uint32(i), uint64(i)), Name: "curl", ExePath: "/usr/bin/curl", Args: []string{"curl", "-s", fmt.Sprint("http://host/", i)},
			Parent: root, Cwd: "/srv", User: "app", Exe: File{Dev: 1, Inode: 2, MTime: 3, CTime: 4, Size: 5, Origin: OriginImage}, Stdin: Stdio{Kind: StdioPipe, Inode: uint64(i)},
		}
		at := int64(1_700_000_000_000_000_000 + i*1000)
		switch i % 4 {
		case 0:
			b.Events = append(b.Events, Event{Kind: KindExec, Time: at, Count: 1, Process: p, Container: c, Exec: &Exec{PreviousExe: "/bin/sh"}})
		case 1:
			b.Events = append(b.Events, Event{Kind: KindConnect, Time: at, Count: 1, Process: p, Container: c, Connect: &Socket{Family: 2, Type: 1, Protocol: 6, Remote: netip.MustParseAddrPort("192.0.2.1:443")}})
		case 2:
			b.Events = append(b.Events, Event{Kind: KindDNS, Time: at, Count: 1, Process: p, Container: c, DNS: &DNS{Name: "example.org", Type: 1, Answers: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}})
		case 3:
			b.Events = append(b.Events, Event{Kind: KindExit, Time: at, Count: 1, Process: p, Container: c, Exit: &Exit{Code: 1}})
		}
	}
	return b
}

// reseal makes damaged data look as if it had been sent that way.
func reseal(data []byte) []byte {
	binary.BigEndian.PutUint32(data[12:], batchSum(data))
	return data
}

func TestDecodeRefusesDamage(t *testing.T) {
	data, err := NewEncoder().Encode(nil, sampleBatch(4))
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder()
	for i := range len(data) {
		if _, err := Decode(data[:i], d); err == nil {
			t.Fatalf("a batch cut after %d of %d bytes was taken", i, len(data))
		}
		for bit := range 8 {
			damaged := append([]byte(nil), data...)
			damaged[i] ^= 1 << bit
			if _, err := Decode(damaged, d); err == nil {
				t.Fatalf("a batch with bit %d of byte %d turned was taken", bit, i)
			}
		}
	}
	if _, err := Decode(data, d); err != nil {
		t.Errorf("after damaged ones, a whole batch: %v", err)
	}
}

func TestDecodeErrors(t *testing.T) {
	whole, err := NewEncoder().Encode(nil, sampleBatch(1))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	frame := func(size uint32, flags byte, body []byte) []byte {
		b := append([]byte(batchMagic), batchVersion, flags, 0, 0)
		b = binary.BigEndian.AppendUint32(b, size)
		b = binary.BigEndian.AppendUint32(b, 0)
		return reseal(append(b, body...))
	}
	bomb := z.EncodeAll(make([]byte, 1<<30), nil)
	head := make([]byte, 8) // seven empty texts and the sequence
	for _, test := range []struct {
		name string
		data []byte
		want error
		text string
	}{
		{"empty", nil, ErrBatchTorn, "0 bytes"},
		{"other data", []byte(strings.Repeat("GET / HTTP/1.1\r\n", 4)), ErrBatchTorn, "do not start"},
		{"newer version", func() []byte { b := append([]byte(nil), whole...); b[4] = batchVersion + 1; return reseal(b) }(), ErrBatchVersion, "3"},
		{"version 0", func() []byte { b := append([]byte(nil), whole...); b[4] = 0; return reseal(b) }(), ErrBatchVersion, "0"},
		{"later kind in an old batch", func() []byte {
			b, err := NewEncoder().Encode(nil, &Batch{Events: []Event{{Kind: KindBPF, Process: &Process{}, Call: &Call{}}}})
			if err != nil {
				t.Fatal(err)
			}
			b[4] = 1
			return reseal(b)
		}(), ErrBatchInvalid, "kind 32 in a batch of version 1"},
		{"unknown flag", func() []byte { b := append([]byte(nil), whole...); b[5] |= 64; return reseal(b) }(), ErrBatchInvalid, "flags"},
		{"bomb", frame(1024, flagZstd, bomb), ErrBatchInvalid, "decompressing"},
		{"bomb that says so", frame(1<<30, flagZstd, bomb), ErrBatchInvalid, "over the bound"},
		{"wrong size", frame(9, 0, make([]byte, 8)), ErrBatchInvalid, "not 9"},
		{"ends early", frame(8, 0, head), ErrBatchInvalid, "end"},
		{"too many strings", frame(13, 0, append(append([]byte(nil), head...), 0xff, 0xff, 0xff, 0xff, 0x0f)), ErrBatchInvalid, "strings"},
		{"text beyond the end", frame(2, 0, []byte{100, 0}), ErrBatchInvalid, "unexpected end"},
		{"overlong number", frame(11, 0, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}), ErrBatchInvalid, "64 bits"},
		{"bytes behind", frame(13, 0, append(append([]byte(nil), head...), 0, 0, 0, 0, 7)), ErrBatchInvalid, "follow"},
		{"event of no process", frame(17, 0, append(append([]byte(nil), head...), 0, 0, 0, 1, byte(KindExec), 0, 0, 0, 0)), ErrBatchInvalid, "without a process"},
		{"event of unread process", frame(17, 0, append(append([]byte(nil), head...), 0, 0, 0, 1, byte(KindExec), 0, 0, 5, 0)), ErrBatchInvalid, "process 5 of 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode(test.data, nil)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got error %v, want one with %q that is %v", err, test.text, test.want)
			}
		})
	}
}

func TestDecoderReuseKeepsStrings(t *testing.T) {
	d := NewDecoder()
	one, _ := NewEncoder().Encode(nil, sampleBatch(100))
	b, err := Decode(one, d)
	if err != nil {
		t.Fatal(err)
	}
	name := b.Events[0].Process.ExePath
	two, _ := NewEncoder().Encode(nil, &Batch{Events: []Event{{Kind: KindExit, Process: &Process{ExePath: "/other"}, Exit: &Exit{}}}})
	if b, err = Decode(two, d); err != nil {
		t.Fatal(err)
	}
	if name != "/usr/bin/curl" {
		t.Errorf("a string of the first batch became %q", name)
	}
	want := Event{Kind: KindExit, Count: 1, Process: &Process{ExePath: "/other"}, Exit: &Exit{}}
	if diff := cmp.Diff([]Event{want}, b.Events, cmpOptions); diff != "" {
		t.Errorf("the second batch shows the first one (-want +got):\n%s", diff)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	b := sampleBatch(1000)
	e, d := NewEncoder(), NewDecoder()
	data, err := e.Encode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 2*len(data))
	if n := testing.AllocsPerRun(10, func() { _, _ = e.Encode(buf, b) }); n > 2 {
		t.Errorf("encoding allocates %v times a batch", n)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = Decode(data, d) }); n > 2 {
		t.Errorf("decoding allocates %v times a batch", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 1, 4, 100} {
		data, err := NewEncoder().Encode(nil, sampleBatch(n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		// A body of its own lets the fuzzer reach the tables without knowing zstd.
		d := NewDecoder()
		payload, err := d.open(data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(payload))
	}
	// One event of each kind, so that the fuzzer knows them all.
	p := &Process{PID: 1}
	all := &Batch{}
	for k := KindExec; k < KindCount; k++ {
		all.Events = append(all.Events, Event{
			Kind: k, Process: p, Exec: &Exec{}, Exit: &Exit{}, Open: &Open{}, Connect: &Socket{}, Bind: &Socket{}, DNS: &DNS{}, Ptrace: &Ptrace{Target: p},
			File: &FileChange{Path: "/a", Writer: p}, Memory: &Memory{Region: "heap"}, Mount: &MountChange{Source: "b"}, Socket: &Socket{},
			Target: &Ptrace{}, Creds: &Creds{}, Call: &Call{}, Alert: &Alert{Reason: "loss"},
		})
	}
	data, err := NewEncoder().Encode(nil, all)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	e, d := NewEncoder(), NewDecoder()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, in := range [][]byte{data, framed(data)} {
			b, err := Decode(in, d)
			if err != nil {
				if !errors.Is(err, ErrBatchTorn) && !errors.Is(err, ErrBatchVersion) && !errors.Is(err, ErrBatchInvalid) {
					t.Fatalf("an error of no class: %v", err)
				}
				continue
			}
			// What is taken must be whole: it can be encoded and read again.
			for i := range b.Events {
				n := 0
				for range b.Events[i].Process.Ancestors {
					n++
				}
				if n > MaxLineage {
					t.Fatalf("%d ancestors", n)
				}
			}
			again, err := e.Encode(nil, b)
			if err != nil {
				continue // It can be fuller than an encoder makes it.
			}
			if _, err := Decode(again, nil); err != nil {
				t.Fatalf("decoding what was decoded and encoded: %v", err)
			}
		}
	})
}

// framed wraps a payload in a valid frame.
func framed(payload []byte) []byte {
	b := append([]byte(batchMagic), batchVersion, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, 0)
	return reseal(append(b, payload...))
}

func BenchmarkEncode(b *testing.B) {
	batch := sampleBatch(1000)
	e := NewEncoder()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = e.Encode(buf[:0], batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
	b.ReportMetric(float64(len(buf))/1000, "bytes/event")
}

func BenchmarkDecode(b *testing.B) {
	data, err := NewEncoder().Encode(nil, sampleBatch(1000))
	if err != nil {
		b.Fatal(err)
	}
	d := NewDecoder()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data, d); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
