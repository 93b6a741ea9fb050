package custom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"time"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/pattern"
)

// ParseEvent reads an event in the form in which 'vedette events --output json' writes it: an object with the fields of
// docs/events.md, nested as their paths are, and optionally the time. host.id and host.name may be there too. A field that
// does not exist is an error. What Event.MarshalJSON wrote comes back with the same fields, except
// that ancestors without a name shift the names of those above them.
func ParseEvent(text []byte) (*event.Event, finding.Host, error) {
	if len(text) > maxEventText {
		return nil, finding.Host{}, fmt.Errorf("an event of more than %d bytes", maxEventText)
	}
	var w eventJSON
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			err = fmt.Errorf("%s: want a %s, got a %s", typ.Field, jsonTypes[typ.Type.Kind()], typ.Value)
		}
		return nil, finding.Host{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, finding.Host{}, errors.New("more than one object")
	}
	return w.event()
}

const maxEventText = 1 << 20

var jsonTypes = map[reflect.Kind]string{
	reflect.String: "text", reflect.Bool: "true or false", reflect.Struct: "object", reflect.Ptr: "object", reflect.Slice: "list",
	reflect.Uint8: "whole number below 256", reflect.Uint16: "whole number below 65536", reflect.Uint32: "whole number", reflect.Uint64: "whole number",
	reflect.Int32: "whole number", reflect.Int64: "whole number",
}

// many is one value or a list of them.
type many[T any] []T

func (m *many[T]) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]T)(m))
	}
	var one T
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*m = many[T]{one}
	return nil
}

