package event

import (
	"net/netip"

	"vedette.dev/vedette/internal/pattern"
)

// Field is one thing about an event that a pattern may name.
type Field struct {
	Path    string // dotted, e.g. process.executablePath
	Type    string // string, number or boolean; a list in the event is several values of the path
	Doc     string // one sentence
	Example string // a JSON value
	append  func(dst []pattern.Value, e *Event) []pattern.Value
}

// Fields returns the fields that patterns may name, in the order of their numbers. The names follow the JSON of findings
// where it has one for the same thing.
func Fields() []Field { return append([]Field(nil), fields...) }

// FieldByPath returns the number of the field with the given path.
func FieldByPath(path string) (int, bool) {
	n, ok := fieldNumbers[path]
	return n, ok
}

// FieldCount is one more than the highest field number. Who adds computed fields numbers them from here.
func FieldCount() int { return len(fields) }

// AppendValues appends the values of the field with the given number, or nothing where the event has no such thing. It
// makes *Event a pattern.Record and allocates nothing, apart from the text of addresses.
func (e *Event) AppendValues(dst []pattern.Value, field int) []pattern.Value {
	if field < 0 || field >= len(fields) {
		return dst
	}
	return fields[field].append(dst, e)
}

var fields = buildFields()

var fieldNumbers = func() map[string]int {
	m := make(map[string]int, len(fields))
	for i, f := range fields {
		m[f.Path] = i
	}
	return m
}()

// str appends s unless it is empty: an empty text means unknown.
func str(dst []pattern.Value, s string) []pattern.Value {
	if s == "" {
		return dst
	}
	return append(dst, pattern.StringValue(s))
}

func num[N int32 | uint32 | uint16 | uint8 | int64 | uint64](dst []pattern.Value, n N) []pattern.Value {
	return append(dst, pattern.NumberValue(float64(n)))
}

// addr appends the text of an address; IPv4 addresses that a program wrote as ::ffff:a.b.c.d are IPv4 addresses.
func addr(dst []pattern.Value, a netip.Addr) []pattern.Value {
	if !a.IsValid() {
		return dst
	}
	return append(dst, pattern.StringValue(a.Unmap().String()))
}

func port(dst []pattern.Value, a netip.AddrPort) []pattern.Value {
	if !a.IsValid() {
		return dst
	}
	return num(dst, a.Port())
}

type appendFunc = func(dst []pattern.Value, e *Event) []pattern.Value

// of turns an accessor of a process, container … into one of the event, absent where get gives nil.
func of[T any](get func(*Event) *T, f func([]pattern.Value, *T) []pattern.Value) appendFunc {
	return func(dst []pattern.Value, e *Event) []pattern.Value {
		if t := get(e); t != nil {
			return f(dst, t)
		}
		return dst
	}
}

