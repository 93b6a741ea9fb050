package finding

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	sdk "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/event"
)

var (
	identity = Identity{AccountID: "111122223333", Region: "us-east-1", DetectorID: "12abc34d567e8fa901bc2d34e56789f0"}
	noon     = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
)

func occurrence() *Occurrence {
	parent := &event.Process{UUID: event.UUID{2}, PID: 1, Name: "node", ExePath: "/usr/bin/node", StartTime: noon.UnixNano()}
	return &Occurrence{
		Type: "Execution:Runtime/NewBinaryExecuted", Key: "k", Time: noon, Count: 2,
		Host: Host{ID: "host-1", Name: "node-1", AgentID: "agent-1", Version: "1.2"},
		Process: &event.Process{UUID: event.UUID{1}, PID: 7, NSPID: 2, Name: "x\xff", ExePath: "/tmp/\x1bx", SHA256: strings.Repeat("a", 64),
			StartTime: noon.UnixNano(), Parent: parent, ParentUUID: parent.UUID, Cwd: "/tmp"},
		Container: &event.Container{ID: "c1", Name: "app-1", Image: "registry.example/shop/web:1.9.3", Runtime: "docker", Privileged: true,
			Mounts: []event.Mount{{Name: "data", Source: "/srv/data", Target: "/data"}}, Cluster: "prod-web",
			Task: &event.Task{ARN: "arn:aws:ecs:us-east-1:111122223333:task/prod-web/1", ClusterARN: "arn:aws:ecs:us-east-1:111122223333:cluster/prod-web",
				DefinitionARN: "arn:aws:ecs:us-east-1:111122223333:task-definition/web:42", Family: "web", Revision: "42", Service: "web",
				LaunchType: "FARGATE", StartedBy: "ecs-svc/1", ContainerName: "app", CreatedAt: noon.UnixNano(), StartedAt: noon.UnixNano()}},
		Context: Context{ModifiedAt: Epoch(noon.UnixNano())},
	}
}

// viaSDK returns findings as aws-sdk-go-v2 reads them.
func viaSDK(t *testing.T, findings ...*Finding) []sdk.Finding {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var texts []string
		for _, f := range findings {
			text, err := f.JSON()
			if err != nil {
				t.Error(err)
			}
			texts = append(texts, string(text))
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"findings":[%s]}`, strings.Join(texts, ","))
	}))
	defer server.Close()
	client := guardduty.New(guardduty.Options{Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	out, err := client.GetFindings(t.Context(), &guardduty.GetFindingsInput{DetectorId: aws.String("d"), FindingIds: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Findings
}

// notInSDK are members that GuardDuty documents and the SDK does not know.
var notInSDK = map[string]bool{"fileOperation": true, "filePath": true, "relatedFilePaths": true}

// TestSDKReadsEveryMember compares each finding's JSON with what is left of it after the SDK has read it.
func TestSDKReadsEveryMember(t *testing.T) {
	findings, err := Samples(nil, identity, noon)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 46 {
		t.Fatalf("%d types", len(findings))
	}
	findings = append(findings, New(identity, occurrence(), noon))
	host := occurrence()
	host.Container = nil
	plain := occurrence()
	plain.Container.Task = nil
	findings = append(findings, New(identity, host, noon), New(identity, plain, noon))
	read := viaSDK(t, findings...)
	for i, f := range findings {
		text, err := f.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var want any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		got := wire(reflect.ValueOf(read[i]))
		compare := strip(want)
		if diff := cmp.Diff(compare, got); diff != "" {
			t.Errorf("%s: the SDK lost or changed members (-ours +SDK):\n%s", f.Type, diff)
		}
	}
}

// strip removes what the SDK does not know, and what cannot be told from a missing member: empty lists and objects.
func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, m := range v {
			if m = strip(m); m != nil && !notInSDK[k] {
				out[k] = m
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		if len(v) == 0 {
			return nil
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = strip(v[i])
		}
		return out
	}
	return v
}

// wire turns an SDK value back into generic JSON with the names of the wire.
func wire(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return wire(v.Elem())
	case reflect.Struct:
		if at, ok := v.Interface().(time.Time); ok {
			return float64(at.UnixMilli()) / 1000
		}
		out := map[string]any{}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() {
				continue
			}
			if m := wire(v.Field(i)); m != nil {
				name := strings.ToLower(field.Name[:1]) + field.Name[1:]
				if name == "taskCreatedAt" {
					name = "createdAt" // The only member that the SDK calls differently.
				}
				out[name] = m
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case reflect.Slice:
		if v.Len() == 0 {
			return nil
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = wire(v.Index(i))
		}
		return out
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int32, reflect.Int64:
		return float64(v.Int())
	case reflect.Float64:
		return v.Float()
	}
	panic(v.Kind())
}

func TestWireForm(t *testing.T) {
	f := New(identity, occurrence(), noon.Add(time.Second))
	text, err := f.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"schemaVersion":"2.0","accountId":"111122223333","region":"us-east-1","partition":"aws","id":"`,
		`"arn":"arn:aws:guardduty:us-east-1:111122223333:detector/12abc34d567e8fa901bc2d34e56789f0/finding/` + f.ID + `"`,
		`"createdAt":"2026-11-23T12:00:01.123Z"`, `"eventFirstSeen":"2026-11-23T12:00:00.123Z"`,
		`"startTime":1795435200.123`, `"modifiedAt":1795435200.123`, `"userId":0`, `"imagePrefix":"registry.example/shop"`,
		`"resourceType":"ECSCluster"`, `"group":"service:web"`, `"name":"app"`, `"action":{}`,
		`"additionalInfo":{"value":"{\"agentDetails\":{\"agentVersion\":\"1.2\",\"agentId\":\"agent-1\"}}","type":"default"}`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the finding lacks %s:\n%s", want, text)
		}
	}
	if regexp.MustCompile(`"resourceRole"|null`).Match(text) {
		t.Errorf("members that runtime findings do not have: %s", text)
	}
	detail, err := f.Detail()
	if err != nil {
		t.Fatal(err)
	}
	want := `"additionalInfo":{"agentDetails":{"agentVersion":"1.2","agentId":"agent-1"},"value":"{\"agentDetails\":`
	if !bytes.Contains(detail, []byte(want)) {
		t.Errorf("the detail lacks %s:\n%s", want, detail)
	}
	// The encoder spells a replaced byte as an escape at first, as the character later.
	text = bytes.ReplaceAll(text, []byte(`\ufffd`), []byte("\ufffd"))
	for _, form := range [][]byte{text, detail} {
		back, err := Parse(form)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.JSON()
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("read and written again, it changed (%v):\n%s\n%s", err, text, again)
		}
	}
}

