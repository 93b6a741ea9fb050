package rules

import (
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/command"
	"vedette.dev/vedette/internal/event"
)

// What the rules ask about who started a process. Names are believed only of programs that the image or the host brought:
// one that was written into a running container is no excuse for anything.

// original reports whether p's executable was not written into a running container, as far as is known.
func original(p *event.Process) bool {
	return p.Exe.Origin != event.OriginWritten && p.Exe.Origin != event.OriginMemory
}

// program is the file name of p's executable, or of the script that an interpreter runs.
func program(p *event.Process) string {
	path := p.ExePath
	if p.ScriptPath != "" {
		path = p.ScriptPath
	}
	if path == "" {
		return p.Name
	}
	name := command.Base(path)
	if command.MultiCall(name) && len(p.Args) > 0 {
		name = command.Name(p.Args[0])
	}
	return name
}

// versioned strips a version from a program's name: python3.11, php-fpm8.2, gcc-12.
func versioned(name string) string { return strings.TrimRight(name, "0123456789.-") }

// shims stand between a container engine and the programs of a container.
var shims = map[string]bool{
	"containerd-shim": true, "containerd-shim-runc-v2": true, "containerd-shim-runc-v1": true, "conmon": true, "docker-containerd-shim": true,
}

// within calls yield for the ancestors of p, nearest first, as far as its container goes: what started the container (an engine,
// and what that descends from) says nothing about who runs a program in it.
func within(p *event.Process) func(yield func(*event.Process) bool) {
	return func(yield func(*event.Process) bool) {
		if p.IsContainer {
			return
		}
		for a := range p.Ancestors {
			if shims[command.Base(a.ExePath)] || !yield(a) || a.IsContainer {
				return
			}
		}
	}
}

// ancestor returns the nearest ancestor that is original and has one of the names, or nil.
func ancestor(p *event.Process, names map[string]bool) *event.Process {
	for a := range within(p) {
		if original(a) && (names[program(a)] || names[versioned(program(a))]) {
			return a
		}
	}
	return nil
}

// engines are the programs that make containers. Until they run the container's own program, what they do happens in the
// container.
var engines = map[string]bool{
	"runc": true, "crun": true, "youki": true, "runsc": true, "docker-runc": true, "containerd-shim": true, "containerd-shim-runc-v2": true,
	"containerd-shim-runc-v1": true, "conmon": true, "containerd": true, "dockerd": true, "podman": true, "crio": true, "docker-init": true, "runc-fargate": true,
}

// starting reports whether p is a container engine that is setting a container up, not a program of the container.
func starting(p *event.Process) bool {
	name := command.Base(p.ExePath)
	switch {
	case original(p) && engines[name]:
	case p.Exe.Origin == event.OriginMemory && (strings.Contains(p.ExePath, "memfd:runc_cloned") || strings.Contains(p.ExePath, "memfd:crun")):
	case p.ExePath == "" && strings.HasPrefix(p.Name, "runc:["):
	default:
		return false
	}
	for a := range p.Ancestors {
		if a.IsContainer {
			return false // The container's own program plays the engine.
		}
	}
	return true
}

// logins give people a session.
var logins = map[string]bool{
	"sshd": true, "sshd-session": true, "dropbear": true, "login": true, "agetty": true, "getty": true, "gdm-session-worker": true,
	"systemd-machined": true, "ssm-session-worker": true, "tmux": true, "tmux: server": true, "screen": true, "mosh-server": true, "in.telnetd": true,
}

// operator reports whether p belongs to a person's session: a shell on a terminal that sshd, the console or `docker exec -it`
// gave out, or that is the container's own first program. A terminal that a service of the container made is none of these.
func operator(m *detect.Match, p *event.Process) bool {
	terminal := p.Stdin.Kind == event.StdioTTY
	var top *event.Process = p
	for a := range p.Ancestors {
		if original(a) && logins[program(a)] {
			return terminal
		}
		if original(a) && engines[program(a)] {
			break
		}
		terminal = terminal || a.Stdin.Kind == event.StdioTTY
		top = a
	}
	if !terminal || top.Stdin.Kind != event.StdioTTY {
		return false
	}
	// The session's first process has the terminal: docker exec -it, docker run -it.
	return m.Event.Container != nil && command.Shell(program(top)) || m.Event.Container != nil && top == p && top.Parent == nil && !top.IsContainer
}