func buildFields() []Field {
	fields := []Field{
		{"kind", "string", "What happened.", `"exec"`, func(dst []pattern.Value, e *Event) []pattern.Value {
			return append(dst, pattern.StringValue(e.Kind.String()))
		}},
		{"errno", "number", "0, or the error number with which the attempt failed.", `0`, func(dst []pattern.Value, e *Event) []pattern.Value {
			return num(dst, e.Errno)
		}},
		{"count", "number", "How many identical occurrences the event stands for.", `1`, func(dst []pattern.Value, e *Event) []pattern.Value {
			return num(dst, max(1, e.Count))
		}},
	}
	add := func(path, typ, doc, example string, f appendFunc) {
		fields = append(fields, Field{path, typ, doc, example, f})
	}

	processFields(add, "process", "the process", func(e *Event) *Process { return e.Process })
	self := func(e *Event) *Process { return e.Process }
	add("process.args", "string", "The arguments of the process, each a value.", `"-i"`, of(self, func(dst []pattern.Value, p *Process) []pattern.Value {
		for _, a := range p.Args {
			dst = append(dst, pattern.StringValue(a))
		}
		return dst
	}))
	add("process.ldPreload", "string", "LD_PRELOAD of the process.", `"/tmp/x.so"`, of(self, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.LDPreload) }))
	add("process.ldLibraryPath", "string", "LD_LIBRARY_PATH of the process.", `"/tmp"`, of(self, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.LDLibPath) }))
	add("process.gid", "number", "Group id.", `0`, of(self, func(dst []pattern.Value, p *Process) []pattern.Value { return num(dst, p.GID) }))
	add("process.egid", "number", "Effective group id.", `0`, of(self, func(dst []pattern.Value, p *Process) []pattern.Value { return num(dst, p.EGID) }))
	add("process.isContainer", "boolean", "Whether it is its container's first process.", `true`, of(self, func(dst []pattern.Value, p *Process) []pattern.Value {
		return append(dst, pattern.BoolValue(p.IsContainer))
	}))
	stdioFields(add, "process.stdin", "standard input", func(e *Event) *Stdio {
		if e.Process == nil {
			return nil
		}
		return &e.Process.Stdin
	})
	stdioFields(add, "process.stdout", "standard output", func(e *Event) *Stdio {
		if e.Process == nil {
			return nil
		}
		return &e.Process.Stdout
	})
	fileFields(add)
	processFields(add, "process.parent", "the parent", func(e *Event) *Process {
		if e.Process == nil {
			return nil
		}
		return e.Process.Parent
	})
	lineage := func(path, typ, doc, example string, f func([]pattern.Value, *Process) []pattern.Value) {
		add(path, typ, doc, example, of(self, func(dst []pattern.Value, p *Process) []pattern.Value {
			for a, n := p.Parent, 0; a != nil && n < MaxLineage; a, n = a.Parent, n+1 {
				dst = f(dst, a)
			}
			return dst
		}))
	}
	lineage("process.lineage.name", "string", "The names of the ancestors.", `"nginx"`, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.Name) })
	lineage("process.lineage.executablePath", "string", "The executables of the ancestors.", `"/usr/sbin/nginx"`, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.ExePath) })
	lineage("process.lineage.userId", "number", "The user ids of the ancestors.", `0`, func(dst []pattern.Value, p *Process) []pattern.Value { return num(dst, p.UID) })

	containerFields(add)
	kindFields(add)
	changeFields(add)
	systemFields(add)
	return fields
}

type addFunc = func(path, typ, doc, example string, f appendFunc)

func processFields(add addFunc, prefix, who string, get func(*Event) *Process) {
	text := func(name, doc, example string, f func(*Process) string) {
		add(prefix+"."+name, "string", doc+" of "+who+".", example, of(get, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, f(p)) }))
	}
	number := func(name, doc, example string, f func(*Process) uint32) {
		add(prefix+"."+name, "number", doc+" of "+who+".", example, of(get, func(dst []pattern.Value, p *Process) []pattern.Value { return num(dst, f(p)) }))
	}
	text("name", "The kernel's name (at most 15 bytes)", `"nginx"`, func(p *Process) string { return p.Name })
	text("executablePath", "The executable", `"/usr/sbin/nginx"`, func(p *Process) string { return p.ExePath })
	text("executableSha256", "The SHA-256 of the executable", `"9f86d081…"`, func(p *Process) string { return p.SHA256 })
	text("scriptPath", "The script that is run", `"/tmp/run.sh"`, func(p *Process) string { return p.ScriptPath })
	text("pwd", "The working directory", `"/tmp"`, func(p *Process) string { return p.Cwd })
	text("user", "The user name", `"root"`, func(p *Process) string { return p.User })
	number("userId", "The user id", `0`, func(p *Process) uint32 { return p.UID })
	number("euid", "The effective user id", `0`, func(p *Process) uint32 { return p.EUID })
	number("pid", "The process id on the host", `4711`, func(p *Process) uint32 { return p.PID })
	number("namespacePid", "The process id inside the container", `7`, func(p *Process) uint32 { return p.NSPID })
}

func stdioFields(add addFunc, prefix, what string, get func(*Event) *Stdio) {
	add(prefix+".kind", "string", "What "+what+" was connected to at the last exec: closed, file, tty, pipe, socket, unix or other.", `"socket"`,
		of(get, func(dst []pattern.Value, s *Stdio) []pattern.Value {
			return append(dst, pattern.StringValue(s.Kind.String()))
		}))
	add(prefix+".remote.ip", "string", "The peer's address, where "+what+" is a socket.", `"198.51.100.7"`,
		of(get, func(dst []pattern.Value, s *Stdio) []pattern.Value { return addr(dst, s.Remote.Addr()) }))
	add(prefix+".remote.port", "number", "The peer's port, where "+what+" is a socket.", `4444`,
		of(get, func(dst []pattern.Value, s *Stdio) []pattern.Value { return port(dst, s.Remote) }))
	add(prefix+".local.ip", "string", "The own address, where "+what+" is a socket.", `"10.0.0.2"`,
		of(get, func(dst []pattern.Value, s *Stdio) []pattern.Value { return addr(dst, s.Local.Addr()) }))
	add(prefix+".local.port", "number", "The own port, where "+what+" is a socket.", `40000`,
		of(get, func(dst []pattern.Value, s *Stdio) []pattern.Value { return port(dst, s.Local) }))
}

