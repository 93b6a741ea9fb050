package link

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	batches    prometheus.Counter
	batchBytes prometheus.Counter
	retries    prometheus.Counter
	lost       prometheus.Counter
	heartbeats prometheus.Counter
	malformed  prometheus.Counter
	enrolments *prometheus.CounterVec
	ledgers    *ledgers
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "vedette", Subsystem: "link", Name: name, Help: help})
	}
	m := &metrics{
		batches:    counter("batches_received_total", "Batches handed to the consumer."),
		batchBytes: counter("batch_bytes_received_total", "Encoded bytes of the batches handed to the consumer."),
		retries:    counter("batch_retries_total", "Times that handling a batch failed and was tried again."),
		lost:       counter("batches_lost_total", "Batches that the stream dropped by age or size before the consumer saw them."),
		heartbeats: counter("heartbeats_received_total", "Heartbeats handed on."),
		malformed:  counter("heartbeats_malformed_total", "Heartbeats dropped because they could not be read or were too large."),
		enrolments: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "vedette", Subsystem: "link", Name: "enrolments_total", Help: "Agents that asked to enrol, by result.",
		}, []string{"result"}),
		ledgers: newLedgers(),
	}
	if reg != nil {
		reg.MustRegister(m.batches, m.batchBytes, m.retries, m.lost, m.heartbeats, m.malformed, m.enrolments, m.ledgers)
	}
	return m
}
