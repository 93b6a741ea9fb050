package ingest

import (
	"context"
	"fmt"
	"time"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/finding"
	"vedette.dev/vedette/internal/store"
)

// record merges a finding into the one that is stored. A new finding is published at once; repeats are published together
// when the detector's publishing interval since then is over, archived or not. What a filter suppresses is archived and not
// published; once no filter does any more, the next repeat makes a current finding of it and is published at once.
func (i *Ingester) record(tx *store.Tx, d *finding.Detector, filters *suppression, f *finding.Finding) error {
	row, exists, err := tx.Finding(f.ID)
	if err != nil {
		return err
	}
	if !exists {
		row = store.FindingRow{}
		i.metrics.findings.WithLabelValues(f.Type, "new").Inc()
		switch by, err := filters.filter(f, false); {
		case err != nil:
			return err
		case by != "":
			i.suppress(&row, f, by)
			return tx.PutFinding(rowOf(row, f))
		}
		if err := i.publish(tx, f); err != nil {
			return err
		}
		row.State = i.published()
		return tx.PutFinding(rowOf(row, f))
	}
	stored, err := finding.Parse(row.JSON)
	if err != nil {
		// Nothing that is stored may stop the stream: the repeat takes the place of what cannot be read.
		i.o.Log.Error("a stored finding cannot be read and is replaced", "id", f.ID, "err", err)
		stored = f
		stored.Service.Count += row.Count
	} else {
		finding.Merge(stored, f)
	}
	i.metrics.findings.WithLabelValues(f.Type, "repeat").Inc()
	was := string(row.State) == suppressed
	by, err := filters.filter(stored, row.Archived && !was)
	switch {
	case err != nil:
		return err
	case by != "":
		i.suppress(&row, stored, by)
		return tx.PutFinding(rowOf(row, stored))
	case was:
		row.Archived, stored.Service.Archived = false, false
		row.State, row.NextPublish = i.published(), time.Time{}
		if err := i.publish(tx, stored); err != nil {
			return err
		}
		return tx.PutFinding(rowOf(row, stored))
	}
	if row.NextPublish.IsZero() {
		published, err := time.Parse(time.RFC3339Nano, string(row.State))
		if err != nil {
			published = row.CreatedAt
		}
		row.NextPublish = published.Add(d.PublishInterval())
		if now := i.now(); row.NextPublish.Before(now) {
			row.NextPublish = now
		}
		tx.AfterCommit(i.wake)
	}
	return tx.PutFinding(rowOf(row, stored))
}

// suppress makes a row and its finding those of a finding that the named filter archives.
func (i *Ingester) suppress(row *store.FindingRow, f *finding.Finding, by string) {
	row.Archived, f.Service.Archived = true, true
	row.State, row.NextPublish = []byte(suppressed), time.Time{}
	i.metrics.suppressed.WithLabelValues("filter").Inc()
	i.o.Log.Debug("a filter archives a finding", "id", f.ID, "type", f.Type, "filter", by)
}

// published is the state of a finding that is published now.
func (i *Ingester) published() []byte { return []byte(i.now().UTC().Format(time.RFC3339Nano)) }

// rowOf fills the columns of a row from the finding. State and NextPublish stay, and the mark that it is archived is the
// column's: it may have been set while f was in memory.
func rowOf(row store.FindingRow, f *finding.Finding) store.FindingRow {
	if row.ID != "" {
		f.Service.Archived = row.Archived
	}
	row.ID, row.DetectorID, row.Type = f.ID, f.Service.DetectorID, f.Type
	row.ResourceKey, row.Severity, row.Archived, row.Sample = f.ResourceKey(), f.Severity, f.Service.Archived, f.Sample()
	row.CreatedAt, row.UpdatedAt = f.CreatedAt.Time, f.UpdatedAt.Time
	row.FirstSeen, row.LastSeen = f.Service.EventFirstSeen.Time, f.Service.EventLastSeen.Time
	row.Count = f.Service.Count
	text, err := f.JSON()
	if err != nil {
		// A finding is plain data that always marshals.
		panic(err)
	}
	row.JSON = text
	return row
}

// publish puts the event about a finding on the default bus.
func (i *Ingester) publish(tx *store.Tx, f *finding.Finding) error {
	detail, err := f.Detail()
	if err != nil {
		return err
	}
	return i.o.Publish(tx, bus.DefaultBus, bus.Event{
		DetailType: "GuardDuty Finding",
		Source:     "aws.guardduty",
		Account:    i.o.AccountID,
		Region:     i.o.Region,
		Time:       f.UpdatedAt.Time,
		Resources:  []string{},
		Detail:     detail,
	})
}

