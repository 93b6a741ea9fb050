package link

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// serverDirEnv makes the test binary be a server in that folder, to be killed.
const serverDirEnv = "VEDETTE_LINK_TEST_SERVER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverDirEnv); dir != "" {
		// Every agent that comes with the token is let in; a real server keeps them in its store.
		s, err := Serve(context.Background(), ServerOptions{
			Dir: dir, Listen: os.Getenv(serverDirEnv + "_LISTEN"), EnrolmentToken: testToken, Agents: new(MemoryAgents),
		})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(s.URL())
		select {}
	}
	goleak.VerifyTestMain(m,
		// The NATS server leaves these behind for a while after WaitForShutdown.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*Server).sendAsyncInternal"),
	)
}

// victim starts a server in a process of its own.
func victim(t *testing.T, dir, listen string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverDirEnv+"="+dir, serverDirEnv+"_LISTEN="+listen)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		t.Fatalf("starting the server: %q %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

// TestKilledServerLosesNothing kills the server again and again while an agent publishes. Every batch whose Publish returned
// nil must be in the stream afterwards, exactly once, and in order.
func TestKilledServerLosesNothing(t *testing.T) {
	dir := t.TempDir()
	cmd, url := victim(t, dir, "127.0.0.1:0")
	c := dial(t, url, nil)
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan int)
	go func() {
		n := 0
		defer func() { published <- n }()
		for ctx.Err() == nil {
			// The same batch until it is acknowledged, as the agent does.
			attempt, stop := context.WithTimeout(context.Background(), 2*time.Second)
			err := c.Publish(attempt, "epoch", uint64(n+1), fmt.Appendf(nil, "%d", n+1))
			stop()
			if err == nil {
				n++
			} else {
				time.Sleep(2 * time.Millisecond)
			}
		}
	}()
	for range 4 {
		time.Sleep(150 * time.Millisecond) // Let batches flow; when exactly the kill hits must not matter.
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		cmd, _ = victim(t, dir, strings.TrimPrefix(url, "nats://"))
		within(t, "the agent is back", c.Connected)
	}
	time.Sleep(100 * time.Millisecond)
	cancel()
	n := <-published
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	s := serve(t, func(o *ServerOptions) { o.Dir = dir })
	var all consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 0, all.handle) })
	within(t, "all acknowledged batches", func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.got) > 0 && all.got[len(all.got)-1].BatchSequence >= uint64(n)
	})
	if n < 20 {
		t.Fatalf("only %d batches were published; nothing was tested", n)
	}
	next := uint64(1)
	for _, m := range all.got {
		switch {
		case m.BatchSequence == next && string(m.Data) == fmt.Sprint(next):
			next++
		case m.BatchSequence < next:
			t.Logf("batch %d is there again", m.BatchSequence) // Allowed: its acknowledgement was lost with the server.
		default:
			t.Fatalf("batch %d (%q) follows %d", m.BatchSequence, m.Data, next-1)
		}
	}
	t.Logf("%d batches over 4 kills", n)
}
