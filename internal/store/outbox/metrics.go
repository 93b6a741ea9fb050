package outbox

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/store"
)

// metrics count the deliveries of one queue. A nil *metrics counts nothing.
type metrics struct {
	total   *prometheus.CounterVec
	seconds prometheus.Histogram
}

func newMetrics(o Options) *metrics {
	if o.Registerer == nil {
		return nil
	}
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_delivery_attempts_total",
			Help: "Attempts to hand over a delivery, by how they ended."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vedette_delivery_seconds",
			Help:    "Time from a delivery's cause to its success.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600}}),
	}
	for _, v := range []verdict{delivered, retried, dead, released} {
		m.total.WithLabelValues(string(v))
	}
	prometheus.WrapRegistererWith(prometheus.Labels{"queue": o.Queue}, o.Registerer).MustRegister(m.total, m.seconds, &depth{o: o,
		pending: prometheus.NewDesc("vedette_delivery_pending", "Deliveries that wait or are under way.", nil, nil),
		dead:    prometheus.NewDesc("vedette_delivery_dead", "Dead letters that are kept.", nil, nil),
		oldest:  prometheus.NewDesc("vedette_delivery_oldest_seconds", "Age of the oldest delivery that waits; 0 if none does.", nil, nil)})
	return m
}

func (m *metrics) ended(r result) {
	if m == nil {
		return
	}
	m.total.WithLabelValues(string(r.final.verdict)).Inc()
	if r.final.verdict == delivered {
		m.seconds.Observe(time.Since(r.item.CreatedAt).Seconds())
	}
}

// depth asks the store how much waits whenever metrics are read.
type depth struct {
	o                     Options
	pending, dead, oldest *prometheus.Desc
}

func (c *depth) Describe(ch chan<- *prometheus.Desc) { ch <- c.pending; ch <- c.dead; ch <- c.oldest }

func (c *depth) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var s store.QueueStats
	if err := c.o.Store.View(ctx, func(tx *store.Tx) (err error) { s, err = tx.QueueStats(c.o.Queue); return err }); err != nil {
		ch <- prometheus.NewInvalidMetric(c.pending, err)
		return
	}
	age := 0.0
	if !s.Oldest.IsZero() {
		age = max(0, time.Since(s.Oldest).Seconds())
	}
	ch <- prometheus.MustNewConstMetric(c.pending, prometheus.GaugeValue, float64(s.Pending))
	ch <- prometheus.MustNewConstMetric(c.dead, prometheus.GaugeValue, float64(s.Dead))
	ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, age)
}
