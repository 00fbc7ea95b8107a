# shellcheck shell=bash
# `cluster status`: what is there, and what is wrong with it. Succeeds if it is up.

status() {
  local state
  state=$(condition)
  say "Cluster $cluster is $state."
  case $state in
    absent) return 1 ;;
    stale) say "Its files are left over; \`up\` and \`down\` remove them."; return 1 ;;
  esac
  settings "$home"
  say "  $tier, $nodes node(s), since $(since), pid $(init_pid "$home")"
  say "  API server  https://$node_net.1:6443"
  say "  kubeconfig  $kubeconfig"
  say "  logs        $home/log"
  if [ -s "$home/restarts" ]; then
    say "  restarts    $(wc -l < "$home/restarts"), the last: $(tail -n 1 "$home/restarts")"
  fi
  [ "$state" = up ] || return 1
  [ "$tier" = full ] || return 0
  kubectl get nodes -o wide
  kubectl get pods -A --field-selector=status.phase!=Running,status.phase!=Succeeded
}
