package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// abusedReputation is Impact:Runtime/AbusedDomainRequest.Reputation: a question for a name of low reputation that is tied to abuse, such as
// free and dynamic names.
func abusedReputation() detect.Rule {
	return listedQuestion("Impact:Runtime/AbusedDomainRequest.Reputation", intel.AbusedReputation,
		"has a reputation for abuse: names of this kind cost nothing and change hands quickly, which attackers like. Find out why "+
			"this workload needs it, and look at the connections that followed.")
}
