package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

const (
	// signalTime is how long a finding makes changes of sensitive files suspicious that come after it, and pendingTime how long
	// before it.
	signalTime  = 3600e9
	pendingTime = 600e9

	maxSignals = 16 // a place
	maxPending = 16
	maxRelated = 25 // as the API has it
)

// sensitiveFile is a rule for changes of files of one category, which are findings only together with other suspicious
// activity: another finding of the same container within the hour before or the ten minutes after; on a host, one of the
// same session's processes (sharing an ancestor other than the first process). A change is suspicious by itself when a network
// service, or a program that was written into the container, makes it.
//
// What stays quiet: package managers, an image's own start, container engines, and those whose work it is (syslog daemons on
// logs, shells on their own history, logrotate). State per place: 16 findings and 16 changes.
func sensitiveFile(typ, category, advice string) detect.Rule {
	type change struct {
		process         *event.Process
		at              int64
		path, operation string
	}
	type signal struct {
		at      int64
		typ     string
		lineage [8]event.UUID
	}
	type state struct {
		signals  [maxSignals]signal
		pending  [maxPending]change
		s, p     int
		reported []string // paths, the newest last
	}
	places := newMemory[state](512)

	describe := func(m *detect.Match, st *state, c change, why string) bool {
		m.Process = c.process
		m.Object = c.path
		m.Context = finding.Context{FilePath: c.path, FileOperation: c.operation, ScriptPath: c.process.ScriptPath}
		related := ""
		for _, path := range st.reported {
			if path != c.path && !hasString(m.Context.RelatedFilePaths, path) && len(m.Context.RelatedFilePaths) < maxRelated {
				m.Context.RelatedFilePaths = append(m.Context.RelatedFilePaths, path)
			}
		}
		if len(m.Context.RelatedFilePaths) == 0 {
			m.Context.RelatedFilePaths = []string{c.path}
		} else {
			related = fmt.Sprintf(" It, or others there, changed %d more such files.", len(m.Context.RelatedFilePaths))
		}
		if category == detect.SensitiveEvasion && strings.HasSuffix(c.path, "_history") {
			m.Context.ShellHistoryFilePath = c.path
		}
		if len(st.reported) >= maxRelated {
			st.reported = st.reported[1:]
		}
		st.reported = append(st.reported, strings.Clone(c.path))
		m.Description = fmt.Sprintf("The %s changed the file '%s' (%s). By itself that may be ordinary; %s.%s %s", m.Who(c.process),
			event.PrintableN(c.path, 200), strings.ToLower(c.operation), why, related, advice)
		return true
	}

	return detect.Rule{
		Type:    typ,
		Pattern: `{"kind":["open","rename","link","symlink","unlink"],"errno":[0],"file":{"sensitive":["` + category + `"]}}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			_, path, operation := detect.Sensitive(m.Event)
			if starting(p) || packageManager(p) || startedByPackageManager(p) || custodian(p, path, operation) {
				return false
			}
			by := service(p)
			if by == nil && original(p) && (setup(m, p) || ancestor(p, buildTools) != nil) {
				return false
			}
			c := change{process: p, at: m.Event.Time, path: path, operation: operation}
			st := places.of(m)
			switch {
			case by != nil && !(detect.WebScript(path) && (services[program(p)] || services[versioned(program(p))])): // Applications write their own pages.
				return describe(m, st, c, "here the network service "+detect.Name(by)+" started the process, which has no business with it")
			case m.Event.Container != nil && !original(p):
				return describe(m, st, c, "here a program did it that was written into the container while it ran")
			}
			for i := range st.signals {
				s := &st.signals[i]
				if s.typ != "" && m.Event.Time-s.at < signalTime && (m.Event.Container != nil || shares(p, s.lineage[:])) {
					return describe(m, st, c, "here it follows a finding of type "+s.typ)
				}
			}
			// Nothing yet: what comes may throw another light on it.
			c.process, c.path = detect.CloneProcess(p), strings.Clone(path)
			st.pending[st.p] = c
			st.p = (st.p + 1) % maxPending
			return false
		},
		After: func(m *detect.Match, occ *finding.Occurrence) bool {
			st := places.of(m)
			s := &st.signals[st.s]
			st.s = (st.s + 1) % maxSignals
			*s = signal{at: m.Event.Time, typ: occ.Type}
			lineage(occ.Process, s.lineage[:])
			for n := range maxPending {
				c := &st.pending[(st.p-1-n+2*maxPending)%maxPending] // The newest first.
				if c.process == nil {
					continue
				}
				if m.Event.Time-c.at > pendingTime {
					c.process = nil
					continue
				}
				if m.Event.Container == nil && !shares(c.process, s.lineage[:]) {
					continue
				}
				found := *c
				c.process = nil
				for i := range st.pending { // The rest is told as related.
					if o := &st.pending[i]; o.process != nil && m.Event.Time-o.at <= pendingTime && len(st.reported) < maxRelated && (m.Event.Container != nil || shares(o.process, s.lineage[:])) {
						st.reported = append(st.reported, o.path)
						o.process = nil
					}
				}
				return describe(m, st, found, "here a finding of type "+occ.Type+" followed it")
			}
			return false
		},
	}
}

func hasString(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// lineage writes the identities of p and its ancestors, without the first process of all.
func lineage(p *event.Process, dst []event.UUID) {
	n := 0
	for ; p != nil && n < len(dst); p = p.Parent {
		if p.PID > 1 && !p.IsContainer {
			dst[n] = p.UUID
			n++
		}
	}
}

// shares reports whether p or one of its ancestors is one of the processes.
func shares(p *event.Process, with []event.UUID) bool {
	for n := 0; p != nil && n <= event.MaxLineage; p, n = p.Parent, n+1 {
		for _, u := range with {
			if u == p.UUID && !u.IsZero() {
				return true
			}
		}
	}
	return false
}

// custodians keep records.
var custodians = map[string]bool{
	"rsyslogd": true, "syslogd": true, "syslog-ng": true, "systemd-journald": true, "systemd-journal": true, "auditd": true, "logrotate": true, "sshd": true, "sshd-session": true, "login": true, "agetty": true,
	"systemd": true, "systemd-update-utmp": true, "cron": true, "crond": true, "busybox-syslogd": true, "savelog": true, "lastlog2-import": true, "pam_lastlog2": true, "dropbear": true, "init": true, "tuned": true,
}

// custodian reports whether it is p's work to change the file.
func custodian(p *event.Process, path, operation string) bool {
	if !original(p) {
		return false
	}
	if strings.HasSuffix(path, "_history") && operation != detect.FileSymlink && operation != detect.FileDelete {
		return command.Shell(program(p)) && p.ScriptPath == ""
	}
	return custodians[program(p)] || ancestor(p, map[string]bool{"logrotate": true}) != nil
}
