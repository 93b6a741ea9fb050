package agent

import (
	"cmp"
	"slices"
	"strings"
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

// maxNamed is how many containers' drops a heartbeat names.
const maxNamed = 16

// counters returns the ledger for a heartbeat. Zero counts of drops are left out.
func (l *ledger) counters(stats sensor.Stats, q *queue) map[string]uint64 {
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

	// Whose events the queue has dropped: the containers that lost most.
	type loss struct {
		name string
		n    uint64
	}
	var list []loss
	q.lost(func(key string, t *toll, total uint64) {
		if t != nil {
			list = append(list, loss{"container." + plain(key) + ".dropped", total})
		}
	})
	slices.SortFunc(list, func(x, y loss) int { return cmp.Or(cmp.Compare(y.n, x.n), cmp.Compare(x.name, y.name)) })
	for _, x := range list[:min(len(list), maxNamed)] {
		m[x.name] += x.n
	}
	return m
}

// plain makes the name of a counter of a container's id or cgroup: short, and without anything but letters, digits and _.
func plain(key string) string {
	if key == "" {
		return "host"
	}
	b := []byte(strings.ToLower(key[max(0, len(key)-32):]))
	if len(key) == 64 { // an id, which people know by its beginning
		b = []byte(key[:12])
	}
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			b[i] = '_'
		}
	}
	return string(b)
}

// collector shows the ledger to Prometheus under the same names as the heartbeat does.
type collector struct {
	ledger *ledger
	source sensor.Source
	queue  *queue
	desc   *prometheus.Desc
}

func newCollector(l *ledger, s sensor.Source, q *queue) *collector {
	return &collector{l, s, q, prometheus.NewDesc("vedette_agent_ledger_total", "The agent's loss ledger, by counter.", []string{"counter"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for name, v := range c.ledger.counters(c.source.Stats(), c.queue) {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(v), name)
	}
}
