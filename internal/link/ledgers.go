package link

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxLedgers bounds the agents whose counters are shown.
	maxLedgers = 4096
	// maxLedgerCounters bounds the counters of one agent that are shown.
	maxLedgerCounters = 256
	// ledgerLifetime is how long an agent is shown that says nothing any more.
	ledgerLifetime = time.Hour
)

// ledgers shows what the agents' heartbeats count, by agent, to Prometheus: what they made, folded, shipped and dropped, by
// reason. The counters start again when an agent does.
type ledgers struct {
	counter *prometheus.Desc
	seen    *prometheus.Desc

	mu     sync.Mutex
	agents map[string]*ledgerOf
}

type ledgerOf struct {
	host     string
	at       time.Time
	counters map[string]uint64
}

func newLedgers() *ledgers {
	return &ledgers{
		counter: prometheus.NewDesc("vedette_link_agent_ledger", "The loss ledger of each agent, by counter, as its last heartbeat says.", []string{"agent", "counter"}, nil),
		seen:    prometheus.NewDesc("vedette_link_agent_heartbeat_seconds", "When each agent's last heartbeat came, in seconds since 1970.", []string{"agent", "host"}, nil),
		agents:  make(map[string]*ledgerOf),
	}
}

// take remembers a heartbeat's counters. Names that no agent of ours uses are left out.
func (l *ledgers) take(hb *Heartbeat, now time.Time) {
	counters := make(map[string]uint64, min(len(hb.Counters), maxLedgerCounters))
	for name, v := range hb.Counters {
		if len(counters) < maxLedgerCounters && counterName(name) {
			counters[name] = v
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.agents[hb.AgentID]; !known && len(l.agents) >= maxLedgers {
		for id, a := range l.agents {
			if now.Sub(a.at) > ledgerLifetime {
				delete(l.agents, id)
			}
		}
		if len(l.agents) >= maxLedgers {
			return
		}
	}
	host := strings.ToValidUTF8(hb.Hostname[:min(len(hb.Hostname), 253)], "\uFFFD")
	l.agents[hb.AgentID] = &ledgerOf{host: host, at: now, counters: counters}
}

// counterName reports whether a name is made as those of the ledger are.
func counterName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// Describe implements [prometheus.Collector].
func (l *ledgers) Describe(ch chan<- *prometheus.Desc) { ch <- l.counter; ch <- l.seen }

// Collect implements [prometheus.Collector].
func (l *ledgers) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, a := range l.agents {
		if time.Since(a.at) > ledgerLifetime {
			delete(l.agents, id)
			continue
		}
		ch <- prometheus.MustNewConstMetric(l.seen, prometheus.GaugeValue, float64(a.at.UnixMilli())/1000, id, a.host)
		for name, v := range a.counters {
			ch <- prometheus.MustNewConstMetric(l.counter, prometheus.GaugeValue, float64(v), id, name)
		}
	}
}
