// Package rootfs makes the root file system of the simulation's containers out of files of this machine: the running
// executable, a shell and a few tools, with the libraries they need. Nothing is downloaded and no command of the machine
// is trusted to exist; what is missing is left out and can be asked for with [Image.Has].
//
// In go the names of tools; out comes an [Image], which is written as a tar stream (for an engine's image import) or into a
// folder (for the native runtime). An Image is immutable and safe for concurrent use. Files keep the paths they have on the
// machine, so that the dynamic loader finds libraries where the executables expect them.
package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/simulate/tiny"
)

// Executable is where the running program is in the image.
const Executable = "/usr/local/bin/vedette"

// Overwritable is a program in the image that nobody needs.
const Overwritable = "/usr/local/bin/report"

// AppUID is the uid and gid of the image's ordinary user, app.
const AppUID = 1000

// optionalTools are taken into the image where the machine has them.
var optionalTools = []string{
	"base64", "bash", "busybox", "cat", "chmod", "cp", "curl", "dd", "env", "find", "getent", "grep", "id", "ln", "ls", "mkdir", "mkfifo",
	"mount", "mv", "nc", "nohup", "nsenter", "perl", "ps", "rm", "sleep", "true", "uname", "unshare", "wget", "whoami",
}

// standIns are tools that change a machine. The image holds a program of each name that does nothing, so that nothing can
// come of an attack that runs them.
var standIns = []string{
	"adduser", "aws", "crontab", "docker", "iptables", "kubectl", "nft", "runc", "service", "setcap", "setenforce", "sudo", "systemctl",
	"ufw", "useradd",
}

// applets are the tools that busybox stands in for, where the machine has busybox but not the tool itself.
var applets = []string{
	"base64", "cat", "chmod", "cp", "dd", "env", "find", "grep", "id", "ln", "ls", "mkdir", "mkfifo", "mount", "mv", "nc", "nohup",
	"nsenter", "nslookup", "ps", "rm", "sleep", "true", "uname", "unshare", "wget", "whoami",
}

// built is the modification time of everything in the image. It is older than any container, so that no file of the image
// looks as if it had been written in one.
var built = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// entry is one thing in the image.
type entry struct {
	path   string // absolute and clean
	mode   fs.FileMode
	source string // the file on this machine; "" if data or link say what it is
	data   string
	link   string // symbolic link's target
	uid    int
}

// Image is a root file system that has been planned but not written.
type Image struct {
	entries []entry // parents before children
	tools   map[string]string
}

// Plan finds what belongs into the image. The error says which necessary file is missing: the program itself, /bin/sh, or a
// library that one of those two needs. A tool whose libraries cannot be found is left out.
func Plan() (*Image, error) {
	p := planner{byPath: map[string]entry{}, libs: newLibraries()}
	p.skeleton()
	if err := p.program("/proc/self/exe", Executable); err != nil {
		return nil, fmt.Errorf("planning image: %w", err)
	}
	tools := map[string]string{}
	if err := p.tool("sh", "/bin/sh"); err != nil {
		return nil, fmt.Errorf("planning image: %w", err)
	}
	tools["sh"] = "/bin/sh"
	nothing, err := tiny.Program{Data: []byte("Vedette's simulation: a tool that does nothing")}.ELF()
	if err != nil {
		return nil, fmt.Errorf("planning image: %w", err)
	}
	for _, name := range standIns {
		p.add(entry{path: "/usr/bin/" + name, mode: 0o755, data: string(nothing)})
		tools[name] = "/usr/bin/" + name
	}
	for _, name := range optionalTools {
		found, err := exec.LookPath(name)
		if err != nil || !filepath.IsAbs(found) || isScript(found) {
			continue
		}
		if err := p.tool(name, found); err != nil {
			continue // It would not start in the container.
		}
		tools[name] = "/bin/" + name
	}
	if _, ok := tools["busybox"]; ok {
		has := busyboxApplets()
		for _, name := range applets {
			if _, ok := tools[name]; !ok && has[name] {
				p.add(entry{path: "/bin/" + name, mode: fs.ModeSymlink | 0o777, link: "/bin/busybox"})
				tools[name] = "/bin/" + name
			}
		}
	}
	return &Image{entries: p.sorted(), tools: tools}, nil
}

// Has reports whether the image holds the tool, sh for instance.
func (i *Image) Has(tool string) bool { _, ok := i.tools[tool]; return ok }

