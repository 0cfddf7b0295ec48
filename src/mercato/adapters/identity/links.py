"""Where there is no mailer, links go to the log, and whoever runs the program passes them on."""

import logging

from mercato.kernel.tenancy import TenantId

log = logging.getLogger(__name__)


class LoggedLinks:
    """See users.ports.LinkSender."""

    async def send(self, tenant: TenantId, email: str, action: str, url: str) -> None:
        """Log one link: the line is as good as the email that is not sent yet."""
        log.info("link", extra={"tenant": tenant, "recipient": email, "action": action, "url": url})
