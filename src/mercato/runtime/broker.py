"""Which bus connects the services."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from mercato.messaging.bus import Bus
from mercato.notifications import subscribers as notifications
from mercato.orders import subscribers as orders
from mercato.payments import subscribers as payments
from mercato.products import subscribers as products
from mercato.runtime.settings import Settings, WrongSetting
from mercato.users import subscribers as users

CONSUMERS: Mapping[str, frozenset[str]] = {
    "notifications": notifications.FAMILIES,
    "orders": orders.FAMILIES,
    "payments": payments.FAMILIES,
    "products": products.FAMILIES,
    "users": users.FAMILIES,
}
"""Who consumes what: any process makes the queues of all, whichever is started first."""


def broker_of(settings: Settings, name: str) -> Bus | None:
    """Return the bus to other processes that the settings name, if they do. Raises WrongSetting.

    `name` is what the broker's operators see of this process.
    """
    if not settings.broker_url:
        return None
    if not _is_amqp(settings.broker_url):
        raise WrongSetting(
            "MERCATO_BROKER_URL is not acceptable: it must be amqp://USER:PASSWORD@HOST:PORT/VHOST, or the"
            " same with amqps://."
        )
    try:
        from mercato.adapters.bus.rabbitmq import RabbitBus  # noqa: PLC0415  an extra's driver
    except ImportError as error:
        raise WrongSetting(
            f"MERCATO_BROKER_URL needs the driver of RabbitMQ, which is missing ({error.name});"
            " install mercato[rabbitmq]."
        ) from None
    return RabbitBus(settings.broker_url, name=name, consumers=CONSUMERS)


def _is_amqp(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
