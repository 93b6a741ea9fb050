package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// spool keeps batches on the disk while the server is away, in the order in which they came. It is a queue of files, each
// of which is written once, from its start to its end; when all of them are over the bound, the oldest file goes. Damage
// costs the records from the damage to the end of its file. It is for one goroutine.
type spool struct {
	dir      string
	max      int64
	segment  int64 // size at which a file is full
	segments []*segment
	size     int64
	write    *os.File // of the last segment, if it is of this start
	next     uint64
	read     *os.File // of the first segment
	scratch  []byte
}

type segment struct {
	path   string
	size   int64  // of the good records
	events uint64 // in the records not read yet
	count  int    // of records not read yet
	offset int64  // of the next record to read
}

// spooled is a record of the spool.
type spooled struct {
	epoch    string
	sequence uint64
	events   uint32
	data     []byte
}

const (
	spoolMagic  = 0x56535031 // "VSP1"
	spoolHeader = 4 + 4 + 4 + 8 + 4 + 1
	spoolSuffix = ".spool"
	maxRecord   = 16 << 20
	maxEpoch    = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openSpool opens the spool in a folder. torn is the number of files with a damaged end.
func openSpool(dir string, limit int64) (s *spool, torn int, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("opening spool: %w", err)
	}
	s = &spool{dir: dir, max: limit, segment: min(4<<20, limit/4+1), next: 1}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("opening spool: %w", err)
	}
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), spoolSuffix)
		n, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || !e.Type().IsRegular() {
			continue
		}
		seg, whole, err := scanSegment(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, 0, fmt.Errorf("opening spool: %w", err)
		}
		if !whole {
			torn++
		}
		s.next = max(s.next, n+1)
		if seg.count == 0 {
			_ = os.Remove(seg.path)
			continue
		}
		s.segments = append(s.segments, seg)
		s.size += seg.size
	}
	sort.Slice(s.segments, func(i, j int) bool { return s.segments[i].path < s.segments[j].path })
	return s, torn, nil
}

// waiting returns how many events are in the spool.
func (s *spool) waiting() (events uint64) {
	for _, seg := range s.segments {
		events += seg.events
	}
	return events
}

// scanSegment finds out what a file holds, up to the first damage.
func scanSegment(path string) (*segment, bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	seg := &segment{path: path}
	for {
		r, n, err := readSpooled(io.NewSectionReader(f, seg.size, maxRecord+spoolHeader+maxEpoch), nil)
		if err == io.EOF { //nolint:errorlint // Only a clean end is this.
			return seg, true, nil
		}
		if err != nil {
			return seg, false, nil
		}
		seg.size += n
		seg.count++
		seg.events += uint64(r.events)
	}
}

// readSpooled reads one record. At the end of the file it returns io.EOF; everything else that is no record is another
// error. The record's data lies in scratch if that is large enough.
func readSpooled(r io.Reader, scratch []byte) (spooled, int64, error) {
	var head [spoolHeader]byte
	if n, err := io.ReadFull(r, head[:]); n == 0 && err == io.EOF { //nolint:errorlint // As documented.
		return spooled{}, 0, io.EOF
	} else if err != nil {
		return spooled{}, 0, fmt.Errorf("reading record: %w", io.ErrUnexpectedEOF)
	}
	size := binary.BigEndian.Uint32(head[4:])
	epoch := int(head[spoolHeader-1])
	if binary.BigEndian.Uint32(head[0:]) != spoolMagic || size > maxRecord || epoch > maxEpoch {
		return spooled{}, 0, errors.New("reading record: no record")
	}
	total := epoch + int(size)
	// The size is not proven yet: memory grows with what is really there.
	buf := bytes.NewBuffer(scratch[:0])
	if n, err := io.CopyN(buf, r, int64(total)); err != nil || int(n) != total {
		return spooled{}, 0, fmt.Errorf("reading record: %w", io.ErrUnexpectedEOF)
	}
	body := buf.Bytes()
	sum := crc32.Update(crc32.Checksum(head[:8], castagnoli), castagnoli, head[12:])
	if crc32.Update(sum, castagnoli, body) != binary.BigEndian.Uint32(head[8:]) {
		return spooled{}, 0, errors.New("reading record: wrong checksum")
	}
	return spooled{
		epoch: string(body[:epoch]), sequence: binary.BigEndian.Uint64(head[12:]), events: binary.BigEndian.Uint32(head[20:]), data: body[epoch:],
	}, int64(spoolHeader + total), nil
}