func TestResources(t *testing.T) {
	occ := occurrence()
	f := New(identity, occ, noon)
	if f.ResourceKey() != occ.Container.Task.ClusterARN || f.Resource.InstanceDetails != nil {
		t.Errorf("a Fargate task: %+v", f.Resource)
	}
	occ.Container.Task.LaunchType = "EC2"
	if f = New(identity, occ, noon); f.Resource.InstanceDetails == nil || f.Resource.InstanceDetails.InstanceID != "host-1" {
		t.Errorf("a task on EC2: %+v", f.Resource)
	}
	occ.Container.Task = nil
	if f = New(identity, occ, noon); f.Resource.ResourceType != ResourceContainer || f.ResourceKey() != "c1" {
		t.Errorf("a container: %+v", f.Resource)
	}
	occ.Container = nil
	if f = New(identity, occ, noon); f.Resource.ResourceType != ResourceInstance || f.ResourceKey() != "host-1" {
		t.Errorf("a host: %+v", f.Resource)
	}
}

func TestFindingID(t *testing.T) {
	id := identity.FindingID("a", "b")
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("id %q", id)
	}
	for _, other := range []string{identity.FindingID("ab", ""), identity.FindingID("", "ab"), Identity{DetectorID: "x"}.FindingID("a", "b")} {
		if other == id {
			t.Error("two findings with one id")
		}
	}
}

func TestMerge(t *testing.T) {
	f := New(identity, occurrence(), noon)
	f.Service.Archived, f.Service.UserFeedback = true, "USEFUL"
	created := f.CreatedAt

	later := occurrence()
	later.Time, later.Count, later.Description, later.Severity = noon.Add(time.Hour), 3, "later", 9
	Merge(f, New(identity, later, noon.Add(time.Hour)))
	if f.Service.Count != 5 || f.Description != "later" || f.Severity != 9 || !f.Service.Archived || f.Service.UserFeedback != "USEFUL" {
		t.Errorf("after a later occurrence: %+v", f)
	}
	if f.CreatedAt != created || f.UpdatedAt != At(noon.Add(time.Hour)) || f.Service.EventLastSeen != At(noon.Add(time.Hour)) || f.Service.EventFirstSeen != At(noon) {
		t.Errorf("times after a later occurrence: %+v %+v", f.CreatedAt, f.Service)
	}

	early := occurrence()
	early.Time, early.Count, early.Description = noon.Add(-time.Hour), 1, "early"
	Merge(f, New(identity, early, noon.Add(2*time.Hour)))
	if f.Service.Count != 6 || f.Description != "later" || f.Service.EventFirstSeen != At(noon.Add(-time.Hour)) ||
		f.Service.EventLastSeen != At(noon.Add(time.Hour)) || f.UpdatedAt != At(noon.Add(2*time.Hour)) {
		t.Errorf("after an earlier occurrence: %+v", f)
	}
}

