package rules

// IANA protocol numbers.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// capital returns s with its first letter, which is ASCII, in upper case.
func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
