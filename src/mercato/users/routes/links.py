"""Links that prove an email: asking for them, using them, and the pages they lead to."""

import base64
import hashlib
from typing import Annotated

import msgspec

from mercato.kernel.errors import Forbidden, NotFound, Unavailable
from mercato.kernel.principal import PEOPLE
from mercato.users.domain import MAX_EMAIL, Password
from mercato.users.service.credentials import Credentials
from mercato.users.service.links import MAX_TOKEN
from mercato.users.views import UserView, user_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Response
from mercato.web.limits import RateLimited

_TOKEN = "WyJ2ZXJpZnktZW1haWwiLCJkZWZhdWx0Il0.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"  # noqa: S105  none


class Forgot(Body, frozen=True):
    """The email of an account."""

    email: Annotated[str, msgspec.Meta(max_length=MAX_EMAIL)]


class Reset(Body, frozen=True):
    """A link's token, and the password that is to be."""

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
        raises=(Forbidden, NotFound, Unavailable),
        example={"token": _TOKEN, "new_password": "battery staple"},
    )
    async def reset(call: Call, body: Reset) -> None:
        """Set a new password by a link. Every session ends, and earlier tokens are void at once."""
        await credentials.reset_password(body.token, body.new_password, at=call.now, by=call.part())

    @api.post("/api/v1/users/me/email/verification", status=202, allow=PEOPLE, raises=(NotFound, RateLimited))
    async def send_verification(call: Call) -> None:
        """Send the link again that verifies one's email, unless it is verified."""
        wait = await credentials.send_verification(call.principal, at=call.now)
        if wait:
            raise RateLimited("Enough links have been sent to this address.", retry_after=wait)

    @api.post(
        "/api/v1/users/email/verify",
        allow=PUBLIC,
        raises=(Forbidden, NotFound),
        example={"token": _TOKEN},
    )
    async def verify(call: Call, body: Verify) -> UserView:
        """Verify an email by a link."""
        return user_view(await credentials.verify_email(body.token, at=call.now, by=call.part()))

    _pages(api)


def _pages(api: Routes) -> None:
    """Declare the pages that links lead to where a store has none of its own."""
    reset_page, verify_page = _page(_RESET_FORM, _RESET_SCRIPT), _page(_VERIFY_FORM, _VERIFY_SCRIPT)

    @api.get("/account/reset-password", allow=PUBLIC, in_contract=False)
    async def reset_password_page(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Show the form that sets a new password."""
        return _answer(*reset_page)

    @api.get("/account/verify-email", allow=PUBLIC, in_contract=False)
    async def verify_email_page(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Show the button that verifies an email: programs that follow links must not use it up."""
        return _answer(*verify_page)


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
_RESET_FORM = """<h1>New password</h1><form>
<label>New password <input id="password" type="password" autocomplete="new-password" minlength="8"
maxlength="128" required></label> <button>Save</button></form>"""
_RESET_SCRIPT = (
    _SCRIPT.replace("PATH", "/api/v1/users/password/reset")
    .replace("BODY", '{token, new_password: document.getElementById("password").value}')
    .replace("DONE", "Your password is saved. You can sign in with it now.")
)
_VERIFY_FORM = """<h1>Your email address</h1><form><button>Confirm that it is mine</button></form>"""
_VERIFY_SCRIPT = (
    _SCRIPT.replace("PATH", "/api/v1/users/email/verify")
    .replace("BODY", "{token}")
    .replace("DONE", "Thank you: your email address is confirmed.")
)


def _page(form: str, script: str) -> tuple[bytes, str]:
    """Return a page and its policy, which allows its own script and style alone."""
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(_STYLE)}; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return _HTML.format(style=_STYLE, form=form, script=script).encode(), policy


def _source(text: str) -> str:
    """Name an inline text by its hash, as a policy allows it (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _answer(page: bytes, policy: str) -> Response:
    headers = [("content-security-policy", policy), ("cache-control", "no-store")]
    return Response(200, page, content_type="text/html; charset=utf-8", headers=headers, has_csp=True)
