package ingest

import (
	"cmp"
	"net/netip"
	"slices"

	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/finding/criteria"
	"vedette.dev/vedette/internal/store"
)

// Trust says what users trust: whatever a workload does with such an address or name is no finding. intel.Lists is one.
type Trust interface {
	TrustedAddress(netip.Addr) bool
	TrustedDomain(name string) bool
}

// trusted reports whether an occurrence is about traffic with an address, or a question for a name, that users trust.
func (i *Ingester) trusted(a *finding.Action) bool {
	if i.o.Trust == nil {
		return false
	}
	if c := a.NetworkConnectionAction; c != nil && c.RemoteIPDetails != nil {
		address, err := netip.ParseAddr(cmp.Or(c.RemoteIPDetails.IPAddressV4, c.RemoteIPDetails.IPAddressV6))
		return err == nil && i.o.Trust.TrustedAddress(address)
	}
	return a.DNSRequestAction != nil && i.o.Trust.TrustedDomain(a.DNSRequestAction.Domain)
}

const filters store.Documents[criteria.Filter] = criteria.FilterKind

// suppressed is the state of a finding that a filter has archived: nothing was published about it since.
const suppressed = "suppressed"

// suppression is the filters of a detector that archive, by rank.
type suppression struct{ archive []filter }

type filter struct {
	name    string
	matcher *criteria.Matcher
}

// suppression reads the filters of a detector. A filter that cannot be read suppresses nothing.
func (i *Ingester) suppression(tx *store.Tx, detectorID string) (*suppression, error) {
	entries, err := filters.List(tx, detectorID+"/", "", 0)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(entries, func(a, b store.Entry[criteria.Filter]) int { return cmp.Compare(a.Value.Rank, b.Value.Rank) })
	s := &suppression{}
	for _, e := range entries {
		if e.Value.Action != criteria.ActionArchive || e.Value.Criteria == nil {
			continue
		}
		m, err := criteria.Compile(*e.Value.Criteria, true)
		if err != nil {
			i.o.Log.Error("a filter cannot be applied", "filter", e.Value.Name, "err", err)
			continue
		}
		if m.All() {
			continue // the API makes none
		}
		s.archive = append(s.archive, filter{e.Value.Name, m})
	}
	return s, nil
}

// filter returns the first filter that wants a finding archived, or "". Filters see what a finding would be without them: one
// that they have archived is not archived to them.
func (s *suppression) filter(f *finding.Finding, archived bool) (name string, err error) {
	if len(s.archive) == 0 {
		return "", nil
	}
	text, err := f.JSON()
	if err != nil {
		return "", err
	}
	subject := criteria.Subject{
		ID: f.ID, Type: f.Type, Severity: f.Severity, CreatedAt: f.CreatedAt.Time, UpdatedAt: f.UpdatedAt.Time,
		Archived: archived, Count: f.Service.Count, JSON: text,
	}
	for _, one := range s.archive {
		switch ok, err := one.matcher.Match(&subject); {
		case err != nil:
			return "", err
		case ok:
			return one.name, nil
		}
	}
	return "", nil
}
