package awsapi

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsguardduty "github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/internal/bus"
	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/detect/rules"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/ingest"
	"vedette.dev/vedette/internal/intel"
	"vedette.dev/vedette/internal/link"
	"vedette.dev/vedette/internal/store"
)

// TestSuppression has connections detected by the real rules while filters and sets of what is trusted are made through the
// API, and looks at what is listed and what is published.
func TestSuppression(t *testing.T) {
	folder, lists := t.TempDir(), intel.NewLists()
	var sets *intel.Sets
	var in *ingest.Ingester
	published := 0
	r := newRig(t, func(o *GuardDutyOptions) {
		var err error
		log := slog.New(slog.DiscardHandler)
		if sets, err = intel.OpenSets(t.Context(), intel.SetsOptions{Store: o.Store, Folder: folder, Lists: lists, Log: log}); err != nil {
			t.Fatal(err)
		}
		engine, err := detect.New(detect.Options{Rules: rules.All(), Lists: lists})
		if err != nil {
			t.Fatal(err)
		}
		in, err = ingest.New(t.Context(), ingest.Options{Store: o.Store, Engine: engine, Trust: lists, Log: log, AccountID: o.AccountID, Region: o.Region,
			Now: o.Now, Publish: func(tx *store.Tx, _ string, _ bus.Event) error {
				tx.AfterCommit(func() { published++ })
				return nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		o.Sets = sets
	})
	ctx := t.Context()
	done := make(chan struct{})
	go func() { defer close(done); _ = sets.Run(ctx) }()
	t.Cleanup(func() { <-done })
	out, err := r.CreateDetector(ctx, &awsguardduty.CreateDetectorInput{Enable: aws.Bool(true), Features: []types.DetectorFeatureConfiguration{
		{Name: types.DetectorFeatureRuntimeMonitoring, Status: types.FeatureStatusEnabled}}})
	if err != nil {
		t.Fatal(err)
	}
	id := out.DetectorId
	location := func(name, text string) *string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return aws.String("file://" + path)
	}
	if _, err := r.CreateThreatIntelSet(ctx, &awsguardduty.CreateThreatIntelSetInput{DetectorId: id, Name: aws.String("threats"), Format: types.ThreatIntelSetFormatTxt,
		Location: location("threats.txt", "203.0.113.0/24\n"), Activate: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(lists.Address(nil, netip.MustParseAddr("203.0.113.1"))) == 1 })

	sequence := uint64(0)
	connect := func(program, address string) {
		t.Helper()
		sequence++
		batch := &event.Batch{AgentID: "agent", Epoch: "e", Sequence: sequence, Host: event.Host{ID: "host"}, Events: []event.Event{{
			Kind: event.KindConnect, Time: r.now.UnixNano(), Count: 1,
			Process: &event.Process{UUID: event.UUID{1}, PID: 1, Name: program, ExePath: "/usr/bin/" + program},
			Connect: &event.Socket{Family: 2, Type: 1, Protocol: 6, Remote: netip.MustParseAddrPort(address + ":443")},
		}}}
		data, err := event.NewEncoder().Encode(nil, batch)
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Handle(ctx, link.Message{Sequence: sequence, AgentID: "agent", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(current, archived, events int) {
		t.Helper()
		count := func(archived string) int {
			return len(r.listAll(&awsguardduty.ListFindingsInput{DetectorId: id, FindingCriteria: &types.FindingCriteria{
				Criterion: map[string]types.Condition{"service.archived": {Equals: []string{archived}}}}}))
		}
		if c, a := count("false"), count("true"); c != current || a != archived || published != events {
			t.Errorf("%d current and %d archived findings, %d events; want %d, %d, %d", c, a, published, current, archived, events)
		}
	}
	connect("curl", "203.0.113.1")
	want(1, 0, 1)

	if _, err := r.CreateFilter(ctx, &awsguardduty.CreateFilterInput{DetectorId: id, Name: aws.String("backup"), Action: types.FilterActionArchive, Rank: aws.Int32(1),
		FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{
			"type": {Equals: []string{"Backdoor:Runtime/C&CActivity.B"}}, "service.runtimeDetails.process.executablePath": {Matches: []string{"*/backup"}},
		}}}); err != nil {
		t.Fatal(err)
	}
	connect("backup", "203.0.113.2")
	connect("curl", "203.0.113.3")
	want(2, 1, 2)
	if _, err := r.UpdateFilter(ctx, &awsguardduty.UpdateFilterInput{DetectorId: id, FilterName: aws.String("backup"), Action: types.FilterActionNoop}); err != nil {
		t.Fatal(err)
	}
	connect("backup", "203.0.113.4")
	want(3, 1, 3)

	if _, err := r.CreateIPSet(ctx, &awsguardduty.CreateIPSetInput{DetectorId: id, Name: aws.String("ours"), Format: types.IpSetFormatTxt,
		Location: location("ours.txt", "203.0.113.16/28\n"), Activate: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return lists.TrustedAddress(netip.MustParseAddr("203.0.113.17")) })
	connect("curl", "203.0.113.17")
	want(3, 1, 3)
	connect("curl", "203.0.113.5")
	want(4, 1, 4)
}
