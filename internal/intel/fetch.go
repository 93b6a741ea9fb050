package intel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// fetchTimeout bounds how long a source may take in all.
const fetchTimeout = 2 * time.Minute

// ErrScheme says that a location is of a kind that cannot be read.
var ErrScheme = errors.New("not supported")

// errUnchanged says that a source is what it was.
var errUnchanged = errors.New("unchanged")

// sources reads locations. Files are those of certain folders only: who may call the API need not be allowed to read
// whatever the server can.
type sources struct {
	client  *http.Client
	folders []string
}

// newClient returns a client that follows a few redirects.
func newClient() *http.Client {
	return &http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= 5 || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
			return errors.New("too many redirects")
		}
		return nil
	}}
}

// check says early what fetch could only say later.
func (s sources) check(location string) (*url.URL, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("location %.100q: no URL", location)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.Path == "" {
			return nil, fmt.Errorf("location %.100q: want file:///absolute/path", location)
		}
		if _, _, ok := s.folder(u.Path); !ok {
			return nil, fmt.Errorf("location %.100q: only files in %s can be read", location, strings.Join(s.folders, " and "))
		}
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("location %.100q: no host", location)
		}
	case "s3":
		return nil, fmt.Errorf("location %.100q: reading from S3 with credentials is %w yet; use an https:// or file:// location", location, ErrScheme)
	default:
		return nil, fmt.Errorf("location %.100q: scheme %w; use https://, http:// or file:///path", location, ErrScheme)
	}
	return u, nil
}

// folder returns which of the folders a file is in, and its path from there.
func (s sources) folder(path string) (folder, rest string, ok bool) {
	for _, folder := range s.folders {
		rest, err := filepath.Rel(folder, filepath.Clean(path))
		if err == nil && filepath.IsLocal(rest) {
			return folder, rest, true
		}
	}
	return "", "", false
}

// validators say which version of a source is known.
type validators struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
}

// fetch reads a location into a new file, at most MaxListBytes of it, and returns which version it is. The caller owns the
// file. The error is errUnchanged where the server says that it is still the known version.
func (s sources) fetch(ctx context.Context, location, into string, known validators) (validators, error) {
	u, err := s.check(location)
	if err != nil {
		return known, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	source, version, err := s.open(ctx, u, known)
	if err != nil {
		return known, err
	}
	defer source.Close()
	f, err := os.OpenFile(into, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return known, fmt.Errorf("keeping a copy: %w", err)
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(source, MaxListBytes+1))
	switch {
	case err != nil:
		return known, fmt.Errorf("reading %s: %w", u.Redacted(), err)
	case n > MaxListBytes:
		return known, fmt.Errorf("reading %s: %w", u.Redacted(), ErrTooLarge)
	}
	if err := f.Sync(); err != nil {
		return known, fmt.Errorf("keeping a copy: %w", err)
	}
	return version, f.Close()
}

func (s sources) open(ctx context.Context, u *url.URL, known validators) (io.ReadCloser, validators, error) {
	if u.Scheme == "file" {
		f, err := s.openFile(u.Path)
		return f, validators{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, known, fmt.Errorf("reading %s: %w", u.Redacted(), err)
	}
	req.Header.Set("Accept", "text/plain, */*;q=0.1")
	if known.ETag != "" {
		req.Header.Set("If-None-Match", known.ETag)
	}
	if known.LastModified != "" {
		req.Header.Set("If-Modified-Since", known.LastModified)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, known, fmt.Errorf("reading %s: %w", u.Redacted(), err)
	}
	switch {
	case resp.StatusCode == http.StatusNotModified && known != validators{}:
		resp.Body.Close()
		return nil, known, errUnchanged
	case resp.StatusCode != http.StatusOK:
		resp.Body.Close()
		return nil, known, fmt.Errorf("reading %s: the server answered %s", u.Redacted(), resp.Status)
	}
	return resp.Body, validators{short(resp.Header.Get("ETag")), short(resp.Header.Get("Last-Modified"))}, nil
}

// short drops a header value that is too long to keep.
func short(s string) string {
	if len(s) > 256 {
		return ""
	}
	return s
}

// openFile opens a regular file of one of the folders. Symbolic links count as where they lead, and must not lead outside.
func (s sources) openFile(path string) (io.ReadCloser, error) {
	folder, rest, ok := s.folder(path)
	if !ok {
		return nil, fmt.Errorf("%s: only files in %s can be read", path, strings.Join(s.folders, " and "))
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Not to wait for the writer of a FIFO.
	f, err := root.OpenFile(rest, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s: no regular file", path)
	}
	return f, nil
}
