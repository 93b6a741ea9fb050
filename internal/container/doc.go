// Package container says which container a cgroup is, and of which task or service.
//
// In goes the cgroup id that the kernel puts on every event; out comes an [Entry] that holds an [event.Container], or none for
// the host's own processes. The path of the cgroup gives the container's id at once, in a few system calls, so that a container
// of a few milliseconds is still named. Its description (name, image, labels, mounts) comes from a runtime, asked in the
// background: an entry is settled when the description is there, or when the grace is over; then events go out with what is
// known, and later ones with more. What was found is kept after the container has gone, in a bounded table.
//
// A runtime is an adapter in a folder of its own: docker (the engine's socket) and static (a file, for runtimes without an
// interface). Names, labels and paths are chosen by those who start containers and are hostile: they are bounded here.
//
// All methods may be called from several goroutines. Nothing here waits for a runtime in the caller's goroutine.
package container