func fileFields(add addFunc) {
	file := func(e *Event) *File {
		if e.Process == nil {
			return nil
		}
		return &e.Process.Exe
	}
	add("process.executable.origin", "string", "Where the executable comes from: image, written (after the container started), memory or unknown.", `"written"`,
		of(file, func(dst []pattern.Value, f *File) []pattern.Value {
			return append(dst, pattern.StringValue(f.Origin.String()))
		}))
	add("process.executable.upperLayer", "boolean", "Whether the executable is on the container's writable layer.", `true`,
		of(file, func(dst []pattern.Value, f *File) []pattern.Value {
			return append(dst, pattern.BoolValue(f.UpperLayer))
		}))
	add("process.executable.size", "number", "Its size in bytes.", `1024`,
		of(file, func(dst []pattern.Value, f *File) []pattern.Value { return num(dst, f.Size) }))
	writer := func(e *Event) *Process {
		if e.Process == nil {
			return nil
		}
		return e.Process.Exe.Writer
	}
	add("process.executable.writer.name", "string", "The name of the process that wrote the executable, where that was seen.", `"curl"`,
		of(writer, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.Name) }))
	add("process.executable.writer.executablePath", "string", "The executable of the process that wrote the executable.", `"/usr/bin/curl"`,
		of(writer, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.ExePath) }))
}

func containerFields(add addFunc) {
	container := func(e *Event) *Container { return e.Container }
	text := func(path, doc, example string, f func(*Container) string) {
		add(path, "string", doc, example, of(container, func(dst []pattern.Value, c *Container) []pattern.Value { return str(dst, f(c)) }))
	}
	text("container.id", "The container's id; absent for processes of the host itself.", `"0f9de17a…"`, func(c *Container) string { return c.ID })
	text("container.name", "The container's name.", `"app"`, func(c *Container) string { return c.Name })
	text("container.image", "The image as the runtime names it.", `"shop/web:1.9.3"`, func(c *Container) string { return c.Image })
	text("container.imageId", "The image's id.", `"sha256:…"`, func(c *Container) string { return c.ImageID })
	text("container.containerRuntime", "The runtime: docker, containerd, podman, cri-o or native.", `"docker"`, func(c *Container) string { return c.Runtime })
	add("container.privileged", "boolean", "Whether the container is privileged.", `false`, of(container, func(dst []pattern.Value, c *Container) []pattern.Value {
		return append(dst, pattern.BoolValue(c.Privileged))
	}))
	mounts := func(path, doc, example string, f func(*Mount) string) {
		add(path, "string", doc, example, of(container, func(dst []pattern.Value, c *Container) []pattern.Value {
			for i := range c.Mounts {
				dst = str(dst, f(&c.Mounts[i]))
			}
			return dst
		}))
	}
	mounts("container.volumeMounts.name", "The names of its mounted volumes.", `"data"`, func(m *Mount) string { return m.Name })
	mounts("container.volumeMounts.source", "The host paths of its mounts.", `"/var/run/docker.sock"`, func(m *Mount) string { return m.Source })
	mounts("container.volumeMounts.mountPath", "Where they are mounted.", `"/var/run/docker.sock"`, func(m *Mount) string { return m.Target })
	text("cluster", "The coverage row it belongs to: ECS cluster, Compose project, or the host.", `"prod-web"`, func(c *Container) string { return c.Cluster })
	text("service", "The ECS or Compose service.", `"web"`, func(c *Container) string { return c.Service })

	task := func(e *Event) *Task {
		if e.Container == nil {
			return nil
		}
		return e.Container.Task
	}
	taskText := func(path, doc, example string, f func(*Task) string) {
		add(path, "string", doc, example, of(task, func(dst []pattern.Value, t *Task) []pattern.Value { return str(dst, f(t)) }))
	}
	taskText("task.arn", "The ECS task's ARN.", `"arn:aws:ecs:…:task/prod-web/0f9d…"`, func(t *Task) string { return t.ARN })
	taskText("task.clusterArn", "The ECS cluster's ARN.", `"arn:aws:ecs:…:cluster/prod-web"`, func(t *Task) string { return t.ClusterARN })
	taskText("task.definitionArn", "The task definition's ARN.", `"arn:aws:ecs:…:task-definition/web:42"`, func(t *Task) string { return t.DefinitionARN })
	taskText("task.family", "The task definition's family.", `"web"`, func(t *Task) string { return t.Family })
	taskText("task.revision", "The task definition's revision.", `"42"`, func(t *Task) string { return t.Revision })
	taskText("task.service", "The task's service.", `"web"`, func(t *Task) string { return t.Service })
	taskText("task.launchType", "EC2 or FARGATE.", `"FARGATE"`, func(t *Task) string { return t.LaunchType })
	taskText("task.startedBy", "Who started the task.", `"ecs-svc/2495…"`, func(t *Task) string { return t.StartedBy })
	taskText("task.containerName", "The container's name in the task definition.", `"app"`, func(t *Task) string { return t.ContainerName })
}

