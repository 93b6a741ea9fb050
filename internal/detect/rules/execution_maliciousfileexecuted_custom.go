package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// maliciousFileCustom is Execution:Runtime/MaliciousFileExecuted.Custom: an executable whose SHA-256 is on a list that the user has uploaded.
func maliciousFileCustom() detect.Rule {
	return listedFile("Execution:Runtime/MaliciousFileExecuted.Custom", intel.CustomMalware)
}
