package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"vedette.dev/vedette/internal/app"
	"vedette.dev/vedette/internal/finding"
)

// The two patterns of the story, to the letter, and the third that shows the way back.
const (
	unhealthyPattern = `{"source":["aws.guardduty"],"detail-type":["GuardDuty Runtime Protection Unhealthy"]}`
	findingsPattern  = `{"source":["aws.guardduty"],"detail":{"type":["Backdoor:Runtime/C&CActivity.B","PrivilegeEscalation:Runtime/DockerSocketAccessed"]}}`
	healthyPattern   = `{"source":["aws.guardduty"],"detail-type":["GuardDuty Runtime Protection Healthy"]}`
)

// routed are the finding types that findingsPattern sends on.
var routed = []string{"Backdoor:Runtime/C&CActivity.B", "PrivilegeEscalation:Runtime/DockerSocketAccessed"}

// Waiting times. Each is far above what the step takes; they only end a story that went wrong.
const (
	coverageWait = 30 * time.Second
	findingWait  = 15 * time.Second
	mailWait     = 15 * time.Second
	peopleWait   = 10 * time.Minute // for a person to click a link
	pollEvery    = 20 * time.Millisecond
)

// story holds what the steps hand on to each other.
type story struct {
	printer
	options  Options
	clients  app.Clients
	service  *service
	mails    *mailbox // nil when a real relay is used
	detector string
	topic    string
	task     *task
	lists    string // the folder of lists that the server may read
}

func (s *story) enable(ctx context.Context) error {
	s.heading("Enable", "a detector with Runtime Monitoring and agents managed for its tasks")
	s.command("aws", "guardduty", "create-detector", "--enable", "--finding-publishing-frequency", "FIFTEEN_MINUTES", "--features",
		`[{"Name":"RUNTIME_MONITORING","Status":"ENABLED","AdditionalConfiguration":[{"Name":"ECS_FARGATE_AGENT_MANAGEMENT","Status":"ENABLED"}]}]`)
	began := time.Now()
	made, err := s.clients.GuardDuty.CreateDetector(ctx, &guardduty.CreateDetectorInput{
		Enable:                     aws.Bool(true),
		FindingPublishingFrequency: gdtypes.FindingPublishingFrequencyFifteenMinutes,
		Features: []gdtypes.DetectorFeatureConfiguration{{
			Name: gdtypes.DetectorFeatureRuntimeMonitoring, Status: gdtypes.FeatureStatusEnabled,
			AdditionalConfiguration: []gdtypes.DetectorAdditionalConfiguration{{
				Name: gdtypes.FeatureAdditionalConfigurationEcsFargateAgentManagement, Status: gdtypes.FeatureStatusEnabled,
			}},
		}},
	})
	if err != nil {
		return fmt.Errorf("creating the detector: %w", err)
	}
	s.detector = aws.ToString(made.DetectorId)
	s.done(time.Since(began), "detector %s is enabled", s.detector)
	return nil
}

func (s *story) alerts(ctx context.Context) error {
	s.heading("Alerts", "two event rules send to one topic, and the topic to "+s.options.MailTo)
	const topicName = "vedette-demo"
	s.command("aws", "sns", "create-topic", "--name", topicName)
	began := time.Now()
	topic, err := s.clients.SNS.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String(topicName)})
	if err != nil {
		return fmt.Errorf("creating the topic: %w", err)
	}
	s.topic = aws.ToString(topic.TopicArn)
	s.done(time.Since(began), "topic %s", s.topic)

	s.command("aws", "sns", "subscribe", "--topic-arn", s.topic, "--protocol", "email", "--notification-endpoint", s.options.MailTo)
	began = time.Now()
	subscribed, err := s.clients.SNS.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: &s.topic, Protocol: aws.String("email"), Endpoint: &s.options.MailTo, ReturnSubscriptionArn: true,
	})
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	if err := s.confirm(ctx, aws.ToString(subscribed.SubscriptionArn), began); err != nil {
		return err
	}
	if err := s.rule(ctx, "vedette-demo-unhealthy", unhealthyPattern); err != nil {
		return err
	}
	return s.rule(ctx, "vedette-demo-findings", findingsPattern)
}

var linkForm = regexp.MustCompile(`https?://[^\s<>"]*Action=ConfirmSubscription[^\s<>"]*`)

