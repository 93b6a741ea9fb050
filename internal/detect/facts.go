package detect

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/pattern"
)

// Fact is a field that detection computes; patterns name it like a field of the event.
type Fact struct {
	Path    string
	Type    string // string or boolean
	Doc     string
	Example string // a JSON value
}

// The numbers of the facts, counted from event.FieldCount().
const (
	factIntelCategory = iota
	factIntelList
	factEngine
	factShell
	factHostID
	factHostName
	factAnswerCategory
	factCommandName
	factSensitive
)

var facts = []Fact{
	factIntelCategory: {"intel.category", "string", "The categories of the threat lists that hold the address connected to, the name asked for or the file executed.", `"command-and-control"`},
	factIntelList:     {"intel.list", "string", "The names of those lists.", `"my-c2-list"`},
	factEngine:        {"connect.engine", "string", "The container engine whose control socket it is: docker, containerd, podman, cri-o or buildkit.", `"docker"`},
	factShell:         {"process.shell", "boolean", "Whether the program is a command shell, under its own or another name; absent where it is not.", `true`},
	factHostID:        {"host.id", "string", "The id of the host.", `"i-0abc"`},
	factHostName:      {"host.name", "string", "The name of the host.", `"web-1"`},

	factAnswerCategory: {"dns.answerCategory", "string", "The categories of the threat lists that hold an address in the answer.", `"black-hole"`},

	factCommandName: {"command.name", "string", "The names of the programs that the command line of an exec runs: wrappers such as sudo and busybox taken off, the text of sh -c and the like read, quotes and encodings resolved.", `"curl"`},

	factSensitive: {"file.sensitive", "string", "What the file that is written, renamed, linked or removed decides: persistence (what starts, who may log in), privilege-escalation (who may become root) or defense-evasion (what is recorded).", `"persistence"`},
}

// FactList returns the facts, in the order of their numbers.
func FactList() []Fact { return append([]Fact(nil), facts...) }

// Facts are the facts of one event, computed when they are first asked for.
type Facts struct {
	event  *event.Event
	host   finding.Host
	lists  *intel.Lists
	shells *shellBook

	listed     []*intel.List
	haveListed bool

	answers     []*intel.List
	haveAnswers bool

	parser       command.Parser
	commands     []command.Command
	haveCommands bool
}

func (f *Facts) reset(e *event.Event) {
	f.event, f.haveListed, f.haveAnswers, f.haveCommands, f.commands = e, false, false, false, nil
	f.listed, f.answers = f.listed[:0], f.answers[:0]
}

// Listed returns the threat lists that hold the address that the event connects to, the name that it asks for or the file
// that it executes. The slice is valid until the next event.
func (f *Facts) Listed() []*intel.List {
	if f.haveListed {
		return f.listed
	}
	f.haveListed = true
	switch e := f.event; {
	case e.Connect != nil && (e.Connect.Family == afINET || e.Connect.Family == afINET6):
		f.listed = f.lists.Address(f.listed, e.Connect.Remote.Addr())
	case e.DNS != nil:
		f.listed = f.lists.Domain(f.listed, e.DNS.Name)
	case e.Kind == event.KindExec && e.Process != nil:
		f.listed = f.lists.File(f.listed, e.Process.SHA256)
	}
	return f.listed
}

// Commands returns the commands that the command line of an exec stands for; the first is the program itself. The slice is
// valid until the next event.
func (f *Facts) Commands() []command.Command {
	if !f.haveCommands && f.event.Kind == event.KindExec && f.event.Process != nil {
		p := f.event.Process
		f.commands = f.parser.Parse(p.ExePath, p.Args, p.ScriptPath)
	}
	f.haveCommands = true
	return f.commands
}

// maxAnswers bounds how many addresses of one DNS answer are looked up.
const maxAnswers = 64

// AnswerListed returns the threat lists that hold an address of a DNS answer. The slice is valid until the next event.
func (f *Facts) AnswerListed() []*intel.List {
	if f.haveAnswers || f.event.DNS == nil {
		return f.answers
	}
	f.haveAnswers = true
	for i, a := range f.event.DNS.Answers {
		if i == maxAnswers {
			break
		}
		n := len(f.answers)
		f.answers = f.lists.Address(f.answers, a)
		for _, l := range f.answers[n:] {
			if !slices.Contains(f.answers[:n], l) {
				f.answers[n] = l
				n++
			}
		}
		f.answers = f.answers[:n]
	}
	return f.answers
}

