package rules

import "vedette.dev/vedette/internal/detect"

// evasionFile is DefenseEvasion:Runtime/SensitiveFileModified: logs, the configuration of auditing or a history of commands are changed, together with other suspicious
// activity. See sensitiveFile.
func evasionFile() detect.Rule {
	return sensitiveFile("DefenseEvasion:Runtime/SensitiveFileModified", detect.SensitiveEvasion,
		"It records, or decides what is recorded; who changes it wants something not to be seen. Look at copies of it elsewhere, and at what the process did before.")
}
