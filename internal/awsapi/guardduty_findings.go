package awsapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/awsapi/wire"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/finding/criteria"
	"vedette.dev/vedette/internal/store"
)

// scanned is how many findings are read at once when criteria or an order need all of them.
const scanned = 256

// ordering is the order of a listing: by one of the store's indexes, or by any member of a finding.
type ordering struct {
	attribute  string
	descending bool
	index      store.FindingOrder // "" when the store has none
	field      *criteria.Field
}

// parseOrder takes what was updated last first, unless the input says otherwise.
func parseOrder(in *guardduty.SortCriteria) (ordering, error) {
	o := ordering{attribute: "updatedAt", descending: true}
	if in != nil {
		o.attribute = or(deref(in.AttributeName), o.attribute)
		o.descending = in.OrderBy == nil || *in.OrderBy == "DESC"
	}
	var ok bool
	if o.field, ok = criteria.NewField(o.attribute); !ok {
		return o, invalidInput("%s sortCriteria names the unknown attribute '%s'.", outOfRange, clip(o.attribute))
	}
	o.index = map[string]store.FindingOrder{
		"updatedAt": store.OrderUpdatedAt, "createdAt": store.OrderCreatedAt, "severity": store.OrderSeverity, "id": store.OrderID,
	}[o.attribute]
	return o, nil
}

// ListFindings returns the ids of the findings that satisfy the criteria.
func (g *GuardDuty) ListFindings(ctx context.Context, in *guardduty.ListFindingsInput) (*guardduty.ListFindingsOutput, error) {
	c, err := selectFindings(in.FindingCriteria)
	if err != nil {
		return nil, err
	}
	order, err := parseOrder(in.SortCriteria)
	if err != nil {
		return nil, err
	}
	c.query.DetectorID = in.DetectorId
	scope := digest("ListFindings", in.DetectorId, in.FindingCriteria, order.attribute, order.descending)
	list := listByIndex
	if order.index == "" {
		list = listByMember
	}
	out := &guardduty.ListFindingsOutput{}
	err = g.db.View(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, in.DetectorId); err != nil {
			return err
		}
		ids, next, err := list(ctx, tx, &c, order, scope, in.NextToken, pageSize(in.MaxResults))
		out.FindingIds, out.NextToken = ids, &next
		return err
	})
	return out, err
}

// position is a place in an order of the store, as the store spells it.
type position struct {
	Time     int64   `json:"t,omitempty"`
	Severity float64 `json:"s,omitempty"`
	ID       string  `json:"id"`
}

func listByIndex(ctx context.Context, tx *store.Tx, c *selection, order ordering, scope string, text *string, size int) ([]string, string, error) {
	after, ok, err := parseToken[position](text, scope)
	if err != nil {
		return nil, "", err
	}
	q := c.query
	q.Order, q.Descending = order.index, order.descending
	if c.matcher.All() {
		q.Limit = size + 1 // each row read belongs to the page
	}
	if ok {
		raw, _ := json.Marshal(after) // numbers and a string
		q.After = string(raw)
	}
	var ids []string
	var last position
	more := false
	err = scan(ctx, tx, q, func(row *store.FindingRow) (bool, error) {
		if matches, err := c.match(row); !matches || err != nil {
			return true, err
		}
		if len(ids) == size {
			more = true
			return false, nil
		}
		ids = append(ids, row.ID)
		return true, json.Unmarshal([]byte(row.Position(q.Order)), &last)
	})
	if err != nil || !more {
		return ids, "", err
	}
	return ids, token[position]{scope, last}.String(), nil
}

// scan calls f for the findings that a query selects, in its order, until f returns false. It reads as many at once as the
// query's limit says.
func scan(ctx context.Context, tx *store.Tx, q store.FindingQuery, f func(*store.FindingRow) (bool, error)) error {
	q.Limit = cmp.Or(q.Limit, scanned)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows, err := tx.Findings(q)
		if err != nil {
			return err
		}
		for i := range rows {
			if goOn, err := f(&rows[i]); err != nil || !goOn {
				return err
			}
		}
		if len(rows) < q.Limit {
			return nil
		}
		q.After = rows[len(rows)-1].Position(q.Order)
	}
}

