package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/container"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor/ebpf"
)

type doctorCommand struct {
	NoHooks bool   `help:"Do not load the sensor to see which hooks this kernel offers."`
	Output  string `enum:"table,json" default:"table" help:"table or json."`
}

// diagnosis is what doctor found out, in the form of --output json.
type diagnosis struct {
	Checks []check       `json:"checks"`
	Hooks  []hookState   `json:"hooks,omitempty"`
	Agents []agentLedger `json:"agents,omitempty"`
	Server *serverLedger `json:"server,omitempty"`
}

// check is one thing that was looked at. A bad one makes doctor fail; a note does not.
type check struct {
	What  string `json:"what"`
	State string `json:"state"` // ok, note or bad
	Text  string `json:"text"`
}

// hookState is one place in the kernel where the sensor can listen.
type hookState struct {
	Name   string   `json:"name"`
	Kinds  []string `json:"kinds"`
	Works  bool     `json:"works"`
	Reason string   `json:"reason"`
}

// agentLedger is what became of an agent's events: Made = Stored + Folded + Dropped + UnderWay, when events of earlier starts
// of the agent (Recovered) are taken off Stored. What the kernel lost was never made.
type agentLedger struct {
	Agent      string            `json:"agent"`
	Host       string            `json:"host"`
	Heartbeat  time.Time         `json:"heartbeat"`
	Made       uint64            `json:"made"`
	Stored     uint64            `json:"stored"`
	Folded     uint64            `json:"folded"`
	Spooled    uint64            `json:"spooled"`
	Recovered  uint64            `json:"recovered"`
	UnderWay   int64             `json:"underWay"` // between the sensor and the spool or the server; Spooled is not part of it
	KernelLost uint64            `json:"kernelLost"`
	Dropped    uint64            `json:"dropped"`
	Drops      map[string]uint64 `json:"drops,omitempty"` // by reason and kind, the kernel's too
}

// serverLedger is what the server did with what agents sent.
type serverLedger struct {
	Events      uint64 `json:"events"`
	Lost        uint64 `json:"batchesLost"`
	Missing     uint64 `json:"batchesMissing"`
	Undecodable uint64 `json:"batchesUndecodable"`
}

// silentAfter is how old an agent's last heartbeat may be.
const silentAfter = time.Minute

