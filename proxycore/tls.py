"""The certificate that HTTPS is served with."""

import ssl

from proxycore.settings import Settings, SettingsError


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What HTTPS is served with, None for plain HTTP. Raises SettingsError when the files are no use."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # A password would be asked for on the terminal; there is no setting for one.
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise SettingsError(
            f"TLS_CERT_FILE, TLS_KEY_FILE: not a PEM certificate and its unencrypted key: {reason}"
        ) from error
    return context
