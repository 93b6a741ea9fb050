package main

import (
	"embed"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Where a workload can run.
const (
	host        = "host"
	inContainer = "container"
)

// workload is one script of the folder workloads. The lines at its start that begin with "#:" describe it:
//
//	#: where host container       where it can run
//	#: needs TOOL...              what the machine must have
//	#: short                      it is part of the short form
//	#: operator                   in a container, it is run by an operator and not the container's first process
//
// The script runs in a folder of its own ($WORK), which is removed afterwards, and must end with code 0. It must not reach
// outside of the machine nor change it.
type workload struct {
	name     string
	where    []string
	needs    []string
	short    bool
	operator bool
	script   string
}

//go:embed workloads/*.sh
var scripts embed.FS

// workloads returns all, in the order of their names.
func workloads() ([]workload, error) {
	files, err := scripts.ReadDir("workloads")
	if err != nil {
		return nil, err
	}
	var all []workload
	for _, f := range files {
		text, err := scripts.ReadFile(path.Join("workloads", f.Name()))
		if err != nil {
			return nil, err
		}
		w, err := parseWorkload(strings.TrimSuffix(f.Name(), ".sh"), string(text))
		if err != nil {
			return nil, fmt.Errorf("workload %s: %w", f.Name(), err)
		}
		all = append(all, w)
	}
	return all, nil
}

func parseWorkload(name, script string) (workload, error) {
	w := workload{name: name, script: script}
	for line := range strings.Lines(script) {
		text, ok := strings.CutPrefix(line, "#:")
		if !ok {
			continue
		}
		words := strings.Fields(text)
		switch {
		case len(words) > 1 && words[0] == "where":
			w.where = words[1:]
		case len(words) > 1 && words[0] == "needs":
			w.needs = append(w.needs, words[1:]...)
		case len(words) == 1 && words[0] == "short":
			w.short = true
		case len(words) == 1 && words[0] == "operator":
			w.operator = true
		default:
			return w, fmt.Errorf("cannot read %q", strings.TrimSpace(line))
		}
	}
	for _, where := range w.where {
		if where != host && where != inContainer {
			return w, fmt.Errorf("no place %q", where)
		}
	}
	if len(w.where) == 0 || len(slices.Compact(slices.Sorted(slices.Values(w.where)))) != len(w.where) {
		return w, fmt.Errorf("it must run in different places, and in at least one")
	}
	return w, nil
}

// missing returns a tool that the machine lacks, or "".
func (w workload) missing() string {
	for _, tool := range w.needs {
		if _, err := exec.LookPath(tool); err != nil {
			return tool
		}
	}
	return ""
}
