package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// answers reports whether somebody listens.
func answers(address string) error {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err
}

// silentListener accepts connections and never says a word.
func silentListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().String()
}

// hook is a web hook's receiver.
type hook struct {
	url    string
	bodies chan string
}

func webhook(t *testing.T) hook {
	t.Helper()
	h := hook{bodies: make(chan string, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		h.bodies <- string(body)
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}
