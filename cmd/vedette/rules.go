package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"vedette.dev/vedette/internal/detect/custom"
	"vedette.dev/vedette/internal/detect/rules"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/event/recording"
	"vedette.dev/vedette/internal/finding"
)

type rulesCommand struct {
	List     rulesListCommand     `cmd:"" help:"List the built-in rules and your own."`
	Lint     rulesLintCommand     `cmd:"" help:"Check rules, and say where each mistake is."`
	Test     rulesTestCommand     `cmd:"" help:"Run the tests (*_test.yaml) that stand beside rules."`
	Explain  rulesExplainCommand  `cmd:"" help:"Say which rules match an event, and why the others do not."`
	Backtest rulesBacktestCommand `cmd:"" help:"Run a rule over recorded events, and say what it would have found."`
}

// folder returns the folder of rules that was named, or else the configured one.
func (g *globals) folder(dir string) (string, error) {
	if dir == "" {
		dir = g.config.Rules
	}
	if dir == "" {
		return "", &usageError{errors.New("no folder of rules is configured: name one")}
	}
	return dir, nil
}

// load reads rules without a mistake.
func (g *globals) load(dir string) (*custom.Set, error) {
	dir, err := g.folder(dir)
	if err != nil {
		return nil, err
	}
	return custom.Load(dir)
}

type rulesListCommand struct {
	Dir    string `arg:"" optional:"" type:"path" help:"Folder of your rules (default: the configured one)."`
	Output string `enum:"table,json" default:"table" help:"table or json."`
}

// listed is a rule in a listing.
type listed struct {
	Type     string   `json:"type"`
	Severity float64  `json:"severity"`
	Kinds    []string `json:"kinds"`
	Form     string   `json:"form"`
	Source   string   `json:"source"`
}

func (c rulesListCommand) Run(g *globals) error {
	rows := []listed{}
	kinds := func(k event.Kinds) (names []string) {
		for kind := event.Kind(1); kind < event.KindCount; kind++ {
			if k.Has(kind) {
				names = append(names, kind.String())
			}
		}
		return names
	}
	if dir := c.Dir; dir != "" || g.config.Rules != "" {
		s, err := g.load(dir)
		if err != nil {
			return err
		}
		for _, r := range s.Rules {
			rows = append(rows, listed{r.Type(), r.Severity, kinds(r.Kinds), r.Form(), fmt.Sprintf("%s:%d", r.File, r.Line)})
		}
	}
	for _, r := range rules.All() {
		t, _ := finding.Lookup(r.Type)
		k, err := r.Kinds()
		if err != nil {
			return fmt.Errorf("rule %s: %w", r.Type, err)
		}
		rows = append(rows, listed{r.Type, t.Severity, kinds(k), "", "built in"})
	}
	if c.Output == "json" {
		return printJSON(g.out, rows)
	}
	t := newTable(g.out, "TYPE", "SEVERITY", "EVENTS", "FINDING FOR", "FROM")
	for _, r := range rows {
		t.row(r.Type, fmt.Sprintf("%s %g", finding.Level(r.Severity), r.Severity), strings.Join(r.Kinds, " "), r.Form, r.Source)
	}
	return t.flush()
}

type rulesLintCommand struct {
	Dir string `arg:"" optional:"" type:"path" help:"Folder of rules, or one file (default: the configured folder)."`
}

