//go:build tools

// Package node names the programs that tests/real/build.sh builds.
// It compiles nothing itself: the imports keep the module in go.mod.
package node

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
