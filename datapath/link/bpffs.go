package link

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MountBPFFS mounts a BPF file system at path, for root only, unless path is
// in one already; the folder is made. Of several processes that do so at
// once, one mounts: a second mount would hide what was pinned in the first.
func MountBPFFS(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("bpffs: %w", err)
	}
	unlock, err := lockDir(path)
	if err != nil {
		return fmt.Errorf("bpffs: %w", err)
	}
	defer unlock()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("bpffs %s: %w", path, err)
	}
	if st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", path, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpffs at %s: %w", path, err)
	}
	return nil
}
