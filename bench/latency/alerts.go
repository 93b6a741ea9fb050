package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventbridgetypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"vedette.dev/vedette/bench/subject"
	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// alerts is a user's set-up on the program under measurement, and a client that watches its findings.
type alerts struct {
	guardduty *guardduty.Client
	detector  string
	seen      map[string]bool // ids of findings that were looked at
}

// poll is how often findings are asked for; it is part of what is measured.
const poll = 5 * time.Millisecond

// newAlerts enables detection, uploads the hostile addresses, and has every finding mailed.
func newAlerts(ctx context.Context, s *subject.Subject, mails *relay) (*alerts, error) {
	detector, err := s.Enable(ctx)
	if err != nil {
		return nil, err
	}
	var configs [3]aws.Config
	for i, service := range []string{"GUARDDUTY", "EVENTBRIDGE", "SNS"} {
		if configs[i], err = s.AWS(ctx, service); err != nil {
			return nil, err
		}
	}
	a := &alerts{guardduty: guardduty.NewFromConfig(configs[0]), detector: detector, seen: map[string]bool{}}
	if err := a.upload(ctx, filepath.Join(s.Data, "lists")); err != nil {
		return nil, fmt.Errorf("uploading threat list: %w", err)
	}
	if err := route(ctx, eventbridge.NewFromConfig(configs[1]), sns.NewFromConfig(configs[2]), mails); err != nil {
		return nil, fmt.Errorf("routing findings to mail: %w", err)
	}
	return a, nil
}

func (a *alerts) upload(ctx context.Context, folder string) error {
	target, err := simulate.Target{}.Complete()
	if err != nil {
		return err
	}
	list := filepath.Join(folder, "threats.txt")
	if err := os.WriteFile(list, []byte(fmt.Sprintf("%s\n%s\n%s\n", target.Address, target.Address6, target.Domain)), 0o600); err != nil {
		return err
	}
	made, err := a.guardduty.CreateThreatIntelSet(ctx, &guardduty.CreateThreatIntelSetInput{
		DetectorId: &a.detector, Name: aws.String("latency"), Format: types.ThreatIntelSetFormatTxt,
		Location: aws.String("file://" + list), Activate: aws.Bool(true),
	})
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		set, err := a.guardduty.GetThreatIntelSet(ctx, &guardduty.GetThreatIntelSetInput{DetectorId: &a.detector, ThreatIntelSetId: made.ThreatIntelSetId})
		if err != nil {
			return err
		}
		if set.Status == types.ThreatIntelSetStatusActive {
			return nil
		}
		if set.Status == types.ThreatIntelSetStatusError || time.Now().After(deadline) {
			return fmt.Errorf("the list is %s", set.Status)
		}
	}
}

var confirmation = regexp.MustCompile(`https?://[^\s<>"]+Action=ConfirmSubscription[^\s<>"]*`)

// route makes a rule for all findings, a topic, and a subscription that it confirms by the link in the mail.
func route(ctx context.Context, rules *eventbridge.Client, topics *sns.Client, mails *relay) error {
	topic, err := topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("latency")})
	if err != nil {
		return err
	}
	_, err = topics.Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("email"), Endpoint: aws.String("oncall@example.com")})
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	asked, err := mails.find(wait, "Action=ConfirmSubscription")
	if err != nil {
		return err
	}
	link := confirmation.FindString(asked.text)
	if link == "" {
		return errors.New("the confirmation mail holds no link")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("confirming subscription: %s", answer.Status)
	}
	_, err = rules.PutRule(ctx, &eventbridge.PutRuleInput{
		Name: aws.String("latency"), EventPattern: aws.String(`{"source":["aws.guardduty"],"detail-type":["GuardDuty Finding"]}`),
	})
	if err != nil {
		return err
	}
	put, err := rules.PutTargets(ctx, &eventbridge.PutTargetsInput{
		Rule: aws.String("latency"), Targets: []eventbridgetypes.Target{{Id: aws.String("topic"), Arn: topic.TopicArn}},
	})
	if err == nil && put.FailedEntryCount > 0 {
		err = fmt.Errorf("adding target: %s", aws.ToString(put.FailedEntries[0].ErrorMessage))
	}
	return err
}

// waitFinding asks until there is a finding of the type in the container, and returns its id and when the answer came.
func (a *alerts) waitFinding(ctx context.Context, findingType string, c sandbox.Info) (string, time.Time, error) {
	for {
		list, err := a.guardduty.ListFindings(ctx, &guardduty.ListFindingsInput{
			DetectorId:      &a.detector,
			FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{"type": {Equals: []string{findingType}}}},
			SortCriteria:    &types.SortCriteria{AttributeName: aws.String("createdAt"), OrderBy: types.OrderByDesc},
		})
		if err != nil {
			return "", time.Time{}, err
		}
		at := time.Now()
		var fresh []string
		for _, id := range list.FindingIds {
			if !a.seen[id] {
				a.seen[id] = true
				fresh = append(fresh, id)
			}
		}
		if len(fresh) > 0 {
			got, err := a.guardduty.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: &a.detector, FindingIds: fresh})
			if err != nil {
				return "", time.Time{}, err
			}
			for _, f := range got.Findings {
				if aws.ToString(f.Type) == findingType && holds(f.Resource, c.ID) {
					return aws.ToString(f.Id), at, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return "", time.Time{}, fmt.Errorf("waiting for %s: %w", findingType, ctx.Err())
		case <-time.After(poll):
		}
	}
}

// holds reports whether a finding's resource is the container, or has it among its task's.
func holds(r *types.Resource, id string) bool {
	if r == nil {
		return false
	}
	if r.ContainerDetails != nil && aws.ToString(r.ContainerDetails.Id) == id {
		return true
	}
	if r.EcsClusterDetails == nil || r.EcsClusterDetails.TaskDetails == nil {
		return false
	}
	for _, c := range r.EcsClusterDetails.TaskDetails.Containers {
		if aws.ToString(c.Id) == id {
			return true
		}
	}
	return false
}
