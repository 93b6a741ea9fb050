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
	"strings"
	"time"

	"vedette.dev/vedette/internal/store"
)

// Set is a threat intelligence set: a list that a user has made, by its source.
type Set struct {
	ID           string            `json:"id"` // 32 hex digits
	Name         string            `json:"name"`
	Format       string            `json:"format"` // TXT
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

// ThreatIntelSets are the stored sets, by id.
const ThreatIntelSets store.Documents[Set] = "threatintelset"

// MaxSets bounds how many sets there are.
const MaxSets = 64

// ErrNotFound says that there is no set with that id.
var ErrNotFound = errors.New("no such threat intelligence set")

// InvalidError says what is wrong with a request, in one sentence for the user.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

// SetsOptions are what Sets need. Store, Folder, Lists and Log are required.
type SetsOptions struct {
	Store  *store.DB
	Folder string // where copies are kept; made if missing
	Lists  *Lists
	Log    *slog.Logger
	Client *http.Client     // nil: one that follows a few redirects
	Now    func() time.Time // nil: time.Now
}

// Sets keeps the threat intelligence sets and the lists made from them. Its methods may be called from any goroutine.
type Sets struct {
	o    SetsOptions
	wake chan struct{}
}

// OpenSets puts the sets that are in use into the lists, from their copies. Run does the rest.
func OpenSets(ctx context.Context, o SetsOptions) (*Sets, error) {
	if o.Client == nil {
		o.Client = &http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 5 || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
				return errors.New("too many redirects")
			}
			return nil
		}}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("folder of threat lists: %w", err)
	}
	s := &Sets{o: o, wake: make(chan struct{}, 1)}
	sets, err := s.All(ctx)
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		if set.Status == StatusInactive || set.SHA256 == "" {
			continue
		}
		list, _, sum, err := s.parse(set)
		if err == nil && sum != set.SHA256 {
			err = errors.New("it is not the copy that was made")
		}
		if err != nil {
			o.Log.Warn("threat list: the copy cannot be used; reading the source again", "list", set.Name, "err", err)
			if err := s.restart(ctx, set.ID); err != nil {
				return nil, err
			}
			continue
		}
		o.Lists.Set(key(set.ID), list)
	}
	s.poke()
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

// Create stores a set; with activate its source is read in the background. The error is *InvalidError where the request is
// wrong.
func (s *Sets) Create(ctx context.Context, name, format, location string, activate bool, tags map[string]string) (Set, error) {
	now := s.o.Now().UTC()
	set := Set{ID: newID(), Name: name, Format: format, Location: location, Status: StatusInactive, Tags: tags, CreatedAt: now, UpdatedAt: now, Generation: 1}
	if activate {
		set.Status = StatusActivating
	}
	if format != "TXT" {
		return Set{}, &InvalidError{fmt.Sprintf("format %.40q is not supported yet; use TXT", format)}
	}
	if err := checkSet(&set); err != nil {
		return Set{}, err
	}
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		if err := unique(tx, &set); err != nil {
			return err
		}
		return ThreatIntelSets.Put(tx, set.ID, set)
	})
	if err != nil {
		return Set{}, err
	}
	s.poke()
	return set, nil
}

// Change is what Update changes; nil members stay.
type Change struct {
	Name, Location *string
	Activate       *bool
}

// Update changes a set. A new location, or Activate, makes the source be read (again). The error is ErrNotFound or
// *InvalidError where the request is wrong.
func (s *Sets) Update(ctx context.Context, id string, change Change) error {
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		set, ok, err := ThreatIntelSets.Get(tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return ErrNotFound
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
			tx.AfterCommit(func() { s.o.Lists.Set(key(id), nil) })
		case change.Activate != nil, reload:
			set.Status, set.ErrorDetails = StatusActivating, ""
			set.Generation++
		}
		if err := checkSet(&set); err != nil {
			return err
		}
		if err := unique(tx, &set); err != nil {
			return err
		}
		set.UpdatedAt = s.o.Now().UTC()
		return ThreatIntelSets.Put(tx, id, set)
	})
	s.poke()
	return err
}

