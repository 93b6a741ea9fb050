// Command overhead measures how much slower a machine gets by the agent: each loop of bench/load with the agent and
// without it, interleaved in one run, and the median of the pairs' ratios. It also says what the agent used and lost.
//
//	sudo go run ./bench/overhead [--pairs 7] [--output json]
//
// Every pair starts the program anew. In the half without it each loop runs twice, and the ratio of these two is printed
// beside the result as its noise: a slow-down smaller than that is none.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/bench/subject"
)

// loop is one load and how often it repeats its call.
type loop struct {
	name  string
	what  string
	count int
}

// loops last about half a second each on a machine of 2025.
var loops = []loop{
	{"exec", "fork, exec of /bin/true, wait", 600},
	{"fork", "fork, exit, wait", 2500},
	{"read", "open for reading, close", 600_000},
	{"write", "open for writing, close", 500_000},
	{"connect", "TCP connect over loopback, close", 25_000},
	{"getppid", "a system call that does nothing", 4_000_000},
}

// options are the command line.
type options struct {
	subject subject.Options
	load    string
	pairs   int
	scale   float64
	only    string
	settle  time.Duration
	detect  bool
	seen    *regexp.Regexp
	lost    *regexp.Regexp
	output  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "overhead:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("overhead", flag.ContinueOnError)
	flags.IntVar(&o.pairs, "pairs", 7, "how many pairs of measurements; at least 1")
	flags.Float64Var(&o.scale, "scale", 1, "multiplies the length of the loops")
	flags.StringVar(&o.only, "loops", "", "only these loops, separated by commas")
	flags.DurationVar(&o.settle, "settle", 500*time.Millisecond, "how long the program may take to digest a loop")
	flags.BoolVar(&o.detect, "detect", true, "make a detector through the API, so that detection is part of the cost")
	flags.StringVar(&o.output, "output", "table", "table or json")
	flags.StringVar(&o.load, "load", "", "the load program; built if not given")
	flags.StringVar(&o.subject.Binary, "vedette", "", "the program to measure, for {vedette}; built if not given")
	flags.StringVar(&o.subject.Command, "command", subject.DefaultCommand, "how to run it")
	flags.StringVar(&o.subject.Attached, "attached", subject.DefaultAttached, "series that is above 0 once it watches something")
	flags.StringVar(&o.subject.Ready, "ready", "http://{api}/healthz", "URL that answers 200 once it is ready")
	flags.StringVar(&o.subject.Metrics, "metrics", "http://{api}/metrics", "URL of its metrics")
	seen := flags.String("seen", `^vedette_sensor_events_total`, "series that count events seen")
	lost := flags.String("lost", `_(lost|dropped)_total`, "series that count events lost")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.pairs < 1 || o.scale <= 0 || o.output != "table" && o.output != "json" {
		return o, errors.New("--pairs must be at least 1, --scale above 0, --output table or json")
	}
	var err error
	if o.seen, err = regexp.Compile(*seen); err != nil {
		return o, fmt.Errorf("--seen: %w", err)
	}
	if o.lost, err = regexp.Compile(*lost); err != nil {
		return o, fmt.Errorf("--lost: %w", err)
	}
	return o, nil
}

// chosen returns the loops to run, scaled.
func (o options) chosen() ([]loop, error) {
	var some []loop
	wanted := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range wanted {
		if !slices.ContainsFunc(loops, func(l loop) bool { return l.name == name }) {
			return nil, fmt.Errorf("no loop %q", name)
		}
	}
	for _, l := range loops {
		if len(wanted) == 0 || slices.Contains(wanted, l.name) {
			l.count = max(1, int(float64(l.count)*o.scale))
			some = append(some, l)
		}
	}
	return some, nil
}

// sample is one run of one loop.
type sample struct {
	wall  float64
	usage subject.Usage    // with the program only: CPU is what the loop cost it
	grown subject.Counters // with the program only
}

