package simulate_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"vedette.dev/vedette/internal/simulate"
	"vedette.dev/vedette/internal/simulate/sandbox"
	"vedette.dev/vedette/internal/simulate/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	simulate.MaybeInit()
	maybeMaker()
	os.Exit(m.Run())
}

// TestEveryTechniqueHappens does all attacks in both kinds of container.
func TestEveryTechniqueHappens(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Unavailable(t, "making containers needs root")
	}
	for _, name := range []string{"docker", "native"} {
		t.Run(name, func(t *testing.T) {
			r, err := simulate.Open(t.Context(), simulate.Options{Runtime: name, StateDir: t.TempDir() + "/state"})
			if err != nil {
				sandboxtest.Unavailable(t, err.Error())
			}
			t.Cleanup(func() {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
			attackAll(t, r)
		})
	}
}

func attackAll(t *testing.T, r sandbox.Runtime) {
	spec, err := simulate.Spec(simulate.Target{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := simulate.Ready(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, reproduction := range append(simulate.All(), simulate.All()...) { // Every attack can be repeated.
		for _, technique := range reproduction.Techniques {
			t.Run(reproduction.Type[strings.LastIndex(reproduction.Type, "/")+1:]+" "+technique.Name, func(t *testing.T) {
				before := time.Now()
				result, err := technique.Run(t.Context(), c, simulate.Target{})
				if err != nil {
					t.Fatal(err)
				}
				if result.Skipped != "" {
					t.Skip(result.Skipped)
				}
				first, ok := result.First()
				if !ok || first.Before(before) || first.After(time.Now()) {
					t.Errorf("the first system call was at %v, which is not within the attack (%v)", first, result.Calls)
				}
				t.Log(result.Took, result.Calls)
			})
		}
	}
}
