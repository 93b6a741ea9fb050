package ebpf

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/event"
)

// aligned copies bytes to memory that is aligned as the ring's is.
func aligned(b []byte) []byte {
	words := make([]uint64, (len(b)+7)/8+1)
	out := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)[:len(b)]
	copy(out, b)
	return out
}

func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

func header(kind bpfKind) bpfHeader {
	h := bpfHeader{Kind: uint32(kind), Time: 99}
	h.Process = bpfProcess{Start: 7, ParentStart: 5, Cgroup: 42, Pid: 100, Tid: 101, Nspid: 3, Ppid: 50, Mntns: 11, Pidns: 12, Uid: 1, Euid: 2, Gid: 3, Egid: 4}
	for i, c := range "tester" {
		h.Process.Comm[i] = int8(c)
	}
	return h
}

// build puts a record together and sets its size.
func build[T any](fixed *T, strings string) []byte {
	raw := aligned(append(append([]byte{}, bytesOf(fixed)...), strings...))
	(*bpfHeader)(unsafe.Pointer(&raw[0])).Size = uint32(len(raw))
	return raw
}

func TestDecodeProcess(t *testing.T) {
	var d decoder
	rec, err := d.record(build(&bpfForkRecord{Header: header(bpfKindKIND_FORK)}, ""))
	if err != nil {
		t.Fatal(err)
	}
	if rec.Kind != event.KindFork || rec.Boottime != 99 || rec.PID != 100 || rec.TID != 101 || rec.NSPID != 3 || rec.PPID != 50 ||
		rec.Start != 7 || rec.ParentStart != 5 || rec.CgroupID != 42 || rec.MntNS != 11 || rec.PIDNS != 12 ||
		rec.UID != 1 || rec.EUID != 2 || rec.GID != 3 || rec.EGID != 4 || string(rec.Comm) != "tester" {
		t.Errorf("got %+v", rec)
	}
}

func TestDecodeExec(t *testing.T) {
	r := bpfExecRecord{Header: header(bpfKindKIND_EXEC), Inode: 5, FileSize: 6, Mtime: 7, Ctime: 8, Dev: 8<<20 | 1, Flags: uint32(bpfExecFlagEXEC_UPPER | bpfExecFlagEXEC_ARGS_CUT)}
	exe, cwd, script, args, env := "sh/bin/", "", "./run", "sh\x00-c\x00", "LD_PRELOAD=/a\x00LD_LIBRARY_PATH=/lib\x00LD_PRELOAD=/b\x00LD_PRELOADED=no\x00"
	r.ExeLen, r.ExeForm = uint16(len(exe)), uint8(bpfPathFormPATH_WALKED)
	r.CwdLen, r.CwdForm = uint16(len(cwd)), uint8(bpfPathFormPATH_WALKED)
	r.ScriptLen, r.ArgsLen, r.EnvLen = uint16(len(script)), uint16(len(args)), uint16(len(env))
	r.In = bpfStdio{Kind: uint32(bpfStdioKindSTDIO_SOCKET), Inode: 77}
	r.In.Ends = bpfEndpoints{Family: 2, LocalPort: 80, RemotePort: 4444, Local: [16]uint8{10, 0, 0, 1}, Remote: [16]uint8{10, 0, 0, 2}}
	r.Out = bpfStdio{Kind: uint32(bpfStdioKindSTDIO_PIPE), Inode: 78}
	var d decoder
	rec, err := d.record(build(&r, exe+cwd+script+args+env))
	if err != nil {
		t.Fatal(err)
	}
	e := rec.Exec
	got := []string{string(e.Exe), string(e.Cwd), string(e.Script), string(e.Args), string(e.Preload), string(e.LibPath)}
	want := []string{"/bin/sh", "/", "./run", "sh\x00-c", "/b", "/lib"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("strings (-want +got):\n%s", diff)
	}
	wantIn := event.Stdio{Kind: event.StdioSocket, Inode: 77, Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("10.0.0.2:4444")}
	if e.Stdin != wantIn {
		t.Errorf("stdin %+v, want %+v", e.Stdin, wantIn)
	}
	if e.Stdout != (event.Stdio{Kind: event.StdioPipe, Inode: 78}) {
		t.Errorf("stdout %+v", e.Stdout)
	}
	if want := (event.File{Dev: 0x801, Inode: 5, Size: 6, MTime: 7, CTime: 8, UpperLayer: true}); e.File != want || !e.ArgsCut {
		t.Errorf("file %+v, cut %v; want %+v, cut", e.File, e.ArgsCut, want)
	}
}

