package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// phishingDNS is Trojan:Runtime/PhishingDomainRequest!DNS: a question for a name that is used for phishing.
func phishingDNS() detect.Rule {
	return listedQuestion("Trojan:Runtime/PhishingDomainRequest!DNS", intel.Phishing,
		"is used for phishing: to make people or programs give their secrets away, or to host a page that does. Find out which "+
			"secrets the process has, whether it sent any, and who put the name into its configuration.")
}
