package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// maliciousReputation is Impact:Runtime/MaliciousDomainRequest.Reputation: a question for a name of low reputation that is tied to malicious
// ones.
func maliciousReputation() detect.Rule {
	return listedQuestion("Impact:Runtime/MaliciousDomainRequest.Reputation", intel.MaliciousReputation,
		"has a low reputation because it is tied to names that are known to be malicious. Look at how the process was started "+
			"(its lineage), at the connections that followed and at what it downloaded.")
}
