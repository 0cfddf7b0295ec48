"""Notifications and the local mailbox over HTTP."""

from mercato.notifications.ports import Mailbox, NotificationStore
from mercato.notifications.routes.mailbox import mailbox as mailbox_routes
from mercato.notifications.routes.notifications import notifications as notification_routes
from mercato.notifications.service.notifications import Notifications
from mercato.web.endpoint import Routes
from mercato.web.idempotency import Claims


def routes(service: Notifications, store: NotificationStore, mailbox: Mailbox, claims: Claims) -> Routes:
    """Declare the endpoints."""
    api = Routes("notifications", claims=claims)
    notification_routes(api, service, store)
    mailbox_routes(api, mailbox)
    return api
