package intel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette.dev/vedette/internal/store"
)

// feedBench is feeds of a server whose answers can be changed.
type feedBench struct {
	t      *testing.T
	db     *store.DB
	folder string
	server *httptest.Server
	answer atomic.Pointer[func(http.ResponseWriter, *http.Request)]
	asked  []http.Header
	now    time.Time
	lists  *Lists
	feeds  *Feeds
	values *prometheus.Registry
}

func newFeedBench(t *testing.T) *feedBench {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "v.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := &feedBench{t: t, db: db, folder: filepath.Join(t.TempDir(), "lists"), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked = append(b.asked, r.Header)
		(*b.answer.Load())(w, r)
	}))
	t.Cleanup(func() {
		b.server.Close()
		db.Close()
	})
	return b
}

func (b *feedBench) open(feeds ...Feed) {
	b.t.Helper()
	b.lists, b.values = NewLists(), prometheus.NewRegistry()
	var err error
	b.feeds, err = OpenFeeds(context.Background(), FeedsOptions{Store: b.db, Folder: b.folder, Feeds: feeds, Lists: b.lists,
		Log: slog.New(slog.DiscardHandler), Registry: b.values, Now: func() time.Time { return b.now }})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *feedBench) answers(status int, etag, text string) {
	f := func(w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("ETag", etag)
			if r.Header.Get("If-None-Match") == etag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
	b.answer.Store(&f)
}

// want refreshes the first feed and checks what came of it: the pause until the next time, what is listed and what is not.
func (b *feedBench) want(pause time.Duration, reason, listed, unlisted string) {
	b.t.Helper()
	got := b.feeds.refresh(context.Background(), 0)
	if got > pause || got < pause*9/10 {
		b.t.Errorf("next after %s, want about %s", got, pause)
	}
	if state := b.feeds.states[0]; reason == "" && state.LastReason != "" || !strings.Contains(state.LastReason, reason) {
		b.t.Errorf("reason %q, want %q", state.LastReason, reason)
	}
	b.listed(listed, unlisted)
}

func (b *feedBench) listed(listed, unlisted string) {
	b.t.Helper()
	if listed != "" && !holds(b.lists, listed) {
		b.t.Errorf("%s is not listed", listed)
	}
	if unlisted != "" && holds(b.lists, unlisted) {
		b.t.Errorf("%s is listed", unlisted)
	}
}

func (b *feedBench) age() float64 {
	b.t.Helper()
	families, err := b.values.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "vedette_feed_age_seconds" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	b.t.Fatal("no age")
	return 0
}

func TestFeedRefreshes(t *testing.T) {
	b := newFeedBench(t)
	feed := Feed{Name: "abuse", URL: b.server.URL + "/list", Category: Phishing, Every: 2 * time.Hour}
	b.open(feed)

	// Before it was ever read, it is asked again soon.
	b.answers(500, "", "")
	b.want(time.Minute, "500", "", "evil.example")
	b.want(2*time.Minute, "500", "", "evil.example")

	b.answers(200, `"1"`, "evil.example\nnonsense\n")
	b.want(2*time.Hour, "", "evil.example", "")
	if got := b.lists.Domain(nil, "evil.example"); got[0].Category != Phishing || got[0].Name != "abuse" {
		t.Errorf("%+v", got[0])
	}
	b.now = b.now.Add(time.Hour)
	if got := b.age(); got != 3600 {
		t.Errorf("age is %v", got)
	}
	b.want(2*time.Hour, "", "evil.example", "")
	if got := b.asked[len(b.asked)-1].Get("If-None-Match"); got != `"1"` {
		t.Errorf("asked with ETag %s", got)
	}
	if got := b.age(); got != 0 {
		t.Errorf("age is %v after the source confirmed it", got)
	}

	// Whatever goes wrong, the last good content stays in use.
	for i, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		b.answers([]int{500, 404, 200}[i], "", []string{"", "", "<html>\n"}[i])
		b.want(pause, []string{"500", "404", "no entry"}[i], "evil.example", "")
	}
	for range 20 {
		b.want(b.feeds.nextPause(), "no entry", "evil.example", "")
	}
	b.answers(200, "", strings.Repeat("\n", MaxListBytes+1))
	b.want(2*time.Hour, "larger than 35 MB", "evil.example", "")

	// After a restart too, without the source.
	b.answers(500, "", "")
	b.open(feed)
	b.listed("evil.example", "")

	b.answers(200, `"2"`, "other.example\n")
	b.want(2*time.Hour, "", "other.example", "evil.example")

	// A damaged copy is not used, and the source is read again whole.
	if err := os.WriteFile(b.feeds.path("abuse"), []byte("damaged.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open(feed)
	b.listed("", "damaged.example")
	b.want(2*time.Hour, "", "other.example", "damaged.example")

	// Another source is another list.
	moved := feed
	moved.URL += "2"
	b.open(moved)
	b.listed("", "other.example")
	b.want(2*time.Hour, "", "other.example", "")

	// What is configured no more leaves nothing behind.
	b.open()
	b.listed("", "other.example")
	if left, err := os.ReadDir(b.folder); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// nextPause is how long the next failure should pause the first feed.
func (f *Feeds) nextPause() time.Duration {
	return min(f.o.Feeds[0].Every, firstBackoff<<min(f.states[0].Failures, 12))
}

func TestFeedsRun(t *testing.T) {
	b := newFeedBench(t)
	b.answers(200, "", "evil.example\n")
	b.open(Feed{Name: "a", URL: b.server.URL}, Feed{Name: "b", URL: b.server.URL, Category: Malware})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.feeds.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for !holds(b.lists, "evil.example") && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	b.listed("evil.example", "")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := (&Feeds{}).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestInvalidFeeds(t *testing.T) {
	b := newFeedBench(t)
	good := Feed{Name: "x", URL: "https://feed.example/"}
	for reason, feeds := range map[string][]Feed{
		"1 to 300 characters": {{URL: good.URL}},
		"the same name":       {good, good},
		"no format":           {{Name: "x", URL: good.URL, Format: "XLS"}},
		"no category":         {{Name: "x", URL: good.URL, Category: "nice"}},
		"more often":          {{Name: "x", URL: good.URL, Every: time.Second}},
		"must begin with":     {{Name: "x", URL: "file:///etc/passwd"}},
		"must begin with ":    {{Name: "x", URL: "feed.example"}},
		"65 feeds":            make([]Feed, 65),
	} {
		_, err := OpenFeeds(t.Context(), FeedsOptions{Store: b.db, Folder: b.folder, Feeds: feeds, Lists: NewLists(), Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(reason)) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
	if _, err := os.Stat(b.folder); !errors.Is(err, os.ErrNotExist) {
		t.Error("a refused configuration made the folder")
	}
}
