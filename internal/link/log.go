package link

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// natsLog sends what the embedded NATS server says to our log. Its notices are of no interest to a user. refused is set when
// it says that it could not store a batch.
type natsLog struct {
	log     *slog.Logger
	refused *atomic.Bool
}

func (l natsLog) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "nats: "+fmt.Sprintf(format, args...))
	}
}

func (l natsLog) Noticef(format string, args ...any) { l.write(slog.LevelDebug, format, args) }
func (l natsLog) Debugf(format string, args ...any)  { l.write(slog.LevelDebug, format, args) }
func (l natsLog) Tracef(format string, args ...any)  { l.write(slog.LevelDebug-4, format, args) }
func (l natsLog) Warnf(format string, args ...any)   { l.write(slog.LevelWarn, format, args) }

// Errorf leaves out what the authenticator has already said better.
func (l natsLog) Errorf(format string, args ...any) {
	level, text := slog.LevelError, fmt.Sprintf(format, args...)
	switch {
	case strings.HasPrefix(text, storeRefused):
		l.refused.Store(true)
	case strings.Contains(text, "authentication error"):
		level = slog.LevelDebug
	}
	l.write(level, format, args)
}

func (l natsLog) Fatalf(format string, args ...any) { l.write(slog.LevelError, format, args) }
