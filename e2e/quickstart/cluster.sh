# shellcheck shell=bash disable=SC2154,SC2317 # variables and callers are in ../../quickstart and its other files
# The quickstart's tools, cluster, images and operator. Sourced by ../../quickstart.

operator_namespace=meridian-system
# shellcheck disable=SC2034 # region.sh and the others
namespace=demo

# tools: what the rest is built and asked with.
tools() {
  need_packages bash ca-certificates curl jq git gawk
  # The Rust tree needs a C compiler, cmake and OpenSSL for librdkafka.
  need_packages build-essential cmake pkg-config libssl-dev libcurl4-openssl-dev zlib1g-dev
  e2e/toolchain
  eval "$(e2e/toolchain --env)"
  step "helm (from its Go module; a minute the first time)" e2e/cluster/build-helm
  PATH=$cache/bin:$PATH
}

# kubectl_on ARGUMENT…: kubectl on the cluster that `cluster` chose.
kubectl_command=()
kubectl_on() { "${kubectl_command[@]}" "$@"; }

# cluster: ours, or the one that --context names.
cluster() {
  if [ -n "$context" ]; then
    command -v kubectl >/dev/null || e2e/cluster/build >/dev/null
    kubectl_command=(kubectl --context "$context")
    helm_on() { helm --kube-context "$context" "$@"; }
    step "cluster $context answers" kubectl_on get --raw /readyz
    return
  fi
  e2e/cluster/build >/dev/null
  e2e/cluster/cluster up
  kubeconfig=$(e2e/cluster/cluster kubeconfig)
  load="e2e/cluster/cluster load"
  kubectl_command=(kubectl --kubeconfig "$kubeconfig")
  helm_on() { helm --kubeconfig "$kubeconfig" "$@"; }
  share_kubeconfig
}

# The name of our context, cluster and user in a kubeconfig.
own=${MERIDIAN_CLUSTER:-meridian}

# share_kubeconfig: the user's own kubectl gets our context, and a kubectl where there is none.
share_kubeconfig() {
  local mine=${KUBECONFIG:-$HOME/.kube/config} merged
  mkdir -p "$(dirname "${mine%%:*}")"
  merged=$(mktemp)
  # Ours first: of two entries with one name kubectl keeps the first, and ours is the one that is alive.
  KUBECONFIG=$kubeconfig:$mine kubectl config view --flatten >"$merged"
  if ! KUBECONFIG=$mine kubectl config current-context >/dev/null 2>&1; then
    KUBECONFIG=$merged kubectl config use-context "$own" >/dev/null
  else
    KUBECONFIG=$merged kubectl config use-context "$(KUBECONFIG=$mine kubectl config current-context)" >/dev/null
  fi
  install -m 600 "$merged" "${mine%%:*}"
  rm -f "$merged"
  if ! PATH=${PATH#"$cache/bin:"} command -v kubectl >/dev/null && [ -w /usr/local/bin ]; then
    ln -s "$cache/bin/kubectl" /usr/local/bin/kubectl
    say "  /usr/local/bin/kubectl is the one that came with the cluster"
  fi
  say "  kubectl has the context «$own» (${mine%%:*})"
}

# images: built here, and brought into the cluster.
images() {
  if [ -z "$load" ]; then
    say "  --load is not given: the cluster pulls the images that charts/meridian/values.yaml names"
    return
  fi
  e2e/images/build
  local name
  for name in meridian postgres clickhouse kafka redis buffer objectstore temporal; do
    # shellcheck disable=SC2086 # a command with its arguments
    $load "$cache/images/$name.tar"
  done
}

# image_values: --set for each image that was built here.
image_values() {
  [ -n "$load" ] || return 0
  local line
  while read -r line; do printf -- '--set-string\nimages.%s\n' "$line"; done <"$cache/images/catalogue.env"
}

# operator: the two charts, as anybody would install them.
operator() {
  local values=()
  mapfile -t values < <(image_values)
  step "helm: meridian-crds" helm_on upgrade --install meridian-crds charts/meridian-crds --namespace "$operator_namespace" --create-namespace
  step "helm: meridian (the operator)" helm_on upgrade --install meridian charts/meridian --namespace "$operator_namespace" "${values[@]}" --wait --timeout 3m
}

# down: everything that ./quickstart started, and nothing else.
down() {
  if [ "${1:-}" = --context ]; then
    context=${2:?--context needs a name}
    PATH=$cache/bin:$PATH
    # The sample keeps its data when it is deleted; the quickstart leaves nothing.
    kubectl --context "$context" -n "$namespace" patch br demo --type=merge -p '{"spec":{"deletionPolicy":"Delete"}}' || true
    kubectl --context "$context" delete --ignore-not-found -k manifests/samples --timeout=180s
    helm --kube-context "$context" uninstall --namespace "$operator_namespace" meridian meridian-crds --wait
    kubectl --context "$context" get crds -o name | grep billing.meridian.dev | xargs -r kubectl --context "$context" delete
    kubectl --context "$context" delete namespace "$operator_namespace" --ignore-not-found
    return
  fi
  PATH=$cache/bin:$PATH
  e2e/cluster/cluster down
  if command -v kubectl >/dev/null; then
    local entry
    for entry in context cluster user; do kubectl config "delete-$entry" "$own" >/dev/null 2>&1 || true; done
    [ "$(kubectl config current-context 2>/dev/null)" != "$own" ] || kubectl config unset current-context >/dev/null
  fi
  if [ "$(readlink /usr/local/bin/kubectl 2>/dev/null)" = "$cache/bin/kubectl" ]; then rm /usr/local/bin/kubectl; fi
  say "Everything that ./quickstart started is gone. What it built is in $cache; remove that folder to have it gone too."
}
