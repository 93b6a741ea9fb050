// Command ordinary does ordinary work, in containers and on the host, while the program under test watches, and prints the
// findings that came of it. There must be none.
//
//	sudo go run ./bench/ordinary [--short] [--only regexp] [--where host|container|all] [--output json]
//
// The work is the scripts in the folder workloads. One whose tools the machine does not have is reported as not run. At the
// end comes one attack that must be found: a program that finds nothing is quiet, too. On a machine that others work on,
// findings about what this command did not start are only counted; --all-findings makes them count as its own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/bench/subject"
	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

type options struct {
	subject subject.Options
	runtime string
	only    *regexp.Regexp
	where   string
	short   bool
	all     bool
	settle  time.Duration
	output  string
}

func main() {
	simulate.MaybeInit()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ordinary:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("ordinary", flag.ContinueOnError)
	flags.StringVar(&o.where, "where", "all", "host, container or all")
	flags.BoolVar(&o.short, "short", false, "only the work that takes seconds, as in CI")
	flags.BoolVar(&o.all, "all-findings", false, "count every finding, also about what this command did not start")
	flags.StringVar(&o.runtime, "runtime", "native", "how to make containers: docker or native")
	flags.DurationVar(&o.settle, "settle", time.Second, "how long the program may take to digest what a workload did")
	flags.StringVar(&o.output, "output", "table", "table or json")
	flags.StringVar(&o.subject.Binary, "vedette", "", "the program to test, for {vedette}; built if not given")
	flags.StringVar(&o.subject.Command, "command", subject.DefaultCommand, "how to run it")
	flags.StringVar(&o.subject.Attached, "attached", subject.DefaultAttached, "series that is above 0 once it watches something")
	flags.StringVar(&o.subject.Ready, "ready", "http://{api}/healthz", "URL that answers 200 once it is ready")
	flags.StringVar(&o.subject.Metrics, "metrics", "http://{api}/metrics", "URL of its metrics")
	only := flags.String("only", "", "only workloads whose names match this regular expression")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.where != "all" && o.where != host && o.where != inContainer || o.output != "table" && o.output != "json" {
		return o, errors.New("--where must be host, container or all, --output table or json")
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("--only: %w", err)
	}
	return o, nil
}

// line is what became of one workload in one place.
type line struct {
	Workload string    `json:"workload"`
	Where    string    `json:"where"`
	NotRun   string    `json:"notRun,omitempty"` // why
	Failed   string    `json:"failed,omitempty"` // how it ended, when not well
	Seconds  float64   `json:"seconds"`
	Events   float64   `json:"events"` // that the sensor saw on the machine in the meantime
	Findings []finding `json:"findings"`
}

// report is the result.
type report struct {
	Lines []line `json:"lines"`
	// Control says that the attack at the end was found.
	Control bool `json:"control"`
	// Others are findings about what this command did not start.
	Others int `json:"others"`
	// PerHour are false positives per hour of work.
	PerHour float64 `json:"falsePositivesPerWorkloadHour"`
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("it must run as root: it watches the machine and makes containers")
	}
	folder, err := os.MkdirTemp("", "vedette-ordinary-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if err := os.Chmod(folder, 0o711); err != nil { // Some work is done by ordinary users.
		return err
	}
	if o.subject.Binary == "" {
		if o.subject.Binary, err = subject.Build(ctx, "cmd/vedette", folder); err != nil {
			return err
		}
	}
	all, err := workloads()
	if err != nil {
		return err
	}
	containers, err := simulate.Open(ctx, simulate.Options{Runtime: o.runtime, StateDir: filepath.Join(folder, "containers")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, containers.Close()) }()
	tested, err := subject.Start(ctx, o.subject)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tested.Stop()) }()
	watch, err := newWatch(ctx, tested, o.all)
	if err != nil {
		return err
	}
	b := bench{options: o, folder: folder, subject: tested, watch: watch, containers: containers}
	var r report
	for _, w := range all {
		for _, where := range w.where {
			if o.where != "all" && o.where != where || o.short && !w.short || !o.only.MatchString(w.name) {
				continue
			}
			l, err := b.one(ctx, w, where)
			if err != nil {
				return err
			}
			r.Lines = append(r.Lines, l)
			fmt.Fprintln(os.Stderr, l)
		}
	}
	if r.Control, err = b.control(ctx); err != nil {
		return err
	}
	r.Others = watch.others
	r.PerHour = perHour(r.Lines)
	if err := r.print(out, o.output); err != nil {
		return err
	}
	return r.verdict()
}

