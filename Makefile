# weir: `make help` lists the targets. Everything that is built lies in build/ (build/<variant>/ for other compilers and sanitizers).

CC      ?= gcc
PREFIX  ?= /usr/local
DESTDIR ?=
V       ?= 0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# SANITIZE=address,undefined or SANITIZE=thread, and CC=clang, build apart from the plain gcc build. Criterion cannot start under
# ThreadSanitizer (both want the same addresses): tests/tools/tsan/ stands in for it there.
SANITIZE ?=
comma    := ,
variant  := $(subst $(comma),-,$(SANITIZE))$(if $(filter clang%,$(notdir $(CC))),$(if $(SANITIZE),-)clang)
B        := build$(if $(variant),/$(variant))

PKGS     := libh2o-evloop libnghttp2 libcurl libprotobuf-c libzstd zlib snappy liblz4 yaml-0.1 jansson libssl libcrypto
WARN     := -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wwrite-strings -Wundef -Wimplicit-fallthrough -Wno-unused-parameter
OPT      ?= -O2
CFLAGS   ?= -g $(OPT) -fno-omit-frame-pointer -fstack-protector-strong -D_FORTIFY_SOURCE=$(if $(SANITIZE),0,2)
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -DH2O_USE_LIBUV=0 $(WARN) $(CFLAGS) -pthread -fPIE \
            $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all) \
            $(if $(findstring thread,$(SANITIZE)),-Itests/tools/tsan) -I. -I$(B)/gen $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
