package mail

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("update", false, "rewrite the expected mails")

// TestReports compares mails with those in testdata: NAME.json is the event, NAME.txt the subject and text.
func TestReports(t *testing.T) {
	events, err := filepath.Glob("testdata/*.json")
	if err != nil || len(events) < 5 {
		t.Fatalf("found %d events, %v", len(events), err)
	}
	for _, path := range events {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m := Notify(Notification{MessageID: "m-1", To: "you@example.org", Body: string(body), UnsubscribeURL: "http://127.0.0.1:8421/unsubscribe.html?SubscriptionArn=x"})
			got := "Subject: " + m.Subject + "\n\n" + m.Text
			file := strings.TrimSuffix(path, ".json") + ".txt"
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("mail (-want +got):\n%s", diff)
			}
			if m.HTML == "" || !strings.Contains(m.HTML, "unsubscribe.html") {
				t.Error("there is no HTML, or it has no way out")
			}
			for _, line := range strings.Split(m.Text, "\n") {
				if utf8.RuneCountInString(line) > 2100 {
					t.Errorf("a line of %d characters", utf8.RuneCountInString(line))
				}
			}
		})
	}
}

func findingEvent(t *testing.T, change func(detail map[string]any)) string {
	t.Helper()
	text, err := os.ReadFile("testdata/reverse_shell.json")
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]any
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	change(e["detail"].(map[string]any))
	text, err = json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// safe fails if something in a mail could be obeyed instead of read.
func safe(t *testing.T, m Message) {
	t.Helper()
	for name, s := range map[string]string{"subject": m.Subject, "text": m.Text} {
		for _, r := range s {
			if r == '\n' && name == "text" {
				continue
			}
			if unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Errorf("the %s holds %U", name, r)
			}
		}
	}
	if n := utf8.RuneCountInString(m.Subject); n > maxSubject {
		t.Errorf("the subject has %d characters", n)
	}
	if strings.Contains(m.HTML, "<script") || strings.Contains(m.HTML, "<img") {
		t.Errorf("a tag got into the HTML:\n%s", m.HTML)
	}
}

func TestHostileValues(t *testing.T) {
	for name, evil := range map[string]string{
		"line end":   "x\r\nBcc: victim@example.org\r\n\r\nbody",
		"terminal":   "\x1b[2J\x1b]0;owned\x07",
		"reversed":   "gpj.\u202eexe",
		"invisible":  "a\u200b\u2066b",
		"HTML":       `<script>alert(1)</script><img src=http://198.51.100.9/x>`,
		"long":       strings.Repeat("long ", 100_000),
		"no UTF-8":   "\xff\xfe\x00",
		"separators": "a\u2028b\u0085c",
	} {
		t.Run(name, func(t *testing.T) {
			m := Notify(Notification{MessageID: "m", To: "you@example.org", Body: findingEvent(t, func(d map[string]any) {
				d["type"], d["title"], d["description"], d["id"] = evil, evil, evil, evil
				d["accountId"], d["region"] = evil, evil
				s := d["service"].(map[string]any)
				s["detectorId"] = evil
				p := s["runtimeDetails"].(map[string]any)["process"].(map[string]any)
				for _, k := range []string{"name", "executablePath", "executableSha256", "pwd", "user"} {
					p[k] = evil
				}
				for _, l := range p["lineage"].([]any) {
					l.(map[string]any)["name"] = evil
				}
				s["runtimeDetails"].(map[string]any)["context"] = map[string]any{"socketPath": evil, "memoryRegions": []string{evil}, "relatedFilePaths": []string{evil}}
				s["action"].(map[string]any)["dnsRequestAction"] = map[string]any{"domain": evil}
				c := d["resource"].(map[string]any)["ecsClusterDetails"].(map[string]any)
				c["name"] = evil
				c["taskDetails"].(map[string]any)["group"] = evil
			})})
			safe(t, m)
			if strings.Contains(m.Text, "--finding-ids") {
				t.Error("an odd id got into a command line")
			}
			if len(m.Text) > 60_000 {
				t.Errorf("the text has %d bytes", len(m.Text))
			}
		})
	}
}