// Run looks at everything that an installation needs and says what is wrong, and how the sensor works on this kernel.
func (c doctorCommand) Run(ctx context.Context, g *globals) error {
	d := diagnosis{Checks: requirements(g.config.Agent.Docker)}
	if !c.NoHooks && d.Checks[0].State == "ok" {
		d.hooks()
	}
	d.space(g.config.Data)
	d.server(ctx, app.Data(g.config.Data), time.Now())
	if c.Output == "json" {
		if err := printJSON(g.out, d); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	} else if err := d.print(g); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	bad := 0
	for _, x := range d.Checks {
		if x.State == "bad" {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks are bad", bad, len(d.Checks))
	}
	return nil
}

func (d *diagnosis) add(what, state, format string, args ...any) {
	d.Checks = append(d.Checks, check{what, state, fmt.Sprintf(format, args...)})
}

// requirements looks at this machine. The sensor's own requirements come first.
func requirements(engine string) []check {
	var d diagnosis
	var uts unix.Utsname
	release := "unknown"
	if unix.Uname(&uts) == nil {
		release = unix.ByteSliceToString(uts.Release[:])
	}
	if err := ebpf.Check(); err != nil {
		d.add("sensor", "bad", "%v", err)
	} else {
		d.add("sensor", "ok", "Linux %s on %s: kernel, BTF and capabilities are sufficient", release, runtime.GOARCH)
	}
	if root := container.FindRoot(); root != "" {
		d.add("cgroups", "ok", "the v2 hierarchy is at %s", root)
	} else {
		d.add("cgroups", "bad", "no cgroup v2 hierarchy is mounted: containers cannot be told apart, and DNS is not seen; mount -t cgroup2 none /sys/fs/cgroup/unified")
	}
	switch {
	case engine == "":
		d.add("container engine", "note", "none is configured: containers are named by their cgroup alone")
	default:
		conn, err := net.DialTimeout("unix", engine, 2*time.Second)
		if err != nil {
			d.add("container engine", "note", "no Docker engine answers at %s: containers of other runtimes are named by their cgroup alone", engine)
			break
		}
		_ = conn.Close()
		d.add("container engine", "ok", "a Docker engine answers at %s", engine)
	}
	return d.Checks
}

// hooks loads the sensor for a moment, with everything it can watch, and lists the places where it can listen.
func (d *diagnosis) hooks() {
	source, err := ebpf.New(ebpf.Options{Kinds: event.AllKinds})
	if err != nil {
		d.add("hooks", "bad", "%v", err)
		return
	}
	defer source.Close()
	var known, seen event.Kinds
	works := 0
	for _, h := range source.Hooks() {
		d.Hooks = append(d.Hooks, hookState{Name: h.Name, Kinds: kindNames(h.Kinds), Works: h.Attached, Reason: h.Reason})
		known |= h.Kinds
		if h.Attached {
			seen |= h.Kinds
			works++
		}
	}
	if blind := known &^ seen; blind != 0 {
		d.add("hooks", "note", "%d of %d hooks work; this kernel shows nothing of these kinds of event: %s", works, len(d.Hooks), strings.Join(kindNames(blind), ", "))
		return
	}
	d.add("hooks", "ok", "%d of %d hooks work, and every kind of event is seen", works, len(d.Hooks))
}

// littleSpace is how much room for streams and spools is too little.
const littleSpace = 256 << 20

// space looks at the disk that the data folder is on, or will be.
func (d *diagnosis) space(folder string) {
	dir := folder
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		d.add("disk", "note", "%s: %v", dir, err)
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	if free < littleSpace {
		d.add("disk", "bad", "only %d MiB are free for %s: events are lost when it is full", free>>20, folder)
		return
	}
	d.add("disk", "ok", "%d MiB are free for %s", free>>20, folder)
}

func kindNames(s event.Kinds) (names []string) {
	for k := event.KindFork; k < event.KindCount; k++ {
		if s.Has(k) {
			names = append(names, k.String())
		}
	}
	return names
}

// server asks the server of this machine, if one runs, what became of the agents' events.
func (d *diagnosis) server(ctx context.Context, data app.Data, now time.Time) {
	at, err := data.Endpoints()
	if err != nil {
		d.add("server", "note", "%v", err)
		return
	}
	list, err := metricsOf(ctx, at.API, "vedette_link_", "vedette_ingest_")
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		d.add("server", "bad", "the server of %s does not run: nothing listens at %s", string(data), at.API)
		return
	case err != nil:
		d.add("server", "bad", "%v", err)
		return
	}
	d.add("server", "ok", "the server answers at %s (process %d)", at.API, at.PID)
	d.ledgers(list)
	for _, a := range d.Agents {
		name := fmt.Sprintf("agent on %s", a.Host)
		switch age := now.Sub(a.Heartbeat); {
		case age > silentAfter:
			d.add(name, "bad", "silent for %v", age.Round(time.Second))
		case a.KernelLost+a.Dropped > 0:
			d.add(name, "note", "%d events were lost: %s", a.KernelLost+a.Dropped, reasons(a.Drops))
		default:
			d.add(name, "ok", "%d events made, none lost", a.Made)
		}
	}
	if len(d.Agents) == 0 {
		d.add("agents", "note", "no agent has reported to this server since it started")
	}
	if s := d.Server; s != nil && s.Lost+s.Missing+s.Undecodable > 0 {
		d.add("store", "note", "%d batches were dropped by the stream, %d never came, %d could not be read", s.Lost, s.Missing, s.Undecodable)
	}
}

