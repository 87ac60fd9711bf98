"""Proofs of possession (RFC 9449 §4), right ones and every kind of wrong one."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey, OKPKey, RSAKey


def encoded(value: bytes | dict) -> str:
    data = json.dumps(value).encode() if isinstance(value, dict) else value
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Prover:
    """Somebody who holds a key, and remembers the nonce a server gave."""

    def __init__(self, algorithm: str = "ES256"):
        self.algorithm = algorithm
        make = {
            "ES256": lambda: ECKey.generate_key("P-256", private=True),
            "RS256": lambda: RSAKey.generate_key(2048, private=True),
            "EdDSA": lambda: OKPKey.generate_key("Ed25519", private=True),
        }
        self.key = make[algorithm]()
        self.nonce: str | None = None

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        return self.key.thumbprint()

    @property
    def public(self) -> dict:
        return {name: value for name, value in self.key.as_dict(private=False).items() if name != "kid"}

    def proof(
        self, url: str, method: str = "POST", token: str | None = None, header: dict | None = None, **claims
    ) -> str:
        """A proof for a request; `header` and `claims` change it, and None leaves a member out."""
        head = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.public} | (header or {})
        body = {"jti": secrets.token_urlsafe(12), "htm": method, "htu": url, "iat": int(time.time())}
        if self.nonce:
            body["nonce"] = self.nonce
        if token:
            body["ath"] = encoded(hashlib.sha256(token.encode()).digest())
        body |= claims
        head, body = ({name: value for name, value in part.items() if value is not None} for part in (head, body))
        signed = f"{encoded(head)}.{encoded(body)}"
        return f"{signed}.{encoded(self.signature(signed.encode()))}"

    def signature(self, message: bytes) -> bytes:
        key = self.key.private_key
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return key.sign(message, PKCS1v15(), SHA256()) if self.algorithm == "RS256" else key.sign(message)

    def send(self, post, url: str, **changes):
        """Sends with a proof, and once more when the server asks for its nonce; `post` takes headers."""
        for _ in range(2):
            reply = post({"dpop": self.proof(url, **changes)})
            self.nonce = reply.headers.get("dpop-nonce", self.nonce)
            challenge = reply.headers.get("www-authenticate", "")
            if "use_dpop_nonce" not in challenge and (
                not reply.content or not reply.headers["content-type"].startswith("application/json")
                or reply.json().get("error") != "use_dpop_nonce"
            ):
                break
        return reply
