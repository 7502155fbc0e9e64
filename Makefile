# SPDX-License-Identifier: MPL-2.0
# gst-plugin-lipsync. `make help` lists the targets.

ONNXRUNTIME := 1.32.0
RUNTIME := target/onnxruntime
# The newest on PyPI; its own version, for it is published apart.
OPENVINO := 1.24.1
ONNXRUNTIME_GPU := 1.31.1
# The plugin with what it looks for beside itself, and nothing else: GStreamer scans the whole folder.
PLUGIN := target/plugin
DEBUG_PLUGIN := target/debug-plugin
VENV := target/venv
INTEGRATIONS_VENV := target/venv-integrations
BATCH_VENV := target/venv-batch
PARTS_VENV := target/venv-parts
FIXTURES := target/fixtures
PREFIX ?= /usr/local

BUILD_PACKAGES := build-essential cmake nasm pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev \
	libgstreamer-plugins-bad1.0-dev python3 python3-pip python3-venv
# With those for windows, microphones and loudspeakers: without them autovideosink takes one that crashes on desktops. flite speaks texts.
RUN_PACKAGES := gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
	gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav ffmpeg \
	gstreamer1.0-x gstreamer1.0-gl gstreamer1.0-alsa gstreamer1.0-pulseaudio gstreamer1.0-nice flite
# PyGObject, for examples and adapters in Python. It is built for the system's Python, which may not be the first one in PATH.
PYTHON_PACKAGES := python3-venv python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0
SYSTEM_PYTHON := /usr/bin/python3
TEST_PACKAGES := nginx libnginx-mod-rtmp xvfb xauth $(PYTHON_PACKAGES)
WEB_PACKAGES := chromium
BATCH_PACKAGES := redis-server ffmpeg
SLURM_PACKAGES := slurm-wlm munge
LINT_PACKAGES := shellcheck
DEB_PACKAGES := debhelper lintian
DEB_TEST_PACKAGES := debootstrap ffmpeg

# The plugin where gst-launch-1.0 and gst-inspect-1.0 find it, in a registry of its own.
GST_ENV := GST_PLUGIN_PATH=$(CURDIR)/$(PLUGIN) GST_REGISTRY=$(CURDIR)/target/gst-registry.bin

.PHONY: all help packages runtime runtime-openvino demo web inspect test docs-cache test-web test-integrations test-batch test-train test-arm64 test-deb test-deb-arm64 soak faults air obs \
	deb deb-arm64 tarball lint bench bench-gpu parity licences fuzz install uninstall clean

all: $(PLUGIN) ## build the plugin, with ONNX Runtime and the avatars beside it, and the tool lipsync
	@echo "==> ready. Try: GST_PLUGIN_PATH=$(CURDIR)/$(PLUGIN) gst-inspect-1.0 lipsync"
	@echo "    or the tool, for videos, a window, and a face of your own: target/release/lipsync help"

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

packages:
	@scripts/install-packages.sh $(BUILD_PACKAGES) $(RUN_PACKAGES)

runtime: packages ## fetch ONNX Runtime
	@scripts/fetch-onnxruntime.sh $(RUNTIME) $(ONNXRUNTIME)

runtime-openvino: packages ## fetch ONNX Runtime with OpenVINO, for execution-provider=openvino
	@scripts/fetch-onnxruntime.sh $(RUNTIME)-openvino $(OPENVINO) onnxruntime-openvino
	@echo "==> to use it: export ORT_DYLIB_PATH=$(CURDIR)/$(RUNTIME)-openvino/libonnxruntime.so"

# Cargo knows best whether there is anything to build, so it is always asked.
.PHONY: $(PLUGIN)
$(PLUGIN): runtime
	@echo "==> building the plugin and the tool (some minutes the first time)"
	@scripts/release.sh build --workspace
	@target/release/lipsync share target/release/share
	@ln -sfn lipsync target/release/lipsync-avatar
	@mkdir -p $@
	@ln -sfn ../release/libgstlipsync.so $@/libgstlipsync.so
	@ln -sfn ../onnxruntime/libonnxruntime.so $@/libonnxruntime.so.1
	@ln -sfn ../../models $@/lipsync

demo: $(PLUGIN) ## speak the sample recording: demo.mp4 and demo.png
	@echo "==> the avatar speaks examples/sample.wav"
	@$(GST_ENV) examples/demo.sh examples/sample.wav demo.mp4 demo.png

web: $(PLUGIN) ## the avatars in a browser: type, speak, drop a file (OPTIONS= of lipsync serve)
	@echo "==> Ctrl-C ends it"
	@$(GST_ENV) target/release/lipsync serve $(OPTIONS)

inspect: $(PLUGIN) ## show the manual pages of both elements
	@$(GST_ENV) gst-inspect-1.0 lipsync
	@$(GST_ENV) gst-inspect-1.0 lipsyncsrc

