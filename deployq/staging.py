"""Write a folder all or nothing: stage it beside the old one, then exchange the two.

For a bundle ``out/net`` the sites are, all in ``out/``::

    net                      the bundle: whole, old or new
    .net.deployq-staging     the new one while it is written; after the exchange, the old one
    .net.deployq-aside       the old one, only where the system cannot exchange two folders
    .net.deployq-lock        held (flock) by the one process that may touch the two above

POSIX only: it needs flock, and fsync of folders. The lock dies with its process, so whatever
lies at the hidden names once the lock is ours was left by a killed run.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deployq.errors import InputError

_AT_FDCWD = -100  # linux/fcntl.h
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RENAME_EXCHANGE = 2  # linux/fs.h, renameat2(2)


@dataclass(frozen=True)
class _Sites:
    what: str
    bundle: Path
    staging: Path
    aside: Path
    lock: Path

    @classmethod
    def of(cls, path: Path, what: str) -> _Sites:
        bundle = Path(os.path.abspath(path))
        if not bundle.name:
            raise InputError(str(path), f"a {what} needs a folder of its own", found="the root")
        hidden = [
            bundle.with_name(f".{bundle.name}.deployq-{use}")
            for use in ("staging", "aside", "lock")
        ]
        return cls(what, bundle, *hidden)


@contextmanager
def replacing_folder(
    path: Path, check_replaceable: Callable[[Path], None], what: str = "bundle"
) -> Iterator[Path]:
    """Yield an empty staging folder that becomes ``path`` when the block ends well.

    Missing parent folders are created. When the block raises, or the process dies, ``path``
    keeps what it held; an OSError of the block, such as a full disk, leaves as an InputError.

    Args:
        path: the folder to make or replace.
        check_replaceable: called with the absolute path, under the lock; raises to refuse.
        what: the folder in a word, for errors.

    Raises:
        InputError: another process writes ``path``, or the file system refuses.
    """
    sites = _Sites.of(path, what)
    with _locked(sites):
        with _os_errors(sites):
            _settle(sites)
        check_replaceable(sites.bundle)
        with _os_errors(sites):
            sites.staging.mkdir()
        try:
            with _os_errors(sites):
                yield sites.staging
                _sync_tree(sites.staging)
                _swap(sites)
        finally:
            # What cannot be removed now is removed by the next run.
            with suppress(OSError):
                _settle(sites)


def check_place(path: Path, what: str = "bundle") -> None:
    """Refuse a path where :func:`replacing_folder` could make no folder, before long work.

    Raises:
        InputError: a file stands on the way, or a folder that this user may not write.
    """
    way = Path(os.path.abspath(path)).parents
    there = next(folder for folder in way if os.path.lexists(folder))
    with _os_errors(_Sites.of(path, what)):
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there.name} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{there} may not be written")


def recover(path: Path, what: str = "bundle") -> None:
    """Put right what a killed run left: roll the old folder back in, delete hidden leftovers.

    Every write does this first; readers need it only on systems without the exchange call.

    Raises:
        InputError: another process writes ``path``, or the file system refuses.
    """
    sites = _Sites.of(path, what)
    if not sites.bundle.parent.is_dir():
        return
    with _locked(sites), _os_errors(sites):
        _settle(sites)


def _settle(sites: _Sites) -> None:
    """From any state a kill can leave to: the bundle alone. Needs the lock."""
    if os.path.lexists(sites.aside) and not os.path.lexists(sites.bundle):
        os.rename(sites.aside, sites.bundle)
    _remove(sites.staging)
    if os.path.lexists(sites.aside):
        # Under the staging name first: a half-deleted folder must never be rolled back.
        os.rename(sites.aside, sites.staging)
        _remove(sites.staging)


def _remove(folder: Path) -> None:
    if os.path.lexists(folder):
        shutil.rmtree(folder)


def _swap(sites: _Sites) -> None:
    """Staging becomes the bundle; the old bundle, if any, goes to a hidden site."""
    if not sites.bundle.exists():
        os.rename(sites.staging, sites.bundle)
    elif not _exchange(sites.staging, sites.bundle):
        os.rename(sites.bundle, sites.aside)
        os.rename(sites.staging, sites.bundle)  # if this fails, _settle rolls back
    _sync(sites.bundle.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one call; False where kernel, libc or file system cannot.

    Raises:
        OSError: it can, but refused.
    """
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    paths = os.fsencode(first), os.fsencode(second)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(sites: _Sites) -> Iterator[None]:
    with _os_errors(sites):
        sites.lock.parent.mkdir(parents=True, exist_ok=True)
        handle = _take_lock(sites)
    try:
        yield
    finally:
        # Unlinked while held: whoever opened it meanwhile sees that its file has no name.
        sites.lock.unlink(missing_ok=True)
        os.close(handle)


def _take_lock(sites: _Sites) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        handle = os.open(sites.lock, flags, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if sites.lock.exists() and os.path.samestat(os.fstat(handle), sites.lock.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise InputError(
                str(sites.bundle),
                f"one process at a time may write a {sites.what}",
                found="another one is writing here",
                allowed=f"a {sites.what} of its own for each",
                next_step="wait until it ends, or write to another path",
            ) from None
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


@contextmanager
def _os_errors(sites: _Sites) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise InputError(
            str(sites.bundle),
            f"the {sites.what} cannot be written here",
            found=error.strerror or str(error),
            allowed="a disk with room for it" if full else "a folder that this user may write",
            next_step="choose another path, or "
            + ("free some space" if full else "mend the folder's permissions"),
        ) from error