// eventJSON is the object. Facts that detection computes may stand in it, and are computed anew.
type eventJSON struct {
	Time  string `json:"time"`
	Kind  string `json:"kind"`
	Errno int32  `json:"errno"`
	Count uint32 `json:"count"`
	Host  struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"host"`
	Intel     json.RawMessage `json:"intel"`
	Process   *processJSON    `json:"process"`
	Container *containerJSON  `json:"container"`
	Cluster   string          `json:"cluster"`
	Service   string          `json:"service"`
	Task      *taskJSON       `json:"task"`
	Exec      struct {
		Previous string `json:"previousExecutablePath"`
	} `json:"exec"`
	Exit struct {
		Code   int32 `json:"code"`
		Signal int32 `json:"signal"`
	} `json:"exit"`
	Open struct {
		Path  string `json:"path"`
		Flags uint32 `json:"flags"`
	} `json:"open"`
	Connect socketJSON `json:"connect"`
	Bind    socketJSON `json:"bind"`
	Socket  socketJSON `json:"socket"`
	DNS     struct {
		Name     string           `json:"name"`
		Type     uint16           `json:"type"`
		Response bool             `json:"response"`
		RCode    uint8            `json:"rcode"`
		Protocol uint16           `json:"protocol"`
		Answers  many[netip.Addr] `json:"answers"`
		Server   endJSON          `json:"server"`
	} `json:"dns"`
	Ptrace struct {
		Request uint32       `json:"request"`
		Target  *processJSON `json:"targetProcess"`
	} `json:"ptrace"`
	File struct {
		Path   string       `json:"path"`
		Target string       `json:"target"`
		Flags  uint32       `json:"flags"`
		Mode   uint32       `json:"mode"`
		Inode  uint64       `json:"inode"`
		Origin string       `json:"origin"`
		Writer *processJSON `json:"writer"`
	} `json:"file"`
	Memory struct {
		Protection uint32 `json:"protection"`
		Region     string `json:"region"`
		Length     uint64 `json:"length"`
		Path       string `json:"path"`
	} `json:"memory"`
	Mount struct {
		Source string `json:"source"`
		Target string `json:"target"`
		FSType string `json:"fsType"`
		Flags  uint64 `json:"flags"`
	} `json:"mount"`
	Target *struct {
		Request uint32 `json:"request"`
		processJSON
	} `json:"target"`
	Creds struct {
		UID          *uint32      `json:"uid"`
		EUID         *uint32      `json:"euid"`
		Capabilities many[string] `json:"capabilities"`
		SetuidExe    bool         `json:"setuidExecutable"`
	} `json:"creds"`
	Call struct {
		Command uint32 `json:"command"`
		Flags   uint64 `json:"flags"`
	} `json:"call"`
	Alert struct {
		Reason string `json:"reason"`
		Where  string `json:"where"`
		Lost   uint64 `json:"lost"`
	} `json:"alert"`
}

type processJSON struct {
	Name        string       `json:"name"`
	ExePath     string       `json:"executablePath"`
	SHA256      string       `json:"executableSha256"`
	ScriptPath  string       `json:"scriptPath"`
	Cwd         string       `json:"pwd"`
	User        string       `json:"user"`
	UID         uint32       `json:"userId"`
	EUID        uint32       `json:"euid"`
	GID         uint32       `json:"gid"`
	EGID        uint32       `json:"egid"`
	PID         uint32       `json:"pid"`
	NSPID       uint32       `json:"namespacePid"`
	Args        many[string] `json:"args"`
	LDPreload   string       `json:"ldPreload"`
	LDLibPath   string       `json:"ldLibraryPath"`
	IsContainer bool         `json:"isContainer"`
	Shell       bool         `json:"shell"` // a fact
	Stdin       stdioJSON    `json:"stdin"`
	Stdout      stdioJSON    `json:"stdout"`
	Executable  struct {
		Origin string       `json:"origin"`
		Upper  bool         `json:"upperLayer"`
		Size   int64        `json:"size"`
		Writer *processJSON `json:"writer"`
	} `json:"executable"`
	Parent  *processJSON `json:"parent"`
	Lineage *struct {
		Name    many[string] `json:"name"`
		ExePath many[string] `json:"executablePath"`
		UID     many[uint32] `json:"userId"`
	} `json:"lineage"`
}

type stdioJSON struct {
	Kind   string  `json:"kind"`
	Remote endJSON `json:"remote"`
	Local  endJSON `json:"local"`
}

type endJSON struct {
	IP   netip.Addr `json:"ip"`
	Port uint16     `json:"port"`
}

func (e endJSON) addr() netip.AddrPort {
	if !e.IP.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(e.IP, e.Port)
}

type socketJSON struct {
	Family   uint16  `json:"addressFamily"`
	Type     uint16  `json:"socketType"`
	Protocol uint16  `json:"protocol"`
	Local    endJSON `json:"local"`
	Remote   endJSON `json:"remote"`
	Path     string  `json:"path"`
	Engine   string  `json:"engine"` // a fact
}

func (s socketJSON) socket() *event.Socket {
	w := &event.Socket{Family: s.Family, Type: s.Type, Protocol: s.Protocol, Local: s.Local.addr(), Remote: s.Remote.addr(), Path: s.Path}
	// What a test leaves out follows from the rest.
	if w.Family == 0 {
		a := w.Remote.Addr()
		if !a.IsValid() {
			a = w.Local.Addr()
		}
		switch {
		case w.Path != "":
			w.Family = 1
		case a.Is6() && !a.Is4In6():
			w.Family = 10
		case a.IsValid():
			w.Family = 2
		}
		if w.Type == 0 {
			w.Type = 1
		}
		if w.Protocol == 0 && w.Family != 1 {
			w.Protocol = 6
		}
	}
	return w
}

type containerJSON struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Image      string `json:"image"`
	ImageID    string `json:"imageId"`
	Runtime    string `json:"containerRuntime"`
	Privileged bool   `json:"privileged"`
	Mounts     struct {
		Name   many[string] `json:"name"`
		Source many[string] `json:"source"`
		Target many[string] `json:"mountPath"`
	} `json:"volumeMounts"`
}

type taskJSON struct {
	ARN           string `json:"arn"`
	ClusterARN    string `json:"clusterArn"`
	DefinitionARN string `json:"definitionArn"`
	Family        string `json:"family"`
	Revision      string `json:"revision"`
	Service       string `json:"service"`
	LaunchType    string `json:"launchType"`
	StartedBy     string `json:"startedBy"`
	ContainerName string `json:"containerName"`
}

func (w *eventJSON) event() (*event.Event, finding.Host, error) {
	host := finding.Host{ID: w.Host.ID, Name: w.Host.Name}
	kind, ok := event.ParseKind(w.Kind)
	if !ok || !event.AllKinds.Has(kind) {
		return nil, host, fmt.Errorf("kind: there is no kind of event named %q%s", event.PrintableN(w.Kind, 60), suggest(w.Kind, kindNames()))
	}
	e := &event.Event{Kind: kind, Errno: w.Errno, Count: max(1, w.Count)}
	if w.Time != "" {
		t, err := time.Parse(time.RFC3339Nano, w.Time)
		if err != nil {
			return nil, host, fmt.Errorf("time: want a time such as 2026-01-31T12:00:00Z, got %q", event.PrintableN(w.Time, 60))
		}
		e.Time = t.UnixNano()
	}
	var err error
	if e.Process, err = w.Process.process(0); err != nil {
		return nil, host, fmt.Errorf("process: %w", err)
	}
	if e.Process == nil {
		e.Process = &event.Process{}
	}
	e.Container = w.container()
	switch kind {
	case event.KindExec:
		e.Exec = &event.Exec{PreviousExe: w.Exec.Previous}
	case event.KindExit:
		e.Exit = &event.Exit{Code: w.Exit.Code, Signal: w.Exit.Signal}
	case event.KindOpen:
		e.Open = &event.Open{Path: w.Open.Path, Flags: w.Open.Flags}
	case event.KindConnect:
		e.Connect = w.Connect.socket()
	case event.KindBind:
		e.Bind = w.Bind.socket()
	case event.KindDNS:
		protocol := w.DNS.Protocol
		if protocol == 0 {
			protocol = 17
		}
		e.DNS = &event.DNS{Name: w.DNS.Name, Type: max(1, w.DNS.Type), Response: w.DNS.Response, RCode: w.DNS.RCode, Protocol: protocol,
			Answers: w.DNS.Answers, Server: w.DNS.Server.addr()}
	case event.KindPtrace:
		e.Ptrace = &event.Ptrace{Request: w.Ptrace.Request}
		if e.Ptrace.Target, err = w.Ptrace.Target.process(0); err != nil {
			return nil, host, fmt.Errorf("ptrace.targetProcess: %w", err)
		}
	case event.KindRename, event.KindLink, event.KindSymlink, event.KindUnlink, event.KindChmod, event.KindMmap, event.KindModule, event.KindMemfd,
		event.KindChroot, event.KindPivotRoot:
		f := &event.FileChange{Path: w.File.Path, Target: w.File.Target, Flags: w.File.Flags, Mode: w.File.Mode, Inode: w.File.Inode}
		if f.Origin, err = origin(w.File.Origin); err != nil {
			return nil, host, fmt.Errorf("file.origin: %w", err)
		}
		if f.Writer, err = w.File.Writer.process(0); err != nil {
			return nil, host, fmt.Errorf("file.writer: %w", err)
		}
		e.File = f
	case event.KindMprotect:
		e.Memory = &event.Memory{Length: w.Memory.Length, Protection: w.Memory.Protection, Region: w.Memory.Region, Path: w.Memory.Path}
	case event.KindMount, event.KindUmount:
		e.Mount = &event.MountChange{Source: w.Mount.Source, Target: w.Mount.Target, FSType: w.Mount.FSType, Flags: w.Mount.Flags}
	case event.KindSocket, event.KindListen, event.KindAccept:
		e.Socket = w.Socket.socket()
	case event.KindDup:
		e.Socket = w.Socket.socket()
		e.Call = &event.Call{Command: w.Call.Command, Flags: w.Call.Flags}
	case event.KindVMRead, event.KindVMWrite, event.KindKill, event.KindSetns:
		e.Target = &event.Ptrace{}
		if w.Target != nil {
			e.Target.Request = w.Target.Request
			if e.Target.Target, err = w.Target.processJSON.process(0); err != nil {
				return nil, host, fmt.Errorf("target: %w", err)
			}
		}
	case event.KindSetuid, event.KindCapset:
		c := &event.Creds{UID: 1<<32 - 1, EUID: 1<<32 - 1, SetuidExe: w.Creds.SetuidExe}
		if w.Creds.UID != nil {
			c.UID = *w.Creds.UID
		}
		if w.Creds.EUID != nil {
			c.EUID = *w.Creds.EUID
		}
		if c.Capabilities, err = capabilities(w.Creds.Capabilities); err != nil {
			return nil, host, fmt.Errorf("creds.capabilities: %w", err)
		}
		e.Creds = c
	case event.KindUserfaultfd, event.KindUnshare, event.KindBPF, event.KindKeyctl, event.KindIOUring:
		e.Call = &event.Call{Command: w.Call.Command, Flags: w.Call.Flags}
	case event.KindAlert:
		e.Alert = &event.Alert{Reason: w.Alert.Reason, Lost: w.Alert.Lost, Where: w.Alert.Where}
	}
	return e, host, nil
}

func (w *eventJSON) container() *event.Container {
	if w.Container == nil {
		return nil
	}
	c := &event.Container{
		ID: w.Container.ID, Name: w.Container.Name, Image: w.Container.Image, ImageID: w.Container.ImageID, Runtime: w.Container.Runtime,
		Privileged: w.Container.Privileged, Cluster: w.Cluster, Service: w.Service,
	}
	m := w.Container.Mounts
	at := func(list many[string], i int) string {
		if i < len(list) {
			return list[i]
		}
		return ""
	}
	for i := range max(len(m.Name), len(m.Source), len(m.Target)) {
		c.Mounts = append(c.Mounts, event.Mount{Name: at(m.Name, i), Source: at(m.Source, i), Target: at(m.Target, i)})
	}
	if t := w.Task; t != nil {
		c.Task = &event.Task{
			ARN: t.ARN, ClusterARN: t.ClusterARN, DefinitionARN: t.DefinitionARN, Family: t.Family, Revision: t.Revision, Service: t.Service,
			LaunchType: t.LaunchType, StartedBy: t.StartedBy, ContainerName: t.ContainerName,
		}
	}
	return c
}

// process returns the process, nil for nil. The ancestors beyond the parent are what the lineage's lists say.
func (w *processJSON) process(depth int) (*event.Process, error) {
	if w == nil {
		return nil, nil
	}
	if depth > event.MaxLineage {
		return nil, fmt.Errorf("more than %d ancestors", event.MaxLineage)
	}
	p := &event.Process{
		Name: w.Name, ExePath: w.ExePath, SHA256: w.SHA256, ScriptPath: w.ScriptPath, Cwd: w.Cwd, User: w.User, UID: w.UID, EUID: w.EUID,
		GID: w.GID, EGID: w.EGID, PID: w.PID, NSPID: w.NSPID, Args: w.Args, LDPreload: w.LDPreload, LDLibPath: w.LDLibPath, IsContainer: w.IsContainer,
	}
	p.UUID = event.ProcessUUID("fixture", w.PID, uint64(w.PID))
	if p.Name == "" {
		p.Name = base(p.ExePath)
	}
	var err error
	if p.Stdin, err = w.Stdin.stdio(); err != nil {
		return nil, fmt.Errorf("stdin.kind: %w", err)
	}
	if p.Stdout, err = w.Stdout.stdio(); err != nil {
		return nil, fmt.Errorf("stdout.kind: %w", err)
	}
	p.Exe.UpperLayer, p.Exe.Size = w.Executable.Upper, w.Executable.Size
	if p.Exe.Origin, err = origin(w.Executable.Origin); err != nil {
		return nil, fmt.Errorf("executable.origin: %w", err)
	}
	if p.Exe.Writer, err = w.Executable.Writer.process(depth + 1); err != nil {
		return nil, fmt.Errorf("executable.writer: %w", err)
	}
	if p.Parent, err = w.Parent.process(depth + 1); err != nil {
		return nil, fmt.Errorf("parent: %w", err)
	}
	if l := w.Lineage; l != nil {
		child := p
		for i := range min(max(len(l.Name), len(l.ExePath), len(l.UID)), event.MaxLineage) {
			if child.Parent == nil {
				child.Parent = &event.Process{}
			}
			a := child.Parent
			if i < len(l.Name) {
				a.Name = l.Name[i]
			}
			if i < len(l.ExePath) {
				a.ExePath = l.ExePath[i]
			}
			if i < len(l.UID) {
				a.UID = l.UID[i]
			}
			child = a
		}
	}
	if p.Parent != nil {
		p.ParentUUID = p.Parent.UUID
	}
	return p, nil
}

func base(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

func (w stdioJSON) stdio() (event.Stdio, error) {
	s := event.Stdio{Remote: w.Remote.addr(), Local: w.Local.addr()}
	if w.Kind == "" {
		s.Kind = event.StdioOther
		return s, nil
	}
	for k := event.StdioClosed; k <= event.StdioOther; k++ {
		if k.String() == w.Kind {
			s.Kind = k
			return s, nil
		}
	}
	return s, fmt.Errorf("there is no kind %q", event.PrintableN(w.Kind, 60))
}

func origin(name string) (event.FileOrigin, error) {
	if name == "" {
		return event.OriginUnknown, nil
	}
	for o := event.OriginUnknown; o <= event.OriginMemory; o++ {
		if o.String() == name {
			return o, nil
		}
	}
	return 0, fmt.Errorf("there is no origin %q", event.PrintableN(name, 60))
}

// capabilities returns the set of the named capabilities. The names are those that the field itself gives.
func capabilities(names []string) (set uint64, err error) {
	field, ok := event.FieldByPath("creds.capabilities")
	if !ok {
		return 0, nil
	}
	var values []pattern.Value
	for _, name := range names {
		found := false
		for bit := range 64 {
			e := event.Event{Creds: &event.Creds{Capabilities: 1 << bit}}
			if values = e.AppendValues(values[:0], field); len(values) == 1 && values[0].Str == name {
				set |= 1 << bit
				found = true
				break
			}
		}
		if !found {
			return 0, fmt.Errorf("there is no capability %q", event.PrintableN(name, 60))
		}
	}
	return set, nil
}