func TestDecodeUnixSocket(t *testing.T) {
	for _, c := range []struct {
		name, path, peer, cwd string
		want, wantPeer        string
	}{
		{"absolute", "/run/a.sock\x00junk", "/run/a.sock\x00", "", "/run/a.sock", ""},
		{"relative", "a.sock", "", "run/var/", "/var/run/a.sock", ""},
		{"relative to the root", "a.sock", "", "", "/a.sock", ""},
		{"dots", "../x/./a.sock", "", "run/var/", "/var/x/a.sock", ""},
		{"through a link", "/tmp/link", "/run/docker.sock\x00", "", "/tmp/link", "/run/docker.sock"},
		{"peer bound by a relative name", "/tmp/link", "docker.sock\x00", "", "/tmp/link", ""},
		{"abstract", "\x00name\x00more", "\x00name\x00more", "", "@name\x00more", ""},
		{"unnamed", "", "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := bpfSocketRecord{Header: header(bpfKindKIND_CONNECT), Type: 1, PathLen: uint16(len(c.path)), PeerLen: uint16(len(c.peer)), CwdLen: uint16(len(c.cwd)), CwdForm: uint8(bpfPathFormPATH_WALKED)}
			r.Ends.Family = 1
			var d decoder
			rec, err := d.record(build(&r, c.path+c.peer+c.cwd))
			if err != nil {
				t.Fatal(err)
			}
			if string(rec.Socket.Path) != c.want || string(d.peer) != c.wantPeer {
				t.Errorf("path %q, peer %q; want %q, %q", rec.Socket.Path, d.peer, c.want, c.wantPeer)
			}
		})
	}
}

func TestDecodeInetSocket(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:192.0.2.1").As16()
	r := bpfSocketRecord{Header: header(bpfKindKIND_CONNECT), Type: 1, Protocol: 6}
	r.Ends = bpfEndpoints{Family: 10, Remote: mapped, RemotePort: 443}
	var d decoder
	rec, err := d.record(build(&r, ""))
	if err != nil {
		t.Fatal(err)
	}
	if s := rec.Socket; s.Remote != netip.MustParseAddrPort("192.0.2.1:443") || s.Local.IsValid() || s.Family != 10 || s.Type != 1 || s.Protocol != 6 {
		t.Errorf("got %+v", s)
	}
}

func TestDecodeRefusesTornRecords(t *testing.T) {
	open := bpfOpenRecord{Header: header(bpfKindKIND_OPEN), PathLen: 10}
	whole := build(&open, "0123456789")
	var d decoder
	if _, err := d.record(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := d.record(aligned(whole[:n])); !errors.Is(err, errShort) {
			t.Fatalf("%d of %d bytes: error %v, want %v", n, len(whole), err, errShort)
		}
	}
	unknown := build(&bpfForkRecord{Header: header(200)}, "")
	if _, err := d.record(unknown); !errors.Is(err, errUnknown) {
		t.Errorf("error %v, want %v", err, errUnknown)
	}
}

