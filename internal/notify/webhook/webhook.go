// Package webhook posts notifications to HTTP and HTTPS endpoints.
//
// In goes one request, out comes nil for an answer of 2xx, or an error that says whether trying again can help. Answers are
// read up to a bound and thrown away, redirects are not followed, and each request has a bounded time. The package keeps no
// queue and never tries again by itself. A Client is safe for concurrent use.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// ErrPermanent is in the chain of an error that trying again cannot cure: the endpoint refused the request for good.
var ErrPermanent = errors.New("permanent failure")

const (
	timeout   = 15 * time.Second // what SNS gives an endpoint
	maxAnswer = 64 << 10         // bytes that are read so that the connection can be used again
)

// Client posts to any number of endpoints.
type Client struct{ http *http.Client }

// New returns a client. transport is for tests and for special needs; nil means one with bounded times and connections.
func New(transport http.RoundTripper) *Client {
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConns:           64,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
		}
	}
	return &Client{&http.Client{Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Post sends body to url with the given headers.
func (c *Client) Post(ctx context.Context, url string, header http.Header, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	req.Header = header.Clone()
	resp, err := c.http.Do(req)
	if err != nil {
		return err // its text holds the URL with any password hidden
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, maxAnswer)
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout:
		return fmt.Errorf("%w: the endpoint answered %d", ErrPermanent, code)
	default:
		return fmt.Errorf("the endpoint answered %d", code)
	}
}
