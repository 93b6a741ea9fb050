package simulate

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vedette.dev/vedette/internal/simulate/actor"
	"vedette.dev/vedette/internal/simulate/rootfs"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// What the attacks are aimed at inside the container.
const (
	dockerSocket  = "/var/run/docker.sock"
	controlSocket = "/run/vedette-sim.control"
	memoryFolder  = "/mnt/memory"
	resolver      = "127.0.0.1:53"
	resolver6     = "[::1]:53"
	shellAddress  = "127.0.0.1:0"
	servedPort    = 8443
	closedPort    = 4444
)

// Reserved documentation addresses (RFC 5737, RFC 3849), and the name that AWS keeps for testing this finding type.
const (
	defaultAddress  = "198.51.100.23"
	defaultAddress6 = "2001:db8::c2"
	defaultDomain   = "c2.guarddutyc2activityb.com"
)

// strangers is the rest of the world to a simulation's container: the whole prefix, reserved for documentation, is answered
// inside it. The hostile addresses below are in it.
var strangers = netip.MustParsePrefix("203.0.113.0/24")

// Hostile addresses of the finding types that are about addresses, beside Target's.
const (
	poolAddress      = "203.0.113.11" // of a mining pool
	relayAddress     = "203.0.113.21" // of Tor relays, and the next ones
	relays           = 6
	guardAddress     = "203.0.113.31" // of a Tor guard
	authorityAddress = "203.0.113.32" // of a Tor authority
	blackholeAddress = "203.0.113.41"
	dropPointAddress = "203.0.113.51"
	hostAddress      = "203.0.113.80" // of a web server that hands out scripts and programs; on no list
)

// Target says what the user's lists call hostile. Empty fields take the defaults: reserved documentation addresses and AWS's
// test name. Whatever is given is bound inside the container, so that no packet leaves it.
type Target struct {
	Address  netip.Addr // IPv4
	Address6 netip.Addr
	Domain   string
}

// Complete fills in the defaults and checks the rest.
func (t Target) Complete() (Target, error) {
	if !t.Address.IsValid() {
		t.Address = netip.MustParseAddr(defaultAddress)
	}
	if !t.Address6.IsValid() {
		t.Address6 = netip.MustParseAddr(defaultAddress6)
	}
	if t.Domain == "" {
		t.Domain = defaultDomain
	}
	if !t.Address.Is4() || !t.Address6.Is6() || t.Address6.Is4In6() || t.Address6.Zone() != "" {
		return t, fmt.Errorf("hostile addresses %v and %v: one IPv4 and one IPv6 address are needed", t.Address, t.Address6)
	}
	if len(t.Domain) > 253 || strings.ContainsFunc(t.Domain, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return t, fmt.Errorf("hostile domain %q is no domain name", t.Domain)
	}
	return t, nil
}

// Indicator is something that a list must hold before its reproduction can be found. Names of domains are missing: they are
// those that AWS documents for tests, which every detection should know.
type Indicator struct {
	Type     string // the finding type that it leads to
	Category string // of the list that should hold it
	Value    string // an address, or the SHA-256 of a file in lower-case hexadecimal
}

// Indicators returns what belongs on the lists, in the order of the finding types' names.
func Indicators(t Target) ([]Indicator, error) {
	t, err := t.Complete()
	if err != nil {
		return nil, err
	}
	all := []Indicator{
		{typeCandC, "command-and-control", t.Address.String()},
		{typeCandC, "command-and-control", t.Address6.String()},
		{typeBitcoinTool, "cryptocurrency", poolAddress},
		{typeBlackhole, "black-hole", blackholeAddress},
		{typeDropPoint, "drop-point", dropPointAddress},
		{typeTorClient, "tor-guard", guardAddress},
		{typeTorClient, "tor-authority", authorityAddress},
	}
	for relay, i := netip.MustParseAddr(relayAddress), 0; i < relays; relay, i = relay.Next(), i+1 {
		all = append(all, Indicator{typeTorRelay, "tor-relay", relay.String()})
	}
	for _, kind := range []struct{ findingType, category, sample string }{
		{typeMaliciousFile, "malware", actor.Malicious}, {typeCustomFile, "custom-malware", actor.CustomMalicious},
	} {
		sum, err := actor.SampleSHA256(kind.sample)
		if err != nil {
			return nil, err
		}
		all = append(all, Indicator{kind.findingType, kind.category, sum})
	}
	slices.SortStableFunc(all, func(a, b Indicator) int { return strings.Compare(a.Type, b.Type) })
	return all, nil
}

// Spec returns the container that the attacks happen in: a quiet application that also plays the far end of every attack,
// and a network that holds the hostile addresses and reaches nothing. The caller may add labels, mounts and a name.
func Spec(t Target) (sandbox.Spec, error) {
	t, err := t.Complete()
	if err != nil {
		return sandbox.Spec{}, err
	}
	return sandbox.Spec{
		Command: []string{
			rootfs.Executable, actor.Argument, "serve", "--dns", resolver, "--dns", resolver6, "--unix", dockerSocket,
			"--tcp", fmt.Sprintf(":%d", servedPort), "--control", controlSocket,
		},
		Tmpfs: []string{memoryFolder},
		Addresses: []netip.Prefix{
			netip.PrefixFrom(t.Address, 32), netip.PrefixFrom(t.Address6, 128), netip.MustParsePrefix("::1/128"), strangers,
		},
		Nameservers: []netip.Addr{netip.MustParseAddrPort(resolver).Addr()},
	}, nil
}

// Ready waits until the application in a container made from Spec is ready to be attacked.
func Ready(ctx context.Context, c sandbox.Container) error {
	result, err := c.Exec(ctx, rootfs.Executable, actor.Argument, "ready")
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("waiting for container %s: %s", c.Info().Name, strings.TrimSpace(string(result.Output)))
	}
	return err
}
