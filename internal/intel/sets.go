package intel

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vedette.dev/vedette/internal/store"
)

// Kind is what a set is for. Its text is the word for it in ARNs.
type Kind string

// The kinds of sets.
const (
	ThreatIntelSet   Kind = "threatintelset"   // addresses and domain names that make findings
	ThreatEntitySet  Kind = "threatentityset"  // those, and files
	IPSet            Kind = "ipset"            // addresses that are trusted
	TrustedEntitySet Kind = "trustedentityset" // addresses and domain names that are trusted
)

// Kinds returns every kind.
func Kinds() []Kind { return []Kind{ThreatIntelSet, ThreatEntitySet, IPSet, TrustedEntitySet} }

// Documents are the stored sets of a kind, by id.
func (k Kind) Documents() store.Documents[Set] { return store.Documents[Set](k) }

func (k Kind) String() string {
	return map[Kind]string{
		ThreatIntelSet: "threat intelligence set", ThreatEntitySet: "threat entity set", IPSet: "IP set", TrustedEntitySet: "trusted entity set",
	}[k]
}

// CategoryTag is the tag of a set of threats that says what its entries are: one of [HostCategories] for its addresses and
// domain names (without it, command and control), or one of [FileCategories] for its files (without it, the user's own
// malware).
const CategoryTag = "vedette:category"

// categories returns what the entries of a set are.
func (k Kind) categories(tags map[string]string) (hosts, files string, err error) {
	category, tagged := tags[CategoryTag]
	switch {
	case k == IPSet || k == TrustedEntitySet:
		if tagged {
			err = &InvalidError{fmt.Sprintf("a set that is trusted has no category; remove the tag %s", CategoryTag)}
		}
		return Trusted, "", err
	case !tagged:
		return CommandAndControl, CustomMalware, nil
	case slices.Contains(hostCategories, category):
		return category, CustomMalware, nil
	case k == ThreatEntitySet && slices.Contains(fileCategories, category):
		return CommandAndControl, category, nil
	}
	known := hostCategories
	if k == ThreatEntitySet {
		known = slices.Concat(hostCategories, fileCategories)
	}
	return "", "", &InvalidError{fmt.Sprintf("the tag %s must be one of %s", CategoryTag, strings.Join(known, ", "))}
}

// Set is a list that a user has made, by its source.
type Set struct {
	Kind         Kind              `json:"-"`
	ID           string            `json:"id"` // 32 hex digits
	Name         string            `json:"name"`
	Format       string            `json:"format"` // one of the formats
	Location     string            `json:"location"`
	Status       string            `json:"status"`
	ErrorDetails string            `json:"errorDetails,omitempty"` // with status ERROR; with ACTIVE, what was skipped
	Tags         map[string]string `json:"tags,omitempty"`
	CreatedAt    time.Time         `json:"createdAt"`
	UpdatedAt    time.Time         `json:"updatedAt"`

	SHA256   string    `json:"sha256,omitempty"` // of the copy that is kept
	Entries  int       `json:"entries"`          // in use
	LoadedAt time.Time `json:"loadedAt,omitzero"`
	// Generation rises with each change that needs the source to be read again.
	Generation uint64 `json:"generation"`
}

// The values of Set.Status.
const (
	StatusInactive   = "INACTIVE"
	StatusActivating = "ACTIVATING"
	StatusActive     = "ACTIVE"
	StatusError      = "ERROR"
)

// MaxSets bounds how many sets of a kind there are.
const MaxSets = 64

// ErrNotFound says that there is no set with that id.
var ErrNotFound = errors.New("no such set")

// InvalidError says what is wrong with a request, in one sentence for the user.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

// SetsOptions are what Sets need. Store, Folder, Lists and Log are required.
type SetsOptions struct {
	Store  *store.DB
	Folder string // where copies are kept; made if missing
	// Folders are those whose files a location may name; Folder is always one.
	Folders []string
	Lists   *Lists
	Log     *slog.Logger
	Client  *http.Client     // nil: one that follows a few redirects
	Now     func() time.Time // nil: time.Now
}