func kindFields(add addFunc) {
	exec := func(e *Event) *Exec { return e.Exec }
	add("exec.previousExecutablePath", "string", "The program before.", `"/bin/sh"`, of(exec, func(dst []pattern.Value, x *Exec) []pattern.Value { return str(dst, x.PreviousExe) }))
	exit := func(e *Event) *Exit { return e.Exit }
	add("exit.code", "number", "The exit status.", `0`, of(exit, func(dst []pattern.Value, x *Exit) []pattern.Value { return num(dst, x.Code) }))
	add("exit.signal", "number", "The signal that ended the process, or 0.", `9`, of(exit, func(dst []pattern.Value, x *Exit) []pattern.Value { return num(dst, x.Signal) }))
	open := func(e *Event) *Open { return e.Open }
	add("open.path", "string", "The file opened for writing.", `"/etc/sudoers"`, of(open, func(dst []pattern.Value, o *Open) []pattern.Value { return str(dst, o.Path) }))
	add("open.flags", "number", "The flags of open(2).", `577`, of(open, func(dst []pattern.Value, o *Open) []pattern.Value { return num(dst, o.Flags) }))
	socketFields(add, "connect", func(e *Event) *Socket { return e.Connect })
	socketFields(add, "bind", func(e *Event) *Socket { return e.Bind })

	dns := func(e *Event) *DNS { return e.DNS }
	add("dns.name", "string", "The question, lower case, without the final dot.", `"example.com"`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value { return str(dst, d.Name) }))
	add("dns.type", "number", "The question's type: 1 A, 28 AAAA …", `1`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value { return num(dst, d.Type) }))
	add("dns.response", "boolean", "Whether it is an answer.", `false`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value {
		return append(dst, pattern.BoolValue(d.Response))
	}))
	add("dns.rcode", "number", "The answer's code; absent from questions.", `3`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value {
		if !d.Response {
			return dst
		}
		return num(dst, d.RCode)
	}))
	add("dns.protocol", "number", "17 for UDP, 6 for TCP.", `17`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value { return num(dst, d.Protocol) }))
	add("dns.answers", "string", "The addresses in the answer.", `"198.51.100.7"`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value {
		for _, a := range d.Answers {
			dst = addr(dst, a)
		}
		return dst
	}))
	add("dns.server.ip", "string", "The server's address.", `"10.0.0.2"`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value { return addr(dst, d.Server.Addr()) }))
	add("dns.server.port", "number", "The server's port.", `53`, of(dns, func(dst []pattern.Value, d *DNS) []pattern.Value { return port(dst, d.Server) }))

	ptrace := func(e *Event) *Ptrace { return e.Ptrace }
	add("ptrace.request", "number", "The request of ptrace(2), e.g. 16 for PTRACE_ATTACH.", `16`, of(ptrace, func(dst []pattern.Value, p *Ptrace) []pattern.Value { return num(dst, p.Request) }))
	processFields(add, "ptrace.targetProcess", "the traced process", func(e *Event) *Process {
		if e.Ptrace == nil {
			return nil
		}
		return e.Ptrace.Target
	})
}

