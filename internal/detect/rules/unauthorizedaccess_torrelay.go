package rules

import (
	"fmt"
	"net/netip"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/intel"
)

// relaysOfRelay is how many different relays that are also guards a place must talk to within an hour to look like a relay.
const relaysOfRelay = 4

// torRelay is UnauthorizedAccess:Runtime/TorRelay: connections to the Tor network as a relay makes them. Clients talk to
// guards and authorities only, so one connection to any other relay is enough; guards count when there are many, since
// clients keep to very few.
func torRelay() detect.Rule {
	type relays struct {
		since int64
		seen  [relaysOfRelay]netip.Addr
		n     int
	}
	places := newMemory[relays](256)
	return detect.Rule{
		Type:    "UnauthorizedAccess:Runtime/TorRelay",
		Pattern: `{"kind":["connect"],"intel":{"category":["tor-relay"]}}`,
		Detect: func(m *detect.Match) bool {
			if !connection(m, intel.TorRelay) {
				return false
			}
			for _, l := range m.Facts.Listed() {
				if l.Category != intel.TorGuard && l.Category != intel.TorAuthority {
					continue
				}
				r := places.of(m)
				if m.Event.Time-r.since > 3600e9 || r.n == 0 {
					*r = relays{since: m.Event.Time}
				}
				remote := m.Event.Connect.Remote.Addr().Unmap()
				known := r.n >= len(r.seen)
				for _, a := range r.seen[:r.n] {
					known = known || a == remote
				}
				if !known {
					r.seen[r.n] = remote
					r.n++
				}
				if r.n < relaysOfRelay {
					return false
				}
				break
			}
			m.Description = fmt.Sprintf("The %s. According to %s this is a relay of the Tor network, and it is talked to as relays talk to each other, "+
				"not as clients do. A relay carries strangers' traffic in your name. Look at how the process was started (its lineage), and "+
				"stop it unless you mean to run a relay.", reached(m), m.ListNames())
			return true
		},
	}
}
