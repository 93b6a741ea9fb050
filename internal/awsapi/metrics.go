package awsapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests. The labels are bounded: operations come from the models, codes from the operations.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "vedette", Subsystem: "awsapi", Name: "requests_total",
			Help: "Requests answered, by service, operation and error code (empty: success).",
		}, []string{"service", "operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "vedette", Subsystem: "awsapi", Name: "request_duration_seconds",
			Help:    "Time from a request's headers to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"service"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.requests, m.duration)
	}
	return m
}

func (m *metrics) observe(service, operation, code string, took time.Duration) {
	m.requests.WithLabelValues(service, operation, code).Inc()
	m.duration.WithLabelValues(service).Observe(took.Seconds())
}
