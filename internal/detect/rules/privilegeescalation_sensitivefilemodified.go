package rules

import "vedette.dev/vedette/internal/detect"

// privilegeFile is PrivilegeEscalation:Runtime/SensitiveFileModified: sudo, PAM or other files of authentication are changed, together with other suspicious
// activity. See sensitiveFile.
func privilegeFile() detect.Rule {
	return sensitiveFile("PrivilegeEscalation:Runtime/SensitiveFileModified", detect.SensitivePrivilege,
		"It decides who may become root. Look at what was changed in it, and take it back if nobody of yours did it.")
}