func socketFields(add addFunc, prefix string, get func(*Event) *Socket) {
	add(prefix+".addressFamily", "number", "The address family: 1 unix, 2 IPv4, 10 IPv6.", `2`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return num(dst, s.Family) }))
	add(prefix+".socketType", "number", "The socket's type: 1 stream, 2 datagram …", `1`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return num(dst, s.Type) }))
	add(prefix+".protocol", "number", "The IANA protocol number: 6 TCP, 17 UDP; 0 for unix sockets.", `6`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return num(dst, s.Protocol) }))
	add(prefix+".local.ip", "string", "The own address.", `"10.0.0.2"`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return addr(dst, s.Local.Addr()) }))
	add(prefix+".local.port", "number", "The own port.", `40000`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return port(dst, s.Local) }))
	add(prefix+".remote.ip", "string", "The peer's address.", `"198.51.100.7"`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return addr(dst, s.Remote.Addr()) }))
	add(prefix+".remote.port", "number", "The peer's port.", `443`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return port(dst, s.Remote) }))
	add(prefix+".path", "string", "The path of a unix socket; abstract names start with @.", `"/var/run/docker.sock"`, of(get, func(dst []pattern.Value, s *Socket) []pattern.Value { return str(dst, s.Path) }))
}

// changeFields adds what was done to files, memory and mounts.
func changeFields(add addFunc) {
	file := func(e *Event) *FileChange { return e.File }
	add("file.path", "string", "The file that was changed, made or loaded: for rename the old name, for link and symlink the new link.", `"/usr/lib/x.so"`,
		of(file, func(dst []pattern.Value, f *FileChange) []pattern.Value { return str(dst, f.Path) }))
	add("file.target", "string", "The other path: for rename the new name, for link and symlink what is linked to, for module its name, for pivot_root where the old root goes.", `"/etc/cron.d/x"`,
		of(file, func(dst []pattern.Value, f *FileChange) []pattern.Value { return str(dst, f.Target) }))
	add("file.flags", "number", "The flags of the call, e.g. of memfd_create or renameat2; for mmap the protection.", `1`,
		of(file, func(dst []pattern.Value, f *FileChange) []pattern.Value { return num(dst, f.Flags) }))
	add("file.mode", "number", "The file's mode; for chmod the new one.", `2541`,
		of(file, func(dst []pattern.Value, f *FileChange) []pattern.Value { return num(dst, f.Mode) }))
	add("file.inode", "number", "The file's inode number.", `131`,
		of(file, func(dst []pattern.Value, f *FileChange) []pattern.Value { return num(dst, f.Inode) }))
	add("file.origin", "string", "Where the mapped file or module comes from: image, written (after the container started), memory or unknown.", `"written"`,
		of(file, func(dst []pattern.Value, f *FileChange) []pattern.Value {
			return append(dst, pattern.StringValue(f.Origin.String()))
		}))
	writer := func(e *Event) *Process {
		if e.File == nil {
			return nil
		}
		return e.File.Writer
	}
	add("file.writer.name", "string", "The name of the process that wrote the file, where that was seen.", `"curl"`,
		of(writer, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.Name) }))
	add("file.writer.executablePath", "string", "The executable of the process that wrote the file.", `"/usr/bin/curl"`,
		of(writer, func(dst []pattern.Value, p *Process) []pattern.Value { return str(dst, p.ExePath) }))

	memory := func(e *Event) *Memory { return e.Memory }
	add("memory.protection", "number", "The protection asked for: the sum of 1 read, 2 write and 4 execute.", `7`,
		of(memory, func(dst []pattern.Value, m *Memory) []pattern.Value { return num(dst, m.Protection) }))
	add("memory.region", "string", "What the memory is: stack, heap, file, memfd or anonymous.", `"stack"`,
		of(memory, func(dst []pattern.Value, m *Memory) []pattern.Value { return str(dst, m.Region) }))
	add("memory.length", "number", "How many bytes.", `4096`,
		of(memory, func(dst []pattern.Value, m *Memory) []pattern.Value { return num(dst, m.Length) }))
	add("memory.path", "string", "The file mapped there.", `"/usr/lib/libc.so.6"`,
		of(memory, func(dst []pattern.Value, m *Memory) []pattern.Value { return str(dst, m.Path) }))

	mount := func(e *Event) *MountChange { return e.Mount }
	add("mount.source", "string", "What is mounted.", `"/dev/vda1"`,
		of(mount, func(dst []pattern.Value, m *MountChange) []pattern.Value { return str(dst, m.Source) }))
	add("mount.target", "string", "Where it is mounted.", `"/mnt"`,
		of(mount, func(dst []pattern.Value, m *MountChange) []pattern.Value { return str(dst, m.Target) }))
	add("mount.fsType", "string", "The type of file system.", `"ext4"`,
		of(mount, func(dst []pattern.Value, m *MountChange) []pattern.Value { return str(dst, m.FSType) }))
	add("mount.flags", "number", "The flags of mount(2) or umount(2).", `4096`,
		of(mount, func(dst []pattern.Value, m *MountChange) []pattern.Value { return num(dst, m.Flags) }))
}

