package simulate_test

import (
	"net/netip"
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
	for _, want := range []string{
		"Backdoor:Runtime/C&CActivity.B", "Backdoor:Runtime/C&CActivity.B!DNS", "DefenseEvasion:Runtime/ProcessInjection.Ptrace",
		"Execution:Runtime/NewBinaryExecuted", "Execution:Runtime/ReverseShell", "PrivilegeEscalation:Runtime/DockerSocketAccessed",
	} {
		if !types[want] {
			t.Errorf("%s cannot be reproduced", want)
		}
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
