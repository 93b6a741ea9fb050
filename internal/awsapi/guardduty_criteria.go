package awsapi

import (
	"errors"
	"maps"
	"slices"

	"vedette.dev/vedette/internal/awsapi/guardduty"
	"vedette.dev/vedette/internal/finding/criteria"
	"vedette.dev/vedette/internal/store"
)

// selection decides which findings a request is about. What the store can decide is in query, the rest in matcher.
type selection struct {
	query   store.FindingQuery
	matcher *criteria.Matcher
}

// criteriaOf returns criteria as the wire has them in the form that decides.
func criteriaOf(in *guardduty.FindingCriteria) criteria.Criteria {
	var out criteria.Criteria
	if in != nil {
		out.Criterion = make(map[string]criteria.Condition, len(in.Criterion))
		for path, c := range in.Criterion {
			out.Criterion[path] = criteria.Condition(c)
		}
	}
	return out
}

// wireCriteria is the way back.
func wireCriteria(in *criteria.Criteria) *guardduty.FindingCriteria {
	out := &guardduty.FindingCriteria{}
	if in != nil {
		out.Criterion = make(map[string]guardduty.Condition, len(in.Criterion))
		for path, c := range in.Criterion {
			out.Criterion[path] = guardduty.Condition(c)
		}
	}
	return out
}

// compileCriteria refuses what GuardDuty refuses: unknown members and operators that do not fit. Wildcards are for filters
// only.
func compileCriteria(in criteria.Criteria, wildcards bool) (*criteria.Matcher, error) {
	m, err := criteria.Compile(in, wildcards)
	var refused *criteria.InvalidError
	if errors.As(err, &refused) {
		return nil, invalidInput("%s %s", outOfRange, refused.Reason)
	}
	return m, err
}

// selectFindings splits what a request says between the store's indexes and a matcher.
func selectFindings(in *guardduty.FindingCriteria) (selection, error) {
	var s selection
	all := criteriaOf(in)
	if _, err := compileCriteria(all, false); err != nil {
		return s, err
	}
	maps.DeleteFunc(all.Criterion, func(path string, c criteria.Condition) bool { return s.push(path, c) })
	var err error
	s.matcher, err = compileCriteria(all, false)
	return s, err
}

// push leaves the commonest criteria to the store's indexes, where their condition has one operator only.
func (s *selection) push(path string, c criteria.Condition) bool {
	var only criteria.Condition
	switch path {
	case "type":
		only.Equals, only.Eq = c.Equals, c.Eq
		values := slices.Concat(c.Equals, c.Eq)
		if len(c.Equals) > 0 && len(c.Eq) > 0 || len(values) == 0 || digest(c) != digest(only) {
			return false
		}
		s.query.Types = values
	case "service.archived":
		only.Equals, only.Eq = c.Equals, c.Eq
		values := slices.Concat(c.Equals, c.Eq)
		if len(values) != 1 || digest(c) != digest(only) {
			return false
		}
		s.query.Archived = new(values[0] == "true")
	case "severity":
		only.GreaterThanOrEqual, only.Gte = c.GreaterThanOrEqual, c.Gte
		if digest(c) != digest(only) {
			return false
		}
		s.query.MinSeverity = float64(max(deref(c.GreaterThanOrEqual), deref(c.Gte), 0))
	default:
		return false
	}
	return true
}

func (s *selection) match(row *store.FindingRow) (bool, error) { return s.matcher.Match(subject(row)) }

// subject returns what criteria are asked about.
func subject(row *store.FindingRow) *criteria.Subject {
	return &criteria.Subject{
		ID: row.ID, Type: row.Type, Severity: row.Severity, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
		Archived: row.Archived, Count: row.Count, JSON: row.JSON,
	}
}
