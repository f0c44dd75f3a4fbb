package cluster

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails the package when a goroutine is left. A probe that memberlist
// had under way at its end takes up to two of its intervals to give up.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for end := time.Now().Add(5 * time.Second); code == 0 && time.Now().Before(end); {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}
