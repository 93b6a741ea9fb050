package finding

// The severities that the types of today use. A finding's severity is a number from 1.0 to 10.0.
const (
	SeverityLow      = 2
	SeverityMedium   = 5
	SeverityHigh     = 8
	SeverityCritical = 9
)

// Level returns the name of the band that a severity falls in: LOW, MEDIUM, HIGH or CRITICAL.
func Level(severity float64) string {
	switch {
	case severity >= 9:
		return "CRITICAL"
	case severity >= 7:
		return "HIGH"
	case severity >= 4:
		return "MEDIUM"
	}
	return "LOW"
}
