# shellcheck shell=bash
# What we need of Debian, and Go to build with.

# The node runs Debian's own containerd, runc and CNI plugins; curl and busybox
# also go into the tools image.
cluster_packages=(
  containerd runc containernetworking-plugins nftables iproute2 conntrack
  busybox-static curl ca-certificates procps util-linux
)

# need_go: puts a Go that can build the cluster and helm on the PATH.
need_go() {
  "$here/../toolchain" go
  eval "$("$here/../toolchain" --env)"
}
