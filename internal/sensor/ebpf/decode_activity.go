package ebpf

import (
	"bytes"
	"unsafe"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// memfdPrefix begins the name under which the kernel knows an in-memory file.
var memfdPrefix = []byte("/memfd:")

// appendJoined appends a path that the kernel walked, or one as it was given, made absolute with the folder that it is relative
// to. Only text is joined: symbolic links in a given path are not followed.
func appendJoined(dst, path []byte, form uint8, base []byte, baseForm uint8) []byte {
	if bpfPathForm(form) != bpfPathFormPATH_GIVEN {
		return appendPath(dst, path, form)
	}
	if bpfPathForm(baseForm) == bpfPathFormPATH_GIVEN { // absolute, or the folder is not known
		start := len(dst)
		dst = append(dst, path...)
		return dst[:start+len(clean(dst[start:]))]
	}
	start := len(dst)
	dst = appendPath(dst, base, baseForm)
	if len(path) > 0 {
		dst = append(append(dst, '/'), path...)
	}
	return dst[:start+len(clean(dst[start:]))]
}

func (d *decoder) file(raw []byte) error {
	r, rest, err := fixed[bpfFileRecord](raw)
	if err != nil {
		return err
	}
	p := parts{rest: rest}
	path, base := p.take(r.PathLen), p.take(r.BaseLen)
	target, targetBase := p.take(r.TargetLen), p.take(r.TargetBaseLen)
	if p.short {
		return errShort
	}
	f := &d.rec.File
	f.Flags, f.Mode, f.Inode = r.Flags, r.Mode, r.Inode
	if len(path) > 0 || len(base) > 0 || bpfPathForm(r.PathForm) != bpfPathFormPATH_GIVEN {
		d.first = appendJoined(d.first[:0], path, r.PathForm, base, r.BaseForm)
		f.Path = d.first
	}
	if len(target) > 0 || len(targetBase) > 0 {
		d.second = append(d.second[:0], target...)
		if d.rec.Kind != event.KindSymlink { // there it is the text of the link
			d.second = appendJoined(d.second[:0], target, r.TargetForm, targetBase, r.TargetBaseForm)
		}
		f.Target = d.second
	}
	if d.rec.Kind == event.KindMemfd {
		f.Path = bytes.TrimPrefix(f.Path, memfdPrefix)
	}
	if r.Inode != 0 {
		f.Dev = device(r.Dev)
		f.File = event.File{
			Dev: f.Dev, Inode: r.Inode, MTime: r.Mtime, CTime: r.Ctime, Size: int64(r.FileSize),
			UpperLayer: r.FileFlags&uint32(bpfExecFlagEXEC_UPPER) != 0,
		}
		if r.FileFlags&uint32(bpfExecFlagEXEC_MEMORY) != 0 {
			f.File.Origin = event.OriginMemory
		}
	}
	return nil
}

var regionNames = [...]string{
	bpfRegionREGION_ANONYMOUS: "anonymous",
	bpfRegionREGION_STACK:     "stack",
	bpfRegionREGION_HEAP:      "heap",
	bpfRegionREGION_FILE:      "file",
	bpfRegionREGION_MEMFD:     "memfd",
}

func (d *decoder) memory(raw []byte) error {
	r, rest, err := fixed[bpfMemoryRecord](raw)
	if err != nil {
		return err
	}
	p := parts{rest: rest}
	path := p.take(r.PathLen)
	if p.short {
		return errShort
	}
	m := &d.rec.Memory
	m.Start, m.Length, m.Protection = r.Start, r.Length, r.Protection
	m.Region = regionNames[min(int(r.Region), len(regionNames)-1)]
	if len(path) > 0 {
		d.first = appendPath(d.first[:0], path, r.PathForm)
		d.rec.File.Path = d.first
	}
	return nil
}

func (d *decoder) mount(raw []byte) error {
	r, rest, err := fixed[bpfMountRecord](raw)
	if err != nil {
		return err
	}
	p := parts{rest: rest}
	source, sourceBase := p.take(r.SourceLen), p.take(r.SourceBaseLen)
	target, targetBase := p.take(r.TargetLen), p.take(r.TargetBaseLen)
	fsType := p.take(r.TypeLen)
	if p.short {
		return errShort
	}
	m := &d.rec.Mount
	*m = sensor.MountRecord{Source: source, FSType: fsType, Flags: r.Flags}
	if len(sourceBase) > 0 || bpfPathForm(r.SourceBaseForm) != bpfPathFormPATH_GIVEN {
		d.first = appendJoined(d.first[:0], source, r.SourceForm, sourceBase, r.SourceBaseForm)
		m.Source = d.first
	}
	if len(target) > 0 || len(targetBase) > 0 || bpfPathForm(r.TargetForm) != bpfPathFormPATH_GIVEN {
		d.second = appendJoined(d.second[:0], target, r.TargetForm, targetBase, r.TargetBaseForm)
		m.Target = d.second
	}
	return nil
}

func (d *decoder) creds(raw []byte) error {
	r, _, err := fixed[bpfCredsRecord](raw)
	if err != nil {
		return err
	}
	d.rec.Creds = event.Creds{UID: r.Uid, EUID: r.Euid, Capabilities: r.Capabilities, SetuidExe: r.SetuidExe != 0}
	return nil
}

func (d *decoder) call(raw []byte) error {
	r, _, err := fixed[bpfCallRecord](raw)
	if err != nil {
		return err
	}
	d.rec.Call = event.Call{Command: r.Command, Flags: r.Flags}
	return nil
}

// dup decodes what became a standard stream: the socket, if it is one, and the two descriptors.
func (d *decoder) dup(raw []byte) error {
	if err := d.socket(raw); err != nil {
		return err
	}
	r := (*bpfSocketRecord)(unsafe.Pointer(unsafe.SliceData(raw)))
	d.rec.Call = event.Call{Command: r.NewFd, Flags: uint64(r.OldFd)}
	return nil
}
