package finding

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Timestamp is a time that the wire spells as an ISO-8601 string with milliseconds, in UTC. Finding.CreatedAt, UpdatedAt,
// Service.EventFirstSeen and EventLastSeen are of this kind. The zero Timestamp is the empty string.
type Timestamp struct{ time.Time }

const isoLayout = "2006-01-02T15:04:05.000Z"

// At returns t as a Timestamp.
func At(t time.Time) Timestamp {
	if t.IsZero() {
		return Timestamp{}
	}
	return Timestamp{t.UTC().Truncate(time.Millisecond)}
}

// String returns the wire form.
func (t Timestamp) String() string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(isoLayout)
}

// MarshalJSON writes the wire form.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time, or the empty string or null as the zero Timestamp.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	s := string(b)
	if s == "null" || s == `""` {
		*t = Timestamp{}
		return nil
	}
	u, err := time.Parse(`"`+time.RFC3339Nano+`"`, s)
	if err != nil {
		return fmt.Errorf("timestamp %s: want an ISO-8601 string", b)
	}
	*t = Timestamp{u.UTC()}
	return nil
}

// Epoch is a time that the wire spells as a JSON number of seconds since 1970 with up to three decimals. It counts
// nanoseconds; zero means unknown. startTime, modifiedAt and the task's createdAt and startedAt are of this kind.
type Epoch int64

// MarshalJSON writes seconds with three decimals.
func (e Epoch) MarshalJSON() ([]byte, error) {
	ms := int64(e) / int64(time.Millisecond)
	b := make([]byte, 0, 20)
	if ms < 0 {
		b = append(b, '-')
		ms = -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	return append(b, '.', byte('0'+ms/100%10), byte('0'+ms/10%10), byte('0'+ms%10)), nil
}

// UnmarshalJSON reads a number of seconds, rounding to milliseconds.
func (e *Epoch) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*e = 0
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(f) {
		return fmt.Errorf("timestamp %.40s: want seconds since 1970", b)
	}
	f = min(max(f, -9.2e9), 9.2e9) // the years that nanoseconds in 64 bits can hold
	*e = Epoch(int64(math.Round(f*1e3)) * int64(time.Millisecond))
	return nil
}
