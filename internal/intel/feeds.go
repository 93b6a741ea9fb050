package intel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/store"
)

// Feed is a list that refreshes itself.
type Feed struct {
	Name     string // shown in findings
	URL      string // http or https
	Format   string // one of the formats; "" is TXT
	Category string // a category of hosts or of files, or Trusted; "" is command and control
	Every    time.Duration
}

// The bounds of feeds.
const (
	MaxFeeds     = 64
	MinEvery     = time.Minute
	firstBackoff = time.Minute
)

// feedState is what is remembered of a feed.
type feedState struct {
	Source     string     `json:"source"` // identifies location and format
	Version    validators `json:"version"`
	SHA256     string     `json:"sha256,omitempty"` // of the copy that is kept
	Entries    int        `json:"entries"`
	LoadedAt   time.Time  `json:"loadedAt,omitzero"`  // when the content last changed
	CheckedAt  time.Time  `json:"checkedAt,omitzero"` // when the source last answered well
	Failures   int        `json:"failures,omitempty"` // since then
	LastReason string     `json:"reason,omitempty"`   // of the last of them
}

const feedStates store.Documents[feedState] = "feed"

// FeedsOptions are what OpenFeeds needs. Store, Folder, Lists and Log are required.
type FeedsOptions struct {
	Store    *store.DB
	Folder   string // where copies are kept; made if missing
	Feeds    []Feed
	Lists    *Lists
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: metrics are not registered
	Client   *http.Client          // nil: one that follows a few redirects
	Now      func() time.Time      // nil: time.Now
}

// Feeds keeps the configured feeds fresh. A source that cannot be read, or whose content has no entry, is asked again after a
// growing pause, and meanwhile the last good content stays in use.
type Feeds struct {
	o       FeedsOptions
	sources sources
	metrics *feedMetrics

	mu     sync.Mutex
	states []feedState // by the place of their feed; guarded by mu
	next   []time.Time // when each is due; Run's own
}

// OpenFeeds checks the feeds and puts the copies that are there to use. The error names the feed that is wrong.
func OpenFeeds(ctx context.Context, o FeedsOptions) (*Feeds, error) {
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f := &Feeds{o: o, sources: sources{client: o.Client}, states: make([]feedState, len(o.Feeds)), next: make([]time.Time, len(o.Feeds))}
	f.o.Feeds = slices.Clone(o.Feeds)
	if len(f.o.Feeds) > MaxFeeds {
		return nil, fmt.Errorf("%d feeds are more than %d", len(f.o.Feeds), MaxFeeds)
	}
	for i := range f.o.Feeds {
		if err := f.check(i); err != nil {
			return nil, fmt.Errorf("feed %q: %w", f.o.Feeds[i].Name, err)
		}
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("folder of feeds: %w", err)
	}
	if err := f.restore(ctx); err != nil {
		return nil, fmt.Errorf("feeds: %w", err)
	}
	f.metrics = newFeedMetrics(f, o.Registry)
	return f, nil
}

// check fills in what a feed leaves out.
func (f *Feeds) check(i int) error {
	feed := &f.o.Feeds[i]
	if feed.Name == "" || len(feed.Name) > 300 {
		return errors.New("a name has 1 to 300 characters")
	}
	if slices.ContainsFunc(f.o.Feeds[:i], func(other Feed) bool { return other.Name == feed.Name }) {
		return errors.New("another feed has the same name")
	}
	if feed.Format == "" {
		feed.Format = FormatTXT
	}
	if _, ok := parsers[feed.Format]; !ok {
		return fmt.Errorf("there is no format %.40q", feed.Format)
	}
	if feed.Category == "" {
		feed.Category = CommandAndControl
	}
	if known := slices.Concat(hostCategories, fileCategories, []string{Trusted}); !slices.Contains(known, feed.Category) {
		return fmt.Errorf("there is no category %.40q; use one of %s", feed.Category, strings.Join(known, ", "))
	}
	if feed.Every == 0 {
		feed.Every = time.Hour
	}
	if feed.Every < MinEvery {
		return fmt.Errorf("every %s is more often than every %s", feed.Every, MinEvery)
	}
	if u, err := f.sources.check(feed.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("its URL must begin with https:// or http://")
	}
	return nil
}

// restore reads what is remembered of the feeds, puts their copies to use, and forgets feeds that are configured no more.
func (f *Feeds) restore(ctx context.Context) error {
	return f.o.Store.Update(ctx, func(tx *store.Tx) error {
		entries, err := feedStates.List(tx, "", "", 0)
		if err != nil {
			return err
		}
		for _, e := range entries {
			i := slices.IndexFunc(f.o.Feeds, func(feed Feed) bool { return feed.Name == e.Key && source(feed) == e.Value.Source })
			if i < 0 {
				if _, err := feedStates.Delete(tx, e.Key); err != nil {
					return err
				}
				tx.AfterCommit(func() { os.Remove(f.path(e.Key)) })
				continue
			}
			f.states[i] = e.Value
			if e.Value.SHA256 == "" {
				continue
			}
			feed := f.o.Feeds[i]
			content, sum, err := parseFile(f.path(feed.Name), feed.Format, into(feed))
			if err == nil && sum != e.Value.SHA256 {
				err = errors.New("it is not the copy that was made")
			}
			if err != nil {
				f.o.Log.Warn("feed: the copy cannot be used; reading the source again", "feed", feed.Name, "err", err)
				f.states[i] = feedState{}
				continue
			}
			content.into(f.o.Lists, "feed/"+feed.Name)
			if e.Value.Failures == 0 {
				f.next[i] = e.Value.CheckedAt.Add(feed.Every)
			}
		}
		return nil
	})
}

