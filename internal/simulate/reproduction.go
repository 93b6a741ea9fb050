package simulate

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/simulate/actor"
	"vedette.dev/vedette/internal/simulate/rootfs"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// Reproduction is how to provoke one finding type.
type Reproduction struct {
	Type       string
	Summary    string
	Techniques []Technique
}

// Technique is one way to do it.
type Technique struct {
	Type    string
	Name    string
	Summary string
	// Evades says what a detection must not rely on to see this technique; "" for an ordinary one.
	Evades string
	// Needs are tools that the image must hold.
	Needs []string
	// Privileged says that the technique needs a privileged container (see Technique.Spec). It is skipped in another one.
	Privileged bool

	argv    func(Target) []string
	machine string // the only processor that can do it; "" for all
	want    int    // exit code; anyCode for a command of which only the attempt counts
}

// anyCode as the wanted exit code takes every one but those that say that the command could not be started.
const anyCode = -1

// Spec returns the container for the technique: that of the function Spec, privileged where the technique needs it.
func (t Technique) Spec(target Target) (sandbox.Spec, error) {
	spec, err := Spec(target)
	spec.Privileged = t.Privileged
	return spec, err
}

// Result is what a technique did.
type Result struct {
	Type      string        `json:"type"`
	Technique string        `json:"technique"`
	Evades    string        `json:"evades,omitempty"`
	Container string        `json:"containerId"`
	Skipped   string        `json:"skipped,omitempty"` // why it was not tried
	Calls     []actor.Call  `json:"calls"`             // in the order they were made
	ExitCode  int           `json:"exitCode"`
	Output    string        `json:"output,omitempty"` // the end of what it printed beside the calls
	Started   time.Time     `json:"startedAt"`
	Took      time.Duration `json:"tookNanos"`
}

// First returns when the first of the attack's system calls was made, and false where none was reported.
func (r Result) First() (time.Time, bool) {
	if len(r.Calls) == 0 {
		return time.Time{}, false
	}
	return r.Calls[0].Time(), true
}

// notFound is how shells say that a command is missing.
var notFound = regexp.MustCompile(`(?m): (command )?not found\r?$`)

// Run does the attack in a container made from Spec. The container's application does it, as if a stranger had found a hole
// in that. A technique that needs what the container does not have is skipped and says so; an error means that the attack
// did not really happen.
func (t Technique) Run(ctx context.Context, c sandbox.Container, target Target) (Result, error) {
	r := Result{Type: t.Type, Technique: t.Name, Evades: t.Evades, Container: c.Info().ID, Started: time.Now()}
	target, err := target.Complete()
	if err != nil {
		return r, err
	}
	if t.Privileged && !c.Info().Privileged {
		r.Skipped = "the container is not privileged"
		return r, nil
	}
	if t.machine != "" && t.machine != runtime.GOARCH {
		r.Skipped = "only " + t.machine + " can do it"
		return r, nil
	}
	for _, tool := range t.Needs {
		if got, err := c.Exec(ctx, "sh", "-c", "command -v "+tool); err != nil {
			return r, err
		} else if got.ExitCode != 0 {
			r.Skipped = "the machine has no " + tool
			return r, nil
		}
	}
	got, err := c.Exec(ctx, append([]string{rootfs.Executable}, actor.Ask(t.argv(target))...)...)
	r.Took = time.Since(r.Started)
	r.Calls, r.ExitCode, r.Output = actor.ParseCalls(got.Output), got.ExitCode, tail(got.Output)
	if err == nil {
		err = t.happened(got, r.Calls)
	}
	if err != nil {
		return r, fmt.Errorf("%s by %s: %w", t.Type, t.Name, err)
	}
	return r, nil
}

// happened returns an error unless the output and exit code of an attack prove it.
func (t Technique) happened(got sandbox.Result, calls []actor.Call) error {
	if t.want == anyCode {
		if got.ExitCode == 126 || got.ExitCode == 127 || notFound.Match(got.Output) {
			return fmt.Errorf("a command is missing: exit code %d: %s", got.ExitCode, tail(got.Output))
		}
	} else if got.ExitCode != t.want {
		return fmt.Errorf("exit code %d: %s", got.ExitCode, tail(got.Output))
	}
	if len(calls) == 0 {
		return fmt.Errorf("it reports no system call: %s", tail(got.Output))
	}
	return nil
}

// tail returns the end of an output without the lines that report calls.
func tail(output []byte) string {
	const most = 300
	var kept []string
	for line := range strings.Lines(string(output)) {
		if len(actor.ParseCalls([]byte(line))) == 0 {
			kept = append(kept, line)
		}
	}
	text := strings.TrimSpace(strings.Join(kept, ""))
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}

// For returns the reproduction of a finding type.
func For(findingType string) (Reproduction, bool) {
	all := All()
	i := slices.IndexFunc(all, func(r Reproduction) bool { return r.Type == findingType })
	if i < 0 {
		return Reproduction{}, false
	}
	return all[i], true
}

// All returns every reproduction, in the order of the finding types' names.
func All() []Reproduction {
	all := slices.Concat(attacks(), connections(), lookups(), intrusions(), escapes(), escalations(), commands(), fileChanges())
	for _, r := range all {
		for i := range r.Techniques {
			r.Techniques[i].Type = r.Type
		}
	}
	slices.SortFunc(all, func(a, b Reproduction) int { return strings.Compare(a.Type, b.Type) })
	return all
}

// act makes a technique of an actor.
func act(name, summary string, args ...string) Technique {
	return Technique{Name: name, Summary: summary, argv: role(args...)}
}

// command makes a technique of a command line, of which the attempt counts and not the success.
func command(name, summary string, argv ...string) Technique {
	return Technique{Name: name, Summary: summary, argv: func(Target) []string { return argv }, want: anyCode}
}

// shell is a command of sh.
func shell(name, summary, script string) Technique {
	return command(name, summary, "sh", "-c", script)
}

// perl is a program of perl, which can make any system call by itself.
func perl(name, summary, script string) Technique {
	return command(name, summary, "perl", "-e", script).needs("perl")
}

func (t Technique) evading(what string) Technique   { t.Evades = what; return t }
func (t Technique) needs(tools ...string) Technique { t.Needs = append(t.Needs, tools...); return t }
func (t Technique) privileged() Technique           { t.Privileged = true; return t }
func (t Technique) exits(code int) Technique        { t.want = code; return t }

func (t Technique) on(machine string) Technique { t.machine = machine; return t }

func do(args ...string) []string {
	return append([]string{rootfs.Executable, actor.Argument}, args...)
}

func role(args ...string) func(Target) []string {
	return func(Target) []string { return do(args...) }
}
