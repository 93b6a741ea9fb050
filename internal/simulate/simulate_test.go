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

// attackAll does every technique in a container that is as privileged as the technique needs. Without an engine, where it
// costs little, it does so twice: every attack can be repeated.
func attackAll(t *testing.T, r sandbox.Runtime) {
	all := simulate.All()
	if r.Name() == "native" {
		all = append(all, all...)
	}
	containers := map[bool]sandbox.Container{} // by whether it is privileged
	for _, reproduction := range all {
		for _, technique := range reproduction.Techniques {
			c, tried := containers[technique.Privileged]
			if !tried {
				c = attackable(t, r, technique)
				containers[technique.Privileged] = c
			}
			t.Run(reproduction.Type[strings.LastIndex(reproduction.Type, "/")+1:]+" "+technique.Name, func(t *testing.T) {
				if c == nil {
					t.Skip("the engine makes no privileged containers")
				}
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
				t.Log(result.Took, result.Calls, result.ExitCode, result.Output)
			})
		}
	}
}

// attackable makes a container for techniques that need the same rights. It returns nil if the engine may not make privileged
// ones, as an engine within a container may not.
func attackable(t *testing.T, r sandbox.Runtime, technique simulate.Technique) sandbox.Container {
	spec, err := technique.Spec(simulate.Target{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Run(t.Context(), spec)
	if err != nil && technique.Privileged && r.Name() == "docker" {
		t.Log(err)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := simulate.Ready(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}
