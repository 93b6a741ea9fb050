package rules

import (
	"fmt"
	"strings"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// blackHoleDNS is Trojan:Runtime/BlackholeTraffic!DNS: a question for a name that a list says is diverted to a black hole, or
// an answer with a black hole's address.
func blackHoleDNS() detect.Rule {
	return detect.Rule{
		Type: "Trojan:Runtime/BlackholeTraffic!DNS",
		Pattern: `{"kind":["dns"],"$or":[
			{"dns":{"response":[false]},"intel":{"category":["black-hole"]}},
			{"dns":{"response":[true],"answerCategory":["black-hole"]}}]}`,
		Detect: func(m *detect.Match) bool {
			which := "it"
			if m.Event.DNS.Response {
				// The question for a listed name was reported when it was asked.
				if m.Listed(intel.BlackHole) || !m.AnswerListed(intel.BlackHole) {
					return false
				}
				var ips []string
				for i, a := range m.Event.DNS.Answers {
					if i == 4 {
						break
					}
					ips = append(ips, a.Unmap().String())
				}
				which = "the answer (" + strings.Join(ips, ", ") + ")"
			} else if !m.Listed(intel.BlackHole) {
				return false
			}
			question(m)
			m.Description = fmt.Sprintf("The %s. According to %s %s leads to a black hole, to which the traffic of malicious software is "+
				"diverted after its real servers were taken away. The program that asks is probably still at work here. Look at where the "+
				"process and its executable came from, and remove them.", asked(m), m.ListNames(), which)
			return true
		},
	}
}
