# shellcheck shell=bash
# The cgroup that holds every pod of a cluster (or of one of its nodes), on a host
# with cgroup v2 and on one with the separate v1 hierarchies. Daemons stay outside.

# cgroup_roots: the mounted hierarchies; one with v2, several with v1.
cgroup_roots() {
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    echo /sys/fs/cgroup
  else
    find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d # leaves out the aliases, which are links
  fi
}

# make_cgroup NAME[/NODE]: parents must exist.
make_cgroup() {
  local root file
  for root in $(cgroup_roots); do
    mkdir -p "$root/$1"
    if [ -f "$root/$1/cpuset.cpus" ] && [ ! -f "$root/cgroup.controllers" ]; then
      # a new v1 cpuset is empty, and no process can enter an empty one
      for file in cpuset.cpus cpuset.mems; do cat "$root/$1/../$file" > "$root/$1/$file"; done
    fi
    if [ -f "$root/cgroup.controllers" ]; then
      delegate "$root"
      delegate "$root/$1"
    fi
  done
}

# delegate DIR: hands the v2 controllers that a kubelet uses on to the children of
# DIR. The "unified" hierarchy beside v1 has none to hand on.
delegate() {
  local controller
  for controller in cpuset cpu io memory hugetlb pids; do
    if grep -qw "$controller" "$1/cgroup.controllers"; then
      echo "+$controller" > "$1/cgroup.subtree_control"
    fi
  done
}

# remove_cgroup NAME: once nothing runs in it. The kernel may need a moment to
# notice that the last process is gone.
remove_cgroup() {
  local root try
  for root in $(cgroup_roots); do
    for try in $(seq 50); do
      [ -d "$root/$1" ] || continue 2
      find "$root/$1" -depth -type d -exec rmdir {} + 2> /dev/null || true
      [ "$try" = 1 ] || sleep 0.1
    done
    if [ -d "$root/$1" ]; then
      say "warning: $root/$1 is still in use by: $(find "$root/$1" -name cgroup.procs -exec cat {} + | tr '\n' ' ')"
      return 1
    fi
  done
}
