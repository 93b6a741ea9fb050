package awsapi

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// cli runs the real aws command line against a server and returns what it prints.
type cli struct {
	t      *testing.T
	path   string
	url    string
	secret string
}

func newCLI(t *testing.T, url string) *cli {
	t.Helper()
	path, err := exec.LookPath("aws")
	if err != nil {
		if os.Getenv("VEDETTE_REQUIRE_PRIVILEGED") == "1" {
			t.Fatal("the aws command line is not on PATH")
		}
		t.Skip("the aws command line is not on PATH")
	}
	return &cli{t, path, url, testSecret}
}

func (c *cli) run(args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(c.t.Context(), c.path, append([]string{"--output", "json"}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+testKey, "AWS_SECRET_ACCESS_KEY="+c.secret, "AWS_SESSION_TOKEN=of-another-account",
		"AWS_REGION="+testRegion, "AWS_DEFAULT_REGION="+testRegion, "AWS_ENDPOINT_URL="+c.url, "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	err = cmd.Run()
	return out.String(), errors.String(), err
}

// get runs a command that must succeed and decodes its output.
func (c *cli) get(v any, args ...string) {
	c.t.Helper()
	stdout, stderr, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		c.t.Fatalf("aws %s: %v in %s", strings.Join(args, " "), err, stdout)
	}
}

// wantError runs a command that must fail with the given text.
func (c *cli) wantError(text string, args ...string) {
	c.t.Helper()
	if _, stderr, err := c.run(args...); err == nil || !strings.Contains(stderr, text) {
		c.t.Errorf("aws %s: %v\n%s\nwant %q", strings.Join(args, " "), err, stderr, text)
	}
}

func TestCommandLineGuardDuty(t *testing.T) {
	r := newRig(t)
	c := newCLI(t, r.url)
	var detector struct{ DetectorId string }
	// Debian's client does not know features yet; those are tested with the Go client.
	c.get(&detector, "guardduty", "create-detector", "--enable", "--finding-publishing-frequency", "ONE_HOUR")
	id := detector.DetectorId
	c.get(nil, "guardduty", "create-sample-findings", "--detector-id", id, "--finding-types", "Backdoor:Runtime/C&CActivity.B", "Execution:Runtime/ReverseShell")
	var list struct{ FindingIds []string }
	c.get(&list, "guardduty", "list-findings", "--detector-id", id, "--finding-criteria", `{"Criterion":{"severity":{"Gte":7},"service.archived":{"Eq":["false"]}}}`,
		"--sort-criteria", `{"AttributeName":"severity","OrderBy":"DESC"}`)
	if len(list.FindingIds) != 2 {
		t.Fatalf("list-findings = %v", list)
	}
	var findings struct {
		Findings []struct {
			Id, Type, CreatedAt string
			Service             struct{ Count int }
		}
	}
	c.get(&findings, "guardduty", "get-findings", "--detector-id", id, "--finding-ids", list.FindingIds[0])
	if f := findings.Findings; len(f) != 1 || f[0].Id != list.FindingIds[0] || f[0].Service.Count != 1 || f[0].CreatedAt != "2026-11-23T09:20:04.123Z" {
		t.Errorf("get-findings = %+v", findings)
	}
	arn := "arn:aws:guardduty:" + testRegion + ":" + testAccount + ":detector/" + id
	c.get(nil, "guardduty", "tag-resource", "--resource-arn", arn, "--tags", "team=a b/c")
	c.get(nil, "guardduty", "untag-resource", "--resource-arn", arn, "--tag-keys", "none", "other")
	var tags struct{ Tags map[string]string }
	c.get(&tags, "guardduty", "list-tags-for-resource", "--resource-arn", arn)
	if tags.Tags["team"] != "a b/c" {
		t.Errorf("tags = %v", tags)
	}
	c.wantError("(BadRequestException) when calling the GetDetector operation: The request is rejected because the input detectorId is not owned by the current account.",
		"guardduty", "get-detector", "--detector-id", "12abc34d567e8fa901bc2d34e56789f0")
	c.secret = "wrong"
	c.wantError("(InvalidSignatureException)", "guardduty", "list-detectors")
}

func TestCommandLineEventsAndSNS(t *testing.T) {
	server, err := New(Options{EventBridge: fakeEvents{}, SNS: fakeSNS{}, Keys: testKeys{testKey: testSecret}, Region: testRegion})
	if err != nil {
		t.Fatal(err)
	}
	c := newCLI(t, listen(t, server))
	var buses struct{ NextToken string }
	c.get(&buses, "events", "list-event-buses", "--name-prefix", "a/b")
	if buses.NextToken != "a/b" {
		t.Errorf("list-event-buses = %+v", buses)
	}
	c.get(nil, "events", "delete-rule", "--name", "x")
	c.wantError("(UnknownOperationException) when calling the ListArchives operation", "events", "list-archives")
	c.wantError("(ValidationException) when calling the DescribeRule operation: 1 validation error detected: Value 'a b' at 'name' failed to satisfy constraint: "+
		`Member must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+`, "events", "describe-rule", "--name", "a b")
	var topics struct{ Topics []struct{ TopicArn string } }
	c.get(&topics, "sns", "list-topics")
	if len(topics.Topics) != 1 || topics.Topics[0].TopicArn != "arn" {
		t.Errorf("list-topics = %+v", topics)
	}
	c.wantError("(InvalidAction) when calling the ListPhoneNumbersOptedOut operation", "sns", "list-phone-numbers-opted-out")
	c.secret = "wrong"
	c.wantError("(SignatureDoesNotMatch)", "sns", "list-topics")
	c.wantError("(InvalidSignatureException)", "events", "list-event-buses")
}