// report is the whole result.
type report struct {
	Machine string       `json:"machine"`
	Command string       `json:"command"`
	Pairs   int          `json:"pairs"`
	Loops   []loopResult `json:"loops"`
	// IdleCPU is what the program uses when nothing happens, in CPU seconds per second.
	IdleCPU float64 `json:"idleCpu"`
	PeakRSS int64   `json:"peakRssBytes"`
	Seen    float64 `json:"eventsSeen"`
	Lost    float64 `json:"eventsLost"`
}

type loopResult struct {
	Name      string           `json:"name"`
	What      string           `json:"what"`
	Count     int              `json:"count"`
	Without   float64          `json:"withoutNanosPerCall"` // median
	With      float64          `json:"withNanosPerCall"`    // median
	Ratio     float64          `json:"ratio"`               // median of the pairs' ratios
	Ratios    []float64        `json:"ratios"`
	Noise     float64          `json:"noise"`      // median ratio of two runs that both were without
	CPU       float64          `json:"cpuSeconds"` // of the program, median
	SeenEach  float64          `json:"eventsSeen"` // median
	LostTotal float64          `json:"eventsLost"` // over all pairs
	LostBy    subject.Counters `json:"lostBy,omitempty"`
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "vedette-overhead-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if o.load == "" {
		if o.load, err = subject.Build(ctx, "bench/load", folder); err != nil {
			return err
		}
	}
	if o.subject.Binary == "" {
		if o.subject.Binary, err = subject.Build(ctx, "cmd/vedette", folder); err != nil {
			return err
		}
	}
	m := measurement{options: o, loops: chosen}
	for pair := range o.pairs {
		fmt.Fprintf(os.Stderr, "overhead: pair %d of %d\n", pair+1, o.pairs)
		if err := m.pair(ctx); err != nil {
			return err
		}
	}
	r := m.report()
	if o.output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.write(out)
}

// measurement collects samples, one list for each loop.
type measurement struct {
	options
	loops                  []loop
	without, again, beside [][]sample
	idle                   []float64
	peak                   int64
	all                    subject.Counters
}

