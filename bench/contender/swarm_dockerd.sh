# Becomes a dockerd that leaves no trace: it runs in namespaces of its own for
# mounts and processes, in the network namespace of a host of a lab. $1 is the
# cgroup for its containers.
set -eu
mount --make-rprivate /
mount -t proc proc /proc

# All that Docker writes goes into memory, and nothing else can be written to
# the root file system. The fresh /run also hides a containerd of the system.
mount -o remount,bind,ro /
for folder in /run /var/lib /etc/docker /opt; do
	mount -t tmpfs -o mode=755 tmpfs $folder
done
# Nor is an AppArmor profile to be loaded: the kernel would keep it.
[ ! -d /sys/kernel/security ] || mount -t tmpfs tmpfs /sys/kernel/security

exec dockerd --host=unix:///run/ovlbench.sock --exec-root=/run/docker \
	--pidfile=/run/docker.pid --storage-driver=vfs --exec-opt=native.cgroupdriver=cgroupfs \
	--cgroup-parent="$1" --log-level=warn
