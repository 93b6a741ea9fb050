package custom

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of a folder.
const (
	MaxRules = 10000
	maxFiles = 1000
	maxFile  = 8 << 20 // bytes
	maxTotal = 64 << 20
)

// Parse reads one file of rules. The set holds the rules that are right even if there is an error, which is of type Problems.
func Parse(file string, text []byte) (*Set, error) {
	s := &Set{Files: 1}
	d := &document{file: file}
	x := &exceptions{}
	d.rules(text, s, x)
	s.except = x.compile()
	return s, s.finish(d.problems)
}

// rules adds what a file holds.
func (d *document) rules(text []byte, s *Set, x *exceptions) {
	root := d.parse(text)
	if root == nil {
		return
	}
	d.object(root, "",
		member{"rules", false, func(n *yaml.Node, field string) {
			d.list(n, field, MaxRules, func(n *yaml.Node, field string) {
				if r := d.rule(n, field); r != nil {
					s.Rules = append(s.Rules, r)
				}
			})
		}},
		member{"exceptions", false, func(n *yaml.Node, field string) {
			d.list(n, field, maxExcept, func(n *yaml.Node, field string) {
				if row, ok := d.exception(n, field, true); ok {
					x.rows = append(x.rows, row)
				}
			})
		}},
	)
}

// finish sorts the rules and refuses names that are there twice.
func (s *Set) finish(problems Problems) error {
	slices.SortStableFunc(s.Rules, func(a, b *Rule) int { return cmp.Compare(a.Name, b.Name) })
	kept := s.Rules[:0]
	for _, r := range s.Rules {
		if n := len(kept); n > 0 && kept[n-1].Name == r.Name {
			problems = append(problems, &Problem{File: r.File, Line: r.Line, Column: 1, Field: r.Name,
				Text: fmt.Sprintf("there is a rule of this name at %s:%d already", kept[n-1].File, kept[n-1].Line)})
			continue
		}
		kept = append(kept, r)
	}
	s.Rules = kept
	if len(s.Rules) > MaxRules {
		problems = append(problems, &Problem{File: s.Rules[MaxRules].File, Line: s.Rules[MaxRules].Line, Column: 1,
			Text: fmt.Sprintf("there are %d rules; at most %d are allowed", len(s.Rules), MaxRules)})
		s.Rules = s.Rules[:MaxRules]
	}
	return problems.err()
}

// source is a file and its text.
type source struct {
	name string
	text []byte
}

// isRules and isTests tell the files of a folder apart.
func isRules(name string) bool { return isYAML(name) && !isTests(name) }

func isTests(name string) bool {
	return strings.HasSuffix(name, "_test.yaml") || strings.HasSuffix(name, "_test.yml")
}

func isYAML(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"))
}

// names returns the files of a folder that take fits, in order. A path that is a file stands for itself.
func files(dir string, take func(name string) bool) ([]string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if take(e.Name()) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	if len(found) > maxFiles {
		return nil, fmt.Errorf("%s: %d files of rules; at most %d are allowed", dir, len(found), maxFiles)
	}
	return found, nil
}

// read reads the files. One that vanished meanwhile is left out.
func read(names []string) (sources []source, problems Problems) {
	total := 0
	for _, name := range names {
		text, err := readFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && total+len(text) > maxTotal:
			err = fmt.Errorf("all files together have more than %d bytes", maxTotal)
			fallthrough
		case err != nil:
			problems = append(problems, &Problem{File: name, Text: reason(err)})
			continue
		}
		total += len(text)
		sources = append(sources, source{name, text})
	}
	return sources, problems
}

func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

func readFile(name string) ([]byte, error) {
	// A name may be a pipe or a device: whoever opens it must not wait for it.
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("has more than %d bytes", maxFile)
	}
	return text, err
}

// Load reads a folder of rules, or one file. The set holds the rules that are right even if the error is Problems; it is nil
// after any other error.
func Load(dir string) (*Set, error) {
	names, err := files(dir, isRules)
	if err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	sources, problems := read(names)
	return parseAll(sources, problems)
}

func parseAll(sources []source, problems Problems) (*Set, error) {
	s := &Set{Files: len(sources)}
	x := &exceptions{}
	for _, src := range sources {
		d := &document{file: src.name}
		d.rules(src.text, s, x)
		problems = append(problems, d.problems...)
	}
	if n := len(x.rows); n > maxExcept {
		problems = append(problems, &Problem{File: sources[0].name, Text: fmt.Sprintf("all files together have %d exceptions; at most %d are allowed", n, maxExcept)})
		x.rows = x.rows[:maxExcept]
	}
	s.except = x.compile()
	return s, s.finish(problems)
}
