package static

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette.dev/vedette/internal/event"
)

const text = `{"containers": [
  {"cgroup": "/demo/web", "id": "w1", "name": "web", "image": "shop/web:3", "startedAt": "2026-01-02T03:04:05Z", "launchType": "FARGATE",
   "labels": {"com.amazonaws.ecs.task-arn": "arn:aws:ecs:eu-west-1:111122223333:task/shop/1", "com.amazonaws.ecs.cluster": "shop"},
   "mounts": [{"source": "/srv", "target": "/data"}]},
  {"cgroup": "/demo", "cluster": "outer"}
]}`

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "containers.json")
	f, err := Open(path, "host", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := f.Claim("/demo/web"); ok {
		t.Errorf("before there is a file: %+v", c)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	web := &event.Container{
		ID: "w1", Name: "web", Image: "shop/web:3", Runtime: "native", StartedAt: at, Cluster: "shop", Mounts: []event.Mount{{Source: "/srv", Target: "/data"}},
		Task: &event.Task{ARN: "arn:aws:ecs:eu-west-1:111122223333:task/shop/1", ClusterARN: "arn:aws:ecs:eu-west-1:111122223333:cluster/shop", LaunchType: "FARGATE", StartedAt: at},
	}
	outer := &event.Container{ID: "/demo", Runtime: "native", Cluster: "outer"}
	for cgroup, want := range map[string]*event.Container{"/demo/web": web, "/demo/web/below": web, "/demo": outer, "/demo/webx": outer, "/other": nil, "/": nil, "": nil} {
		got, ok := f.Claim(cgroup)
		if diff := cmp.Diff(want, got); diff != "" || ok != (want != nil) {
			t.Errorf("Claim(%q) (-want +got):\n%s", cgroup, diff)
		}
	}
	// A torn write keeps what was there; a removed file names nothing.
	if err := os.WriteFile(path, []byte(text[:100]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Claim("/demo/web"); !ok {
		t.Error("a file that cannot be read has wiped out the containers")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Claim("/demo/web"); ok {
		t.Error("a file that is gone still names containers")
	}
}

func TestBadFiles(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"empty":         {"", "EOF"},
		"unknown key":   {`{"containers":[{"cgroop":"/x"}]}`, "cgroop"},
		"no cgroup":     {`{"containers":[{"name":"x"}]}`, "container 1"},
		"root":          {`{"containers":[{"cgroup":"/"}]}`, "not a clean absolute path"},
		"not clean":     {`{"containers":[{"cgroup":"/a/../b"}]}`, "not a clean absolute path"},
		"listed twice":  {`{"containers":[{"cgroup":"/a"},{"cgroup":"/a"}]}`, "twice"},
		"too many":      {`{"containers":[` + strings.Repeat("{},", maxContainers) + `{}]}`, "more than"},
		"not a time":    {`{"containers":[{"cgroup":"/a","startedAt":"noon"}]}`, "noon"},
		"not even JSON": {"cgroup: /a", "invalid"},
	} {
		path := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, "host", nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(text))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parse(text, "host")
		if err != nil {
			return
		}
		for path, c := range got {
			if c == nil || c.ID == "" || c.Cluster == "" || path[0] != '/' {
				t.Fatalf("%q: %+v", path, c)
			}
		}
	})
}
