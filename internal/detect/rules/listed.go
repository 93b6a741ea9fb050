package rules

import (
	"fmt"
	"net/netip"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
)

// connection fills in the action, the context and the object of a finding about a connection to a listed address, and
// reports whether it is one: a connection over any protocol, whether or not it succeeds. The attempt counts because the
// process wanted to go there.
func connection(m *detect.Match, categories ...string) bool {
	s := m.Event.Connect
	if s.Remote.Port() == 0 && detect.Protocol(s) == protocolUDP {
		// A resolver library asks the kernel which source address it would choose; no packet can go to port 0.
		return false
	}
	if !m.Listed(categories...) {
		return false
	}
	remote := s.Remote.Addr().Unmap()
	m.Object = remote.String()
	m.Action = detect.Connection(s.Local, s.Remote, detect.Protocol(s), "OUTBOUND")
	m.Context = finding.Context{AddressFamily: detect.FamilyName(remote), IANAProtocolNumber: int(detect.Protocol(s))}
	return true
}

// reached says who connected where: "process 'x' … connected to 198.51.100.7 port 443, which failed with …".
func reached(m *detect.Match) string {
	s := m.Event.Connect
	return fmt.Sprintf("%s %s to %s%s%s", m.Who(m.Process), m.Did("connected", "tried to connect"), s.Remote.Addr().Unmap(), port(s), m.Outcome())
}

// port names the port of a connection, or the protocol of one that has no ports.
func port(s *event.Socket) string {
	if n := s.Remote.Port(); n != 0 {
		return fmt.Sprintf(" port %d", n)
	}
	switch detect.Protocol(s) {
	case protocolICMP, protocolICMPv6:
		return " by ICMP"
	}
	return fmt.Sprintf(" by IP protocol %d", detect.Protocol(s))
}

// question fills in the action and the object of a finding about a DNS question. Only the question counts, so that question
// and answer are one occurrence. A resolver that runs as a workload of its own (coredns, dnsmasq) asks on behalf of others
// and makes a finding too, as in GuardDuty: Vedette cannot know whom it trusts.
func question(m *detect.Match) {
	d := m.Event.DNS
	name := strings.ToLower(strings.TrimSuffix(d.Name, "."))
	m.Object = name
	protocol := "UDP"
	if d.Protocol == protocolTCP {
		protocol = "TCP"
	}
	m.Action = finding.Action{ActionType: finding.ActionDNSRequest, DNSRequestAction: &finding.DNSRequestAction{
		Domain: name, DomainWithSuffix: name, Protocol: protocol,
	}}
}

// asked says who asked for what: "process 'x' … asked for the domain name 'y' at 10.0.0.2".
func asked(m *detect.Match) string {
	at := ""
	if server := m.Event.DNS.Server; server.IsValid() {
		at = " at " + server.Addr().Unmap().String()
	}
	return fmt.Sprintf("%s asked for the domain name '%s'%s", m.Who(m.Process), event.PrintableN(m.Object, 253), at)
}

// listedQuestion is a rule for questions about names in lists of one category. Meaning continues "According to LIST it …".
func listedQuestion(typ, category, meaning string) detect.Rule {
	return detect.Rule{
		Type:    typ,
		Pattern: `{"kind":["dns"],"dns":{"response":[false]},"intel":{"category":["` + category + `"]}}`,
		Detect: func(m *detect.Match) bool {
			if !m.Listed(category) {
				return false
			}
			question(m)
			m.Description = fmt.Sprintf("The %s. According to %s it %s", asked(m), m.ListNames(), meaning)
			return true
		},
	}
}

// listedConnection is a rule for connections to addresses in lists of one category. Meaning continues "According to LIST this
// address …".
func listedConnection(typ, category, meaning string) detect.Rule {
	return detect.Rule{
		Type:    typ,
		Pattern: `{"kind":["connect"],"intel":{"category":["` + category + `"]}}`,
		Detect: func(m *detect.Match) bool {
			if !connection(m, category) {
				return false
			}
			m.Description = fmt.Sprintf("The %s. According to %s this address %s", reached(m), m.ListNames(), meaning)
			return true
		},
	}
}

// listedFile is a rule for executables whose SHA-256 is in lists of one category.
func listedFile(typ, category string) detect.Rule {
	return detect.Rule{
		Type:    typ,
		Pattern: `{"kind":["exec"],"errno":[0],"intel":{"category":["` + category + `"]}}`,
		Detect: func(m *detect.Match) bool {
			if !m.Listed(category) {
				return false
			}
			p := m.Process
			m.Object = p.SHA256
			for i := range m.Threat {
				m.Threat[i].ThreatFileSHA256 = p.SHA256
			}
			m.Context = finding.Context{ThreatFilePath: p.ExePath}
			m.Description = fmt.Sprintf("The %s runs the file '%s', whose SHA-256 (%s) is on %s. The content of the file is what counts: its name and "+
				"place may differ each time. Isolate the container, find out who wrote the file and when, look for the same content "+
				"elsewhere, and replace the container by a fresh one.", m.Who(p), event.PrintableN(p.ExePath, 200), p.SHA256, m.ListNames())
			return true
		},
	}
}

// metadata reports whether an address is that of the instance metadata service, in any of its forms.
func metadata(a netip.Addr) bool {
	a = a.Unmap()
	if b := a.As16(); a.Is6() && nat64.Contains(a) {
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a == metadata4 || a == metadata6
}

var (
	metadata4 = netip.MustParseAddr("169.254.169.254")
	metadata6 = netip.MustParseAddr("fd00:ec2::254")
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
)
