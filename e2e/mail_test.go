package e2e

import (
	"fmt"
	"html"
	"io"
	"mime/quotedprintable"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var confirmation = regexp.MustCompile(`https?://[^\s<>"]*Action=ConfirmSubscription[^\s<>"]*`)

// follow opens the link of a confirmation mail as a person's browser would.
func follow(t *testing.T, text string) {
	t.Helper()
	link := confirmation.FindString(text)
	if link == "" {
		t.Fatalf("no confirmation link in:\n%s", text)
	}
	answer, err := http.Get(html.UnescapeString(link))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	page, _ := io.ReadAll(answer.Body)
	// A person's page says so; the subscribe URL of a web hook answers as the API does.
	if text := strings.ToLower(string(page)); answer.StatusCode != 200 || !strings.Contains(text, "confirmed") && !strings.Contains(text, "<confirmsubscriptionresponse") {
		t.Fatalf("the confirmation page: %s\n%s", answer.Status, page)
	}
}

// confirmMails waits for so many confirmation mails in the sink and follows their links.
func confirmMails(t *testing.T, s *server, n int) {
	t.Helper()
	var links []string
	eventually(t, 15*time.Second, "confirmation mails", func() error {
		links = nil
		for _, m := range s.mails() {
			if confirmation.MatchString(m.Text) {
				links = append(links, m.Text)
			}
		}
		if len(links) < n {
			return fmt.Errorf("%d of %d", len(links), n)
		}
		return nil
	})
	for _, text := range links {
		follow(t, text)
	}
}

// TestMailThroughARelay sends a finding's mail through a real SMTP server, OpenSMTPD, to a mailbox.
func TestMailThroughARelay(t *testing.T) {
	privileged(t, "aws", "smtpd")
	relay, box := openSMTPD(t)
	s := serve(t, "server", "--no-docker", "--smtp", "smtp://"+relay+"?starttls=off", "--mail-from", "Vedette <vedette@example.com>")
	s.aws("guardduty", "create-detector", "--enable", "--features", "Name=RUNTIME_MONITORING,Status=ENABLED")
	topic := s.aws("sns", "create-topic", "--name", "alerts")["TopicArn"].(string)
	s.aws("sns", "subscribe", "--topic-arn", topic, "--protocol", "email", "--notification-endpoint", "ops@example.com")
	follow(t, box.wait(t, "the confirmation mail", func(text string) bool { return confirmation.MatchString(text) }))
	s.aws("events", "put-rule", "--name", "all", "--event-pattern", `{"source":["aws.guardduty"]}`)
	s.aws("events", "put-targets", "--rule", "all", "--targets", "Id=1,Arn="+topic)
	s.aws("guardduty", "create-sample-findings", "--detector-id", s.detector(), "--finding-types", "Execution:Runtime/ReverseShell")
	text := box.wait(t, "the finding's mail", func(text string) bool { return strings.Contains(text, "ReverseShell") })
	for _, said := range []string{"From: ", "vedette@example.com", "ops@example.com", "Subject: [HIGH", "Content-Type: "} {
		if !strings.Contains(text, said) {
			t.Errorf("the mail does not say %q:\n%s", said, text)
		}
	}
}

// TestRelayThatHangs checks that a relay that accepts and says nothing holds up nothing but its own mails.
func TestRelayThatHangs(t *testing.T) {
	privileged(t, "aws")
	silent := silentListener(t)
	s := serve(t, "server", "--no-docker", "--smtp", "smtp://"+silent+"?starttls=off")
	topic := s.aws("sns", "create-topic", "--name", "alerts")["TopicArn"].(string)
	s.aws("sns", "subscribe", "--topic-arn", topic, "--protocol", "email", "--notification-endpoint", "ops@example.com")
	arrived := webhook(t)
	s.aws("sns", "subscribe", "--topic-arn", topic, "--protocol", "http", "--notification-endpoint", arrived.url)
	follow(t, strings.ReplaceAll(<-arrived.bodies, `\u0026`, "&"))
	s.aws("sns", "publish", "--topic-arn", topic, "--message", "still alive")
	select {
	case body := <-arrived.bodies:
		if !strings.Contains(body, "still alive") {
			t.Errorf("the web hook got %s", body)
		}
	case <-time.After(15 * time.Second):
		t.Error("a hanging mail relay held up the web hook")
	}
}

// mailbox is a folder that OpenSMTPD delivers to.
type mailbox string

func (b mailbox) wait(t *testing.T, what string, isIt func(string) bool) string {
	t.Helper()
	found := ""
	eventually(t, 20*time.Second, what, func() error {
		names, err := filepath.Glob(filepath.Join(string(b), "*.eml"))
		if err != nil {
			return err
		}
		for _, name := range names {
			raw, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			plain, _ := io.ReadAll(quotedprintable.NewReader(strings.NewReader(string(raw))))
			for _, text := range []string{string(raw), string(plain)} {
				if isIt(text) {
					found = string(raw) + "\n" + string(plain)
					return nil
				}
			}
		}
		return fmt.Errorf("%d mails, none is it", len(names))
	})
	return found
}

// openSMTPD runs Debian's OpenSMTPD on a free port of loopback; it delivers every mail to a folder.
func openSMTPD(t *testing.T) (address string, box mailbox) {
	t.Helper()
	folder, err := os.MkdirTemp("", "vedette-e2e-smtpd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	os.Chmod(folder, 0o755)
	box = mailbox(filepath.Join(folder, "mails"))
	if err := os.Mkdir(string(box), 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(string(box), 0o777) // OpenSMTPD delivers as another user
	address = freeAddress(t)
	port := address[strings.LastIndex(address, ":")+1:]
	config := filepath.Join(folder, "smtpd.conf")
	text := fmt.Sprintf("listen on 127.0.0.1 port %s\ntable everybody { \"@\" = \"daemon\" }\n"+
		"action \"keep\" mda \"cat > %s/$(date +%%s%%N).eml\" virtual <everybody>\nmatch from any for any action \"keep\"\n", port, box)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("smtpd", "-d", "-f", config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("OpenSMTPD's log:\n%s", text)
		}
	})
	eventually(t, 15*time.Second, "OpenSMTPD", func() error { return answers(address) })
	return address, box
}
