"""Makes the signed images in this folder: `python make.py`, with the packages c2pa-python, cryptography and Pillow."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

START = datetime.datetime(2026, 1, 1)
CREATED = {"action": "c2pa.created", "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"}
MANIFEST = {
    "claim_generator_info": [{"name": "test", "version": "1"}],
    "title": "fox",
    "assertions": [{"label": "c2pa.actions", "data": {"actions": [CREATED]}}],
}


def name(text: str) -> x509.Name:
    """Return a certificate's name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test")])


def certificate(subject: str, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
    """Return a certificate as PEM."""
    builder = x509.CertificateBuilder(name("test ca"), name(subject), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(START).not_valid_after(START + datetime.timedelta(days=36_500))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    builder = builder.add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(issuer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def main() -> None:
    """Write signed.png, signed.jpg and signed.webp."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = certificate("test signer", key, authority, ca=False) + certificate("test ca", authority, authority, ca=True)

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    signer = c2pa.Signer.from_callback(sign, c2pa.C2paSigningAlg.ES256, chain.decode(), None)
    context = c2pa.Context(settings=c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
    image = Image.radial_gradient("L").resize((24, 16)).convert("RGB")
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")):
        source, target = io.BytesIO(), io.BytesIO()
        image.save(source, kind)
        source.seek(0)
        c2pa.Builder(json.dumps(MANIFEST), context=context).sign(signer, f"image/{kind.lower()}", source, target)
        Path(__file__).with_name(f"signed.{suffix}").write_bytes(target.getvalue())


if __name__ == "__main__":
    main()