func (c rulesLintCommand) Run(g *globals) error {
	dir, err := g.folder(c.Dir)
	if err != nil {
		return err
	}
	s, err := custom.Load(dir)
	if _, testErr := custom.LoadCases(dir); testErr != nil && s != nil && !isFile(dir) {
		err = errors.Join(err, testErr)
	}
	if err != nil {
		if s == nil {
			return err
		}
		fmt.Fprintln(g.out, err)
		return fmt.Errorf("%d mistakes in %s", strings.Count(err.Error(), "\n")+1, dir)
	}
	_, err = fmt.Fprintf(g.out, "%d rules and %d exceptions for all rules in %d files: no mistakes\n", len(s.Rules), s.Exceptions(), s.Files)
	return err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

type rulesTestCommand struct {
	Dir     string `arg:"" optional:"" type:"path" help:"Folder with rules and tests, or one file of rules (default: the configured folder)."`
	Verbose bool   `short:"l" name:"list" help:"Name the tests that pass too."`
}

func (c rulesTestCommand) Run(g *globals) error {
	dir, err := g.folder(c.Dir)
	if err != nil {
		return err
	}
	if _, err := custom.Load(dir); err != nil {
		return err
	}
	tests := dir
	if isFile(dir) { // its tests stand beside it
		ext := filepath.Ext(dir)
		if tests = strings.TrimSuffix(dir, ext) + "_test" + ext; !isFile(tests) {
			return fmt.Errorf("%s has no tests: they would stand in %s", dir, tests)
		}
	}
	cases, err := custom.LoadCases(tests)
	if err != nil {
		return err
	}
	failed := 0
	for _, test := range cases {
		s, err := custom.Load(dir) // each test has rules that remember nothing
		if err != nil {
			return err
		}
		wrong, err := test.Run(s, rules.All())
		if err != nil {
			return fmt.Errorf("%s:%d: %w", test.File, test.Line, err)
		}
		switch {
		case wrong != "":
			failed++
			fmt.Fprintf(g.out, "FAIL  %s\n%s", event.Printable(test.Name), indent(wrong))
		case c.Verbose:
			fmt.Fprintf(g.out, "ok    %s\n", event.Printable(test.Name))
		}
	}
	if len(cases) == 0 {
		return fmt.Errorf("%s has no tests: they stand in files that end in _test.yaml", dir)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d tests failed", failed, len(cases))
	}
	_, err = fmt.Fprintf(g.out, "%d tests passed\n", len(cases))
	return err
}

func indent(s string) string {
	return "      " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n      ") + "\n"
}

type rulesExplainCommand struct {
	Event  string `arg:"" type:"path" help:"File with one event, as 'vedette events --output json' writes it; - for standard input."`
	Rules  string `type:"path" placeholder:"DIR" help:"Folder of your rules (default: the configured one; without it, only built-in rules)."`
	Rule   string `placeholder:"NAME" help:"Only this rule: its name or finding type."`
	Output string `enum:"table,json" default:"table" help:"table or json."`
}

func (c rulesExplainCommand) Run(g *globals) error {
	var in io.Reader = os.Stdin
	if c.Event != "-" {
		f, err := os.Open(c.Event)
		if err != nil {
			return fmt.Errorf("reading the event: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, 2<<20))
	if err != nil {
		return fmt.Errorf("reading the event: %w", err)
	}
	e, host, err := custom.ParseEvent(bytes.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("the event in %s: %w", c.Event, err)
	}
	s := &custom.Set{}
	if c.Rules != "" || g.config.Rules != "" {
		if s, err = g.load(c.Rules); err != nil {
			return err
		}
	}
	result, err := custom.Explain(e, host, s, rules.All())
	if err != nil {
		return err
	}
	if c.Rule != "" {
		kept := result.Rules[:0]
		for _, r := range result.Rules {
			if r.Type == c.Rule || r.Type == finding.CustomPrefix+c.Rule {
				kept = append(kept, r)
			}
		}
		if result.Rules = kept; len(kept) == 0 {
			return &usageError{fmt.Errorf("there is no rule %s", c.Rule)}
		}
	}
	if c.Output == "json" {
		return printJSON(g.out, result)
	}
	for _, r := range result.Rules {
		// Rules about other kinds of event explain themselves only when they are asked for.
		if c.Rule == "" && aboutOtherKinds(r) {
			continue
		}
		explain(g.out, r)
	}
	for _, f := range result.Findings {
		fmt.Fprintf(g.out, "finding   %s, severity %g\n          %s\n", f.Type, f.Severity, event.Printable(f.Message))
	}
	if len(result.Findings) == 0 {
		fmt.Fprintln(g.out, "This event alone makes no finding.")
	}
	return nil
}

func aboutOtherKinds(r custom.Explanation) bool {
	for _, m := range r.Missed {
		if m.Path == "kind" {
			return true
		}
	}
	return false
}

func explain(w io.Writer, r custom.Explanation) {
	verdict, name := "matches", r.Type
	if !r.Matches {
		verdict = "no match"
	}
	if r.Step > 0 {
		name += fmt.Sprintf(" step %d", r.Step)
	}
	if r.Note != "" {
		name += "  (" + r.Note + ")"
	}
	fmt.Fprintf(w, "%-8s  %s\n", verdict, name)
	for _, m := range r.Missed {
		got := "the event has no such field"
		if len(m.Got) > 0 {
			got = "the event has " + strings.Join(m.Got, ", ")
		}
		if m.Path == "$or" {
			got = "none of these holds"
		}
		fmt.Fprintf(w, "          %s: want %s; %s\n", m.Path, event.PrintableN(string(m.Want), 200), got)
	}
}

type rulesBacktestCommand struct {
	Rule      string `arg:"" help:"A file or folder of rules, or the name of a rule of the configured folder."`
	Recording string `arg:"" type:"path" help:"Recording made by 'vedette record', or events one JSON object a line as 'vedette events --follow --output json' writes them; - for standard input."`
	Output    string `enum:"table,json" default:"table" help:"table or json."`
}

func (c rulesBacktestCommand) Run(ctx context.Context, g *globals) error {
	var s *custom.Set
	var err error
	if _, statErr := os.Stat(c.Rule); statErr == nil {
		s, err = custom.Load(c.Rule)
	} else if s, err = g.load(""); err == nil && !s.Only(c.Rule) {
		err = &usageError{fmt.Errorf("%s is neither a file nor the name of a rule in %s", c.Rule, g.config.Rules)}
	}
	if err != nil {
		return err
	}
	b, err := custom.NewBacktest(s)
	if err != nil {
		return err
	}
	if err := c.events(ctx, g, b); err != nil {
		return err
	}
	findings := b.Findings()
	if c.Output == "json" {
		return printJSON(g.out, findings)
	}
	t := newTable(g.out, "FIRST SEEN", "LAST SEEN", "TYPE", "SEVERITY", "COUNT", "MESSAGE")
	for _, f := range findings {
		t.row(f.Service.EventFirstSeen.Local().Format("2006-01-02 15:04:05"), f.Service.EventLastSeen.Local().Format("2006-01-02 15:04:05"), f.Type,
			fmt.Sprintf("%g", f.Severity), fmt.Sprint(f.Service.Count), event.PrintableN(f.Description, 160))
	}
	if len(findings) > 0 {
		if err := t.flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(g.out, "%d findings from %d events\n", len(findings), b.Events)
	if b.Muted+b.Cut > 0 {
		fmt.Fprintf(g.out, "%d occurrences more are left out: the rule matches too often\n", b.Muted+b.Cut)
	}
	return nil
}

// events runs the recording through the backtest.
func (c rulesBacktestCommand) events(ctx context.Context, g *globals, b *custom.Backtest) error {
	var in io.Reader = os.Stdin
	if c.Recording != "-" {
		f, err := os.Open(c.Recording)
		if err != nil {
			return fmt.Errorf("reading the recording: %w", err)
		}
		defer f.Close()
		in = f
	}
	buffered := bufio.NewReader(in)
	if head, _ := buffered.Peek(len(recordingMagic)); string(head) == recordingMagic {
		return c.batches(ctx, g, b, buffered)
	}
	lines := bufio.NewScanner(buffered)
	lines.Buffer(nil, 2<<20)
	for n := 1; lines.Scan(); n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		e, host, err := custom.ParseEvent(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", c.Recording, n, err)
		}
		if err := b.Event(e, host); err != nil {
			return fmt.Errorf("%s:%d: %w", c.Recording, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the recording: %w", err)
	}
	return nil
}

// recordingMagic begins a recording, and no JSON.
const recordingMagic = "VDTREC"

// batches runs a recording of batches through the backtest. What comes before damage counts.
func (c rulesBacktestCommand) batches(ctx context.Context, g *globals, b *custom.Backtest, in io.Reader) error {
	reader, err := recording.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Recording, err)
	}
	decoder := event.NewDecoder()
	for ctx.Err() == nil {
		r, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			g.log.Warn("the recording is not whole; what comes before the damage counts", "file", c.Recording, "err", err)
			return nil
		}
		batch, err := event.Decode(r.Batch, decoder)
		if err != nil {
			g.log.Warn("an undecodable batch is skipped", "agent", event.PrintableN(r.AgentID, 64), "err", err)
			continue
		}
		batch.AgentID = r.AgentID
		b.Batch(batch)
	}
	return ctx.Err()
}
