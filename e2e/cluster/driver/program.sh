# shellcheck shell=bash
# The built program and its images, kept under a hash of what they are made from.

programs=$cache/cluster-program

# program_dir: where the build of the present sources is, or will be.
program_dir() {
  local hash
  hash=$(cd "$here" && find program build -type f -not -name '*_test.go' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
  echo "$programs/$hash"
}

# publish DIR: gives a host without them kubectl and the program, by name.
publish() {
  local name
  mkdir -p "$cache/bin"
  for name in kubectl meridian-cluster; do
    [ "$(readlink "$cache/bin/$name")" = "$1/meridian-cluster" ] || ln -sfn "$1/meridian-cluster" "$cache/bin/$name"
  done
}

# prune_programs KEEP: removes older builds, except those that a cluster runs.
prune_programs() {
  local dir
  for dir in "$programs"/*; do
    [ "$dir" = "$1" ] && continue
    grep -qsxF "program=$dir" "$clusters"/*/settings && continue
    rm -rf "$dir"
  done
}
