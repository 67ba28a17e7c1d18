//go:build tools

// Package control names the programs that tests/real/build.sh builds.
// It compiles nothing itself: the imports keep the module in go.mod.
package control

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
)
