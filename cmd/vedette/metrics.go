package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sample is one line of a server's metrics.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// maxMetrics bounds the page that is read.
const maxMetrics = 64 << 20

// metricsOf asks the server whose API is at the given URL for those of its metrics whose names begin with one of prefixes.
func metricsOf(ctx context.Context, api string, prefixes ...string) ([]sample, error) {
	ctx, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("asking for metrics: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for metrics: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for metrics: %s", answer.Status)
	}
	return parseMetrics(io.LimitReader(answer.Body, maxMetrics), prefixes...)
}

// parseMetrics reads the Prometheus text format. Lines that are no sample are skipped.
func parseMetrics(r io.Reader, prefixes ...string) ([]sample, error) {
	var list []sample
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		wanted := false
		for _, p := range prefixes {
			wanted = wanted || strings.HasPrefix(line, p)
		}
		if !wanted {
			continue
		}
		if s, ok := parseSample(line); ok {
			list = append(list, s)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	return list, nil
}

// parseSample reads a line such as
//
//	name{label="value",other="text with \" and \\"} 12
func parseSample(line string) (s sample, ok bool) {
	end := strings.IndexAny(line, "{ ")
	if end < 0 {
		return s, false
	}
	s.name, s.labels = line[:end], map[string]string{}
	rest := line[end:]
	if rest[0] == '{' {
		rest = rest[1:]
		for !strings.HasPrefix(rest, "}") {
			name, after, found := strings.Cut(rest, "=")
			value, err := strconv.QuotedPrefix(after)
			if !found || err != nil {
				return s, false
			}
			text, err := strconv.Unquote(value)
			if err != nil {
				return s, false
			}
			s.labels[strings.Trim(name, ", ")] = text
			rest = strings.TrimPrefix(after[len(value):], ",")
			if rest == "" {
				return s, false
			}
		}
		rest = rest[1:]
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return s, false
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	s.value = v
	return s, err == nil
}
