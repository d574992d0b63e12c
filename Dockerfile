FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1
WORKDIR /app

# Wheels only: no compiler is needed on amd64 or arm64, so a second stage would save nothing.
COPY requirements.txt .
RUN pip install --no-cache-dir --only-binary=:all: -r requirements.txt \
 && useradd --system --no-create-home --uid 10001 proxy

COPY server.py .
COPY proxycore proxycore

USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-m", "proxycore.healthcheck"]
CMD ["python", "server.py"]
