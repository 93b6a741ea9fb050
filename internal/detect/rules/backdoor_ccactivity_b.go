package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// commandAndControl is Backdoor:Runtime/C&CActivity.B: a connection to an address on a list of command and control servers.
func commandAndControl() detect.Rule {
	return listedConnection("Backdoor:Runtime/C&CActivity.B", intel.CommandAndControl,
		"is a command and control server, so the workload may be under somebody else's control. Look at how the process was started "+
			"(its lineage), at what else it did, and stop the container before it receives more commands.")
}
