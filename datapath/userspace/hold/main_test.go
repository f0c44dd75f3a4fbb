package hold

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

// TestMain makes this binary one that Start can run again, as ovlctl is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Command {
		if err := Run(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	linktest.VerifyNoLeaks(m)
}