// Sets keeps the sets of every kind and the lists made from them. Its methods may be called from any goroutine.
type Sets struct {
	o       SetsOptions
	sources sources
	wake    chan struct{}
}

// OpenSets puts the sets that are in use into the lists, from their copies. Run does the rest.
func OpenSets(ctx context.Context, o SetsOptions) (*Sets, error) {
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("folder of threat lists: %w", err)
	}
	var err error
	if o.Folder, err = filepath.Abs(o.Folder); err != nil {
		return nil, fmt.Errorf("folder of threat lists: %w", err)
	}
	o.Folders = append([]string{o.Folder}, o.Folders...)
	s := &Sets{o: o, sources: sources{o.Client, o.Folders}, wake: make(chan struct{}, 1)}
	sets, err := s.All(ctx)
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		if set.Status == StatusInactive || set.SHA256 == "" {
			continue
		}
		content, sum, err := s.parseFile(s.path(set.ID), set)
		if err == nil && sum != set.SHA256 {
			err = errors.New("it is not the copy that was made")
		}
		if err != nil {
			o.Log.Warn("threat list: the copy cannot be used; reading the source again", "list", set.Name, "err", err)
			if err := s.restart(ctx, set); err != nil {
				return nil, err
			}
			continue
		}
		s.use(set, content)
	}
	s.Wake()
	return s, nil
}

// Run activates sets until ctx ends.
func (s *Sets) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		sets, err := s.All(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.o.Log.Error("threat lists", "err", err)
			}
			continue
		}
		for _, set := range sets {
			if set.Status == StatusActivating && ctx.Err() == nil {
				s.activate(ctx, set)
			}
		}
	}
}

// Create stores a set of the given kind, name, format, location and tags; with activate its source is read in the background.
// The error is *InvalidError where the request is wrong.
func (s *Sets) Create(ctx context.Context, set Set, activate bool) (Set, error) {
	now := s.o.Now().UTC()
	set = Set{
		Kind: set.Kind, ID: newID(), Name: set.Name, Format: set.Format, Location: set.Location, Status: StatusInactive, Tags: set.Tags,
		CreatedAt: now, UpdatedAt: now, Generation: 1,
	}
	if activate {
		set.Status = StatusActivating
	}
	if err := s.check(&set); err != nil {
		return Set{}, err
	}
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		if err := unique(tx, &set); err != nil {
			return err
		}
		return put(tx, set)
	})
	if err != nil {
		return Set{}, err
	}
	s.Wake()
	return set, nil
}

func put(tx *store.Tx, set Set) error { return set.Kind.Documents().Put(tx, set.ID, set) }

// get returns a set, or ErrNotFound.
func get(tx *store.Tx, kind Kind, id string) (Set, error) {
	set, ok, err := kind.Documents().Get(tx, id)
	if err == nil && !ok {
		err = ErrNotFound
	}
	set.Kind = kind
	return set, err
}

// Change is what Update changes; nil members stay.
type Change struct {
	Name, Location *string
	Activate       *bool
}

// Update changes a set. A new location, or Activate, makes the source be read (again). The error is ErrNotFound or
// *InvalidError where the request is wrong.
func (s *Sets) Update(ctx context.Context, kind Kind, id string, change Change) error {
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		set, err := get(tx, kind, id)
		if err != nil {
			return err
		}
		reload := false
		if change.Name != nil {
			reload = set.Name != *change.Name && set.Status != StatusInactive
			set.Name = *change.Name
		}
		if change.Location != nil {
			reload = reload || set.Status != StatusInactive
			set.Location = *change.Location
		}
		switch {
		case change.Activate != nil && !*change.Activate:
			set.Status, set.ErrorDetails, set.Entries, reload = StatusInactive, "", 0, false
			set.Generation++
			tx.AfterCommit(func() { s.use(set, made{}) })
		case change.Activate != nil, reload:
			set.Status, set.ErrorDetails = StatusActivating, ""
			set.Generation++
		}
		if err := s.check(&set); err != nil {
			return err
		}
		if err := unique(tx, &set); err != nil {
			return err
		}
		set.UpdatedAt = s.o.Now().UTC()
		return put(tx, set)
	})
	s.Wake()
	return err
}

