"""JSON Web Tokens that nobody should accept, made from one that everybody does (facts B3, RFC 8725)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def part(value: dict | str | bytes) -> str:
    """A segment: an object as JSON, text or bytes as they are."""
    if isinstance(value, dict):
        value = json.dumps(value, separators=(",", ":"))
    return encoded(value.encode() if isinstance(value, str) else value)


def public_jwk(key: ec.EllipticCurvePrivateKey) -> dict:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC", "crv": "P-256", "x": encoded(numbers.x.to_bytes(32, "big")),
        "y": encoded(numbers.y.to_bytes(32, "big")),
    }


def es256(key: ec.EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return sign


def rs256(key: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    return lambda message: key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda message: hmac.digest(secret, message, hashlib.sha256)


def signed(header: dict | str | bytes, payload: dict | str | bytes, sign: Callable[[bytes], bytes]) -> str:
    """A compact JWS (RFC 7515 §7.1) with whatever header and payload."""
    text = f"{part(header)}.{part(payload)}"
    return f"{text}.{encoded(sign(text.encode()))}"


@dataclass
class Genuine:
    """A genuine token in its parts, with the public key that verifies it (an EC key of the issuer's JWKS)."""

    token: str
    jwk: dict

    def __post_init__(self) -> None:
        self.head, self.body, self.signature = self.token.split(".")
        self.header = json.loads(decoded(self.head))
        self.payload = json.loads(decoded(self.body))

    def pem(self) -> bytes:
        x, y = (int.from_bytes(decoded(self.jwk[name]), "big") for name in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def forgeries(genuine: Genuine, trap: str = "http://127.0.0.1:9/keys") -> dict[str, str]:
    """Bad tokens by what is wrong with them. `trap` is the address of keys that nobody may fetch."""
    mine = ec.generate_private_key(ec.SECP256R1())
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header, payload = genuine.header, genuine.payload
    raw = decoded(genuine.signature)

    def resigned(**changes) -> str:
        return signed({name: value for name, value in (header | changes).items() if value is not None}, payload,
                      es256(mine))

    def unsigned(algorithm: str) -> str:
        return signed(header | {"alg": algorithm}, payload, lambda _: b"")

    def tampered(**changes) -> str:
        return f"{genuine.head}.{part(payload | changes)}.{genuine.signature}"

    made = {
        "no signature": f"{genuine.head}.{genuine.body}.",
        "two parts": f"{genuine.head}.{genuine.body}",
        "four parts": genuine.token + ".AAAA",
        "first letter of the signature changed":
            f"{genuine.head}.{genuine.body}.{'A' if genuine.signature[0] != 'A' else 'B'}{genuine.signature[1:]}",
        "signature cut": f"{genuine.head}.{genuine.body}.{encoded(raw[:-1])}",
        "signature of zeros": f"{genuine.head}.{genuine.body}.{encoded(bytes(64))}",
        "signature longer": f"{genuine.head}.{genuine.body}.{encoded(raw + bytes(1))}",
        "signature in DER": signed(header, payload, lambda text: mine.sign(text, ec.ECDSA(hashes.SHA256()))),
        "alg none": unsigned("none"), "alg None": unsigned("None"), "alg nOnE": unsigned("nOnE"),
        "alg empty": unsigned(""), "no alg": signed({"typ": "at+jwt"}, payload, es256(mine)),
        "HS256 over the public key as PEM": signed(header | {"alg": "HS256"}, payload, hs256(genuine.pem())),
        "HS256 over the public key as JWK":
            signed(header | {"alg": "HS256"}, payload, hs256(json.dumps(genuine.jwk).encode())),
        "HS256 over nothing": signed(header | {"alg": "HS256"}, payload, hs256(b"")),
        "RS256 of another key": signed(header | {"alg": "RS256"}, payload, rs256(other)),
        "another key under the same kid": resigned(),
        "another key, no kid": resigned(kid=None),
        "another key sent along": resigned(jwk=public_jwk(mine)),
        "another key by jku": resigned(jku=trap),
        "another key by x5u": resigned(x5u=trap),
        "another key by x5c": resigned(x5c=[encoded(genuine.pem())]),
        "kid as a path": resigned(kid="../../../../dev/null"),
        "kid as SQL": resigned(kid="' OR 1=1 --"),
        "kid as a URL": resigned(kid=trap),
        "kid of 10 KB": resigned(kid="k" * 10_240) if len(genuine.token) < 2000 else resigned(kid="k" * 4096),
        "unknown crit": resigned(crit=["x"], x=True),
        "scope widened": tampered(scope="read write admin"),
        "another person": tampered(sub="usr_00000000000000000000000000"),
        "another organization": tampered(org_id="org_00000000000000000000000000"),
        "a longer life": tampered(exp=payload["exp"] + 86_400),
        "another audience": tampered(aud="https://elsewhere.example/mcp"),
        "no expiry": f"{genuine.head}.{part({k: v for k, v in payload.items() if k != 'exp'})}.{genuine.signature}",
        "members twice": signed(header, '{"aud":"x",' + json.dumps(payload)[1:], es256(mine)),
        "no JSON": signed(header, "hello", es256(mine)),
        "deep nesting": signed(header, "[" * 2000, es256(mine)),
        "encrypted (JWE)": f"{part({'alg': 'dir', 'enc': 'A128GCM', 'zip': 'DEF'})}..AAAA.AAAA.AAAA",
        "not base64url": f"{genuine.head}.{genuine.body}!.{genuine.signature}",
        "no token": "x",
        "three dots": "...",
    }
    assert genuine.token not in made.values()
    return made
