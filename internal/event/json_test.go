package event

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestJSONNamesFieldsAsPatternsDo(t *testing.T) {
	e := Event{
		Kind: KindConnect, Time: 1795425580377000000, Count: 1,
		Process: &Process{PID: 42, Name: "cu\x1brl", Args: []string{"curl", "<x>"}, Parent: &Process{PID: 1, Name: "sh"}},
		Connect: &Socket{Family: 2, Type: 1, Protocol: 6, Remote: netip.MustParseAddrPort("198.51.100.7:443")},
	}
	text, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields() {
		n, _ := FieldByPath(f.Path)
		if len(e.AppendValues(nil, n)) == 0 {
			continue
		}
		var at any = object
		for _, name := range strings.Split(f.Path, ".") {
			below, ok := at.(map[string]any)
			if !ok || below[name] == nil {
				t.Errorf("the JSON has no %s: %s", f.Path, text)
				break
			}
			at = below[name]
		}
	}
	if object["kind"] != "connect" || object["time"] != "2026-11-23T09:19:40.377Z" {
		t.Errorf("kind and time are %v, %v", object["kind"], object["time"])
	}
	if strings.Contains(string(text), "\x1b") {
		t.Errorf("the JSON holds a raw control character: %q", text)
	}
}

// A path must not be both a value and an object, or the JSON would lose one of them.
func TestNoFieldIsAlsoAPrefix(t *testing.T) {
	for _, a := range Fields() {
		for _, b := range Fields() {
			if strings.HasPrefix(b.Path, a.Path+".") {
				t.Errorf("%s is a field and a prefix of %s", a.Path, b.Path)
			}
		}
	}
}