// rank is a finding's place in an order by any member: findings without it come last, equal ones by id.
type rank struct {
	Missing bool    `json:"m,omitempty"`
	Number  float64 `json:"n,omitempty"`
	Text    string  `json:"t,omitempty"`
	ID      string  `json:"id"`
}

func (o ordering) compare(a, b rank) int {
	if a.Missing != b.Missing {
		if a.Missing {
			return 1
		}
		return -1
	}
	n := cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Text, b.Text), cmp.Compare(a.ID, b.ID))
	if o.descending {
		return -n
	}
	return n
}

func (o ordering) rank(row *store.FindingRow) (rank, error) {
	v, ok, err := o.field.First(subject(row))
	if err != nil || !ok {
		return rank{Missing: true, ID: row.ID}, err
	}
	return rank{Number: v.Number, Text: v.Text, ID: row.ID}, nil
}

// listByMember reads all findings that satisfy the criteria and keeps those of the page.
func listByMember(ctx context.Context, tx *store.Tx, c *selection, order ordering, scope string, text *string, size int) ([]string, string, error) {
	after, ok, err := parseToken[rank](text, scope)
	if err != nil {
		return nil, "", err
	}
	q := c.query
	q.Order = store.OrderID
	var best []rank // in order, at most one more than the page
	err = scan(ctx, tx, q, func(row *store.FindingRow) (bool, error) {
		if matches, err := c.match(row); !matches || err != nil {
			return true, err
		}
		r, err := order.rank(row)
		if err != nil || ok && order.compare(r, after) <= 0 {
			return true, err
		}
		i, _ := slices.BinarySearchFunc(best, r, order.compare)
		if i <= size {
			best = slices.Insert(best, i, r)
			best = best[:min(len(best), size+1)]
		}
		return true, nil
	})
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(best) > size {
		best = best[:size]
		next = token[rank]{scope, best[size-1]}.String()
	}
	ids := make([]string, len(best))
	for i := range best {
		ids[i] = best[i].ID
	}
	return ids, next, nil
}

