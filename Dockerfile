# The reference shop, built with TLS to Kafka; the image runs any of its roles.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p sagamore-shop --features tls

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 sagamore
COPY --from=build /src/target/release/shop /usr/local/bin/shop
USER sagamore
EXPOSE 3000 3001 3002 3003 3004
ENTRYPOINT ["shop"]
CMD ["dev"]
