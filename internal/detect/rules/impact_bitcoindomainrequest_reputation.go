package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// bitcoinReputation is Impact:Runtime/BitcoinDomainRequest.Reputation: a question for a name of low reputation that is tied to cryptocurrency.
func bitcoinReputation() detect.Rule {
	return listedQuestion("Impact:Runtime/BitcoinDomainRequest.Reputation", intel.CryptocurrencyReputation,
		"has a low reputation and is tied to cryptocurrency. Unless that is what this workload is for, somebody may be mining on "+
			"your machine. Look at how the process was started (its lineage) and at its CPU time.")
}
