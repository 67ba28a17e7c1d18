# pisup: everything that is done with this tree is done from here.

# The sandbox node: PROFILE=classic|native, KUBE=real|double (kubelet and kube-proxy), FLANNEL the
# same, NODE=master|worker and ARGS for node-ctl.
PROFILE ?= classic
KUBE    ?= real
FLANNEL ?= real
NODE    ?= master
ARGS    ?=

# How long `make fuzz` looks at each target, which ones (all), and whether it keeps what it found.
SECONDS ?= 60
TARGETS ?=
KEEP    ?=

export PROFILE KUBE FLANNEL NODE

CARGO   ?= cargo
SANDBOX := tests/sandbox/node.sh
PARTS   := $(if $(filter double,$(KUBE)),parts-few,parts)

# Tests that start processes in namespaces, as root. All others need neither root nor a service.
ROOTED := process_sys real_process init chaos
PLAIN  := $(filter-out $(ROOTED),$(patsubst tests/%.rs,%,$(wildcard tests/*.rs)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

##@ A node to play with (as root; in namespaces of its own)

.PHONY: node node-worker node-ctl node-kubectl node-shell node-stop
node: deps $(PARTS) release ## A master node on real parts, then its status
	$(SANDBOX) up

node-worker: deps $(PARTS) release ## A second node, a worker, beside it
	$(SANDBOX) worker

node-ctl: ## pisup ctl in it: make node-ctl ARGS="status etcd"
	@$(SANDBOX) ctl $(ARGS)

node-kubectl: ## kubectl in it: make node-kubectl ARGS="get nodes"
	@$(SANDBOX) kubectl $(ARGS)

node-shell: ## A shell in it
	@$(SANDBOX) shell

node-stop: ## Ends all of it
	@$(SANDBOX) stop

##@ Build

.PHONY: release parts parts-few deps
release: ## target/release/pisup
	@tests/deps.sh build
	$(CARGO) build --release --locked

parts: parts-few ## What Debian does not package, from Go modules: 12 minutes once, then cached
	tests/real/build.sh amd64

# What a node with doubles of kubelet and kube-proxy needs.
parts-few:
	@tests/deps.sh real
	tests/doubles/build.sh amd64
	tests/real/build.sh amd64 pause flanneld

deps: ## Installs the Debian packages that are missing (as root)
	@tests/deps.sh build node test

##@ For the Pi

.PHONY: armv7 aarch64 x86_64 cross-test size man deb
armv7: ## target/dist/armv7/: static binaries for a Pi 2 and later, 3 minutes cold
aarch64: ## The same for a Pi in 64 bit
x86_64: ## The same for a PC
armv7 aarch64 x86_64:
	@tests/deps.sh cross
	cross/build.sh $@

cross-test: armv7 ## Runs those for armv7 under qemu, and holds them to their size
	cross/test.sh armv7
	cross/size.sh armv7

size: ## Each binary against its budget
	@cross/size.sh

man: ## target/man/: the manual pages
	$(CARGO) run --quiet --locked --example man -- target/man

deb: armv7 aarch64 man ## target/dist/*.deb for armhf and arm64, looked over
	cross/deb.sh armv7 aarch64
	cross/deb-test.sh armhf arm64

##@ The emulated Pi (QEMU raspi2b; as root). CHAIN=docker ends with its Docker daemon

CHAIN    ?= node
CUTS     ?= 10
SEED     ?=
PI_NODE  := pause kubelet kube-proxy kube-apiserver
PI_PARTS  = flanneld $(if $(filter docker,$(CHAIN)),,$(PI_NODE))

.PHONY: pi pi-shell pi-test pi-cluster pi-cuts pi-bench pi-stop pi-parts
pi: pi-parts ## Boots it, its units as they come, until its node is Ready
	cross/pi/pi.sh up $(CHAIN)

pi-shell: ## A shell on its console
	@cross/pi/pi.sh shell

pi-test: pi-parts ## Boots it unattended, tries it, pulls its plug, boots it again
	cross/pi/pi.sh test $(CHAIN)

pi-cluster: CHAIN := node
pi-cluster: pi-parts ## Two of them on one wire, a master and a worker; their pods meet
	cross/pi/pi.sh cluster

pi-cuts: CHAIN := docker
pi-cuts: pi-parts ## Pulls its plug CUTS=10 times at random moments (SEED=)
	cross/pi/cuts.sh $(CHAIN) $(CUTS) $(SEED)

pi-bench: CHAIN := docker
pi-bench: pi-parts ## The same Pi with systemd: time, memory, what is written (35 minutes)
	cross/pi/peer.sh

pi-stop: ## Pulls all plugs
	@cross/pi/pi.sh stop

pi-parts: armv7 man
	@tests/deps.sh pi real
	tests/real/build.sh armv7 $(PI_PARTS)
	cross/deb.sh armv7

##@ Prove

.PHONY: check fmt lint pure plain model faults chaos fuzz deny
.PHONY: test test-rust test-node test-kube test-pi
check: fmt lint pure plain ## No root, no services, two minutes: style, lints, purity, tests

fmt: ## Formatting
	$(CARGO) fmt --check

lint: ## Clippy, no warning allowed; Debian's Rust has no clippy, and then it says so
	@if $(CARGO) clippy --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) clippy --locked --all-targets -- -D warnings; \
	else echo "SKIP lint: there is no cargo-clippy (rustup component add clippy)"; fi

pure: ## The machine alone, without std: it can touch nothing
	@mkdir -p target/pure
	rustc --cfg pure --edition 2024 --crate-type lib --emit=metadata -D warnings \
	    --out-dir target/pure src/machine/mod.rs

plain: ## Unit, model, property and style tests
	$(CARGO) test --locked --lib --bins $(PLAIN:%=--test %)

# The model needs the machine and nothing else, so it is built without cargo, and optimised; what
# the machine asserts stays asserted.
MODEL := rustc --edition 2024 -C opt-level=3 -C debug-assertions=on --out-dir target/model

model: ## Every state of every small graph, with counts (minutes)
	@mkdir -p target/model
	$(MODEL) --crate-type rlib --crate-name pisup tests/model/alone.rs
	$(MODEL) --test --extern pisup=target/model/libpisup.rlib tests/model.rs
	target/model/model --ignored

# KIND=plain leaves out upgrades and containers.
KIND ?=

sim: ## Histories of the whole shell in a simulated world: make sim N=10000 SEED=7 (two minutes)
	$(CARGO) run --locked --quiet --profile sim --example sim -- \
	    $(KIND) $(or $(SEED),1) $(or $(N),10000)

faults: ## Proves the model: faults planted in the machine, and who catches them (minutes)
	@mkdir -p target/faults
	rustc --edition 2024 -O -o target/faults/plant tests/model/faults.rs
	target/faults/plant

# ONLY=kill,restart leaves out what is not named; a word is that of a deed in tests/chaos/rounds.rs.
ROUNDS ?= 1000
ONLY   ?=

chaos: ## Everything dies all the time, ROUNDS=1000 SEED=7 (as root, 10 minutes)
	$(CARGO) test --locked --test chaos -- \
	    --rounds=$(ROUNDS) $(SEED:%=--seed=%) $(ONLY:%=--only=%)

fuzz: ## Every parser, SECONDS=60 each, guided by coverage; KEEP=1 adds to the corpus
	@tests/deps.sh build fuzz
	FUZZ_SECONDS=$(SECONDS) KEEP=$(KEEP) tests/fuzz/run.sh $(TARGETS)

deny: ## Licences, versions and origins of all packages, by cargo-deny
	@tests/deny.sh

# Of the histories with upgrades and containers one in a thousand fails still: without control
# groups an upgrade that cannot read the state file starts services twice, an owner that is killed
# when it takes too long to stop leaves its container, and a resumed shutdown refuses a start.
test: KIND := plain
test: deps check deny sim test-rust test-node test-kube cross-test test-pi ## Everything (as root)

test-rust: deps ## Real processes in namespaces (as root)
	$(CARGO) test --locked $(ROOTED:%=--test %)

test-node: KUBE := double
test-node: deps parts-few release ## A node of real dockerd and etcd, doubles of kubelet (as root)
	tests/sandbox/test.sh

test-kube: KUBE := real
test-kube: deps parts release ## A master and a worker with real kubelets (as root, 15 minutes)
	tests/sandbox/test.sh

test-pi: CHAIN := docker
test-pi: pi-parts ## The emulated Pi to its Docker daemon, and a power cut (as root, 10 minutes)
	cross/pi/pi.sh test $(CHAIN)

##@ Measure

.PHONY: bench
bench: KUBE := double
bench: deps parts-few release ## Time to ready, memory, wake-ups of a node (as root)
	tests/sandbox/measure.sh

##@ Help

.PHONY: help
help: ## This
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z0-9_-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
