package member

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// logAdapter is the writer of the log.Logger that Serf and memberlist want. Their lines
// begin with a level in brackets; each is one Write.
type logAdapter struct{ log *slog.Logger }

func newLogAdapter(l *slog.Logger) *log.Logger { return log.New(logAdapter{l}, "", 0) }

// expected are warnings of Serf about what ovl does on purpose.
var expected = []string{
	"Shutdown without a Leave",  // a restart of the agent
	"Refuting an alive message", // what peers remember of this host from before
}

func (a logAdapter) Write(line []byte) (int, error) {
	level, text := slog.LevelDebug, strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if name, message, ok := strings.Cut(rest, "] "); ok {
			text = message
			// Serf's errors are about other hosts and the network between: this
			// host works on, so they are warnings.
			if name == "WARN" || name == "ERR" || name == "ERROR" {
				level = slog.LevelWarn
			}
		}
	}
	for _, e := range expected {
		if strings.Contains(text, e) {
			level = slog.LevelDebug
		}
	}
	a.log.Log(context.Background(), level, "gossip", "text", text)
	return len(line), nil
}
