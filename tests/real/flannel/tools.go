//go:build tools

// Package flannel names the program that tests/real/build.sh builds.
// It compiles nothing itself: the import keeps the module in go.mod.
package flannel

import _ "github.com/flannel-io/flannel"
