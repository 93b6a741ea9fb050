package smtp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vedette.dev/vedette/internal/notify/mail"
	"vedette.dev/vedette/internal/notify/smtp/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// relay is a scripted SMTP server: it answers each command by its first word; an empty answer is never sent.
type relay struct {
	addr    string
	answers map[string]string
	tls     *tls.Config
	mu      sync.Mutex
	seen    []string
}

func newRelay(t *testing.T, answers map[string]string, implicit *tls.Config) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), answers: map[string]string{"banner": "220 hello", "EHLO": "250-relay\r\n250 8BITMIME", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 stored", "RSET": "250 ok", "QUIT": "221 bye"}, tls: implicit}
	for k, v := range answers {
		r.answers[k] = v
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				stop := context.AfterFunc(ctx, func() { c.Close() })
				defer stop()
				defer c.Close()
				if implicit != nil {
					c = tls.Server(c, implicit)
				}
				r.serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait() })
	return r
}

func (r *relay) serve(c net.Conn) {
	in := bufio.NewReader(c)
	say := func(key string) bool {
		if r.answers[key] == "" {
			io.Copy(io.Discard, in) // hang until the client goes
			return false
		}
		_, err := fmt.Fprintf(c, "%s\r\n", r.answers[key])
		return err == nil
	}
	if !say("banner") {
		return
	}
	data := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		r.mu.Lock()
		r.seen = append(r.seen, line)
		r.mu.Unlock()
		word, _, _ := strings.Cut(line, " ")
		switch {
		case data && line != ".":
			continue
		case data:
			data = false
		case word == "DATA":
			data = strings.HasPrefix(r.answers["DATA"], "354")
		}
		if _, known := r.answers[word]; !known {
			fmt.Fprint(c, "502 what?\r\n")
			continue
		}
		if !say(word) {
			return
		}
		if word == "STARTTLS" && r.tls == nil {
			return
		}
	}
}

var letter = mail.Message{To: "you@example.org", Subject: "Hello", Text: "text\n.\nmore\n", ID: "m-1"}

