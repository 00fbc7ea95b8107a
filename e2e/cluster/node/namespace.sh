# shellcheck shell=bash
# What every node's namespaces need before anything runs in them.
# Expects $home and the settings.

# prepare_namespace NODE: names it, gives it its own /run, /var/lib and /var/log,
# and lets it forward.
prepare_namespace() {
  local dir=$home/$1
  mount --make-rshared /
  hostname "$1"
  ip link set lo up
  mkdir -p "$dir"/var-lib "$dir"/var-log
  # containerd, the kubelet and CNI keep files in fixed places. The host has its
  # own there, and none of ours must stay behind on it.
  mount -t tmpfs tmpfs /run
  mkdir -p /run/lock
  mount --bind "$dir/var-lib" /var/lib
  mount --bind "$dir/var-log" /var/log
  mkdir -p /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
  pretend_sysctls "$dir"
  echo 1 > /proc/sys/net/ipv4/ip_forward
}

# pretend_sysctls DIR: the kubelet would change these for the whole host. It finds
# the values that it wants in files of ours, and so leaves the host's alone.
pretend_sysctls() {
  local setting file
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$1/sysctl/${setting%=*}
    mkdir -p "$(dirname "$file")"
    echo "${setting#*=}" > "$file"
    [ ! -e "/proc/sys/${setting%=*}" ] || mount --bind "$file" "/proc/sys/${setting%=*}"
  done
}

# route_services DEVICE N: there is no default route, on purpose: nothing leaves the
# cluster. Without a route of its own, node N itself could not reach a service.
route_services() { ip route add "$service_cidr" dev "$1" src "$(node_ip "$2")"; }
