package link

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestLedgersAreShown(t *testing.T) {
	l := newLedgers()
	now := time.Now()
	l.take(&Heartbeat{AgentID: "a1", Hostname: "web\xff", Counters: map[string]uint64{"events.made": 7, "dropped.queue.open": 2, "evil\n": 1, "": 1}}, now)
	got := map[string]float64{}
	families, err := registry(l).Gather()
	if err != nil {
		t.Fatalf("gathering what a hostile agent sent: %v", err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "vedette_link_agent_ledger" {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if diff := cmp.Diff(map[string]float64{"a1 dropped.queue.open": 2, "a1 events.made": 7}, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func registry(c prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	return r
}

func TestLedgersAreBounded(t *testing.T) {
	l := newLedgers()
	now := time.Now()
	for i := range 2 * maxLedgers {
		l.take(&Heartbeat{AgentID: fmt.Sprint(i), Counters: map[string]uint64{"events.made": 1}}, now)
	}
	if len(l.agents) != maxLedgers {
		t.Errorf("%d agents", len(l.agents))
	}
	// Silent ones make room.
	l.take(&Heartbeat{AgentID: "new"}, now.Add(2*ledgerLifetime))
	if len(l.agents) != 1 || l.agents["new"] == nil {
		t.Errorf("%d agents after the others fell silent", len(l.agents))
	}
	many := map[string]uint64{}
	for i := range 1000 {
		many[fmt.Sprint("c", i)] = 1
	}
	l.take(&Heartbeat{AgentID: "new", Counters: many}, now)
	if n := len(l.agents["new"].counters); n != maxLedgerCounters {
		t.Errorf("%d counters", n)
	}
}
