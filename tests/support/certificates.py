"""Certificates of a made-up authority, good ones and such as an attacker or a careless operator has."""

import datetime
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "api.upstream.example"
_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Template:
    """What is to be in a certificate; a name of digits and dots is an IP address."""

    names: tuple[str, ...] = (NAME,)
    common_name: str = "a made-up certificate"
    begins: datetime.datetime = _NOW - _DAY
    ends: datetime.datetime = _NOW + _DAY
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH
    authority: bool = False
    path_length: int | None = None
    only_below: str | None = None
    """The only domain that an authority may sign for."""

    def of_authority(self, name: str) -> Self:
        return replace(self, names=(), common_name=name, purpose=None, authority=True)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key; `issuer` None: it is signed by itself."""

    template: Template
    issuer: "Certificate | None" = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.template.common_name)])

    @cached_property
    def signed(self) -> x509.Certificate:
        """The certificate itself."""
        template, issuer = self.template, self.issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(template.begins)
            .not_valid_after(template.ends)
            .add_extension(x509.BasicConstraints(template.authority, template.path_length), critical=True)
        )
        if template.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(_names(template)), critical=False)
        if template.purpose:
            builder = builder.add_extension(x509.ExtendedKeyUsage([template.purpose]), critical=False)
        if template.only_below:
            permitted = [x509.DNSName(template.only_below)]
            builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
        return builder.sign(issuer.key, hashes.SHA256())

    def issue(self, template: Template) -> "Certificate":
        """A certificate that this one signs, whether it may or not."""
        return Certificate(template, self)

    @property
    def pem(self) -> bytes:
        return self.signed.public_bytes(Encoding.PEM)

    @property
    def chain(self) -> bytes:
        """This certificate and those above it, less the last, which is the root."""
        return self.pem + (self.issuer.chain if self.issuer and self.issuer.issuer else b"")

    def context(self, *, chain: bool = True) -> ssl.SSLContext:
        """A server's; without `chain` it sends its own certificate only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.pem"
            path.write_bytes(key + (self.chain if chain else self.pem))
            context.load_cert_chain(path)
        return context


def _names(template: Template) -> list[x509.GeneralName]:
    return [
        x509.IPAddress(ipaddress.ip_address(name)) if name.replace(".", "").isdigit() else x509.DNSName(name)
        for name in template.names
    ]


GOOD = Template()
ROOT = Certificate(GOOD.of_authority("the root"))


def hostile() -> dict[str, ssl.SSLContext]:
    """Servers that cannot prove that they are `NAME`."""
    issue = ROOT.issue
    stranger = Certificate(GOOD.of_authority("the root"))  # the same name, another key
    intermediate = issue(GOOD.of_authority("an intermediate"))
    leaf = issue(replace(GOOD, common_name="a leaf"))
    short = issue(replace(GOOD.of_authority("a short one"), path_length=0))
    narrow = issue(replace(GOOD.of_authority("a narrow one"), only_below="other.example"))
    old = issue(replace(GOOD.of_authority("an old one"), begins=_NOW - 3 * _DAY, ends=_NOW - _DAY))
    certificates = {
        "expired": issue(replace(GOOD, begins=_NOW - 3 * _DAY, ends=_NOW - _DAY)),
        "not yet valid": issue(replace(GOOD, begins=_NOW + _DAY, ends=_NOW + 3 * _DAY)),
        "of another host": issue(replace(GOOD, names=("evil.example",))),
        "of the domain above": issue(replace(GOOD, names=("upstream.example",))),
        "of a host below": issue(replace(GOOD, names=(f"x.{NAME}",))),
        "of an address": issue(replace(GOOD, names=("127.0.0.1",))),
        "without a name": issue(replace(GOOD, names=())),
        "with its name in CN only": issue(replace(GOOD, names=(), common_name=NAME)),
        "with its name in CN, another beside": issue(replace(GOOD, names=("a.example",), common_name=NAME)),
        "a wildcard for two labels": issue(replace(GOOD, names=("*.example",))),
        "a wildcard for all": issue(replace(GOOD, names=("*",))),
        "a wildcard below": issue(replace(GOOD, names=(f"*.{NAME}",))),
        "a wildcard inside": issue(replace(GOOD, names=("api.*.example",))),
        "with NUL in its name": issue(replace(GOOD, names=(f"{NAME}\0.evil.example",))),
        "of an unknown authority": Certificate(GOOD.of_authority("another root")).issue(GOOD),
        "of an authority of the same name": stranger.issue(GOOD),
        "signed by itself": Certificate(replace(GOOD, common_name=NAME)),
        "signed by a certificate that may not sign": leaf.issue(GOOD),
        "signed by an authority that is too deep": short.issue(GOOD.of_authority("a deep one")).issue(GOOD),
        "signed by an authority for other names": narrow.issue(GOOD),
        "signed by an expired authority": old.issue(GOOD),
        "for clients": issue(replace(GOOD, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)),
        "for mail": issue(replace(GOOD, purpose=ExtendedKeyUsageOID.EMAIL_PROTECTION)),
    }
    contexts = {name: certificate.context() for name, certificate in certificates.items()}
    return contexts | {"without its intermediate": intermediate.issue(GOOD).context(chain=False)}


def valid() -> dict[str, ssl.SSLContext]:
    """Servers that can."""
    intermediate = ROOT.issue(GOOD.of_authority("an intermediate"))
    certificates = {
        "of the root": ROOT.issue(GOOD),
        "of an intermediate": intermediate.issue(GOOD),
        "of two intermediates": intermediate.issue(GOOD.of_authority("a second")).issue(GOOD),
        "a wildcard": ROOT.issue(replace(GOOD, names=("*.upstream.example",))),
        "one of several names": ROOT.issue(replace(GOOD, names=("a.example", NAME, "127.0.0.1"))),
        "a name in capitals": ROOT.issue(replace(GOOD, names=(NAME.upper(),))),
        "without a purpose": ROOT.issue(replace(GOOD, purpose=None)),
    }
    return {name: certificate.context() for name, certificate in certificates.items()}
