"""The published Site-Net written plainly in PyTorch, batched: what stands in for the published code.

As published, the bond vector [x_i; x_j; e_ij] of every unique site with every site of its supercell is built in full
and all derivatives come from autograd. The stand-in gets every advantage that leaves the formula as it is: pair
features are computed beforehand, no row is padding (a fifth of the published pair tensor), heads are gathered by one
matrix product, the last pair update, whose result nobody reads, is left out. One matrix product for all first layers
was tried: 15 % slower, since the parts then lie apart in memory. Parameters are those of a ``SiteNet``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, mish

from matgl_infomax.data.batch import SiteBatch, segment_mean
from matgl_infomax.nn.sitenet import SiteNet, log_coulomb_channel


@dataclass(frozen=True)
class PlainBatch:
    """A batch with everything that can be known before the step."""

    number: Tensor  # (N,)
    owner: Tensor  # (N,)
    size: Tensor  # (B,)
    src: Tensor  # (E,)    receiver
    dst: Tensor  # (E,)    unique site that the neighbour is an image of
    column: Tensor  # (E,)    place of the pair among those of its receiver
    longest: int  # pairs of the receiver that has most
    pair: Tensor  # (E, 2)  distance in angstrom, logarithm of the Coulomb matrix


def plain_batch(batch: SiteBatch) -> PlainBatch:
    """Prepare a full batch; not part of the timed step."""
    column = torch.arange(batch.n_pairs) - batch.first_pair[batch.src]  # (E,)
    pair = torch.stack([batch.distance, log_coulomb_channel(batch)], dim=1)  # (E, 2)
    longest = int(batch.degree.max())
    return PlainBatch(batch.number, batch.owner, batch.size, batch.src, batch.dst, column, longest, pair)


class PlainSiteNet(nn.Module):
    """Site-Net of 2023 by its formulas.

    Args:
        model: a ``SiteNet`` of the published shape, whose weights are copied.
    """

    table: Tensor

    def __init__(self, model: SiteNet) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(p.detach().clone()) for name, p in model.named_parameters()}
        )
        self.register_buffer("table", model.site_input.table.clone())

    def lan(self, name: str, x: Tensor) -> Tensor:
        """Linear, Mish, LayerNorm over the last axis."""
        w = self.weights
        hidden = mish(linear(x, w[f"{name}/linear/weight"], w[f"{name}/linear/bias"]))
        return layer_norm(hidden, hidden.shape[-1:], w[f"{name}/norm/weight"], w[f"{name}/norm/bias"])

    def forward(self, batch: PlainBatch) -> Tensor:
        """Predictions, (B,)."""
        w = self.weights
        # As in the package: rows longer than one are shortened, and the shorter row is the parameter.
        vector = nn.functional.embedding(batch.number, w["site_input/embedding/weight"], max_norm=1.0)  # (N, 92)
        x = self.lan("local_encoder/site_in", torch.cat([vector, self.table[batch.number]], dim=1))  # (N, 90)
        e = self.lan("local_encoder/pair_in", batch.pair)  # (E, 48)
        summary = []
        for block in (0, 1):
            x, e = self.block(f"local_encoder/blocks/{block}", x, e, batch, last=block == 1)
            summary.append(x)
        site = self.lan("global_encoder/before/0", torch.cat(summary, dim=1))  # (N, 94)
        crystal = segment_mean(site, batch.owner, batch.size)  # (B, 94)
        for k in range(3):
            crystal = self.lan(f"global_encoder/after/{k}", crystal)  # (B, 200)
        return linear(crystal, w["head/out/weight"], w["head/out/bias"]).squeeze(1)

    def block(self, name: str, x: Tensor, e: Tensor, batch: PlainBatch, last: bool) -> tuple[Tensor, Tensor]:
        """One attention block: new site vectors (N, 90) and pair vectors (E, 48)."""
        w, attention = self.weights, f"{name}/attention"
        bond = torch.cat([x.index_select(0, batch.src), x.index_select(0, batch.dst), e], dim=1)  # (E, 228)
        hidden = self.lan(f"{attention}/logit_hidden", bond)  # (E, 225)
        logit = linear(hidden, w[f"{attention}/logit/weight"], w[f"{attention}/logit/bias"])  # (E, 3)
        value = self.lan(f"{attention}/value_hidden", bond)  # (E, 30)
        # Only these two narrow ones are padded to S places: (N, S, 3) and (N, S, 30).
        shape, where = (len(x), batch.longest), (batch.src, batch.column)
        share = logit.new_full((*shape, logit.shape[1]), -torch.inf).index_put(where, logit).softmax(1)
        value = value.new_zeros(*shape, value.shape[1]).index_put(where, value)
        gathered = (share.transpose(1, 2) @ value).flatten(1)  # (N, 3 * 30)
        site = self.lan(f"{name}/site_update", gathered)
        return site, e if last else self.lan(f"{name}/pair_update", bond)
