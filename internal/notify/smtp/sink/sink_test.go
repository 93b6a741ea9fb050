package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Sink {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func send(s *Sink, body string) error {
	return netsmtp.SendMail(s.listener.Addr().String(), nil, "a@example.org", []string{"b@example.org", "c@example.org"}, []byte(body))
}

// TestCloseIsSafeAtAnyTime matters because the server closes what it opened whether or not it ran.
func TestCloseIsSafeAtAnyTime(t *testing.T) {
	open := func(t *testing.T) *Sink {
		s, err := Open(Options{Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("twice, without Run", func(t *testing.T) {
		s := open(t)
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Run("after Run", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		if err := send(s, "Subject: x\r\n\r\nx\r\n"); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Run("before Run", func(t *testing.T) {
		s := open(t)
		if err := errors.Join(s.Close(), s.Run(context.Background())); err != nil {
			t.Error(err)
		}
	})
	t.Run("Run with a context that ended", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := errors.Join(s.Run(ctx), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestMailsAreKeptInOrder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made")
	if list, err := List(folder); err != nil || list != nil {
		t.Errorf("List of no folder = %v, %v", list, err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, ".mail-torn"), []byte("Subject: half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{Folder: folder, MaxMails: 3, MaxBytes: 2000})
	for i := range 5 {
		if err := send(s, fmt.Sprintf("From: A <a@example.org>\r\nTo: b@example.org\r\nSubject: =?utf-8?q?n=C2=BA_%d?=\r\n\r\nhello %d\r\n", i, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := send(s, "Subject: large\r\n\r\n"+strings.Repeat("xxxxxxxxx\r\n", 500)); err == nil || !strings.Contains(err.Error(), "552") {
		t.Errorf("a large mail: %v", err)
	}
	list, err := List(folder)
	if err != nil || len(list) != 3 {
		t.Fatalf("%v %v", list, err)
	}
	for i, m := range list {
		if m.Subject != fmt.Sprintf("nº %d", i+2) || m.From != "A <a@example.org>" || m.Time.IsZero() {
			t.Errorf("%+v", m)
		}
	}
	c, err := Read(folder, list[2].ID)
	if err != nil || c.Text != "hello 4\n" || c.Header.Get("X-Envelope-From") != "<a@example.org>" || c.Header.Get("X-Envelope-To") != "<b@example.org>, <c@example.org>" {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := Read(folder, "2"); err == nil || !strings.Contains(err.Error(), "more than one") {
		t.Errorf("an ambiguous id: %v", err)
	}
	for _, id := range []string{"none", "../../etc/passwd", ""} {
		if _, err := Read(folder, id); err == nil {
			t.Errorf("Read(%q) found something", id)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 3 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	folder := t.TempDir()
	s := start(t, Options{Folder: folder})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if err := send(s, "Subject: x\r\n\r\nx\r\n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if list, err := List(folder); err != nil || len(list) != 80 {
		t.Errorf("%d mails, %v", len(list), err)
	}
}

func TestAFolderThatCannotBeWrittenIsATemporaryError(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "f")
	s := start(t, Options{Folder: folder})
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := send(s, "Subject: x\r\n\r\nx\r\n"); err == nil || !strings.HasPrefix(err.Error(), "451") {
		t.Errorf("got %v, want 451", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\nhello\r\n"))
	f.Add([]byte("Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n----\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Parse(raw)
		if err == nil && c == nil {
			t.Error("neither a mail nor an error")
		}
	})
}
