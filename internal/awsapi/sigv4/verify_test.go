package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

type keys map[string]string

func (k keys) Secret(id string) (string, bool) { s, ok := k[id]; return s, ok }

// verify runs the whole verification, as a server does.
func verify(v *Verifier, service string, r *http.Request, body string) error {
	c, err := Parse(r)
	if err != nil {
		return err
	}
	if err := v.Check(c, service, r); err != nil {
		return err
	}
	return v.Verify(c, r, []byte(body))
}

// TestVectors verifies signatures of AWS's published test suite for Signature Version 4.
func TestVectors(t *testing.T) {
	v := &Verifier{Keys: keys{"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}, Region: "us-east-1",
		Now: func() time.Time { return time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC) }}
	for name, c := range map[string]struct {
		method, url, body, contentType, signature string
	}{
		"get-vanilla":                     {"GET", "/", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-vanilla-empty-query-key":     {"GET", "/?Param1=value1", "", "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		"get-vanilla-query-order-key":     {"GET", "/?Param2=value2&Param1=value1", "", "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		"post-vanilla":                    {"POST", "/", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		"post-x-www-form-urlencoded":      {"POST", "/", "Param1=value1", "application/x-www-form-urlencoded", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		"the body of another is mismatch": {"POST", "/", "Param1=value2", "application/x-www-form-urlencoded", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "http://example.amazonaws.com"+c.url, strings.NewReader(c.body))
			r.Header.Set("X-Amz-Date", "20150830T123600Z")
			signed := "host;x-amz-date"
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
				signed = "content-type;" + signed
			}
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="+
				signed+", Signature="+c.signature)
			err := verify(v, "service", r, c.body)
			if strings.Contains(name, "mismatch") != (err != nil) {
				t.Error(err)
			}
		})
	}
}

// TestAmazonsSigner verifies what Amazon's own signer signs, for any path, query, header and body, and refuses it once a
// part is changed.
func TestAmazonsSigner(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 20, 4, 0, time.UTC)
	v := &Verifier{Keys: keys{"AKID": "secret"}, Region: "eu-central-1", Now: func() time.Time { return now }}
	rapid.Check(t, func(t *rapid.T) {
		anything := rapid.StringMatching(`[ -~é🙂\n]{0,12}`)
		part := rapid.StringMatching(`[ -~é🙂]{1,12}`)
		path := "/" + url.PathEscape(part.Draw(t, "segment")) + "/" + url.PathEscape(part.Draw(t, "segment"))
		if strings.Contains(path, "/./") || strings.Contains(path, "/../") || strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..") {
			t.Skip("a path that net/http does not send")
		}
		query := url.Values{}
		for range rapid.IntRange(0, 4).Draw(t, "parameters") {
			query.Add(part.Draw(t, "name"), anything.Draw(t, "value"))
		}
		body := anything.Draw(t, "body")
		r, err := http.NewRequest(rapid.SampledFrom([]string{"GET", "POST", "DELETE"}).Draw(t, "method"),
			"http://127.0.0.1:8080"+path+"?"+strings.ReplaceAll(query.Encode(), "+", "%20"), strings.NewReader(body))
		if err != nil {
			t.Skip(err)
		}
		r.Host = r.URL.Host
		r.Header.Set("X-Amz-Note", rapid.StringMatching(`[!-~]{1,5}( {1,4}[!-~]{1,5})?`).Draw(t, "header"))
		sum := sha256.Sum256([]byte(body))
		credentials := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "token"}
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hex.EncodeToString(sum[:]), "guardduty", "eu-central-1", now); err != nil {
			t.Fatal(err)
		}
		if err := verify(v, "guardduty", r, body); err != nil {
			t.Fatalf("%s: %v", r.URL, err)
		}
		switch rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			r.URL.RawQuery += "&more=1"
		case 1:
			r.URL.Path, r.URL.RawPath = r.URL.Path+"x", r.URL.RawPath+"x"
		case 2:
			r.Header.Set("X-Amz-Note", r.Header.Get("X-Amz-Note")+"x")
		case 3:
			body += "x"
		case 4:
			r.Host = "other"
		case 5:
			r.Header.Set("X-Amz-Date", now.Add(time.Second).Format(timeFormat))
		}
		var refused *Error
		if err := verify(v, "guardduty", r, body); !errors.As(err, &refused) || refused.Reason != Mismatch {
			t.Fatalf("changed, and still: %v", err)
		}
	})
}

// TestDateHeader accepts the date in the Date header, as old clients send it.
func TestDateHeader(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Date", "Mon, 23 Nov 2026 09:20:04 GMT")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=A/20261123/r/s/aws4_request, SignedHeaders=date;host, Signature="+strings.Repeat("0", 64))
	c, err := Parse(r)
	if err != nil || c.rawDate != "20261123T092004Z" {
		t.Errorf("%+v, %v", c, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=A/20261123/r/s/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64), "20261123T092004Z", "")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20261123%2Fr%2Fs%2Faws4_request&X-Amz-Date=20261123T092004Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature="+strings.Repeat("0", 64))
	f.Add("AWS4-HMAC-SHA256 Credential=////,Signature=,,,=", "x", "X-Amz-Signature=%zz&;")
	v := &Verifier{Keys: keys{"A": "secret"}, Region: "r", Now: func() time.Time { return time.Date(2026, 11, 23, 9, 20, 4, 0, time.UTC) }}
	f.Fuzz(func(t *testing.T, authorization, date, query string) {
		r := &http.Request{Method: "GET", Host: "h", URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		r.Header["X-Amz-Date"] = []string{date}
		err := verify(v, "s", r, "")
		var refused *Error
		if !errors.As(err, &refused) {
			t.Errorf("accepted, or refused without a reason: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	body := []byte(strings.Repeat("x", 2000))
	r := httptest.NewRequest("POST", "/detector/12abc34d567e8fa901bc2d34e56789f0/findings", nil)
	r.Header.Set("X-Amz-Date", "20261123T092004Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=A/20261123/r/s/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64))
	v := &Verifier{Keys: keys{"A": "secret"}, Region: "r", Now: func() time.Time { return time.Date(2026, 11, 23, 9, 20, 4, 0, time.UTC) }}
	b.ReportAllocs()
	for b.Loop() {
		c, err := Parse(r)
		if err != nil {
			b.Fatal(err)
		}
		if err := v.Check(c, "s", r); err != nil {
			b.Fatal(err)
		}
		_ = v.Verify(c, r, body)
	}
}