// Delete removes a set, its copy and its list. The error is ErrNotFound where there is none.
func (s *Sets) Delete(ctx context.Context, id string) error {
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		ok, err := ThreatIntelSets.Delete(tx, id)
		if err == nil && !ok {
			return ErrNotFound
		}
		tx.AfterCommit(func() { s.o.Lists.Set(key(id), nil) })
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
func (s *Sets) Get(ctx context.Context, id string) (set Set, ok bool, err error) {
	err = s.o.Store.View(ctx, func(tx *store.Tx) error {
		set, ok, err = ThreatIntelSets.Get(tx, id)
		return err
	})
	return set, ok, err
}

// All returns every set, by id.
func (s *Sets) All(ctx context.Context) ([]Set, error) {
	var sets []Set
	err := s.o.Store.View(ctx, func(tx *store.Tx) error {
		entries, err := ThreatIntelSets.List(tx, "", "", 0)
		for _, e := range entries {
			sets = append(sets, e.Value)
		}
		return err
	})
	return sets, err
}

// activate reads a set's source and puts it to use. If it cannot, what was in use stays in use.
func (s *Sets) activate(ctx context.Context, set Set) {
	list, report, sum, unusable := s.load(ctx, set)
	if ctx.Err() != nil {
		return // It is still ACTIVATING and will be read after the restart.
	}
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		stored, ok, err := ThreatIntelSets.Get(tx, set.ID)
		if err != nil || !ok || stored.Generation != set.Generation {
			return err // Deleted or changed meanwhile: the change has asked for another round.
		}
		stored.UpdatedAt = s.o.Now().UTC()
		if unusable != nil {
			stored.Status, stored.ErrorDetails = StatusError, clip(unusable.Error())
			if stored.SHA256 != "" {
				stored.ErrorDetails += "; the content read before stays in use"
			}
			return ThreatIntelSets.Put(tx, set.ID, stored)
		}
		// The copy takes its place only now, so that a set that was deleted meanwhile leaves none behind.
		if err := os.Rename(s.path(set.ID)+".new", s.path(set.ID)); err != nil {
			return fmt.Errorf("keeping a copy: %w", err)
		}
		stored.Status, stored.ErrorDetails = StatusActive, clip(report.String())
		stored.SHA256, stored.Entries, stored.LoadedAt = sum, report.Entries, stored.UpdatedAt
		tx.AfterCommit(func() { s.o.Lists.Set(key(set.ID), list) })
		return ThreatIntelSets.Put(tx, set.ID, stored)
	})
	os.Remove(s.path(set.ID) + ".new") // Left where it was not used.
	switch {
	case err != nil:
		s.o.Log.Error("threat list: storing its state", "list", set.Name, "err", err)
		return
	case unusable != nil:
		s.o.Log.Warn("threat list not usable", "list", set.Name, "err", unusable)
		return
	case report.Bad > 0:
		s.o.Log.Warn("threat list read in part", "list", set.Name, "entries", report.Entries, "problem", report.String())
		return
	}
	s.o.Log.Info("threat list read", "list", set.Name, "entries", report.Entries)
}

// load fetches a set's source into the file that becomes its copy, and parses it.
func (s *Sets) load(ctx context.Context, set Set) (*List, Report, string, error) {
	path := s.path(set.ID) + ".new"
	if err := fetch(ctx, s.o.Client, set.Location, path); err != nil {
		return nil, Report{}, "", err
	}
	list, report, sum, err := s.parseFile(path, set.Name)
	if err == nil && report.Entries == 0 {
		err = errors.New("the list holds no address and no domain name")
		if report.Bad > 0 {
			err = fmt.Errorf("%w: %s", err, report)
		}
	}
	return list, report, sum, err
}

func (s *Sets) parse(set Set) (*List, Report, string, error) {
	return s.parseFile(s.path(set.ID), set.Name)
}

func (s *Sets) parseFile(path, name string) (*List, Report, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Report{}, "", err
	}
	defer f.Close()
	list := &List{Name: name, Category: CommandAndControl}
	sum := sha256.New()
	report, err := Parse(list, io.TeeReader(f, sum))
	return list, report, hex.EncodeToString(sum.Sum(nil)), err
}

// restart has a set's source read again.
func (s *Sets) restart(ctx context.Context, id string) error {
	return s.o.Store.Update(ctx, func(tx *store.Tx) error {
		set, ok, err := ThreatIntelSets.Get(tx, id)
		if err != nil || !ok {
			return err
		}
		set.Status, set.SHA256 = StatusActivating, ""
		set.Generation++
		return ThreatIntelSets.Put(tx, id, set)
	})
}

func (s *Sets) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sets) path(id string) string { return filepath.Join(s.o.Folder, id+".list") }

func checkSet(set *Set) error {
	if set.Name == "" || len(set.Name) > 300 {
		return &InvalidError{"a threat intelligence set needs a name of 1 to 300 characters"}
	}
	if _, err := checkLocation(set.Location); err != nil || len(set.Location) > 300 {
		if err == nil {
			err = errors.New("a location has at most 300 characters")
		}
		return &InvalidError{err.Error()}
	}
	return nil
}

// unique refuses a second set of the same name, and too many sets.
func unique(tx *store.Tx, set *Set) error {
	entries, err := ThreatIntelSets.List(tx, "", "", 0)
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
			return &InvalidError{fmt.Sprintf("a threat intelligence set named %.100q exists already", set.Name)}
		}
	}
	if others >= MaxSets {
		return &InvalidError{fmt.Sprintf("there are %d threat intelligence sets already, which is the limit", MaxSets)}
	}
	return nil
}

func key(id string) string { return "set/" + id }

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
