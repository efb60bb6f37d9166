.PHONY: try test soak crash bench lint

# See it here, in a minute. ARGS=--once ends by itself.
try:
	@tests/install-packages try
	@cargo build
	@target/debug/portreeve try $(ARGS)

# Prove it here: real systemd, power cuts and all.
test:
	tests/install-packages test
	cargo build
	tests/run

# Ten thousand schedules in memory, and a long life on a booted host, drawn by lot. PORTREEVE_SOAK=SEED repeats one, PORTREEVE_STEPS=N is another length.
soak:
	tests/install-packages test
	cargo build
	tests/run soak

# Every kill and every error, on a real kernel: hours. PORTREEVE_CRASH=20 takes every 20th point, PORTREEVE_CRASH=3/20 from the third on.
crash:
	tests/install-packages test
	cargo build
	tests/run crash

# Figures, as tables.
bench:
	cargo bench --bench '*'

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --quiet
	@if cargo deny --version >/dev/null 2>&1; then \
	    cargo deny --config .deny.toml check bans licenses sources; \
	else \
	    echo 'not checked: licences, bans and sources of dependencies; cargo install --locked cargo-deny'; \
	fi
