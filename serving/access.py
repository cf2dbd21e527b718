"""How the service is reached: address, keys, TLS and the form of its log; said on the command line, read by workers."""

import ipaddress
import os
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from serving.keys import read_keys
from serving.logs import Format

KEYS, LOG_FORMAT, LIMITS = "RECSYS_KEYS", "RECSYS_LOG_FORMAT", "RECSYS_LIMITS"
"""Environment variables of a worker: the file of keys, the form of the log, the file that counts requests by key."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption alone; TLS 1.3 has no others."""


@dataclass(frozen=True)
class Access:
    """Who may come in, and how."""

    host: str = "127.0.0.1"
    port: int = 3000
    keys: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_format: Format = "text"

    def check(self) -> None:
        """ConfigError unless the address is safe to open and every file can be used."""
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            right = "not an IP address; write 127.0.0.1, or 0.0.0.0 for every address"
            raise ConfigError(f"--host {self.host}: {right}") from None
        if self.keys is not None:
            read_keys(self.keys)
        elif not loopback:
            right = "opens the service to others, and nobody has a key; add --keys FILE (recsys keys add FILE NAME)"
            raise ConfigError(f"--host {self.host}: {right}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert and --tls-key go together; give both, or none")
        if self.tls_cert is not None and self.tls_key is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.tls_cert, self.tls_key)
            except (OSError, ssl.SSLError) as error:
                reason = error.strerror or "not a certificate in PEM form and the key that belongs to it"
                raise ConfigError(f"--tls-cert {self.tls_cert} --tls-key {self.tls_key}: {reason}") from None

    @property
    def url(self) -> str:
        """What callers open."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"

    def say(self) -> None:
        """Tell whoever starts it who may come in."""
        if self.keys is None:
            said = "No keys: every process of this machine may ask for everything, and no one from elsewhere"
        else:
            said = f"Keys of {self.keys}; a change there counts within a second"
        print(said, file=sys.stderr, flush=True)

    def to_environment(self, home: str) -> None:
        """Tell the workers; `home` is the directory of this run."""
        for name, value in ((KEYS, self.keys and str(self.keys.resolve())), (LOG_FORMAT, self.log_format)):
            os.environ.pop(name, None)
            if value:
                os.environ[name] = value
        os.environ[LIMITS] = str(Path(home) / "limits")

    def for_server(self) -> dict[str, Any]:
        """TLS as BentoML passes it on: certificate and key, ciphers; Python's floor is TLS 1.2."""
        if self.tls_cert is None or self.tls_key is None:
            return {}
        files = {"ssl_certfile": str(self.tls_cert.resolve()), "ssl_keyfile": str(self.tls_key.resolve())}
        return {**files, "ssl_version": int(ssl.PROTOCOL_TLS_SERVER), "ssl_ciphers": CIPHERS}
