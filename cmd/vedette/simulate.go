package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

type simulateCommand struct {
	Types   []string      `arg:"" optional:"" help:"Finding types to reproduce; default all."`
	All     bool          `help:"Reproduce all types, as without any type."`
	List    bool          `help:"List what can be reproduced, and do nothing."`
	Runtime string        `enum:"auto,docker,native" default:"auto" help:"How to make the container."`
	Attack  bool          `name:"attack-only" help:"Only attack; do not look for findings."`
	Wait    time.Duration `default:"10s" help:"How long to wait for each finding."`
	Output  string        `enum:"table,json" default:"table" help:"table or json."`
}

// simulated is one line of the report.
type simulated struct {
	Type      string  `json:"type"`
	Technique string  `json:"technique"`
	Result    string  `json:"result"` // found, missed, skipped, attacked
	Reason    string  `json:"reason,omitempty"`
	FindingID string  `json:"findingId,omitempty"`
	Seconds   float64 `json:"secondsToFinding,omitempty"` // from the first system call until the finding could be read
}

func (c simulateCommand) Run(ctx context.Context, g *globals) (err error) {
	if c.All && len(c.Types) > 0 {
		return &usageError{errors.New("--all and finding types exclude each other")}
	}
	var chosen []simulate.Reproduction
	for _, name := range c.Types {
		r, ok := simulate.For(name)
		if !ok {
			return &usageError{fmt.Errorf("no reproduction for %q; 'vedette simulate --list' shows all", name)}
		}
		chosen = append(chosen, r)
	}
	if len(chosen) == 0 {
		chosen = simulate.All()
	}
	if c.List {
		return c.list(g, chosen)
	}
	if os.Geteuid() != 0 {
		return errors.New("simulate must run as root: it makes a container of its own")
	}

	// Each technique gets a fresh container, so that each has its own finding and profile-less start.
	options := simulate.Options{Log: g.log}
	if c.Runtime != "auto" {
		options.Runtime = c.Runtime
	}
	runtime, err := simulate.Open(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runtime.Close()) }()
	target, err := (simulate.Target{}).Complete()
	if err != nil {
		return err
	}
	var look *finder
	if !c.Attack {
		if look, err = newFinder(ctx, g, target); err != nil {
			return fmt.Errorf("%w (to attack without looking for findings: --attack-only)", err)
		}
		defer func() { err = errors.Join(err, look.close(context.WithoutCancel(ctx))) }()
	}

	var report []simulated
	missed := 0
	for _, r := range chosen {
		for _, t := range r.Techniques {
			line, err := c.one(ctx, runtime, t, target, look)
			if err != nil {
				return err
			}
			if line.Result == "missed" {
				missed++
			}
			report = append(report, line)
			if c.Output == "table" {
				fmt.Fprintf(g.errs, "%-9s %s by %s\n", line.Result, line.Type, line.Technique)
			}
		}
	}
	if c.Output == "json" {
		err = printJSON(g.out, report)
	} else {
		t := newTable(g.out, "TYPE", "TECHNIQUE", "RESULT", "TIME TO FINDING", "FINDING")
		for _, l := range report {
			took := ""
			if l.Seconds > 0 {
				took = fmt.Sprintf("%.0f ms", l.Seconds*1000)
			}
			t.row(l.Type, l.Technique, strings.TrimSpace(l.Result+" "+l.Reason), took, l.FindingID)
		}
		err = t.flush()
	}
	if err == nil && missed > 0 {
		err = fmt.Errorf("%d of %d attacks were not found", missed, len(report))
	}
	return err
}

func (c simulateCommand) list(g *globals, all []simulate.Reproduction) error {
	if c.Output == "json" {
		type technique struct{ Name, Summary, Evades string }
		type reproduction struct {
			Type, Summary string
			Techniques    []technique
		}
		var out []reproduction
		for _, r := range all {
			one := reproduction{Type: r.Type, Summary: r.Summary}
			for _, t := range r.Techniques {
				one.Techniques = append(one.Techniques, technique{t.Name, t.Summary, t.Evades})
			}
			out = append(out, one)
		}
		return printJSON(g.out, out)
	}
	t := newTable(g.out, "TYPE", "TECHNIQUE", "WHAT IT DOES")
	for _, r := range all {
		for _, technique := range r.Techniques {
			t.row(r.Type, technique.Name, technique.Summary)
		}
	}
	return t.flush()
}

