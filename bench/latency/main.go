// Command latency measures how long an attack takes to become a stored finding, and a mail: from the attacking system call,
// as the attacker's own clock saw it, to the moment when a client of the API sees the finding, and to the moment when the
// mail relay has taken the mail.
//
//	sudo go run ./bench/latency [--rounds 20] [--output json]
//
// It starts the program with a relay of its own, sets up a threat list, a rule, a topic and a confirmed subscription through
// the AWS API, and then makes a container per round and does one attack of each finding type in it. An attack that makes no
// finding or no mail in time is counted as missing, and makes the command fail.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/bench/subject"
	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

func main() {
	simulate.MaybeInit()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
}

// measured are the types that are attacked unless one is named: one of each way that an event takes.
var measured = []string{
	"Backdoor:Runtime/C&CActivity.B", "Backdoor:Runtime/C&CActivity.B!DNS", "DefenseEvasion:Runtime/ProcessInjection.Ptrace",
	"Execution:Runtime/NewBinaryExecuted", "Execution:Runtime/ReverseShell", "PrivilegeEscalation:Runtime/DockerSocketAccessed",
}

// options are the command line.
type options struct {
	subject  subject.Options
	rounds   int
	runtime  string
	only     string
	patience time.Duration
	output   string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("latency", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 20, "how many containers are attacked")
	flags.StringVar(&o.runtime, "runtime", "native", "docker or native: what makes the containers")
	flags.StringVar(&o.only, "type", "", "only this finding type")
	flags.DurationVar(&o.patience, "patience", 15*time.Second, "how long to wait for a finding and its mail")
	flags.StringVar(&o.output, "output", "table", "table or json")
	flags.StringVar(&o.subject.Binary, "vedette", "", "the program to measure, for {vedette}; built if not given")
	flags.StringVar(&o.subject.Command, "command", subject.DefaultCommand, "how to run it")
	flags.StringVar(&o.subject.Attached, "attached", subject.DefaultAttached, "series that is above 0 once it watches something")
	flags.StringVar(&o.subject.Ready, "ready", "http://{api}/healthz", "URL that answers 200 once it is ready")
	flags.StringVar(&o.subject.Metrics, "metrics", "http://{api}/metrics", "URL of its metrics")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.output != "table" && o.output != "json" {
		return o, errors.New("--rounds must be at least 1, --output table or json")
	}
	if o.only != "" {
		if _, ok := simulate.For(o.only); !ok {
			return o, fmt.Errorf("--type: %q cannot be reproduced", o.only)
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "vedette-latency-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if o.subject.Binary == "" {
		if o.subject.Binary, err = subject.Build(ctx, "cmd/vedette", folder); err != nil {
			return err
		}
	}
	relay, err := startRelay()
	if err != nil {
		return err
	}
	defer relay.close()
	o.subject.SMTP = "smtp://" + relay.address
	s, err := subject.Start(ctx, o.subject)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	api, err := newAlerts(ctx, s, relay)
	if err != nil {
		return err
	}
	containers, err := simulate.Open(ctx, simulate.Options{Runtime: o.runtime, StateDir: filepath.Join(folder, "containers"),
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, containers.Close()) }()

	m := measurement{options: o, api: api, relay: relay, containers: containers}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "latency: round %d of %d\n", round+1, o.rounds)
		if err := m.round(ctx); err != nil {
			return err
		}
	}
	r := m.report()
	if o.output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = r.write(out)
	}
	if missing := r.missing(); err == nil && missing > 0 {
		err = fmt.Errorf("%d findings or mails did not come within %v", missing, o.patience)
	}
	return err
}

// measurement attacks and collects.
type measurement struct {
	options
	api        *alerts
	relay      *relay
	containers sandbox.Runtime
	attacks    []attack
}

// attack is one attack and what became of it.
type attack struct {
	findingType string
	at          time.Time
	stored      time.Time // zero: no finding came in time
	mailed      time.Time // zero: no mail came in time
}

// round makes a container, attacks it, and waits for the findings and mails. A container of its own makes every finding a
// new one, which is published at once; a repeated one would wait for its turn.
func (m *measurement) round(ctx context.Context) error {
	spec, err := simulate.Spec(simulate.Target{})
	if err != nil {
		return err
	}
	c, err := m.containers.Run(ctx, spec)
	if err != nil {
		return err
	}
	defer c.Remove(context.WithoutCancel(ctx))
	if err := simulate.Ready(ctx, c); err != nil {
		return err
	}
	for _, reproduction := range simulate.All() {
		if m.only == "" && !slices.Contains(measured, reproduction.Type) {
			continue
		}
		if m.only != "" && reproduction.Type != m.only {
			continue
		}
		one, err := m.attack(ctx, c, reproduction)
		if err != nil {
			return err
		}
		m.attacks = append(m.attacks, one)
	}
	return nil
}

