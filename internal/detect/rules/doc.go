// Package rules holds the detections, one file per finding type. Each file gives the pattern that lets events through, the
// function that looks closer, and the words of the finding: what happened, why it matters, and what to look at next.
//
// [All] is what an engine runs. The rules see one goroutine only; what they remember is bounded, and says so where it is.
package rules

import "vedette.dev/vedette/internal/detect"

// All returns every rule, with empty state. Each engine needs its own.
func All() []detect.Rule {
	return []detect.Rule{
		commandAndControl(),
		commandAndControlDNS(),
		processInjectionPtrace(),
		newBinaryExecuted(),
		reverseShell(),
		dockerSocketAccessed(),

		cryptoMinerExecuted(),
		suspiciousTool(),
		executionCommand(),
		defenseEvasionCommand(),
		privilegeEscalationCommand(),
		persistenceCommand(),
		discoveryCommand(),
		suspiciousShell(),
		persistenceFile(),
		privilegeFile(),
		evasionFile(),
		processInjectionProc(),
		processInjectionWrite(),
		ptraceAntiDebugging(),
		filelessExecution(),
		kernelModuleLoaded(),
		newLibraryLoaded(),
		runcEscape(),
		releaseAgent(),
		containerMounts(),
		userfaultfdUsage(),
		elevationToRoot(),

		bitcoinTool(),
		bitcoinToolDNS(),
		torClient(),
		torRelay(),
		blackHole(),
		blackHoleDNS(),
		dropPoint(),
		dropPointDNS(),
		dgaDNS(),
		driveByDNS(),
		phishingDNS(),
		abusedReputation(),
		bitcoinReputation(),
		maliciousReputation(),
		suspiciousReputation(),
		metadataRebind(),
		maliciousFile(),
		maliciousFileCustom(),
	}
}
