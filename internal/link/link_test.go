package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"vedette.dev/vedette/internal/event"
)

const testToken = "enrol-me"

func testLog(t *testing.T) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func serve(t *testing.T, change func(*ServerOptions)) *Server {
	t.Helper()
	o := ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", EnrolmentToken: testToken, Agents: new(MemoryAgents), Log: testLog(t), MaxStreamBytes: 64 << 20}
	if change != nil {
		change(&o)
	}
	s, err := Serve(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, url string, change func(*ClientOptions)) *Client {
	t.Helper()
	o := ClientOptions{URL: url, StateDir: t.TempDir(), EnrolmentToken: testToken, Hostname: "host", Log: testLog(t)}
	if change != nil {
		change(&o)
	}
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

// consumed gathers what a consumer gets.
type consumed struct {
	mu  sync.Mutex
	got []Message
}

func (c *consumed) handle(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, m)
	return nil
}

func (c *consumed) texts() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.got {
		out = append(out, string(m.Data))
	}
	return out
}

func (c *consumed) count() int { return len(c.texts()) }

func start(t *testing.T, run func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("after its context ended: %v", err)
		}
	})
}

func TestPublishConsume(t *testing.T) {
	s := serve(t, nil)
	one, two := dial(t, s.URL(), nil), dial(t, s.URL(), nil)
	var all consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 0, all.handle) })
	for i := range 5 {
		if err := one.Publish(t.Context(), "e1", uint64(i+1), fmt.Appendf(nil, "one %d", i)); err != nil {
			t.Fatal(err)
		}
		if err := two.Publish(t.Context(), "e2", uint64(i+1), fmt.Appendf(nil, "two %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	// A repetition is stored once.
	if err := one.Publish(t.Context(), "e1", 5, []byte("one 4")); err != nil {
		t.Fatal(err)
	}
	within(t, "all batches", func() bool { return all.count() >= 10 })
	m := all.got[0]
	m.Pending = 0
	want := Message{Sequence: 1, AgentID: one.AgentID(), Epoch: "e1", BatchSequence: 1, Data: []byte("one 0")}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("first message (-want +got):\n%s", diff)
	}
	var again consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 7, again.handle) })
	within(t, "the rest", func() bool { return again.count() >= 3 })
	if diff := cmp.Diff([]string{"two 3", "one 4", "two 4"}, again.texts()); diff != "" {
		t.Errorf("from sequence 7 (-want +got):\n%s", diff)
	}
	// A position beyond the stream's end is one in an older stream.
	var reset consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 1000, reset.handle) })
	within(t, "all from the start", func() bool { return reset.count() >= 10 })
	if all.count() != 10 {
		t.Errorf("got %d batches, want 10: %q", all.count(), all.texts())
	}
}

func TestConsumeRetriesInOrder(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s.URL(), nil)
	for i := range 3 {
		if err := c.Publish(t.Context(), "e", uint64(i+1), fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var seen []string
	fails := 3
	start(t, func(ctx context.Context) error {
		return s.Consume(ctx, 0, func(m Message) error {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, string(m.Data))
			if string(m.Data) == "1" && fails > 0 {
				fails--
				return errors.New("disk is full")
			}
			return nil
		})
	})
	want := []string{"0", "1", "1", "1", "1", "2"}
	within(t, "all batches", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) >= len(want) })
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}

func TestWrongTokenIsRefused(t *testing.T) {
	s := serve(t, nil)
	for name, token := range map[string]string{"wrong": "guess", "none": ""} {
		t.Run(name, func(t *testing.T) {
			_, err := Dial(t.Context(), ClientOptions{URL: s.URL(), StateDir: t.TempDir(), EnrolmentToken: token})
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "enrolment token") {
				t.Errorf("got %v, want an error about the enrolment token", err)
			}
		})
	}
	t.Run("server without a token", func(t *testing.T) {
		s := serve(t, func(o *ServerOptions) { o.EnrolmentToken = "" })
		if _, err := Dial(t.Context(), ClientOptions{URL: s.URL(), StateDir: t.TempDir()}); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want %v", err, ErrRefused)
		}
	})
}

func TestStrangersAreRefused(t *testing.T) {
	s := serve(t, nil)
	id, err := loadIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := loadIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]nats.Option{
		"nobody":              nil,
		"token only":          {nats.Token(testToken)},
		"server's name":       {nats.UserInfo(serverUser, "")},
		"server with token":   {nats.UserInfo(serverUser, testToken)},
		"admin without":       {nats.UserInfo(adminUser, "")},
		"another's signature": {nats.Nkey(id.PublicKey, other.keys.Sign), nats.Token(testToken)},
		"no signature":        {nats.Nkey(id.PublicKey, func([]byte) ([]byte, error) { return nil, nil }), nats.Token(testToken)},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := nats.Connect(s.URL(), options...)
			if err == nil {
				c.Close()
			}
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("got %v, want %v", err, nats.ErrAuthorization)
			}
		})
	}
}