// String is what is printed while the work goes on.
func (l line) String() string {
	return fmt.Sprintf("%-18s %-10s %s", l.Workload, l.Where, l.state())
}

func (l line) state() string {
	switch {
	case l.NotRun != "":
		return "not run: " + l.NotRun
	case l.Failed != "":
		return "failed: " + l.Failed
	case len(l.Findings) > 0:
		return fmt.Sprintf("%d findings", len(l.Findings))
	}
	return "quiet"
}

// perHour returns the findings per hour of work.
func perHour(lines []line) float64 {
	hours, count := 0.0, 0
	for _, l := range lines {
		hours += l.Seconds / 3600
		count += len(l.Findings)
	}
	if hours == 0 {
		return 0
	}
	return float64(count) / hours
}

// verdict returns an error unless everything that ran ended well and was quiet.
func (r report) verdict() error {
	var failed []error
	ran := 0
	for _, l := range r.Lines {
		if l.NotRun != "" {
			continue
		}
		ran++
		if l.Failed != "" || len(l.Findings) > 0 {
			failed = append(failed, fmt.Errorf("%s (%s): %s", l.Workload, l.Where, l.state()))
		}
		if l.Failed == "" && l.Events == 0 {
			failed = append(failed, fmt.Errorf("%s (%s): the sensor saw nothing", l.Workload, l.Where))
		}
	}
	if ran == 0 {
		failed = append(failed, errors.New("no workload was run"))
	}
	if !r.Control {
		failed = append(failed, errors.New("the attack at the end was not found: being quiet proves nothing"))
	}
	return errors.Join(failed...)
}

func (r report) print(out io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WORKLOAD\tWHERE\tSECONDS\tEVENTS\tRESULT")
	for _, l := range r.Lines {
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.0f\t%s\n", l.Workload, l.Where, l.Seconds, l.Events, l.state())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, l := range r.Lines {
		for _, f := range l.Findings {
			fmt.Fprintf(out, "%s (%s): %s, severity %.1f: %s\n", l.Workload, l.Where, f.Type, f.Severity, f.Process)
		}
	}
	_, err := fmt.Fprintf(out, "False positives per workload-hour: %.1f. The attack at the end was found: %t. Findings about others' work: %d.\n", r.PerHour, r.Control, r.Others)
	return err
}

// bench does the work.
type bench struct {
	options
	folder     string
	subject    *subject.Subject
	watch      *watch
	containers sandbox.Runtime
}

// patience bounds one workload.
const patience = 3 * time.Minute

// one runs a workload in one place and asks for the findings.
func (b *bench) one(ctx context.Context, w workload, where string) (line, error) {
	l := line{Workload: w.name, Where: where, Findings: []finding{}}
	if missing := w.missing(); missing != "" {
		l.NotRun = "the machine has no " + missing
		return l, nil
	}
	folder, err := os.MkdirTemp(b.folder, w.name+"-*")
	if err != nil {
		return l, err
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		return l, err
	}
	if err := os.WriteFile(filepath.Join(folder, "run.sh"), []byte(w.script), 0o755); err != nil {
		return l, err
	}
	before, err := b.seen(ctx)
	if err != nil {
		return l, err
	}
	work, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	started := time.Now()
	var ended error
	if where == host {
		ended = b.onHost(work, folder)
	} else {
		ended = b.inContainer(work, w, folder)
	}
	l.Seconds = time.Since(started).Seconds()
	if ctx.Err() != nil {
		return l, ctx.Err()
	}
	if ended != nil {
		l.Failed = ended.Error() + tail(filepath.Join(folder, "output"))
	}
	select {
	case <-ctx.Done():
		return l, ctx.Err()
	case <-time.After(b.settle):
	}
	after, err := b.seen(ctx)
	if err != nil {
		return l, err
	}
	l.Events = after - before
	l.Findings, err = b.watch.fresh(ctx)
	return l, errors.Join(err, os.RemoveAll(folder))
}

