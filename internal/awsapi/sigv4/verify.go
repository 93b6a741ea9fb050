// Package sigv4 verifies AWS Signature Version 4 on incoming requests, in the Authorization header or the query string
// (presigned). It is the server's half: it never signs, holds no keys and reads no body.
//
// Verification has two steps so that nothing is read from a stranger: Parse and Check need only the headers (key known,
// date fresh, scope right), Verify also the body. A verified signature covers the method, the path, the query, the body
// and at least the headers Host and X-Amz-*. Payloads must be signed; UNSIGNED-PAYLOAD and streaming signatures, which only
// S3 knows, are refused. A session token is ignored, but must be signed like every X-Amz header. All functions are safe for
// concurrent use.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	maxSkew    = 15 * time.Minute
	maxExpiry  = 7 * 24 * time.Hour
)

// Keys finds the secret of an access key.
type Keys interface {
	// Secret returns false when there is no such key.
	Secret(accessKeyID string) (secret string, ok bool)
}

// Reason says why a request is refused, from which each protocol derives its error code.
type Reason uint8

// The reasons.
const (
	Missing    Reason = iota // the request is not signed
	Incomplete               // the signature's form is wrong
	UnknownKey               // no such access key
	Mismatch                 // wrong signature, scope or date
	Expired                  // a presigned request came too late
)

// Error is why a request is not accepted, with AWS's text.
type Error struct {
	Reason  Reason
	Message string
}

func (e *Error) Error() string { return e.Message }

func refuse(reason Reason, message string) error { return &Error{reason, message} }

// Claim is what a request says about its signature, not verified yet.
type Claim struct {
	AccessKeyID string
	Date        time.Time
	Region      string
	Service     string

	rawDate       string // as signed
	scopeDate     string
	terminator    string
	signedHeaders []string
	signature     []byte
	presigned     bool
	expires       time.Duration
}

// Parse reads the signature of a request.
func Parse(r *http.Request) (*Claim, error) {
	header := r.Header.Values("Authorization")
	query := url.Values{}
	// Looking for the parameter first spares parsing the query of every other request.
	if strings.Contains(r.URL.RawQuery, "X-Amz-") {
		query = r.URL.Query()
	}
	presigned := query.Has("X-Amz-Algorithm") || query.Has("X-Amz-Signature")
	switch {
	case len(header) == 0 && !presigned:
		return nil, refuse(Missing, "Request is missing Authentication Token")
	case len(header) > 1 || len(header) == 1 && presigned:
		return nil, refuse(Incomplete, "The request has more than one signature.")
	case presigned:
		return parseQuery(query)
	}
	return parseHeader(r, header[0])
}

func parseHeader(r *http.Request, header string) (*Claim, error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if scheme != algorithm {
		return nil, refuse(Incomplete, "Unsupported AWS 'algorithm': only "+algorithm+" is accepted.")
	}
	parameters := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parameters[name]; !ok || twice {
			return nil, refuse(Incomplete, "Authorization header is not a list of Credential, SignedHeaders and Signature.")
		}
		parameters[name] = value
	}
	date := r.Header.Get("X-Amz-Date")
	if date == "" {
		date = r.Header.Get("Date")
	}
	return parse(parameters["Credential"], parameters["SignedHeaders"], parameters["Signature"], date, "Authorization header requires")
}

func parseQuery(query url.Values) (*Claim, error) {
	for name, values := range query {
		if strings.HasPrefix(name, "X-Amz-") && len(values) != 1 {
			return nil, refuse(Incomplete, "The parameter "+name+" is given more than once.")
		}
	}
	if query.Get("X-Amz-Algorithm") != algorithm {
		return nil, refuse(Incomplete, "X-Amz-Algorithm only supports \""+algorithm+"\".")
	}
	claim, err := parse(query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature"),
		query.Get("X-Amz-Date"), "AWS query-string parameters must include")
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseInt(query.Get("X-Amz-Expires"), 10, 32)
	if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > maxExpiry {
		return nil, refuse(Incomplete, "X-Amz-Expires must be a number of seconds up to 604800.")
	}
	claim.presigned, claim.expires = true, time.Duration(seconds)*time.Second
	return claim, nil
}

