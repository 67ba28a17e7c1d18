module pisup.test/flannel

go 1.16

require github.com/flannel-io/flannel v0.15.1
