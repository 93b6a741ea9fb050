package container

import "strings"

// idLength is that of a container's id in hex digits.
const idLength = 64

// IDs returns the ids of the containers that a cgroup path lies in, innermost first, and the runtime that the path's form
// gives away ("" if none). Known forms of a component:
//
//	<id>                       docker, ecs and podman with cgroupfs
//	docker-<id>.scope          docker with systemd
//	cri-containerd-<id>.scope  containerd
//	crio-<id>.scope            CRI-O
//	libpod-<id>.scope          podman
//
// The monitors that run beside a container (libpod-conmon-<id>.scope, crio-conmon-<id>.scope) are not in it.
func IDs(path string) (ids []string, runtime string) {
	for path != "" {
		i := strings.LastIndexByte(path, '/')
		part := path[i+1:]
		path = path[:max(i, 0)]
		id, prefix := splitID(part)
		if id == "" {
			continue
		}
		if len(ids) == 0 {
			runtime = runtimeOf(prefix, path)
		}
		ids = append(ids, id)
	}
	return ids, runtime
}

// splitID takes a path's component apart. id is "" if the component names no container.
func splitID(part string) (id, prefix string) {
	part = strings.TrimSuffix(part, ".scope")
	if len(part) < idLength || len(part) > 128 {
		return "", ""
	}
	id, prefix = part[len(part)-idLength:], part[:len(part)-idLength]
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", ""
		}
	}
	switch {
	case prefix == "":
		return id, ""
	case prefix[len(prefix)-1] != '-' && prefix[len(prefix)-1] != ':' || strings.Contains(prefix, "conmon"):
		return "", ""
	}
	return id, prefix[:len(prefix)-1]
}

func runtimeOf(prefix, above string) string {
	switch {
	case prefix == "docker":
		return "docker"
	case strings.HasSuffix(prefix, "cri-containerd"):
		return "containerd"
	case prefix == "crio":
		return "cri-o"
	case prefix == "libpod":
		return "podman"
	}
	switch parent := above[strings.LastIndexByte(above, '/')+1:]; {
	case parent == "docker", strings.Contains(above, "/ecs/"):
		return "docker"
	case parent == "libpod_parent":
		return "podman"
	}
	return ""
}

// below reports whether a cgroup path is dir or lies in it.
func below(path, dir string) bool {
	return dir == "" || dir == "/" || path == dir || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}
