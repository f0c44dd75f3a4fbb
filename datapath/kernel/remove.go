package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ovlnet/ovl/datapath/link"
)

// Remove takes the datapath in dir out of the kernel, whether or not a process
// has it open: programs, maps, and the vxlan device of the calling network
// namespace. What is not there is no error.
func Remove(dir string) error {
	errs := []error{removeAll(filepath.Join(dir, linksDir), detach)}
	_, err := link.PruneFilters(programNames, func(int, string) bool { return false })
	errs = append(errs, err)
	errs = append(errs, removeAll(dir, os.Remove), link.Remove(headroomBridge), link.Remove(VXLANDevice))
	return errors.Join(errs...)
}

// removeAll removes a folder of pins, which has no folders in it, each by
// remove.
func removeAll(dir string, remove func(pin string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, remove(filepath.Join(dir, e.Name())))
	}
	return errors.Join(append(errs, os.Remove(dir))...)
}
