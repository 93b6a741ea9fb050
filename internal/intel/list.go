package intel

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// List is one list. It is built once and then only read.
type List struct {
	Name        string   // shown in findings
	Category    string   // one of the categories
	ThreatNames []string // shown in findings; may be empty

	prefixes bart.Lite
	domains  map[string]struct{} // lower case, without the final dot
	files    map[[32]byte]struct{}
}

// Contains reports whether the list holds the address or a prefix around it.
func (l *List) Contains(a netip.Addr) bool { return l.prefixes.Contains(a.Unmap()) }

// Size returns how many prefixes, domain names and files the list holds.
func (l *List) Size() (prefixes, domains, files int) {
	return l.prefixes.Size(), len(l.domains), len(l.files)
}

// Lists is the set of lists that detection asks. Its zero value is empty and ready. All methods may be called from any
// goroutine.
type Lists struct {
	builtin map[string]*List
	current atomic.Pointer[snapshot]
	mu      sync.Mutex // serialises writers
}

// snapshot is all lists at one time. The slices after the first two are the lists that have entries of one sort, so that a
// lookup asks no other.
type snapshot struct {
	keys  []string
	lists []*List

	addresses, domains, files        []*List
	trustedAddresses, trustedDomains []*List
}

// NewLists returns lists that hold the built-in one.
func NewLists() *Lists { return &Lists{builtin: builtin()} }

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
	next.sort()
	l.current.Store(next)
}

// sort fills the slices of lists by what they hold.
func (s *snapshot) sort() {
	for _, list := range s.lists {
		prefixes, domains, files := list.Size()
		addTo := func(lists, trusted *[]*List, entries int) {
			switch {
			case entries == 0:
			case list.Category == Trusted:
				*trusted = append(*trusted, list)
			default:
				*lists = append(*lists, list)
			}
		}
		var none []*List // no file is trusted
		addTo(&s.addresses, &s.trustedAddresses, prefixes)
		addTo(&s.domains, &s.trustedDomains, domains)
		addTo(&s.files, &none, files)
	}
}

// Address returns the lists that hold the address, appended to dst; none if it is trusted. An IPv4 address inside an IPv6
// one (::ffff:a.b.c.d, and the NAT64 form 64:ff9b::a.b.c.d) is looked up as the IPv4 address it reaches.
func (l *Lists) Address(dst []*List, a netip.Addr) []*List {
	s := l.current.Load()
	if s == nil || !a.IsValid() {
		return dst
	}
	a = reaches(a)
	if holdAddress(s.trustedAddresses, a) {
		return dst
	}
	for _, list := range s.addresses {
		if list.prefixes.Contains(a) {
			dst = append(dst, list)
		}
	}
	return dst
}

// TrustedAddress reports whether a trusted list holds the address.
func (l *Lists) TrustedAddress(a netip.Addr) bool {
	s := l.current.Load()
	return s != nil && a.IsValid() && holdAddress(s.trustedAddresses, reaches(a))
}

func holdAddress(lists []*List, a netip.Addr) bool {
	for _, list := range lists {
		if list.prefixes.Contains(a) {
			return true
		}
	}
	return false
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

// Domain returns the lists that hold the name or a domain that it lies in, appended to dst; none if it is trusted. Case and a
// final dot do not matter.
func (l *Lists) Domain(dst []*List, name string) []*List {
	var buf [maxDomain]byte
	lower := lowered(&buf, name)
	s := l.current.Load()
	if s != nil && holdDomain(s.trustedDomains, lower) {
		return dst
	}
	for rest := lower; len(rest) > 0 && len(l.builtin) > 0; rest = parent(rest) {
		if list, ok := l.builtin[string(rest)]; ok {
			dst = append(dst, list)
			break
		}
	}
	if s == nil {
		return dst
	}
	for _, list := range s.domains {
		if list.holds(lower) {
			dst = append(dst, list)
		}
	}
	return dst
}

// TrustedDomain reports whether a trusted list holds the name or a domain that it lies in.
func (l *Lists) TrustedDomain(name string) bool {
	var buf [maxDomain]byte
	s := l.current.Load()
	return s != nil && holdDomain(s.trustedDomains, lowered(&buf, name))
}

// lowered returns a name in the form in which lists hold it; one that can be in none is empty.
func lowered(buf *[maxDomain]byte, name string) []byte {
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if len(name) > maxDomain {
		return nil
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(name)]
}

// parent returns the domain that a name lies in: empty for a name of one label.
func parent(name []byte) []byte {
	i := bytes.IndexByte(name, '.')
	if i < 0 {
		return nil
	}
	return name[i+1:]
}

func holdDomain(lists []*List, name []byte) bool {
	for _, list := range lists {
		if list.holds(name) {
			return true
		}
	}
	return false
}

func (l *List) holds(name []byte) bool {
	for ; len(name) > 0; name = parent(name) {
		if _, ok := l.domains[string(name)]; ok {
			return true
		}
	}
	return false
}

// File returns the lists that hold a file, appended to dst, by its SHA-256 in hexadecimal.
func (l *Lists) File(dst []*List, sha256 string) []*List {
	s := l.current.Load()
	if s == nil || len(s.files) == 0 {
		return dst
	}
	sum, ok := parseSHA256(sha256)
	if !ok {
		return dst
	}
	for _, list := range s.files {
		if _, ok := list.files[sum]; ok {
			dst = append(dst, list)
		}
	}
	return dst
}

// parseSHA256 reads a digest in hexadecimal, without allocation.
func parseSHA256(text string) (sum [32]byte, ok bool) {
	if len(text) != 2*len(sum) {
		return sum, false
	}
	for i := range len(text) {
		c := text[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return sum, false
		}
		sum[i/2] = sum[i/2]<<4 | c
	}
	return sum, true
}