// pair runs both halves in random order, and the loops of each half in random order.
func (m *measurement) pair(ctx context.Context) error {
	if m.without == nil {
		m.without, m.again, m.beside = make([][]sample, len(m.loops)), make([][]sample, len(m.loops)), make([][]sample, len(m.loops))
		m.all = subject.Counters{}
	}
	halves := []func(context.Context) error{m.halfWithout, m.halfWith}
	for _, i := range rand.Perm(len(halves)) {
		if err := halves[i](ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *measurement) halfWithout(ctx context.Context) error {
	for _, i := range rand.Perm(len(m.loops)) {
		for _, into := range []*[]sample{&m.without[i], &m.again[i]} {
			wall, err := m.once(ctx, m.loops[i])
			if err != nil {
				return err
			}
			*into = append(*into, sample{wall: wall})
		}
	}
	return nil
}

func (m *measurement) halfWith(ctx context.Context) error {
	s, err := subject.Start(ctx, m.subject)
	if err != nil {
		return err
	}
	if m.detect {
		_, err = s.Enable(ctx)
	}
	if err == nil {
		err = m.loopsWith(ctx, s)
	}
	return errors.Join(err, s.Stop())
}

func (m *measurement) loopsWith(ctx context.Context, s *subject.Subject) error {
	time.Sleep(m.settle) // What the start itself costs is not what is asked.
	before, err := s.Usage()
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	after, err := s.Usage()
	if err != nil {
		return err
	}
	m.idle = append(m.idle, after.CPU-before.CPU)
	for _, i := range rand.Perm(len(m.loops)) {
		one, err := m.watched(ctx, s, m.loops[i])
		if err != nil {
			return err
		}
		m.beside[i] = append(m.beside[i], one)
	}
	total, err := s.Counters(ctx)
	if err != nil {
		return err
	}
	for name, value := range total {
		m.all[name] += value
	}
	last, err := s.Usage()
	m.peak = max(m.peak, last.PeakRSS)
	return err
}

// watched runs a loop beside the program and says what it cost the program.
func (m *measurement) watched(ctx context.Context, s *subject.Subject, l loop) (sample, error) {
	counted, err := s.Counters(ctx)
	if err != nil {
		return sample{}, err
	}
	used, err := s.Usage()
	if err != nil {
		return sample{}, err
	}
	wall, err := m.once(ctx, l)
	if err != nil {
		return sample{}, err
	}
	time.Sleep(m.settle)
	now, err := s.Usage()
	if err != nil {
		return sample{}, err
	}
	counters, err := s.Counters(ctx)
	if err != nil {
		return sample{}, err
	}
	return sample{wall: wall, usage: subject.Usage{CPU: now.CPU - used.CPU}, grown: counters.Since(counted)}, nil
}

// once runs a loop and returns its seconds.
func (m *measurement) once(ctx context.Context, l loop) (float64, error) {
	c := exec.CommandContext(ctx, m.load, l.name, strconv.Itoa(l.count))
	c.Stderr = os.Stderr
	text, err := c.Output()
	if err != nil {
		return 0, fmt.Errorf("running the %s loop: %w", l.name, err)
	}
	var t struct{ Wall float64 }
	if err := json.Unmarshal(text, &t); err != nil || t.Wall <= 0 {
		return 0, fmt.Errorf("running the %s loop: unexpected output %q", l.name, text)
	}
	return t.Wall, nil
}

func (m *measurement) report() report {
	r := report{
		Machine: machine(), Command: m.subject.Command, Pairs: m.pairs, IdleCPU: median(m.idle), PeakRSS: m.peak,
		Seen: m.all.Sum(m.seen.MatchString), Lost: m.all.Sum(m.lost.MatchString),
	}
	for i, l := range m.loops {
		one := loopResult{Name: l.name, What: l.what, Count: l.count, LostBy: subject.Counters{}}
		var without, with, noise, cpu, seen []float64
		for pair := range m.beside[i] {
			a, b, s := m.without[i][pair], m.again[i][pair], m.beside[i][pair]
			// The pair's own two runs without are its base, so that drift of the machine cancels out.
			base := (a.wall + b.wall) / 2
			without, with, noise = append(without, base), append(with, s.wall), append(noise, b.wall/a.wall)
			one.Ratios = append(one.Ratios, s.wall/base)
			cpu, seen = append(cpu, s.usage.CPU), append(seen, s.grown.Sum(m.seen.MatchString))
			for name, value := range s.grown {
				if m.lost.MatchString(name) {
					one.LostBy[name] += value
					one.LostTotal += value
				}
			}
		}
		perCall := 1e9 / float64(l.count)
		one.Without, one.With, one.Noise = median(without)*perCall, median(with)*perCall, median(noise)
		one.Ratio, one.CPU, one.SeenEach = median(one.Ratios), median(cpu), median(seen)
		r.Loops = append(r.Loops, one)
	}
	return r
}

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// machine describes where the measurement ran.
func machine() string {
	var name unix.Utsname
	unix.Uname(&name)
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, Linux %s", runtime.NumCPU(), model, unix.ByteSliceToString(name.Release[:]))
}

func (r report) write(out io.Writer) error {
	fmt.Fprintf(out, "%s\n%s; medians of %d interleaved pairs\n\n", r.Machine, r.Command, r.Pairs)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "loop\twithout\twith\tratio\tnoise\tagent CPU\tevents\tlost\t  ")
	for _, l := range r.Loops {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f\t%.2f s\t%.0f\t%.0f\t  %s\n",
			l.Name, nanos(l.Without), nanos(l.With), l.Ratio, l.Noise, l.CPU, l.SeenEach, l.LostTotal, l.What)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nidle: %.3f CPU seconds a second; peak memory %d MiB; events seen %.0f, lost %.0f\n",
		r.IdleCPU, r.PeakRSS>>20, r.Seen, r.Lost)
	return err
}

func nanos(n float64) string {
	return time.Duration(n).Round(time.Duration(max(1, n/1000))).String()
}