// Retag stores other tags of a set, and has it read again where they give it another category. The error is ErrNotFound or
// *InvalidError.
func (s *Sets) Retag(tx *store.Tx, kind Kind, id string, tags map[string]string) error {
	set, err := get(tx, kind, id)
	if err != nil {
		return err
	}
	if set.Tags[CategoryTag] != tags[CategoryTag] && set.Status != StatusInactive {
		set.Status, set.ErrorDetails = StatusActivating, ""
		set.Generation++
		tx.AfterCommit(s.Wake)
	}
	set.Tags = tags
	if err := s.check(&set); err != nil {
		return err
	}
	return put(tx, set)
}

// Delete removes a set, its copy and its lists. The error is ErrNotFound where there is none.
func (s *Sets) Delete(ctx context.Context, kind Kind, id string) error {
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		ok, err := kind.Documents().Delete(tx, id)
		if err == nil && !ok {
			return ErrNotFound
		}
		tx.AfterCommit(func() { s.use(Set{Kind: kind, ID: id}, made{}) })
		return err
	})
	if err == nil {
		if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.o.Log.Warn("threat list: removing the copy", "err", err)
		}
	}
	return err
}

// Get returns the set with the given id, and whether there is one.
func (s *Sets) Get(ctx context.Context, kind Kind, id string) (set Set, ok bool, err error) {
	err = s.o.Store.View(ctx, func(tx *store.Tx) error {
		set, err = get(tx, kind, id)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return set, false, nil
	}
	return set, err == nil, err
}

// All returns every set, by kind and id.
func (s *Sets) All(ctx context.Context) ([]Set, error) {
	var sets []Set
	err := s.o.Store.View(ctx, func(tx *store.Tx) error {
		for _, kind := range Kinds() {
			entries, err := kind.Documents().List(tx, "", "", 0)
			if err != nil {
				return err
			}
			for _, e := range entries {
				e.Value.Kind = kind
				sets = append(sets, e.Value)
			}
		}
		return nil
	})
	return sets, err
}

// activate reads a set's source and puts it to use. If it cannot, what was in use stays in use.
func (s *Sets) activate(ctx context.Context, set Set) {
	content, sum, unusable := s.load(ctx, set)
	if ctx.Err() != nil {
		return // It is still ACTIVATING and will be read after the restart.
	}
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		stored, getErr := get(tx, set.Kind, set.ID)
		if errors.Is(getErr, ErrNotFound) || getErr == nil && stored.Generation != set.Generation {
			return nil // Deleted or changed meanwhile: the change has asked for another round.
		}
		if getErr != nil {
			return getErr
		}
		stored.UpdatedAt = s.o.Now().UTC()
		if unusable != nil {
			stored.Status, stored.ErrorDetails = StatusError, clip(unusable.Error())
			if stored.SHA256 != "" {
				stored.ErrorDetails += "; the content read before stays in use"
			}
			return put(tx, stored)
		}
		// The copy takes its place only now, so that a set that was deleted meanwhile leaves none behind.
		if err := os.Rename(s.path(set.ID)+".new", s.path(set.ID)); err != nil {
			return fmt.Errorf("keeping a copy: %w", err)
		}
		stored.Status, stored.ErrorDetails = StatusActive, clip(content.report.String())
		stored.SHA256, stored.Entries, stored.LoadedAt = sum, content.report.Entries, stored.UpdatedAt
		tx.AfterCommit(func() { s.use(set, content) })
		return put(tx, stored)
	})
	os.Remove(s.path(set.ID) + ".new") // Left where it was not used.
	switch {
	case err != nil:
		s.o.Log.Error("threat list: storing its state", "list", set.Name, "err", err)
		return
	case unusable != nil:
		s.o.Log.Warn("threat list not usable", "list", set.Name, "err", unusable)
		return
	case content.report.Bad > 0:
		s.o.Log.Warn("threat list read in part", "list", set.Name, "entries", content.report.Entries, "problem", content.report.String())
		return
	}
	s.o.Log.Info("threat list read", "list", set.Name, "entries", content.report.Entries)
}

// made is what a set's content was made into.
type made struct {
	hosts, files *List // nil where there are none
	report       Report
}

