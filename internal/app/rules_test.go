package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"

	"vedette.dev/vedette/internal/config"
	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/link"
)

// TestOwnRules runs a server with a folder of rules, and an agent made by hand: the rules decide what agents are asked for and
// what is found, also after a file has changed.
func TestOwnRules(t *testing.T) {
	folder := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "own.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("rules: [{name: First, severity: high, pattern: {kind: [keyctl], process: {name: [probe]}}, message: '{process.name} in {container.name}'}]")

	c := config.Default()
	c.Data, c.Rules, c.Inventory.Docker = t.TempDir(), folder, false
	c.Server.Listen, c.Server.Link = "127.0.0.1:0", "127.0.0.1:0"
	ctx, stop := context.WithCancel(t.Context())
	s, err := NewServer(ctx, c, ServerOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { stop(); <-done }()

	clients, err := Data(c.Data).Clients()
	if err != nil {
		t.Fatal(err)
	}
	made, err := clients.GuardDuty.CreateDetector(ctx, &guardduty.CreateDetectorInput{
		Enable:   aws.Bool(true),
		Features: []types.DetectorFeatureConfiguration{{Name: types.DetectorFeatureRuntimeMonitoring, Status: types.FeatureStatusEnabled}},
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := Data(c.Data).EnrolmentToken()
	if err != nil {
		t.Fatal(err)
	}
	agent, err := link.Dial(ctx, link.ClientOptions{URL: s.Endpoints().Link, StateDir: t.TempDir(), EnrolmentToken: token, Hostname: "h", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()

	// asked waits until agents are asked for a kind of event, or no longer asked for it.
	asked := func(k event.Kind, want bool) {
		t.Helper()
		timeout := time.After(30 * time.Second)
		for {
			select {
			case got := <-agent.Configs():
				if got.Kinds.Has(k) == want {
					return
				}
			case <-timeout:
				t.Fatalf("agents were not told that %s is wanted: %v", k, want)
			}
		}
	}
	var sequence uint64
	send := func(k event.Kind) {
		t.Helper()
		sequence++
		batch := &event.Batch{AgentID: agent.AgentID(), Epoch: "e", Sequence: sequence, Host: event.Host{ID: "h"}, Events: []event.Event{{
			Kind: k, Time: time.Now().UnixNano(), Count: 1, Process: &event.Process{Name: "probe", ExePath: "/bin/probe"},
			Container: &event.Container{ID: "c1", Name: "web"}, Call: &event.Call{Command: 1},
		}}}
		text, err := event.NewEncoder().Encode(nil, batch)
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.Publish(ctx, "e", sequence, text); err != nil {
			t.Fatal(err)
		}
	}
	// found waits for the findings, and returns the description of each type.
	found := func(n int) map[string]string {
		t.Helper()
		for range 300 {
			list, err := clients.GuardDuty.ListFindings(ctx, &guardduty.ListFindingsInput{DetectorId: made.DetectorId})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.FindingIds) < n {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			answer, err := clients.GuardDuty.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: made.DetectorId, FindingIds: list.FindingIds})
			if err != nil {
				t.Fatal(err)
			}
			said := map[string]string{}
			for _, f := range answer.Findings {
				said[aws.ToString(f.Type)] = aws.ToString(f.Description)
			}
			return said
		}
		t.Fatalf("no %d findings", n)
		return nil
	}

	asked(event.KindKeyctl, true)
	send(event.KindKeyctl)
	if got := found(1)["Custom:Runtime/First"]; got != "probe in web" {
		t.Errorf("the first rule's finding says %q", got)
	}

	write("rules: [{name: Second, severity: 4.5, pattern: {kind: [io_uring], process: {name: [probe]}}, message: 'now {call.command}'}] # longer")
	asked(event.KindIOUring, true)
	send(event.KindKeyctl) // no rule wants it any more
	send(event.KindIOUring)
	got := found(2)
	if len(got) != 2 || got["Custom:Runtime/Second"] != "now 1" {
		t.Errorf("after the change: findings %q", got)
	}
}
