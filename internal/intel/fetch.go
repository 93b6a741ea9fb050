package intel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// fetchTimeout bounds how long a source may take in all.
const fetchTimeout = 2 * time.Minute

// ErrScheme says that a location is of a kind that cannot be read.
var ErrScheme = errors.New("not supported")

// checkLocation says early what open could only say later.
func checkLocation(location string) (*url.URL, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("location %.100q: no URL", location)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.Path == "" {
			return nil, fmt.Errorf("location %.100q: want file:///absolute/path", location)
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

// fetch reads a location into a new file, at most MaxListBytes of it. The caller owns the file.
func fetch(ctx context.Context, client *http.Client, location, into string) error {
	u, err := checkLocation(location)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	source, err := open(ctx, client, u)
	if err != nil {
		return err
	}
	defer source.Close()
	f, err := os.OpenFile(into, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keeping a copy: %w", err)
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(source, MaxListBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading %s: %w", u.Redacted(), err)
	case n > MaxListBytes:
		return fmt.Errorf("reading %s: %w", u.Redacted(), ErrTooLarge)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("keeping a copy: %w", err)
	}
	return f.Close()
}

func open(ctx context.Context, client *http.Client, u *url.URL) (io.ReadCloser, error) {
	if u.Scheme == "file" {
		// Stat before open: opening a FIFO would wait for a writer.
		info, err := os.Stat(u.Path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s: no regular file", u.Path)
		}
		return os.Open(u.Path)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", u.Redacted(), err)
	}
	req.Header.Set("Accept", "text/plain, */*;q=0.1")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", u.Redacted(), err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("reading %s: the server answered %s", u.Redacted(), resp.Status)
	}
	return resp.Body, nil
}
