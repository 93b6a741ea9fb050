package sns

import "github.com/prometheus/client_golang/prometheus"

// metrics count messages; what becomes of their deliveries is counted by the outbox. A nil *metrics counts nothing.
type metrics struct{ messages, sent, filtered prometheus.Counter }

func newMetrics(reg prometheus.Registerer) *metrics {
	if reg == nil {
		return nil
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		messages: counter("vedette_sns_messages_total", "Messages that were published to topics."),
		sent:     counter("vedette_sns_deliveries_total", "Deliveries written for subscriptions."),
		filtered: counter("vedette_sns_filtered_total", "Deliveries that a filter policy kept back."),
	}
	reg.MustRegister(m.messages, m.sent, m.filtered)
	return m
}

func (m *metrics) published(sent, filtered int) {
	if m == nil {
		return
	}
	m.messages.Inc()
	m.sent.Add(float64(sent))
	m.filtered.Add(float64(filtered))
}
