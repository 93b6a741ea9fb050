package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// suspiciousReputation is Impact:Runtime/SuspiciousDomainRequest.Reputation: a question for a name that is suspicious because it is new or
// hardly used.
func suspiciousReputation() detect.Rule {
	return listedQuestion("Impact:Runtime/SuspiciousDomainRequest.Reputation", intel.SuspiciousReputation,
		"is suspicious because of its age or because hardly anybody uses it. That is no proof of anything; find out why this "+
			"workload needs it.")
}