// one makes a container, attacks in it by one technique and looks for the finding.
func (c simulateCommand) one(ctx context.Context, runtime sandbox.Runtime, t simulate.Technique, target simulate.Target, look *finder) (_ simulated, err error) {
	line := simulated{Type: t.Type, Technique: t.Name}
	spec, err := t.Spec(target)
	if err != nil {
		return line, err
	}
	container, err := runtime.Run(ctx, spec)
	if err != nil && t.Privileged { // An engine that is in a container itself may not make one.
		line.Result, line.Reason = "skipped", "no privileged container can be made: "+err.Error()
		return line, nil
	}
	if err != nil {
		return line, fmt.Errorf("making a container: %w", err)
	}
	defer func() { err = errors.Join(err, container.Remove(context.WithoutCancel(ctx))) }()
	if err := simulate.Ready(ctx, container); err != nil {
		return line, err
	}
	// Whether there is a finding is asked while the attack goes on, so that what it does afterwards, such as waiting for an
	// answer that does not come, does not count as the time to the finding.
	look.begin(ctx, t.Type, container.Info().ID)
	defer look.end()
	result, err := t.Run(ctx, container, target)
	if err != nil {
		return line, fmt.Errorf("%s by %s: %w", t.Type, t.Name, err)
	}
	if result.Skipped != "" {
		line.Result, line.Reason = "skipped", result.Skipped
		return line, nil
	}
	if look == nil {
		line.Result = "attacked"
		return line, nil
	}
	found, err := look.wait(ctx, c.Wait)
	if err != nil {
		return line, err
	}
	line.Result, line.FindingID = "missed", found.id
	if found.id != "" {
		line.Result = "found"
		if at, ok := result.First(); ok {
			line.Seconds = found.at.Sub(at).Seconds()
		}
	}
	return line, nil
}

// finder looks for findings of a running server. The simulation's hostile addresses and files are on lists while it lives.
type finder struct {
	client   *guardduty.Client
	detector string
	sets     []*string       // threat intelligence sets
	entities []*string       // threat entity sets, which also hold files
	lists    []string        // files
	known    map[string]bool // findings of other containers; of the search that is under way

	// of the search that begin has begun
	stop   context.CancelFunc
	result <-chan found
	done   <-chan struct{}
}

func newFinder(ctx context.Context, g *globals, target simulate.Target) (*finder, error) {
	data := app.Data(g.config.Data)
	clients, err := data.Clients()
	if err != nil {
		return nil, err
	}
	f := &finder{client: clients.GuardDuty, known: map[string]bool{}}
	if f.detector, err = theDetector(ctx, f.client); err != nil {
		return nil, err
	}
	all, err := simulate.Indicators(target)
	if err != nil {
		return nil, err
	}
	lists := map[string][]string{}
	for _, i := range all {
		lists[i.Category] = append(lists[i.Category], i.Value)
	}
	for _, category := range slices.Sorted(maps.Keys(lists)) {
		if err := f.upload(ctx, data.Lists(), category, lists[category]); err != nil {
			return nil, errors.Join(err, f.close(context.WithoutCancel(ctx)))
		}
	}
	return f, nil
}

