// Package simulate makes real containers and does real, harmless attacks in them: what `vedette demo`, `vedette simulate`
// and the end-to-end tests attack with.
//
// In goes a [sandbox.Runtime] (a Docker engine, or namespaces made without one) and the addresses and names that the
// user's lists call hostile; out come, for each finding type, the results of its techniques with the time of each system
// call. Nothing leaves the machine: the containers have only a loopback interface, the addresses are bound to it, and what
// the attacks change is inside the container. A Reproduction is immutable; runs in different containers may go on at once.
//
// The attacks are done by the running program itself, which is in the image and becomes the attacker there (package actor).
// main must therefore call [MaybeInit] before anything else.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"vedette.dev/vedette/internal/simulate/actor"
	"vedette.dev/vedette/internal/simulate/docker"
	"vedette.dev/vedette/internal/simulate/native"
	"vedette.dev/vedette/internal/simulate/rootfs"
	"vedette.dev/vedette/internal/simulate/sandbox"
)

// MaybeInit turns this process into a container's first process or into an actor when it was started as one, and does not
// return then. Otherwise it does nothing.
func MaybeInit() {
	native.MaybeInit()
	actor.MaybeRun()
}

// Options configure Open.
type Options struct {
	Runtime    string // docker or native; "" takes docker where an engine answers
	DockerHost string // "" takes DOCKER_HOST or the default socket
	StateDir   string // of the native runtime; "" takes its default
	Log        *slog.Logger
}

// Open returns a runtime after removing what dead runs left behind. When no engine answers and none was asked for, it is
// the native one.
func Open(ctx context.Context, o Options) (sandbox.Runtime, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	files, err := rootfs.Plan()
	if err != nil {
		return nil, err
	}
	r, err := open(ctx, o, files)
	if err != nil {
		return nil, err
	}
	if err := r.Cleanup(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func open(ctx context.Context, o Options, files *rootfs.Image) (sandbox.Runtime, error) {
	switch o.Runtime {
	case "", "docker":
		r, err := docker.Open(ctx, docker.Options{Host: o.DockerHost, Files: files, Log: o.Log})
		if err == nil {
			return r, nil
		}
		if o.Runtime != "" || ctx.Err() != nil {
			return nil, err
		}
		o.Log.Info("making containers without an engine", "reason", err)
	case "native":
	default:
		return nil, fmt.Errorf("no runtime %q: there are docker and native", o.Runtime)
	}
	r, err := native.Open(ctx, native.Options{StateDir: o.StateDir, Files: files, Log: o.Log})
	if err != nil {
		return nil, err
	}
	return r, nil
}
