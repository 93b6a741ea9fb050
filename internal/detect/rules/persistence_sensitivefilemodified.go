package rules

import "vedette.dev/vedette/internal/detect"

// persistenceFile is Persistence:Runtime/SensitiveFileModified: keys, accounts, scheduled tasks or start-up files are changed, together with other suspicious
// activity. See sensitiveFile.
func persistenceFile() detect.Rule {
	return sensitiveFile("Persistence:Runtime/SensitiveFileModified", detect.SensitivePersistence,
		"It decides who may log in or what starts by itself, which is how an intruder comes back. Look at what was changed in it, and take it back if nobody of yours did it.")
}