// systemFields adds the remaining kinds.
func systemFields(add addFunc) {
	socketFields(add, "socket", func(e *Event) *Socket { return e.Socket })

	target := func(e *Event) *Ptrace { return e.Target }
	add("target.request", "number", "For kill the signal, for setns the type of namespace.", `9`,
		of(target, func(dst []pattern.Value, p *Ptrace) []pattern.Value { return num(dst, p.Request) }))
	processFields(add, "target", "the process that vm_read, vm_write, kill or setns is aimed at", func(e *Event) *Process {
		if e.Target == nil {
			return nil
		}
		return e.Target.Target
	})

	creds := func(e *Event) *Creds { return e.Creds }
	// unchanged is an id that a call leaves alone.
	const unchanged = 1<<32 - 1
	id := func(f func(*Creds) uint32) appendFunc {
		return of(creds, func(dst []pattern.Value, c *Creds) []pattern.Value {
			if f(c) == unchanged {
				return dst
			}
			return num(dst, f(c))
		})
	}
	add("creds.uid", "number", "The user id asked for; absent where it is left alone.", `0`, id(func(c *Creds) uint32 { return c.UID }))
	add("creds.euid", "number", "The effective user id asked for; absent where it is left alone.", `0`, id(func(c *Creds) uint32 { return c.EUID }))
	add("creds.capabilities", "string", "For capset the new effective capabilities, each a value.", `"CAP_SYS_ADMIN"`,
		of(creds, func(dst []pattern.Value, c *Creds) []pattern.Value {
			for i, name := range capabilityNames {
				if c.Capabilities&(1<<i) != 0 {
					dst = append(dst, pattern.StringValue(name))
				}
			}
			return dst
		}))
	add("creds.setuidExecutable", "boolean", "Whether the ids come from executing a set-user-id file.", `false`,
		of(creds, func(dst []pattern.Value, c *Creds) []pattern.Value {
			return append(dst, pattern.BoolValue(c.SetuidExe))
		}))

	call := func(e *Event) *Call { return e.Call }
	add("call.command", "number", "For bpf and keyctl the command, for dup the new descriptor, for io_uring the operation.", `5`,
		of(call, func(dst []pattern.Value, c *Call) []pattern.Value { return num(dst, c.Command) }))
	add("call.flags", "number", "For unshare the namespaces, for userfaultfd and io_uring the flags, for dup the old descriptor.", `268435456`,
		of(call, func(dst []pattern.Value, c *Call) []pattern.Value { return num(dst, c.Flags) }))

	alert := func(e *Event) *Alert { return e.Alert }
	add("alert.reason", "string", "What the agent has to say about itself: loss.", `"loss"`,
		of(alert, func(dst []pattern.Value, a *Alert) []pattern.Value { return str(dst, a.Reason) }))
	add("alert.where", "string", "Where events were lost: kernel, queue or spool.", `"queue"`,
		of(alert, func(dst []pattern.Value, a *Alert) []pattern.Value { return str(dst, a.Where) }))
	add("alert.lost", "number", "How many events were lost since the last alert of this kind.", `1200`,
		of(alert, func(dst []pattern.Value, a *Alert) []pattern.Value { return num(dst, a.Lost) }))
}

// capabilityNames are the names of the kernel's capability bits (capabilities(7)), from bit 0.
var capabilityNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}
