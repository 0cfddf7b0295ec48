"""Pages of our own: whole in one answer, with a policy that allows their script and style alone."""

import base64
import hashlib

from mercato.web.http import Response


def page(template: str, *, style: str, script: str, more_policy: str = "", **parts: str) -> Response:
    """Return a page; `template` has the places {style}, {script} and those of the `parts`.

    It may call its own origin and load nothing else, but for what `more_policy` adds.
    """
    policy = (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; connect-src 'self';"
        f" base-uri 'none'; form-action 'none'; frame-ancestors 'none'{more_policy}"
    )
    return answer(template.format(style=style, script=script, **parts), policy)


def source(text: str) -> str:
    """Name an inline text by its hash, as a policy allows it (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def answer(html: str, policy: str) -> Response:
    """Return a page with its policy. Nobody keeps it: the next version may be another."""
    headers = [("content-security-policy", policy), ("cache-control", "no-store")]
    return Response(
        200, html.encode(), content_type="text/html; charset=utf-8", headers=headers, has_csp=True
    )
