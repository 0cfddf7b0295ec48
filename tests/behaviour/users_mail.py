"""The links that users is asked to send, as those read them to whom they are sent."""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from mercato.contracts.users import LinkAction, LinkRequested, UserCreated
from mercato.kernel.ids import UserId
from mercato.kernel.tenancy import TenantId
from mercato.messaging.bus import decode
from tests.asgi_client import Answer
from tests.behaviour.users_platform import Platform

USERS = "/api/v1/users"
NEW_PASSWORD = "battery staple"
REFUSED = "must be of a link that has been neither used nor has expired"


@dataclass(frozen=True)
class Sent:
    """A link, as it is mailed."""

    action: LinkAction
    recipient: str
    url: str


class Mail:
    """Makes the links that are to be mailed, as whoever mails them does."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._seen = 0

    async def sent(self) -> list[Sent]:
        """Return the links that were to be mailed since this was asked."""
        await self.platform.service.links.request_waiting()
        rows = await self.platform.db.fetch_all(
            "SELECT position, type, body FROM outbox WHERE position > ? ORDER BY position", (self._seen,)
        )
        found = []
        for self._seen, kind, body in rows:
            event = decode(body)
            if kind == LinkRequested.type:
                wanted = event.payload(LinkRequested)
                found.append(await self._make(wanted.tenant_id, wanted.user_id, wanted.action))
            elif kind == UserCreated.type:
                created = event.payload(UserCreated)
                action: LinkAction = "accept-invitation" if created.invited else "verify-email"
                found.append(await self._make(created.tenant_id, created.user_id, action))
        return [each for each in found if each is not None]

    async def invitations(self) -> list[Sent]:
        """Return the invitations among them."""
        return [each for each in await self.sent() if each.action == "accept-invitation"]

    async def _make(self, tenant: TenantId, user_id: UserId, action: LinkAction) -> Sent | None:
        people = self.platform.service.people
        url, recipient = await people.link(tenant, user_id, action), await people.recipient(tenant, user_id)
        return None if url is None or recipient is None else Sent(action, recipient.email, url)

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


async def welcomed_admin(platform: Platform, mail: Mail) -> str:
    """Open the store `shop`; return the token of its admin, whose first mail is not to be seen again."""
    token = str((await platform.onboard("shop"))["token"])
    await mail.sent()
    return token