// Engine returns the container engine whose control socket the event connects to, or "".
func (f *Facts) Engine() string {
	e := f.event
	if e.Connect == nil || e.Connect.Family != afUNIX {
		return ""
	}
	return engineOf(e.Connect.Path, e.Container)
}

// Shell reports whether the program of p is a command shell.
func (f *Facts) Shell(p *event.Process) bool { return f.shells.is(p) }

// AppendValues makes the facts, with the fields of the event before them, a pattern.Record.
func (f *Facts) AppendValues(dst []pattern.Value, field int) []pattern.Value {
	n := event.FieldCount()
	if field < n {
		return f.event.AppendValues(dst, field)
	}
	text := func(s string) []pattern.Value {
		if s == "" {
			return dst
		}
		return append(dst, pattern.StringValue(s))
	}
	switch field - n {
	case factIntelCategory:
		for _, l := range f.Listed() {
			dst = append(dst, pattern.StringValue(l.Category))
		}
	case factIntelList:
		for _, l := range f.Listed() {
			dst = append(dst, pattern.StringValue(l.Name))
		}
	case factEngine:
		return text(f.Engine())
	case factShell:
		if f.event.Process != nil && f.shells.is(f.event.Process) {
			return append(dst, pattern.BoolValue(true))
		}
	case factHostID:
		return text(f.host.ID)
	case factHostName:
		return text(f.host.Name)
	case factCommandName:
		for i := range f.Commands() {
			if name := f.commands[i].Name; name != "" {
				dst = append(dst, pattern.StringValue(name))
			}
		}
	case factSensitive:
		if c, _, _ := Sensitive(f.event); c != "" {
			return append(dst, pattern.StringValue(c))
		}
	case factAnswerCategory:
		for _, l := range f.AnswerListed() {
			dst = append(dst, pattern.StringValue(l.Category))
		}
	}
	return dst
}

// fieldByPath resolves the fields of events and the facts.
func fieldByPath(path string) (int, bool) {
	if n, ok := event.FieldByPath(path); ok {
		return n, true
	}
	for i := range facts {
		if facts[i].Path == path {
			return event.FieldCount() + i, true
		}
	}
	return 0, false
}

// Address families and socket types of Linux.
const (
	afUNIX  = 1
	afINET  = 2
	afINET6 = 10

	sockStream = 1
	sockDgram  = 2
)

// engineSockets maps the file name of a control socket to its engine. Only the name counts, not the folder: containers
// mount the socket, or the folder it is in, wherever they like, and reach it through /proc/1/root or with a relative path.
var engineSockets = map[string]string{
	"docker.sock":           "docker",
	"docker-raw.sock":       "docker",
	"dockershim.sock":       "docker",
	"cri-dockerd.sock":      "docker",
	"containerd.sock":       "containerd",
	"containerd.sock.ttrpc": "containerd",
	"crio.sock":             "cri-o",
	"podman.sock":           "podman",
	"buildkitd.sock":        "buildkit",
}

// engineOf returns the engine whose control socket path is, seen from container c. A socket mounted under another name is
// recognised by the host path behind the mount.
func engineOf(socket string, c *event.Container) string {
	// containerd's shims listen on abstract sockets (CVE-2020-15257) or below /run/containerd/s.
	if strings.HasPrefix(socket, "@/containerd-shim/") || strings.Contains(socket, "/containerd/s/") {
		return "containerd"
	}
	if strings.HasPrefix(socket, "@") {
		return ""
	}
	if engine := engineSockets[base(socket)]; engine != "" {
		return engine
	}
	if c == nil || len(c.Mounts) == 0 {
		return ""
	}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if m.Target == "" || m.Source == "" || !strings.HasPrefix(m.Source, "/") {
			continue
		}
		engine := engineSockets[base(m.Source)]
		if engine == "" {
			continue
		}
		if socket == m.Target || path.Clean(socket) == path.Clean(m.Target) || base(socket) == base(m.Target) && !strings.HasPrefix(socket, "/") {
			return engine
		}
	}
	return ""
}

// base is the last element of a path, without allocation.
func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// unmapped returns an address with IPv4 in its own form.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
