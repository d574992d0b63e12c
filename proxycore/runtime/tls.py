"""Loads the certificate for HTTPS."""

import ssl

from proxycore.runtime.settings import Settings, SettingsError


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The context for HTTPS, None for plain HTTP. Raises SettingsError when the files can't be used."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without this, OpenSSL would ask for a password on the terminal; there is no setting for one.
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise SettingsError(
            f"TLS_CERT_FILE, TLS_KEY_FILE: not a PEM certificate and its unencrypted key: {reason}"
        ) from error
    return context
