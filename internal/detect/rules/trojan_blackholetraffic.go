package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// blackHole is Trojan:Runtime/BlackholeTraffic: a connection to an address to which the traffic of malicious software is diverted.
func blackHole() detect.Rule {
	return listedConnection("Trojan:Runtime/BlackholeTraffic", intel.BlackHole,
		"is a black hole: traffic of malicious software is diverted there after its real servers were taken away. The program that "+
			"calls it is probably still at work here. Look at where the process and its executable came from, and remove them.")
}
