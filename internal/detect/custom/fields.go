package custom

import (
	"sync"

	"vedette.dev/vedette/internal/detect"
	"vedette.dev/vedette/internal/event"
)

// fieldTypes are the types of all fields that rules may name: string, number or boolean.
var fieldTypes = sync.OnceValue(func() map[string]string {
	types := map[string]string{}
	for _, f := range event.Fields() {
		types[f.Path] = f.Type
	}
	for _, f := range detect.FactList() {
		types[f.Path] = f.Type
	}
	return types
})

// fieldNames are their paths.
var fieldNames = sync.OnceValue(func() []string {
	var names []string
	for _, f := range event.Fields() {
		names = append(names, f.Path)
	}
	for _, f := range detect.FactList() {
		names = append(names, f.Path)
	}
	return names
})

// kindNames are the kinds that rules may ask for.
var kindNames = sync.OnceValue(func() []string {
	var names []string
	for k := event.Kind(1); k < event.KindCount; k++ {
		if event.AllKinds.Has(k) {
			names = append(names, k.String())
		}
	}
	return names
})
