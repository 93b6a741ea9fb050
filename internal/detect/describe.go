package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// Who describes a process and where it runs, for the middle of a sentence:
//
//	process 'nc' (/tmp/nc, pid 2451, user root), started by 'sh', in container 'app' (image 'shop/web:1') of task web:42
func (m *Match) Who(p *event.Process) string {
	var b strings.Builder
	b.WriteString("process " + Name(p))
	b.WriteString(" (")
	if p.ExePath != "" && event.PrintableN(p.ExePath, 200) != event.PrintableN(p.Name, 200) {
		b.WriteString(event.PrintableN(p.ExePath, 200) + ", ")
	}
	fmt.Fprintf(&b, "pid %d, user %s)", p.PID, user(p))
	if p.Parent != nil {
		b.WriteString(", started by " + Name(p.Parent) + ",")
	}
	b.WriteString(" " + m.Where())
	return b.String()
}

// Where describes where the event happened: "in container 'app' (image 'x')" or "on host 'h'".
func (m *Match) Where() string {
	c := m.Event.Container
	if c == nil {
		name := m.Host.Name
		if name == "" {
			name = m.Host.ID
		}
		return "on host " + finding.Quote(name)
	}
	name := c.Name
	if c.Task != nil && c.Task.ContainerName != "" {
		name = c.Task.ContainerName
	}
	if name == "" {
		name = c.ID[:min(12, len(c.ID))]
	}
	s := "in container " + finding.Quote(name)
	if c.Image != "" {
		s += " (image " + finding.Quote(c.Image) + ")"
	}
	if c.Task != nil && c.Task.Family != "" {
		s += " of task definition " + finding.Quote(c.Task.Family+":"+c.Task.Revision)
	}
	return s
}

// Name is a process's name in quotes.
func Name(p *event.Process) string {
	switch {
	case p.Name != "":
		return finding.Quote(p.Name)
	case p.ExePath != "":
		return finding.Quote(base(p.ExePath))
	}
	return "of unknown name"
}

func user(p *event.Process) string {
	switch {
	case p.User != "":
		return event.PrintableN(p.User, 64)
	case p.UID == 0:
		return "root"
	}
	return fmt.Sprint(p.UID)
}

// Failed reports whether the event is an attempt that failed. A connection that is still being made has not.
func (m *Match) Failed() bool {
	switch syscall.Errno(m.Event.Errno) {
	case 0, unix.EINPROGRESS, unix.EINTR, unix.EALREADY:
		return false
	}
	return true
}

// Outcome describes an attempt that failed: ", which failed with ECONNREFUSED", or "".
func (m *Match) Outcome() string {
	if !m.Failed() {
		return ""
	}
	return ", which failed with " + errnoName(m.Event.Errno)
}

// Did returns did for what happened and tried for an attempt that failed.
func (m *Match) Did(did, tried string) string {
	if m.Failed() {
		return tried
	}
	return did
}

func errnoName(n int32) string {
	if name := unix.ErrnoName(syscall.Errno(n)); name != "" {
		return name
	}
	return fmt.Sprintf("error %d", n)
}

// Listed fills in the threat evidence of the lists of the given categories, and reports whether there is any.
func (m *Match) Listed(categories ...string) bool {
	return m.evidence(m.Facts.Listed(), categories)
}

// AnswerListed does the same for the lists that hold an address of a DNS answer.
func (m *Match) AnswerListed(categories ...string) bool {
	return m.evidence(m.Facts.AnswerListed(), categories)
}

func (m *Match) evidence(lists []*intel.List, categories []string) bool {
	for _, l := range lists {
		if !slices.Contains(categories, l.Category) {
			continue
		}
		m.Threat = append(m.Threat, finding.ThreatIntelligenceDetail{ThreatListName: l.Name, ThreatNames: l.ThreatNames})
		if m.Info.ThreatListName == "" {
			m.Info.ThreatListName = l.Name
			if len(l.ThreatNames) > 0 {
				m.Info.ThreatName = l.ThreatNames[0]
			}
		}
	}
	return len(m.Threat) > 0
}

// Connection returns the action of a connection from local to remote.
func Connection(local, remote netip.AddrPort, protocol uint16, direction string) finding.Action {
	a := &finding.NetworkConnectionAction{
		ConnectionDirection: direction,
		Protocol:            protocolName(protocol),
		LocalPortDetails:    finding.PortOf(local.Port()),
		RemoteIPDetails:     finding.IPOf(remote.Addr()),
		RemotePortDetails:   finding.PortOf(remote.Port()),
	}
	if ip := local.Addr().Unmap(); ip.IsValid() && !ip.IsUnspecified() {
		a.LocalIPDetails = finding.IPOf(ip)
	}
	return finding.Action{ActionType: finding.ActionNetworkConnection, NetworkConnectionAction: a}
}

func protocolName(protocol uint16) string {
	switch protocol {
	case 1, 58:
		return "ICMP"
	case 6:
		return "TCP"
	case 17:
		return "UDP"
	}
	return fmt.Sprint(protocol)
}

// Protocol returns the IANA number of a socket's protocol, which 0 leaves to the socket's type.
func Protocol(s *event.Socket) uint16 {
	if s.Protocol == 0 {
		switch s.Type & 0xf {
		case sockStream:
			return 6
		case sockDgram:
			return 17
		}
	}
	return s.Protocol
}

// FamilyName is the name of an address family.
func FamilyName(a netip.Addr) string {
	if a.Unmap().Is4() {
		return "AF_INET"
	}
	return "AF_INET6"
}

// ListNames names the lists of one category for a sentence.
func (m *Match) ListNames() string {
	names := make([]string, 0, len(m.Threat))
	for _, t := range m.Threat {
		names = append(names, finding.Quote(t.ThreatListName))
	}
	if len(names) == 1 {
		return "threat list " + names[0]
	}
	return "threat lists " + strings.Join(names, ", ")
}
