package detect

import (
	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/event"
)

type metrics struct {
	events      [event.KindCount]prometheus.Counter
	occurrences *prometheus.CounterVec
	folded      *prometheus.CounterVec
	excepted    prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vedette_detect_events_total",
		Help: "Events that detection has looked at, by kind.",
	}, []string{"kind"})
	m := &metrics{
		occurrences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_detect_occurrences_total",
			Help: "Events that were found to be a finding, by finding type.",
		}, []string{"type"}),
		folded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_detect_folded_total",
			Help: "Occurrences folded into one finding because their container made too many different ones, by finding type.",
		}, []string{"type"}),
		excepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vedette_detect_excepted_total",
			Help: "Occurrences that an exception of the user's took away.",
		}),
	}
	for k := range event.Kind(event.KindCount) {
		m.events[k] = events.WithLabelValues(k.String())
	}
	if registry != nil {
		registry.MustRegister(events, m.occurrences, m.folded, m.excepted)
	}
	return m
}