// Tools returns the names of the image's tools, sorted.
func (i *Image) Tools() []string {
	var names []string
	for name := range i.tools {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// WriteTar writes the image as a tar stream.
func (i *Image) WriteTar(w io.Writer) error {
	t := tar.NewWriter(w)
	for _, e := range i.entries {
		if err := e.writeTar(t); err != nil {
			return fmt.Errorf("writing image: %s: %w", e.path, err)
		}
	}
	return t.Close()
}

// WriteFolder writes the image into an empty folder, which must exist.
func (i *Image) WriteFolder(folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("writing image: %w", err)
	}
	defer root.Close()
	for _, e := range i.entries {
		if err := e.writeFile(root); err != nil {
			return fmt.Errorf("writing image: %s: %w", e.path, err)
		}
	}
	return nil
}

// open returns the content of a regular file and its size.
func (e entry) open() (io.ReadCloser, int64, error) {
	if e.source == "" {
		return io.NopCloser(strings.NewReader(e.data)), int64(len(e.data)), nil
	}
	f, err := os.Open(e.source)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (e entry) writeTar(t *tar.Writer) error {
	h := &tar.Header{
		Name: strings.TrimPrefix(e.path, "/"), Mode: int64(e.mode.Perm()), ModTime: built, Uid: e.uid, Gid: e.uid,
		Format: tar.FormatPAX,
	}
	if e.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		return t.WriteHeader(h)
	case e.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		return t.WriteHeader(h)
	}
	content, size, err := e.open()
	if err != nil {
		return err
	}
	defer content.Close()
	h.Typeflag, h.Size = tar.TypeReg, size
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(t, content, size)
	return err
}

func (e entry) writeFile(root *os.Root) error {
	name := strings.TrimPrefix(e.path, "/")
	switch {
	case e.mode.IsDir():
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := root.Chmod(name, e.mode.Perm()|e.mode&fs.ModeSticky); err != nil {
			return err
		}
		if e.uid != 0 {
			return root.Lchown(name, e.uid, e.uid)
		}
		return nil
	case e.mode&fs.ModeSymlink != 0:
		return root.Symlink(e.link, name)
	}
	content, size, err := e.open()
	if err != nil {
		return err
	}
	defer content.Close()
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.mode.Perm())
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, content, size); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Chmod(e.mode.Perm()), f.Close()); err != nil {
		return err
	}
	return root.Chtimes(name, built, built)
}

// planner collects entries.
type planner struct {
	byPath map[string]entry
	libs   *libraries
}

func (p *planner) add(e entry) {
	if _, ok := p.byPath[e.path]; ok {
		return
	}
	p.byPath[e.path] = e
	for dir := path.Dir(e.path); dir != "/"; dir = path.Dir(dir) {
		if _, ok := p.byPath[dir]; ok {
			break
		}
		p.byPath[dir] = entry{path: dir, mode: fs.ModeDir | 0o755}
	}
}

// skeleton adds the folders and files that every program expects.
func (p *planner) skeleton() {
	dir := func(name string, mode fs.FileMode) entry { return entry{path: name, mode: fs.ModeDir | mode} }
	file := func(name, text string) entry { return entry{path: name, mode: 0o644, data: text} }
	for _, e := range []entry{
		dir("/bin", 0o755), dir("/dev", 0o755), dir("/etc", 0o755), dir("/proc", 0o555), dir("/sys", 0o555),
		dir("/run", 0o755), dir("/root", 0o700), dir("/var", 0o755), dir("/srv", 0o755),
		dir("/tmp", fs.ModeSticky|0o777),
		{path: "/home/app", mode: fs.ModeDir | 0o755, uid: AppUID},
		{path: "/var/run", mode: fs.ModeSymlink | 0o777, link: "/run"},
		file("/etc/passwd", fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\napp:x:%d:%d:app:/home/app:/bin/sh\n"+
			"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n", AppUID, AppUID)),
		file("/etc/group", fmt.Sprintf("root:x:0:\napp:x:%d:\nnogroup:x:65534:\n", AppUID)),
		file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
		file("/etc/resolv.conf", ""),
		file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
		file("/etc/os-release", "ID=vedette-sim\nNAME=\"Vedette simulation\"\n"),
		// A program of the image for an attack to overwrite.
		{path: Overwritable, mode: 0o755, data: "#!/bin/sh\necho nothing to report\n"},
		file("/etc/vedette-sim", "This container was made by Vedette to try out its detection. Nothing in it is worth keeping.\n"),
	} {
		p.add(e)
	}
	// The loader finds libraries outside its built-in folders only through its cache.
	for _, name := range []string{"/etc/ld.so.cache", muslPathFile()} {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			p.add(entry{path: name, mode: 0o644, source: name})
		}
	}
}

// program adds an executable of this machine at the given place, and what its loader needs.
func (p *planner) program(source, target string) error {
	needed, err := p.libs.needed(source)
	if err != nil {
		return err
	}
	p.add(entry{path: target, mode: 0o755, source: source})
	for _, lib := range needed {
		p.add(entry{path: lib, mode: 0o755, source: lib})
	}
	return nil
}

// tool adds an executable where it really is, and as /bin/NAME.
func (p *planner) tool(name, found string) error {
	real, err := filepath.EvalSymlinks(found)
	if err != nil {
		return err
	}
	if err := p.program(real, real); err != nil {
		return err
	}
	if short := "/bin/" + name; real != short {
		p.add(entry{path: short, mode: fs.ModeSymlink | 0o777, link: real})
	}
	return nil
}

// sorted returns the entries with every folder before what is in it.
func (p *planner) sorted() []entry {
	all := make([]entry, 0, len(p.byPath))
	for _, e := range p.byPath {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return all
}

func isScript(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return true
	}
	defer f.Close()
	var magic [2]byte
	_, err = io.ReadFull(f, magic[:])
	return err != nil || string(magic[:]) == "#!"
}

// busyboxApplets asks busybox which tools it can be.
func busyboxApplets() map[string]bool {
	out, err := exec.Command("busybox", "--list").Output()
	if err != nil {
		return nil
	}
	has := map[string]bool{}
	for name := range strings.FieldsSeq(string(out)) {
		has[name] = true
	}
	return has
}