// entered reports whether p came into its container from outside, as by docker exec, rather than from the container's first
// process.
func entered(m *detect.Match, p *event.Process) bool {
	if m.Event.Container == nil || p.IsContainer {
		return false
	}
	n := 0
	for a := range p.Ancestors {
		if n++; a.IsContainer || n == event.MaxLineage {
			return false
		}
		if shims[command.Base(a.ExePath)] {
			return true
		}
	}
	return n > 0
}

// services can be reached over the network and run what strangers send them when they have a hole.
var services = map[string]bool{
	"nginx": true, "httpd": true, "apache": true, "apache2": true, "lighttpd": true, "caddy": true, "traefik": true, "haproxy": true, "envoy": true,
	"php-fpm": true, "php-cgi": true, "uwsgi": true, "gunicorn": true, "uvicorn": true, "hypercorn": true, "unicorn": true, "puma": true, "passenger": true,
	"tomcat": true, "catalina": true, "jetty": true, "java": true, "node": true, "nodejs": true, "deno": true, "bun": true, "dotnet": true,
	"mysqld": true, "mariadbd": true, "postgres": true, "postmaster": true, "mongod": true, "redis-server": true, "valkey-server": true, "memcached": true,
	"elasticsearch": true, "influxd": true, "clickhouse-server": true, "couchdb": true, "beam.smp": true, "rabbitmq-server": true, "nats-server": true,
	"vsftpd": true, "proftpd": true, "exim4": true, "exim": true, "master": true, "dovecot": true, "named": true, "dnsmasq": true, "smbd": true,
	"squid": true, "tinyproxy": true, "grafana": true, "grafana-server": true, "jenkins": true, "w3wp": true, "slapd": true, "inetd": true, "xinetd": true,
}

// service returns the network service that p descends from, or nil. A runtime that is a build tool or a command of a person's
// (npm, gradle, maven) is none.
func service(p *event.Process) *event.Process {
	for a := range within(p) {
		if name := program(a); original(a) && (services[name] || services[versioned(name)]) && !tooling(a) {
			return a
		}
	}
	return nil
}

// tooling reports whether a runtime (java, node, python …) runs a build tool or package manager rather than a server.
func tooling(p *event.Process) bool {
	for i, a := range p.Args {
		if i > 8 {
			break
		}
		name := command.Base(a)
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".js"), ".py")
		if name == "install" || name == "ci" || buildTools[name] || strings.HasPrefix(name, "gradle-") || strings.Contains(a, "org.codehaus.plexus.classworlds") || strings.Contains(a, "org.gradle.") {
			return true
		}
	}
	return false
}

// buildTools run compilers and what these make.
var buildTools = map[string]bool{
	"make": true, "gmake": true, "ninja": true, "cmake": true, "ctest": true, "meson": true, "bazel": true, "go": true, "cargo": true, "rustc": true, "rustup": true,
	"npm": true, "npm-cli": true, "npx": true, "npx-cli": true, "yarn": true, "pnpm": true, "node-gyp": true, "pip": true, "pip3": true, "uv": true, "poetry": true, "setup": true,
	"gradle": true, "gradlew": true, "mvn": true, "sbt": true, "ant": true, "dpkg-buildpackage": true, "debuild": true, "rpmbuild": true, "makepkg": true, "abuild": true,
	"configure": true, "libtool": true, "tox": true, "pytest": true, "gem": true, "bundle": true, "composer": true, "composer.phar": true, "conda": true, "mamba": true,
	"buildctl": true, "buildkitd": true, "buildah": true, "kaniko": true, "executor": true, "git": true,
	"gitlab-runner": true, "gitlab-runner-helper": true, "Runner.Worker": true, "Runner.Listener": true, "buildkite-agent": true, "circleci": true, "drone-agent": true, "act_runner": true, "woodpecker-agent": true,
}

