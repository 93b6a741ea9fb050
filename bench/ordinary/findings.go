package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/bench/subject"
)

// finding is what is printed of a finding.
type finding struct {
	Type     string  `json:"type"`
	Severity float64 `json:"severity"`
	Process  string  `json:"process"`
}

// watch asks for findings and knows which it has seen, in which state.
type watch struct {
	api        *guardduty.Client
	detector   string
	all        bool
	containers map[string]bool
	seen       map[string]string // id to the time of the last update
	others     int
}

func newWatch(ctx context.Context, s *subject.Subject, all bool) (*watch, error) {
	detector, err := s.Enable(ctx)
	if err != nil {
		return nil, err
	}
	config, err := s.AWS(ctx, "GUARDDUTY")
	if err != nil {
		return nil, err
	}
	return &watch{api: guardduty.NewFromConfig(config), detector: detector, all: all, containers: map[string]bool{}, seen: map[string]string{}}, nil
}

// fresh returns the findings about this command's work that are new, or that something was added to, since it was last
// called.
func (w *watch) fresh(ctx context.Context) ([]finding, error) {
	fresh := []finding{}
	pages := guardduty.NewListFindingsPaginator(w.api, &guardduty.ListFindingsInput{DetectorId: &w.detector})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing findings: %w", err)
		}
		if len(page.FindingIds) == 0 {
			continue
		}
		got, err := w.api.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: &w.detector, FindingIds: page.FindingIds})
		if err != nil {
			return nil, fmt.Errorf("getting findings: %w", err)
		}
		for _, f := range got.Findings {
			id, updated := aws.ToString(f.Id), aws.ToString(f.UpdatedAt)
			if w.seen[id] == updated {
				continue
			}
			w.seen[id] = updated
			if !w.all && !w.ours(f) {
				w.others++
				continue
			}
			fresh = append(fresh, describe(f))
		}
	}
	return fresh, nil
}

// ours says whether a finding is about a container of this command, or about a process that it started.
func (w *watch) ours(f types.Finding) bool {
	if r := f.Resource; r != nil {
		if r.ContainerDetails != nil && w.containers[aws.ToString(r.ContainerDetails.Id)] {
			return true
		}
		if r.EcsClusterDetails != nil && r.EcsClusterDetails.TaskDetails != nil {
			for _, c := range r.EcsClusterDetails.TaskDetails.Containers {
				if w.containers[aws.ToString(c.Id)] {
					return true
				}
			}
		}
	}
	if f.Service == nil || f.Service.RuntimeDetails == nil || f.Service.RuntimeDetails.Process == nil {
		return false
	}
	for _, ancestor := range f.Service.RuntimeDetails.Process.Lineage {
		if int(aws.ToInt32(ancestor.Pid)) == os.Getpid() {
			return true
		}
	}
	return false
}

func describe(f types.Finding) finding {
	d := finding{Type: aws.ToString(f.Type), Severity: aws.ToFloat64(f.Severity)}
	if f.Service != nil && f.Service.RuntimeDetails != nil && f.Service.RuntimeDetails.Process != nil {
		p := f.Service.RuntimeDetails.Process
		d.Process = fmt.Sprintf("%s (%s)", aws.ToString(p.ExecutablePath), aws.ToString(f.Description))
	}
	return d
}
