# shellcheck shell=bash
# `cluster load`: images from archives into the container runtime of every node.

# An imported image carries the digest that the archive gave it, so that the next
# load of the same content is skipped.
digest_label=meridian.local/digest

# load ARCHIVE...
load() {
  local archive n
  [ $# -gt 0 ] || fail "usage: cluster load ARCHIVE.tar..."
  need_up
  [ "$tier" = full ] || fail "cluster $cluster has no nodes to load images into: it was started with --control-plane-only"
  for archive; do
    [ -r "$archive" ] || fail "there is no archive $archive"
    for n in $(seq 0 $((nodes - 1))); do
      load_into "$n" "$archive"
    done
  done
}

# load_into N ARCHIVE
load_into() {
  local n=$1 archive=$2 from images present reference digest missing=0 log=$home/log/load.log
  from=$(now)
  images=$("$program/meridian-cluster" image list "$archive") || fail "$archive is not an archive of images"
  present=$(inside_node "$n" ctr -n k8s.io images list) || fail "containerd of node$n does not answer; see $home/log/node$n-containerd.log"
  while read -r reference digest; do
    is_present "$present" "$reference" "$digest" || missing=1
  done <<< "$images"
  if [ $missing = 0 ]; then
    say "  node$n has $(references "$images")"
    return
  fi
  "$program/meridian-cluster" image stream "$archive" |
    inside_node "$n" ctr -n k8s.io images import - > "$log" 2>&1 ||
    { tail_of "$log"; fail "node$n could not import $archive"; }
  while read -r reference digest; do
    inside_node "$n" ctr -n k8s.io images label "$reference" "$digest_label=$digest" > "$log" 2>&1 ||
      { tail_of "$log"; fail "node$n imported $archive, but not as $reference"; }
  done <<< "$images"
  say "  node$n imported $(references "$images"): $(took "$from")"
}

# is_present LIST REFERENCE DIGEST: LIST is containerd's, a line per image.
is_present() {
  awk -v reference="$2" -v label="$digest_label=$3" \
    '$1 == reference && index($0, label) { found = 1 } END { exit !found }' <<< "$1"
}

references() { cut -d ' ' -f 1 <<< "$1" | paste -s -d ' '; }
