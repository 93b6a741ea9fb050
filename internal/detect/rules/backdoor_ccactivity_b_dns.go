package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/intel"
)

// commandAndControlDNS is Backdoor:Runtime/C&CActivity.B!DNS: a question for a listed name or a name below one. Only the
// question counts, so that question and answer are one occurrence. A resolver that runs as a workload of its own (coredns,
// dnsmasq) asks on behalf of others and makes a finding too, as in GuardDuty: Vedette cannot know whom it trusts.
func commandAndControlDNS() detect.Rule {
	return detect.Rule{
		Type:    "Backdoor:Runtime/C&CActivity.B!DNS",
		Pattern: `{"kind":["dns"],"dns":{"response":[false]},"intel":{"category":["command-and-control"]}}`,
		Detect: func(m *detect.Match) bool {
			d := m.Event.DNS
			m.Listed(intel.CommandAndControl)
			name := strings.ToLower(strings.TrimSuffix(d.Name, "."))
			m.Object = name
			protocol := "UDP"
			if d.Protocol == protocolTCP {
				protocol = "TCP"
			}
			m.Action = finding.Action{ActionType: finding.ActionDNSRequest, DNSRequestAction: &finding.DNSRequestAction{
				Domain: name, DomainWithSuffix: name, Protocol: protocol,
			}}
			asked := ""
			if d.Server.IsValid() {
				asked = " at " + d.Server.Addr().Unmap().String()
			}
			m.Description = fmt.Sprintf("The %s asked for the domain name %s%s. According to %s it belongs to a command and control "+
				"server, so the workload may be under somebody else's control. Look at how the process was started (its lineage) "+
				"and at the connections that followed, and stop the container before it receives commands.",
				m.Who(m.Process), "'"+event.PrintableN(name, 253)+"'", asked, m.ListNames())
			return true
		},
	}
}
