package rules

import (
	"fmt"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// torClient is UnauthorizedAccess:Runtime/TorClient: a connection to a guard or authority of the Tor network, which is where
// clients enter it.
func torClient() detect.Rule {
	return detect.Rule{
		Type:    "UnauthorizedAccess:Runtime/TorClient",
		Pattern: `{"kind":["connect"],"intel":{"category":["tor-guard","tor-authority"]}}`,
		Detect: func(m *detect.Match) bool {
			if !connection(m, intel.TorGuard, intel.TorAuthority) {
				return false
			}
			m.Description = fmt.Sprintf("The %s. According to %s clients enter the Tor network through this address. Tor hides where traffic comes "+
				"from and goes to, and a workload seldom has a reason to hide that from you. Look at how the process was started (its "+
				"lineage) and at what other processes talk to it.", reached(m), m.ListNames())
			return true
		},
	}
}