// compilers write executables for a living.
var compilers = map[string]bool{
	"ld": true, "ld.bfd": true, "ld.gold": true, "ld.lld": true, "lld": true, "mold": true, "collect2": true, "gcc": true, "g++": true, "cc": true, "clang": true, "clang++": true,
	"tcc": true, "link": true, "rustc": true, "cargo": true, "go": true, "strip": true, "objcopy": true, "install": true, "libtool": true, "ar": true, "ldc2": true, "zig": true, "ghc": true,
	"x86_64-linux-gnu-ld": true, "aarch64-linux-gnu-ld": true, "x86_64-linux-gnu-ld.bfd": true, "aarch64-linux-gnu-ld.bfd": true, "x86_64-linux-gnu-gcc": true,
}

// compiled reports whether a file was written by a compiler of the image, or by another part of a build.
func compiled(writer *event.Process) bool {
	if writer == nil || !original(writer) {
		return false
	}
	name := program(writer)
	return compilers[name] && name != "install" || compilers[versioned(name)] && versioned(name) != "install" || ancestor(writer, buildTools) != nil
}

// languageManagers install libraries of a language.
var languageManagers = map[string]bool{
	"pip": true, "pip3": true, "uv": true, "poetry": true, "conda": true, "mamba": true, "npm": true, "npm-cli.js": true, "npm-cli": true, "yarn": true, "yarn.js": true,
	"pnpm": true, "gem": true, "bundle": true, "composer": true, "cpan": true, "luarocks": true, "easy_install": true, "cargo": true, "go": true,
}

// languageManager reports whether p, or what started it, installs libraries of a language.
func languageManager(p *event.Process) bool {
	if p == nil || !original(p) {
		return false
	}
	if languageManagers[versioned(program(p))] || languageManagers[program(p)] {
		return true
	}
	for i, a := range p.Args { // python -m pip install
		if i > 4 {
			break
		}
		if languageManagers[command.Base(a)] {
			return true
		}
	}
	return ancestor(p, languageManagers) != nil
}

// setup reports whether p belongs to a container's own start: within a minute of it, with nothing but shells and inits of the
// image between it and the container's first process. What happens there is what the image is made to do: an entrypoint's script
// or a step of an image's build. Who breaks in comes through a service, or through docker exec.
func setup(m *detect.Match, p *event.Process) bool {
	c := m.Event.Container
	if c == nil || c.StartedAt == 0 || m.Event.Time-c.StartedAt > 60e9 {
		return false
	}
	if !original(p) {
		return false
	}
	if p.IsContainer {
		return true
	}
	for a := range p.Ancestors {
		if name := program(a); !original(a) || a.ScriptPath == "" && !command.Shell(name) && !inits[name] {
			return false
		}
		if a.IsContainer {
			return true
		}
	}
	return false
}

// inits start the programs of a container.
var inits = map[string]bool{
	"tini": true, "dumb-init": true, "docker-init": true, "catatonit": true, "s6-svscan": true, "s6-supervise": true, "s6-rc": true, "runsv": true, "runsvdir": true,
	"init": true, "su-exec": true, "gosu": true, "setpriv": true, "env": true, "execlineb": true, "supervisord": true,
}

// jits make machine code while they run.
var jits = map[string]bool{
	"java": true, "node": true, "nodejs": true, "deno": true, "bun": true, "dotnet": true, "mono": true, "luajit": true, "php": true, "php-fpm": true, "pypy": true, "ruby": true,
	"chrome": true, "chromium": true, "firefox": true, "electron": true, "qemu-system-x86_64": true, "qemu-x86_64": true, "qemu-aarch64": true, "wine": true, "wasmtime": true, "wasmer": true,
	"beam.smp": true, "julia": true, "postgres": true, "clickhouse-server": true, "racket": true, "sbcl": true, "R": true, "pwsh": true,
}

func jit(p *event.Process) bool {
	name := program(p)
	return original(p) && (jits[name] || jits[versioned(name)] || strings.HasPrefix(command.Base(p.ExePath), "qemu-"))
}