ALL_LDFLAGS := -pthread -pie -Wl,-z,relro,-z,now $(LDFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -llmdb -lm
Q        := $(if $(filter 0,$(V)),@)
say       = $(if $(filter 0,$(V)),@printf '  %-6s %s\n' '$(1)' '$(2)')
SCHEMA   := $(shell find proto/opentelemetry proto/google -name '*.proto' 2>/dev/null | sed 's,^proto/,,')
GEN_C    := $(SCHEMA:%.proto=$(B)/gen/%.pb-c.c)
GEN_H    := $(GEN_C:.c=.h)
src_objs  = $(patsubst %.c,$(B)/%.o,$(wildcard $(1)/*.c))
RELAY_O  := $(call src_objs,relay)
ARCHIVES := $(B)/libstorage.a $(B)/libnet.a $(B)/libproto.a
UNITS    := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(filter-out $(if $(findstring thread,$(SANITIZE)),\
            $(shell grep -v '^\#' tests/tools/tsan/skip)),$(wildcard tests/unit/test_*.c)))
BENCHES  := $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/bench_*.c))
FUZZERS  := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
TOOLS    := $(B)/weir-gen $(B)/weir-sink $(B)/weir-chaos
E2E_TOOLS := $(B)/tests/slow_fdatasync.so $(B)/tests/tools/lanes $(B)/tests/tools/fill
# The targets that `make help` lists. One that is asked for and has no rule is an error then, not "nothing to be done".
.PHONY: FORCE tools fuzz-run $(shell sed -nE 's/^([a-z0-9-]+):.*[#]{2} .*/\1/p' $(firstword $(MAKEFILE_LIST)))
.DEFAULT_GOAL := help
.SECONDARY:
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16
	@echo; echo 'Variables: CC=clang  SANITIZE=address,undefined  SANITIZE=thread  PREFIX=/usr/local  V=1'

all: $(B)/weir tools ## build weir and the test tools (after `make deps`)
tools: $(TOOLS)

deps: ## install the Debian packages that are missing (apt; sudo where not root)
	@tests/tools/deps.sh

# --- objects and archives -------------------------------------------------------------------------------------------
$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: proto/%.proto
	$(call say,PROTOC,$<)
	$(Q)mkdir -p $(B)/gen && protoc-c -Iproto --c_out=$(B)/gen $<
$(B)/gen/%.o: $(B)/gen/%.c | $(GEN_H)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
$(B)/%.o: %.c | $(GEN_H)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
# Compiled again when the version changes, and only then.
$(B)/version: FORCE
	$(Q)mkdir -p $(@D) && echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@
$(B)/relay/version.o: ALL_CFLAGS += -DWEIR_VERSION='"$(VERSION)"'
$(B)/relay/version.o: $(B)/version
$(B)/libproto.a: $(call src_objs,proto) $(GEN_C:.c=.o)
$(B)/libstorage.a: $(call src_objs,storage)
$(B)/libnet.a: $(call src_objs,net)
$(B)/librelay.a: $(filter-out $(B)/relay/main.o,$(RELAY_O))
$(B)/relay/status_page.o: relay/status.html
$(B)/lib%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

link = $(Q)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)
$(B)/weir: $(B)/relay/main.o $(B)/librelay.a $(ARCHIVES)
	$(call say,LINK,$@)
	$(link)
.SECONDEXPANSION:
$(TOOLS): $(B)/weir-%: $$(call src_objs,tests/tools/$$*) $$(call src_objs,tests/tools/common) $(ARCHIVES)
	$(call say,LINK,$@)
	$(link)
$(B)/tests/unit/test_%: $(B)/tests/unit/test_%.o $(B)/librelay.a $(ARCHIVES)
	$(call say,LINK,$@)
	$(link) $(if $(findstring thread,$(SANITIZE)),-lm,-lcriterion)
$(B)/tests/data/make_%: $(B)/tests/data/make_%.o $(B)/libstorage.a $(B)/libproto.a
	$(call say,LINK,$@)
	$(link)
$(B)/tests/unit/dump_%: $(B)/tests/unit/dump_%.o $(B)/libproto.a
	$(call say,LINK,$@)
	$(link)
$(B)/tests/bench/bench_%: $(B)/tests/bench/bench_%.o $(B)/librelay.a $(ARCHIVES)
	$(call say,LINK,$@)
	$(link)
$(B)/tests/tools/lanes $(B)/tests/tools/fill: %: %.o $(B)/tests/tools/common/emit.o $(B)/tests/tools/common/payload.o $(B)/libstorage.a $(B)/libproto.a
	$(call say,LINK,$@)
	$(link)
$(B)/tests/model/model: $(call src_objs,tests/model) $(B)/libstorage.a $(B)/libproto.a
$(B)/tests/sim/sim: $(call src_objs,tests/sim) $(B)/librelay.a $(ARCHIVES)
$(B)/tests/powercut/powercut: $(call src_objs,tests/powercut) $(B)/libstorage.a
$(B)/tests/model/model $(B)/tests/sim/sim $(B)/tests/powercut/powercut:
	$(call say,LINK,$@)
	$(link) -ldl
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/librelay.a $(ARCHIVES)
	$(call say,LINK,$@)
	$(link) -fsanitize=fuzzer

# --- checks ---------------------------------------------------------------------------------------------------------
layers: $(ARCHIVES) $(B)/librelay.a ## prove by nm that storage, net and proto do not reach across
	@tests/tools/layers.sh $(B)
unit: $(UNITS) ## build and run the unit tests
	@tests/tools/run-units.sh $(UNITS)
MODEL_SEQUENCES ?= 4000
model: $(B)/tests/model/model ## random sequences against the spool and a model of it: MODEL_SEQUENCES=4000 (minutes)
	@$(B)/tests/model/model self-test
	@MODEL_SEQUENCES=$(MODEL_SEQUENCES) $(B)/tests/model/model
model-test: $(B)/tests/model/model ## a short form of it, and that planted faults are found
	@$(B)/tests/model/model self-test
	@MODEL_SEQUENCES=60 $(B)/tests/model/model
sim: $(B)/tests/sim/sim ## ten thousand relays in front of one upstream, beside the Collector's, in virtual time: tests/sim/*.svg (a minute)
	@$< --out tests/sim
sim-test: $(B)/tests/sim/sim ## a short form of it
	@$< --short
schema-check: build/venv/.opentelemetry-proto-1.45.2 ## compare proto/'s schema with OTLP's official one (pip fetches it into build/venv)
	@build/venv/bin/python tests/unit/check_schema.py proto
JSON_REQUESTS ?= 300
json-check: $(B)/tests/unit/dump_otlp_json build/venv/.opentelemetry-proto-1.45.2 ## compare our OTLP/JSON with protobuf's own, on JSON_REQUESTS=300 random requests a signal
	@build/venv/bin/python tests/unit/check_otlp_json.py $< $(JSON_REQUESTS)
build/venv/.opentelemetry-proto-%:
	$(call say,VENV,opentelemetry-proto $*)
	$(Q)mkdir -p build && python3 -m venv build/venv && \
	  build/venv/bin/pip install -q --disable-pip-version-check opentelemetry-proto==$* && touch $@
FUZZ_SECONDS ?= 20
fuzz: ## run each fuzz target for FUZZ_SECONDS=20, with clang and sanitizers, from tests/fuzz/corpus
	@$(MAKE) --no-print-directory CC=clang SANITIZE=fuzzer-no-link,address,undefined B=build/fuzz fuzz-run
fuzz-run: $(FUZZERS); @tests/fuzz/run.sh $(B) $(FUZZ_SECONDS) $(FUZZERS)
e2e: $(B)/weir tools $(E2E_TOOLS) ## the real binaries against each other, in parallel (E2E="-k outage" for a part)
	@WEIR_BUILD=$(B) /usr/bin/python3 -m pytest -p no:cacheprovider -n 4 -q -rs $(E2E) tests/e2e
outage: E2E := -k "outage or kill"
outage: e2e ## the outage and kill -9 tests alone, with their figures
POWERCUT_CUTS ?= 10000
powercut: $(B)/tests/powercut/powercut ## POWERCUT_CUTS=10000 power cuts of a spool, and each lie about durability found (minutes)
	@$< --lies && $< $(POWERCUT_CUTS)
powercut-test: POWERCUT_CUTS := 500
powercut-test: powercut ## the same with 500 cuts
memory: export WEIR_TEST_BACKLOG_MIB ?= 512
memory: E2E := -k test_memory -n0
memory: e2e ## anonymous memory with a backlog of WEIR_TEST_BACKLOG_MIB=512, and a relay in a 64 MiB cgroup, with their figures
interop: $(B)/weir tools $(B)/tests/unit/dump_otlp_json ## real SDKs (JS, Python, Go, Rust), a Collector and a Prometheus around weir, item by item (fetched into build/interop)
	@WEIR_BUILD=$(B) tests/interop/run.sh
attacks: $(B)/weir tools ## hostile input: attacks on a relay beside honest senders, with what each cost (minutes; tests/ATTACKS.md)
	@WEIR_BUILD=$(B) /usr/bin/python3 tests/attacks/run.py $(ATTACKS)
attacks-test: ATTACKS := --short
attacks-test: attacks ## a short form of them
$(B)/tests/slow_fdatasync.so: tests/tools/slow_fdatasync.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -Wno-missing-prototypes -O2 -g -fPIC -shared -o $@ $<
k8s-check: ## render k8s/base and check it as far as the machine has the tools
	@/usr/bin/python3 tests/k8s/check.py $(B)
readme-check: $(B)/weir ## every key, metric, command and flag is in README.md, every rule of OTLP in tests/CONFORMANCE.md
	@tests/tools/readme-check.sh $(B)
	@tests/tools/conformance-check.sh
lint: export TIDY_FLAGS = $(ALL_CFLAGS)
lint: $(GEN_H) ## format, clang-tidy, shellcheck, yamllint; lists what is past our sizes
	@tests/tools/lint.sh $(B)
format: ## clang-format on all C
	clang-format -i $(shell find proto storage net relay tests -name '*.[ch]' -not -path '*/node_modules/*')
# Each step is a make of its own, since the first may install what this file asks pkg-config for.
TEST_STEPS := all layers schema-check json-check unit model-test sim-test powercut-test e2e attacks-test interop readme-check k8s-check
test: ## install what is missing, build, and run all tests
	@$(MAKE) --no-print-directory deps
	@set -e; for step in $(TEST_STEPS); do echo "== $$step"; $(MAKE) --no-print-directory -j$$(nproc) $$step; done
	@echo "test: all passed ($(TEST_STEPS))"

demo: ## a whole outage, end to end, and what became of every item (installs, builds, runs)
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@WEIR_BUILD=$(B) /usr/bin/python3 tests/demo/demo.py
run: $(B)/weir ## run weir here: make run UPSTREAM=http://127.0.0.1:4317 (its spool: build/spool)
	$(B)/weir run --upstream $(or $(UPSTREAM),http://127.0.0.1:14317) --spool build/spool
bench: $(B)/weir tools $(BENCHES) ## durable ingest and drain, beside the machine's own limits (minutes)
	@WEIR_BUILD=$(B) /usr/bin/python3 tests/bench/bench.py $(BENCH_FLAGS)
	@for b in walk json split spool drain backlog; do $(B)/tests/bench/bench_$$b || exit; done

# --- installation ---------------------------------------------------------------------------------------------------
install: $(B)/weir ## install weir and its systemd unit below PREFIX
	install -D -m 0755 $(B)/weir $(DESTDIR)$(PREFIX)/bin/weir
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,@PREFIX@,$(PREFIX),g' relay/weir.service.in >$(DESTDIR)$(PREFIX)/lib/systemd/system/weir.service
	install -D -m 0644 relay/weir.example.yaml $(DESTDIR)$(PREFIX)/share/doc/weir/weir.example.yaml
install-tools: tools ## install weir-gen, weir-sink and weir-chaos below PREFIX
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(TOOLS)
clean: ## remove build/
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
