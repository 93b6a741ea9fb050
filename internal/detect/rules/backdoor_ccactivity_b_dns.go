package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// commandAndControlDNS is Backdoor:Runtime/C&CActivity.B!DNS: a question for a listed name or a name below one.
func commandAndControlDNS() detect.Rule {
	return listedQuestion("Backdoor:Runtime/C&CActivity.B!DNS", intel.CommandAndControl,
		"belongs to a command and control server, so the workload may be under somebody else's control. Look at how the process was "+
			"started (its lineage) and at the connections that followed, and stop the container before it receives commands.")
}