// source identifies where a feed comes from: a change of it makes what is remembered worthless.
func source(feed Feed) string {
	sum := sha256.Sum256([]byte(feed.Format + "\n" + feed.URL))
	return hex.EncodeToString(sum[:])
}

// into returns the lists of a feed.
func into(feed Feed) Into {
	list := &List{Name: feed.Name, Category: feed.Category}
	if slices.Contains(fileCategories, feed.Category) {
		return Into{Files: list}
	}
	return Into{Addresses: list, Domains: list}
}

func (f *Feeds) path(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(f.o.Folder, "feed-"+hex.EncodeToString(sum[:8])+".list")
}

// Run refreshes feeds until ctx ends.
func (f *Feeds) Run(ctx context.Context) error {
	if len(f.o.Feeds) == 0 {
		<-ctx.Done()
		return nil
	}
	for {
		first := 0
		for i := range f.next {
			if f.next[i].Before(f.next[first]) {
				first = i
			}
		}
		timer := time.NewTimer(max(0, f.next[first].Sub(f.o.Now())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		f.next[first] = f.o.Now().Add(f.refresh(ctx, first))
	}
}

// refresh reads a feed's source if it has changed, and returns when to do so again.
func (f *Feeds) refresh(ctx context.Context, i int) time.Duration {
	feed := f.o.Feeds[i]
	f.mu.Lock()
	state := f.states[i]
	f.mu.Unlock()
	state.Source = source(feed)
	content, err := f.load(ctx, feed, &state)
	if ctx.Err() != nil {
		return 0
	}
	now := f.o.Now().UTC()
	outcome := "changed"
	switch {
	case errors.Is(err, errUnchanged):
		outcome = "unchanged"
		state.CheckedAt, state.Failures, state.LastReason = now, 0, ""
	case err != nil:
		outcome = "failed"
		state.Failures++
		state.LastReason = clip(err.Error())
		f.o.Log.Warn("feed: what was read before stays in use", "feed", feed.Name, "age", age(now, state), "failures", state.Failures, "err", state.LastReason)
	default:
		state.CheckedAt, state.LoadedAt, state.Failures, state.LastReason = now, now, 0, ""
		state.Entries = content.report.Entries
		f.o.Log.Info("feed read", "feed", feed.Name, "entries", content.report.Entries, "bad", content.report.Bad)
	}
	f.metrics.refreshes.WithLabelValues(feed.Name, outcome).Inc()
	err = f.o.Store.Update(ctx, func(tx *store.Tx) error {
		if outcome == "changed" {
			if err := os.Rename(f.path(feed.Name)+".new", f.path(feed.Name)); err != nil {
				return fmt.Errorf("keeping a copy: %w", err)
			}
			tx.AfterCommit(func() { content.into(f.o.Lists, "feed/"+feed.Name) })
		}
		return feedStates.Put(tx, feed.Name, state)
	})
	os.Remove(f.path(feed.Name) + ".new") // left where it was not used
	if err != nil {
		f.o.Log.Error("feed: storing its state", "feed", feed.Name, "err", err)
		return firstBackoff
	}
	f.mu.Lock()
	f.states[i] = state
	f.mu.Unlock()
	if state.Failures > 0 {
		return jitter(min(feed.Every, firstBackoff<<min(state.Failures-1, 12)))
	}
	return jitter(feed.Every)
}

// load fetches and parses a feed. The error is errUnchanged where there is nothing new.
func (f *Feeds) load(ctx context.Context, feed Feed, state *feedState) (made, error) {
	path := f.path(feed.Name) + ".new"
	known := state.Version
	if state.SHA256 == "" {
		known = validators{}
	}
	version, err := f.sources.fetch(ctx, feed.URL, path, known)
	if err != nil {
		return made{}, err
	}
	content, sum, err := parseFile(path, feed.Format, into(feed))
	if err != nil {
		return made{}, err
	}
	if content.report.Entries == 0 {
		return made{}, fmt.Errorf("the source has no entry: %d bad lines", content.report.Bad)
	}
	state.Version = version
	if sum == state.SHA256 {
		return made{}, errUnchanged
	}
	state.SHA256 = sum
	return content, nil
}

// jitter spreads feeds that were due at once: a duration of 90 to 100 %.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/10+1) }

// age is how old the content of a feed is, by when its source last confirmed it; 0 if it has none.
func age(now time.Time, state feedState) time.Duration {
	if state.SHA256 == "" {
		return 0
	}
	return now.Sub(state.CheckedAt).Round(time.Second)
}

type feedMetrics struct {
	refreshes *prometheus.CounterVec
}

func newFeedMetrics(f *Feeds, registry prometheus.Registerer) *feedMetrics {
	m := &feedMetrics{refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vedette_feed_refreshes_total", Help: "Attempts to refresh a feed, by what came of it.",
	}, []string{"feed", "outcome"})}
	if registry == nil {
		return m
	}
	registry.MustRegister(m.refreshes)
	for i, feed := range f.o.Feeds {
		gauge := func(name, help string, value func(feedState) float64) {
			registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: name, Help: help, ConstLabels: prometheus.Labels{"feed": feed.Name},
			}, func() float64 {
				f.mu.Lock()
				defer f.mu.Unlock()
				return value(f.states[i])
			}))
		}
		gauge("vedette_feed_age_seconds", "How long ago the source of a feed last confirmed its content; 0 without content.",
			func(s feedState) float64 { return age(f.o.Now(), s).Seconds() })
		gauge("vedette_feed_entries", "Entries of a feed that are in use.", func(s feedState) float64 { return float64(s.Entries) })
	}
	return m
}
