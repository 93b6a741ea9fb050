package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// dropPoint is Trojan:Runtime/DropPoint: a connection to an address that is known to hold stolen data.
func dropPoint() detect.Rule {
	return listedConnection("Trojan:Runtime/DropPoint", intel.DropPoint,
		"is a place where stolen credentials and other data are kept. Find out which files and secrets the process could read, "+
			"change those secrets, and look at how it was started (its lineage).")
}
