# shellcheck shell=bash
# What we need of Debian, and Go to build with.

# The node runs Debian's own containerd, runc and CNI plugins; curl and busybox
# also go into the tools image.
cluster_packages=(
  containerd runc containernetworking-plugins nftables iproute2 conntrack
  busybox-static curl ca-certificates procps util-linux
)

# go_needed is the oldest Go that helm can be built with (the cluster needs 1.24).
go_needed=1.26

# need_packages PACKAGE...: installs those that are missing. A package that starts a
# daemon (containerd) must not: our node runs its own.
need_packages() {
  local p missing=()
  for p in "$@"; do
    # Docker's own containerd and runc serve as well, and Debian's would displace them.
    command -v "$p" > /dev/null && continue
    dpkg-query -W -f '${db:Status-Status}' "$p" 2> /dev/null | grep -qx installed || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return 0
  [ "$(id -u)" = 0 ] || die "these packages are missing and only root can install them: ${missing[*]}"
  step "apt-get update" -- apt-get -q update
  step "install ${missing[*]}" -- env DEBIAN_FRONTEND=noninteractive \
    apt-get -qy install --no-install-recommends "${missing[@]}"
  if [[ " ${missing[*]} " = *" containerd "* ]] && [ -d /run/systemd/system ]; then
    step "stop the host's own containerd" -- systemctl disable --now containerd.service
  fi
}

# need_go: puts a Go of at least go_needed on the PATH. Debian 12 has 1.19; its
# successors are modules of their own (golang.org/toolchain), so the old Go fetches
# the new one from the module proxy, checked against the checksum database.
need_go() {
  local version=1.26.8 dir
  go_is_enough && return 0
  need_packages golang-go ca-certificates
  go_is_enough && return 0
  dir=$cache/go$version
  if [ ! -x "$dir/bin/go" ]; then
    step "fetch Go $version" -- fetch_go "$version" "$dir"
  fi
  export PATH=$dir/bin:$PATH GOTOOLCHAIN=local
}

go_is_enough() {
  local have
  command -v go > /dev/null || return 1
  have=$(go version | sed -E 's/.* go([0-9]+\.[0-9]+).*/\1/')
  [ "$(printf '%s\n' "$go_needed" "$have" | sort -V | head -n 1)" = "$go_needed" ]
}

# fetch_go VERSION DIR. A module's zip carries no executable bits.
fetch_go() {
  local module tmp=$2.new
  module=$(cd / && go mod download -json "golang.org/toolchain@v0.0.1-go$1.linux-$(dpkg --print-architecture)" |
    sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p')
  rm -rf "$tmp"
  cp -r "$module" "$tmp"
  chmod -R u+w "$tmp"
  chmod +x "$tmp"/bin/* "$tmp"/pkg/tool/*/*
  mv "$tmp" "$2"
}
