"""The links that users is asked to send, as those read them to whom they are sent."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.asgi_client import Answer
from tests.behaviour.users_platform import Platform

USERS = "/api/v1/users"
NEW_PASSWORD = "battery staple"
REFUSED = "must be of a link that has been neither used nor has expired"


class Mail:
    """Reads the links that were sent."""

    def __init__(self, platform: Platform, log: pytest.LogCaptureFixture) -> None:
        self.platform = platform
        self.log = log

    async def sent(self) -> list[Any]:
        """Return the links sent since this was asked."""
        await self.platform.service.links.send_waiting()
        found = [each for each in self.log.records if each.getMessage() == "link"]
        self.log.clear()
        return found

    async def token(self, action: str, email: str = "ada@example.com") -> str:
        (found,) = [each for each in await self.sent() if each.action == action]
        assert found.recipient == email
        url = urlsplit(found.url)
        assert (url.netloc, url.path) == ("shop.example", f"/account/{action}")
        return str(parse_qs(url.query)["token"][0])

    async def forget_password(self, email: str = "ada@example.com", tenant: str = "default") -> None:
        headers = {"X-Tenant-Id": tenant}
        answer = await self.platform.send(
            "POST", f"{USERS}/password/forgot", {"email": email}, headers=headers
        )
        assert (answer.status, answer.body) == (202, b"")

    async def reset_token(self) -> str:
        await self.sent()
        await self.forget_password()
        return await self.token("reset-password")

    async def reset(self, token: str, new: str = NEW_PASSWORD) -> Answer:
        body = {"token": token, "new_password": new}
        return await self.platform.send("POST", f"{USERS}/password/reset", body)

    async def accept(self, token: str, new: str = NEW_PASSWORD) -> Answer:
        body = {"token": token, "new_password": new}
        return await self.platform.send("POST", f"{USERS}/invitation/accept", body)

    async def verify(self, token: str) -> Answer:
        return await self.platform.send("POST", f"{USERS}/email/verify", {"token": token})


def is_refused(answer: Answer) -> bool:
    details = answer.json["error"].get("details")
    return (answer.status, answer.code) == (400, "VALIDATION_ERROR") and details == [
        {"field": "token", "message": REFUSED}
    ]
