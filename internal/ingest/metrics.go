package ingest

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	received, duplicates, undecodable, missing, events, published, expired prometheus.Counter
	findings, suppressed                                                   *prometheus.CounterVec
	latency, flush                                                         prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_ingest_" + name + "_total", Help: help})
	}
	m := &metrics{
		received:    counter("batches_received", "Batches taken from the link, duplicates and undecodable ones included."),
		duplicates:  counter("batches_duplicate", "Batches that had been handled before."),
		undecodable: counter("batches_undecodable", "Batches skipped because they could not be decoded: their events are lost."),
		missing:     counter("batches_missing", "Batches that agents numbered but that never came: dropped by an agent or by the stream."),
		events:      counter("events", "Events in the batches that were handled."),
		published:   counter("published_repeats", "Events published about repeats of findings."),
		expired:     counter("expired_findings", "Findings deleted because nothing happened to them for 90 days."),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_ingest_findings_total",
			Help: "Findings stored, by type and by whether they were new, repeats or samples.",
		}, []string{"type", "outcome"}),
		suppressed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_ingest_suppressed_total",
			Help: "Occurrences that nobody is told about: archived by a filter, or dropped because what they are about is trusted.",
		}, []string{"by"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "vedette_ingest_latency_seconds",
			Help:    "From what happened to detection, by the agent's clock.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "vedette_ingest_transaction_seconds",
			Help:    "How long storing a group of messages took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	if registry != nil {
		registry.MustRegister(m.received, m.duplicates, m.undecodable, m.missing, m.events, m.published, m.expired, m.findings, m.suppressed, m.latency, m.flush)
	}
	return m
}