# Of a lock file, into the environment of the target. Isolated (-I): Python would run a venv.py or pip.py in the current folder. Only
# known files are installed.
PIP_INSTALL = $(@D)/bin/python -I -m pip install --quiet --no-deps --only-binary=:all: --require-hashes -r $<
# $(call venv,PYTHON[,OPTION])
define venv
@$(1) -I -m venv $(2) $(@D)
@$(PIP_INSTALL)
@touch $@
endef

$(VENV)/ready: tests/python/requirements.lock | packages
	@echo "==> installing the Python reference (librosa, OpenCV, ONNX Runtime) into $(VENV)"
	$(call venv,python3)

docs-cache: runtime ## write docs/plugins/gst_plugins_cache.json anew, from the elements
	@LIPSYNC_WRITE_DOCS_CACHE=1 cargo test --locked --quiet --test docs_cache

.PHONY: fixtures
fixtures: $(VENV)/ready
	@echo "==> making test models and golden values with the Python reference"
	@$(VENV)/bin/python tests/python/make_fixtures.py $(FIXTURES)

test: runtime fixtures ## pass all tests
	@scripts/install-packages.sh $(TEST_PACKAGES)
	@command -v cargo-nextest >/dev/null || { echo "==> installing cargo-nextest"; cargo install --locked cargo-nextest; }
	@echo "==> running the tests"
	@rm -rf target/test-cache target/tool-cache/lipsync/graphs
	@XDG_CACHE_HOME=$(CURDIR)/target/test-cache G_DEBUG=fatal-warnings cargo nextest run --locked --workspace
	@cargo test --locked --workspace --doc
	@cargo run --locked --quiet --package lipsync-core --example instruction_sets

$(INTEGRATIONS_VENV)/ready: integrations/requirements.lock | packages
	@scripts/install-packages.sh $(PYTHON_PACKAGES)
	@echo "==> installing LiveKit Agents and Pipecat into $(INTEGRATIONS_VENV) (0.8 GB, a minute or two)"
	$(call venv,$(SYSTEM_PYTHON),--system-site-packages)

# With the plugin that the other tests have built.
test-integrations: runtime fixtures $(INTEGRATIONS_VENV)/ready ## test the adapters for LiveKit Agents and Pipecat with the real packages (a minute)
	@echo "==> testing the adapters with the real LiveKit Agents and Pipecat"
	@cargo test --locked --workspace --quiet --no-run --test interface
	@mkdir -p $(DEBUG_PLUGIN)
	@ln -sfn ../debug/deps/libgstlipsync.so $(DEBUG_PLUGIN)/libgstlipsync.so
	@ln -sfn ../onnxruntime/libonnxruntime.so $(DEBUG_PLUGIN)/libonnxruntime.so.1
	@ln -sfn ../../models $(DEBUG_PLUGIN)/lipsync
	@XDG_CACHE_HOME=$(CURDIR)/target/test-cache G_DEBUG=fatal-warnings GST_PLUGIN_PATH=$(CURDIR)/$(DEBUG_PLUGIN) \
		GST_REGISTRY=$(CURDIR)/$(DEBUG_PLUGIN)-registry.bin $(INTEGRATIONS_VENV)/bin/python -m pytest -q -p no:cacheprovider integrations

$(BATCH_VENV)/ready: batch/requirements.lock | packages
	@echo "==> installing Celery and boto3 into $(BATCH_VENV)"
	$(call venv,$(SYSTEM_PYTHON))

test-batch: $(PLUGIN) $(BATCH_VENV)/ready ## many jobs on several workers: Celery with a real Redis that dies, S3, Kubernetes; as root, Slurm (some minutes)
	@scripts/install-packages.sh $(BATCH_PACKAGES)
	@echo "==> rendering while workers and Redis die"
	@$(GST_ENV) $(BATCH_VENV)/bin/python -m pytest -q -p no:cacheprovider batch
	@[ "$$(id -u)" -ne 0 ] || { scripts/install-packages.sh $(SLURM_PACKAGES) && $(GST_ENV) batch/tests/slurm.sh; }

test-web: $(PLUGIN) fixtures ## the page of lipsync serve in Chromium, as a person uses it, and its delays in real time (some minutes)
	@scripts/install-packages.sh $(WEB_PACKAGES)
	@scripts/release.sh test --package lipsync-cli --test browser -- --include-ignored --nocapture --test-threads 1
	@$(GST_ENV) $(VENV)/bin/python scripts/web/judge.py examples/sample.wav target/web/received.webm target/web/recorded.mp4

test-train: $(PLUGIN) ## a film of Theo to an avatar, with the real training (a quarter of an hour; MINUTES= of training; installs PyTorch, 3.2 GB)
	@$(GST_ENV) scripts/test-train.sh target/train $(or $(MINUTES),8)

test-arm64: $(PLUGIN) $(VENV)/ready ## build for ARM64, test the kernels and paint pictures there, emulated by qemu (SPOKEN= seconds of them)
	@scripts/arm64/prepare.sh $(ONNXRUNTIME)
	@scripts/arm64/test.sh $(SPOKEN)

test-deb: ## as root: the packages of make deb in fresh Debian 12 and 13: installed, speaking, purged (some minutes)
	@scripts/install-packages.sh $(DEB_TEST_PACKAGES)
	@scripts/deb/test.sh

