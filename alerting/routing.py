"""Writes a copy of alertmanager.yml with other addresses, and with receivers beside the pager.

Alertmanager expands no environment variables, and before 0.26 reads no webhook address from a file, so a
moved port needs a rendered file. The committed one is valid as it is, for the default ports.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ALERTING = Path(__file__).parent
COMMITTED = ALERTING / "alertmanager.yml"
RECEIVERS = ALERTING / "receivers"

DEFAULT_PAGER_URL = "http://127.0.0.1:9095"
DEFAULT_SECOND_CHANNEL_URL = "http://127.0.0.1:9097"
DEFAULT_SECRETS_DIR = "/run/secrets"

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class InvalidRouting(Exception):
    """An address or a receiver that cannot be used; the message names the variable or option."""


def render(
    out_dir: Path, *, pager_url: str, second_channel_url: str, environ: Mapping[str, str]
) -> Path:
    """Write out_dir/alertmanager.yml and return its path. Raises InvalidRouting.

    environ: SLACK_API_URL adds Slack (its value goes into a file of mode 0600 beside the configuration);
    ALERT_RECEIVERS, names of files in receivers/ with commas between, adds those; ALERT_SECRETS_DIR says
    where their secret files are.
    """
    secrets_dir = str(Path(environ.get("ALERT_SECRETS_DIR") or DEFAULT_SECRETS_DIR).absolute())
    wanted = dict.fromkeys(_names(environ.get("ALERT_RECEIVERS", "")), secrets_dir)
    slack_api_url = environ.get("SLACK_API_URL", "").strip()
    if slack_api_url:
        _require_safe_address("SLACK_API_URL", slack_api_url)
        wanted["slack"] = str(out_dir.resolve() / "secrets")

    addresses = {
        DEFAULT_PAGER_URL: _base("the pager's address", pager_url),
        DEFAULT_SECOND_CHANNEL_URL: _base("the second channel's address", second_channel_url),
    }
    config = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    for receiver in receivers.values():
        for webhook in receiver.get("webhook_configs", ()):
            base, _, path = webhook["url"].partition("/webhook/")
            webhook["url"] = f"{addresses[base]}/webhook/{path}"
    for name, secrets in wanted.items():
        for added in _receivers_of(name, secrets):
            receivers[added.pop("name")].update(added)

    out_dir.mkdir(parents=True, exist_ok=True)
    if slack_api_url:
        _write_secret(out_dir / "secrets" / "slack_api_url", slack_api_url)
    rendered = out_dir / "alertmanager.yml"
    rendered.write_text(
        "# Written by alerting/routing.py from alerting/alertmanager.yml; edit that one.\n"
        + yaml.safe_dump(config, sort_keys=False, width=120),
        encoding="utf-8",
    )
    return rendered


def available_receivers() -> list[str]:
    return sorted(path.stem for path in RECEIVERS.glob("*.yml"))


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in available_receivers():
            raise InvalidRouting(
                f"ALERT_RECEIVERS: there is no {name!r}, only {', '.join(available_receivers())}"
            )
    return names


def _receivers_of(name: str, secrets_dir: str) -> list[dict[str, Any]]:
    """The receivers of one file, with its secret files in another directory."""
    added: list[dict[str, Any]] = yaml.safe_load(
        (RECEIVERS / f"{name}.yml").read_text(encoding="utf-8")
    )
    for receiver in added:
        for kind, integrations in receiver.items():
            if kind == "name":
                continue
            for integration in integrations:
                for key in integration:
                    if key.endswith("_file"):
                        integration[key] = str(Path(secrets_dir) / Path(integration[key]).name)
    return added


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)


def _base(what: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise InvalidRouting(f"{what} must look like {DEFAULT_PAGER_URL}")
    return url.rstrip("/")


def _require_safe_address(what: str, url: str) -> None:
    parts = urlsplit(url)
    is_plain_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or is_plain_loopback):
        raise InvalidRouting(f"{what} must be an https:// address")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m alerting.routing", description=render.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write into")
    parser.add_argument("--pager-url", default=DEFAULT_PAGER_URL)
    parser.add_argument("--second-channel-url", default=DEFAULT_SECOND_CHANNEL_URL)
    given = parser.parse_args()
    try:
        rendered = render(
            given.out,
            pager_url=given.pager_url,
            second_channel_url=given.second_channel_url,
            environ=os.environ,
        )
    except (InvalidRouting, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(rendered)


if __name__ == "__main__":
    main()
