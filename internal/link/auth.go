package link

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// The names of the users that are no agents.
const (
	serverUser = "server"
	adminUser  = "admin"
)

// authenticator decides who may connect to the embedded NATS server and what they may do there.
type authenticator struct {
	serverSecret string // of the server's own connection; new at each start, never written
	adminSecret  string
	token        string
	agents       Agents
	log          *slog.Logger
}

// Check implements [natsserver.Authentication].
func (a *authenticator) Check(c natsserver.ClientAuthentication) bool {
	if c.Kind() != natsserver.CLIENT {
		return false
	}
	o := c.GetOpts()
	switch {
	case o.Username == serverUser:
		if !equal(o.Password, a.serverSecret) {
			return false
		}
		c.RegisterUser(&natsserver.User{Username: serverUser})
		return true
	case o.Username == adminUser:
		if !equal(o.Password, a.adminSecret) {
			a.log.Warn("refusing connection: wrong administrator's secret", "from", c.RemoteAddress())
			return false
		}
		c.RegisterUser(&natsserver.User{Username: adminUser, Permissions: &natsserver.Permissions{
			Publish:   nothing(),
			Subscribe: &natsserver.SubjectPermission{Allow: []string{eventsPrefix + "*"}},
		}})
		return true
	case o.Nkey != "":
		return a.checkKey(c, o)
	}
	return false
}

// checkKey lets in agents, and those that want to become one.
func (a *authenticator) checkKey(c natsserver.ClientAuthentication, o *natsserver.ClientOpts) bool {
	if !nkeys.IsValidPublicUserKey(o.Nkey) || len(c.GetNonce()) == 0 {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(o.Sig)
	if err != nil {
		return false
	}
	key, err := nkeys.FromPublicKey(o.Nkey)
	if err != nil || key.Verify(c.GetNonce(), sig) != nil {
		a.log.Warn("refusing connection: wrong signature", "from", c.RemoteAddress())
		return false
	}
	id := AgentID(o.Nkey)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	agent, known, err := a.agents.Agent(ctx, id)
	switch {
	case err != nil:
		a.log.Error("looking up agent", "agent", id, "err", err)
		return false
	case known && (agent.Revoked || agent.PublicKey != o.Nkey):
		a.log.Warn("refusing connection: agent is revoked", "agent", id, "from", c.RemoteAddress())
		return false
	case known:
		c.RegisterUser(&natsserver.User{Username: id, Permissions: &natsserver.Permissions{
			Publish:   &natsserver.SubjectPermission{Allow: []string{eventsPrefix + id, heartbeatPrefix + id, configGetSubject, enrolPrefix + o.Nkey}},
			Subscribe: &natsserver.SubjectPermission{Allow: []string{inboxPrefix + id + ".>", configSubject}},
		}})
		return true
	case a.token == "" || !equal(o.Token, a.token):
		a.log.Warn("refusing connection: unknown agent without the right enrolment token", "agent", id, "from", c.RemoteAddress())
		return false
	}
	c.RegisterUser(&natsserver.User{Username: "enrol-" + id, Permissions: &natsserver.Permissions{
		Publish:   &natsserver.SubjectPermission{Allow: []string{enrolPrefix + o.Nkey}},
		Subscribe: &natsserver.SubjectPermission{Allow: []string{inboxPrefix + id + ".>"}},
	}})
	return true
}

// nothing is the permission for no subject at all. (An empty list would allow all.)
func nothing() *natsserver.SubjectPermission {
	return &natsserver.SubjectPermission{Deny: []string{">"}}
}

// equal compares secrets in constant time. An empty secret equals nothing.
func equal(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return want != "" && subtle.ConstantTimeCompare(g[:], w[:]) == 1
}
