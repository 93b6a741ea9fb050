package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// bitcoinTool is CryptoCurrency:Runtime/BitcoinTool.B: a connection to an address tied to cryptocurrency, such as a mining pool.
func bitcoinTool() detect.Rule {
	return listedConnection("CryptoCurrency:Runtime/BitcoinTool.B", intel.Cryptocurrency,
		"belongs to cryptocurrency mining or trading. Unless that is what this workload is for, somebody is using your machine to earn money. "+
			"Look at how the process was started (its lineage), at its CPU time, and stop it.")
}
