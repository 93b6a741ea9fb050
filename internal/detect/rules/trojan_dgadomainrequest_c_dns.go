package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// dgaDNS is Trojan:Runtime/DGADomainRequest.C!DNS: a question for a name that is known to be made up by malicious software. As in
// GuardDuty it goes by lists of such names, not by how a name looks.
func dgaDNS() detect.Rule {
	return listedQuestion("Trojan:Runtime/DGADomainRequest.C!DNS", intel.DGA,
		"is made up by an algorithm: malicious software makes such names to find its controller wherever that has moved. "+
			"Look for many other names asked by the same process, at how it was started (its lineage), and isolate the container.")
}