// seen counts the events that the sensor has seen.
func (b *bench) seen(ctx context.Context) (float64, error) {
	counters, err := b.subject.Counters(ctx)
	if err != nil {
		return 0, err
	}
	return counters.Sum(func(series string) bool { return strings.HasPrefix(series, "vedette_sensor_events_total") }), nil
}

// onHost runs a workload as a child of this process, in a folder of its own.
func (b *bench) onHost(ctx context.Context, folder string) error {
	output, err := os.Create(filepath.Join(folder, "output"))
	if err != nil {
		return err
	}
	defer output.Close()
	c := exec.CommandContext(ctx, "sh", filepath.Join(folder, "run.sh"))
	c.Dir, c.Stdout, c.Stderr = folder, output, output
	c.Env = append(os.Environ(), "WORK="+folder)
	c.WaitDelay = 5 * time.Second
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGKILL) }
	return c.Run()
}

// inContainer runs a workload as the first process of a container that has the machine's programs, read-only.
func (b *bench) inContainer(ctx context.Context, w workload, folder string) error {
	spec := sandbox.Spec{
		Command: []string{"sh", "-c", "cd /work && exec sh ./run.sh > output 2>&1"},
		Env:     []string{"WORK=/work", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin", "HOME=/root"},
		Mounts:  []sandbox.Mount{{Source: folder, Target: "/work"}, {Source: "/usr", Target: "/usr", ReadOnly: true}},
	}
	for _, pattern := range []string{"/etc/alternatives", "/etc/java-*", "/etc/ssl"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range found {
			spec.Mounts = append(spec.Mounts, sandbox.Mount{Source: path, Target: path, ReadOnly: true})
		}
	}
	if w.operator {
		spec.Command = []string{"sleep", "600"}
	}
	c, err := b.containers.Run(ctx, spec)
	if err != nil {
		return err
	}
	defer c.Remove(context.WithoutCancel(ctx))
	b.watch.containers[c.Info().ID] = true
	if w.operator {
		got, err := c.Exec(ctx, "sh", "/work/run.sh")
		if err == nil && got.ExitCode != 0 {
			err = fmt.Errorf("exit code %d: %s", got.ExitCode, got.Output)
		}
		return err
	}
	code, err := c.Wait(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	return err
}

// control does one attack, and says whether it was found.
func (b *bench) control(ctx context.Context) (bool, error) {
	const wanted = "Backdoor:Runtime/C&CActivity.B!DNS"
	r, ok := simulate.For(wanted)
	if !ok {
		return false, fmt.Errorf("no reproduction of %s", wanted)
	}
	spec, err := r.Techniques[0].Spec(simulate.Target{})
	if err != nil {
		return false, err
	}
	c, err := b.containers.Run(ctx, spec)
	if err != nil {
		return false, err
	}
	defer c.Remove(context.WithoutCancel(ctx))
	b.watch.containers[c.Info().ID] = true
	if err := simulate.Ready(ctx, c); err != nil {
		return false, err
	}
	if _, err := r.Techniques[0].Run(ctx, c, simulate.Target{}); err != nil {
		return false, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		found, err := b.watch.fresh(ctx)
		if err != nil {
			return false, err
		}
		for _, f := range found {
			if f.Type == wanted {
				return true, nil
			}
		}
	}
	return false, nil
}

// tail returns the end of a file for an error message.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if len(text) > 600 {
		text = text[len(text)-600:]
	}
	return ": " + strings.TrimSpace(string(text))
}
