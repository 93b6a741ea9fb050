package event

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/pattern"
)

func fieldsEvent() *Event {
	shell := &Process{Name: "sh", ExePath: "/bin/sh", UID: 1000}
	return &Event{
		Kind:  KindConnect,
		Errno: 111,
		Process: &Process{
			Name: "nc", ExePath: "/tmp/nc", SHA256: "ab", Args: []string{"nc", "-e"}, PID: 7, Parent: shell,
			Exe:   File{Origin: OriginWritten, Writer: &Process{Name: "curl"}},
			Stdin: Stdio{Kind: StdioSocket, Remote: netip.MustParseAddrPort("[::ffff:198.51.100.7]:4444")},
		},
		Container: &Container{ID: "c1", Image: "shop/web:1", Mounts: []Mount{{Source: "/srv"}}, Task: &Task{Family: "web"}},
		Connect:   &Socket{Family: 10, Type: 1, Protocol: 6, Remote: netip.MustParseAddrPort("[::ffff:198.51.100.9]:443")},
	}
}

func TestFieldValues(t *testing.T) {
	for path, want := range map[string][]pattern.Value{
		"kind":                           {pattern.StringValue("connect")},
		"errno":                          {pattern.NumberValue(111)},
		"process.name":                   {pattern.StringValue("nc")},
		"process.args":                   {pattern.StringValue("nc"), pattern.StringValue("-e")},
		"process.userId":                 {pattern.NumberValue(0)},
		"process.user":                   nil,
		"process.parent.name":            {pattern.StringValue("sh")},
		"process.lineage.executablePath": {pattern.StringValue("/bin/sh")},
		"process.executable.origin":      {pattern.StringValue("written")},
		"process.executable.writer.name": {pattern.StringValue("curl")},
		"process.stdin.kind":             {pattern.StringValue("socket")},
		"process.stdin.remote.ip":        {pattern.StringValue("198.51.100.7")},
		"process.stdout.kind":            {pattern.StringValue("closed")},
		"process.stdout.remote.ip":       nil,
		"container.image":                {pattern.StringValue("shop/web:1")},
		"container.privileged":           {pattern.BoolValue(false)},
		"container.volumeMounts.source":  {pattern.StringValue("/srv")},
		"task.family":                    {pattern.StringValue("web")},
		"connect.remote.ip":              {pattern.StringValue("198.51.100.9")},
		"connect.remote.port":            {pattern.NumberValue(443)},
		"connect.local.ip":               nil,
		"bind.local.port":                nil,
		"dns.name":                       nil,
		"ptrace.targetProcess.name":      nil,
	} {
		field, ok := FieldByPath(path)
		if !ok {
			t.Errorf("no field %s", path)
			continue
		}
		if diff := cmp.Diff(want, fieldsEvent().AppendValues(nil, field)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestLaterFieldValues(t *testing.T) {
	e := &Event{
		File:   &FileChange{Path: "/tmp/a", Target: "/etc/b", Flags: 1, Mode: 0o4755, Inode: 3, Origin: OriginWritten, Writer: &Process{Name: "curl", ExePath: "/bin/curl"}},
		Memory: &Memory{Length: 4096, Protection: 7, Region: "stack", Path: "/lib/x"},
		Mount:  &MountChange{Source: "/dev/vda1", Target: "/mnt", FSType: "ext4", Flags: 1 << 12},
		Socket: &Socket{Family: 17, Type: 3},
		Target: &Ptrace{Request: 9, Target: &Process{Name: "nginx"}},
		Creds:  &Creds{UID: 0, EUID: 1<<32 - 1, Capabilities: 1<<21 | 1<<39, SetuidExe: true},
		Call:   &Call{Command: 5, Flags: 1 << 28},
		Alert:  &Alert{Reason: "loss", Lost: 7, Where: "queue"},
		Count:  3,
	}
	text, number := pattern.StringValue, pattern.NumberValue
	for path, want := range map[string][]pattern.Value{
		"count":                      {number(3)},
		"file.path":                  {text("/tmp/a")},
		"file.target":                {text("/etc/b")},
		"file.flags":                 {number(1)},
		"file.mode":                  {number(0o4755)},
		"file.inode":                 {number(3)},
		"file.origin":                {text("written")},
		"file.writer.name":           {text("curl")},
		"file.writer.executablePath": {text("/bin/curl")},
		"memory.protection":          {number(7)},
		"memory.region":              {text("stack")},
		"memory.length":              {number(4096)},
		"memory.path":                {text("/lib/x")},
		"mount.source":               {text("/dev/vda1")},
		"mount.target":               {text("/mnt")},
		"mount.fsType":               {text("ext4")},
		"mount.flags":                {number(4096)},
		"socket.addressFamily":       {number(17)},
		"socket.socketType":          {number(3)},
		"target.request":             {number(9)},
		"target.name":                {text("nginx")},
		"creds.uid":                  {number(0)},
		"creds.euid":                 nil,
		"creds.capabilities":         {text("CAP_SYS_ADMIN"), text("CAP_BPF")},
		"creds.setuidExecutable":     {pattern.BoolValue(true)},
		"call.command":               {number(5)},
		"call.flags":                 {number(1 << 28)},
		"alert.reason":               {text("loss")},
		"alert.where":                {text("queue")},
		"alert.lost":                 {number(7)},
	} {
		field, ok := FieldByPath(path)
		if !ok {
			t.Errorf("no field %s", path)
			continue
		}
		if diff := cmp.Diff(want, e.AppendValues(nil, field)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestFieldTable(t *testing.T) {
	seen := map[string]bool{}
	empty := &Event{}
	for i, f := range Fields() {
		if seen[f.Path] {
			t.Errorf("field %s is there twice", f.Path)
		}
		seen[f.Path] = true
		if n, ok := FieldByPath(f.Path); !ok || n != i {
			t.Errorf("FieldByPath(%s) = %d, %v; want %d", f.Path, n, ok, i)
		}
		if !strings.HasSuffix(f.Doc, ".") && !strings.HasSuffix(f.Doc, "…") {
			t.Errorf("field %s: the doc is no sentence: %q", f.Path, f.Doc)
		}
		var example any
		if err := json.Unmarshal([]byte(f.Example), &example); err != nil {
			t.Errorf("field %s: example %s: %v", f.Path, f.Example, err)
		}
		want := map[string]bool{}
		switch example.(type) {
		case string:
			want["string"] = true
		case float64:
			want["number"] = true
		case bool:
			want["boolean"] = true
		}
		if !want[f.Type] {
			t.Errorf("field %s: the example %s is no %s", f.Path, f.Example, f.Type)
		}
		// An event that lacks everything must be answered without a fault.
		empty.AppendValues(nil, i)
		for other := range seen {
			if strings.HasPrefix(other, f.Path+".") {
				t.Errorf("field %s is a leaf and %s lies below it", f.Path, other)
			}
		}
	}
	if got := empty.AppendValues(nil, FieldCount()); got != nil {
		t.Errorf("a number that is no field gave %v", got)
	}
	if _, ok := FieldByPath("process"); ok {
		t.Error("process is no leaf")
	}
}

func TestFieldsDoNotAllocate(t *testing.T) {
	e := fieldsEvent()
	dst := make([]pattern.Value, 0, 64)
	for i, f := range Fields() {
		if strings.HasSuffix(f.Path, ".ip") {
			continue
		}
		if n := testing.AllocsPerRun(10, func() { dst = e.AppendValues(dst[:0], i) }); n != 0 {
			t.Errorf("%s allocates %v times", f.Path, n)
		}
	}
}
