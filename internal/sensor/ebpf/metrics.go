package ebpf

import (
	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/event"
)

var lossNames = [bpfLossLOSS_COUNT]string{
	bpfLossLOSS_RING:    "ring_full",
	bpfLossLOSS_SCRATCH: "scratch_busy",
	bpfLossLOSS_OWNER:   "process_unknown",
	bpfLossLOSS_READ:    "unreadable",
}

var (
	deliveredDesc = prometheus.NewDesc("vedette_sensor_events_total", "Events delivered by the kernel sensor.", []string{"kind"}, nil)
	lostDesc      = prometheus.NewDesc("vedette_sensor_events_lost_total", "Events the kernel sensor lost.", []string{"kind", "reason"}, nil)
	hooksDesc     = prometheus.NewDesc("vedette_sensor_hooks_attached", "Kernel hooks that are attached.", nil, nil)
)

// collector reads the counters when they are asked for, the lost ones straight from the kernel.
type collector struct{ s *Source }

func register(r prometheus.Registerer, s *Source) (func(), error) {
	if r == nil {
		return nil, nil
	}
	c := collector{s}
	if err := r.Register(c); err != nil {
		return nil, err
	}
	return func() { r.Unregister(c) }, nil
}

// Describe implements [prometheus.Collector].
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- deliveredDesc
	ch <- lostDesc
	ch <- hooksDesc
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.closed {
		return
	}
	losses := c.s.kernel.losses()
	for k := event.KindFork; k < event.KindCount; k++ {
		ch <- prometheus.MustNewConstMetric(deliveredDesc, prometheus.CounterValue, float64(c.s.delivered[k].Load()), k.String())
		for reason, n := range losses[k] {
			ch <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(n), k.String(), lossNames[reason])
		}
		ch <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(c.s.malformed[k].Load()), k.String(), "malformed")
	}
	attached := 0
	for i := range c.s.kernel.hooks {
		if c.s.kernel.hooks[i].link != nil {
			attached++
		}
	}
	ch <- prometheus.MustNewConstMetric(hooksDesc, prometheus.GaugeValue, float64(attached))
}