// rogue is an agent that is enrolled and then does as it likes.
func rogue(t *testing.T, s *Server) (*nats.Conn, string, func() string) {
	t.Helper()
	dir := t.TempDir()
	c := dial(t, s.URL(), func(o *ClientOptions) { o.StateDir = dir })
	c.Close()
	id, err := loadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var last string
	conn, err := nats.Connect(s.URL(), nats.Nkey(id.PublicKey, id.keys.Sign), nats.CustomInboxPrefix(inboxPrefix+id.ID),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { mu.Lock(); defer mu.Unlock(); last = err.Error() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn, id.ID, func() string { mu.Lock(); defer mu.Unlock(); e := last; last = ""; return e }
}

func TestAgentMayOnlyBeItself(t *testing.T) {
	s := serve(t, nil)
	honest := dial(t, s.URL(), nil)
	conn, id, lastError := rogue(t, s)
	for _, subject := range []string{
		eventsPrefix + honest.AgentID(), heartbeatPrefix + honest.AgentID(), configSubject, inboxPrefix + honest.AgentID() + ".x",
		"$JS.API.STREAM.DELETE." + eventsStream, "$JS.API.STREAM.PURGE." + eventsStream, "$JS.API.INFO", "$SYS.REQ.SERVER.PING", enrolPrefix + "UX",
		eventsPrefix + "a.b", "vedette.other",
	} {
		t.Run("publish "+subject, func(t *testing.T) {
			if err := conn.Publish(subject, []byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			within(t, "a permissions violation", func() bool { return strings.Contains(strings.ToLower(lastError()), "permissions violation") })
		})
	}
	for _, subject := range []string{eventsPrefix + "*", ">", "vedette.>", heartbeatPrefix + "*", inboxPrefix + ">", inboxPrefix + honest.AgentID() + ".>", enrolPrefix + "*", "$JS.>"} {
		t.Run("subscribe "+subject, func(t *testing.T) {
			if _, err := conn.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			within(t, "a permissions violation", func() bool { return strings.Contains(strings.ToLower(lastError()), "permissions violation") })
		})
	}
	t.Run("its batch is its own whatever it says", func(t *testing.T) {
		data, err := event.NewEncoder().Encode(nil, &event.Batch{AgentID: honest.AgentID(), Epoch: "e", Sequence: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Request(eventsPrefix+id, data, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		var all consumed
		start(t, func(ctx context.Context) error { return s.Consume(ctx, 0, all.handle) })
		within(t, "the batch", func() bool { return all.count() == 1 })
		if got := all.got[0]; got.AgentID != id || got.Epoch != "" {
			t.Errorf("got a batch of agent %s, epoch %q; want agent %s without an epoch", got.AgentID, got.Epoch, id)
		}
	})
}

// TestAcknowledgementCannotBeAimed: an agent chooses where JetStream sends the acknowledgement of a batch, and that message
// is JetStream's own, with all its rights. {"stream":…,"seq":N} is also a well-formed request to purge or delete.
func TestAcknowledgementCannotBeAimed(t *testing.T) {
	s := serve(t, nil)
	honest := dial(t, s.URL(), nil)
	for i := range 10 {
		if err := honest.Publish(t.Context(), "e", uint64(i+1), []byte("evidence")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Push(AgentConfig{Kinds: event.AllKinds}); err != nil {
		t.Fatal(err)
	}
	got := <-honest.Configs()
	conn, id, _ := rogue(t, s)
	sent := 0
	for _, target := range []string{
		"$JS.API.STREAM.PURGE." + eventsStream, "$JS.API.STREAM.DELETE." + eventsStream, "$JS.API.STREAM.MSG.DELETE." + eventsStream,
		"$JS.API.STREAM.UPDATE." + eventsStream, configSubject, heartbeatPrefix + honest.AgentID(), eventsPrefix + honest.AgentID(),
	} {
		if err := conn.PublishRequest(eventsPrefix+id, target, []byte("x")); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	if err := conn.PublishRequest(configGetSubject, eventsPrefix+honest.AgentID(), nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	var beats []Heartbeat
	var mu sync.Mutex
	s.Heartbeats(func(hb Heartbeat) { mu.Lock(); defer mu.Unlock(); beats = append(beats, hb) })
	time.Sleep(300 * time.Millisecond) // For what must not happen, there is no event to wait for.
	stream, err := s.js.Stream(t.Context(), eventsStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.FirstSeq != 1 || info.State.Msgs < uint64(10+sent) || info.State.NumDeleted != 0 {
		t.Errorf("the stream holds %+v, want at least %d batches from 1 on", info.State, 10+sent)
	}
	select {
	case cfg := <-honest.Configs():
		if cfg != got {
			t.Errorf("the honest agent was told %+v", cfg)
		}
	default:
	}
	if len(beats) > 0 {
		t.Errorf("heartbeats of an agent that sent none: %+v", beats)
	}
	// What an acknowledgement can do is to arrive as a batch of another agent; it is no batch, and ingest drops it.
	for seq := uint64(11); seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != eventsPrefix+id {
			if _, err := event.Decode(m.Data, nil); err == nil {
				t.Errorf("a forged batch of %s: %q", m.Subject, m.Data)
			}
		}
	}
}

func TestAdministratorMayOnlyWatch(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s.URL(), nil)
	path := filepath.Join(s.opts.Dir, AdminSecretFile)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file has mode %v, want 0600", st.Mode())
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	start(t, func(ctx context.Context) error {
		return Follow(ctx, FollowOptions{URL: s.URL(), Secret: strings.TrimSpace(string(secret))}, func(agent string, batch []byte) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, agent+" "+string(batch))
		})
	})
	n := uint64(0)
	within(t, "a followed batch", func() bool {
		n++
		if err := c.Publish(t.Context(), "e", n, []byte("tail")); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return len(seen) > 0 && seen[0] == c.AgentID()+" tail"
	})
	conn, err := nats.Connect(s.URL(), nats.UserInfo(adminUser, strings.TrimSpace(string(secret))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, subject := range []string{eventsPrefix + c.AgentID(), configSubject, "$JS.API.STREAM.DELETE." + eventsStream} {
		conn.SetErrorHandler(nil)
		if err := conn.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := conn.LastError(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("publishing to %s: %v, want a permissions violation", subject, err)
		}
	}
	if err := Follow(t.Context(), FollowOptions{URL: s.URL(), Secret: "guess"}, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("with a wrong secret: %v, want %v", err, ErrRefused)
	}
}

func TestConfigReachesLateComers(t *testing.T) {
	s := serve(t, nil)
	early := dial(t, s.URL(), nil)
	want := AgentConfig{Kinds: event.Kinds(0).With(event.KindExec).With(event.KindDNS), HeartbeatInterval: 2 * time.Second}
	if err := s.Push(AgentConfig{Kinds: event.AllKinds}); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(want); err != nil {
		t.Fatal(err)
	}
	late := dial(t, s.URL(), nil)
	for name, c := range map[string]*Client{"early": early, "late": late} {
		for got := (AgentConfig{}); got != want; {
			select {
			case got = <-c.Configs():
			case <-time.After(10 * time.Second):
				t.Fatalf("the %s agent has %+v, want %+v", name, got, want)
			}
		}
	}
}

func TestHeartbeats(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s.URL(), nil)
	got := make(chan Heartbeat, 16)
	s.Heartbeats(func(hb Heartbeat) { got <- hb })
	conn, id, _ := rogue(t, s)
	for _, data := range []string{"", "{", "[]", `{"epoch":""}`, `{"epoch":"` + strings.Repeat("e", 100) + `"}`,
		`{"epoch":"e","workloads":[` + strings.Repeat(`{},`, maxWorkloads) + `{}]}`, strings.Repeat(" ", maxHeartbeat+1)} {
		if err := conn.Publish(heartbeatPrefix+id, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Publish(heartbeatPrefix+id, []byte(`{"agentId":"`+c.AgentID()+`","epoch":"rogue"}`)); err != nil {
		t.Fatal(err)
	}
	if hb := <-got; hb.AgentID != id || hb.Epoch != "rogue" {
		t.Errorf("got %+v, want the sender's id %s whatever the text says, and no malformed one before", hb, id)
	}
	want := Heartbeat{AgentID: c.AgentID(), Epoch: "e", Scope: "host", Stopping: true, Workloads: []Workload{{Kind: "host", Cluster: "h", Containers: 3}}}
	if err := c.Heartbeat(want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("heartbeat (-want +got):\n%s", diff)
	}
}

func TestClientSurvivesRestartsOfTheServer(t *testing.T) {
	dir, agents := t.TempDir(), new(MemoryAgents)
	change := func(o *ServerOptions) { o.Dir, o.Agents = dir, agents }
	s := serve(t, change)
	addr := strings.TrimPrefix(s.URL(), "nats://")
	c := dial(t, s.URL(), nil)
	if err := c.Publish(t.Context(), "e", 1, []byte("1")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	within(t, "the client notices", func() bool { return !c.Connected() })
	if err := c.Publish(t.Context(), "e", 2, []byte("2")); !errors.Is(err, ErrNotConnected) {
		t.Errorf("while the server is away: %v, want %v", err, ErrNotConnected)
	}
	s = serve(t, func(o *ServerOptions) { change(o); o.Listen = addr })
	if err := c.WaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), "e", 2, []byte("2")); err != nil {
		t.Fatal(err)
	}
	// The server forgets its agents: the client enrols again.
	s.Close()
	s = serve(t, func(o *ServerOptions) { o.Dir, o.Listen = dir, addr })
	within(t, "the client is back", c.Connected)
	if err := c.Publish(t.Context(), "e", 3, []byte("3")); err != nil {
		t.Fatal(err)
	}
	var all consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 0, all.handle) })
	within(t, "all batches", func() bool { return all.count() >= 3 })
	if diff := cmp.Diff([]string{"1", "2", "3"}, all.texts()); diff != "" {
		t.Errorf("after two restarts (-want +got):\n%s", diff)
	}
}

func TestDialBeforeTheServer(t *testing.T) {
	s := serve(t, nil)
	addr, url := strings.TrimPrefix(s.URL(), "nats://"), s.URL()
	s.Close()
	c := dial(t, url, nil)
	if c.Connected() || c.AgentID() == "" {
		t.Errorf("connected %v as %q; want an identity and no connection", c.Connected(), c.AgentID())
	}
	serve(t, func(o *ServerOptions) { o.Listen = addr })
	within(t, "the connection", c.Connected)
	if err := c.Publish(t.Context(), "e", 1, []byte("1")); err != nil {
		t.Fatal(err)
	}
}

func TestRevokedAgentIsPutOut(t *testing.T) {
	agents := new(MemoryAgents)
	s := serve(t, func(o *ServerOptions) { o.Agents = agents })
	c := dial(t, s.URL(), nil)
	a, ok, _ := agents.Agent(t.Context(), c.AgentID())
	if !ok || a.Hostname != "host" {
		t.Fatalf("the store has %+v, want the agent", a)
	}
	a.Revoked = true
	if err := agents.PutAgent(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := s.Disconnect(a.ID); err != nil {
		t.Fatal(err)
	}
	within(t, "the agent is out", func() bool { return !c.Connected() })
	if _, err := Dial(t.Context(), c.opts); !errors.Is(err, ErrRefused) {
		t.Errorf("the revoked agent comes back: %v, want %v", err, ErrRefused)
	}
}

func TestInProcess(t *testing.T) {
	s := serve(t, func(o *ServerOptions) { o.Listen = "" })
	if s.URL() != "" {
		t.Errorf("URL is %q, want none", s.URL())
	}
	c := dial(t, "", func(o *ClientOptions) { o.Server = s })
	if err := c.Publish(t.Context(), "e", 1, []byte("1")); err != nil {
		t.Fatal(err)
	}
}

func TestExternalServer(t *testing.T) {
	inner := serve(t, nil)
	s, err := Serve(t.Context(), ServerOptions{URL: strings.Replace(inner.URL(), "nats://", "nats://server:"+inner.conn.Opts.Password+"@", 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := dial(t, s.URL(), nil)
	if err := c.Publish(t.Context(), "e", 1, []byte("1")); err != nil {
		t.Fatal(err)
	}
	var all consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 0, all.handle) })
	within(t, "the batch", func() bool { return all.count() == 1 })
	if strings.Contains(c.target(), inner.conn.Opts.Password) {
		t.Error("the password is in texts for people")
	}
}

func TestTooLargeBatch(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s.URL(), nil)
	if err := c.Publish(t.Context(), "e", 1, make([]byte, MaxBatch+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
	if err := c.Publish(t.Context(), "e", 1, make([]byte, MaxBatch)); err != nil {
		t.Errorf("the largest batch: %v", err)
	}
	var all consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 0, all.handle) })
	within(t, "the largest batch", func() bool { return all.count() == 1 })
}

func TestStreamIsBounded(t *testing.T) {
	s := serve(t, func(o *ServerOptions) { o.MaxStreamBytes = 1 << 20 })
	c := dial(t, s.URL(), nil)
	for i := range 40 {
		if err := c.Publish(t.Context(), "e", uint64(i+1), make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	var all consumed
	start(t, func(ctx context.Context) error { return s.Consume(ctx, 1, all.handle) })
	within(t, "the newest batch", func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.got) > 0 && all.got[len(all.got)-1].Sequence == 40
	})
	if n := all.count(); n >= 20 {
		t.Errorf("a stream of 1 MiB holds %d batches of 64 KiB", n)
	}
}

func TestServeErrors(t *testing.T) {
	s := serve(t, nil)
	taken := strings.TrimPrefix(s.URL(), "nats://")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		opts ServerOptions
		want string
	}{
		"port in use":      {ServerOptions{Dir: t.TempDir(), Listen: taken, Agents: new(MemoryAgents)}, "address already in use"},
		"no port":          {ServerOptions{Dir: t.TempDir(), Listen: "localhost", Agents: new(MemoryAgents)}, "missing port"},
		"folder is a file": {ServerOptions{Dir: file, Agents: new(MemoryAgents)}, "not a directory"},
		"no store":         {ServerOptions{Dir: t.TempDir()}, "no store"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Serve(t.Context(), test.opts); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	a, err := loadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, identityFile)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("identity file: %v, %v; want mode 0600", st.Mode(), err)
	}
	b, err := loadIdentity(dir)
	if err != nil || a.ID != b.ID || a.Seed != b.Seed {
		t.Errorf("read again: %v, %v; want the same identity", b, err)
	}
	other, err := loadIdentity(t.TempDir())
	if err != nil || other.ID == a.ID {
		t.Errorf("a new one: %v, %v; want another identity", other, err)
	}
	mixed := identity{ID: a.ID, PublicKey: a.PublicKey, Seed: other.Seed}
	text, _ := json.Marshal(mixed)
	for name, text := range map[string]string{"empty": "", "torn": `{"id":`, "no seed": `{"id":"x"}`, "mixed": string(text)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadIdentity(dir); err == nil || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%s: %v, want an error that says what to do", name, err)
		}
	}
}

func TestAgentConfigWire(t *testing.T) {
	want := AgentConfig{Kinds: event.AllKinds, HeartbeatInterval: 1500 * time.Millisecond}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got AgentConfig
	if err := json.Unmarshal(data, &got); err != nil || got != want {
		t.Errorf("%s became %+v, %v", data, got, err)
	}
	for _, bad := range []string{`{}`, `{"kinds":["exec"]}`, `{"type":"other","kinds":[]}`, `{"type":"vedette.config/1","heartbeat":"1ns"}`, `{"stream":"VEDETTE_EVENTS","seq":1}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	if err := json.Unmarshal([]byte(`{"type":"vedette.config/1","kinds":["exec","teleport"],"more":1}`), &got); err != nil || got.Kinds != event.Kinds(0).With(event.KindExec) {
		t.Errorf("from a newer server: %+v, %v", got, err)
	}
}

func FuzzHeartbeat(f *testing.F) {
	f.Add("vedette.heartbeat.a", []byte(`{"epoch":"e","counters":{"made":1},"workloads":[{"kind":"ecs"}]}`))
	f.Add("vedette.heartbeat.a.b", []byte(`{}`))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		hb, err := parseHeartbeat(subject, data)
		if err == nil && (subject != heartbeatPrefix+hb.AgentID || hb.Epoch == "" || len(hb.Workloads) > maxWorkloads) {
			t.Fatalf("%q %q gave %+v", subject, data, hb)
		}
	})
}

func FuzzMessageID(f *testing.F) {
	f.Add("epoch-1")
	f.Add("-")
	f.Fuzz(func(t *testing.T, id string) {
		epoch, seq := parseMessageID(id)
		if epoch == "" && seq != 0 || len(epoch) > 64 {
			t.Fatalf("%q gave %q, %d", id, epoch, seq)
		}
		if e, s := parseMessageID(messageID("e-poch", seq)); e != "e-poch" || s != seq {
			t.Fatalf("%d became %q, %d", seq, e, s)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	s, err := Serve(b.Context(), ServerOptions{Dir: b.TempDir(), Listen: "127.0.0.1:0", EnrolmentToken: testToken, Agents: new(MemoryAgents)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c, err := Dial(b.Context(), ClientOptions{URL: s.URL(), StateDir: b.TempDir(), EnrolmentToken: testToken})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	data := make([]byte, 16<<10)
	var n uint64
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		n++
		if err := c.Publish(b.Context(), "e", n, data); err != nil {
			b.Fatal(err)
		}
	}
}
