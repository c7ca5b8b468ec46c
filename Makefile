# What is done with this project, a target each. `make demo` and `make test` are all a newcomer needs.

CARGO ?= cargo
PIPELINE = target/release/pipeline
DEMO = demo

.PHONY: demo build test check fmt clippy doc test-ci test-slow bench fixtures fuzz clean

# Builds the release binary, processes a real file, restores it, compares, and reads from the middle.
demo: build
	@mkdir -p $(DEMO)
	@echo "== a real file: the Rust compiler's own library folder, as a tar"
	tar -chf $(DEMO)/in.tar -C "$$(rustc --print sysroot)" lib
	@echo "== compress it on all cores"
	$(PIPELINE) process $(DEMO)/in.tar $(DEMO)/in.tar.zst --channel-depth=4 --force
	@echo "== bring it back on all cores, and compare"
	$(PIPELINE) restore $(DEMO)/in.tar.zst $(DEMO)/back.tar --force
	cmp $(DEMO)/in.tar $(DEMO)/back.tar
	@echo "== read 64 bytes from the middle: one frame is decoded"
	$(PIPELINE) cat $(DEMO)/in.tar.zst --range 100M..+64 --stats text | od -A d -c | head -4
	@echo "== same bytes, all done; 'make clean' removes $(DEMO)/"

build:
	$(CARGO) build --release --locked

# The whole test suite.
test:
	$(CARGO) test --locked

# What has to hold before a commit.
check: fmt clippy test doc

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- --deny warnings

doc:
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --no-deps

# A bounded slice of what takes longer: a file of a gigabyte through both engines and stock zstd; and that the fuzz targets compile.
test-ci: build
	bash tests/slow/gigabyte.sh $(PIPELINE)
	cd fuzz && $(CARGO) check --quiet --locked --bins --examples

# Everything there is, in full: every system call made to fail in every way, hundreds of kills and power cuts, an input of 100 GB in
# 64 MiB of memory, files of more than 4 GiB, tens of thousands of runs with delays. About an hour; wants root and strace.
test-slow: test-ci
	PIPELINE_TESTS=slow $(CARGO) test --locked --no-fail-fast -- --nocapture
	bash tests/slow/peers.sh

# The ladder: codec alone, the engine with an empty step, the whole, both engines.
bench:
	$(CARGO) bench --locked

fixtures:
	$(CARGO) run --locked --example fixtures

# Fuzzes every target for FUZZ_SECONDS, or the one that TARGET names; fuzz/README.md tells what each claims.
FUZZ_SECONDS ?= 60
TARGET ?= header armor keys segments frame_scanner seek_table finder reorder range salvage restore

# libFuzzer needs counters at every edge and a look at every comparison. cargo-fuzz gets them with flags of the nightly compiler; LLVM's
# pass is in the stable one too, and so is all it needs but for the address sanitizer, which code without `unsafe` can do without.
# These take the place of .cargo/config.toml's flags, so its one is repeated.
FUZZ_RUSTFLAGS = --cfg chacha20_avx512 -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

fuzz:
	cd fuzz && $(CARGO) run --quiet --locked --example seeds
	@failed=; for target in $(TARGET); do \
		RUSTFLAGS="$(FUZZ_RUSTFLAGS)" bash fuzz/run.sh $$target $(FUZZ_SECONDS) || failed="$$failed $$target"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

clean:
	$(CARGO) clean
	rm -rf $(DEMO)
