FROM python:3.13-slim

LABEL org.opencontainers.image.title="gemini-key-proxy" \
      org.opencontainers.image.description="A reverse proxy that spreads requests to the Google Gemini API over many keys" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0"

ENV PYTHONUNBUFFERED=1
WORKDIR /app

# /data is for a volume with the state file: a new volume gets the owner of the folder.
# Wheels only: no compiler is needed on amd64 or arm64, so a multi-stage build would save nothing.
COPY requirements.txt .
RUN pip install --no-cache-dir --only-binary=:all: -r requirements.txt \
 && useradd --no-create-home --no-log-init --uid 10001 gemini-key-proxy \
 && install -d -o 10001 /data

COPY server.py .
COPY proxycore proxycore
# COPY keeps file modes of the build host, where other users may have no read permission.
RUN chmod -R a+rX .

USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-m", "proxycore.runtime.healthcheck"]
# Arguments that are flags (--demo, --check) go to the program; anything else is run as a command.
ENTRYPOINT ["sh", "-c", "case \"$1\" in -*|'') exec python server.py \"$@\" ;; esac; exec \"$@\"", "sh"]
