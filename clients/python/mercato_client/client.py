# Made by `make client` from the OpenAPI document; edits are lost.
"""The client of a whole platform."""

from functools import cached_property

from mercato_client.api.api_clients import ApiClients
from mercato_client.api.audit_log import AuditLog
from mercato_client.api.auth import Auth
from mercato_client.api.dead_letters import DeadLetters
from mercato_client.api.mailbox import Mailbox
from mercato_client.api.notifications import Notifications
from mercato_client.api.orders import Orders
from mercato_client.api.payments import Payments
from mercato_client.api.products import Products
from mercato_client.api.tenants import Tenants
from mercato_client.api.users import Users
from mercato_client.transport import Transport


class Mercato(Transport):
    """A platform, with its resources as attributes."""

    @cached_property
    def api_clients(self) -> ApiClients:
        """Machines that act for a store, and what they may do."""
        return ApiClients(self)

    @cached_property
    def audit_log(self) -> AuditLog:
        """Who did what in a store, and when."""
        return AuditLog(self)

    @cached_property
    def auth(self) -> Auth:
        """Tokens of machines."""
        return Auth(self)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Events that kept failing, for operators."""
        return DeadLetters(self)

    @cached_property
    def mailbox(self) -> Mailbox:
        """The local mailbox: emails that go no further, with the links in them."""
        return Mailbox(self)

    @cached_property
    def notifications(self) -> Notifications:
        """Emails to the shoppers of a store."""
        return Notifications(self)

    @cached_property
    def orders(self) -> Orders:
        """Orders, from being placed to being delivered or cancelled."""
        return Orders(self)

    @cached_property
    def payments(self) -> Payments:
        """Payments of orders, and refunds."""
        return Payments(self)

    @cached_property
    def products(self) -> Products:
        """The catalogue, and the stock of each product."""
        return Products(self)

    @cached_property
    def tenants(self) -> Tenants:
        """Stores: opening, changing and closing them."""
        return Tenants(self)

    @cached_property
    def users(self) -> Users:
        """Accounts, and signing in."""
        return Users(self)
