# shellcheck shell=bash
# helm, compiled from its Go module and kept in the cache under a hash of the
# module files, so that charts are tried with one known version.

# build_helm: puts helm into the cache's bin directory; prints its path.
build_helm() {
  local hash dir from=''
  hash=$(cat "$here"/helm/* | sha256sum | cut -c 1-16)
  dir=$cache/helm/$hash
  if [ ! -x "$dir/helm" ]; then
    mkdir -p "$cache/helm"
    exec 6> "$cache/helm/.lock"
    flock 6
  fi
  if [ ! -x "$dir/helm" ]; then # another build may have made it while we waited
    from=$(now)
    say "Building helm $(helm_version) (about 1 minute the first time)"
    need_go
    rm -rf "$dir.new"
    mkdir "$dir.new"
    step "compile helm" compile_helm "$dir.new/helm"
    mv "$dir.new" "$dir"
    say "Built in $(took "$from"): $dir/helm"
  fi
  mkdir -p "$cache/bin"
  [ "$(readlink "$cache/bin/helm")" = "$dir/helm" ] || ln -sfn "$dir/helm" "$cache/bin/helm"
  echo "$cache/bin/helm"
}

helm_version() { sed -nE 's/^require helm.sh\/helm\/v3 (v.*)$/\1/p' "$here/helm/go.mod"; }

compile_helm() {
  cd "$here/helm"
  CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -o "$1" \
    -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=$(helm_version)" helm.sh/helm/v3/cmd/helm
}
