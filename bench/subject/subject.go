// Package subject runs the program that a measurement is about and reads what it costs: CPU time and memory from /proc, and
// its own counters from its metrics page.
//
// In go a command line with places to fill in; out come differences between two moments. A Subject is used by one goroutine.
package subject

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Options say how to run the program.
type Options struct {
	// Command is split at spaces, after {vedette}, {config}, {data}, {api} and {link} were filled in: the binary, a
	// configuration file, a new folder, and two addresses of the form 127.0.0.1:PORT.
	Command string
	Binary  string // for {vedette}
	Ready   string // URL that answers 200 once everything is attached; may hold {api}
	Metrics string // URL of the Prometheus page; may hold {api}
	SMTP    string // relay written to the configuration; "" keeps mails in the data folder
	// Attached is the beginning of the name of series that are above 0 once the program watches something; "" asks for none.
	// A program that watches nothing is fast, and no measurement.
	Attached string
	Patience time.Duration // how long it may take to get ready; 0 means 30 s
}

// DefaultAttached counts the kernel hooks of the sensor.
const DefaultAttached = "vedette_sensor_hooks_attached"

// DefaultCommand runs the server and an agent for the whole host.
const DefaultCommand = "{vedette} --config {config} --data {data} up"

// Subject is one running program.
type Subject struct {
	API    string // 127.0.0.1:PORT
	Data   string
	binary string
	folder string
	pages  string
	run    *exec.Cmd
	output *os.File
	ended  chan error
}

// Start runs the program and returns once it is ready.
func Start(ctx context.Context, o Options) (*Subject, error) {
	folder, err := os.MkdirTemp("", "vedette-bench-*")
	if err != nil {
		return nil, err
	}
	s := &Subject{folder: folder, Data: filepath.Join(folder, "data"), binary: o.Binary, ended: make(chan error, 1)}
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w%s", o.Command, err, s.lastLines()), s.Stop())
	}
	return s, nil
}