// into puts what was made into the lists, in place of what was there under the key.
func (m made) into(lists *Lists, key string) {
	hold := func(list *List) *List {
		if list == nil {
			return nil
		}
		if prefixes, domains, files := list.Size(); prefixes+domains+files == 0 {
			return nil
		}
		return list
	}
	lists.Set(key, hold(m.hosts))
	lists.Set(key+"/files", hold(m.files))
}

// use puts what was made of a set into the lists.
func (s *Sets) use(set Set, content made) { content.into(s.o.Lists, string(set.Kind)+"/"+set.ID) }

// load fetches a set's source into the file that becomes its copy, and parses it.
func (s *Sets) load(ctx context.Context, set Set) (made, string, error) {
	path := s.path(set.ID) + ".new"
	if _, err := s.sources.fetch(ctx, set.Location, path, validators{}); err != nil {
		return made{}, "", err
	}
	content, sum, err := s.parseFile(path, set)
	if err == nil && content.report.Entries == 0 {
		err = errors.New("the list has no entry")
		if content.report.Bad > 0 {
			err = fmt.Errorf("%w: %s", err, content.report)
		}
	}
	return content, sum, err
}

// parseFile parses a file as the content of a set.
func (s *Sets) parseFile(path string, set Set) (made, string, error) {
	hosts, files, err := set.Kind.categories(set.Tags)
	if err != nil {
		return made{}, "", err
	}
	into := Into{Addresses: &List{Name: set.Name, Category: hosts}}
	if set.Kind != IPSet {
		into.Domains = into.Addresses
	}
	if set.Kind == ThreatEntitySet {
		into.Files = &List{Name: set.Name, Category: files}
	}
	return parseFile(path, set.Format, into)
}

// parseFile parses a file, and returns its digest too.
func parseFile(path, format string, into Into) (made, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return made{}, "", err
	}
	defer f.Close()
	sum := sha256.New()
	text := io.TeeReader(f, sum)
	report, err := Parse(into, format, text)
	if err == nil {
		_, err = io.Copy(io.Discard, text) // a parser may stop before the end
	}
	return made{into.Addresses, into.Files, report}, hex.EncodeToString(sum.Sum(nil)), err
}

// restart has a set's source read again.
func (s *Sets) restart(ctx context.Context, set Set) error {
	return s.o.Store.Update(ctx, func(tx *store.Tx) error {
		stored, err := get(tx, set.Kind, set.ID)
		if err != nil {
			return err
		}
		stored.Status, stored.SHA256 = StatusActivating, ""
		stored.Generation++
		return put(tx, stored)
	})
}

// Wake has Run look for sets to activate.
func (s *Sets) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sets) path(id string) string { return filepath.Join(s.o.Folder, id+".list") }

func (s *Sets) check(set *Set) error {
	if set.Name == "" || len(set.Name) > 300 {
		return &InvalidError{fmt.Sprintf("the name of a %s has 1 to 300 characters", set.Kind)}
	}
	if _, ok := parsers[set.Format]; !ok {
		return &InvalidError{fmt.Sprintf("there is no format %.40q", set.Format)}
	}
	if len(set.Location) > 300 {
		return &InvalidError{"a location has at most 300 characters"}
	}
	if _, err := s.sources.check(set.Location); err != nil {
		return &InvalidError{err.Error()}
	}
	_, _, err := set.Kind.categories(set.Tags)
	return err
}

// unique refuses a second set of the same kind and name, and too many sets.
func unique(tx *store.Tx, set *Set) error {
	entries, err := set.Kind.Documents().List(tx, "", "", 0)
	if err != nil {
		return err
	}
	others := 0
	for _, e := range entries {
		if e.Key == set.ID {
			continue
		}
		others++
		if e.Value.Name == set.Name {
			return &InvalidError{fmt.Sprintf("a %s named %.100q exists already", set.Kind, set.Name)}
		}
	}
	if others >= MaxSets {
		return &InvalidError{fmt.Sprintf("there are %d sets of this kind already, which is the limit", MaxSets)}
	}
	return nil
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// clip bounds and cleans a text that may quote a source.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "") + "…"
	}
	return s
}
