package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/custom"
	"vedette.dev/vedette/internal/detect/rules"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/event/recording"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

type replayCommand struct {
	File   string   `arg:"" help:"Recording made by 'vedette record'; - reads standard input."`
	Rules  string   `help:"Run the rules of this folder, or file, too." type:"path" placeholder:"DIR"`
	List   []string `help:"Ask this list, too: CATEGORY=FILE, with one address, domain name or SHA-256 a line." placeholder:"CATEGORY=FILE" sep:"none"`
	Events bool     `help:"Show the events instead of findings."`
	Kind   []string `help:"With --events: only these kinds."`
	Output string   `enum:"table,json" default:"table" help:"table or json (one object per line)."`
}

// Run runs detection over a recording. Nothing is stored, sent or asked: the built-in rules and lists decide, with those that
// the user names, and the times are those of the recording.
func (c replayCommand) Run(ctx context.Context, g *globals) (err error) {
	var kinds event.Kinds
	for _, name := range c.Kind {
		k, ok := event.ParseKind(name)
		if !ok {
			return &usageError{fmt.Errorf("there is no kind of event named %q", name)}
		}
		kinds = kinds.With(k)
	}
	in := io.Reader(os.Stdin)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("opening the recording: %w", err)
		}
		defer f.Close()
		in = f
	}
	reader, err := recording.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	lists, err := c.lists()
	if err != nil {
		return err
	}
	engine, err := detect.New(detect.Options{Rules: rules.All(), Lists: lists})
	if err != nil {
		return fmt.Errorf("compiling the rules: %w", err)
	}
	if c.Rules != "" {
		set, err := custom.Load(c.Rules)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Rules, err)
		}
		if err := engine.SetExtra(set.Extra(nil)); err != nil {
			return fmt.Errorf("compiling the rules: %w", err)
		}
	}

	show := newReplayed()
	decoder := event.NewDecoder()
	encoder := json.NewEncoder(g.out)
	encoder.SetEscapeHTML(false)
	identity := finding.Identity{AccountID: g.config.AccountID, Region: g.config.Region, DetectorID: strings.Repeat("0", 32)}
	for ctx.Err() == nil {
		r, readErr := reader.Read()
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			// What came before the damage is still worth showing.
			err = fmt.Errorf("%s: %w", c.File, readErr)
			break
		}
		batch, decodeErr := event.Decode(r.Batch, decoder)
		if decodeErr != nil {
			g.log.Warn("an undecodable batch is skipped", "agent", event.PrintableN(r.AgentID, 64), "err", decodeErr)
			continue
		}
		batch.AgentID = r.AgentID
		show.gaps.see(r.AgentID, batch)
		show.events += len(batch.Events)
		if c.Events {
			if err := c.print(g, encoder, batch, kinds); err != nil {
				return err
			}
			continue
		}
		engine.Process(batch, func(occ *finding.Occurrence) { show.add(finding.New(identity, occ, r.Time)) })
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !c.Events {
		err = errors.Join(show.print(g, encoder, c.Output), err)
	}
	return err
}

// lists returns the built-in threat lists and those that the user names.
func (c replayCommand) lists() (*intel.Lists, error) {
	lists := intel.NewLists()
	for _, text := range c.List {
		category, name, ok := strings.Cut(text, "=")
		list := &intel.List{Name: name, Category: category}
		into := intel.Into{Addresses: list, Domains: list}
		switch {
		case !ok:
			return nil, &usageError{fmt.Errorf("--list %s: want CATEGORY=FILE", text)}
		case slices.Contains(intel.FileCategories(), category):
			into = intel.Into{Files: list}
		case category != intel.Trusted && !slices.Contains(intel.HostCategories(), category):
			known := append(append(intel.HostCategories(), intel.FileCategories()...), intel.Trusted)
			return nil, &usageError{fmt.Errorf("--list %s: there is no category %q; there are %s", text, category, strings.Join(known, ", "))}
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("opening the list: %w", err)
		}
		report, err := intel.Parse(into, "TXT", f)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if report.Bad > 0 {
			return nil, fmt.Errorf("%s: %s", name, report)
		}
		lists.Set(text, list)
	}
	return lists, nil
}

func (c replayCommand) print(g *globals, encoder *json.Encoder, b *event.Batch, kinds event.Kinds) (err error) {
	for i := range b.Events {
		e := &b.Events[i]
		switch {
		case kinds != 0 && !kinds.Has(e.Kind):
		case c.Output == "json":
			err = encoder.Encode(e)
		default:
			_, err = fmt.Fprintln(g.out, line(e))
		}
		if err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	return nil
}

// replayed is what a recording gave, repeats merged as the server merges them.
type replayed struct {
	events   int
	gaps     gaps
	findings []*finding.Finding
	byID     map[string]*finding.Finding
}

func newReplayed() *replayed { return &replayed{byID: map[string]*finding.Finding{}} }

func (r *replayed) add(f *finding.Finding) {
	if earlier := r.byID[f.ID]; earlier != nil {
		finding.Merge(earlier, f)
		return
	}
	r.byID[f.ID] = f
	r.findings = append(r.findings, f)
}

func (r *replayed) print(g *globals, encoder *json.Encoder, output string) error {
	fmt.Fprintf(g.errs, "events: %d, findings: %d\n", r.events, len(r.findings))
	if r.gaps.missing > 0 {
		fmt.Fprintf(g.errs, "batches missing from the recording: %d\n", r.gaps.missing)
	}
	if output == "json" {
		for _, f := range r.findings {
			if err := encoder.Encode(f); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
		return nil
	}
	if len(r.findings) == 0 {
		return nil
	}
	t := newTable(g.out, "FIRST SEEN", "SEVERITY", "TYPE", "WHERE", "PROCESS", "COUNT")
	for _, f := range r.findings {
		place, name := "host", ""
		if c := f.Service.RuntimeDetails; c != nil && c.Process != nil {
			name = c.Process.Name
		}
		if c := f.Resource.ContainerDetails; c != nil {
			place = c.Name
		} else if e := f.Resource.ECSClusterDetails; e != nil {
			place = e.Name
		}
		t.row(f.Service.EventFirstSeen.Local().Format("2006-01-02 15:04:05"), fmt.Sprintf("%s %.1f", finding.Level(f.Severity), f.Severity), f.Type,
			place, name, fmt.Sprint(f.Service.Count))
	}
	return t.flush()
}
