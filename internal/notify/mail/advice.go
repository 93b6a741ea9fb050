package mail

import "strings"

// adviceFor returns what somebody who gets this finding should look at, the most urgent first. It is chosen by the longest
// entry of the table that the type begins with.
func adviceFor(findingType string) []string {
	best, advice := -1, adviceDefault
	for prefix, list := range adviceTable {
		if len(prefix) > best && strings.HasPrefix(findingType, prefix) {
			best, advice = len(prefix), list
		}
	}
	return advice
}

var adviceDefault = []string{
	"Is this something that the image is meant to do? Ask whoever builds it, and look at the process tree above.",
	"If not: isolate the task, keep a copy of its file system and memory, then replace it from a known image.",
	"Look at the other findings of the same container and of the same image on other hosts.",
}

var adviceNetwork = []string{
	"Which process connects, and was it in the image? The process tree above shows what started it.",
	"Block the address at the network's edge and look in flow logs for other containers that talk to it.",
	"Isolate the task before you stop it, so that its memory and files can still be looked at.",
	"Rotate the credentials that the container could read: its task role, environment and mounted secrets.",
}

var adviceDomain = []string{
	"Which process asks for the name, and was it in the image? The process tree above shows what started it.",
	"Look in the resolver's log for who else asks, and block the name there.",
	"A resolver that asks for others shows up here itself: then its clients are what to look for.",
	"Isolate the task and rotate the credentials that it could read if the question was not meant.",
}

var adviceBinary = []string{
	"Where did the file come from? \"Written by\" above names the process, if it was seen.",
	"Compare its SHA-256 with what is known about it, and keep a copy before you replace the task.",
	"If the image installs or compiles programs when it starts, move that into the build of the image and archive this finding.",
	"A read-only root file system stops this kind of attack altogether.",
}

var adviceInjection = []string{
	"Is a debugger or profiler at work on purpose? If so, archive this finding.",
	"If not, treat both processes as compromised, and whatever the target knew: keys, tokens, sessions.",
	"Does the container need the capability SYS_PTRACE? Take it away where it does not.",
}

var adviceEscape = []string{
	"Assume that the host is compromised, and with it every container on it, until you know better.",
	"Look for containers that were started on the host outside the orchestrator, and for new users, keys and jobs on it.",
	"Take away the privilege, mount or capability that made this possible, then replace the task and the host.",
}

var adviceFile = []string{
	"What was changed? Compare the file with the one in the image.",
	"Look for log-ins, jobs or start-up scripts that appeared at the time given above.",
	"Replace the task from a known image; on a host, restore the file and rotate what it protects.",
}

var adviceTable = map[string][]string{
	"Backdoor:Runtime/C&CActivity.B":     adviceNetwork,
	"Backdoor:Runtime/C&CActivity.B!DNS": adviceDomain,
	"CryptoCurrency:Runtime/": {
		"Look at the CPU use of the task: a miner is seldom shy.",
		"How did it get in? Look at the process tree above and at what the container offers to the network.",
		"Isolate and replace the task, and rotate the credentials that it could read.",
	},
	"Impact:Runtime/CryptoMinerExecuted": {
		"Look at the CPU use of the task, and stop the miner by replacing the task from a known image.",
		"How did it get in? Look at the process tree above and at what the container offers to the network.",
		"Rotate the credentials that the container could read.",
	},
	"Impact:Runtime/":                            adviceDomain,
	"Trojan:Runtime/":                            adviceNetwork,
	"Trojan:Runtime/DGADomainRequest":            adviceDomain,
	"Trojan:Runtime/DriveBySourceTraffic":        adviceDomain,
	"Trojan:Runtime/PhishingDomainRequest":       adviceDomain,
	"UnauthorizedAccess:Runtime/Tor":             adviceNetwork,
	"Execution:Runtime/NewBinaryExecuted":        adviceBinary,
	"Execution:Runtime/NewLibraryLoaded":         adviceBinary,
	"Execution:Runtime/MaliciousFileExecuted":    adviceBinary,
	"DefenseEvasion:Runtime/FilelessExecution":   adviceBinary,
	"DefenseEvasion:Runtime/ProcessInjection":    adviceInjection,
	"DefenseEvasion:Runtime/PtraceAntiDebugging": adviceInjection,
	"Execution:Runtime/ReverseShell": {
		"Somebody may be typing in this container now: isolate it from the network first, and stop it later.",
		"What was open to the network in it? The parent in the process tree above is most likely how they came in.",
		"Look for the address above in the flow logs of all other containers.",
		"Rotate the credentials that the container could read: its task role, environment and mounted secrets.",
	},
	"PrivilegeEscalation:Runtime/": adviceEscape,
	"PrivilegeEscalation:Runtime/DockerSocketAccessed": {
		"Is this container meant to drive the container engine? If so, archive this finding; if not, take the socket's mount away.",
		"Whoever can talk to that socket is root on the host: look there for containers that were started around this time.",
		"Isolate the task, and treat the host as compromised until you know what was asked of the engine.",
	},
	"Persistence:Runtime/":                              adviceFile,
	"DefenseEvasion:Runtime/SensitiveFileModified":      adviceFile,
	"PrivilegeEscalation:Runtime/SensitiveFileModified": adviceFile,
	"UnauthorizedAccess:Runtime/MetadataDNSRebind": {
		"Which process asked, and which requests does it take from outside? This is how credentials of a role are stolen through a web application.",
		"Require IMDSv2 with a hop limit of 1, or block the metadata address for containers.",
		"Rotate the credentials of the role if you cannot rule out that they were read.",
	},
}
