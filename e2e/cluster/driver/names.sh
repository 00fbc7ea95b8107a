# shellcheck shell=bash
# Where things are, and what a cluster is called. Everything that a cluster owns on
# the host carries its name or its slot (networks.sh).
# shellcheck disable=SC2034

clusters=$cache/cluster
cluster=${MERIDIAN_CLUSTER:-meridian}
[[ $cluster =~ ^[a-z][a-z0-9-]{0,20}$ ]] ||
  fail "MERIDIAN_CLUSTER=$cluster: a name is lower-case letters, digits and dashes, at most 21"
case $cache in
  # The node hides the host's /var/lib, /var/log and /run from itself.
  /var/lib/* | /var/log/* | /run/*) fail "the cache cannot be in $cache: set MERIDIAN_CACHE to a directory outside /var/lib, /var/log and /run" ;;
esac

home=$clusters/$cluster        # all state of the cluster; `down` removes it
kubeconfig=$home/kubeconfig
cgroup=meridian-$cluster       # parent of every pod, in every cgroup hierarchy
