package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// dropPointDNS is Trojan:Runtime/DropPoint!DNS: a question for the name of a place that is known to hold stolen data.
func dropPointDNS() detect.Rule {
	return listedQuestion("Trojan:Runtime/DropPoint!DNS", intel.DropPoint,
		"belongs to a place where stolen credentials and other data are kept. Find out which files and secrets the process could "+
			"read, change those secrets, and look at how it was started (its lineage).")
}