// ledgers takes the agents' and the server's counts out of the server's metrics.
func (d *diagnosis) ledgers(list []sample) {
	agents := map[string]*agentLedger{}
	of := func(id string) *agentLedger {
		if agents[id] == nil {
			agents[id] = &agentLedger{Agent: id, Drops: map[string]uint64{}}
		}
		return agents[id]
	}
	server := &serverLedger{}
	for _, s := range list {
		n := uint64(max(0, s.value))
		switch s.name {
		case "vedette_link_agent_heartbeat_seconds":
			a := of(s.labels["agent"])
			a.Host, a.Heartbeat = s.labels["host"], time.UnixMilli(int64(s.value*1000)).UTC()
		case "vedette_link_agent_ledger":
			of(s.labels["agent"]).count(s.labels["counter"], n)
		case "vedette_ingest_events_total":
			server.Events = n
		case "vedette_link_batches_lost_total":
			server.Lost = n
		case "vedette_ingest_batches_missing_total":
			server.Missing = n
		case "vedette_ingest_batches_undecodable_total":
			server.Undecodable = n
		}
	}
	d.Server = server
	for _, a := range agents {
		a.UnderWay = int64(a.Made+a.Recovered) - int64(a.Stored+a.Folded+a.Dropped+a.Spooled)
		d.Agents = append(d.Agents, *a)
	}
	slices.SortFunc(d.Agents, func(x, y agentLedger) int { return cmp.Or(cmp.Compare(x.Host, y.Host), cmp.Compare(x.Agent, y.Agent)) })
}

func (a *agentLedger) count(counter string, n uint64) {
	switch counter {
	case "events.made":
		a.Made = n
	case "events.shipped":
		a.Stored = n
	case "events.folded":
		a.Folded = n
	case "events.spooled":
		a.Spooled = n
	case "events.recovered":
		a.Recovered = n
	}
	if reason, ok := strings.CutPrefix(counter, "dropped."); ok && n > 0 {
		a.Drops[reason] = n
		if strings.HasPrefix(reason, "kernel.") {
			a.KernelLost += n
		} else {
			a.Dropped += n
		}
	}
}

// reasons names the largest drops.
func reasons(drops map[string]uint64) string {
	type drop struct {
		reason string
		n      uint64
	}
	var list []drop
	for reason, n := range drops {
		list = append(list, drop{reason, n})
	}
	slices.SortFunc(list, func(x, y drop) int { return cmp.Or(cmp.Compare(y.n, x.n), cmp.Compare(x.reason, y.reason)) })
	var text []string
	for i, x := range list {
		if i == 5 {
			text = append(text, fmt.Sprintf("and %d more reasons", len(list)-i))
			break
		}
		text = append(text, fmt.Sprintf("%s %d", x.reason, x.n))
	}
	return strings.Join(text, ", ")
}

func (d *diagnosis) print(g *globals) error {
	t := newTable(g.out, "STATE", "CHECK", "RESULT")
	for _, x := range d.Checks {
		t.row(x.State, x.What, x.Text)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(d.Hooks) > 0 {
		fmt.Fprintln(g.out)
		t = newTable(g.out, "HOOK", "WORKS", "KINDS", "WHY")
		for _, h := range d.Hooks {
			works := "yes"
			if !h.Works {
				works = "no"
			}
			t.row(h.Name, works, strings.Join(h.Kinds, " "), h.Reason)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(d.Agents) > 0 {
		fmt.Fprintln(g.out)
		t = newTable(g.out, "AGENT", "HOST", "HEARTBEAT", "MADE", "STORED", "FOLDED", "SPOOLED", "UNDER WAY", "DROPPED", "LOST IN KERNEL")
		for _, a := range d.Agents {
			t.row(a.Agent[:min(len(a.Agent), 12)], a.Host, a.Heartbeat.Local().Format("15:04:05"), fmt.Sprint(a.Made), fmt.Sprint(a.Stored), fmt.Sprint(a.Folded),
				fmt.Sprint(a.Spooled), fmt.Sprint(a.UnderWay), fmt.Sprint(a.Dropped), fmt.Sprint(a.KernelLost))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(g.errs, "As root, more can be looked at.")
	}
	return nil
}