test-deb-arm64: ## as root: the packages of make deb-arm64 in a fresh Debian 12 for ARM64, emulated by qemu (some minutes)
	@scripts/install-packages.sh $(DEB_TEST_PACKAGES)
	@ARCH=arm64 scripts/deb/test.sh

soak: runtime fixtures ## lipsyncsrc for a day of media time, and for 20 minutes of real time
	@echo "==> about 35 minutes; LIPSYNC_SOAK_HOURS and LIPSYNC_SOAK_MINUTES make it shorter"
	@scripts/release.sh test --test soak -- --ignored --nocapture --test-threads 1

faults: runtime fixtures ## lipsyncsrc through 200 random faults in an hour of media time (some minutes)
	@echo "==> LIPSYNC_FAULTS is how many, LIPSYNC_SEED which"
	@scripts/release.sh test --test faults -- --ignored --nocapture --test-threads 1

air: $(PLUGIN) $(VENV)/ready ## lipsyncsrc on air: RTMP, also while nginx is restarted, SRT, HLS in a browser, UDP (a quarter of an hour)
	@for way in rtmp restart srt hls udp; do scripts/on_air/$$way.sh || exit 1; done

obs: $(PLUGIN) $(VENV)/ready ## OBS Studio takes the presenter by UDP and by SRT, records, and its recordings are judged (four minutes)
	@for input in udp srt; do INPUT=$$input scripts/obs/obs.sh 60 || exit 1; done

lint: packages ## formatting, clippy, the core on its own, the shell scripts, licence lines
	@scripts/install-packages.sh $(LINT_PACKAGES)
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p lipsync-core --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace --lib
	shellcheck $$(git ls-files '*.sh')
	scripts/check-spdx.sh

$(VENV)/bench: benches/python/requirements.lock | $(VENV)/ready
	@$(PIP_INSTALL)
	@touch $@

bench: $(PLUGIN) $(VENV)/bench ## measure all targets beside the Python reference (a quarter of an hour; BEFORE= an older time_parts)
	@$(GST_ENV) $(VENV)/bin/python benches/python/targets.py $(if $(BEFORE),--before $(BEFORE))

bench-gpu: $(PLUGIN) $(VENV)/bench ## measure a GPU: PROVIDER=cuda (the default), tensorrt or another; needs CUDA and cuDNN (ten minutes)
	@scripts/fetch-onnxruntime.sh $(RUNTIME)-gpu $(ONNXRUNTIME_GPU) onnxruntime-gpu
	@$(GST_ENV) ORT_DYLIB_PATH=$${ORT_DYLIB_PATH:-$(CURDIR)/$(RUNTIME)-gpu/libonnxruntime.so} \
		$(VENV)/bin/python benches/python/gpu.py $(or $(PROVIDER),cuda)

parity: $(PLUGIN) $(VENV)/ready ## compare the pictures with the Python reference's (a quarter of an hour)
	@$(GST_ENV) $(VENV)/bin/python benches/python/parity.py

licences: ## check the licences of everything that is linked, and that it has no known vulnerabilities
	@command -v cargo-deny >/dev/null || { echo "==> installing cargo-deny"; cargo install --locked cargo-deny; }
	cargo deny check licenses bans sources
	@scripts/check-advisories.sh

fuzz: runtime ## feed what strangers might send to every fuzz target (fuzz/README.md): MINUTES= for each of them, 5 by default
	@fuzz/run.sh $(or $(MINUTES),5) $(TARGETS)

# Nothing is built here: root, who installs, often has no Rust.
install uninstall: export PREFIX := $(PREFIX)
install uninstall: export DESTDIR := $(DESTDIR)
install uninstall: export PLUGINDIR := $(PLUGINDIR)
install: ## install what make has built: PREFIX (default /usr/local), PLUGINDIR (default GStreamer's), DESTDIR
	@scripts/install.sh install

uninstall: ## remove what install put there
	@scripts/install.sh uninstall

$(PARTS_VENV)/ready: scripts/deb/requirements.lock | packages
	@echo "==> installing CycloneDX's library into $(PARTS_VENV)"
	$(call venv,python3)

deb: $(PLUGIN) $(PARTS_VENV)/ready ## Debian packages into target/packages, checked by lintian
	@scripts/install-packages.sh $(DEB_PACKAGES)
	@scripts/deb/build.sh deb
	@lintian --fail-on error target/packages/*.deb

deb-arm64: $(PARTS_VENV)/ready ## the same for ARM64 into target/packages-arm64, built on x86-64
	@scripts/install-packages.sh $(DEB_PACKAGES)
	@scripts/arm64/prepare.sh $(ONNXRUNTIME)
	@scripts/arm64/deb.sh
	@lintian --fail-on error target/packages-arm64/*.deb

tarball: $(PLUGIN) $(PARTS_VENV)/ready ## a tarball into target/packages that works wherever it is unpacked, and its test
	@scripts/deb/build.sh tarball
	@scripts/deb/test-tarball.sh

clean: ## remove everything built
	rm -rf target demo.mp4 demo.png