func parse(credential, signedHeaders, signature, date, requires string) (*Claim, error) {
	for _, p := range []struct{ name, value string }{
		{"Credential", credential}, {"Signature", signature}, {"SignedHeaders", signedHeaders},
	} {
		if p.value == "" {
			return nil, refuse(Incomplete, requires+" '"+p.name+"' parameter.")
		}
	}
	c := &Claim{rawDate: date}
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" {
		return nil, refuse(Incomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	c.AccessKeyID, c.scopeDate, c.Region, c.Service, c.terminator = parts[0], parts[1], parts[2], parts[3], parts[4]
	var err error
	if c.Date, err = time.Parse(timeFormat, date); err != nil {
		if c.Date, err = http.ParseTime(date); err != nil {
			return nil, refuse(Incomplete, "Date must be in ISO-8601 'basic format', in the X-Amz-Date or the Date header.")
		}
		c.Date = c.Date.UTC()
		c.rawDate = c.Date.Format(timeFormat)
	}
	if c.signature, err = hex.DecodeString(signature); err != nil || len(c.signature) != sha256.Size {
		return nil, refuse(Incomplete, "Signature is not the hexadecimal form of a SHA-256 code.")
	}
	c.signedHeaders = strings.Split(signedHeaders, ";")
	for i, name := range c.signedHeaders {
		if name == "" || name != strings.ToLower(name) || i > 0 && name <= c.signedHeaders[i-1] {
			return nil, refuse(Incomplete, "SignedHeaders must be lower-case names in alphabetical order.")
		}
	}
	return c, nil
}

// Verifier verifies the signatures of requests to the services of one region.
type Verifier struct {
	Keys   Keys
	Region string
	Now    func() time.Time // nil means time.Now
}

// Check refuses a claim that cannot be right, before the request's body is read.
func (v *Verifier) Check(c *Claim, service string, r *http.Request) error {
	if _, ok := v.Keys.Secret(c.AccessKeyID); !ok {
		return refuse(UnknownKey, "The security token included in the request is invalid.")
	}
	switch {
	case c.Region != v.Region:
		return refuse(Mismatch, "Credential should be scoped to a valid region.")
	case c.Service != service:
		return refuse(Mismatch, "Credential should be scoped to correct service: '"+service+"'.")
	case c.terminator != "aws4_request":
		return refuse(Mismatch, "Credential should be scoped with a valid terminator: 'aws4_request'.")
	case c.scopeDate != c.Date.Format("20060102"):
		return refuse(Mismatch, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '"+
			c.scopeDate+"' != '"+c.Date.Format("20060102")+"', from '"+c.rawDate+"'.")
	}
	if err := v.checkTime(c); err != nil {
		return err
	}
	if !slices.Contains(c.signedHeaders, "host") {
		return refuse(Mismatch, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") && !slices.Contains(c.signedHeaders, lower) {
			return refuse(Mismatch, "'"+name+"' must be a 'SignedHeader' in the AWS Authorization.")
		}
	}
	return nil
}

func (v *Verifier) checkTime(c *Claim) error {
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	current := now().UTC()
	stamp := func(t time.Time) string { return t.UTC().Format(timeFormat) }
	if c.Date.After(current.Add(maxSkew)) {
		return refuse(Mismatch, "Signature not yet current: "+stamp(c.Date)+" is still later than "+
			stamp(current.Add(maxSkew))+" ("+stamp(current)+" + 15 min.)")
	}
	switch {
	case c.presigned && current.After(c.Date.Add(c.expires)):
		return refuse(Expired, "Request has expired. Timestamp date is "+stamp(c.Date)+".")
	case !c.presigned && current.After(c.Date.Add(maxSkew)):
		return refuse(Mismatch, "Signature expired: "+stamp(c.Date)+" is now earlier than "+
			stamp(current.Add(-maxSkew))+" ("+stamp(current)+" - 15 min.)")
	}
	return nil
}

// Verify compares the signature with the one that the claimed key gives for this request and body. Check comes first.
func (v *Verifier) Verify(c *Claim, r *http.Request, body []byte) error {
	secret, ok := v.Keys.Secret(c.AccessKeyID)
	if !ok {
		return refuse(UnknownKey, "The security token included in the request is invalid.")
	}
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	if given := r.Header.Get("X-Amz-Content-Sha256"); given != "" && given != payload {
		return refuse(Mismatch, "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	canonical := sha256.Sum256([]byte(canonicalRequest(c, r, payload)))
	scope := c.scopeDate + "/" + c.Region + "/" + c.Service + "/" + c.terminator
	text := algorithm + "\n" + c.rawDate + "\n" + scope + "\n" + hex.EncodeToString(canonical[:])

	key := []byte("AWS4" + secret)
	for _, part := range []string{c.scopeDate, c.Region, c.Service, c.terminator, text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	if !hmac.Equal(key, c.signature) {
		return refuse(Mismatch, "The request signature we calculated does not match the signature you provided. Check your AWS "+
			"Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

// canonicalRequest spells the request as its signer did. Services other than S3 encode the path a second time.
func canonicalRequest(c *Claim, r *http.Request, payload string) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		writeEncoded(&b, segment)
	}
	b.WriteByte('\n')
	writeQuery(&b, r.URL.RawQuery, c.presigned)
	b.WriteByte('\n')
	for _, name := range c.signedHeaders {
		b.WriteString(name)
		b.WriteByte(':')
		writeHeader(&b, r, name)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(c.signedHeaders, ";"))
	b.WriteByte('\n')
	b.WriteString(payload)
	return b.String()
}

// writeHeader writes a header's values; net/http keeps two of them elsewhere.
func writeHeader(b *strings.Builder, r *http.Request, name string) {
	switch name {
	case "host":
		b.WriteString(r.Host)
		return
	case "content-length":
		if r.ContentLength >= 0 {
			b.WriteString(strconv.FormatInt(r.ContentLength, 10))
		}
		return
	}
	for i, value := range r.Header.Values(name) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.Join(strings.Fields(value), " "))
	}
}

func writeQuery(b *strings.Builder, raw string, presigned bool) {
	if raw == "" {
		return
	}
	var pairs []string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		// A part that does not decode is signed as it stands, and will not match.
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if decoded, err := url.QueryUnescape(value); err == nil {
			value = decoded
		}
		if presigned && name == "X-Amz-Signature" {
			continue
		}
		var p strings.Builder
		writeEncoded(&p, name)
		p.WriteByte('=')
		writeEncoded(&p, value)
		pairs = append(pairs, p.String())
	}
	// Sorting "name=value" would put "a-b=" before "a=", for '-' sorts before '='.
	slices.SortFunc(pairs, func(x, y string) int {
		xn, xv, _ := strings.Cut(x, "=")
		yn, yv, _ := strings.Cut(y, "=")
		if n := strings.Compare(xn, yn); n != 0 {
			return n
		}
		return strings.Compare(xv, yv)
	})
	b.WriteString(strings.Join(pairs, "&"))
}

// writeEncoded writes s with everything but RFC 3986's unreserved characters percent-encoded.
func writeEncoded(b *strings.Builder, s string) {
	const hexDigits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
}
