# What is done with this project, a target each. `make demo` and `make test` are all a newcomer needs.

CARGO ?= cargo
PIPELINE = target/release/pipeline
DEMO = demo

# Where `make install` puts things; DESTDIR goes in front of it for whoever packs.
PREFIX ?= /usr/local
# Man pages and completions, as the program writes them.
PAGES = target/pages
STATIC = $(shell uname -m)-unknown-linux-musl

# The same source gives the same bytes: no folder of this machine gets into the program, and no time but the last commit's into a
# package. In the program times of files would stand, those of a dependency's messages; it takes a constant in their place, since
# whatever changes here builds libzstd anew.
REPRODUCIBLE = --config 'build.rustflags = ["--remap-path-prefix=$(CURDIR)=pipeline", \
	"--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo"]'
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2> /dev/null || stat -c %Y CHANGELOG.md)

.PHONY: demo build test check fmt clippy library doc test-ci test-slow bench fixtures fuzz clean
.PHONY: pages install uninstall deb static third-party

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
	SOURCE_DATE_EPOCH=0 $(CARGO) build --release --locked $(REPRODUCIBLE)

# Binary, man pages and completions. Builds nothing where there is a binary already, so that root needs no compiler.
install: pages
	install -D -m 755 $(PIPELINE) $(DESTDIR)$(PREFIX)/bin/pipeline
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(PAGES)/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -D -m 644 $(PAGES)/pipeline.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/pipeline
	install -D -m 644 $(PAGES)/_pipeline $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_pipeline
	install -D -m 644 $(PAGES)/pipeline.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/pipeline.fish

uninstall:
	cd $(DESTDIR)$(PREFIX) && rm -f bin/pipeline share/man/man1/pipeline.1 share/man/man1/pipeline-*.1 \
		share/bash-completion/completions/pipeline share/zsh/site-functions/_pipeline share/fish/vendor_completions.d/pipeline.fish

pages: $(PAGES)/pipeline.1

$(PAGES)/pipeline.1: $(PIPELINE)
	rm -rf $(PAGES) $(PAGES).new
	$(PIPELINE) man $(PAGES).new
	$(PIPELINE) completions bash > $(PAGES).new/pipeline.bash
	$(PIPELINE) completions zsh > $(PAGES).new/_pipeline
	$(PIPELINE) completions fish > $(PAGES).new/pipeline.fish
	mv $(PAGES).new $(PAGES)

$(PIPELINE):
	$(MAKE) build

# target/debian/pipeline_VERSION_ARCH.deb, of the binary that `make build` makes. Wants cargo-deb.
deb: build
	$(MAKE) pages
	bash packages/third-party.sh --texts > target/licences
	rm -rf target/debian
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(CARGO) deb --no-build --locked

# A binary that needs no library of the system.
static:
	@test -d "$$(rustc --print sysroot)/lib/rustlib/$(STATIC)" || \
		{ echo "make static: Rust's target is missing: rustup target add $(STATIC)" >&2; exit 1; }
	@command -v musl-gcc > /dev/null || \
		{ echo "make static: a C compiler for musl is missing, musl-gcc; Debian has it in musl-tools" >&2; exit 1; }
	SOURCE_DATE_EPOCH=0 $(CARGO) build --release --locked --target $(STATIC) $(REPRODUCIBLE)
	@echo "target/$(STATIC)/release/pipeline"

# The licences of all that Cargo.lock names.
third-party:
	bash packages/third-party.sh > target/third-party.md
	mv target/third-party.md THIRD-PARTY.md

# The whole test suite, and at its end what could not run.
test:
	CARGO=$(CARGO) bash tests/run.sh

# What has to hold before a commit.
check: fmt clippy library test doc

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- --deny warnings

# The library without the program, and so without what only that needs.
library:
	$(CARGO) check --locked --lib --no-default-features

doc:
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --no-deps

# A bounded slice of what takes longer: a file of a gigabyte through both engines and stock zstd; and that the fuzz targets compile.
test-ci: build
	bash tests/slow/gigabyte.sh $(PIPELINE)
	cd fuzz && $(CARGO) check --quiet --locked --bins --examples

# Everything there is, in full: every system call made to fail in every way, hundreds of kills and power cuts, an input of 100 GB in
# 64 MiB of memory, files of more than 4 GiB, tens of thousands of runs with delays. About an hour; wants root and strace.
test-slow: test-ci
	PIPELINE_TESTS=slow CARGO=$(CARGO) bash tests/run.sh --no-fail-fast
	bash tests/slow/peers.sh

# The ladder: codec alone, the engine with an empty step, the whole, both engines.
bench:
	$(CARGO) bench --locked

fixtures:
	$(CARGO) run --locked --example fixtures

# Fuzzes every target for FUZZ_SECONDS, or the one that TARGET names; fuzz/README.md tells what each claims.
FUZZ_SECONDS ?= 60
TARGET ?= header armor keys segments frame_scanner seek_table finder reorder range salvage restore journal

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
