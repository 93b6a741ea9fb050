package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ProcessUUID returns the identity of the process that had pid on the given host and started startBoottime nanoseconds
// (CLOCK_BOOTTIME) after boot. The same arguments always give the same UUID, so that an agent which restarts goes on using
// the same identities. hostID must differ between boots of one host, because pids and start times repeat over boots.
//
// The result is a version 8 UUID (RFC 9562 §5.8) made of the first bytes of a SHA-256.
func ProcessUUID(hostID string, pid uint32, startBoottime uint64) UUID {
	var buf [96]byte
	b := append(buf[:0], "vedette process\x00"...)
	b = append(b, hostID...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, pid)
	b = binary.BigEndian.AppendUint64(b, startBoottime)
	sum := sha256.Sum256(b)
	var u UUID
	copy(u[:], sum[:])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

// IsZero reports whether the UUID is the zero value, which means unknown.
func (u UUID) IsZero() bool { return u == UUID{} }

// String returns the UUID in its usual form, or "" for the zero value.
func (u UUID) String() string {
	if u.IsZero() {
		return ""
	}
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], u[10:16])
	return string(b[:])
}
