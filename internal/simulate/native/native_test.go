package native_test

import (
	"os"
	"testing"

	"vedette.dev/vedette/internal/simulate/native"
	"vedette.dev/vedette/internal/simulate/sandbox"
	"vedette.dev/vedette/internal/simulate/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	native.MaybeInit()
	os.Exit(m.Run())
}

func TestContract(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Unavailable(t, "making containers needs root")
	}
	files := sandboxtest.Files(t)
	sandboxtest.Run(t, func(t *testing.T) sandbox.Runtime {
		r, err := native.Open(t.Context(), native.Options{StateDir: t.TempDir() + "/state", Files: files})
		if err != nil {
			t.Fatal(err)
		}
		return r
	})
}
