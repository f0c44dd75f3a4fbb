package linktest

import "os"

// NeedRoot skips a test that makes namespaces or devices when it does not run
// as root. Where the environment has CI set, it fails instead: there, nothing
// may be left out.
func NeedRoot(t interface {
	Helper()
	Fatal(...any)
	Skip(...any)
}) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root, which CI must give")
	}
	t.Skip("needs root to make network namespaces and devices")
}