func TestWhatTheRelaySaysDecides(t *testing.T) {
	for name, c := range map[string]struct {
		answers   map[string]string
		ok        bool
		permanent bool
	}{
		"stored":                 {nil, true, false},
		"recipient refused":      {map[string]string{"RCPT": "550 5.1.1 no such user"}, false, true},
		"recipient later":        {map[string]string{"RCPT": "450 4.2.0 greylisted"}, false, false},
		"message refused":        {map[string]string{".": "554 5.7.1 looks like spam"}, false, true},
		"message later":          {map[string]string{".": "451 4.3.0 disk"}, false, false},
		"data refused":           {map[string]string{"DATA": "554 no"}, false, true},
		"sender refused":         {map[string]string{"MAIL": "550 5.7.1 not yours"}, false, false},
		"not now":                {map[string]string{"banner": "421 busy"}, false, false},
		"not at all":             {map[string]string{"banner": "554 no service"}, false, false},
		"stored, then an error":  {map[string]string{"RSET": "421 gone", "QUIT": "500 no"}, true, false},
		"stored, then a silence": {map[string]string{"RSET": ""}, true, false},
		"hangs at first":         {map[string]string{"banner": ""}, false, false},
		"hangs at EHLO":          {map[string]string{"EHLO": "", "HELO": ""}, false, false},
		"hangs at the end":       {map[string]string{".": ""}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t, c.answers, nil)
			s, err := New("smtp://"+r.addr+"?timeout=1s", "a@example.org")
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err = s.Send(t.Context(), letter)
			if (err == nil) != c.ok || errors.Is(err, ErrPermanent) != c.permanent {
				t.Errorf("Send = %v", err)
			}
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestARefusedConnectionCanBeTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s, err := New("smtp://"+l.Addr().String(), "a@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), letter); err == nil || errors.Is(err, ErrPermanent) {
		t.Errorf("Send = %v", err)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	r := newRelay(t, map[string]string{".": ""}, nil)
	s, err := New("smtp://"+r.addr+"?timeout=30s", "a@example.org")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Send(ctx, letter) }()
	select {
	case err := <-done:
		if err == nil || errors.Is(err, ErrPermanent) {
			t.Errorf("Send = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Send goes on without its context")
	}
}

// authority makes a certificate for 127.0.0.1 and the file that makes it trusted.
func authority(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

func TestTLS(t *testing.T) {
	config, ca := authority(t)
	login := map[string]string{"EHLO": "250-relay\r\n250 AUTH PLAIN", "AUTH": "235 welcome"}
	secure := newRelay(t, login, config)
	plain := newRelay(t, login, nil)
	for name, c := range map[string]struct {
		url string
		ok  bool
	}{
		"trusted":           {"smtps://u:p@" + secure.addr + "?ca=" + ca, true},
		"untrusted":         {"smtps://u:p@" + secure.addr, false},
		"required, missing": {"smtp://" + plain.addr + "?starttls=required", false},
		"missing, not used": {"smtp://" + plain.addr, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(c.url+map[bool]string{true: "&", false: "?"}[strings.Contains(c.url, "?")]+"timeout=2s", "a@example.org")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(t.Context(), letter); (err == nil) != c.ok || errors.Is(err, ErrPermanent) {
				t.Errorf("Send = %v", err)
			}
		})
	}
}

func TestAWrongPasswordIsNotLostMail(t *testing.T) {
	config, ca := authority(t)
	r := newRelay(t, map[string]string{"EHLO": "250-relay\r\n250 AUTH PLAIN", "AUTH": "535 5.7.8 wrong"}, config)
	s, err := New("smtps://user:s3cret@"+r.addr+"?timeout=2s&ca="+ca, "a@example.org")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Send(t.Context(), letter)
	if err == nil || errors.Is(err, ErrPermanent) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("Send = %v", err)
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	for url, want := range map[string]string{
		"http://x":                       `begins with "http"`,
		"smtp://":                        "no host",
		"smtp://x:99999":                 "not a port",
		"smtp://x/path":                  "has a path",
		"smtp://x?starttls=maybe":        "starttls",
		"smtp://x?timeout=1h":            "timeout",
		"smtp://x?nonsense=1":            "unknown option",
		"smtp://x?ca=/does/not/exist":    "authorities",
		"smtp://user:s3cret@x:%zz":       "does not parse",
		"smtp://user:s3cret@x?helo=a%20": "helo",
	} {
		_, err := New(url, "a@example.org")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("New(%q) = %v, want %q", url, err, want)
		}
	}
	if _, err := New("smtp://x", "nobody"); err == nil {
		t.Error("a sender without a domain was accepted")
	}
}

// TestNothingCanBeInjected sends hostile headers to a real SMTP server and looks at what it kept.
func TestNothingCanBeInjected(t *testing.T) {
	folder := t.TempDir()
	box, err := sink.Open(sink.Options{Folder: folder, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- box.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	s, err := New(box.URL(), "Vedette <no-reply@vedette.example>")
	if err != nil {
		t.Fatal(err)
	}
	evil := "x\r\nBcc: victim@example.org\r\n\r\nbody \u2028 \u0085 é"
	if err := s.Send(t.Context(), mail.Message{To: "you@example.org", FromName: evil, Subject: evil, ID: evil, Text: "line\n.\n..\nfin", HTML: "<p>fin</p>", Headers: map[string]string{"X-Fine": "yes"}}); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]mail.Message{
		"address": {To: "you@example.org>\r\nRCPT TO:<victim@example.org"},
		"header":  {To: "you@example.org", Headers: map[string]string{"X-A": evil}},
		"name":    {To: "you@example.org", Headers: map[string]string{"X-A: b\r\nBcc": "x"}},
	} {
		if err := s.Send(t.Context(), m); !errors.Is(err, ErrPermanent) {
			t.Errorf("%s: Send = %v", name, err)
		}
	}
	list, err := sink.List(folder)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	m, err := sink.Read(folder, list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Bcc") != "" || m.Header.Get("X-Fine") != "yes" || m.Header.Get("X-Envelope-To") != "<you@example.org>" || m.Text != "line\n.\n..\nfin" || strings.TrimSpace(m.HTML) != "<p>fin</p>" {
		t.Errorf("headers %v\ntext %q\nHTML %q", m.Header, m.Text, m.HTML)
	}
	if !strings.HasPrefix(m.Subject, "x  Bcc: victim@example.org    body") || !strings.HasSuffix(m.Subject, "é") {
		t.Errorf("subject %q", m.Subject)
	}
}
