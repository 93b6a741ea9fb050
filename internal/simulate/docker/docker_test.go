package docker_test

import (
	"testing"

	"vedette.dev/vedette/internal/simulate/docker"
	"vedette.dev/vedette/internal/simulate/sandbox"
	"vedette.dev/vedette/internal/simulate/sandbox/sandboxtest"
)

func TestContract(t *testing.T) {
	files := sandboxtest.Files(t)
	sandboxtest.Run(t, func(t *testing.T) sandbox.Runtime {
		r, err := docker.Open(t.Context(), docker.Options{Files: files})
		if err != nil {
			sandboxtest.Unavailable(t, err.Error())
		}
		return r
	})
}
