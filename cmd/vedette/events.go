package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/link"
)

type eventsCommand struct {
	Follow    bool     `short:"f" help:"Show events as they happen, until Ctrl-C."`
	Kind      []string `help:"Only these kinds, for example exec, open, connect, dns."`
	Container string   `help:"Only this container: its name, or the beginning of its id."`
	Limit     int      `help:"End after this many events; 0 for no limit."`
	Output    string   `enum:"table,json" default:"table" help:"table or json (one object per line)."`
}

func (c eventsCommand) Run(ctx context.Context, g *globals) error {
	var kinds event.Kinds
	for _, name := range c.Kind {
		k, ok := event.ParseKind(name)
		if !ok {
			return &usageError{fmt.Errorf("there is no kind of event named %q", name)}
		}
		kinds = kinds.With(k)
	}
	if !c.Follow {
		return &usageError{fmt.Errorf("only live events can be shown for now: use 'vedette events --follow'")}
	}
	data := app.Data(g.config.Data)
	follow, err := data.Follow()
	if err != nil {
		return err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	shown := 0
	var failed error
	encoder := json.NewEncoder(g.out)
	encoder.SetEscapeHTML(false)
	err = link.Follow(ctx, follow, func(agentID string, text []byte) {
		batch, err := event.Decode(text, nil)
		if err != nil {
			g.log.Warn("undecodable batch", "agent", agentID, "err", err)
			return
		}
		for i := range batch.Events {
			e := &batch.Events[i]
			if kinds != 0 && !kinds.Has(e.Kind) || !inContainer(e, c.Container) || c.Limit > 0 && shown >= c.Limit {
				continue
			}
			shown++
			if c.Output == "json" {
				err = encoder.Encode(e)
			} else {
				_, err = fmt.Fprintln(g.out, line(e))
			}
			if err != nil {
				failed = fmt.Errorf("writing: %w", err)
				done()
				return
			}
		}
		if c.Limit > 0 && shown >= c.Limit {
			done()
		}
	})
	if failed != nil {
		return failed
	}
	if ctx.Err() != nil {
		return nil // Ctrl-C is how one leaves, and --limit was reached
	}
	return err
}

func inContainer(e *event.Event, which string) bool {
	if which == "" {
		return true
	}
	return e.Container != nil && (e.Container.Name == which || strings.HasPrefix(e.Container.ID, which))
}

// line describes an event in one line for a person.
func line(e *event.Event) string {
	place := "host"
	if e.Container != nil {
		place = e.Container.Name
		if place == "" {
			place = e.Container.ID[:min(12, len(e.Container.ID))]
		}
	}
	what := ""
	switch {
	case e.Exec != nil:
		what = strings.Join(e.Process.Args, " ")
		if o := e.Process.Exe.Origin; o == event.OriginWritten || o == event.OriginMemory {
			what += "  [" + o.String() + "]"
		}
	case e.Exit != nil:
		what = fmt.Sprintf("code %d", e.Exit.Code)
		if e.Exit.Signal != 0 {
			what = fmt.Sprintf("signal %d", e.Exit.Signal)
		}
	case e.Open != nil:
		what = e.Open.Path
	case e.Connect != nil:
		what = peer(e.Connect.Remote.String(), e.Connect.Path)
	case e.Bind != nil:
		what = peer(e.Bind.Local.String(), e.Bind.Path)
	case e.DNS != nil:
		what = "? " + e.DNS.Name
		if e.DNS.Response {
			answers := make([]string, len(e.DNS.Answers))
			for i, a := range e.DNS.Answers {
				answers[i] = a.String()
			}
			slices.Sort(answers)
			what = "= " + e.DNS.Name + " " + strings.Join(answers, " ")
		}
	case e.Ptrace != nil:
		what = fmt.Sprintf("request %#x", e.Ptrace.Request)
		if t := e.Ptrace.Target; t != nil {
			what += fmt.Sprintf(" on %s (%d)", t.Name, t.PID)
		}
	}
	if what == "" {
		what = change(e)
	}
	if e.Errno != 0 {
		what += fmt.Sprintf("  (errno %d)", e.Errno)
	}
	if e.Count > 1 {
		what += fmt.Sprintf("  ×%d", e.Count)
	}
	return event.PrintableN(fmt.Sprintf("%s  %-7s  %-16s  %s[%d]  %s", e.At().Local().Format(time.StampMicro), e.Kind, place, e.Process.Name, e.Process.PID, what), 400)
}

// change describes what was changed, or called, in a few words.
func change(e *event.Event) string {
	switch {
	case e.File != nil:
		what := e.File.Path
		if e.File.Target != "" {
			what += " → " + e.File.Target
		}
		if e.Kind == event.KindChmod {
			what += fmt.Sprintf(" %04o", e.File.Mode&0o7777)
		}
		if o := e.File.Origin; o == event.OriginWritten || o == event.OriginMemory {
			what += "  [" + o.String() + "]"
		}
		return what
	case e.Memory != nil:
		return strings.TrimSpace(fmt.Sprintf("%s protection %d %s", e.Memory.Region, e.Memory.Protection, e.Memory.Path))
	case e.Mount != nil:
		return strings.TrimSpace(e.Mount.Source + " → " + e.Mount.Target + " " + e.Mount.FSType)
	case e.Socket != nil:
		s := e.Socket
		switch {
		case s.Path != "":
			return s.Path
		case s.Remote.IsValid():
			return s.Remote.String()
		case s.Local.IsValid():
			return s.Local.String()
		}
		return fmt.Sprintf("family %d type %d protocol %d", s.Family, s.Type, s.Protocol)
	case e.Target != nil:
		what := fmt.Sprintf("%d on pid %d", e.Target.Request, e.Target.TargetPID)
		if t := e.Target.Target; t != nil {
			what += " " + t.Name
		}
		return what
	case e.Creds != nil && e.Kind == event.KindCapset:
		return fmt.Sprintf("capabilities %#x", e.Creds.Capabilities)
	case e.Creds != nil:
		return fmt.Sprintf("uid %d euid %d", int32(e.Creds.UID), int32(e.Creds.EUID))
	case e.Call != nil:
		return fmt.Sprintf("command %d flags %#x", e.Call.Command, e.Call.Flags)
	case e.Alert != nil:
		return fmt.Sprintf("%s of %d events (%s)", e.Alert.Reason, e.Alert.Lost, e.Alert.Where)
	}
	return ""
}

func peer(address, path string) string {
	if path != "" {
		return path
	}
	return address
}
