package finding

import (
	"maps"
	"time"
)

// DetectorKind is the kind under which the store keeps Detector documents, keyed by the detector's id.
const DetectorKind = "detector"

// The values of Detector.Status and of a feature's status.
const (
	Enabled  = "ENABLED"
	Disabled = "DISABLED"
)

// RuntimeMonitoring is the feature that turns runtime detection and coverage on.
const RuntimeMonitoring = "RUNTIME_MONITORING"

// Detector is the switch of the whole product, as CreateDetector makes it. There is at most one.
type Detector struct {
	ID                         string            `json:"id"` // 32 hex digits
	Status                     string            `json:"status"`
	Features                   []Feature         `json:"features,omitempty"`
	FindingPublishingFrequency string            `json:"findingPublishingFrequency"`
	CreatedAt                  time.Time         `json:"createdAt"`
	UpdatedAt                  time.Time         `json:"updatedAt"`
	Tags                       map[string]string `json:"tags,omitempty"`
}

// Feature is one feature of a detector.
type Feature struct {
	Name                    string    `json:"name"`
	Status                  string    `json:"status"`
	UpdatedAt               time.Time `json:"updatedAt"`
	AdditionalConfiguration []Feature `json:"additionalConfiguration,omitempty"`
}

// Monitors reports whether the detector and its feature RUNTIME_MONITORING are enabled: without it events are received
// but lead to no finding, and coverage is not assessed.
func (d *Detector) Monitors() bool {
	return d.Status == Enabled && d.feature(RuntimeMonitoring) == Enabled
}

// AgentManagement returns the coverage rows' managementType for Fargate: AUTO_MANAGED when the detector's automated agent
// configuration for ECS is enabled, DISABLED otherwise. Fargate has no manual mode.
func (d *Detector) AgentManagement() string {
	for _, f := range d.Features {
		if f.Name != RuntimeMonitoring {
			continue
		}
		for _, c := range f.AdditionalConfiguration {
			if c.Name == "ECS_FARGATE_AGENT_MANAGEMENT" && c.Status == Enabled {
				return "AUTO_MANAGED"
			}
		}
	}
	return "DISABLED"
}

// PublishInterval is how long repeats of a published finding are gathered before the finding is published again.
func (d *Detector) PublishInterval() time.Duration {
	switch d.FindingPublishingFrequency {
	case "FIFTEEN_MINUTES":
		return 15 * time.Minute
	case "ONE_HOUR":
		return time.Hour
	}
	return 6 * time.Hour
}

func (d *Detector) feature(name string) string {
	for _, f := range d.Features {
		if f.Name == name {
			return f.Status
		}
	}
	return Disabled
}

// Clone returns a deep copy.
func (d Detector) Clone() Detector {
	features := make([]Feature, len(d.Features))
	for i, f := range d.Features {
		f.AdditionalConfiguration = append([]Feature(nil), f.AdditionalConfiguration...)
		features[i] = f
	}
	d.Features = features
	d.Tags = maps.Clone(d.Tags)
	return d
}