func TestPlainMessagesStayAsTheyAre(t *testing.T) {
	n := Notification{MessageID: "m", To: "you@example.org", TopicARN: "arn:aws:sns:r:a:alerts", SubscriptionARN: "arn:aws:sns:r:a:alerts:1", UnsubscribeURL: "http://127.0.0.1/unsubscribe.html?x=1", OneClickURL: "https://v.example/unsubscribe.html?x=1"}
	for name, c := range map[string]struct{ subject, body, wantSubject, wantText string }{
		"words":            {"", "Hello,\nworld ⚠️ \t€", DefaultSubject, "Hello,\nworld ⚠️ \t€\n"},
		"a subject":        {"Look", "x", "Look", "x\n"},
		"transformed":      {"", `"High: something"`, DefaultSubject, "\"High: something\"\n"},
		"event of others":  {"", `{"source":"my.app","detail-type":"GuardDuty Finding","detail":{"type":"x"}}`, DefaultSubject, `{"source":"my.app","detail-type":"GuardDuty Finding","detail":{"type":"x"}}` + "\n"},
		"torn event":       {"", `{"source":"aws.guardduty","detail-type":"GuardDuty Finding","detail":[1]}`, DefaultSubject, `{"source":"aws.guardduty","detail-type":"GuardDuty Finding","detail":[1]}` + "\n"},
		"control sequence": {"", "\x1b[2Jx\u202ey", DefaultSubject, "\uFFFD[2Jx\uFFFDy\n"},
	} {
		t.Run(name, func(t *testing.T) {
			n := n
			n.Subject, n.Body = c.subject, c.body
			m := Notify(n)
			want := c.wantText + "\n--\nIf you wish to stop receiving notifications from this topic, please click or visit the link below to unsubscribe:\n" +
				"http://127.0.0.1/unsubscribe.html?x=1\n\nPlease do not reply directly to this email.\n"
			if m.Subject != c.wantSubject || m.Text != want || m.HTML != "" {
				t.Errorf("subject %q, HTML %q, text:\n%s\nwant:\n%s", m.Subject, m.HTML, m.Text, want)
			}
			if m.Headers["List-Unsubscribe"] != "<https://v.example/unsubscribe.html?x=1>" || m.Headers["List-Unsubscribe-Post"] != "List-Unsubscribe=One-Click" {
				t.Errorf("headers %v", m.Headers)
			}
		})
	}
}

func TestAPublishedSubjectMeansNoReport(t *testing.T) {
	body := findingEvent(t, func(map[string]any) {})
	m := Notify(Notification{Subject: "mine", Body: body})
	if m.Subject != "mine" || !strings.HasPrefix(m.Text, body) {
		t.Errorf("subject %q, text %q", m.Subject, m.Text[:80])
	}
}

func TestConfirm(t *testing.T) {
	m := Confirm(Confirmation{ID: "c", To: "you@example.org", TopicARN: "arn:aws:sns:r:a:<b>", ConfirmURL: "http://127.0.0.1:1/confirmation.html?Action=ConfirmSubscription&TopicArn=t&Token=abc"})
	if m.Subject != ConfirmationSubject || !strings.Contains(m.Text, "\nhttp://127.0.0.1:1/confirmation.html?Action=ConfirmSubscription&TopicArn=t&Token=abc\n") {
		t.Errorf("%q\n%s", m.Subject, m.Text)
	}
	if !strings.Contains(m.HTML, `href="http://127.0.0.1:1/confirmation.html?Action=ConfirmSubscription&amp;TopicArn=t&amp;Token=abc"`) || strings.Contains(m.HTML, "<b>:") || strings.Contains(m.HTML, ":<b>") {
		t.Errorf("HTML:\n%s", m.HTML)
	}
}

func FuzzNotify(f *testing.F) {
	events, _ := filepath.Glob("testdata/*.json")
	for _, path := range events {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"source":"aws.guardduty","detail-type":"GuardDuty Finding","detail":{"type":"x","service":{"runtimeDetails":{"process":null}}}}`)
	f.Add(`{"source":"aws.guardduty","detail-type":"GuardDuty Runtime Protection Healthy","detail":{"currentStatus":"x"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		m := Notify(Notification{MessageID: "m", To: "you@example.org", Body: body})
		if strings.ContainsFunc(m.Subject, unicode.IsControl) {
			t.Errorf("subject %q", m.Subject)
		}
		if strings.ContainsFunc(m.Text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			t.Errorf("text %q", m.Text)
		}
	})
}
