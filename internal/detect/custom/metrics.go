package custom

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	rules   prometheus.Gauge
	success prometheus.Gauge
	muted   prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		rules: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vedette_rules_custom",
			Help: "The user's own rules that are in use.",
		}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vedette_rules_reload_success",
			Help: "Whether the user's own rules were free of mistakes when they were last read.",
		}),
		muted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vedette_rules_muted_total",
			Help: "Occurrences that were not described because a rule of the user's matched too often.",
		}),
	}
	if registry != nil {
		registry.MustRegister(m.rules, m.success, m.muted)
	}
	return m
}
