# shellcheck shell=bash disable=SC2154,SC2317 # variables and callers are in ../../quickstart and its other files
# The quickstart's events: 12,000 calls of the closed month, then 600 of them a second time, half of those with another
# time under the same id.

# The seconds that a port-forward may take to open.
forward_seconds_max=30

# forward SERVICE: opens a way to port 8080 of a Service and prints its base URL. Ends with the quickstart.
forward() {
  local log port i
  log=$(mktemp)
  # The command itself, not the function: a function in the background is a shell, and ending that shell would leave kubectl.
  "${kubectl_command[@]}" -n "$namespace" port-forward --address 127.0.0.1 "svc/$1" :8080 >"$log" 2>&1 &
  forwards+=($!)
  for ((i = 0; i < forward_seconds_max * 10; i++)); do
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$log" | head -n 1)
    [ -z "$port" ] || break
    sleep 0.1
  done
  [ -n "$port" ] || { cat "$log" >&2 && fail "no way to svc/$1: kubectl -n $namespace get pods"; }
  rm -f "$log"
  forwarded=http://127.0.0.1:$port
}

forwards=()
close_forwards() { ((${#forwards[@]} == 0)) || kill "${forwards[@]}" 2>/dev/null || true; }
trap close_forwards EXIT

events() {
  api_key=$(kubectl_on -n "$namespace" get secret acme-api-key -o 'go-template={{.data.apiKey | base64decode}}')
  forward demo-ingest
  ingest=$forwarded
  local first started=$SECONDS
  accepted=0
  for ((first = 0; first < 12000; first += 1000)); do send "$first" 1000 0; done
  say "  12,000 distinct events: $((SECONDS - started)) s"
  send 0 300 0
  send 300 300 1
  say "  600 of them again, 300 of those with another time"
  [ "$accepted" = 12600 ] || fail "$accepted of 12,600 events were acknowledged"
  say "  12,600 acknowledged: each is in the ingest buffer and in Kafka"
}

# send FIRST COUNT SHIFT: one batch; events FIRST… of the month, each SHIFT minutes later than the first time.
send() {
  local answer count
  answer=$(batch "$@" | curl -sS --fail-with-body --retry 8 --retry-connrefused -H "Authorization: Bearer $api_key" \
    -H 'Content-Type: application/json' --data-binary @- "$ingest/v1/events") ||
    fail "ingest said: $answer (kubectl -n $namespace logs deploy/demo-ingest)"
  count=$(jq .accepted <<<"$answer")
  [ "$count" = "$2" ] || fail "$count of $2 events were accepted: $(jq -c '[.results[] | select(.status != "accepted")][:3]' <<<"$answer")"
  accepted=$((accepted + count))
}

batch() {
  awk -v month="$month" -v first="$1" -v count="$2" -v shift="$3" 'BEGIN {
    printf "{\"events\":["
    for (n = first; n < first + count; n++)
      printf "%s{\"id\":\"call-%05d\",\"type\":\"api-calls\",\"time\":\"%s-%02dT%02d:%02d:%02dZ\",\"properties\":{\"path\":\"/v1/search\"}}",
        (n > first ? "," : ""), n, month, 1 + n % 28, int(n / 28) % 24, (int(n / 672) + shift) % 60, n % 60
    print "]}"
  }'
}
