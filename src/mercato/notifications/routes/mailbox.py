"""The local mailbox over HTTP: an API, and a page to read it with."""

from functools import cache
from importlib import resources

from mercato.kernel.errors import NotFound
from mercato.kernel.ids import MailId, is_id
from mercato.kernel.principal import Role
from mercato.notifications.ports import Mailbox
from mercato.notifications.service.notifications import sees_operators
from mercato.notifications.views import MailSummary, MailView, mail_view, summary
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.envelope import Page
from mercato.web.http import Response
from mercato.web.pages import answer, page
from mercato.web.paging import ListQuery, newest_first

_PATH = "/api/v1/mailbox"
_READERS = frozenset({Role.ADMIN, Role.OPERATOR})
"""Links that set passwords are in it: no machine needs them."""

_FRAME = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'self'; sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox"
)
"""What a mail may do where it is shown: nothing but look like something, and be clicked on."""


def mailbox(api: Routes, box: Mailbox) -> None:
    """Declare the endpoints."""

    @api.get(_PATH, allow=_READERS)
    async def list_mailbox(call: Call, query: ListQuery) -> Page[MailSummary]:
        """List the emails in the local mailbox, newest first."""
        operators = sees_operators(call.principal)
        return await newest_first(
            query,
            lambda part: box.search(call.tenant, part, operators=operators),
            lambda: box.count(call.tenant, operators=operators),
            summary,
        )

    @api.get(f"{_PATH}/{{mail_id}}", allow=_READERS, raises=(NotFound,))
    async def get_mailbox(call: Call, mail_id: str) -> MailView:
        """Return an email of the local mailbox, links included."""
        found = None
        if is_id(mail_id):
            operators = sees_operators(call.principal)
            found = await box.find(call.tenant, MailId(mail_id), operators=operators)
        if found is None:
            raise NotFound("There is no such email.")
        return mail_view(found)

    _pages(api)


def _pages(api: Routes) -> None:
    @api.get("/mailbox", allow=PUBLIC, in_contract=False)
    async def mailbox_page(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Show the page that reads the mailbox, once somebody signs in on it."""
        return page(
            _part("index.html"),
            style=_part("mailbox.css"),
            script=_part("mailbox.js"),
            more_policy="; frame-src 'self'",
        )

    @api.get("/mailbox/frame", allow=PUBLIC, in_contract=False)
    async def mail_frame(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Show nothing: the page puts a mail there, where it can run and load nothing."""
        return answer("<!doctype html><title>Mail</title>", _FRAME)


@cache
def _part(name: str) -> str:
    return resources.files("mercato.notifications.routes").joinpath("page", name).read_text(encoding="utf-8")
