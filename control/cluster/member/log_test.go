package member

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestSerfsLogBecomesOurs(t *testing.T) {
	for line, want := range map[string]string{
		"[DEBUG] memberlist: Stream connection":         "level=DEBUG",
		"[INFO] serf: EventMemberJoin: a":               "level=DEBUG",
		"[WARN] memberlist: Refuting a suspect message": "level=WARN",
		"[ERR] memberlist: Decrypt packet failed":       "level=WARN",
		"[WARN] serf: Shutdown without a Leave":         "level=DEBUG",
		"[WARN] memberlist: Refuting an alive message":  "level=DEBUG",
		"no level at all":                               "level=DEBUG",
	} {
		var out bytes.Buffer
		newLogAdapter(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).Print(line)
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "[") || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q is logged as %q, want %s", line, out.String(), want)
		}
	}
}
