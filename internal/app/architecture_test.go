package app

import (
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const module = "vedette.dev/vedette/internal/"

// mayImport lists, for each room, the rooms it may import. A room depends on the leaves and on rooms that an event meets
// before it; anything else would bend the straight line of ARCHITECTURE.md. Folders inside a room count as the room.
var mayImport = map[string]string{
	// leaves
	"pattern":  "",
	"event":    "pattern", // an event answers the pattern engine's questions about its fields
	"finding":  "event",
	"config":   "",
	"simulate": "", // makes containers and attacks them; knows nothing of what watches
	// in the order an event meets them
	"sensor":    "event",
	"container": "event",
	"inventory": "container",
	"link":      "event",
	"store":     "",
	"agent":     "event sensor container link",
	"intel":     "store",
	"detect":    "event finding pattern intel",
	"bus":       "store pattern",
	"coverage":  "link inventory store bus finding event",
	"ingest":    "event finding detect link store bus",
	"notify":    "store bus pattern finding event",
	"awsapi":    "store bus notify pattern finding intel coverage ingest event",
	"demo":      "app config event finding inventory simulate notify",
	"app":       "*", // the only place that wires rooms together
}

// TestRoomsImportOnlyEarlierRooms checks mayImport against the source.
func TestRoomsImportOnlyEarlierRooms(t *testing.T) {
	for dir, pkg := range packages(t) {
		room, _, _ := strings.Cut(dir, "/")
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("internal/%s: the room %q is not in the table mayImport; add it with the rooms it may import", dir, room)
			continue
		}
		if allowed == "*" {
			continue
		}
		for _, path := range pkg.Imports {
			rest, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			other, _, _ := strings.Cut(rest, "/")
			if other != room && !contains(strings.Fields(allowed), other) {
				t.Errorf("internal/%s imports %s: %s may import only [%s]", dir, rest, room, allowed)
			}
		}
	}
}

// TestPackagesAreDocumented checks that each package has exactly one package comment.
func TestPackagesAreDocumented(t *testing.T) {
	for dir, pkg := range packages(t) {
		comments := 0
		for _, name := range pkg.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				comments++
			}
		}
		if comments != 1 {
			t.Errorf("internal/%s has %d package comments, want 1", dir, comments)
		}
	}
}

// packages returns all packages below internal, by folder.
func packages(t *testing.T) map[string]*build.Package {
	t.Helper()
	found := map[string]*build.Package{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == "testdata" {
			return filepath.SkipDir
		}
		pkg, err := build.ImportDir(path, 0)
		if err == nil && len(pkg.GoFiles) > 0 {
			found[filepath.ToSlash(strings.TrimPrefix(path, "../"))] = pkg
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 10 {
		t.Fatalf("found only %d packages", len(found))
	}
	return found
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