// upload makes a list of one category and waits until it is in use.
func (f *finder) upload(ctx context.Context, folder, category string, values []string) error {
	list := filepath.Join(folder, "simulate-"+category+".txt")
	text := "# Made by vedette simulate: reserved documentation addresses and harmless files.\n" + strings.Join(values, "\n") + "\n"
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the list of %s: %w", category, err)
	}
	f.lists = append(f.lists, list)
	name, location := fmt.Sprintf("vedette-simulate-%s-%d", category, os.Getpid()), "file://"+list
	var id *string
	if category == intel.Malware || category == intel.CustomMalware {
		made, err := f.client.CreateThreatEntitySet(ctx, &guardduty.CreateThreatEntitySetInput{
			DetectorId: &f.detector, Name: &name, Format: types.ThreatEntitySetFormatTxt, Location: &location, Activate: aws.Bool(true),
			Tags: map[string]string{intel.CategoryTag: category},
		})
		if err != nil {
			return fmt.Errorf("creating the list of %s: %w", category, err)
		}
		id = made.ThreatEntitySetId
		f.entities = append(f.entities, id)
	} else {
		made, err := f.client.CreateThreatIntelSet(ctx, &guardduty.CreateThreatIntelSetInput{
			DetectorId: &f.detector, Name: &name, Format: types.ThreatIntelSetFormatTxt, Location: &location, Activate: aws.Bool(true),
			Tags: map[string]string{intel.CategoryTag: category},
		})
		if err != nil {
			return fmt.Errorf("creating the list of %s: %w", category, err)
		}
		id = made.ThreatIntelSetId
		f.sets = append(f.sets, id)
	}
	for range 100 {
		active, err := f.active(ctx, id)
		if err != nil || active {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the list of %s did not become active", category)
}

// active says whether a set is in use.
func (f *finder) active(ctx context.Context, id *string) (bool, error) {
	if slices.Contains(f.entities, id) {
		got, err := f.client.GetThreatEntitySet(ctx, &guardduty.GetThreatEntitySetInput{DetectorId: &f.detector, ThreatEntitySetId: id})
		if err != nil {
			return false, fmt.Errorf("asking for the threat list: %w", err)
		}
		return got.Status == types.ThreatEntitySetStatusActive, nil
	}
	got, err := f.client.GetThreatIntelSet(ctx, &guardduty.GetThreatIntelSetInput{DetectorId: &f.detector, ThreatIntelSetId: id})
	if err != nil {
		return false, fmt.Errorf("asking for the threat list: %w", err)
	}
	return got.Status == types.ThreatIntelSetStatusActive, nil
}

// found is what a search ended with; id is "" if it was ended before there was a finding.
type found struct {
	id  string
	at  time.Time
	err error
}

// begin looks for a finding of the type in the container, until it is found or end is called. A nil finder does nothing.
func (f *finder) begin(ctx context.Context, findingType, container string) {
	if f == nil {
		return
	}
	ctx, f.stop = context.WithCancel(ctx)
	result, done := make(chan found, 1), make(chan struct{})
	f.result, f.done = result, done
	go func() {
		defer close(done)
		id, err := f.find(ctx, findingType, container)
		result <- found{id, time.Now(), err}
	}()
}

// wait returns what begin has found, or finds within the limit.
func (f *finder) wait(ctx context.Context, limit time.Duration) (found, error) {
	var r found
	select {
	case r = <-f.result:
	case <-time.After(limit):
		f.stop()
		r = <-f.result
	}
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if errors.Is(r.err, context.Canceled) {
		return found{}, nil
	}
	return r, r.err
}

// end ends the search and waits until it has ended.
func (f *finder) end() {
	if f != nil {
		f.stop()
		<-f.done
	}
}

// find returns the id of a finding of the type in the container, as soon as there is one.
func (f *finder) find(ctx context.Context, findingType, container string) (string, error) {
	for {
		list, err := f.client.ListFindings(ctx, &guardduty.ListFindingsInput{
			DetectorId:      &f.detector,
			FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{"type": {Equals: []string{findingType}}}},
			SortCriteria:    &types.SortCriteria{AttributeName: aws.String("updatedAt"), OrderBy: types.OrderByDesc},
		})
		if err != nil {
			return "", fmt.Errorf("listing findings: %w", err)
		}
		// A finding never moves to another container, so each is looked at once: asking for all of them all the time would
		// keep the server from the very events that are waited for.
		ids := slices.DeleteFunc(list.FindingIds, func(id string) bool { return f.known[id] })
		if len(ids) > 0 {
			got, err := f.client.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: &f.detector, FindingIds: ids})
			if err != nil {
				return "", fmt.Errorf("getting findings: %w", err)
			}
			at := slices.IndexFunc(got.Findings, func(x types.Finding) bool {
				r := x.Resource
				if r == nil {
					return false
				}
				if d := r.ContainerDetails; d != nil && aws.ToString(d.Id) == container {
					return true
				}
				if e := r.EcsClusterDetails; e != nil && e.TaskDetails != nil {
					return slices.ContainsFunc(e.TaskDetails.Containers, func(c types.Container) bool { return aws.ToString(c.Id) == container })
				}
				return false
			})
			if at >= 0 {
				return aws.ToString(got.Findings[at].Id), nil
			}
			for _, id := range ids {
				f.known[id] = true
			}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// close removes the lists.
func (f *finder) close(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	var failed []error
	for _, id := range f.sets {
		if _, err := f.client.DeleteThreatIntelSet(ctx, &guardduty.DeleteThreatIntelSetInput{DetectorId: &f.detector, ThreatIntelSetId: id}); err != nil {
			failed = append(failed, fmt.Errorf("deleting a threat list: %w", err))
		}
	}
	for _, id := range f.entities {
		if _, err := f.client.DeleteThreatEntitySet(ctx, &guardduty.DeleteThreatEntitySetInput{DetectorId: &f.detector, ThreatEntitySetId: id}); err != nil {
			failed = append(failed, fmt.Errorf("deleting a threat list: %w", err))
		}
	}
	for _, list := range f.lists {
		failed = append(failed, os.Remove(list))
	}
	return errors.Join(failed...)
}
