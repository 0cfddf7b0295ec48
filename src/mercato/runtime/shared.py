"""Whether a process shares anything with others, and through what."""

from typing import TYPE_CHECKING

from mercato.runtime.settings import Settings, WrongSetting

if TYPE_CHECKING:
    from mercato.runtime.redis import Shared


def open_shared(settings: Settings) -> "Shared | None":
    """Return what is shared through Redis, if one is named. Raises WrongSetting without its driver."""
    if not settings.redis_url:
        return None
    try:
        from mercato.runtime.redis import Shared  # noqa: PLC0415  it is slow to import, and an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "redis":
            raise
        raise WrongSetting(
            "MERCATO_REDIS_URL is set, which needs the extra redis: pip install 'mercato[redis]'."
        ) from None
    return Shared(settings)