func TestSamples(t *testing.T) {
	samples, err := Samples([]string{"Backdoor:Runtime/C&CActivity.B"}, identity, noon)
	if err != nil || len(samples) != 1 {
		t.Fatal(samples, err)
	}
	s := samples[0]
	if !s.Sample() || s.Service.Action.ActionType != ActionNetworkConnection || s.Severity != SeverityHigh || s.Service.Evidence == nil {
		t.Errorf("%+v", s)
	}
	detail, err := s.Detail()
	if err != nil || !bytes.Contains(detail, []byte(`"additionalInfo":{"threatListName":"GeneratedFindingThreatListName","sample":true,`)) {
		t.Errorf("%v %s", err, detail)
	}
	again, _ := Samples([]string{"Backdoor:Runtime/C&CActivity.B"}, identity, noon.Add(time.Hour))
	if again[0].ID != s.ID {
		t.Error("a repeated sample has another id")
	}
	_, err = Samples([]string{"Impact:Runtime/CryptoMinerExecuted", "No:Such/Type"}, identity, noon)
	var unknown *UnknownTypeError
	if !reflect.TypeOf(err).AssignableTo(reflect.TypeOf(unknown)) || err.Error() != `unknown finding type "No:Such/Type"` {
		t.Errorf("unknown type: %v", err)
	}
	if New(identity, occurrence(), noon).Sample() {
		t.Error("a real finding is a sample")
	}
}

func TestTypeTable(t *testing.T) {
	list := Types()
	if !slices.IsSortedFunc(list, func(a, b Type) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the types are not sorted: Lookup fails")
	}
	for _, typ := range list {
		if !regexp.MustCompile(`^[A-Za-z]+:Runtime/[A-Za-z&]+(\.[A-Z][A-Za-z]*)?(!DNS)?$`).MatchString(typ.Name) {
			t.Errorf("type %q", typ.Name)
		}
		if got, ok := Lookup(typ.Name); !ok || got.Name != typ.Name {
			t.Errorf("Lookup(%q) = %+v, %v", typ.Name, got, ok)
		}
		if !strings.HasSuffix(typ.Title, ".") || !strings.HasSuffix(typ.Description, ".") || typ.Severity < 1 {
			t.Errorf("%+v", typ)
		}
	}
	if _, ok := Lookup("nope"); ok {
		t.Error("nope is a type")
	}
}

func TestTimes(t *testing.T) {
	for ns, want := range map[int64]string{0: "0.000", 1500000000: "1.500", -1500000000: "-1.500", 1795435200123456789: "1795435200.123"} {
		got, err := json.Marshal(Epoch(ns))
		if err != nil || string(got) != want {
			t.Errorf("%d is %s, %v; want %s", ns, got, err, want)
		}
	}
	// The largest time that an agent can claim must not make a finding unreadable.
	for _, e := range []Epoch{1<<63 - 1, -1 << 63} {
		text, _ := json.Marshal(e)
		var back Epoch
		if err := json.Unmarshal(text, &back); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	var at Timestamp
	if err := json.Unmarshal([]byte(`"nonsense"`), &at); err == nil {
		t.Error("nonsense is a time")
	}
	for s, want := range map[float64]string{1: "LOW", 3.9: "LOW", 4: "MEDIUM", 6.9: "MEDIUM", 7: "HIGH", 8.9: "HIGH", 9: "CRITICAL"} {
		if got := Level(s); got != want {
			t.Errorf("Level(%v) = %s, want %s", s, got, want)
		}
	}
}

func TestAddressForms(t *testing.T) {
	for in, want := range map[string]IPDetails{
		"192.0.2.1": {IPAddressV4: "192.0.2.1"}, "::ffff:192.0.2.1": {IPAddressV4: "192.0.2.1"}, "fe80::1%eth0": {IPAddressV6: "fe80::1"},
	} {
		if diff := cmp.Diff(&want, IPOf(netip.MustParseAddr(in))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	if IPOf(netip.Addr{}) != nil {
		t.Error("no address has a form")
	}
}

func TestDetector(t *testing.T) {
	d := Detector{Status: Enabled, Features: []Feature{{Name: RuntimeMonitoring, Status: Enabled,
		AdditionalConfiguration: []Feature{{Name: "ECS_FARGATE_AGENT_MANAGEMENT", Status: Enabled}}}}}
	if !d.Monitors() || d.AgentManagement() != "AUTO_MANAGED" || d.PublishInterval() != 6*time.Hour {
		t.Errorf("%+v", d)
	}
	c := d.Clone()
	c.Features[0].Status, c.Features[0].AdditionalConfiguration[0].Status, c.FindingPublishingFrequency = Disabled, Disabled, "FIFTEEN_MINUTES"
	if !d.Monitors() || c.Monitors() || c.AgentManagement() != "DISABLED" || d.AgentManagement() != "AUTO_MANAGED" || c.PublishInterval() != 15*time.Minute {
		t.Errorf("%+v %+v", d, c)
	}
}

func FuzzParse(f *testing.F) {
	text, _ := New(identity, occurrence(), noon).JSON()
	f.Add(text)
	f.Add([]byte(`{"createdAt":"","service":{"additionalInfo":{"value":"{\"a\":1}"},"runtimeDetails":{"process":{"startTime":1e300}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		finding, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := finding.JSON(); err != nil {
			t.Skip() // A year beyond 9999, which no Timestamp of ours has.
		}
		detail, err := finding.Detail()
		if err != nil {
			return // A value that is no JSON object.
		}
		if _, err := Parse(detail); err != nil {
			t.Fatalf("%v: %s", err, detail)
		}
	})
}
