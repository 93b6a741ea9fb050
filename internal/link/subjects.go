package link

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	eventsStream     = "VEDETTE_EVENTS"
	eventsPrefix     = "vedette.events."
	heartbeatPrefix  = "vedette.heartbeat."
	enrolPrefix      = "vedette.enrol."
	configSubject    = "vedette.config"
	configGetSubject = "vedette.config.get"
	inboxPrefix      = "_INBOX."

	// MaxBatch bounds an encoded batch on the wire.
	MaxBatch = 4 << 20
	// maxHeartbeat bounds an encoded heartbeat on the wire, and maxWorkloads what it lists.
	maxHeartbeat = 1 << 20
	maxWorkloads = 4096
)

// AgentID returns the id of the agent with the given public key (an NKey of type user). It is known before the agent has
// ever spoken to a server, so that it can spool from the start.
func AgentID(publicKey string) string {
	sum := sha256.Sum256([]byte("vedette agent " + publicKey))
	return hex.EncodeToString(sum[:16])
}

// idOf returns the id at the end of a subject, or "" if the subject is not prefix and an id.
func idOf(subject, prefix string) string {
	id, ok := strings.CutPrefix(subject, prefix)
	if !ok || id == "" || len(id) > 64 || strings.ContainsAny(id, ".*> \t") {
		return ""
	}
	return id
}
