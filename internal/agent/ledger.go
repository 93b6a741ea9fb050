package agent

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/event"
	"vedette.dev/vedette/internal/sensor"
)

// ledger counts events at every hand-over. When nothing is under way,
//
//	records   = made + ignored + unwanted + malformed + forks
//	made      = encoded + folded + dropped by the queue + invalid
//	encoded   + recovered = shipped + in the spool + lost in the spool + unsendable
//
// so that what was made is what the server has stored, what was folded, and what was dropped, by reason. A folded event's
// occurrences count as folded but for one, which is the event.
type ledger struct {
	received   [event.KindCount]atomic.Uint64 // records from the sensor
	queueFull  [event.KindCount]atomic.Uint64 // occurrences for which the queue had no room
	ignored    atomic.Uint64                  // records of the agent itself
	unwanted   atomic.Uint64                  // records of kinds that no rule needs
	made       atomic.Uint64                  // occurrences that became events, or part of one
	folded     atomic.Uint64                  // occurrences that are part of an earlier one's event
	encoded    atomic.Uint64                  // events put into a batch
	invalid    atomic.Uint64                  // occurrences that could not be encoded
	shipped    atomic.Uint64                  // events the server has stored, those of earlier starts included
	batches    atomic.Uint64                  // batches the server has stored
	spooled    atomic.Uint64                  // batches written to the spool
	recovered  atomic.Uint64                  // events that an earlier start of the agent left in the spool
	spooling   atomic.Uint64                  // events in the spool now
	spoolLost  atomic.Uint64                  // events in batches that the spool dropped to make room or could not keep
	unsendable atomic.Uint64                  // events in batches that are too large for the link
	torn       atomic.Uint64                  // spool segments with a damaged end
	malformed  atomic.Uint64                  // DNS messages that could not be read
	unhashed   atomic.Uint64                  // executables not hashed: too large, too many, or gone
	held       atomic.Uint64                  // events shipped before their lookups were done
}

// counters returns the ledger for a heartbeat. Zero counts of drops are left out.
func (l *ledger) counters(stats sensor.Stats) map[string]uint64 {
	m := map[string]uint64{
		"events.made": l.made.Load(), "events.folded": l.folded.Load(), "events.encoded": l.encoded.Load(), "events.shipped": l.shipped.Load(),
		"events.spooled": l.spooling.Load(), "batches.stored": l.batches.Load(), "batches.spooled": l.spooled.Load(),
	}
	set := func(name string, v uint64) {
		if v > 0 {
			m[name] = v
		}
	}
	for k := event.KindFork; k < event.KindCount; k++ {
		set("records."+k.String(), l.received[k].Load())
		set("dropped.queue."+k.String(), l.queueFull[k].Load())
		set("dropped.kernel."+k.String(), stats.Dropped[k])
	}
	set("events.recovered", l.recovered.Load())
	set("dropped.spool", l.spoolLost.Load())
	set("dropped.unsendable", l.unsendable.Load())
	set("dropped.invalid", l.invalid.Load())
	set("ignored.self", l.ignored.Load())
	set("ignored.unwanted", l.unwanted.Load())
	set("spool.torn", l.torn.Load())
	set("dns.malformed", l.malformed.Load())
	set("executables.unhashed", l.unhashed.Load())
	set("events.incomplete", l.held.Load())
	return m
}

// collector shows the ledger to Prometheus under the same names as the heartbeat does.
type collector struct {
	ledger *ledger
	source sensor.Source
	desc   *prometheus.Desc
}

func newCollector(l *ledger, s sensor.Source) *collector {
	return &collector{l, s, prometheus.NewDesc("vedette_agent_ledger_total", "The agent's loss ledger, by counter.", []string{"counter"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for name, v := range c.ledger.counters(c.source.Stats()) {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(v), name)
	}
}