// confirm follows the link in the confirmation mail: itself where the mail is kept here, by a person where a relay is used.
func (s *story) confirm(ctx context.Context, subscription string, began time.Time) error {
	if s.mails != nil {
		mail, err := s.mails.wait(ctx, mailWait, func(m mail) bool { return linkForm.MatchString(m.text) })
		if err != nil {
			return fmt.Errorf("waiting for the confirmation mail: %w", err)
		}
		s.done(mail.stored.Sub(began), "confirmation mail arrived: %q", mail.subject)
		link := linkForm.FindString(mail.text)
		began = time.Now()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
		if err != nil {
			return fmt.Errorf("following the confirmation link: %w", err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("following the confirmation link: %w", err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("following the confirmation link: status %s", answer.Status)
		}
	} else {
		s.note("Open the mail that %s just got and follow its link; waiting up to %s …", s.options.MailTo, peopleWait)
	}
	limit := mailWait
	if s.mails == nil {
		limit = peopleWait
	}
	err := wait(ctx, limit, "the subscription's confirmation", func() (bool, error) {
		a, err := s.clients.SNS.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &subscription})
		if err != nil {
			return false, err
		}
		return a.Attributes["PendingConfirmation"] == "false", nil
	})
	if err != nil {
		return err
	}
	s.done(time.Since(began), "subscription confirmed through the link in the mail")
	return nil
}

// rule makes an event rule that targets the topic.
func (s *story) rule(ctx context.Context, name, pattern string) error {
	s.command("aws", "events", "put-rule", "--name", name, "--event-pattern", pattern)
	s.command("aws", "events", "put-targets", "--rule", name, "--targets", "Id=mail,Arn="+s.topic)
	began := time.Now()
	if _, err := s.clients.EventBridge.PutRule(ctx, &eventbridge.PutRuleInput{Name: &name, EventPattern: &pattern}); err != nil {
		return fmt.Errorf("putting rule %s: %w", name, err)
	}
	put, err := s.clients.EventBridge.PutTargets(ctx, &eventbridge.PutTargetsInput{
		Rule: &name, Targets: []ebtypes.Target{{Id: aws.String("mail"), Arn: &s.topic}},
	})
	if err != nil {
		return fmt.Errorf("putting the target of rule %s: %w", name, err)
	}
	if put.FailedEntryCount != 0 {
		return fmt.Errorf("putting the target of rule %s: %s", name, aws.ToString(put.FailedEntries[0].ErrorMessage))
	}
	s.done(time.Since(began), "rule %s sends to the topic", name)
	return nil
}

func (s *story) covered(ctx context.Context) error {
	s.heading("Covered", fmt.Sprintf("service %s of cluster %s gets one task: the application, and an agent of its own beside it", serviceName, clusterName))
	began := time.Now()
	t, err := s.service.start(ctx)
	s.task = t
	if err != nil {
		return err
	}
	info := t.container.Info()
	s.done(time.Since(began), "%s container %s runs, agent process %d watches cgroup %s", info.Runtime, short(info.ID), t.agent.Process.Pid, shortPath(info.CgroupPath))
	s.command("aws", "guardduty", "list-coverage", "--detector-id", s.detector)
	_, err = s.coverage(ctx, "HEALTHY", "")
	if err != nil {
		return err
	}
	s.done(time.Since(began), "cluster %s is HEALTHY", clusterName)
	return nil
}

