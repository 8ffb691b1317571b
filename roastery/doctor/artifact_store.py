"""The artifact store: whether it can be read and written, by a small file that is written, read and removed."""

import contextlib
import tempfile
import uuid
from pathlib import Path

from roastery.address import masked
from roastery.doctor.finding import Finding
from roastery.doctor.resources import nearest
from roastery.errors import StoreUnavailable, UserError
from roastery.filesystem import create, faults, folders, is_local, kind_of, open_filesystem, read

_NAME = "artifact store"
_CONTENT = b"roastery doctor"


def look_at_store(url: str) -> Finding:
    """Whether a store can be used.

    Raises:
        RoasteryError: it cannot; the message has the reason.
    """
    filesystem, root = open_filesystem(url)
    local = is_local(filesystem)
    shown = root if local else masked(url)
    above = nearest(Path(root)) if local else None
    if above is not None and not above.is_dir():
        raise UserError(f"{above}: is no folder; name another store")
    if above is not None and above != Path(root):
        try:
            # A file without a name, where the filesystem has such.
            tempfile.TemporaryFile(dir=above).close()
        except OSError as error:
            way_out = "make it writable or name another store"
            return Finding(_NAME, "wrong", f"{shown} is not there, and {above}: {error.strerror}", way_out)
        return Finding(_NAME, "ok", f"{shown} is not there yet, and can be made")
    probe = f"{root}/.doctor-{uuid.uuid4().hex}"
    try:
        stages = len([name for name in folders(filesystem, root) if not name.startswith(".")])
        try:
            create(filesystem, probe, _CONTENT)
            kept = read(filesystem, probe) == _CONTENT
        finally:
            with contextlib.suppress(FileNotFoundError):
                filesystem.rm_file(probe)
    except faults(filesystem) as fault:
        told = kind_of(fault, shown)
        if isinstance(told, StoreUnavailable):
            way_out = "start it, or correct its address: `store` or ROASTERY_STORE, and AWS_ENDPOINT_URL"
            return Finding(_NAME, "wrong", str(told), way_out)
        raise told from fault
    if not kept:
        return Finding(_NAME, "wrong", f"{shown} does not keep what is written", "name another store")
    return Finding(_NAME, "ok", f"{shown}: readable and writable, {stages} {'stage' if stages == 1 else 'stages'}")
