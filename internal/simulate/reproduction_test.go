package simulate_test

import (
	"net/netip"
	"strings"
	"testing"

	"vedette.dev/vedette/internal/simulate"
)

func TestReproductionsAreWellFormed(t *testing.T) {
	types := map[string]bool{}
	for _, r := range simulate.All() {
		if types[r.Type] || r.Type == "" || r.Summary == "" {
			t.Errorf("reproduction %q: repeated or not described", r.Type)
		}
		types[r.Type] = true
		names, plain := map[string]bool{}, 0
		for _, technique := range r.Techniques {
			if names[technique.Name] || technique.Name == "" || technique.Summary == "" || technique.Type != r.Type {
				t.Errorf("%s: technique %q: repeated or not described", r.Type, technique.Name)
			}
			names[technique.Name] = true
			if technique.Evades == "" {
				plain++
			}
		}
		if len(r.Techniques) < 3 || plain < 2 {
			t.Errorf("%s has %d techniques, %d of them ordinary", r.Type, len(r.Techniques), plain)
		}
		if again, ok := simulate.For(r.Type); !ok || again.Type != r.Type {
			t.Errorf("%s is not found by its type", r.Type)
		}
	}
	for want := range strings.Lines(published) {
		if want = strings.TrimSpace(want); !types[want] {
			t.Errorf("%s cannot be reproduced", want)
		}
		delete(types, want)
	}
	for other := range types {
		t.Errorf("%s is no published type", other)
	}
	if _, ok := simulate.For("No:Such/Type"); ok {
		t.Error("an unknown type was found")
	}
}

func TestTarget(t *testing.T) {
	for name, target := range map[string]simulate.Target{
		"IPv6 for IPv4": {Address: netip.MustParseAddr("2001:db8::1")},
		"IPv4 for IPv6": {Address6: netip.MustParseAddr("192.0.2.1")},
		"mapped":        {Address6: netip.MustParseAddr("::ffff:192.0.2.1")},
		"zone":          {Address6: netip.MustParseAddr("fe80::1%lo")},
		"spaces":        {Domain: "a b"},
		"controls":      {Domain: "a\x1bb"},
	} {
		if _, err := simulate.Spec(target); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	spec, err := simulate.Spec(simulate.Target{Address: netip.MustParseAddr("203.0.113.9")})
	if err != nil || spec.Addresses[0] != netip.MustParsePrefix("203.0.113.9/32") {
		t.Errorf("addresses %v, %v", spec.Addresses, err)
	}
}

// published are the Runtime finding types of the GuardDuty user guide.
const published = `Backdoor:Runtime/C&CActivity.B
	Backdoor:Runtime/C&CActivity.B!DNS
	CryptoCurrency:Runtime/BitcoinTool.B
	CryptoCurrency:Runtime/BitcoinTool.B!DNS
	DefenseEvasion:Runtime/FilelessExecution
	DefenseEvasion:Runtime/KernelModuleLoaded
	DefenseEvasion:Runtime/ProcessInjection.Proc
	DefenseEvasion:Runtime/ProcessInjection.Ptrace
	DefenseEvasion:Runtime/ProcessInjection.VirtualMemoryWrite
	DefenseEvasion:Runtime/PtraceAntiDebugging
	DefenseEvasion:Runtime/SensitiveFileModified
	DefenseEvasion:Runtime/SuspiciousCommand
	Discovery:Runtime/SuspiciousCommand
	Execution:Runtime/MaliciousFileExecuted
	Execution:Runtime/MaliciousFileExecuted.Custom
	Execution:Runtime/NewBinaryExecuted
	Execution:Runtime/NewLibraryLoaded
	Execution:Runtime/ReverseShell
	Execution:Runtime/SuspiciousCommand
	Execution:Runtime/SuspiciousShellCreated
	Execution:Runtime/SuspiciousTool
	Impact:Runtime/AbusedDomainRequest.Reputation
	Impact:Runtime/BitcoinDomainRequest.Reputation
	Impact:Runtime/CryptoMinerExecuted
	Impact:Runtime/MaliciousDomainRequest.Reputation
	Impact:Runtime/SuspiciousDomainRequest.Reputation
	Persistence:Runtime/SensitiveFileModified
	Persistence:Runtime/SuspiciousCommand
	PrivilegeEscalation:Runtime/CGroupsReleaseAgentModified
	PrivilegeEscalation:Runtime/ContainerMountsHostDirectory
	PrivilegeEscalation:Runtime/DockerSocketAccessed
	PrivilegeEscalation:Runtime/ElevationToRoot
	PrivilegeEscalation:Runtime/RuncContainerEscape
	PrivilegeEscalation:Runtime/SensitiveFileModified
	PrivilegeEscalation:Runtime/SuspiciousCommand
	PrivilegeEscalation:Runtime/UserfaultfdUsage
	Trojan:Runtime/BlackholeTraffic
	Trojan:Runtime/BlackholeTraffic!DNS
	Trojan:Runtime/DGADomainRequest.C!DNS
	Trojan:Runtime/DriveBySourceTraffic!DNS
	Trojan:Runtime/DropPoint
	Trojan:Runtime/DropPoint!DNS
	Trojan:Runtime/PhishingDomainRequest!DNS
	UnauthorizedAccess:Runtime/MetadataDNSRebind
	UnauthorizedAccess:Runtime/TorClient
	UnauthorizedAccess:Runtime/TorRelay`

func TestIndicators(t *testing.T) {
	got, err := simulate.Indicators(simulate.Target{})
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]int{}
	for _, i := range got {
		types[i.Type]++
		if _, err := netip.ParseAddr(i.Value); err != nil && len(i.Value) != 64 {
			t.Errorf("%+v is neither an address nor a hash", i)
		}
		if _, ok := simulate.For(i.Type); !ok || i.Category == "" {
			t.Errorf("%+v belongs to nothing", i)
		}
	}
	for _, want := range []string{"Execution:Runtime/MaliciousFileExecuted", "Execution:Runtime/MaliciousFileExecuted.Custom", "UnauthorizedAccess:Runtime/TorRelay"} {
		if types[want] == 0 {
			t.Errorf("nothing leads to %s", want)
		}
	}
}
