package coverage

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	heartbeats, refused, changes, errors, unreadable prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_coverage_" + name + "_total", Help: help})
	}
	m := &metrics{
		heartbeats: counter("heartbeats", "Heartbeats received."),
		refused:    counter("refused", "Agents and clusters not kept because there are too many."),
		changes:    counter("status_changes", "Changes of a cluster's status."),
		errors:     counter("errors", "Assessments that failed and are made again."),
		unreadable: counter("inventory_errors", "Inventories that could not be read."),
	}
	if registry != nil {
		registry.MustRegister(m.heartbeats, m.refused, m.changes, m.errors, m.unreadable)
	}
	return m
}
