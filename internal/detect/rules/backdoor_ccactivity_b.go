package rules

import (
	"fmt"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// commandAndControl is Backdoor:Runtime/C&CActivity.B: connect(2), over any protocol and whether or not it succeeds, to an
// address on a list of command and control servers. The attempt counts because the process wanted to go there: a refused or
// still pending connection says as much about the process as an established one.
func commandAndControl() detect.Rule {
	return detect.Rule{
		Type:    "Backdoor:Runtime/C&CActivity.B",
		Pattern: `{"kind":["connect"],"intel":{"category":["command-and-control"]}}`,
		Detect: func(m *detect.Match) bool {
			s := m.Event.Connect
			if s.Remote.Port() == 0 && detect.Protocol(s) == protocolUDP {
				// A resolver library asks the kernel which source address it would choose; no packet can go to port 0.
				return false
			}
			m.Listed(intel.CommandAndControl)
			remote := s.Remote.Addr().Unmap()
			m.Object = remote.String()
			m.Action = detect.Connection(s.Local, s.Remote, detect.Protocol(s), "OUTBOUND")
			m.Context = finding.Context{AddressFamily: detect.FamilyName(remote), IANAProtocolNumber: int(detect.Protocol(s))}
			m.Description = fmt.Sprintf("The %s %s to %s%s%s. According to %s this address is a command and control server, "+
				"so the workload may be under somebody else's control. Look at how the process was started (its lineage), at "+
				"what else it did, and stop the container before it receives more commands.",
				m.Who(m.Process), m.Did("connected", "tried to connect"), remote, port(s), m.Outcome(), m.ListNames())
			return true
		},
	}
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
