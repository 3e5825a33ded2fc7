# The gateway's image. Every instruction works with BuildKit and with the older builder.
# The patch level is a promise: 26.12.1 carries the security fixes of October 2026.
ARG NODE_IMAGE=node:26.12.1-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
LABEL org.opencontainers.image.title=llm-api-gateway
WORKDIR /app
COPY package.json package-lock.json ./
# Optional packages hold the Node of development machines: it would hide the one of this image.
RUN npm ci --omit=dev --omit=optional --no-audit --no-fund --loglevel=error \
 && find node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -type f -delete \
 && find node_modules -iname '*.md' ! -iname 'licen*' ! -iname 'notice*' -type f -delete \
 && find node_modules -type d \( -name test -o -name tests -o -name benchmark -o -name benchmarks \) -prune -exec rm -rf {} + \
 && rm -rf node_modules/gpt-tokenizer/src node_modules/gpt-tokenizer/data node_modules/gpt-tokenizer/cjs

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title=llm-api-gateway
# curl: for the healthcheck and for the operator's own questions from inside.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
WORKDIR /app
# Folders that a mount or volume takes over are the user's own, so that a fresh one is too.
RUN mkdir -p src/db src/logs node_modules/.cache/node /var/spool/gateway /var/lib/certificates \
 && chown node:node src/db src/logs node_modules/.cache/node /var/spool/gateway /var/lib/certificates \
 && chmod 700 src/db src/logs /var/spool/gateway /var/lib/certificates
ENV TMPDIR=/var/spool/gateway
# Large buffers go back to the system when they are freed: left to itself the allocator raises this at each of them.
ENV MALLOC_MMAP_THRESHOLD_=131072
COPY --from=dependencies /app/node_modules ./node_modules
# The user's own, since a clone made under a strict umask may be read by its owner alone.
COPY --chown=node:node package.json ./
COPY --chown=node:node scripts ./scripts
COPY --chown=node:node src ./src
USER node
# Compiled once here, by a first start: the root file system is read-only when the container runs. Same flags as below, or
# V8 ignores it.
RUN PORT=0 DB_DIR=/tmp/first/db LOG_DIR=/tmp/first/logs node --max-semi-space-size=16 --initial-old-space-size=128 --no-allocation-site-pretenuring --input-type=module -e "\
await import('/app/src/server.js'); \
await import('/app/src/stores/redis/store.ts'); \
setTimeout(() => process.kill(process.pid, 'SIGTERM'), 1000)" > /dev/null \
 && rm -rf /tmp/first
EXPOSE 8088
# The port as the gateway reads it: "docker run --env-file" leaves quotes and comments in it, Kubernetes sets it to tcp://...
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
  CMD port=$(printf %s "${PORT:-$API_GATEWAY_PORT}" | sed "s/^[\"' ]*\([0-9]*\).*/\1/"); curl -fsS -o /dev/null "http://127.0.0.1:${port:-8088}/health"
# The command of "npm start", without npm as a second process.
CMD ["node", "--max-semi-space-size=16", "--initial-old-space-size=128", "--no-allocation-site-pretenuring", "src/server.js"]
