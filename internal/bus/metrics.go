package bus

import "github.com/prometheus/client_golang/prometheus"

// metrics count events; what becomes of their deliveries is counted by the outbox. A nil *metrics counts nothing.
type metrics struct {
	received, unmatched, rules, deliveries, undecided prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	if reg == nil {
		return nil
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		received:   counter("vedette_bus_events_total", "Events that were sent to a bus."),
		unmatched:  counter("vedette_bus_events_unmatched_total", "Events that no rule matched."),
		rules:      counter("vedette_bus_matches_total", "Rules matched by events."),
		deliveries: counter("vedette_bus_deliveries_total", "Deliveries written for targets of matching rules."),
	}
	m.undecided = counter("vedette_bus_undecided_total", "Rules that an event was too hard to match with; they count as not matching.")
	reg.MustRegister(m.received, m.unmatched, m.rules, m.deliveries, m.undecided)
	return m
}

func (m *metrics) put(rules, deliveries int) {
	if m == nil {
		return
	}
	m.received.Inc()
	if rules == 0 {
		m.unmatched.Inc()
	}
	m.rules.Add(float64(rules))
	m.deliveries.Add(float64(deliveries))
}

func (m *metrics) undecidedRules(n int) {
	if m != nil {
		m.undecided.Add(float64(n))
	}
}
