# The image that manifests/base runs: one static-enough binary, no shell needed, not root.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin hirl

FROM debian:12-slim
# CA certificates for a Prometheus behind a public CA.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/hirl /usr/local/bin/hirl
USER 65532:65532
ENTRYPOINT ["hirl"]
CMD ["serve"]
