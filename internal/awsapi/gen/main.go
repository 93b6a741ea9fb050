// Gen turns the trimmed service models beside it into Go: the inputs and outputs of the operations, their shapes with the
// constraints, the interface to implement and the modelled errors.
//
//	go run ./gen                      writes ../guardduty, ../eventbridge and ../sns from model/*.json
//	go run ./gen -trim DIR            first writes model/*.json anew from the full models in DIR/<service>/<version>/service-2.json[.gz]
//
// The output is deterministic. Run it from internal/awsapi (go generate does).
package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	trim := flag.String("trim", "", "folder of full service models to trim first")
	flag.Parse()
	if err := run(*trim); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(trimFrom string) error {
	for _, s := range services {
		path := filepath.Join("model", s.model+".json")
		if trimFrom != "" {
			full, err := readFull(filepath.Join(trimFrom, s.model, s.version, "service-2.json"))
			if err != nil {
				return err
			}
			if err := s.trim(full); err != nil {
				return fmt.Errorf("trimming the model of %s: %w", s.model, err)
			}
			text, err := json.MarshalIndent(full, "", " ")
			if err != nil {
				return err
			}
			if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
				return err
			}
		}
		m, err := read(path)
		if err != nil {
			return err
		}
		files, err := s.generate(m)
		if err != nil {
			return fmt.Errorf("generating %s: %w", s.pkg, err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(s.pkg, name), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func read(path string) (*model, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m model
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &m, nil
}

// readFull reads a model that may be compressed.
func readFull(path string) (*model, error) {
	if _, err := os.Stat(path); err == nil {
		return read(path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	file, err := os.Open(path + ".gz")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		return nil, err
	}
	var m model
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &m, nil
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
