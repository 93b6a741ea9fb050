package rules

import (
	"net/netip"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
)

// The bounds of what the rule for reverse shells remembers.
const (
	maxPlaces  = 2048
	maxDialers = 128
	maxShells  = 32
	maxPorts   = 256
)

// places holds the state of each container and host. When there are too many, the one that was made first is forgotten.
type places struct {
	byName map[detect.Place]*shellPlace
	order  []detect.Place // ring
	next   int
}

func newPlaces() *places { return &places{byName: make(map[detect.Place]*shellPlace)} }

// of returns the state of the place of an event; nil where there is none and make is false.
func (ps *places) of(m *detect.Match, make bool) *shellPlace {
	name := m.Place()
	s := ps.byName[name]
	if s != nil || !make {
		return s
	}
	name = name.Clone()
	if len(ps.order) < maxPlaces {
		ps.order = append(ps.order, name)
	} else {
		delete(ps.byName, ps.order[ps.next])
		ps.order[ps.next] = name
		ps.next = (ps.next + 1) % maxPlaces
	}
	s = newShellPlace()
	ps.byName[name] = s
	return s
}

// shellPlace is what one place has done lately.
type shellPlace struct {
	dialers    []dialer
	index      map[event.UUID]int
	nextDialer int
	shells     []pendingShell // oldest first
	ports      []uint16
	nextPort   int
}

// nowhere is the state of a place that has none.
var nowhere shellPlace

func newShellPlace() *shellPlace { return &shellPlace{index: make(map[event.UUID]int)} }

// dialer is a process that has connected.
type dialer struct {
	uuid          event.UUID
	at            int64
	local         netip.AddrPort
	remotes       [4]netip.AddrPort // the last ones; last is the index of the latest
	last          int
	protocol      uint16
	stdin, stdout uint64 // pipes
	parentStdout  uint64
	parentKnown   bool
	shell         bool
	session       bool
	name          string
}

func (d *dialer) remote() netip.AddrPort { return d.remotes[d.last] }

func (d *dialer) reached(remote netip.AddrPort) bool {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	for _, r := range d.remotes {
		if r == remote {
			return true
		}
	}
	return false
}

// pendingShell is a shell that is not yet known to be driven by a connection.
type pendingShell struct {
	process *event.Process
	at      int64
}

// dial remembers that p connected.
func (s *shellPlace) dial(p *event.Process, c *event.Socket, protocol uint16, at int64) *dialer {
	remote := netip.AddrPortFrom(c.Remote.Addr().Unmap(), c.Remote.Port())
	i, ok := s.index[p.UUID]
	if !ok {
		if len(s.dialers) < maxDialers {
			i = len(s.dialers)
			s.dialers = append(s.dialers, dialer{})
		} else {
			i = s.nextDialer
			s.nextDialer = (i + 1) % maxDialers
			delete(s.index, s.dialers[i].uuid)
		}
		s.index[p.UUID] = i
		s.dialers[i] = dialer{uuid: p.UUID}
	}
	d := &s.dialers[i]
	d.at, d.local, d.protocol = at, c.Local, protocol
	d.last = (d.last + 1) % len(d.remotes)
	d.remotes[d.last] = remote
	d.stdin, d.stdout = pipe(p.Stdin), pipe(p.Stdout)
	d.parentKnown = p.Parent != nil
	if d.parentKnown {
		d.parentStdout = pipe(p.Parent.Stdout)
	}
	if d.name != p.Name {
		d.name = strings.Clone(p.Name)
	}
	d.shell, d.session = shellByName(p), session(p)
	return d
}

// shellByName is enough here: a shell under another name that connects and starts shells is no exception to make.
func shellByName(p *event.Process) bool {
	switch p.ExePath[strings.LastIndexByte(p.ExePath, '/')+1:] {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox":
		return p.Exe.Origin != event.OriginWritten && p.Exe.Origin != event.OriginMemory
	}
	return false
}

func (s *shellPlace) dialer(u event.UUID) *dialer {
	if i, ok := s.index[u]; ok {
		return &s.dialers[i]
	}
	return nil
}

// dialledBy reports whether p, or one of the processes that started it, was seen to connect to remote.
func (s *shellPlace) dialledBy(p *event.Process, remote netip.AddrPort) bool {
	if d := s.dialer(p.UUID); d != nil && d.reached(remote) {
		return true
	}
	for a := range p.Ancestors {
		if d := s.dialer(a.UUID); d != nil && d.reached(remote) {
			return true
		}
	}
	return false
}

// outbound reports whether a connection was made from inside. Where nobody saw it being made, a local port that somebody
// listens on, or that looks like a service's, says that it was not.
func (s *shellPlace) outbound(socket event.Stdio) bool {
	for i := range s.dialers {
		if s.dialers[i].reached(socket.Remote) {
			return true
		}
	}
	local, remote := socket.Local.Port(), socket.Remote.Port()
	for _, port := range s.ports {
		if port == local {
			return false
		}
	}
	// Linux gives clients ports from 32768 on; rsh and the like use reserved ports on both sides.
	const ephemeral = 32768
	return local == 0 || local >= 1024 && (local >= ephemeral || remote < ephemeral)
}

// protocol returns the protocol of a connection; TCP where nobody saw it being made.
func (s *shellPlace) protocol(remote netip.AddrPort) uint16 {
	for i := range s.dialers {
		if s.dialers[i].reached(remote) {
			return s.dialers[i].protocol
		}
	}
	return protocolTCP
}

// bind remembers a port.
func (s *shellPlace) bind(port uint16) {
	for _, p := range s.ports {
		if p == port {
			return
		}
	}
	if len(s.ports) < maxPorts {
		s.ports = append(s.ports, port)
		return
	}
	s.ports[s.nextPort] = port
	s.nextPort = (s.nextPort + 1) % maxPorts
}

// remember keeps a shell until a connection completes the picture.
func (s *shellPlace) remember(p *event.Process, at int64) {
	if len(s.shells) >= maxShells {
		s.shells = append(s.shells[:0], s.shells[1:]...)
	}
	s.shells = append(s.shells, pendingShell{detect.CloneProcess(p), at})
}