// attack does the first technique that can be done, and waits for what comes of it.
func (m *measurement) attack(ctx context.Context, c sandbox.Container, reproduction simulate.Reproduction) (attack, error) {
	wait, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	// The finding may be there before the attacker has ended, so somebody looks for it from the beginning.
	type answer struct {
		id  string
		at  time.Time
		err error
	}
	found := make(chan answer, 1)
	go func() {
		id, at, err := m.api.waitFinding(wait, reproduction.Type, c.Info())
		found <- answer{id, at, err}
	}()
	a, err := attackOnce(ctx, c, reproduction)
	if err != nil {
		cancel()
		<-found
		return a, err
	}
	got := <-found
	if err = got.err; err == nil {
		a.stored = got.at
		a.mailed, err = m.relay.wait(wait, got.id)
	}
	if ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return a, err
	}
	return a, nil
}

// attackOnce does the first technique that the container has the tools for.
func attackOnce(ctx context.Context, c sandbox.Container, reproduction simulate.Reproduction) (attack, error) {
	for _, technique := range reproduction.Techniques {
		result, err := technique.Run(ctx, c, simulate.Target{})
		if err != nil {
			return attack{}, err
		}
		if at, ok := result.First(); ok {
			return attack{findingType: reproduction.Type, at: at}, nil
		}
	}
	return attack{}, fmt.Errorf("no technique for %s can be done here", reproduction.Type)
}

// report is the result: one row for each finding type, and one for all.
type report struct {
	Runtime string `json:"runtime"`
	Rounds  int    `json:"rounds"`
	Rows    []row  `json:"rows"`
}

type row struct {
	Type   string `json:"type"`
	Stored spread `json:"stored"`
	Mailed spread `json:"mailed"`
}

// spread summarises durations, in milliseconds.
type spread struct {
	Count   int     `json:"count"`
	Missing int     `json:"missing"`
	Median  float64 `json:"medianMillis"`
	P99     float64 `json:"p99Millis"`
	Max     float64 `json:"maxMillis"`
}

// all is the type of the row over all types.
const all = "all"

func (m *measurement) report() report {
	r := report{Runtime: m.containers.Name(), Rounds: m.rounds}
	types := map[string]bool{all: true}
	for _, a := range m.attacks {
		types[a.findingType] = true
	}
	for name := range types {
		var stored, mailed []time.Duration
		missing := [2]int{}
		for _, a := range m.attacks {
			if name != all && name != a.findingType {
				continue
			}
			for i, end := range []time.Time{a.stored, a.mailed} {
				into := []*[]time.Duration{&stored, &mailed}[i]
				if end.IsZero() {
					missing[i]++
				} else {
					*into = append(*into, end.Sub(a.at))
				}
			}
		}
		r.Rows = append(r.Rows, row{Type: name, Stored: summarise(stored, missing[0]), Mailed: summarise(mailed, missing[1])})
	}
	slices.SortFunc(r.Rows, func(a, b row) int {
		if (a.Type == all) != (b.Type == all) {
			return map[bool]int{true: 1, false: -1}[a.Type == all]
		}
		return strings.Compare(a.Type, b.Type)
	})
	return r
}

func (r report) missing() int {
	last := r.Rows[len(r.Rows)-1]
	return last.Stored.Missing + last.Mailed.Missing
}

// summarise sorts durations. The p99 is the smallest value that at least 99 % do not exceed.
func summarise(durations []time.Duration, missing int) spread {
	s := spread{Count: len(durations), Missing: missing}
	if len(durations) == 0 {
		return s
	}
	slices.Sort(durations)
	millis := func(i int) float64 { return float64(durations[i].Microseconds()) / 1000 }
	n := len(durations)
	s.Median = (millis((n-1)/2) + millis(n/2)) / 2
	s.P99, s.Max = millis((n*99+99)/100-1), millis(n-1)
	return s
}

func (r report) write(out io.Writer) error {
	fmt.Fprintf(out, "From system call to finding and to mail, in milliseconds; %d %s containers\n\n", r.Rounds, r.Runtime)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "stored: median\tp99\tmax\tmissing\tmailed: median\tp99\tmax\tmissing\t  ")
	for _, one := range r.Rows {
		fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t%d\t%.1f\t%.1f\t%.1f\t%d\t  %s\n", one.Stored.Median, one.Stored.P99, one.Stored.Max,
			one.Stored.Missing, one.Mailed.Median, one.Mailed.P99, one.Mailed.Max, one.Mailed.Missing, one.Type)
	}
	return t.Flush()
}