// GetFindings returns the findings with the given ids, without those that do not exist, in the order of the ids unless the
// input names another.
func (g *GuardDuty) GetFindings(ctx context.Context, in *guardduty.GetFindingsInput) (*guardduty.GetFindingsOutput, error) {
	order, err := parseOrder(in.SortCriteria)
	if err != nil {
		return nil, err
	}
	type ranked struct {
		rank rank
		json json.RawMessage
	}
	var found []ranked
	err = g.db.View(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, in.DetectorId); err != nil {
			return err
		}
		for i, id := range in.FindingIds {
			if slices.Contains(in.FindingIds[:i], id) {
				continue
			}
			row, ok, err := tx.Finding(id)
			if err != nil {
				return err
			}
			if !ok || row.DetectorID != in.DetectorId {
				continue
			}
			f := ranked{json: row.JSON}
			if in.SortCriteria != nil {
				if f.rank, err = order.rank(&row); err != nil {
					return err
				}
			}
			found = append(found, f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if in.SortCriteria != nil {
		slices.SortStableFunc(found, func(a, b ranked) int { return order.compare(a.rank, b.rank) })
	}
	out := &guardduty.GetFindingsOutput{}
	for _, f := range found {
		out.Findings = append(out.Findings, f.json)
	}
	return out, nil
}

// change rewrites findings, all or none.
func (g *GuardDuty) change(ctx context.Context, detectorID string, ids []string, f func(*store.Tx, *store.FindingRow, *finding.Finding) error) error {
	return g.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, detectorID); err != nil {
			return err
		}
		for _, id := range ids {
			row, ok, err := tx.Finding(id)
			if err != nil {
				return err
			}
			if !ok || row.DetectorID != detectorID {
				return invalidInput("The request is rejected because the finding %s does not exist.", clip(id))
			}
			stored, err := finding.Parse(row.JSON)
			if err != nil {
				return fmt.Errorf("decoding finding %s: %w", id, err)
			}
			if err := f(tx, &row, stored); err != nil {
				return err
			}
			if row.JSON, err = json.Marshal(stored); err != nil {
				return fmt.Errorf("encoding finding %s: %w", id, err)
			}
			if err := tx.PutFinding(row); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *GuardDuty) archive(ctx context.Context, detectorID string, ids []string, archived bool) error {
	return g.change(ctx, detectorID, ids, func(_ *store.Tx, row *store.FindingRow, f *finding.Finding) error {
		row.Archived, f.Service.Archived = archived, archived
		return nil
	})
}

// ArchiveFindings marks findings as archived. They are still published when they occur again, as on GuardDuty.
func (g *GuardDuty) ArchiveFindings(ctx context.Context, in *guardduty.ArchiveFindingsInput) (*guardduty.ArchiveFindingsOutput, error) {
	return nil, g.archive(ctx, in.DetectorId, in.FindingIds, true)
}

// UnarchiveFindings takes the mark away.
func (g *GuardDuty) UnarchiveFindings(ctx context.Context, in *guardduty.UnarchiveFindingsInput) (*guardduty.UnarchiveFindingsOutput, error) {
	return nil, g.archive(ctx, in.DetectorId, in.FindingIds, false)
}

// opinion is a person's feedback to a finding; the finding itself holds only whether it was useful.
type opinion struct {
	Feedback string    `json:"feedback"`
	Comments string    `json:"comments,omitempty"`
	At       time.Time `json:"at"`
}

const feedback store.Documents[opinion] = "finding-feedback" // by the finding's id

// maxComments bounds the comments of a feedback, in bytes; the model does not.
const maxComments = 4096

// UpdateFindingsFeedback marks findings as useful or not.
func (g *GuardDuty) UpdateFindingsFeedback(ctx context.Context, in *guardduty.UpdateFindingsFeedbackInput) (*guardduty.UpdateFindingsFeedbackOutput, error) {
	if len(deref(in.Comments)) > maxComments {
		return nil, invalidInput("%s comments has more than %d bytes.", outOfRange, maxComments)
	}
	return nil, g.change(ctx, in.DetectorId, in.FindingIds, func(tx *store.Tx, row *store.FindingRow, f *finding.Finding) error {
		f.Service.UserFeedback = in.Feedback
		return feedback.Put(tx, row.ID, opinion{in.Feedback, deref(in.Comments), g.now().UTC()})
	})
}

// CreateSampleFindings makes sample findings, which go the way of real ones.
func (g *GuardDuty) CreateSampleFindings(ctx context.Context, in *guardduty.CreateSampleFindingsInput) (*guardduty.CreateSampleFindingsOutput, error) {
	if g.samples == nil {
		return nil, wire.NotImplemented("CreateSampleFindings")
	}
	err := g.db.View(ctx, func(tx *store.Tx) error {
		_, err := detector(tx, in.DetectorId)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = g.samples.CreateSamples(ctx, in.FindingTypes)
	var unknown *finding.UnknownTypeError
	if errors.As(err, &unknown) {
		return nil, invalidInput("%s %s.", outOfRange, unknown.Error())
	}
	return nil, err
}

// GetFindingsStatistics counts findings by severity or by another of their members.
func (g *GuardDuty) GetFindingsStatistics(ctx context.Context, in *guardduty.GetFindingsStatisticsInput) (*guardduty.GetFindingsStatisticsOutput, error) {
	if (len(in.FindingStatisticTypes) > 0) == (in.GroupBy != nil) {
		return nil, invalidInput("%s Exactly one of findingStatisticTypes and groupBy is needed.", outOfRange)
	}
	if in.GroupBy == nil && (in.OrderBy != nil || in.MaxResults != nil) {
		return nil, invalidInput("%s orderBy and maxResults need groupBy.", outOfRange)
	}
	c, err := selectFindings(in.FindingCriteria)
	if err != nil {
		return nil, err
	}
	c.query.DetectorID = in.DetectorId
	c.query.Order = store.OrderID
	counts := tally{groupBy: or(deref(in.GroupBy), "SEVERITY"), account: g.account, groups: map[group]*total{}}
	err = g.db.View(ctx, func(tx *store.Tx) error {
		if _, err := detector(tx, in.DetectorId); err != nil {
			return err
		}
		return scan(ctx, tx, c.query, func(row *store.FindingRow) (bool, error) {
			if matches, err := c.match(row); !matches || err != nil {
				return true, err
			}
			return true, counts.add(row)
		})
	})
	if err != nil {
		return nil, err
	}
	out := &guardduty.GetFindingsStatisticsOutput{FindingStatistics: &guardduty.FindingStatistics{}, NextToken: new("")}
	if in.GroupBy == nil {
		out.FindingStatistics.CountBySeverity = map[string]int64{}
		for key, t := range counts.groups {
			out.FindingStatistics.CountBySeverity[strconv.FormatFloat(key.severity, 'f', 1, 64)] = t.findings
		}
		return out, nil
	}
	limit := 25
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	counts.fill(out.FindingStatistics, deref(in.OrderBy) == "ASC", limit)
	return out, nil
}

// tally counts findings in groups.
type tally struct {
	groupBy string
	account string
	groups  map[group]*total
}

// group is what the findings of one count have in common; members that do not matter are zero.
type group struct {
	account, typ           string
	resource, resourceType string
	severity               float64
	day                    int64 // seconds since 1970 of its midnight, UTC
}

type total struct {
	findings int64
	last     time.Time
}

func (t *tally) add(row *store.FindingRow) error {
	var key group
	switch t.groupBy {
	case "ACCOUNT":
		key.account = t.account
	case "DATE":
		key.day, key.severity = row.UpdatedAt.UTC().Truncate(24*time.Hour).Unix(), row.Severity
	case "FINDING_TYPE":
		key.typ = row.Type
	case "SEVERITY":
		key.severity = row.Severity
	case "RESOURCE":
		f, err := finding.Parse(row.JSON)
		if err != nil {
			return fmt.Errorf("decoding finding %s: %w", row.ID, err)
		}
		key.account, key.resourceType, key.resource = t.account, f.Resource.ResourceType, resourceID(&f.Resource)
	}
	sum := t.groups[key]
	if sum == nil {
		sum = &total{}
		t.groups[key] = sum
	}
	sum.findings++
	if row.UpdatedAt.After(sum.last) {
		sum.last = row.UpdatedAt
	}
	return nil
}

func resourceID(r *finding.Resource) string {
	switch {
	case r.ECSClusterDetails != nil:
		return or(r.ECSClusterDetails.ARN, r.ECSClusterDetails.Name)
	case r.ContainerDetails != nil:
		return r.ContainerDetails.ID
	case r.InstanceDetails != nil:
		return r.InstanceDetails.InstanceID
	}
	return ""
}

// fill writes the groups into the answer: the largest (or smallest) first, days by their date.
func (t *tally) fill(out *guardduty.FindingStatistics, ascending bool, limit int) {
	keys := make([]group, 0, len(t.groups))
	for key := range t.groups {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b group) int {
		n := cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(t.groups[a].findings, t.groups[b].findings))
		if !ascending {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(b.severity, a.severity), cmp.Compare(a.typ, b.typ), cmp.Compare(a.resource, b.resource))
	})
	for _, key := range keys[:min(len(keys), limit)] {
		sum := t.groups[key]
		switch t.groupBy {
		case "ACCOUNT":
			out.GroupedByAccount = append(out.GroupedByAccount, guardduty.AccountStatistics{
				AccountId: &key.account, LastGeneratedAt: &sum.last, TotalFindings: &sum.findings})
		case "DATE":
			out.GroupedByDate = append(out.GroupedByDate, guardduty.DateStatistics{
				Date: new(time.Unix(key.day, 0)), Severity: &key.severity, LastGeneratedAt: &sum.last, TotalFindings: &sum.findings})
		case "FINDING_TYPE":
			out.GroupedByFindingType = append(out.GroupedByFindingType, guardduty.FindingTypeStatistics{
				FindingType: &key.typ, LastGeneratedAt: &sum.last, TotalFindings: &sum.findings})
		case "RESOURCE":
			out.GroupedByResource = append(out.GroupedByResource, guardduty.ResourceStatistics{
				AccountId: &key.account, ResourceId: &key.resource, ResourceType: &key.resourceType,
				LastGeneratedAt: &sum.last, TotalFindings: &sum.findings})
		case "SEVERITY":
			out.GroupedBySeverity = append(out.GroupedBySeverity, guardduty.SeverityStatistics{
				Severity: &key.severity, LastGeneratedAt: &sum.last, TotalFindings: &sum.findings})
		}
	}
}
