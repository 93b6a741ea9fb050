package finding

import "slices"

// Type is one finding type.
type Type struct {
	Name        string
	Severity    float64 // of a finding that has no reason to differ
	Title       string
	Description string
	shape       shape // what a sample of it carries
}

// shape says which members a finding type fills beyond the process.
type shape uint8

const (
	shapeProcess shape = iota
	shapeNetwork       // a NETWORK_CONNECTION action and threat evidence
	shapeDNS           // a DNS_REQUEST action and threat evidence
	shapeRebind        // a DNS_REQUEST action
	shapeBinary
	shapeLibrary
	shapeSocket
	shapeRunc
	shapeReleaseAgent
	shapeMount
	shapeTarget
	shapeMemory
	shapeCommand
	shapeFile
	shapeModule
	shapeShell
	shapeTool
	shapeThreatFile
)

// Lookup returns the type with the given name.
func Lookup(name string) (Type, bool) {
	i, ok := slices.BinarySearchFunc(types, name, func(t Type, name string) int { return compare(t.Name, name) })
	if !ok {
		return Type{}, false
	}
	return types[i], true
}

// Types returns every runtime finding type, by name.
func Types() []Type { return slices.Clone(types) }

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// types is sorted by name.
var types = []Type{
	{"Backdoor:Runtime/C&CActivity.B", SeverityHigh, "A process is communicating with a known command and control server.",
		"A process connected, or tried to connect, to an address that a threat list names as a command and control server.", shapeNetwork},
	{"Backdoor:Runtime/C&CActivity.B!DNS", SeverityHigh, "A process is querying a domain name of a known command and control server.",
		"A process asked for a domain name that a threat list names as belonging to a command and control server.", shapeDNS},
	{"CryptoCurrency:Runtime/BitcoinTool.B", SeverityHigh, "A process is communicating with an address tied to cryptocurrency.",
		"A process connected to an address that is known for cryptocurrency activity.", shapeNetwork},
	{"CryptoCurrency:Runtime/BitcoinTool.B!DNS", SeverityHigh, "A process is querying a domain name tied to cryptocurrency.",
		"A process asked for a domain name that is known for cryptocurrency activity.", shapeDNS},
	{"DefenseEvasion:Runtime/FilelessExecution", SeverityMedium, "A process is executing code from memory.",
		"A process runs a program that exists in memory only and never was a file on disk.", shapeMemory},
	{"DefenseEvasion:Runtime/KernelModuleLoaded", SeverityHigh, "A kernel module was loaded.",
		"A process loaded a module into the running kernel.", shapeModule},
	{"DefenseEvasion:Runtime/ProcessInjection.Proc", SeverityHigh, "Process injection through the proc file system was detected.",
		"A process wrote to the memory of another process through the proc file system.", shapeTarget},
	{"DefenseEvasion:Runtime/ProcessInjection.Ptrace", SeverityMedium, "Process injection via PTRACE was detected.",
		"A process used ptrace to take control of another process.", shapeTarget},
	{"DefenseEvasion:Runtime/ProcessInjection.VirtualMemoryWrite", SeverityHigh, "Process injection through a direct memory write was detected.",
		"A process wrote to the memory of another process with process_vm_writev.", shapeTarget},
	{"DefenseEvasion:Runtime/PtraceAntiDebugging", SeverityLow, "A process is defending itself against debuggers.",
		"A process asked to be traced by its parent, which keeps debuggers away from it.", shapeProcess},
	{"DefenseEvasion:Runtime/SensitiveFileModified", SeverityMedium, "A file that records activity was changed.",
		"A process changed logs, audit configuration or a command history.", shapeFile},
	{"DefenseEvasion:Runtime/SuspiciousCommand", SeverityHigh, "A command that weakens defences was run.",
		"A process ran a command of a kind that is used to switch off or get round protection.", shapeCommand},
	{"Discovery:Runtime/SuspiciousCommand", SeverityLow, "A command that explores the system was run.",
		"A process ran a command of a kind that is used to find out about a system after a break-in.", shapeCommand},
	{"Execution:Runtime/MaliciousFileExecuted", SeverityHigh, "A file known to be malicious was executed.",
		"A process runs an executable whose content is known to be malicious.", shapeThreatFile},
	{"Execution:Runtime/MaliciousFileExecuted.Custom", SeverityHigh, "A file on one of your own threat lists was executed.",
		"A process runs an executable whose SHA-256 is on a threat entity list that you uploaded.", shapeThreatFile},
	{"Execution:Runtime/NewBinaryExecuted", SeverityMedium, "A newly created or recently modified binary was executed in a container.",
		"A process in a container runs an executable that was written after the container had started.", shapeBinary},
	{"Execution:Runtime/NewLibraryLoaded", SeverityMedium, "A newly created or recently modified library was loaded in a container.",
		"A process in a container loaded a library that was written after the container had started.", shapeLibrary},
	{"Execution:Runtime/ReverseShell", SeverityHigh, "A process has created a reverse shell.",
		"A shell takes its commands from a network connection that was made from inside.", shapeShell},
	{"Execution:Runtime/SuspiciousCommand", SeverityMedium, "A suspicious command was run.",
		"A process ran a command of a kind that is used to bring in and start hostile programs.", shapeCommand},
	{"Execution:Runtime/SuspiciousShellCreated", SeverityLow, "A network service started an interactive shell.",
		"A service that can be reached over the network started an interactive shell, which it does not usually need.", shapeProcess},
	{"Execution:Runtime/SuspiciousTool", SeverityHigh, "An offensive security tool was run.",
		"A process runs a tool that is known for scanning, attacking or keeping access to systems.", shapeTool},
	{"Impact:Runtime/AbusedDomainRequest.Reputation", SeverityMedium, "A process is querying a domain name with a reputation for abuse.",
		"A process asked for a domain name of low reputation that is tied to known abused domains.", shapeDNS},
	{"Impact:Runtime/BitcoinDomainRequest.Reputation", SeverityHigh, "A process is querying a low-reputation domain name tied to cryptocurrency.",
		"A process asked for a domain name of low reputation that is tied to cryptocurrency activity.", shapeDNS},
	{"Impact:Runtime/CryptoMinerExecuted", SeverityHigh, "A cryptocurrency miner was executed.",
		"A process runs a program that mines cryptocurrency.", shapeProcess},
	{"Impact:Runtime/MaliciousDomainRequest.Reputation", SeverityHigh, "A process is querying a low-reputation domain name tied to malicious ones.",
		"A process asked for a domain name of low reputation that is tied to known malicious domains.", shapeDNS},
	{"Impact:Runtime/SuspiciousDomainRequest.Reputation", SeverityLow, "A process is querying a suspicious domain name.",
		"A process asked for a domain name that is suspicious because of its age or because hardly anybody uses it.", shapeDNS},
	{"Persistence:Runtime/SensitiveFileModified", SeverityMedium, "A file that decides what starts or who may log in was changed.",
		"A process changed keys, accounts, scheduled tasks or start-up scripts.", shapeFile},
	{"Persistence:Runtime/SuspiciousCommand", SeverityMedium, "A command that keeps access was run.",
		"A process ran a command of a kind that is used to stay on a system over restarts.", shapeCommand},
	{"PrivilegeEscalation:Runtime/CGroupsReleaseAgentModified", SeverityHigh, "A cgroup release agent was changed.",
		"A process tried to change a release_agent file, which makes the kernel run a program on the host.", shapeReleaseAgent},
	{"PrivilegeEscalation:Runtime/ContainerMountsHostDirectory", SeverityMedium, "A container tried to mount a host directory.",
		"A process in a container tried to mount a file system of the host.", shapeMount},
	{"PrivilegeEscalation:Runtime/DockerSocketAccessed", SeverityMedium, "A container is communicating with a docker socket.",
		"A process in a container is communicating with the socket of the container engine.", shapeSocket},
	{"PrivilegeEscalation:Runtime/ElevationToRoot", SeverityMedium, "A process became root in an unusual way.",
		"A process of an ordinary user became root through an unusual setuid program.", shapeProcess},
	{"PrivilegeEscalation:Runtime/RuncContainerEscape", SeverityHigh, "An escape from a container through runc was tried.",
		"A process in a container tried to reach the host through the container runtime's own program.", shapeRunc},
	{"PrivilegeEscalation:Runtime/SensitiveFileModified", SeverityMedium, "A file that decides who may become root was changed.",
		"A process changed sudo, PAM or other authentication files.", shapeFile},
	{"PrivilegeEscalation:Runtime/SuspiciousCommand", SeverityMedium, "A command that raises privileges was run.",
		"A process ran a command of a kind that is used to gain higher privileges.", shapeCommand},
	{"PrivilegeEscalation:Runtime/UserfaultfdUsage", SeverityMedium, "A process used userfaultfd.",
		"A process used the system call userfaultfd, which exploits use to win races in the kernel.", shapeProcess},
	{"Trojan:Runtime/BlackholeTraffic", SeverityMedium, "A process is communicating with a known black hole.",
		"A process connected to an address to which the traffic of malicious software is diverted.", shapeNetwork},
	{"Trojan:Runtime/BlackholeTraffic!DNS", SeverityMedium, "A process is querying a black-holed domain name.",
		"A process asked for a domain name that is diverted to a black hole.", shapeDNS},
	{"Trojan:Runtime/DGADomainRequest.C!DNS", SeverityHigh, "A process is querying an algorithmically generated domain name.",
		"A process asked for a domain name of a kind that malicious software makes up to find its controller.", shapeDNS},
	{"Trojan:Runtime/DriveBySourceTraffic!DNS", SeverityHigh, "A process is querying the domain name of a drive-by download source.",
		"A process asked for a domain name that is known to infect its visitors.", shapeDNS},
	{"Trojan:Runtime/DropPoint", SeverityMedium, "A process is communicating with a place where stolen data is kept.",
		"A process connected to an address that is known to hold credentials and other stolen data.", shapeNetwork},
	{"Trojan:Runtime/DropPoint!DNS", SeverityMedium, "A process is querying the domain name of a place where stolen data is kept.",
		"A process asked for a domain name that is known to hold credentials and other stolen data.", shapeDNS},
	{"Trojan:Runtime/PhishingDomainRequest!DNS", SeverityHigh, "A process is querying a phishing domain name.",
		"A process asked for a domain name that is used for phishing.", shapeDNS},
	{"UnauthorizedAccess:Runtime/MetadataDNSRebind", SeverityHigh, "A domain name resolves to the instance metadata service.",
		"A process asked for a domain name whose answer was the address of the instance metadata service.", shapeRebind},
	{"UnauthorizedAccess:Runtime/TorClient", SeverityHigh, "A process is connecting to a Tor guard or authority node.",
		"A process connected to an address through which clients enter the Tor network.", shapeNetwork},
	{"UnauthorizedAccess:Runtime/TorRelay", SeverityHigh, "A process is behaving like a Tor relay.",
		"A process makes connections to the Tor network in the way in which a relay does.", shapeNetwork},
}
