package rules

import (
	"fmt"
	"slices"
	"strings"

	"vedette.dev/vedette/internal/detect"
)

// metadataRebind is UnauthorizedAccess:Runtime/MetadataDNSRebind: a name resolved to the address of the instance metadata
// service, which gives the machine's credentials to whoever can make a program on it fetch a page. The names that the clouds
// themselves give that service are left out.
func metadataRebind() detect.Rule {
	return detect.Rule{
		Type: "UnauthorizedAccess:Runtime/MetadataDNSRebind",
		Pattern: `{"kind":["dns"],"dns":{"response":[true],"answers":[{"prefix":"169.254."},{"prefix":"::ffff:169.254."},
			{"prefix":"fd00:ec2:"},{"prefix":"64:ff9b::"}]}}`,
		Detect: func(m *detect.Match) bool {
			if !slices.ContainsFunc(m.Event.DNS.Answers, metadata) {
				return false
			}
			question(m)
			if metadataNames[m.Object] || strings.HasSuffix(m.Object, ".ec2.internal") {
				return false
			}
			m.Description = fmt.Sprintf("The %s, and the answer was the address of the instance metadata service. Whoever owns such a name can make "+
				"a program that believes it fetches a page from the internet fetch the machine's credentials instead (DNS rebinding). Find "+
				"out where the name came from, whether the process connected to the service afterwards, and require IMDSv2.", asked(m))
			return true
		},
	}
}

// metadataNames are names by which clouds offer the service themselves.
var metadataNames = map[string]bool{"instance-data": true, "metadata": true, "metadata.google.internal": true, "metadata.azure.internal": true}
