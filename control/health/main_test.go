package health

import (
	"testing"

	"github.com/ovlnet/ovl/datapath/link/linktest"
)

func TestMain(m *testing.M) { linktest.VerifyNoLeaks(m) }
