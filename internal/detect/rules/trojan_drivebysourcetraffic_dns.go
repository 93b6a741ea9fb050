package rules

import (
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// driveByDNS is Trojan:Runtime/DriveBySourceTraffic!DNS: a question for the name of a source of drive-by downloads.
func driveByDNS() detect.Rule {
	return listedQuestion("Trojan:Runtime/DriveBySourceTraffic!DNS", intel.DriveBy,
		"infects those who visit it. Look at what the process downloaded and whether anything it wrote has been executed, and "+
			"replace the container by a fresh one if so.")
}