// empty reports whether there is nothing to send.
func (s *spool) empty() bool { return len(s.segments) == 0 }

// append adds a record behind all others, and drops the oldest ones where there is no room. It returns how many events were
// dropped; the record itself is kept if the error is nil.
func (s *spool) append(r spooled) (dropped uint64, err error) {
	if len(r.epoch) > maxEpoch || len(r.data) > maxRecord {
		return 0, fmt.Errorf("spooling batch: %d bytes are too many", len(r.data))
	}
	b := s.scratch[:0]
	b = binary.BigEndian.AppendUint32(b, spoolMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.data)))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, r.sequence)
	b = binary.BigEndian.AppendUint32(b, r.events)
	b = append(b, byte(len(r.epoch)))
	b = append(b, r.epoch...)
	b = append(b, r.data...)
	s.scratch = b
	sum := crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, b[12:])
	binary.BigEndian.PutUint32(b[8:], sum)

	size := int64(len(b))
	for s.size+size > s.max && len(s.segments) > 0 {
		dropped += s.segments[0].events
		s.drop()
	}
	if s.write == nil || s.segments[len(s.segments)-1].size+size > s.segment {
		if err := s.roll(); err != nil {
			return dropped, err
		}
	}
	seg := s.segments[len(s.segments)-1]
	if _, err := s.write.WriteAt(b, seg.size); err != nil {
		// What was written in part is behind the good records, and the next record goes into a new file.
		_ = s.write.Close()
		s.write = nil
		if seg.count == 0 && len(s.segments) > 0 && seg.offset == seg.size {
			s.forget(len(s.segments) - 1)
		}
		return dropped, fmt.Errorf("spooling batch: %w", err)
	}
	seg.size += size
	seg.count++
	seg.events += uint64(r.events)
	s.size += size
	return dropped, nil
}

// roll begins a new file.
func (s *spool) roll() error {
	if s.write != nil {
		_ = s.write.Close()
		s.write = nil
	}
	path := filepath.Join(s.dir, fmt.Sprintf("%020d%s", s.next, spoolSuffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("spooling batch: %w", err)
	}
	s.next++
	s.write = f
	s.segments = append(s.segments, &segment{path: path})
	return nil
}

// first returns the oldest record. It stays until advance. Its data is valid until the next call of a method. A damaged file
// is left behind, and what it held is added to lost.
func (s *spool) first() (r spooled, lost uint64, ok bool) {
	for len(s.segments) > 0 {
		seg := s.segments[0]
		if seg.count == 0 {
			s.drop()
			continue
		}
		if s.read == nil {
			f, err := os.Open(seg.path)
			if err != nil {
				lost += seg.events
				s.drop()
				continue
			}
			s.read = f
		}
		r, _, err := readSpooled(io.NewSectionReader(s.read, seg.offset, seg.size-seg.offset), s.scratch)
		if err != nil {
			lost += seg.events
			s.drop()
			continue
		}
		return r, lost, true
	}
	return spooled{}, lost, false
}

// advance removes the record that first has returned.
func (s *spool) advance(r spooled) {
	seg := s.segments[0]
	seg.offset += int64(spoolHeader + len(r.epoch) + len(r.data))
	seg.count--
	seg.events -= uint64(r.events)
	if seg.count == 0 {
		s.drop()
	}
}

// drop removes the oldest file.
func (s *spool) drop() { s.forget(0) }

func (s *spool) forget(i int) {
	if i == 0 && s.read != nil {
		_ = s.read.Close()
		s.read = nil
	}
	if i == len(s.segments)-1 && s.write != nil {
		_ = s.write.Close()
		s.write = nil
	}
	seg := s.segments[i]
	s.size -= seg.size
	s.segments = append(s.segments[:i], s.segments[i+1:]...)
	_ = os.Remove(seg.path)
}

// close leaves the records for the next start.
func (s *spool) close() {
	if s.read != nil {
		_ = s.read.Close()
	}
	if s.write != nil {
		_ = s.write.Close()
	}
	s.read, s.write = nil, nil
}
