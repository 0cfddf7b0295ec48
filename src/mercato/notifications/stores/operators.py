"""Whose mails a store's admins do not see: operators stand above them, and live in a store too."""


def shown_to(table: str, *, operators: bool) -> str:
    """Return the condition, to be added to others, that a row may be shown; with `operators`, any may."""
    if operators:
        return ""
    return (
        f" AND NOT EXISTS (SELECT 1 FROM operators WHERE operators.tenant_id = {table}.tenant_id"
        f" AND operators.user_id = {table}.user_id)"
    )
