//go:build tools

// Package tools pins the version of helm that the tests and the quickstart use:
// ../build-helm compiles it from the module proxy, checked against go.sum.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
