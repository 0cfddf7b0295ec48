"""Who else is needed, where the settings say so: the mail server, and the payment provider."""

import asyncio
import logging
from collections.abc import Iterator

from mercato.cli.doctor.findings import Finding, ok, problem
from mercato.runtime.settings import Settings

ANSWER_S = 5.0
"""How long each may take to answer."""
_NOBODYS = "/v1/payment_intents/pi_mercato_doctor"
"""What Stripe says that it does not know, to whoever has a key."""


def mail_server(found: Settings) -> Iterator[Finding]:
    """Look at whether the mail server lets us in."""
    if found.mail_sender != "smtp":
        return
    if not found.smtp_host:
        yield problem("mail server", "it has no name", "set MERCATO_SMTP_HOST")
        return
    from mercato.notifications.ports import NotSentNow  # noqa: PLC0415  slow to import
    from mercato.notifications.senders.smtp import Server, SmtpSender  # noqa: PLC0415

    server = Server(
        host=found.smtp_host,
        port=found.smtp_port,
        tls=found.smtp_tls,
        user=found.smtp_user,
        password=found.smtp_password,
        timeout_s=ANSWER_S,
    )

    async def look() -> None:
        async with asyncio.timeout(ANSWER_S):
            await SmtpSender(server).look()

    where = f"{found.smtp_host}:{found.smtp_port}"
    try:
        asyncio.run(look())
    except (NotSentNow, TimeoutError) as error:
        told = str(error) or f"it does not answer within {ANSWER_S:.0f} s"
        then = "see MERCATO_SMTP_HOST, _PORT, _TLS, _USER and _PASSWORD; mails wait meanwhile"
        yield problem("mail server", f"{where}: {told}", then)
    else:
        yield ok("mail server", f"{where} lets us in")


def payment_provider(found: Settings) -> Iterator[Finding]:
    """Look at whether Stripe answers, and takes our key."""
    if found.payment_provider != "stripe":
        return
    from mercato.payments.ports import OutcomeUnknown  # noqa: PLC0415  slow to import
    from mercato.payments.providers.stripe_api import Refused, StripeApi  # noqa: PLC0415

    # What is logged of it is told here.
    logging.getLogger("mercato.payments.providers").addHandler(logging.NullHandler())

    async def look() -> None:
        api = StripeApi(found.stripe_url, found.stripe_key, timeout_s=ANSWER_S)
        try:
            await api.get(_NOBODYS, dict)
        except Refused:
            return
        finally:
            await api.close()

    try:
        asyncio.run(look())
    except OutcomeUnknown as error:
        yield problem(
            "payment provider",
            f"Stripe cannot be used: {error}",
            "see MERCATO_STRIPE_KEY and MERCATO_STRIPE_URL; payments stay open meanwhile",
        )
    else:
        yield ok("payment provider", "Stripe answers, and takes the key")
