# shellcheck shell=bash disable=SC2154,SC2317 # variables and callers are in ../../quickstart and its other files
# The quickstart's invoice: closes the month, prints the invoice, and goes from one line back to its events.

invoice_seconds_max=180

# api METHOD PATH [BODY]: a request with the tenant's key.
api() {
  local body=()
  [ -z "${3:-}" ] || body=(-H 'Content-Type: application/json' -H "Idempotency-Key: quickstart-$month-${2//\//-}" -d "$3")
  curl -sS --fail-with-body --retry 5 --retry-connrefused -X "$1" -H "Authorization: Bearer $api_key" "${body[@]}" "$api$2"
}

invoice() {
  forward demo-api
  api=$forwarded
  local subscription answer started=$SECONDS id lines line
  subscription=$(api GET /v1/subscriptions | jq -r '.data[0].id')
  answer=$(api POST "/v1/subscriptions/$subscription/close" "{\"period_start\":\"$month-01T00:00:00Z\",\"issue\":true}") || fail "closing the month: $answer"
  say "  closing $month: workflow $(jq -r .workflow_id <<<"$answer")"
  while :; do
    id=$(api GET /v1/invoices | jq -r --arg m "$month" '[.data[] | select((.period_start | startswith($m)) and .status != "draft")][0].id // empty')
    [ -z "$id" ] || break
    ((SECONDS - started < invoice_seconds_max)) || fail "no invoice after $invoice_seconds_max s: kubectl -n $namespace logs deploy/demo-worker"
    sleep 0.5
  done
  say "  issued after $((SECONDS - started)) s"
  answer=$(api GET "/v1/invoices/$id")
  print_invoice "$answer"
  line=$(jq -r '.lines[] | select(.role == "usage") | .id' <<<"$answer")
  say ""
  say "  Three of the events behind the line «calls»:"
  lines=$(api GET "/v1/invoices/$id/lines/$line/events?limit=3")
  jq -r '.data[] | "    \(.id)  \(.time)  \(.properties | tojson)"' <<<"$lines"
  [ "$(jq -r .total <<<"$answer")" = 120.00 ] || fail "the total is $(jq -r .total <<<"$answer"), not 120.00"
  [ "$(jq -r '.lines[] | select(.role == "usage") | .quantity' <<<"$answer")" = 12000 ] || fail "the usage is not 12,000"
}

print_invoice() {
  jq -r '
    "",
    "  Invoice \(.number // .id)   \(.period_start[:10]) to \(.period_end[:10])   \(.status)",
    "  ----------------------------------------------------------------------",
    (.lines[] | "  \(.description[:44] | . + (" " * (44 - length)))  \(.quantity // "" | (" " * ([10 - length, 0] | max)) + .)  \(.amount | (" " * ([10 - length, 0] | max)) + .)"),
    "  ----------------------------------------------------------------------",
    "  total\(" " * 42)\(.currency)  \(.total | (" " * ([16 - length, 0] | max)) + .)"
  ' <<<"$1"
}

# next: what a newcomer may try now.
next() {
  local with=''
  [ -z "$context" ] || with="--context $context "
  cat >&2 <<END
  kubectl ${with}get br,mtr,bplan,tnt -n $namespace          the four objects
  kubectl ${with}describe br demo -n $namespace              its conditions: one for each store and service
  kubectl ${with}explain bplan.spec.prices                   what a Plan can say
  kubectl ${with}delete pod -n $namespace demo-kafka-0       break something: acks go on, nothing is lost
  ./quickstart                                        again: the same events, the same invoice
  ./quickstart down                                   removes everything that it started
END
}
