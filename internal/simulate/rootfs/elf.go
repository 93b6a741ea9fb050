package rootfs

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// maxLibraries bounds how many libraries one executable may pull in.
const maxLibraries = 256

// libraries finds shared libraries as the dynamic loader does (ld.so(8)): the object's own RPATH or RUNPATH, then the
// folders of /etc/ld.so.conf, then the built-in ones. LD_LIBRARY_PATH is not looked at: it is not set in the container.
type libraries struct {
	folders []string
}

func newLibraries() *libraries {
	folders := confFolders("/etc/ld.so.conf", 0)
	if data, err := os.ReadFile(muslPathFile()); err == nil {
		folders = append(folders, strings.FieldsFunc(string(data), func(r rune) bool { return r == ':' || r == '\n' })...)
	}
	if multi := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]; multi != "" {
		folders = append(folders, "/lib/"+multi, "/usr/lib/"+multi)
	}
	return &libraries{folders: append(folders, "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")}
}

// muslPathFile is where musl's loader reads its search path.
func muslPathFile() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return "/etc/ld-musl-" + arch + ".path"
}

// needed returns the loader and all libraries that an executable needs, as paths on this machine; nothing for a static one.
func (l *libraries) needed(executable string) ([]string, error) {
	first, err := readObject(executable)
	if err != nil {
		return nil, err
	}
	var found []string
	seen := map[string]bool{}
	if first.interp != "" {
		found = append(found, first.interp)
		seen[filepath.Base(first.interp)] = true
	}
	for queue := []object{first}; len(queue) > 0; queue = queue[1:] {
		for _, name := range queue[0].needed {
			if seen[name] {
				continue
			}
			if seen[name] = true; len(seen) > maxLibraries {
				return nil, fmt.Errorf("libraries of %s: more than %d", executable, maxLibraries)
			}
			where, lib, err := l.find(name, queue[0], first)
			if err != nil {
				return nil, fmt.Errorf("libraries of %s: %w", executable, err)
			}
			found = append(found, where)
			queue = append(queue, lib)
		}
	}
	return found, nil
}

// find looks for a library on behalf of the object that needs it. An executable's RPATH holds for its libraries too.
func (l *libraries) find(name string, by, executable object) (string, object, error) {
	if strings.Contains(name, "/") {
		lib, err := readObject(name)
		return name, lib, err
	}
	folders := append(append(append([]string(nil), by.folders...), executable.rpath...), l.folders...)
	for _, folder := range folders {
		where := filepath.Join(folder, name)
		lib, err := readObject(where)
		if err != nil || lib.class != executable.class || lib.machine != executable.machine {
			continue // The loader goes on as well when a library is for another machine.
		}
		return where, lib, nil
	}
	return "", object{}, fmt.Errorf("%s, which %s needs, is nowhere", name, by.path)
}

// object is what the loader wants to know of an ELF file.
type object struct {
	path    string
	class   elf.Class
	machine elf.Machine
	interp  string
	needed  []string
	folders []string // its own RUNPATH, else RPATH
	rpath   []string // RPATH where there is no RUNPATH
}

func readObject(name string) (object, error) {
	f, err := elf.Open(name)
	if err != nil {
		return object{}, err
	}
	defer f.Close()
	o := object{path: name, class: f.Class, machine: f.Machine}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Filesz > 4096 {
			return object{}, fmt.Errorf("%s: the loader's path has %d bytes", name, p.Filesz)
		}
		text, err := io.ReadAll(p.Open())
		if err != nil {
			return object{}, fmt.Errorf("%s: reading the loader's path: %w", name, err)
		}
		o.interp = strings.TrimRight(string(text), "\x00")
	}
	if o.needed, err = dynStrings(f, elf.DT_NEEDED); err != nil {
		return object{}, fmt.Errorf("%s: %w", name, err)
	}
	origin := filepath.Dir(name)
	if real, err := filepath.EvalSymlinks(name); err == nil {
		origin = filepath.Dir(real)
	}
	runpath, _ := dynStrings(f, elf.DT_RUNPATH)
	rpath, _ := dynStrings(f, elf.DT_RPATH)
	if o.folders = splitPath(runpath, origin); len(o.folders) == 0 {
		o.rpath = splitPath(rpath, origin)
		o.folders = o.rpath
	}
	return o, nil
}

// dynStrings is elf.File.DynString, with no dynamic section being no error.
func dynStrings(f *elf.File, tag elf.DynTag) ([]string, error) {
	values, err := f.DynString(tag)
	var format *elf.FormatError
	if err != nil && !errors.As(err, &format) && f.SectionByType(elf.SHT_DYNAMIC) == nil {
		return nil, nil
	}
	return values, err
}

func splitPath(lists []string, origin string) []string {
	var folders []string
	for _, list := range lists {
		for folder := range strings.SplitSeq(list, ":") {
			folder = strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin).Replace(folder)
			if filepath.IsAbs(folder) {
				folders = append(folders, folder)
			}
		}
	}
	return folders
}

// confFolders reads the folders named by an ld.so.conf file and the files it includes.
func confFolders(name string, depth int) []string {
	f, err := os.Open(name)
	if err != nil || depth > 4 {
		return nil
	}
	defer f.Close()
	var folders []string
	for lines := bufio.NewScanner(io.LimitReader(f, 1<<20)); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		line = strings.TrimSpace(line)
		if pattern, ok := strings.CutPrefix(line, "include"); ok && pattern != strings.TrimSpace(pattern) {
			pattern = strings.TrimSpace(pattern)
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(name), pattern)
			}
			matches, _ := filepath.Glob(pattern)
			for _, match := range matches {
				folders = append(folders, confFolders(match, depth+1)...)
			}
		} else if filepath.IsAbs(line) {
			folders = append(folders, filepath.Clean(line))
		}
	}
	return folders
}