func TestAppendPath(t *testing.T) {
	for _, c := range []struct {
		in   string
		form bpfPathForm
		want string
	}{
		{"passwd/etc/", bpfPathFormPATH_WALKED, "/etc/passwd"},
		{"", bpfPathFormPATH_WALKED, "/"},
		{"memfd:x/", bpfPathFormPATH_WALKED, "/memfd:x"},
		{"c/b/", bpfPathFormPATH_CUT, ".../b/c"},
		{"../as/given", bpfPathFormPATH_GIVEN, "../as/given"},
	} {
		if got := appendPath(nil, []byte(c.in), uint8(c.form)); string(got) != c.want {
			t.Errorf("appendPath(%q, %d) = %q, want %q", c.in, c.form, got, c.want)
		}
	}
}

func TestAppendJoined(t *testing.T) {
	walked, given := uint8(bpfPathFormPATH_WALKED), uint8(bpfPathFormPATH_GIVEN)
	for _, c := range []struct {
		path     string
		form     uint8
		base     string
		baseForm uint8
		want     string
	}{
		{"a/b", given, "sub/tmp/", walked, "/tmp/sub/a/b"},
		{"../a", given, "sub/tmp/", walked, "/tmp/a"},
		{"a", given, "", walked, "/a"},
		{"", given, "sub/", walked, "/sub"},
		{"/a/./b", given, "", given, "/a/b"},
		{"a", given, "", given, "a"},
		{"b/a/", walked, "", given, "/a/b"},
	} {
		if got := appendJoined([]byte("x"), []byte(c.path), c.form, []byte(c.base), c.baseForm); string(got) != "x"+c.want {
			t.Errorf("appendJoined(%q, %d, %q, %d) = %q, want %q", c.path, c.form, c.base, c.baseForm, got, c.want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"/a/b": "/a/b", "//a///b/": "/a/b", "/a/./b/.": "/a/b", "/a/../b": "/b", "/../..": "/", "/": "/", "/a/..": "/", "/..a/b..": "/..a/b..", "relative/..": "relative/..", "": "",
	} {
		if got := clean([]byte(in)); string(got) != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// The Go structures are generated from the same source, but for one architecture each; all must agree, as must the kinds.
func TestLayouts(t *testing.T) {
	types := map[string]uintptr{
		"header": unsafe.Sizeof(bpfHeader{}), "process": unsafe.Sizeof(bpfProcess{}), "endpoints": unsafe.Sizeof(bpfEndpoints{}), "stdio": unsafe.Sizeof(bpfStdio{}),
		"fork_record": unsafe.Sizeof(bpfForkRecord{}), "exec_record": unsafe.Sizeof(bpfExecRecord{}), "exit_record": unsafe.Sizeof(bpfExitRecord{}), "open_record": unsafe.Sizeof(bpfOpenRecord{}),
		"socket_record": unsafe.Sizeof(bpfSocketRecord{}), "dns_record": unsafe.Sizeof(bpfDnsRecord{}), "ptrace_record": unsafe.Sizeof(bpfPtraceRecord{}), "switches": unsafe.Sizeof(bpfSwitches{}),
		"file_record": unsafe.Sizeof(bpfFileRecord{}), "memory_record": unsafe.Sizeof(bpfMemoryRecord{}), "mount_record": unsafe.Sizeof(bpfMountRecord{}),
		"creds_record": unsafe.Sizeof(bpfCredsRecord{}), "call_record": unsafe.Sizeof(bpfCallRecord{}),
	}
	offsets := map[string]uintptr{
		"header.time": unsafe.Offsetof(bpfHeader{}.Time), "header.process": unsafe.Offsetof(bpfHeader{}.Process), "process.comm": unsafe.Offsetof(bpfProcess{}.Comm), "process.uid": unsafe.Offsetof(bpfProcess{}.Uid),
		"exec_record.in": unsafe.Offsetof(bpfExecRecord{}.In), "exec_record.exe_len": unsafe.Offsetof(bpfExecRecord{}.ExeLen), "exec_record.cwd_form": unsafe.Offsetof(bpfExecRecord{}.CwdForm),
		"open_record.path_form": unsafe.Offsetof(bpfOpenRecord{}.PathForm), "socket_record.cwd_form": unsafe.Offsetof(bpfSocketRecord{}.CwdForm), "dns_record.egress": unsafe.Offsetof(bpfDnsRecord{}.Egress),
		"ptrace_record.request": unsafe.Offsetof(bpfPtraceRecord{}.Request), "switches.sleeping": unsafe.Offsetof(bpfSwitches{}.Sleeping),
		"file_record.path_len": unsafe.Offsetof(bpfFileRecord{}.PathLen), "file_record.target_base_form": unsafe.Offsetof(bpfFileRecord{}.TargetBaseForm), "memory_record.path_form": unsafe.Offsetof(bpfMemoryRecord{}.PathForm),
		"mount_record.type_len": unsafe.Offsetof(bpfMountRecord{}.TypeLen), "mount_record.target_base_form": unsafe.Offsetof(bpfMountRecord{}.TargetBaseForm), "creds_record.setuid_exe": unsafe.Offsetof(bpfCredsRecord{}.SetuidExe),
		"call_record.command": unsafe.Offsetof(bpfCallRecord{}.Command), "socket_record.new_fd": unsafe.Offsetof(bpfSocketRecord{}.NewFd),
	}
	for _, object := range []string{"bpf_x86_bpfel.o", "bpf_arm64_bpfel.o"} {
		t.Run(object, func(t *testing.T) {
			f, err := os.Open(object)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			spec, err := ebpf.LoadCollectionSpecFromReader(f)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for name, size := range types {
				var s *btf.Struct
				if err := spec.Types.TypeByName(name, &s); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if uintptr(s.Size) != size {
					t.Errorf("%s has %d bytes in C, %d in Go", name, s.Size, size)
				}
				if size%8 != 0 {
					t.Errorf("%s has %d bytes, which breaks the alignment of what follows", name, size)
				}
				for _, m := range s.Members {
					if want, ok := offsets[name+"."+m.Name]; ok {
						found++
						if uintptr(m.Offset.Bytes()) != want {
							t.Errorf("%s.%s is at %d in C, %d in Go", name, m.Name, m.Offset.Bytes(), want)
						}
					}
				}
			}
			if found != len(offsets) {
				t.Errorf("%d of %d members found", found, len(offsets))
			}
		})
	}
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("kind", &enum); err != nil {
		t.Fatal(err)
	}
	bpfKinds := map[string]uint64{}
	for _, v := range enum.Values {
		bpfKinds[strings.TrimPrefix(v.Name, "KIND_")] = v.Value
	}
	for kind := event.KindFork; kind < event.KindCount; kind++ {
		want, ok := bpfKinds[strings.ToUpper(kind.String())]
		if !ok {
			t.Errorf("there is no KIND_%s in C", strings.ToUpper(kind.String()))
			continue
		}
		if uint64(kind) != want {
			t.Errorf("kind %s is %d in Go, %d in C", kind, kind, want)
		}
	}
	if event.KindCount != int(bpfKindKIND_COUNT) {
		t.Errorf("%d kinds in Go, %d in C", event.KindCount, bpfKindKIND_COUNT)
	}
}

// FuzzDecode checks that no record, however broken, makes the decoder panic or hand out more than the record holds.
func FuzzDecode(f *testing.F) {
	f.Add(build(&bpfForkRecord{Header: header(bpfKindKIND_FORK)}, ""))
	f.Add(build(&bpfExitRecord{Header: header(bpfKindKIND_EXIT), Status: 9}, ""))
	f.Add(build(&bpfExecRecord{Header: header(bpfKindKIND_EXEC), ExeLen: 3, CwdLen: 2, ArgsLen: 1, ExeForm: 1}, "a/b/c/"))
	f.Add(build(&bpfOpenRecord{Header: header(bpfKindKIND_OPEN), PathLen: 4, PathForm: 2}, "a/b/"))
	f.Add(build(&bpfSocketRecord{Header: header(bpfKindKIND_CONNECT), PathLen: 1, PeerLen: 2, CwdLen: 3, Ends: bpfEndpoints{Family: 1}}, "\x00//../"))
	f.Add(build(&bpfSocketRecord{Header: header(bpfKindKIND_BIND), Ends: bpfEndpoints{Family: 10}}, ""))
	f.Add(build(&bpfDnsRecord{Header: header(bpfKindKIND_DNS), PayloadLen: 12, Ends: bpfEndpoints{Family: 2}}, "123456789012"))
	f.Add(build(&bpfPtraceRecord{Header: header(bpfKindKIND_PTRACE)}, ""))
	f.Add(build(&bpfFileRecord{Header: header(bpfKindKIND_RENAME), PathLen: 1, BaseLen: 2, BaseForm: 1, TargetLen: 2}, "ab/.."))
	f.Add(build(&bpfFileRecord{Header: header(bpfKindKIND_MEMFD), PathLen: 8, PathForm: 1, Inode: 1}, "memfd:x/"))
	f.Add(build(&bpfMemoryRecord{Header: header(bpfKindKIND_MPROTECT), Region: 77, PathLen: 2, PathForm: 1}, "a/"))
	f.Add(build(&bpfMountRecord{Header: header(bpfKindKIND_MOUNT), SourceLen: 1, TargetLen: 1, TargetBaseLen: 2, TargetBaseForm: 1, TypeLen: 1}, "abc/d"))
	f.Add(build(&bpfCredsRecord{Header: header(bpfKindKIND_CAPSET)}, ""))
	f.Add(build(&bpfCallRecord{Header: header(bpfKindKIND_BPF)}, ""))
	f.Add(build(&bpfSocketRecord{Header: header(bpfKindKIND_DUP)}, ""))
	var d decoder
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = aligned(raw)
		rec, err := d.record(raw)
		if err != nil {
			return
		}
		held := len(rec.Exec.Script) + len(rec.Exec.Args) + len(rec.Exec.Preload) + len(rec.Exec.LibPath) + len(rec.DNS.Payload)
		if held > len(raw) || len(rec.Comm) > 15+1 || rec.Kind < event.KindFork || rec.Kind >= event.KindCount {
			t.Fatalf("%d bytes decoded to %+v", len(raw), rec)
		}
	})
}

func FuzzParseStartTicks(f *testing.F) {
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1 1"))
	f.Add([]byte("1 ("))
	f.Fuzz(func(t *testing.T, stat []byte) { parseStartTicks(stat) })
}

func TestParseStartTicks(t *testing.T) {
	got, err := parseStartTicks([]byte("1 (a) R (b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1 1\n"))
	if err != nil || got != 12345 {
		t.Errorf("got %d, %v; want 12345", got, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	exec := bpfExecRecord{Header: header(bpfKindKIND_EXEC), ExeLen: 13, CwdLen: 10, ArgsLen: 12, ExeForm: 1, CwdForm: 1}
	open := bpfOpenRecord{Header: header(bpfKindKIND_OPEN), PathLen: 24, PathForm: 1}
	connect := bpfSocketRecord{Header: header(bpfKindKIND_CONNECT)}
	connect.Ends.Family = 2
	for name, raw := range map[string][]byte{
		"exec":    build(&exec, "bash/bin/usr/user/home/ls\x00-l\x00/tmp\x00\x00"),
		"open":    build(&open, "file.txt/folder/tmp/var/"),
		"connect": build(&connect, ""),
		"fork":    build(&bpfForkRecord{Header: header(bpfKindKIND_FORK)}, ""),
	} {
		b.Run(name, func(b *testing.B) {
			var d decoder
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.record(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