// publishDue publishes the findings whose repeats were gathered long enough, and returns when the next is due.
func (i *Ingester) publishDue(ctx context.Context) (next time.Time, err error) {
	for {
		published := 0
		err := i.o.Store.Update(ctx, func(tx *store.Tx) error {
			rows, err := tx.DueFindings(i.now(), 100)
			if err != nil {
				return err
			}
			filters := map[string]*suppression{} // by detector
			for _, row := range rows {
				if filters[row.DetectorID] == nil {
					if filters[row.DetectorID], err = i.suppression(tx, row.DetectorID); err != nil {
						return err
					}
				}
				if err := i.publishRow(tx, filters[row.DetectorID], row); err != nil {
					return err
				}
			}
			published = len(rows)
			next, _, err = tx.NextPublish()
			return err
		})
		if err != nil {
			return time.Time{}, err
		}
		i.metrics.published.Add(float64(published))
		if published < 100 {
			return next, nil
		}
	}
}

// publishRow publishes a finding whose time has come, unless a filter has been made since that suppresses it.
func (i *Ingester) publishRow(tx *store.Tx, filters *suppression, row store.FindingRow) error {
	row.NextPublish = time.Time{}
	f, err := finding.Parse(row.JSON)
	if err != nil {
		i.o.Log.Error("a stored finding cannot be read and is not published", "id", row.ID, "err", err)
		row.State = i.published()
		return tx.PutFinding(row)
	}
	by, err := filters.filter(f, row.Archived)
	if err != nil {
		return err
	}
	if by != "" {
		i.suppress(&row, f, by)
		return tx.PutFinding(rowOf(row, f))
	}
	row.State = i.published()
	if err := i.publish(tx, f); err != nil {
		return err
	}
	return tx.PutFinding(row)
}

// Retention is how long a finding is kept after its last change, as in GuardDuty.
const Retention = 90 * 24 * time.Hour

// sweep deletes the findings that are older than Retention.
func (i *Ingester) sweep(ctx context.Context) error {
	const some = 100
	for {
		deleted := 0
		err := i.o.Store.Update(ctx, func(tx *store.Tx) error {
			deleted = 0
			rows, err := tx.Findings(store.FindingQuery{Order: store.OrderUpdatedAt, Limit: some})
			if err != nil {
				return err
			}
			for _, row := range rows {
				if i.now().Sub(row.UpdatedAt) < Retention {
					break
				}
				if _, err := tx.DeleteFinding(row.ID); err != nil {
					return err
				}
				deleted++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("deleting old findings: %w", err)
		}
		i.metrics.expired.Add(float64(deleted))
		if deleted < some {
			return nil
		}
	}
}

// CreateSamples makes one sample finding of each type, or of every type when there is none given, stores and publishes
// them at once. A sample that is made again raises the count of the one that is there. The error is
// *finding.UnknownTypeError where a type does not exist; without a detector nothing happens.
func (i *Ingester) CreateSamples(ctx context.Context, types []string) error {
	return i.o.Store.Update(ctx, func(tx *store.Tx) error {
		entries, err := detectors.List(tx, "", "", 1)
		if err != nil {
			return err
		}
		id := finding.Identity{AccountID: i.o.AccountID, Region: i.o.Region}
		if len(entries) > 0 {
			id.DetectorID = entries[0].Value.ID
		}
		samples, err := finding.Samples(types, id, i.now())
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, f := range samples {
			row, exists, err := tx.Finding(f.ID)
			if err != nil {
				return err
			}
			if exists {
				stored, err := finding.Parse(row.JSON)
				if err != nil {
					return err
				}
				finding.Merge(stored, f)
				f = stored
				f.Service.Archived = row.Archived
			}
			// Samples are made to see them arrive: repeats do not wait for the publishing interval.
			row.State, row.NextPublish = i.published(), time.Time{}
			if err := i.publish(tx, f); err != nil {
				return err
			}
			if err := tx.PutFinding(rowOf(row, f)); err != nil {
				return err
			}
			i.metrics.findings.WithLabelValues(f.Type, "sample").Inc()
		}
		return nil
	})
}

func (i *Ingester) wake() {
	select {
	case i.due <- struct{}{}:
	default:
	}
}
