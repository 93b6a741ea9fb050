package rules

// IANA protocol numbers.
const (
	protocolTCP = 6
	protocolUDP = 17
)
