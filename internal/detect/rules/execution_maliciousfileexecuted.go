package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// maliciousFile is Execution:Runtime/MaliciousFileExecuted: an executable whose content is known to be malicious.
func maliciousFile() detect.Rule {
	return listedFile("Execution:Runtime/MaliciousFileExecuted", intel.Malware)
}
