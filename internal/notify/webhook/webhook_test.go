package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPost(t *testing.T) {
	followed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			body, _ := io.ReadAll(r.Body)
			if r.Method != "POST" || string(body) != "body" || r.Header.Get("X-A") != "b" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case "/redirect":
			http.Redirect(w, r, "/followed", http.StatusTemporaryRedirect)
		case "/followed":
			followed = true
		case "/404":
			w.WriteHeader(404)
		case "/429":
			w.WriteHeader(429)
		case "/503":
			w.WriteHeader(503)
		case "/hang":
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	c := New(nil)
	defer c.Close()
	for path, want := range map[string]string{"/ok": "", "/endless": "", "/redirect": "permanent", "/404": "permanent", "/429": "again", "/503": "again"} {
		err := c.Post(t.Context(), server.URL+path, http.Header{"X-A": {"b"}}, []byte("body"))
		got := ""
		if errors.Is(err, ErrPermanent) {
			got = "permanent"
		} else if err != nil {
			got = "again"
		}
		if got != want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Post(ctx, server.URL+"/hang", nil, nil); err == nil || errors.Is(err, ErrPermanent) {
		t.Errorf("a hanging endpoint: %v", err)
	}
	err := c.Post(t.Context(), "http://user:s3cret@127.0.0.1:1/", nil, nil)
	if err == nil || errors.Is(err, ErrPermanent) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("nobody listens: %v", err)
	}
	if err := c.Post(t.Context(), "http://\x7f/", nil, nil); !errors.Is(err, ErrPermanent) {
		t.Errorf("no URL: %v", err)
	}
}
