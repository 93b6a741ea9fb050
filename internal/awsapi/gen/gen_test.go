package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCommittedFilesAreGenerated fails when a model or the generator changed and go generate was not run.
func TestCommittedFilesAreGenerated(t *testing.T) {
	for _, s := range services {
		m, err := read(filepath.Join("..", "model", s.model+".json"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := s.generate(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) < 4 {
			t.Errorf("%s: only %d files", s.pkg, len(files))
		}
		for name, want := range files {
			got, err := os.ReadFile(filepath.Join("..", s.pkg, name))
			if err != nil {
				t.Error(err)
			} else if string(got) != string(want) {
				t.Errorf("%s/%s is not what the generator writes; run go generate in internal/awsapi", s.pkg, name)
			}
		}
	}
}

func TestTranslate(t *testing.T) {
	for pattern, want := range map[string][2]string{
		`[a-z]+`:                     {`[a-z]+`, ``},
		`(?!aws:)[a-zA-Z+-=._:/]+`:   {`[a-zA-Z+-=._:/]+`, `aws:`},
		`^(?!\s*$).+`:                {`.+`, `\s*$`},
		`^(https://)?[\.\-a-z0-9]+$`: {`^(https://)?[\.\-a-z0-9]+$`, ``},
		`(?!a(b))c`:                  {``, ``}, // not translated: an error
		`(?<=x)y`:                    {``, ``},
	} {
		match, reject, err := translate(pattern)
		if (err != nil) != (want[0] == "") || match != want[0] || reject != want[1] {
			t.Errorf("translate(%s) = %q, %q, %v", pattern, match, reject, err)
		}
	}
}
