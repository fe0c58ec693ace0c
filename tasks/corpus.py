"""Pretraining on a corpus, without the crystals that are too close to those of the task."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.record import HASHED
from matgl_infomax.tasks.source import content_hash, read_source
from matgl_infomax.tasks.starts import Start, StartRequest, begin, check_starts, claim_start, too_close, write_start


def on_corpus(request: StartRequest) -> Start:
    """Pretrain on a corpus, or find that it was done.

    Raises:
        InputError: If the corpus is missing, cannot be read or is too small, or the folder holds other weights.
    """
    from matgl_infomax.data.store import build_store
    from matgl_infomax.nn.build import edge_rule
    from matgl_infomax.train.pretrain import pretrain

    starts, progress = request.starts, request.progress
    check_starts(["corpus"], starts, request.data_dir)
    name = str(starts.corpus)
    content = content_hash(name, request.data_dir)
    claim = {
        "corpus_without": starts.corpus_without,
        "corpus_size": starts.corpus_size,
        "crystals of the corpus": HASHED + content,
        # Without a comparison the crystals of the task decide nothing.
        "crystals of the task": HASHED + request.store.key if starts.corpus_without != "nothing" else None,
    }
    known = begin(request, claim)
    if known is not None:
        return known
    corpus = read_source(name, None, request.data_dir, request.cache, progress=progress)
    drawn, close = _draw(request, corpus)
    claim_start(request, claim)
    store = build_store(
        corpus.subset(drawn), edge_rule(request.model), request.cache, progress=progress, workers=request.workers
    )
    rows = np.flatnonzero(~close)
    done = pretrain(store, rows, request.folder / "encoder", request.pretrain, request.model, progress=progress)
    facts: dict[str, int | float | str] = {
        "corpus": len(corpus),
        "unreadable": len(corpus.bad),
        "compared": len(drawn),
        "without": starts.corpus_without,
        "removed": int(close.sum()),
        "crystals": len(rows),
        "content": content[:16],
    }
    return write_start(request, done.seconds, facts)


def _draw(request: StartRequest, corpus: Crystals) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the corpus that are looked at, ascending, (k,), and which of them are too close to the task, (k,).

    Where fewer are asked for than there are, crystals are ranked by a hash of seed and id, and taken from the top
    until enough of them may be learnt from. So the same draw with and without close crystals has most in common.

    Raises:
        InputError: If fewer crystals may be learnt from than are asked for.
    """
    starts, n = request.starts, len(corpus)
    wanted = n if starts.corpus_size is None else starts.corpus_size
    ranked = sorted(range(n), key=lambda row: _rank(request.pretrain.seed, corpus[row].id)) if wanted < n else range(n)
    order = np.fromiter(ranked, dtype=np.int64, count=n)
    close = np.zeros(n, dtype=np.bool_)
    end = kept = 0
    while kept < wanted and end < n:
        more = order[end : end + wanted - kept]
        close[more] = too_close(request, request.crystals, corpus.subset(more), starts.corpus_without)
        end += len(more)
        kept = int((~close[order[:end]]).sum())
    if starts.corpus_size is not None and kept < wanted:
        raise InputError(
            f"Only {kept} of {n} crystals of the corpus may be learnt from. Received: {wanted} asked for. "
            "Lower --corpus-size, or give a larger corpus."
        )
    drawn = np.sort(order[:end])
    return drawn, close[drawn]


def _rank(seed: int, id: str) -> bytes:
    """Place of a crystal in the draw of a seed."""
    return blake2b(f"{seed}\0{id}".encode(), digest_size=16, person=b"corpus draw").digest()
