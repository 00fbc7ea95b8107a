# shellcheck shell=bash disable=SC2154,SC2317 # variables and callers are in ../../quickstart and its other files
# The quickstart's region: applies manifests/samples and waits until all four objects are Ready.

# The month that is billed: the last one that has closed; or, on a warm run, the one that the tenant started with.
month=$(date -u -d "$(date -u +%Y-%m-01) -1 day" +%Y-%m)

region() {
  local started
  started=$(kubectl_on -n "$namespace" get tnt acme -o 'jsonpath={.spec.billingStart}' 2>/dev/null || true)
  [ -z "$started" ] || month=${started%-01T*}
  # The sample bills October 2026; a quickstart bills the month that has just closed.
  local samples
  samples=$(kubectl kustomize manifests/samples | sed "s/2026-10-01T00:00:00Z/$month-01T00:00:00Z/")
  kubectl_on apply -f - <<<"$samples" | sed 's/^/  /' >&2
  wait_ready br demo 600
  wait_ready mtr api-calls 60
  wait_ready bplan starter 60
  wait_ready tnt acme 60
  kubectl_on -n "$namespace" get br,mtr,bplan,tnt | sed 's/^/  /' >&2
}

# wait_ready KIND NAME SECONDS: shows each new word of its Ready condition while it waits.
wait_ready() {
  local kind=$1 name=$2 limit=$3 started=$SECONDS shown='' now
  while :; do
    now=$(kubectl_on -n "$namespace" get "$kind" "$name" \
      -o 'jsonpath={.metadata.generation} {.status.observedGeneration} {range .status.conditions[?(@.type=="Ready")]}{.status} {.reason}: {.message}{end}' 2>/dev/null || true)
    # shellcheck disable=SC2086 # words, on purpose
    set -- $now
    if [ "${1:-}" = "${2:-none}" ] && [ "${3:-}" = True ]; then
      say "  $kind/$name is Ready: $((SECONDS - started)) s"
      return
    fi
    if (($# > 4)); then now=${now#* * * }; else now='seen by nobody yet'; fi
    if [ "$now" != "$shown" ] && [ -n "$now" ]; then
      say "    $kind/$name: $now"
      shown=$now
    fi
    if ((SECONDS - started > limit)); then
      say "$kind/$name is not Ready after $limit s. What is there:"
      kubectl_on -n "$namespace" get pods >&2 || true
      fail "try: kubectl -n $namespace describe $kind $name; kubectl -n $namespace logs deploy/$kind; kubectl -n $operator_namespace logs deploy/meridian"
    fi
    sleep 1
  done
}
