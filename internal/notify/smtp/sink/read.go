package sink

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
)

// Content is a kept mail with its decoded text.
type Content struct {
	Mail
	Header mail.Header
	Text   string // the plain text, "" if there is none
	HTML   string // the HTML alternative, "" if there is none
	Raw    []byte // the file
}

const maxRead = 32 << 20

// Read returns the mail with the given id, or its only prefix.
func Read(folder, id string) (*Content, error) {
	all, err := List(folder)
	if err != nil {
		return nil, err
	}
	var found *Mail
	for i := range all {
		if all[i].ID == id {
			found = &all[i]
			break
		}
		if id != "" && strings.HasPrefix(all[i].ID, id) {
			if found != nil {
				return nil, fmt.Errorf("more than one mail's id begins with %q", id)
			}
			found = &all[i]
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no mail %q", id)
	}
	f, err := os.Open(filepath.Join(folder, found.ID+suffix))
	if err != nil {
		return nil, fmt.Errorf("reading a mail: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxRead))
	if err != nil {
		return nil, fmt.Errorf("reading a mail: %w", err)
	}
	c, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("reading mail %s: %w", found.ID, err)
	}
	c.Mail = *found
	return c, nil
}

// Parse decodes a mail.
func Parse(raw []byte) (*Content, error) {
	msg, err := mail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		return nil, err
	}
	c := &Content{Header: msg.Header, Raw: raw}
	c.From, c.To, c.Subject = header(msg, "From"), header(msg, "To"), header(msg, "Subject")
	return c, c.body(msg.Header.Get("Content-Type"), msg.Header.Get("Content-Transfer-Encoding"), msg.Body, 0)
}

// body decodes one part and those in it.
func (c *Content) body(contentType, encoding string, r io.Reader, depth int) error {
	if depth > 4 {
		return errors.New("parts nest too deep")
	}
	if contentType == "" {
		contentType = "text/plain"
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("content type: %w", err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(r, params["boundary"])
		for n := 0; n < 100; n++ {
			p, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := c.body(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p, depth+1); err != nil {
				return err
			}
		}
		return errors.New("too many parts")
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxRead))
	if err != nil {
		return err
	}
	plain := strings.ReplaceAll(string(text), "\r\n", "\n")
	switch {
	case kind == "text/plain" && c.Text == "":
		c.Text = plain
	case kind == "text/html" && c.HTML == "":
		c.HTML = plain
	}
	return nil
}

// header returns a decoded header.
func header(m *mail.Message, name string) string {
	text, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(name))
	if err != nil {
		return m.Header.Get(name)
	}
	return text
}
