package intel

import "slices"

// The categories of lists of addresses and domain names: what it means when a workload talks to an entry of one, or asks for
// its name.
const (
	CommandAndControl        = "command-and-control"
	Cryptocurrency           = "cryptocurrency"
	TorRelay                 = "tor-relay"
	TorGuard                 = "tor-guard"
	TorAuthority             = "tor-authority"
	BlackHole                = "black-hole"
	DropPoint                = "drop-point"
	DGA                      = "dga" // made by a domain generation algorithm
	DriveBy                  = "drive-by"
	Phishing                 = "phishing"
	AbusedReputation         = "abused-reputation"
	CryptocurrencyReputation = "cryptocurrency-reputation"
	MaliciousReputation      = "malicious-reputation"
	SuspiciousReputation     = "suspicious-reputation"
)

// The categories of lists of files, by SHA-256.
const (
	Malware       = "malware"
	CustomMalware = "custom-malware" // on a list that the user has made
	Tool          = "tool"           // offensive or dual-use tools
	Miner         = "miner"          // programs that mine cryptocurrency
)

// Trusted is the category of lists whose entries make no findings, whatever other lists say.
const Trusted = "trusted"

var (
	hostCategories = []string{
		CommandAndControl, Cryptocurrency, TorRelay, TorGuard, TorAuthority, BlackHole, DropPoint, DGA, DriveBy, Phishing,
		AbusedReputation, CryptocurrencyReputation, MaliciousReputation, SuspiciousReputation,
	}
	fileCategories = []string{Malware, CustomMalware, Tool, Miner}
)

// HostCategories returns the categories that a list of addresses and domain names may have.
func HostCategories() []string { return slices.Clone(hostCategories) }

// FileCategories returns the categories that a list of files may have.
func FileCategories() []string { return slices.Clone(fileCategories) }

// builtin returns the list that every server has, by domain name. It holds the names that AWS documents for testing
// GuardDuty, each in its category, so that its test scripts work here. The longest name that fits decides.
func builtin() map[string]*List {
	names := map[string]*List{}
	for _, entry := range []struct{ category, name string }{
		{CommandAndControl, "guarddutyc2activityb.com"}, // also c2. below it
		{Cryptocurrency, "crypto.guarddutyc2activityb.com"},
		{AbusedReputation, "abused-rep.guarddutyc2activityb.com"},
		{CryptocurrencyReputation, "crypto-rep.guarddutyc2activityb.com"},
		{MaliciousReputation, "malicious-rep.guarddutyc2activityb.com"},
		{SuspiciousReputation, "suspicious-rep.guarddutyc2activityb.com"},
		{BlackHole, "guarddutyblackholeactivity.com"},
		{DGA, "guarddutydgaactivity.com"},
		{DriveBy, "guarddutydrivebyactivity.com"},
		{DropPoint, "guarddutydroppointactivity.com"},
		{Phishing, "guarddutyphishingactivity.com"},
	} {
		names[entry.name] = &List{Name: "Vedette built-in test domains", Category: entry.category, ThreatNames: []string{"Test domain"}}
	}
	return names
}
