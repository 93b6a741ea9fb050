package main

import (
	"context"
	"errors"
	"net/smtp"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

func TestMain(m *testing.M) {
	simulate.MaybeInit()
	os.Exit(m.Run())
}

func TestSummarise(t *testing.T) {
	var durations []time.Duration
	for i := 200; i >= 1; i-- {
		durations = append(durations, time.Duration(i)*time.Millisecond)
	}
	got := summarise(durations, 3)
	if want := (spread{Count: 200, Missing: 3, Median: 100.5, P99: 198, Max: 200}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := summarise([]time.Duration{time.Second}, 0); got.Median != 1000 || got.P99 != 1000 || got.Max != 1000 {
		t.Errorf("one value: %+v", got)
	}
	if got := summarise(nil, 1); got != (spread{Missing: 1}) {
		t.Errorf("no value: %+v", got)
	}
}

func TestReport(t *testing.T) {
	at := time.Unix(1000, 0)
	m := measurement{attacks: []attack{
		{findingType: "b", at: at, stored: at.Add(10 * time.Millisecond), mailed: at.Add(20 * time.Millisecond)},
		{findingType: "a", at: at, stored: at.Add(30 * time.Millisecond)},
	}}
	m.containers = named{}
	r := m.report()
	if len(r.Rows) != 3 || r.Rows[0].Type != "a" || r.Rows[2].Type != all {
		t.Fatalf("rows %+v", r.Rows)
	}
	if last := r.Rows[2]; last.Stored.Median != 20 || last.Mailed.Median != 20 || last.Mailed.Missing != 1 || r.missing() != 1 {
		t.Errorf("all: %+v", last)
	}
}

func TestRelayFindsTextInEncodedMail(t *testing.T) {
	r, err := startRelay()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	before := time.Now()
	mail := strings.ReplaceAll(`Subject: x
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=B

--B
Content-Type: text/plain
Content-Transfer-Encoding: quoted-printable

id 0123=
4567
--B
Content-Type: text/html
Content-Transfer-Encoding: base64

PGI+ODlhYmNkZWY8L2I+
--B--
`, "\n", "\r\n")
	if err := smtp.SendMail(r.address, nil, "a@example.com", []string{"b@example.com"}, []byte(mail)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"01234567", "<b>89abcdef</b>", "Subject: x"} {
		at, err := r.wait(t.Context(), want)
		if err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("%s: %v, %v", want, at, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.wait(ctx, "no such text"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestHolds(t *testing.T) {
	inTask := &types.Resource{EcsClusterDetails: &types.EcsClusterDetails{TaskDetails: &types.EcsTaskDetails{Containers: []types.Container{{Id: aws.String("c")}}}}}
	alone := &types.Resource{ContainerDetails: &types.Container{Id: aws.String("c")}}
	for name, c := range map[string]struct {
		resource *types.Resource
		want     bool
	}{"nothing": {nil, false}, "host": {&types.Resource{}, false}, "container": {alone, true}, "task": {inTask, true}} {
		if got := holds(c.resource, "c"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if holds(c.resource, "other") {
			t.Errorf("%s holds another container", name)
		}
	}
}

func TestBadCommandLines(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "0"}, {"--output", "xml"}, {"--type", "No:Such/Type"}, {"more"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

// named is a runtime of which only the name is asked.
type named struct{ sandbox.Runtime }

func (named) Name() string { return "named" }
