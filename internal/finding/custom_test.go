package finding

import (
	"strings"
	"testing"
)

func TestIsCustom(t *testing.T) {
	for name, want := range map[string]bool{
		"Custom:Runtime/DatabaseShell":                true,
		"Custom:Runtime/a-b_c.9":                      true,
		"Custom:Runtime/" + strings.Repeat("a", 64):   true,
		"Custom:Runtime/" + strings.Repeat("a", 65):   false,
		"Custom:Runtime/":                             false,
		"Custom:Runtime/9lives":                       false,
		"Custom:Runtime/a b":                          false,
		"Custom:Runtime/a/b":                          false,
		"Custom:Runtime/ä":                            false,
		"Execution:Runtime/ReverseShell":              false,
		"custom:runtime/x":                            false,
		"Execution:Runtime/MaliciousFileExecuted.Cus": false,
	} {
		if got := IsCustom(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
