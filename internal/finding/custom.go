package finding

import "strings"

// CustomPrefix begins the finding types of the user's own rules: Custom:Runtime/NAME.
const CustomPrefix = "Custom:Runtime/"

// MaxCustomName bounds NAME.
const MaxCustomName = 64

// IsCustom reports whether typ is the finding type of a rule of the user's own. Lookup knows none of these: their severity,
// title and description come with each occurrence.
func IsCustom(typ string) bool {
	name, ok := strings.CutPrefix(typ, CustomPrefix)
	return ok && ValidCustomName(name)
}

// ValidCustomName reports whether name can be the NAME of a custom type: a letter, then letters, digits and the signs - _ .
func ValidCustomName(name string) bool {
	if name == "" || len(name) > MaxCustomName {
		return false
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')) {
			return false
		}
	}
	return true
}