// coverage waits until the demo's cluster has the status and an issue that holds the text.
func (s *story) coverage(ctx context.Context, status, issue string) (gdtypes.CoverageResource, error) {
	var row gdtypes.CoverageResource
	last := "no row"
	err := wait(ctx, coverageWait, "coverage "+status, func() (bool, error) {
		if status == "HEALTHY" {
			if err := s.agentRuns(); err != nil {
				return false, err
			}
		}
		answer, err := s.clients.GuardDuty.ListCoverage(ctx, &guardduty.ListCoverageInput{
			DetectorId: &s.detector,
			FilterCriteria: &gdtypes.CoverageFilterCriteria{FilterCriterion: []gdtypes.CoverageFilterCriterion{{
				CriterionKey:    gdtypes.CoverageFilterCriterionKeyEcsClusterName,
				FilterCondition: &gdtypes.CoverageFilterCondition{Equals: []string{clusterName}},
			}}},
		})
		if err != nil {
			return false, fmt.Errorf("listing coverage: %w", err)
		}
		for _, row = range answer.Resources {
			last = fmt.Sprintf("%s %s", row.CoverageStatus, aws.ToString(row.Issue))
			if string(row.CoverageStatus) == status && strings.Contains(aws.ToString(row.Issue), issue) {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return row, fmt.Errorf("%w (last seen: %s)", err, last)
	}
	return row, nil
}

// agentRuns is an error with the end of its log when the task's agent ended by itself.
func (s *story) agentRuns() error {
	select {
	case <-s.task.agentGone:
		return fmt.Errorf("the agent ended by itself; its log: %s", s.service.agentLog(s.task))
	default:
		return nil
	}
}

func (s *story) attacked(ctx context.Context) error {
	s.heading("Attacked", "inside the container, real processes do what attackers do")
	// An address that is reserved for documentation, on a list made for the demo.
	list := filepath.Join(s.lists, "demo-threats.txt")
	text := "# Addresses of the demo's command-and-control server (RFC 5737).\n" + threatAddress + "\n"
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the threat list: %w", err)
	}
	location := "file://" + list
	s.command("aws", "guardduty", "create-threat-intel-set", "--detector-id", s.detector, "--name", "demo-threats", "--format", "TXT", "--location", location, "--activate")
	began := time.Now()
	made, err := s.clients.GuardDuty.CreateThreatIntelSet(ctx, &guardduty.CreateThreatIntelSetInput{
		DetectorId: &s.detector, Name: aws.String("demo-threats"), Format: gdtypes.ThreatIntelSetFormatTxt, Location: &location, Activate: aws.Bool(true),
	})
	if err != nil {
		return fmt.Errorf("creating the threat list: %w", err)
	}
	err = wait(ctx, findingWait, "the threat list's activation", func() (bool, error) {
		set, err := s.clients.GuardDuty.GetThreatIntelSet(ctx, &guardduty.GetThreatIntelSetInput{DetectorId: &s.detector, ThreatIntelSetId: made.ThreatIntelSetId})
		if err != nil {
			return false, err
		}
		if set.Status == gdtypes.ThreatIntelSetStatusError {
			return false, fmt.Errorf("the list was refused")
		}
		return set.Status == gdtypes.ThreatIntelSetStatusActive, nil
	})
	if err != nil {
		return err
	}
	s.done(time.Since(began), "threat list demo-threats is active, with %s on it", threatAddress)

	for _, act := range s.acts() {
		if err := s.attack(ctx, act); err != nil {
			return fmt.Errorf("%s: %w", act.findingType, err)
		}
	}
	return nil
}

// attack does one act in the container and follows it to its finding and, where a rule routes the type, to its mail.
func (s *story) attack(ctx context.Context, a act) error {
	s.note("%s", a.what)
	at, err := a.run(ctx, s.task.container)
	if err != nil {
		return err
	}
	f, stored, err := s.finding(ctx, a.findingType)
	if err != nil {
		return err
	}
	process := "?"
	if f.Service != nil && f.Service.RuntimeDetails != nil && f.Service.RuntimeDetails.Process != nil {
		p := f.Service.RuntimeDetails.Process
		process = fmt.Sprintf("%s (pid %d, %d ancestors known)", aws.ToString(p.ExecutablePath), aws.ToInt32(p.Pid), len(p.Lineage))
	}
	where := ""
	if e := f.Resource.EcsClusterDetails; e != nil && e.TaskDetails != nil && len(e.TaskDetails.Containers) > 0 {
		c := e.TaskDetails.Containers[0]
		where = fmt.Sprintf("%s/%s, image %s", aws.ToString(e.Name), aws.ToString(c.Name), aws.ToString(c.Image))
	} else {
		return fmt.Errorf("the finding %s does not name the ECS task and container", aws.ToString(f.Id))
	}
	s.done(stored.Sub(at), "finding %s, severity %.1f: %s", a.findingType, aws.ToFloat64(f.Severity), process)
	s.note("  in %s", where)
	if !slices.Contains(routed, a.findingType) || s.mails == nil {
		return nil
	}
	id := aws.ToString(f.Id)
	m, err := s.mails.wait(ctx, mailWait, func(m mail) bool { return strings.Contains(m.text, id) })
	if err != nil {
		return fmt.Errorf("waiting for the mail about finding %s: %w", id, err)
	}
	s.done(m.stored.Sub(at), "mail arrived: %q — time from system call to mail", m.subject)
	return nil
}

// finding waits for a real finding of the type, and returns it with the time at which it was there.
func (s *story) finding(ctx context.Context, findingType string) (gdtypes.Finding, time.Time, error) {
	var f gdtypes.Finding
	err := wait(ctx, findingWait, "a finding", func() (bool, error) {
		if err := s.agentRuns(); err != nil {
			return false, err
		}
		found, err := s.findings(ctx, findingType, false)
		if err != nil || len(found) == 0 {
			return false, err
		}
		f = found[0]
		return true, nil
	})
	return f, time.Now(), err
}

// findings returns the findings of a type, samples or real ones.
func (s *story) findings(ctx context.Context, findingType string, samples bool) ([]gdtypes.Finding, error) {
	list, err := s.clients.GuardDuty.ListFindings(ctx, &guardduty.ListFindingsInput{
		DetectorId:      &s.detector,
		FindingCriteria: &gdtypes.FindingCriteria{Criterion: map[string]gdtypes.Condition{"type": {Equals: []string{findingType}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("listing findings: %w", err)
	}
	if len(list.FindingIds) == 0 {
		return nil, nil
	}
	got, err := s.clients.GuardDuty.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: &s.detector, FindingIds: list.FindingIds})
	if err != nil {
		return nil, fmt.Errorf("getting findings: %w", err)
	}
	return slices.DeleteFunc(got.Findings, func(f gdtypes.Finding) bool { return app.IsSample(f) != samples }), nil
}

func (s *story) silenced(ctx context.Context) error {
	s.heading("Silenced", "an agent that stops reporting is noticed")
	s.note("The service is scaled from 1 to 0.")
	began := time.Now()
	if err := s.service.stop(ctx, s.task); err != nil {
		return err
	}
	if err := s.unhealthy(ctx, began, "Agent not reporting"); err != nil {
		return err
	}

	s.note("The service is scaled from 0 to 1 again; a third rule tells of the way back.")
	if err := s.rule(ctx, "vedette-demo-healthy", healthyPattern); err != nil {
		return err
	}
	began = time.Now()
	t, err := s.service.start(ctx)
	s.task = t
	if err != nil {
		return err
	}
	if _, err := s.coverage(ctx, "HEALTHY", ""); err != nil {
		return err
	}
	s.done(time.Since(began), "cluster %s is HEALTHY", clusterName)
	if err := s.healthMail(ctx, began, "Healthy"); err != nil {
		return err
	}

	s.note("Only the agent is killed (SIGKILL); the application goes on.")
	began = time.Now()
	s.service.killAgent(s.task)
	return s.unhealthy(ctx, began, "Agent exited")
}

// unhealthy waits for the row, the issue and the mail.
func (s *story) unhealthy(ctx context.Context, began time.Time, issue string) error {
	row, err := s.coverage(ctx, "UNHEALTHY", issue)
	if err != nil {
		return err
	}
	s.done(time.Since(began), "cluster %s is UNHEALTHY: %s", clusterName, aws.ToString(row.Issue))
	return s.healthMail(ctx, began, "Unhealthy")
}

// healthMail waits for the mail about a change of coverage that came after a moment.
func (s *story) healthMail(ctx context.Context, after time.Time, status string) error {
	if s.mails == nil {
		return nil
	}
	m, err := s.mails.wait(ctx, mailWait, func(m mail) bool {
		return m.stored.After(after) && strings.Contains(m.text, clusterName) && strings.Contains(strings.ToLower(m.subject), strings.ToLower(status)) &&
			(status == "Unhealthy" || !strings.Contains(strings.ToLower(m.subject), "unhealthy"))
	})
	if err != nil {
		return fmt.Errorf("waiting for the %s mail: %w", status, err)
	}
	s.done(m.stored.Sub(after), "mail arrived: %q", m.subject)
	return nil
}

func (s *story) samples(ctx context.Context) error {
	s.heading("Samples", "sample findings go the same way")
	s.command(append([]string{"aws", "guardduty", "create-sample-findings", "--detector-id", s.detector, "--finding-types"}, routed...)...)
	began := time.Now()
	if _, err := s.clients.GuardDuty.CreateSampleFindings(ctx, &guardduty.CreateSampleFindingsInput{DetectorId: &s.detector, FindingTypes: routed}); err != nil {
		return fmt.Errorf("creating sample findings: %w", err)
	}
	for _, findingType := range routed {
		found, err := s.findings(ctx, findingType, true)
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%d sample findings of type %s, want 1", len(found), findingType)
		}
		id := aws.ToString(found[0].Id)
		s.done(time.Since(began), "sample finding %s of type %s, severity %s", id, findingType, finding.Level(aws.ToFloat64(found[0].Severity)))
		if s.mails == nil {
			continue
		}
		m, err := s.mails.wait(ctx, mailWait, func(m mail) bool { return strings.Contains(m.text, id) })
		if err != nil {
			return fmt.Errorf("waiting for the mail about sample finding %s: %w", id, err)
		}
		s.done(m.stored.Sub(began), "mail arrived: %q", m.subject)
	}
	return nil
}

// wait asks until the answer is yes, an error, or the limit is over. It shows that it waits, on what and for how long.
func wait(ctx context.Context, limit time.Duration, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := ask()
		if err != nil && ctx.Err() == nil {
			return err
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%s did not come within %s", what, limit)
			}
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

func shortPath(path string) string {
	dir, base := filepath.Split(path)
	if len(base) > 20 {
		base = base[:12] + "…"
	}
	return dir + base
}
