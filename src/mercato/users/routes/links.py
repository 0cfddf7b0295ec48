"""Links that prove an email: asking for them, using them, and the pages they lead to."""

from collections.abc import Callable
from typing import Annotated

import msgspec

from mercato.kernel.cause import ByCall
from mercato.kernel.errors import Forbidden, NotFound, Unavailable
from mercato.kernel.principal import PEOPLE
from mercato.users.domain import MAX_EMAIL, Password, User
from mercato.users.service.credentials import Credentials
from mercato.users.service.links import MAX_TOKEN
from mercato.users.views import UserView, user_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import NOBODY, PUBLIC, Routes
from mercato.web.http import Response
from mercato.web.limits import RateLimited
from mercato.web.pages import page

_TOKEN = "WyJ2ZXJpZnktZW1haWwiLCJkZWZhdWx0Il0.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"  # noqa: S105  none


class Forgot(Body, frozen=True):
    """The email of an account."""

    email: Annotated[str, msgspec.Meta(max_length=MAX_EMAIL)]


class Reset(Body, frozen=True):
    """A link's token, and the password that is to be."""

    token: Annotated[str, msgspec.Meta(max_length=MAX_TOKEN)]
    new_password: Password


class AcceptInvitation(Body, frozen=True):
    """An invitation's token, and the first password."""

    token: Annotated[str, msgspec.Meta(max_length=MAX_TOKEN)]
    new_password: Password


class Verify(Body, frozen=True):
    """A link's token."""

    token: Annotated[str, msgspec.Meta(max_length=MAX_TOKEN)]


def links(api: Routes, credentials: Credentials) -> None:
    """Declare the endpoints."""

    @api.post(
        "/api/v1/users/password/forgot",
        status=202,
        allow=PUBLIC,
        audited=NOBODY,
        raises=(Unavailable,),
        example={"email": "ada@example.com"},
    )
    async def forgot(call: Call, body: Forgot) -> None:
        """Send a link to reset the password, if there is such an account: the answer does not tell."""
        await credentials.forgot(call.tenant, body.email, at=call.now)

    @api.post(
        "/api/v1/users/password/reset",
        status=204,
        allow=PUBLIC,
        audited=NOBODY,
        raises=(Forbidden, NotFound, Unavailable),
        example={"token": _TOKEN, "new_password": "battery staple"},
    )
    async def reset(call: Call, body: Reset) -> None:
        """Set a new password by a link. Every session ends, and earlier tokens are void at once."""
        by = _of_owner(call, "users_reset")
        await credentials.reset_password(body.token, body.new_password, at=call.now, by=by)

    @api.post(
        "/api/v1/users/invitation/accept",
        status=204,
        allow=PUBLIC,
        audited=NOBODY,
        raises=(Forbidden, NotFound, Unavailable),
        example={"token": _TOKEN, "new_password": "battery staple"},
    )
    async def accept_invitation(call: Call, body: AcceptInvitation) -> None:
        """Accept an invitation by its link: set the first password. The email is verified by that."""
        by = _of_owner(call, "users_accept_invitation")
        await credentials.accept_invitation(body.token, body.new_password, at=call.now, by=by)

    @api.post("/api/v1/users/me/email/verification", status=202, allow=PEOPLE, raises=(NotFound, RateLimited))
    async def send_verification(call: Call) -> None:
        """Send the link again that verifies one's email, unless it is verified."""
        wait = await credentials.send_verification(call.principal, at=call.now)
        if wait:
            raise RateLimited("Enough links have been sent to this address.", retry_after=wait)

    @api.post(
        "/api/v1/users/email/verify",
        allow=PUBLIC,
        audited=NOBODY,
        raises=(Forbidden, NotFound),
        example={"token": _TOKEN},
    )
    async def verify(call: Call, body: Verify) -> UserView:
        """Verify an email by a link."""
        return user_view(await credentials.verify_email(body.token, at=call.now, by=call.part()))

    _pages(api)


def _of_owner(call: Call, action: str) -> Callable[[User], ByCall]:
    """Return what makes the cause of a change by a link: whoever's link it is answers for it."""

    def by(user: User) -> ByCall:
        call.answered_by(user.id, user.role, user.tenant_id, action)
        return call.part()

    return by


def _pages(api: Routes) -> None:
    """Declare the pages that links lead to where a store has none of its own."""

    @api.get("/account/reset-password", allow=PUBLIC, in_contract=False)
    async def reset_password_page(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Show the form that sets a new password."""
        return _page(_RESET_FORM, _RESET_SCRIPT)

    @api.get("/account/accept-invitation", allow=PUBLIC, in_contract=False)
    async def accept_invitation_page(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Show the form that sets the first password."""
        return _page(_ACCEPT_FORM, _ACCEPT_SCRIPT)

    @api.get("/account/verify-email", allow=PUBLIC, in_contract=False)
    async def verify_email_page(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Show the button that verifies an email: programs that follow links must not use it up."""
        return _page(_VERIFY_FORM, _VERIFY_SCRIPT)


_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Your account</title><style>{style}</style></head><body>{form}<p id="told" role="status"></p>
<script>{script}</script></body></html>
"""
_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 24rem; margin: 15vh auto 0; padding: 0 1rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input, button { margin: 0.4rem 0 1rem; padding: 0.6rem; }
[hidden] { display: none; }
"""
_SCRIPT = """
const token = new URLSearchParams(location.search).get("token") || "";
const form = document.querySelector("form"), told = document.getElementById("told");
history.replaceState(null, "", location.pathname);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  told.textContent = "";
  try {
    const answer = await fetch("PATH", {method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify(BODY)});
    if (answer.ok) { form.hidden = true; told.textContent = "DONE"; return; }
    const refused = (await answer.json()).error;
    told.textContent = (refused.details || []).some((each) => each.field === "token")
      ? "This link was used, or it has expired. Please ask for another one." : refused.message;
  } catch { told.textContent = "That did not work. Please try again."; }
});
"""
_SETTING_FORM = """<h1>TITLE</h1><form>
<label>New password <input id="password" type="password" autocomplete="new-password" minlength="8"
maxlength="128" required></label> <button>Save</button></form>"""
_SETTING_SCRIPT = _SCRIPT.replace(
    "BODY", '{token, new_password: document.getElementById("password").value}'
).replace("DONE", "Your password is saved. You can sign in with it now.")
_RESET_FORM = _SETTING_FORM.replace("TITLE", "New password")
_RESET_SCRIPT = _SETTING_SCRIPT.replace("PATH", "/api/v1/users/password/reset")
_ACCEPT_FORM = _SETTING_FORM.replace("TITLE", "Welcome: choose a password")
_ACCEPT_SCRIPT = _SETTING_SCRIPT.replace("PATH", "/api/v1/users/invitation/accept")
_VERIFY_FORM = """<h1>Your email address</h1><form><button>Confirm that it is mine</button></form>"""
_VERIFY_SCRIPT = (
    _SCRIPT.replace("PATH", "/api/v1/users/email/verify")
    .replace("BODY", "{token}")
    .replace("DONE", "Thank you: your email address is confirmed.")
)


def _page(form: str, script: str) -> Response:
    return page(_HTML, style=_STYLE, form=form, script=script)
