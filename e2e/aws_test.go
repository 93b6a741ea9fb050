package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAWSClient uses the real aws client, unmodified but for the variables of `vedette env`, as the README says.
func TestAWSClient(t *testing.T) {
	privileged(t, "aws")
	s := serve(t, "up")
	detector := s.detector()

	t.Run("detector", func(t *testing.T) {
		d := s.aws("guardduty", "get-detector", "--detector-id", detector)
		if d["Status"] != "ENABLED" {
			t.Errorf("get-detector: %v", d)
		}
		_, errs, code := s.try("guardduty", "get-detector", "--detector-id", "nosuch")
		if code == 0 || !strings.Contains(errs, "BadRequestException") {
			t.Errorf("get-detector of another account: exit code %d, %s", code, errs)
		}
	})

	topic := ""
	t.Run("alerts", func(t *testing.T) {
		topic, _ = s.aws("sns", "create-topic", "--name", "alerts")["TopicArn"].(string)
		if !strings.HasPrefix(topic, "arn:aws:sns:") {
			t.Fatalf("create-topic answered %q", topic)
		}
		for _, protocol := range []string{"email", "email-json"} {
			sub := s.aws("sns", "subscribe", "--topic-arn", topic, "--protocol", protocol, "--notification-endpoint", protocol+"@example.com")
			if sub["SubscriptionArn"] != "pending confirmation" {
				t.Errorf("subscribe answered %v", sub)
			}
		}
		confirmMails(t, s, 2)
		subs, _ := s.aws("sns", "list-subscriptions-by-topic", "--topic-arn", topic)["Subscriptions"].([]any)
		for _, sub := range subs {
			if arn, _ := at(sub, "SubscriptionArn").(string); !strings.HasPrefix(arn, topic+":") {
				t.Errorf("the subscription is not confirmed: %v", sub)
			}
		}
		pattern := `{"source":["aws.guardduty"],"detail-type":["GuardDuty Finding"],"detail":{"severity":[{"numeric":[">=",7]}]}}`
		rule := s.aws("events", "put-rule", "--name", "high", "--event-pattern", pattern)
		if arn, _ := rule["RuleArn"].(string); !strings.HasSuffix(arn, ":rule/high") {
			t.Errorf("put-rule answered %v", rule)
		}
		if put := s.aws("events", "put-targets", "--rule", "high", "--targets", "Id=1,Arn="+topic); put["FailedEntryCount"] != 0.0 {
			t.Errorf("put-targets answered %v", put)
		}
		if targets := s.aws("events", "list-targets-by-rule", "--rule", "high"); at(targets, "Targets", 0, "Arn") != topic {
			t.Errorf("list-targets-by-rule answered %v", targets)
		}
		_, errs, code := s.try("events", "put-rule", "--name", "bad", "--event-pattern", `{"source":[{"prefxi":"aws"}]}`)
		if code == 0 || !strings.Contains(errs, "InvalidEventPatternException") || !strings.Contains(errs, "Unrecognized match type prefxi") {
			t.Errorf("a pattern that does not parse: exit code %d, %s", code, errs)
		}
	})

	t.Run("samples", func(t *testing.T) {
		s.aws("guardduty", "create-sample-findings", "--detector-id", detector)
		ids, _ := s.aws("guardduty", "list-findings", "--detector-id", detector, "--finding-criteria",
			`{"Criterion":{"severity":{"Gte":8}}}`)["FindingIds"].([]any)
		if len(ids) < 10 {
			t.Fatalf("%d sample findings of severity 8 and more", len(ids))
		}
		got := s.aws("guardduty", "get-findings", "--detector-id", detector, "--finding-ids", ids[0].(string))
		if at(got, "Findings", 0, "SchemaVersion") != "2.0" || at(got, "Findings", 0, "Service", "FeatureName") != "RuntimeMonitoring" {
			t.Errorf("get-findings answered %v", got)
		}
		stats := s.aws("guardduty", "get-findings-statistics", "--detector-id", detector, "--finding-statistic-types", "COUNT_BY_SEVERITY")
		if at(stats, "FindingStatistics", "CountBySeverity", "8.0") == nil && at(stats, "FindingStatistics", "CountBySeverity", "8") == nil {
			t.Errorf("get-findings-statistics answered %v", stats)
		}
		// The readable mail and the raw one about the same finding.
		id := ids[0].(string)
		eventually(t, 15*time.Second, "both mails", func() error {
			text, raw := "", ""
			for _, m := range s.mails() {
				switch {
				case strings.Contains(m.Text, `"Type" : "Notification"`) && strings.Contains(m.Text, id):
					raw = m.Text
				case strings.Contains(m.Text, id):
					text = m.Text
				}
			}
			if text == "" || raw == "" {
				return fmt.Errorf("readable: %t, JSON: %t", text != "", raw != "")
			}
			var envelope struct{ Message string }
			if err := json.Unmarshal([]byte(raw), &envelope); err != nil {
				return fmt.Errorf("the email-json mail is not JSON: %w", err)
			}
			var event map[string]any
			if err := json.Unmarshal([]byte(envelope.Message), &event); err != nil {
				return fmt.Errorf("its message is not the event: %w", err)
			}
			if at(event, "detail", "id") != id || at(event, "source") != "aws.guardduty" {
				return fmt.Errorf("its message is another event: %s", envelope.Message)
			}
			return nil
		})
		s.aws("guardduty", "archive-findings", "--detector-id", detector, "--finding-ids", id)
		if f := s.aws("guardduty", "get-findings", "--detector-id", detector, "--finding-ids", id); at(f, "Findings", 0, "Service", "Archived") != true {
			t.Errorf("an archived finding says %v", at(f, "Findings", 0, "Service", "Archived"))
		}
		s.aws("guardduty", "unarchive-findings", "--detector-id", detector, "--finding-ids", id)
	})

	t.Run("events", func(t *testing.T) {
		event := `{"id":"1","account":"000000000000","source":"my.app","time":"2026-11-23T09:00:00Z","region":"us-east-1","resources":[],"detail-type":"Deployed","detail":{"n":5}}`
		for pattern, want := range map[string]bool{`{"detail":{"n":[{"numeric":[">",4]}]}}`: true, `{"source":["aws.guardduty"]}`: false} {
			if got := s.aws("events", "test-event-pattern", "--event-pattern", pattern, "--event", event); got["Result"] != want {
				t.Errorf("test-event-pattern %s: %v, want %t", pattern, got["Result"], want)
			}
		}
		s.aws("events", "put-rule", "--name", "deployed", "--event-pattern", `{"source":["my.app"]}`)
		s.aws("events", "put-targets", "--rule", "deployed", "--targets",
			`[{"Id":"1","Arn":"`+topic+`","InputTransformer":{"InputPathsMap":{"n":"$.detail.n"},"InputTemplate":"\"deployed version <n>\""}}]`)
		put := s.aws("events", "put-events", "--entries", `[{"Source":"my.app","DetailType":"Deployed","Detail":"{\"n\":42}"},{"Source":"my.app","DetailType":"Deployed","Detail":"no json"}]`)
		if put["FailedEntryCount"] != 1.0 || at(put, "Entries", 1, "ErrorCode") != "MalformedDetail" {
			t.Errorf("put-events answered %v", put)
		}
		waitMail(t, s, "the transformed event's mail", func(m keptMail) bool { return strings.Contains(m.Text, "deployed version 42") })
	})

	t.Run("publish", func(t *testing.T) {
		if m := s.aws("sns", "publish", "--topic-arn", topic, "--subject", "Hello", "--message", "from a person"); m["MessageId"] == "" {
			t.Errorf("publish answered %v", m)
		}
		m := waitMail(t, s, "the published mail", func(m keptMail) bool { return m.Subject == "Hello" && strings.HasPrefix(m.Text, "from a person") })
		if !strings.Contains(m.Text, "unsubscribe") {
			t.Errorf("the mail does not say how to unsubscribe:\n%s", m.Text)
		}
	})

	t.Run("coverage", func(t *testing.T) {
		c := s.aws("guardduty", "list-coverage", "--detector-id", detector)
		if at(c, "Resources", 0, "CoverageStatus") != "HEALTHY" || at(c, "Resources", 0, "ResourceDetails", "ResourceType") != "ECS" {
			t.Errorf("list-coverage answered %v", c)
		}
		n := s.aws("guardduty", "get-coverage-statistics", "--detector-id", detector, "--statistics-type", "COUNT_BY_COVERAGE_STATUS")
		if at(n, "CoverageStatistics", "CountByCoverageStatus", "HEALTHY") == nil {
			t.Errorf("get-coverage-statistics answered %v", n)
		}
	})

	t.Run("threat list with bad lines", func(t *testing.T) {
		list := filepath.Join(s.data, "lists", "list.txt")
		if err := os.WriteFile(list, []byte("# comment\n203.0.113.9\nnot an address!\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		set := s.aws("guardduty", "create-threat-intel-set", "--detector-id", detector, "--name", "bad lines", "--format", "TXT", "--location", "file://"+list, "--activate")
		id, _ := set["ThreatIntelSetId"].(string)
		eventually(t, 10*time.Second, "the list's activation", func() error {
			got := s.aws("guardduty", "get-threat-intel-set", "--detector-id", detector, "--threat-intel-set-id", id)
			if got["Status"] != "ACTIVE" {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
	})

	t.Run("not there yet", func(t *testing.T) {
		for _, args := range [][]string{
			{"guardduty", "list-members", "--detector-id", detector},
			{"events", "list-api-destinations"},
			{"sns", "list-platform-applications"},
		} {
			if out, errs, code := s.try(args...); code == 0 || strings.TrimSpace(out) != "" || !strings.Contains(errs, "An error occurred (") {
				t.Errorf("aws %s: exit code %d, %s %s", strings.Join(args, " "), code, out, errs)
			}
		}
	})

	t.Run("wrong keys", func(t *testing.T) {
		good := s.env
		defer func() { s.env = good }()
		s.env = append(append([]string(nil), good...), "AWS_SECRET_ACCESS_KEY=wrong")
		for _, args := range [][]string{{"guardduty", "list-detectors"}, {"events", "list-rules"}, {"sns", "list-topics"}} {
			if _, errs, code := s.try(args...); code == 0 || !strings.Contains(strings.ToLower(errs), "signature") {
				t.Errorf("aws %s with a wrong secret: exit code %d, %s", strings.Join(args, " "), code, errs)
			}
		}
	})
}

// waitMail waits for a kept mail.
func waitMail(t *testing.T, s *server, what string, isIt func(keptMail) bool) keptMail {
	t.Helper()
	var found keptMail
	eventually(t, 15*time.Second, what, func() error {
		subjects := []string{}
		for _, m := range s.mails() {
			if isIt(m) {
				found = m
				return nil
			}
			subjects = append(subjects, m.Subject)
		}
		return fmt.Errorf("%d mails: %q", len(subjects), subjects[max(0, len(subjects)-5):])
	})
	return found
}
