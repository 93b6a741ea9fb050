package rules

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

var update = flag.Bool("update", false, "rewrite the expected findings in testdata")

// TestFixtures runs the stories of testdata/*.txt. A story is lines of
//
//	KIND PID JSON       an event of a process
//	proc PID JSON       a process that was there before: no event
//	# comment
//
// then a line "==", then the findings expected, one a line. Each story may have several cases, which start with "case NAME"
// and have a fresh engine.
//
// The JSON of exec and proc describes the process (ppid, exe, name, args, origin, sha, stdin, stdout, writer, host …), that of
// the other kinds the event. Streams are written "tty 5", "pipe 7", "unix 8", "file", "null" or "LOCAL>REMOTE".
func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cases := strings.Split("\n"+strings.TrimSpace(string(text)), "\ncase ")
		out.WriteString(strings.TrimSpace(cases[0]))
		for _, c := range cases[1:] {
			name, body, _ := strings.Cut(c, "\n")
			input, want, found := strings.Cut(body+"\n", "\n==\n")
			if !found {
				input = strings.TrimSuffix(strings.TrimSuffix(input, "\n"), "\n==")
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) {
				got := run(t, input)
				if out.Len() > 0 {
					out.WriteString("\n\n")
				}
				fmt.Fprintf(&out, "case %s\n%s\n==\n%s", name, strings.TrimSpace(input), strings.TrimSpace(got))
				if *update {
					return
				}
				if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
					t.Errorf("findings (-want +got):\n%s", diff)
				}
			})
		}
		if *update {
			if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// world is the processes of one story.
type world struct {
	processes map[uint32]*event.Process
	home      map[uint32]*event.Container
	now       int64
}

var (
	app   = &event.Container{ID: strings.Repeat("ab", 32), Name: "app-1", Image: "shop/web:1.9.3", Runtime: "docker", StartedAt: 1e9, Cluster: "prod", Mounts: []event.Mount{{Source: "/run/docker.sock", Target: "/tmp/innocent.sock"}}, Task: &event.Task{Family: "web", Revision: "42", ContainerName: "app"}}
	other = &event.Container{ID: strings.Repeat("cd", 32), Name: "other", Image: "shop/db:2"}
)

func parse(t *testing.T, list *intel.List, text string) {
	t.Helper()
	if _, err := intel.Parse(intel.Into{Addresses: list, Domains: list, Files: list}, "TXT", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, input string) string {
	t.Helper()
	lists := intel.NewLists()
	list := &intel.List{Name: "custom", Category: intel.CommandAndControl}
	parse(t, list, "203.0.113.66\n198.51.100.0/24\n2001:db8::bad\nevil.example\n")
	lists.Set("custom", list)
	// One list for each category, named by it: the name CATEGORY.example, and addresses and files by number.
	for n, category := range []string{intel.Cryptocurrency, intel.TorRelay, intel.TorGuard, intel.TorAuthority, intel.BlackHole, intel.DropPoint,
		intel.DGA, intel.DriveBy, intel.Phishing, intel.AbusedReputation, intel.CryptocurrencyReputation, intel.MaliciousReputation,
		intel.SuspiciousReputation, intel.Malware, intel.CustomMalware, intel.Tool, intel.Miner} {
		list := &intel.List{Name: "list of " + category, Category: category, ThreatNames: []string{"Some threat"}}
		text := fmt.Sprintf("%s.example\n192.0.2.%d\n%s\n", category, 100+n, strings.Repeat(fmt.Sprintf("%02x", 0xe0+n), 32))
		if category == intel.TorGuard {
			text += "192.0.2.101\n192.0.2.110\n192.0.2.111\n192.0.2.112\n192.0.2.113\n"
		}
		if category == intel.TorRelay {
			text = "192.0.2.101\n192.0.2.110\n192.0.2.111\n192.0.2.112\n192.0.2.113\n192.0.2.114\n"
		}
		parse(t, list, text)
		lists.Set(category, list)
	}
	engine, err := detect.New(detect.Options{Rules: All(), Lists: lists})
	if err != nil {
		t.Fatal(err)
	}
	w := world{processes: map[uint32]*event.Process{}, home: map[uint32]*event.Container{}, now: 100e9}
	var out strings.Builder
	for n, line := range strings.Split(input, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		e, err := w.event(line)
		if err != nil {
			t.Fatalf("line %d: %s: %v", n+1, line, err)
		}
		if e == nil {
			continue
		}
		batch := &event.Batch{AgentID: "agent-1", AgentVersion: "1.0", Host: event.Host{ID: "host-1", Name: "node-1"}, Events: []event.Event{*e}}
		// Through the encoding, so that the rules get exactly what they will get, and nothing that outlives it.
		data, err := event.NewEncoder().Encode(nil, batch)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := event.Decode(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		engine.Process(decoded, func(occ *finding.Occurrence) {
			f := finding.New(finding.Identity{AccountID: "111122223333", Region: "us-east-1", DetectorID: "d"}, occ, occ.Time)
			fmt.Fprintf(&out, "%s severity %v count %d process %s\n  %s\n", f.Type, f.Severity, f.Service.Count, occ.Process.ExePath, f.Description)
			if text, _ := json.Marshal(occ.Context); string(text) != "{}" {
				fmt.Fprintf(&out, "  context %s\n", fixtureNoise.ReplaceAllString(string(text), ""))
			}
			if a := f.Service.Action; a.ActionType != "" {
				text, _ := json.Marshal(a)
				fmt.Fprintf(&out, "  action %s\n", text)
			}
			if f.Service.AdditionalInfo.Value != "" {
				fmt.Fprintf(&out, "  info %s\n", f.Service.AdditionalInfo.Value)
			}
		})
	}
	return out.String()
}

// fixtureNoise are members of a process in a context that say nothing in a story.
var fixtureNoise = regexp.MustCompile(`,"(namespacePid|startTime|uuid|parentUuid|user|userId|euid|pwd|executableSha256|lineage)":("[^"]*"|[0-9.]+|\[[^]]*\])`)

type step struct {
	// of a process
	PPID    uint32
	Exe     string
	Name    string
	Args    []string
	Origin  string
	Sha     string
	Stdin   string
	Stdout  string
	Script  string
	Writer  uint32
	Host    bool // of the host, in no container
	First   bool // its container's first process
	UID     uint32
	EUID    uint32
	User    string
	Cwd     string
	Preload string
	Other   bool // of the other container
	// of an event
	After   int64 // seconds since the line before
	Errno   int32
	Count   uint32
	Remote  netip.AddrPort
	Local   netip.AddrPort
	Path    string
	UDP     bool
	Dns     string
	Answer  bool
	Request uint32
	Target  uint32
	Gone    bool
	Answers []netip.Addr
	Flags   uint32
	File    *event.FileChange
	Memory  *event.Memory
	Mount   *event.MountChange
	Creds   *event.Creds
	Call    *event.Call
}

func (w *world) event(text string) (*event.Event, error) {
	var kind string
	var pid uint32
	if _, err := fmt.Sscan(text, &kind, &pid); err != nil {
		return nil, err
	}
	var l step
	if i := strings.IndexByte(text, '{'); i >= 0 {
		d := json.NewDecoder(strings.NewReader(text[i:]))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			return nil, err
		}
	}
	w.now += l.After*1e9 + 1e6
	if kind == "exec" || kind == "proc" {
		if err := w.exec(pid, &l); err != nil {
			return nil, err
		}
		if kind == "proc" {
			return nil, nil
		}
	}
	p := w.processes[pid]
	if p == nil {
		return nil, fmt.Errorf("no process %d", pid)
	}
	e := &event.Event{Time: w.now, Errno: l.Errno, Count: max(1, l.Count), Process: p, Container: w.home[pid]}
	family := uint16(2)
	if l.Remote.Addr().Is6() || l.Local.Addr().Is6() {
		family = 10
	}
	s := &event.Socket{Family: family, Type: 1, Protocol: 6, Local: l.Local, Remote: l.Remote}
	if l.UDP {
		s.Type, s.Protocol = 2, 17
	}
	if l.Path != "" {
		s = &event.Socket{Family: 1, Type: 1, Path: l.Path}
	}
	switch kind {
	case "exec":
		e.Kind, e.Exec = event.KindExec, &event.Exec{}
	case "connect":
		e.Kind, e.Connect = event.KindConnect, s
	case "bind":
		e.Kind, e.Bind = event.KindBind, s
	case "dns":
		e.Kind = event.KindDNS
		e.DNS = &event.DNS{Name: l.Dns, Type: 1, Protocol: 17, Response: l.Answer, Server: netip.MustParseAddrPort("10.0.0.2:53"), Answers: l.Answers}
	case "ptrace":
		e.Kind = event.KindPtrace
		e.Ptrace = &event.Ptrace{Request: l.Request, TargetPID: l.Target}
		if !l.Gone {
			e.Ptrace.Target = w.processes[l.Target]
		}
	case "open":
		e.Kind, e.Open = event.KindOpen, &event.Open{Path: l.Path, Flags: l.Flags}
	default:
		var ok bool
		if e.Kind, ok = event.ParseKind(kind); !ok {
			return nil, fmt.Errorf("unknown kind %q", kind)
		}
		e.File, e.Memory, e.Mount, e.Creds, e.Call = l.File, l.Memory, l.Mount, l.Creds, l.Call
		switch e.Kind {
		case event.KindListen, event.KindAccept, event.KindSocket:
			e.Socket = s
		case event.KindVMRead, event.KindVMWrite, event.KindKill, event.KindSetns:
			e.Target = &event.Ptrace{Request: l.Request, TargetPID: l.Target, Target: w.processes[l.Target]}
		case event.KindMmap, event.KindModule:
			if l.Writer != 0 {
				e.File.Writer, e.File.WrittenAt = w.processes[l.Writer], 31e9
			}
		}
	}
	return e, nil
}

func (w *world) exec(pid uint32, l *step) error {
	parent := w.processes[l.PPID]
	old := w.processes[pid]
	if parent == nil && old != nil {
		parent = old.Parent
	}
	p := &event.Process{UUID: uuid(pid), PID: pid, NSPID: pid, ExePath: l.Exe, Name: l.Name, Args: l.Args, SHA256: l.Sha, StartTime: w.now,
		ScriptPath: l.Script, Parent: parent, User: "root", UID: l.UID, EUID: l.EUID, IsContainer: l.First, Cwd: l.Cwd, LDPreload: l.Preload}
	if l.User != "" {
		p.User = l.User
	}
	if p.Name == "" {
		p.Name = l.Exe[strings.LastIndexByte(l.Exe, '/')+1:]
	}
	if parent != nil {
		p.ParentUUID = parent.UUID
	}
	p.Exe.Origin = event.OriginImage
	switch l.Origin {
	case "written":
		p.Exe.Origin, p.Exe.MTime, p.Exe.CTime = event.OriginWritten, 31e9, 31e9
	case "memory":
		p.Exe.Origin = event.OriginMemory
	}
	if l.Writer != 0 {
		p.Exe.Writer, p.Exe.WrittenAt = w.processes[l.Writer], 31e9
	}
	var err error
	if p.Stdin, err = stdio(l.Stdin); err != nil {
		return err
	}
	if p.Stdout, err = stdio(l.Stdout); err != nil {
		return err
	}
	w.processes[pid] = p
	switch {
	case l.Host:
	case l.Other:
		w.home[pid] = other
	default:
		w.home[pid] = app
	}
	return nil
}

func stdio(s string) (event.Stdio, error) {
	word, number, _ := strings.Cut(s, " ")
	var inode uint64
	fmt.Sscan(number, &inode)
	switch word {
	case "", "null":
		return event.Stdio{Kind: event.StdioOther, Inode: 4}, nil
	case "closed":
		return event.Stdio{}, nil
	case "file":
		return event.Stdio{Kind: event.StdioFile, Inode: inode}, nil
	case "tty":
		return event.Stdio{Kind: event.StdioTTY, Inode: inode}, nil
	case "pipe":
		return event.Stdio{Kind: event.StdioPipe, Inode: inode}, nil
	case "unix":
		return event.Stdio{Kind: event.StdioUnix, Inode: inode}, nil
	}
	local, remote, ok := strings.Cut(s, ">")
	if !ok {
		return event.Stdio{}, fmt.Errorf("stream %q", s)
	}
	l, err := netip.ParseAddrPort(local)
	if err != nil {
		return event.Stdio{}, err
	}
	r, err := netip.ParseAddrPort(remote)
	return event.Stdio{Kind: event.StdioSocket, Inode: 900, Local: l, Remote: r}, err
}

func uuid(pid uint32) event.UUID { return event.ProcessUUID("host-1", pid, uint64(pid)) }