func (s *Subject) start(ctx context.Context, o Options) error {
	api, link, err := freeAddresses()
	if err != nil {
		return err
	}
	s.API = api
	config := filepath.Join(s.folder, "vedette.yaml")
	text := fmt.Sprintf("server:\n  listen: %s\n  link: %s\nagent:\n  serverUrl: nats://%s\n", api, link, link)
	if o.SMTP != "" {
		text += fmt.Sprintf("mail:\n  smtp: %s\n", o.SMTP)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	fill := strings.NewReplacer("{vedette}", o.Binary, "{config}", config, "{data}", s.Data, "{api}", api, "{link}", link)
	s.pages = fill.Replace(o.Metrics)
	words := strings.Fields(fill.Replace(o.Command))
	if len(words) == 0 {
		return errors.New("no command")
	}
	if s.output, err = os.Create(filepath.Join(s.folder, "output")); err != nil {
		return err
	}
	s.run = exec.Command(words[0], words[1:]...)
	s.run.Stdout, s.run.Stderr = s.output, s.output
	s.run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.run.Start(); err != nil {
		s.run = nil
		return err
	}
	go func() { s.ended <- s.run.Wait() }()
	ready := fill.Replace(o.Ready)
	return s.wait(ctx, o.Patience, func(ctx context.Context) error {
		if _, err := get(ctx, ready); err != nil || o.Attached == "" {
			return err
		}
		counters, err := s.Counters(ctx)
		if err != nil {
			return err
		}
		if counters.Sum(func(series string) bool { return strings.HasPrefix(series, o.Attached) }) <= 0 {
			return fmt.Errorf("%s is not above 0: the program watches nothing", o.Attached)
		}
		return nil
	})
}

// wait calls ready until it returns no error, the program ends, or patience (0: 30 s) does.
func (s *Subject) wait(ctx context.Context, patience time.Duration, ready func(context.Context) error) error {
	if patience == 0 {
		patience = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // The error that the deadline causes says less than the one before.
			last = err
		}
		select {
		case ended := <-s.ended:
			s.ended <- ended
			return fmt.Errorf("it ended: %v", ended)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastLines returns the end of what the program printed, for an error.
func (s *Subject) lastLines() string {
	text, err := os.ReadFile(filepath.Join(s.folder, "output"))
	if err != nil || len(text) == 0 {
		return ""
	}
	if len(text) > 2000 {
		text = text[len(text)-2000:]
	}
	return "\n" + string(text)
}

// freeAddresses returns two addresses that nobody listens on at the moment.
func freeAddresses() (string, string, error) {
	var found [2]string
	for i := range found {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		found[i] = l.Addr().String()
	}
	return found[0], found[1], nil
}

// Stop ends the program and removes its folder. It is safe to call twice.
func (s *Subject) Stop() error {
	var err error
	if s.run != nil {
		s.run.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(15 * time.Second):
			s.run.Process.Kill()
			<-s.ended
			err = errors.New("the program did not end within 15 s of SIGTERM and was killed")
		}
		s.run = nil
	}
	if s.output != nil {
		s.output.Close()
		s.output = nil
	}
	return errors.Join(err, os.RemoveAll(s.folder))
}

// Usage is what the program has used since its start.
type Usage struct {
	CPU     float64 // seconds, its children's included
	PeakRSS int64   // bytes, the highest of its processes
}

// Usage reads the program's use of the machine.
func (s *Subject) Usage() (Usage, error) {
	pid := s.run.Process.Pid
	var u Usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("reading CPU time: %w", err)
	}
	if u.CPU, err = cpuSeconds(string(stat)); err != nil {
		return u, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("reading memory: %w", err)
	}
	u.PeakRSS, err = peakRSS(string(status))
	return u, err
}

// cpuSeconds reads fields 14 to 17 of /proc/PID/stat (proc_pid_stat(5)), in ticks of which Linux has 100 a second.
func cpuSeconds(stat string) (float64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return 0, errors.New("reading CPU time: short stat line")
	}
	var ticks uint64
	for _, field := range fields[11:15] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		ticks += n
	}
	return float64(ticks) / 100, nil
}

// peakRSS reads VmHWM of /proc/PID/status.
func peakRSS(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading memory: %w", err)
			}
			return kib << 10, nil
		}
	}
	return 0, errors.New("reading memory: no VmHWM line")
}

// Counters are the values of a metrics page: one for each series, named as on the page.
type Counters map[string]float64

// Counters reads the program's counters and gauges.
func (s *Subject) Counters(ctx context.Context) (Counters, error) {
	text, err := get(ctx, s.pages)
	if err != nil {
		return nil, err
	}
	return parseCounters(text)
}

func parseCounters(text string) (Counters, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	values := Counters{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			series := name
			if len(labels) > 0 {
				series += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.GetCounter() != nil:
				values[series] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				values[series] = m.GetGauge().GetValue()
			case m.GetUntyped() != nil:
				values[series] = m.GetUntyped().GetValue()
			}
		}
	}
	return values, nil
}

// Since returns how much each counter has grown; series that did not change are left out.
func (c Counters) Since(before Counters) Counters {
	grown := Counters{}
	for name, value := range c {
		if d := value - before[name]; d != 0 {
			grown[name] = d
		}
	}
	return grown
}

// Sum adds the series whose names match.
func (c Counters) Sum(match func(series string) bool) float64 {
	sum := 0.0
	for name, value := range c {
		if match(name) {
			sum += value
		}
	}
	return sum
}

// maxPage bounds what is read of a page.
const maxPage = 16 << 20

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxPage))
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return string(text), nil
}

// Build compiles a package of this module into folder and returns the program's path.
func Build(ctx context.Context, pkg, folder string) (string, error) {
	path := filepath.Join(folder, filepath.Base(pkg))
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "vedette.dev/vedette/"+pkg)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building %s: %w", pkg, err)
	}
	return path, nil
}
