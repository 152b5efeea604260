# The image of Countersign: authority, injector, init step and sidecar are the same one. `docker build .` needs nothing but this folder;
# `make image` builds it without a registry, on a base of Debian packages (tools/image.sh).
ARG BASE=docker.io/library/node:24-bookworm
FROM ${BASE} AS build
WORKDIR /src
RUN for tool in iptables nft ip setcap; do command -v $tool >/dev/null || missing=1; done; [ -n "$missing" ] || exit 0; \
    apt-get update && apt-get install -y --no-install-recommends iptables nftables iproute2 libcap2-bin ca-certificates
COPY . .
RUN tools/setup.sh native && .setup/node tools/bundle.ts && tools/image-root.sh /image

FROM scratch
COPY --from=build /image /
LABEL org.opencontainers.image.title="countersign" \
      org.opencontainers.image.description="Proven label identity on every TCP connection between Kubernetes pods" \
      org.opencontainers.image.licenses="Apache-2.0"
# Starting needs memory that running does not: a small young generation keeps it small (docs/cost.md tells what a pod pays).
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin
USER 14014:14014
WORKDIR /
ENTRYPOINT ["/usr/local/bin/node", "--disable-sigusr1", "--max-semi-space-size=1", "/opt/countersign/bundle/countersign.cjs"]
CMD ["--help"]
