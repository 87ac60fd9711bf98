"""Key pairs of clients, and what they sign with them (RFC 7523)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class KeyPair:
    """A key pair for ES256, RS256 or EdDSA."""

    def __init__(self, algorithm: str = "ES256", kid: str | None = "key-1", bits: int = 2048):
        self.algorithm = algorithm
        self.kid = kid
        if algorithm == "ES256":
            self._key = ec.generate_private_key(ec.SECP256R1())
        elif algorithm == "RS256":
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        else:
            self._key = ed25519.Ed25519PrivateKey.generate()

    @property
    def jwk(self) -> dict[str, str]:
        """The public half."""
        public = self._key.public_key()
        if self.algorithm == "ES256":
            point = public.public_numbers()
            made = {"kty": "EC", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)}
        elif self.algorithm == "RS256":
            made = {"kty": "RSA", "n": number(public.public_numbers().n), "e": number(public.public_numbers().e)}
        else:
            made = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
        return made | ({"kid": self.kid} if self.kid else {}) | {"alg": self.algorithm, "use": "sig"}

    @property
    def private_jwk(self) -> dict[str, str]:
        assert self.algorithm == "ES256"
        return self.jwk | {"d": number(self._key.private_numbers().private_value, 32)}

    @property
    def jwks(self) -> dict:
        return {"keys": [self.jwk]}

    def signature(self, message: bytes) -> bytes:
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self.algorithm == "RS256":
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(message)

    def sign(self, claims: dict, **header) -> str:
        """A compact JWS; a header member that is None is left out."""
        wanted = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"} | header
        text = json.dumps({name: value for name, value in wanted.items() if value is not None})
        return self.sign_text(text, json.dumps(claims))

    def sign_text(self, header: str, claims: str) -> str:
        message = f"{b64(header.encode())}.{b64(claims.encode())}"
        return f"{message}.{b64(self.signature(message.encode()))}"

    def assertion(self, client_id: str, audience: object, header: dict | None = None, **changes) -> str:
        """A right assertion, changed; a claim that is None is left out."""
        now = int(time.time())
        claims = {
            "iss": client_id, "sub": client_id, "aud": audience, "jti": secrets.token_urlsafe(16), "iat": now,
            "exp": now + 60,
        } | changes
        return self.sign({name: value for name, value in claims.items() if value is not None}, **(header or {}))

    def form(self, client_id: str, audience: object, header: dict | None = None, **changes) -> dict[str, str]:
        """What a client adds to a form that it signs for."""
        return {
            "client_assertion_type": TYPE,
            "client_assertion": self.assertion(client_id, audience, header, **changes),
        }


def signed_with_secret(secret: bytes, claims: dict, algorithm: str = "HS256") -> str:
    """A JWS of the family that anybody with the public key could make, if it were taken for a secret (K-08)."""
    message = f'{b64(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())}.{b64(json.dumps(claims).encode())}'
    return f"{message}.{b64(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"


def unsigned(claims: dict, algorithm: str = "none") -> str:
    return f'{b64(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())}.{b64(json.dumps(claims).encode())}.'
