package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// bitcoinToolDNS is CryptoCurrency:Runtime/BitcoinTool.B!DNS: a question for a name tied to cryptocurrency, such as a mining pool.
func bitcoinToolDNS() detect.Rule {
	return listedQuestion("CryptoCurrency:Runtime/BitcoinTool.B!DNS", intel.Cryptocurrency,
		"belongs to cryptocurrency mining or trading. Unless that is what this workload is for, somebody is using your machine to earn "+
			"money. Look at how the process was started (its lineage), at its CPU time, and stop it.")
}
