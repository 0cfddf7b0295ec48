"""Mail on a running platform: servers that are away, settings that are wrong, and a service alone."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands import mercato, serving
from tests.mail_server import PASSWORD, USER, mail_server
from tests.modes import OWN_PROCESSES
from tests.running import Platform, Shopper, free_port, open_store
from tests.waiting import until

NOTIFICATIONS = "/api/v1/notifications"


async def until_status(shop: Shopper, status: str, count: int) -> list[dict[str, Any]]:
    """Wait until so many notifications have the status; return them."""
    deadline = time.monotonic() + 20
    while True:
        found: list[dict[str, Any]] = (await shop.get(f"{NOTIFICATIONS}?status={status}")).data
        if len(found) == count:
            return found
        assert time.monotonic() < deadline, (await shop.get(NOTIFICATIONS)).data
        await asyncio.sleep(0.02)


async def test_mails_wait_for_a_server_that_is_away_and_orders_do_not(own_platform: Platform) -> None:
    port = free_port()
    own_platform.environ |= {
        "MERCATO_MAIL_SENDER": "smtp",
        "MERCATO_MAIL_FROM": "no-reply@mail.example",
        "MERCATO_MAIL_RETRY": "0.2",
        "MERCATO_SMTP_HOST": "127.0.0.1",
        "MERCATO_SMTP_PORT": str(port),
        "MERCATO_SMTP_TLS": "none",
        "MERCATO_SMTP_USER": USER,
        "MERCATO_SMTP_PASSWORD": PASSWORD,
    }
    own_platform.start()
    store = await open_store(own_platform, "waiting")
    async with own_platform.client(store.admin) as shop:

        async def have_failed() -> bool:
            told = (await shop.get(NOTIFICATIONS)).data
            return len(told) == 2 and all(each["reason"] for each in told)

        await until(have_failed)
        async with mail_server(auth=True, port=port) as server:
            sent = await until_status(shop, "sent", 2)
            assert {each["Message-ID"] for each in server.taken} == {
                f"<{each['id']}.1@mail.example>" for each in sent
            }
            assert {each["attempts"] for each in sent} != {1}
        async with own_platform.client(at="notifications") as process:
            metrics = (await process.get("/metrics")).body.decode()
        assert 'mercato_notifications{status="failed"} 0.0' in metrics
        assert (await shop.get("/api/v1/mailbox")).data == []
    assert own_platform.stop() == 0
    assert PASSWORD not in own_platform.log() + metrics


@OWN_PROCESSES
@pytest.mark.parametrize(
    "variables, told",
    [
        ({}, "MERCATO_SMTP_HOST is not set, which MERCATO_MAIL_SENDER=smtp needs."),
        (
            {"MERCATO_SMTP_HOST": "mail.example"},
            "MERCATO_MAIL_FROM is not set, which MERCATO_MAIL_SENDER=smtp needs.",
        ),
        ({"MERCATO_MAIL_FROM": "Eve <eve@evil.example>"}, "MERCATO_MAIL_FROM is 'Eve <eve@evil.example>'"),
        ({"MERCATO_MAIL_REPLY_TO": "a@b.example\r\nBcc: c@d"}, "MERCATO_MAIL_REPLY_TO is"),
        ({"MERCATO_SMTP_TLS": "maybe"}, "MERCATO_SMTP_TLS is 'maybe'"),
        ({"MERCATO_MAILBOX_KEEP": "0"}, "MERCATO_MAILBOX_KEEP is '0'"),
    ],
)
def test_a_wrong_setting_stops_the_start_by_name(
    tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    refused = mercato("up", folder=tmp_path, MERCATO_MAIL_SENDER="smtp", **variables)
    assert refused.refusal.startswith(told), refused


@OWN_PROCESSES
def test_the_password_is_not_shown(tmp_path: Path) -> None:
    for words in ((), ("--json",)):
        shown = mercato("config", *words, folder=tmp_path, MERCATO_SMTP_PASSWORD=PASSWORD)
        assert shown.code == 0
        assert PASSWORD not in shown.out
        assert "(set)" in shown.out


@OWN_PROCESSES
def test_notifications_alone_is_ready_and_tells_that_users_is_away(tmp_path: Path) -> None:
    with serving("serve", "notifications", folder=tmp_path) as alone:
        assert "notifications alone" in alone.out
        status, health = alone.ask("GET", "/health")
        assert (status, health["service"], health["status"]) == (200, "notifications", "ok")
        assert alone.ask("GET", NOTIFICATIONS)[0] == 401
        assert alone.ask("GET", NOTIFICATIONS, store="tea-house")[0] in {401, 503}
