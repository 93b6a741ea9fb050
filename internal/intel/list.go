package intel

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// The categories of a list: what it means when a workload talks to an entry of it.
const (
	CommandAndControl = "command-and-control"
	Cryptocurrency    = "cryptocurrency"
)

// List is one list. It is built once and then only read.
type List struct {
	Name        string   // shown in findings
	Category    string   // one of the categories
	ThreatNames []string // shown in findings; may be empty

	prefixes bart.Lite
	domains  map[string]struct{} // lower case, without the final dot
}

// Contains reports whether the list holds the address or a prefix around it.
func (l *List) Contains(a netip.Addr) bool { return l.prefixes.Contains(a.Unmap()) }

// Size returns how many prefixes and domain names the list holds.
func (l *List) Size() (prefixes, domains int) { return l.prefixes.Size(), len(l.domains) }

// Lists is the set of lists that detection asks. Its zero value is empty and ready. All methods may be called from any
// goroutine.
type Lists struct {
	current atomic.Pointer[snapshot]
	mu      sync.Mutex // serialises writers
}

type snapshot struct {
	keys  []string
	lists []*List
}

// NewLists returns lists that hold the built-in ones.
func NewLists() *Lists {
	l := &Lists{}
	for key, list := range builtin() {
		l.Set("builtin/"+key, list)
	}
	return l
}

// Set adds the list under key, or replaces the one that is there; nil removes it. Lookups that run at the same time see the
// old or the new lists.
func (l *Lists) Set(key string, list *List) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &snapshot{}
	if s := l.current.Load(); s != nil {
		next.keys, next.lists = slices.Clone(s.keys), slices.Clone(s.lists)
	}
	i, found := slices.BinarySearch(next.keys, key)
	switch {
	case found && list == nil:
		next.keys, next.lists = slices.Delete(next.keys, i, i+1), slices.Delete(next.lists, i, i+1)
	case found:
		next.lists[i] = list
	case list != nil:
		next.keys, next.lists = slices.Insert(next.keys, i, key), slices.Insert(next.lists, i, list)
	}
	l.current.Store(next)
}

// Address returns the lists that hold the address, appended to dst. An IPv4 address inside an IPv6 one (::ffff:a.b.c.d, and
// the NAT64 form 64:ff9b::a.b.c.d) is looked up as the IPv4 address it reaches.
func (l *Lists) Address(dst []*List, a netip.Addr) []*List {
	s := l.current.Load()
	if s == nil || !a.IsValid() {
		return dst
	}
	a = reaches(a)
	for _, list := range s.lists {
		if list.prefixes.Contains(a) {
			dst = append(dst, list)
		}
	}
	return dst
}

// nat64 is the well-known prefix of RFC 6052.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// reaches returns the address that packets to a are for.
func reaches(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() && nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.WithZone("")
}

// maxDomain is the length of the longest domain name in text (RFC 1035 §2.3.4).
const maxDomain = 253

// Domain returns the lists that hold the name or a domain that it lies in, appended to dst. Case and a final dot do not
// matter.
func (l *Lists) Domain(dst []*List, name string) []*List {
	s := l.current.Load()
	if s == nil {
		return dst
	}
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if name == "" || len(name) > maxDomain {
		return dst
	}
	var buf [maxDomain]byte
	lower := buf[:len(name)]
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	for _, list := range s.lists {
		if list.holds(lower) {
			dst = append(dst, list)
		}
	}
	return dst
}

func (l *List) holds(name []byte) bool {
	if len(l.domains) == 0 {
		return false
	}
	for {
		if _, ok := l.domains[string(name)]; ok {
			return true
		}
		i := slices.Index(name, '.')
		if i < 0 {
			return false
		}
		name = name[i+1:]
	}
}

// builtin returns the lists that every server has. They hold the domain names that AWS documents for testing GuardDuty, so
// that its test scripts work here.
func builtin() map[string]*List {
	const testing = "Vedette built-in test domains"
	list := func(category string, domains ...string) *List {
		l := &List{Name: testing, Category: category, ThreatNames: []string{"Test domain"}, domains: map[string]struct{}{}}
		for _, d := range domains {
			l.domains[d] = struct{}{}
		}
		return l
	}
	return map[string]*List{
		// The names crypto., …-rep. and so on below it stand for other finding types; only what AWS documents as command
		// and control is here.
		"c2": list(CommandAndControl, "guarddutyc2activityb.com"),
	}
}
