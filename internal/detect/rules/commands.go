package rules

import (
	"encoding/json"
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// suspicion is one kind of suspicious command.
type suspicion struct {
	id       string   // for the aggregation key
	names    []string // the programs that can be it, by name
	match    func(l *line, c *command.Command) bool
	what     string  // continues "The process … ran a command that"
	example  string  // what such a command looks like; never what was run
	severity float64 // 0: the type's own
	quiet    quiet   // who may do it
	service  bool    // the first operand that is no verb is the name of a service
}

// quiet says whose doing of a suspicious command is ordinary work. A package manager's always is.
type quiet uint8

const (
	inSetup      quiet = 1 << iota // the image itself: its entrypoint, or a step of its build
	byOperator                     // a person in a session on a terminal
	byBuild                        // a build tool or CI runner
	byManager                      // the system's own managers of networks and services
	onHost                         // anybody outside of containers
	withoutProof = inSetup | byOperator | byBuild
)

// line is a command line that is being judged.
type line struct {
	m        *detect.Match
	commands []command.Command
	source   float64 // severity of where a download came from, set by match
	shown    string  // detail for the description, set by match
}

// input returns the command that c reads from, or nil.
func (l *line) input(c *command.Command) *command.Command {
	if c.Input < 0 || c.Input >= len(l.commands) {
		return nil
	}
	return &l.commands[c.Input]
}

// managers change the firewall and services for a living.
var managers = map[string]bool{
	"dockerd": true, "containerd": true, "docker-proxy": true, "podman": true, "netavark": true, "kubelet": true, "kube-proxy": true, "k3s": true, "calico-node": true,
	"cilium-agent": true, "flanneld": true, "firewalld": true, "ufw": true, "fail2ban-server": true, "tailscaled": true, "libvirtd": true, "NetworkManager": true,
	"wg-quick": true, "pilot-agent": true, "amazon-ecs-agent": true, "ecs-agent": true, "networkd-dispatcher": true, "netplan": true, "puppet": true, "chef-client": true,
	"salt-minion": true, "cloud-init": true, "snapd": true, "logrotate": true, "waagent": true,
}

// excused reports whether the one who ran the command may.
func (l *line) excused(q quiet) bool {
	m, p := l.m, l.m.Process
	switch {
	case starting(p), startedByPackageManager(p), packageManager(p):
		return true
	case service(p) != nil:
		return false // Whoever it looks like: it came through a service.
	case q&onHost != 0 && m.Event.Container == nil,
		q&inSetup != 0 && setup(m, p),
		q&byOperator != 0 && operator(m, p),
		q&byBuild != 0 && ancestor(p, buildTools) != nil,
		q&byManager != 0 && ancestor(p, managers) != nil:
		return true
	}
	return false
}

// maxSeen bounds how many commands found in a shell's text a rule remembers, so that the same command is not found again when
// the shell runs it.
const maxSeen = 256

// suspiciousCommand is a rule for command lines. The pattern lets through what has the name of a program of the list; advice is
// the end of the description.
func suspiciousCommand(typ string, list []suspicion, advice string) detect.Rule {
	byName := make(map[string][]*suspicion)
	var names []string
	for i := range list {
		for _, n := range list[i].names {
			if byName[n] == nil {
				names = append(names, n)
			}
			byName[n] = append(byName[n], &list[i])
		}
	}
	var seen [maxSeen]struct {
		shell event.UUID
		what  *suspicion
	}
	next := 0
	l := new(line) // Of the event at hand; made once, because it escapes.
	found := func(u event.UUID, s *suspicion) bool {
		for i := range seen {
			if seen[i].what == s && seen[i].shell == u && !u.IsZero() {
				return true
			}
		}
		return false
	}
	return detect.Rule{
		Type:    typ,
		Pattern: `{"kind":["exec"],"errno":[0],"command":{"name":` + jsonNames(names) + `}}`,
		Detect: func(m *detect.Match) bool {
			*l = line{m: m, commands: m.Facts.Commands()}
			p := m.Process
			for i := range l.commands {
				c := &l.commands[i]
				for _, s := range byName[c.Name] {
					l.source, l.shown = 0, ""
					if !s.match(l, c) || l.excused(s.quiet) {
						continue
					}
					if !c.Nested {
						known, n := found(p.UUID, s), 0
						for a := range p.Ancestors {
							if n++; n > 4 {
								break
							}
							known = known || found(a.UUID, s)
						}
						if known {
							continue
						}
					} else if found(p.UUID, s) {
						continue
					}
					if c.Nested || i > 0 {
						seen[next].shell, seen[next].what = p.UUID, s
						next = (next + 1) % maxSeen
					}
					m.Severity = s.severity
					if l.source != 0 {
						m.Severity = l.source
					}
					m.Object = s.id
					m.Context = finding.Context{CommandLineExample: s.example, ScriptPath: p.ScriptPath}
					if s.service {
						m.Context.ServiceName = serviceName(c)
					}
					for _, e := range c.Env {
						if v, ok := strings.CutPrefix(e, "LD_PRELOAD="); ok {
							m.Context.LDPreloadValue = v
						}
					}
					if m.Context.LDPreloadValue == "" {
						m.Context.LDPreloadValue = p.LDPreload
					}
					shown := ""
					if l.shown != "" {
						shown = " (" + event.PrintableN(l.shown, 200) + ")"
					}
					m.Description = fmt.Sprintf("The %s ran a command that %s%s, of the kind '%s'. %s", m.Who(p), s.what, shown, s.example, advice)
					return true
				}
			}
			return false
		},
	}
}

// jsonNames writes names as a list in JSON.
func jsonNames(names []string) string {
	b, err := json.Marshal(names)
	if err != nil {
		panic(err) // Strings marshal.
	}
	return string(b)
}

// serviceName returns the service that systemctl, service and the like are asked about.
func serviceName(c *command.Command) string {
	n := 1
	if c.Name == "service" || c.Name == "rc-service" || c.Name == "update-rc.d" {
		n = 0
	}
	return strings.TrimSuffix(c.Operand(n), ".service")
}

// temporary reports whether a path is in a folder where everybody may write.
func temporary(path string) bool {
	for _, f := range [...]string{"/tmp", "/var/tmp", "/dev/shm", "/run/shm", "/dev/mqueue"} {
		if below(path, f) {
			return true
		}
	}
	return false
}

// written reports whether the command writes to a file for which ok holds: by redirection, tee, cp, mv, install, ln, dd or sed -i.
func written(l *line, c *command.Command, ok func(path string) bool) bool {
	hit := func(path string) bool {
		if path == "" || !ok(path) {
			return false
		}
		l.shown = path
		return true
	}
	for _, r := range c.Redirects {
		if (r.Op == ">" || r.Op == ">>") && hit(r.Path) {
			return true
		}
	}
	switch c.Name {
	case "tee":
		for _, a := range c.Args {
			if !strings.HasPrefix(a, "-") && hit(a) {
				return true
			}
		}
	case "cp", "mv", "install", "ln":
		if len(c.Args) > 1 && hit(c.Args[len(c.Args)-1]) {
			return true
		}
	case "dd":
		for _, a := range c.Args {
			if path, found := strings.CutPrefix(a, "of="); found && hit(path) {
				return true
			}
		}
	case "sed":
		if c.Flag('i', "in-place") {
			for _, a := range c.Args {
				if hit(a) {
					return true
				}
			}
		}
	}
	return false
}

// writers are the programs that written knows, and those that print into a redirection. The empty name is a redirection
// without a command.
var writers = []string{"echo", "printf", "cat", "tee", "cp", "mv", "install", "ln", "dd", "sed", "base64", "curl", "wget"}
