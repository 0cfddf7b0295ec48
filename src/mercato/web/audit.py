"""What is noted of a call that is answered for: never a value of what it sent."""

from collections.abc import Sequence

import msgspec

from mercato.kernel.cause import Note
from mercato.web.call import Call
from mercato.web.endpoint import Endpoint
from mercato.web.flat import local_id

_Keys = dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_Keys).decode


def note_of(endpoint: Endpoint, call: Call, params: Sequence[str], raw: bytes) -> Note | None:
    """Return the note of a call, None if nobody answers for it. `raw` is its decoded body as it came.

    The object is the one that the path names, or one that the call is going to make.
    """
    caller = call.caller
    if caller is None or caller.role not in endpoint.audited:
        return None
    kind, object_id = endpoint.resource.removesuffix("s"), ""
    if params:
        kind, object_id = endpoint.path_parameters[0].removesuffix("_id"), local_id(call, params[0])
    return Note(
        tenant=call.tenant,
        actor=caller.user_id,
        role=caller.role.value,
        action=endpoint.operation_id,
        object_kind=kind,
        object_id=object_id,
        fields=tuple(sorted(_decode(raw))) if raw and not endpoint.accepts else (),
        address=call.client,
        request_id=call.request_id,
    )
