package ebpf

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
)

// maxReadPaths bounds the list, so that the kernel's tables stay nearly empty and its test means something.
const maxReadPaths = 256

// readPaths are the files whose opening for reading is an event.
type readPaths []string

// SetReadPaths makes opens for reading events of KindOpen, for the files that the patterns match; all others stay free of
// cost but for one test of the file's name in the kernel. The list replaces the one before; an empty one switches it off.
//
// A pattern is an absolute path as the process sees it. An element of it that is * stands for any one name. A pattern that
// ends with a slash means everything in that folder and in the folders directly in it. An attempt that was refused is an event,
// too; one that found no file is not. KindOpen must be wanted for any of this.
func (s *Source) SetReadPaths(patterns []string) error {
	if len(patterns) > maxReadPaths {
		return fmt.Errorf("%d paths to watch for reading are more than %d", len(patterns), maxReadPaths)
	}
	var names, folders [readWords]uint64
	for _, p := range patterns {
		last, folder := strings.CutSuffix(p, "/")
		last = last[strings.LastIndexByte(last, '/')+1:]
		if !strings.HasPrefix(p, "/") || last == "" || last == "*" {
			return fmt.Errorf("path to watch for reading %q: it must be absolute and end with a name, or a name and a slash", p)
		}
		bit := nameBit(last)
		if folder {
			folders[bit/64] |= 1 << (bit % 64)
		} else {
			names[bit/64] |= 1 << (bit % 64)
		}
	}
	list := append(readPaths(nil), patterns...)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.reads.Store(&list)
	sw := s.kernel.control.switches
	var mode uint32
	if len(patterns) > 0 {
		mode = 1
	}
	for i := range names {
		atomic.StoreUint64(&sw.ReadNames[i], names[i])
		atomic.StoreUint64(&sw.ReadFolders[i], folders[i])
		if folders[i] != 0 {
			mode = 2
		}
	}
	atomic.StoreUint32(&sw.Reading, mode)
	return nil
}

const readWords = len(bpfSwitches{}.ReadNames)

// nameBit is where a name stands in the kernel's tables: a hash of its length and its first eight bytes.
func nameBit(name string) uint {
	var head uint64
	for i := range min(len(name), 8) {
		head |= uint64(name[i]) << (8 * i)
	}
	return uint((head ^ uint64(len(name))<<56) * 0x9e3779b97f4a7c15 >> 52)
}

// match reports whether one of the patterns means the path.
func (r readPaths) match(path []byte) bool {
	for _, p := range r {
		if matchRead(p, path) {
			return true
		}
	}
	return false
}

func matchRead(pattern string, path []byte) bool {
	for {
		if pattern == "/" { // the end of a folder: what is left is a name, or a folder and a name
			return len(path) > 1 && bytes.Count(path, []byte{'/'}) <= 2
		}
		if pattern == "" || len(path) == 0 {
			return pattern == "" && len(path) == 0
		}
		if path[0] != '/' {
			return false
		}
		pattern, path = pattern[1:], path[1:]
		element, name := pattern, path
		if i := strings.IndexByte(pattern, '/'); i >= 0 {
			element = pattern[:i]
		}
		if i := bytes.IndexByte(path, '/'); i >= 0 {
			name = path[:i]
		}
		if element != "*" && element != string(name) {
			return false
		}
		pattern, path = pattern[len(element):], path[len(name):]
	}
}
